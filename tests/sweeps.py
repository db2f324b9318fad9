"""What tests of sweeps need: a small drawn dataset, checkpoints of real classes with random weights, a plan."""

from __future__ import annotations

from pathlib import Path

from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.datasets.scene_dataset import write_scene_dataset
from isi_core.domain.decoding import Decoding
from isi_core.domain.observation import Dataset
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.studies.sweep.plan import Condition, ModelChoice, SweepPlan, dataset_digest, grid
from isi_core.studies.vqa import WANTED, Wanted

DECODING = Decoding(n_samples=3, max_new_tokens=5, seed=2)


def make_world(folder: Path, observations: int = 3) -> Path:
    """A folder with `data`, a drawn dataset, and the models `llava` and `nli`."""
    from isi_core.training import nli
    from tests.checkpoints import save_llava

    write_scene_dataset(observations, 1, folder / "data")
    save_llava(folder / "llava")
    nli.train(folder / "nli.pt", steps=1, minutes=1, batch=2, seed=0, report_every=100)
    nli.save_model(folder / "nli.pt", folder / "nli")
    return folder


def world_dataset(world: Path) -> Dataset:
    """The world's dataset."""
    return load_isi_folder(world / "data")


def world_plan(
    world: Path,
    conditions: tuple[Condition, ...] | None = None,
    measures: tuple[Wanted, ...] = WANTED,
    models: tuple[str, ...] = ("llava",),
    decoding: Decoding = DECODING,
    observations: tuple[str, ...] | None = None,
) -> SweepPlan:
    """A plan over the world's dataset for its own models."""
    return SweepPlan(
        dataset=str(world / "data"),
        dataset_digest=dataset_digest(world_dataset(world)),
        conditions=conditions or grid(("natural", "random"), ("none", "contradictory")),
        models=tuple(ModelChoice(str(world / name)) for name in models),
        decoding=decoding,
        measures=measures,
        settings=UncertaintySettings(entailment_model=str(world / "nli")),
        observations=observations,
    )
