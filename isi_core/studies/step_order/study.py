"""A kept study: encoders × modalities on one set of pairs, written down after every training, resumable.

A study lies in a folder of its own in the user's home, named by what was asked; asking for the same again goes on
where it was. Pages and other processes read it while it grows.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from isi_core.datasets.step_catalogue import howto_source
from isi_core.datasets.step_pairs import load_pairs, pair_categories
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress, part_of
from isi_core.domain.step_pairs import PairSplits
from isi_core.studies.step_order.kept import (
    FLIPS,
    GAPS,
    LIVE,
    PLAN,
    RESULT,
    TESTED,
    Study,
    StudyPlan,
    Verdicts,
    forget_study,
    joined_verdicts,
    live_curve,
    read_json,
    read_study,
    studies_folder,
    study_ids,
    study_stamp,
    verdicts_from_json,
    write_json,
)
from isi_core.studies.step_order.results import (
    ALL,
    MODALITIES,
    CategoryAccuracy,
    CurvePoint,
    GapResult,
    GridResult,
    Modality,
    ModalityComparison,
    TrainingCurve,
)

if TYPE_CHECKING:
    from isi_core.studies.step_order.batches import Pictures
    from isi_core.studies.step_order.evaluate import Tested
    from isi_core.studies.step_order.settings import TrainingSettings

__all__ = [
    "Study",
    "StudyPlan",
    "Verdicts",
    "forget_study",
    "live_curve",
    "load_study_pairs",
    "read_study",
    "run_study",
    "studies_folder",
    "study_ids",
    "study_stamp",
]


_LIVE_EVERY = 0.5  # seconds


def load_study_pairs(plan: StudyPlan, progress: Progress | None = None) -> PairSplits:
    """The pairs that the plan asks for; raises as `load_pairs`."""
    return load_pairs(howto_source(plan.data), plan.seed, plan.sizes, progress=progress)


def run_study(plan: StudyPlan, progress: Progress | None = None) -> str:
    """Train, test and measure whatever is missing; the study's id.

    Raises
    ------
    InputError : no encoder or no modality was chosen, or the pairs cannot be used.
    ModelError : an encoder cannot be loaded.
    Cancelled : by `progress`; what was done is kept, and the running training goes on from its last validation.
    """
    if not plan.encoders or not plan.modalities:
        raise InputError("Choose at least one encoder and one modality.")
    tell = progress or (lambda message, fraction: None)
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_json(plan.folder / PLAN, asdict(plan))
    tell("Reading the pairs", 0.0)
    splits = load_study_pairs(plan)
    work = _Work(plan, splits)
    total = len(plan.encoders) * (len(plan.modalities) + 1)
    done = 0
    work.write(complete=False)
    for encoder in plan.encoders:
        pictures: Pictures | None = None
        for modality in plan.modalities:
            pictures = work.train_and_test(encoder, modality, pictures, part_of(tell, done / total, (done + 1) / total))
            done += 1
            work.write(complete=False)
        work.measure_gap(encoder, part_of(tell, done / total, (done + 1) / total))
        done += 1
    work.write(complete=True)
    (plan.folder / LIVE).unlink(missing_ok=True)
    tell("Done", 1.0)
    return plan.id


class _Work:
    """A study in the making."""

    def __init__(self, plan: StudyPlan, splits: PairSplits) -> None:
        self.plan, self.splits = plan, splits
        self.kinds = pair_categories(splits.test)
        self.curves: list[TrainingCurve] = []
        self.tested: list[Verdicts] = []
        self.gaps: dict[str, GapResult] = {}
        self.began = datetime.now(UTC).isoformat(timespec="seconds")

    def train_and_test(
        self, encoder: str, modality: Modality, pictures: Pictures | None, progress: Progress
    ) -> Pictures:
        """One encoder on one modality, one model for all categories or one for each."""
        from isi_core.models.encoders.loading import load_encoder
        from isi_core.studies.step_order.batches import Pictures
        from isi_core.studies.step_order.train import train

        # The pictures of one encoder are prepared once for its three modalities.
        seen = pictures if pictures is not None else Pictures(load_encoder(encoder))
        categories = tuple(self.kinds) if self.plan.per_category else (ALL,)
        parts: list[Verdicts] = []
        for number, category in enumerate(categories):
            folder = self._run_folder(encoder, modality, category)
            label = f"{_short(encoder)}, {modality.upper()}{'' if category == ALL else f', {category}'}: "

            def told(message: str, share: float, label: str = label, number: int = number) -> None:
                progress(label + message, (number + share) / len(categories))

            curve = train(
                encoder,
                self.splits,
                modality,
                folder,
                self._settings(encoder),
                category,
                part_of(told, 0.0, 0.9),
                _Live(self.plan, encoder, modality, category),
                seen,
            )
            self.curves.append(curve)
            parts.append(self._test(folder, category, seen, part_of(told, 0.9, 0.97)))
            self._change(folder, category, seen, part_of(told, 0.97, 1.0))
        joined = joined_verdicts(parts)
        self.tested += joined
        return seen

    def _test(self, folder: Path, category: str, seen: Pictures, progress: Progress) -> Verdicts:
        from isi_core.studies.step_order.classifier import load_classifier
        from isi_core.studies.step_order.evaluate import evaluate
        from isi_core.studies.step_order.train import BEST

        kept = folder / TESTED
        if kept.is_file():
            return verdicts_from_json(read_json(kept))
        pairs = [pair for pair in self.splits.test if category in (ALL, pair.category)]
        found: Tested = evaluate(load_classifier(folder / BEST), pairs, progress, seen)
        verdicts = Verdicts(found.encoder, found.modality, found.verdicts, found.problems)
        write_json(kept, asdict(verdicts))
        return verdicts

    def _change(self, folder: Path, category: str, seen: Pictures, progress: Progress) -> None:
        """What hiding and swapping do to the answers, written beside the weights."""
        from isi_core.studies.step_order.classifier import load_classifier
        from isi_core.studies.step_order.flips import first_of_each, measure_flips
        from isi_core.studies.step_order.train import BEST

        if not (folder / FLIPS).is_file():
            pairs = first_of_each([pair for pair in self.splits.test if category in (ALL, pair.category)])
            found = measure_flips(load_classifier(folder / BEST), pairs, progress, seen)
            write_json(folder / FLIPS, asdict(found))

    def measure_gap(self, encoder: str, progress: Progress) -> None:
        """Before and after fine-tuning on vision + text, else on the first modality; of joint models only."""
        from isi_core.models.encoders.loading import load_encoder
        from isi_core.studies.step_order import gap
        from isi_core.studies.step_order.classifier import load_classifier
        from isi_core.studies.step_order.gap_shift import SHIFTS
        from isi_core.studies.step_order.train import BEST

        if self.plan.per_category:
            return
        modality: Modality = "vt" if "vt" in self.plan.modalities else self.plan.modalities[0]
        path = self._run_folder(encoder, modality, ALL) / "gap.json"
        kept = GapResult.from_json(read_json(path)) if path.is_file() else None
        if kept is not None and any(point.matching is not None for point in kept.shift):
            found = kept
        else:  # none yet, or one of an earlier version that measured less
            progress(f"{_short(encoder)}: measuring the modality gap", 0.0)
            after = load_classifier(path.parent / BEST)
            found = gap.measure_gap(load_encoder(encoder), after, self.splits.test, progress=progress, shifts=SHIFTS)
            write_json(path, found.to_json())
        self.gaps[encoder] = found
        write_json(self.plan.folder / GAPS, [one.to_json() for one in self.gaps.values()])

    def write(self, complete: bool) -> None:
        """The result as far as it is."""
        from isi_core.studies.step_order.evaluate import Tested, accuracies, compare_modalities

        tested = [Tested(v.encoder, v.modality, v.verdicts, v.problems) for v in self.tested]
        rows: list[CategoryAccuracy] = [row for one in tested for row in accuracies(one, self.kinds)]
        tests: list[ModalityComparison] = compare_modalities(tested, tuple(self.kinds))
        settings = {
            **asdict(self.plan),
            "training": {encoder: self._settings(encoder).to_json() for encoder in self.plan.encoders},
            "training_pairs": len(self.splits.train),
            "validation_pairs": len(self.splits.validation),
            "test_pairs": len(self.splits.test),
            "left_out": len(self.splits.problems),
        }
        grid = GridResult(self.plan.data, tuple(rows), tuple(tests), tuple(self.curves), settings, self.began, complete)
        write_json(self.plan.folder / RESULT, grid.to_json())

    def _settings(self, encoder: str) -> TrainingSettings:
        from isi_core.studies.step_order.settings import default_settings

        chosen = replace(default_settings(encoder), seed=self.plan.seed)
        return replace(chosen, epochs=self.plan.epochs) if self.plan.epochs else chosen

    def _run_folder(self, encoder: str, modality: Modality, category: str) -> Path:
        place = list(self.plan.encoders).index(encoder)
        tag = "all" if category == ALL else hashlib.sha256(category.encode()).hexdigest()[:8]
        return self.plan.folder / "runs" / f"{place:02d}_{MODALITIES.index(modality)}{modality}_{tag}"


class _Live:
    """Writes the points of the running training down for whoever watches."""

    def __init__(self, plan: StudyPlan, encoder: str, modality: Modality, category: str) -> None:
        self._plan, self._about = plan, (_short(encoder), modality, category)
        self._points: list[CurvePoint] = []
        self._written = 0.0
        self._began = time.monotonic()

    def __call__(self, point: CurvePoint) -> None:
        self._points.append(point)
        now = time.monotonic()
        if now - self._written < _LIVE_EVERY and point.validation_accuracy is None:
            return
        self._written = now
        best = max(self._points, key=lambda p: p.validation_accuracy or 0.0).step
        curve = TrainingCurve(
            *self._about, self._plan.seed, tuple(self._points), best, now - self._began, 0.0, ended="running"
        )
        write_json(self._plan.folder / LIVE, curve.to_json())


def _short(encoder: str) -> str:
    return Path(encoder).name if "/" in encoder and Path(encoder).is_dir() else encoder
