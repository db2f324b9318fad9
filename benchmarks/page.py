"""How long a person waits: the embedded models, warm, on the path that the page VQA Interventions takes.

`python -m benchmarks.page` times, on different trials so that no prompt is read a second time, the first answer,
ten samples with their clustering, and the attention: building the trial, taking the models from the shelf, evaluating,
and storing the run. `--browser` adds the time from the click on *Ask* to the answer on the screen, in Chromium.
Each figure is the median; the issue's targets stand beside it. Nothing passes or fails here.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isi_core.datasets.built_in import load_dataset
from isi_core.domain.decoding import Decoding
from isi_core.domain.interventions import ContextPreset
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.catalogue import DEFAULT_VLM
from isi_core.models.shelf import Shelf
from isi_core.store.runs import Store
from isi_core.studies.trials import build_trial
from isi_core.studies.vqa import Wanted, evaluate

MEASURES: tuple[tuple[str, Wanted, float | None], ...] = (
    ("first answer", "answer", 1.5),
    ("10 samples and clustering", "uncertainty", 2.5),
    ("attention", "attention", None),
)
IN_BROWSER = "click on Ask to answer on screen"


@dataclass(frozen=True)
class Timing:
    """Seconds that one thing took, each time on another trial; `target` is the issue's, where it sets one."""

    name: str
    seconds: list[float]
    target: float | None

    @property
    def median(self) -> float:
        """Of the seconds."""
        return statistics.median(self.seconds)


def time_measures(repeats: int, store: Store) -> list[Timing]:
    """Each measure on `repeats` trials that no other call has seen, after one warm-up of everything."""
    dataset, shelf = load_dataset(), Shelf()
    observations = iter(dataset.observations)
    decoding, settings = Decoding(n_samples=10), UncertaintySettings()

    def once(wanted: set[Wanted]) -> float:
        observation = next(observations)
        began = time.perf_counter()
        trial = build_trial(dataset, observation, [ContextPreset("contradictory")])
        with shelf.vlm(DEFAULT_VLM) as vlm, shelf.entailment(settings.entailment_model) as entailment:
            made = evaluate(trial, vlm, decoding, wanted, entailment, settings)
        store.save(made, dataset=dataset.name)
        return time.perf_counter() - began

    once({"answer", "uncertainty", "attention"})
    return [Timing(name, [once({wanted}) for _ in range(repeats)], target) for name, wanted, target in MEASURES]


def time_clicks(repeats: int, home: Path) -> Timing:
    """From the click on Ask to the answer on the screen, on `repeats` observations, after one warm-up."""
    from tests.browser import page as pages
    from tests.browser.studio import browsing, serving

    seconds = []
    with serving(home) as url, browsing() as browser, pages.visiting(browser, f"{url}/{pages.PATH}") as (page, _):
        pages.canvas(page)
        pages.ask(page)
        for _ in range(repeats):
            before = pages.picture_address(page)
            pages.widget(page, "vqa_next").click()
            pages.wait_for_picture_other_than(page, before)
            page.locator(".st-key-vqa_answer").wait_for(state="detached")
            pages.canvas(page)
            began = time.perf_counter()
            pages.ask(page)
            seconds.append(time.perf_counter() - began)
    return Timing(IN_BROWSER, seconds, None)


def table(timings: list[Timing]) -> str:
    """The timings as the README's Markdown table."""
    rows = ["| what, once warm | median | slowest | target |", "| --- | --- | --- | --- |"]
    for timing in timings:
        target = "" if timing.target is None else f"≤ {timing.target:g} s"
        rows.append(f"| {timing.name} | {timing.median:.2f} s | {max(timing.seconds):.2f} s | {target} |")
    return "\n".join(rows)


def main() -> None:
    """Time everything and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.page", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="trials a figure (5)")
    parser.add_argument("--browser", action="store_true", help="time the real page in Chromium too")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the seconds of every trial to a file")
    arguments = parser.parse_args()
    if not 1 <= arguments.repeats <= 30:
        parser.error("--repeats must lie between 1 and 30")
    with tempfile.TemporaryDirectory() as folder:
        timings = time_measures(arguments.repeats, Store(Path(folder) / "runs"))
        if arguments.browser:
            timings.append(time_clicks(arguments.repeats, Path(folder) / "server"))
    print(table(timings))
    load = os.getloadavg()[0]
    print(f"\n{os.cpu_count()} processor cores, load before the end {load:.1f} (others' work slows these figures).")
    if arguments.json is not None:
        found: dict[str, Any] = {
            "cores": os.cpu_count(),
            "load": load,
            "timings": [{**asdict(timing), "median": timing.median} for timing in timings],
        }
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
