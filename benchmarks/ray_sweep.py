"""How much faster a sweep runs on Ray's workers than in this process: `python -m benchmarks.ray_sweep --workers 2`.

The same plan over the built-in dataset, each engine with a store of its own, one thread a worker. Counted is the time
from the first evaluations that are stored to the last, without the starts of Ray and the loading of models.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from isi_core.datasets.built_in import BUILT_IN, load_dataset
from isi_core.models.catalogue import DEFAULT_VLM
from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.store.sweeps import SweepRecords
from isi_core.studies.jobs import Jobs
from isi_core.studies.sweep.control import Sweeps
from isi_core.studies.sweep.local_engine import local_engine
from isi_core.studies.sweep.plan import ModelChoice, SweepPlan, dataset_digest, first_observations, grid
from isi_core.studies.sweep.ray_engine import LOCAL, Cluster, ray_engine
from isi_core.studies.sweep.run import Engine, SweepRun

WARM = 12
"""Evaluations before the clock starts: models are loaded, batches have grown."""


def rate(engine: Engine, plan: SweepPlan, folder: Path) -> float:
    """Evaluations a second of a sweep on an engine."""
    dataset, store = load_dataset(BUILT_IN), Store(folder)
    Sweeps(store, Jobs(store, workers=1), Shelf).create(plan, dataset)
    records, seen = SweepRecords(store.database), [(0, time.monotonic())]

    def progress(message: str, fraction: float) -> None:
        done = len(records.finished_items(plan.id))
        if done > seen[-1][0]:
            seen.append((done, time.monotonic()))

    count = SweepRun(plan, dataset, store, engine)(progress)
    assert count == len(plan.items(dataset)) == store.count()
    store.close()
    first = next(mark for mark in seen if mark[0] >= WARM)
    return (seen[-1][0] - first[0]) / (seen[-1][1] - first[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="A sweep on Ray's workers against one in this process.")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--address", default=LOCAL, help="default: a Ray of its own on this machine")
    parser.add_argument("--observations", type=int, default=100)
    parser.add_argument("--model", default=DEFAULT_VLM)
    arguments = parser.parse_args()
    dataset = load_dataset(BUILT_IN)
    plan = SweepPlan(
        dataset=BUILT_IN,
        dataset_digest=dataset_digest(dataset),
        conditions=grid(("natural", "annotated", "random"), ("none", "complementary", "contradictory")),
        models=(ModelChoice(arguments.model),),
        observations=first_observations(dataset, arguments.observations),
    )
    engines = local_engine(Shelf()), ray_engine(Cluster(arguments.address, arguments.workers))
    with tempfile.TemporaryDirectory() as folder:
        here, there = (rate(engine, plan, Path(folder) / str(i)) for i, engine in enumerate(engines))
    print("| evaluations | local (a second) | ray (a second) | workers | ratio |\n| ---: | ---: | ---: | ---: | ---: |")
    print(f"| {len(plan.items(dataset))} | {here:.2f} | {there:.2f} | {arguments.workers} | {there / here:.2f} |")


if __name__ == "__main__":
    main()
