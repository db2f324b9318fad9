"""Fine-tune a pair encoder with its linear head: all parameters, best validation accuracy kept, resumable."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, skip_first_batches
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from torch import nn
from torch.nn import functional

from isi_core.domain.errors import Cancelled, InputError
from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.models.encoders.loading import load_encoder
from isi_core.models.threads import SMALL, one_thread
from isi_core.studies.step_order.batches import PairBatches, Pictures, split_batch
from isi_core.studies.step_order.classifier import OrderClassifier, save_classifier
from isi_core.studies.step_order.results import ALL, CurvePoint, Modality, TrainingCurve
from isi_core.studies.step_order.settings import TrainingSettings, default_settings

Watch = Callable[[CurvePoint], None]

BEST = "best"
CURVE = "curve.json"
_STATE = "state"
_POINTS = 40
"""Points of a curve between two validations, at most."""


@dataclass
class _Course:
    """Where a training is; written beside its weights."""

    step: int = 0
    points: list[CurvePoint] = field(default_factory=list)
    best: tuple[float, float] = (-1.0, -math.inf)
    best_step: int = 0
    worse: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    ended: str = ""
    problems: list[str] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)


def train(
    encoder: str,
    splits: PairSplits,
    modality: Modality,
    folder: Path,
    settings: TrainingSettings | None = None,
    category: str = ALL,
    progress: Progress | None = None,
    watch: Watch | None = None,
    pictures: Pictures | None = None,
) -> TrainingCurve:
    """Fine-tune an encoder on one modality; `folder/best` then holds what `load_classifier` reads.

    A training that was stopped goes on where it was when it is called again with the same folder.

    Parameters
    ----------
    encoder : catalogue name, hub id or folder.
    folder : of this training alone.
    settings : the paper's, or the tiny encoders' own, when left out.
    category : one of the pairs' categories, or "all" for one model of all of them.
    watch : told each point of the curve as it is made.
    pictures : of an earlier training of the same encoder, so that they are not opened again.

    Raises
    ------
    InputError : no pair to train or validate on, or the folder holds a training of something else.
    ModelError : the encoder cannot be loaded.
    Cancelled : by `progress`; everything so far is kept.
    """
    chosen = settings or default_settings(encoder)
    fitting, checking = (_of(category, pairs) for pairs in (splits.train, splits.validation))
    if len(fitting) < 2 or not checking:
        raise InputError(
            f"{splits.name} has {len(fitting)} pairs to train on and {len(checking)} to validate with"
            f"{'' if category == ALL else f' in {category}'}: choose larger sizes or another category."
        )
    asked = _asked(encoder, splits.name, modality, category, chosen, len(fitting), len(checking))
    _claim(folder, asked)
    known = finished_curve(folder)
    if known is not None:
        return known
    set_seed(chosen.seed)
    loaded = load_encoder(encoder)
    classifier = OrderClassifier(loaded, modality)
    accelerator = accelerator_for(chosen)
    small = accelerator.device.type == "cpu" and sum(p.numel() for p in classifier.parameters()) < SMALL
    if accelerator.device.type == "cpu":
        _explicit_attention(classifier.towers)
    seen = pictures or Pictures(loaded)
    run = _Run(accelerator, classifier, chosen, folder, asked)
    data = [PairBatches(pairs, loaded, modality, seen) for pairs in (fitting, checking)]
    with one_thread(small):
        course = run.go(data[0], data[1], seen, progress, watch)
    curve = TrainingCurve(
        loaded.name, modality, category, chosen.seed, tuple(course.points), course.best_step, course.seconds,
        course.cpu_seconds, tuple(course.problems), len(course.skipped), course.ended,
    )  # fmt: skip
    (folder / CURVE).write_text(json.dumps(curve.to_json()), encoding="utf-8")
    shutil.rmtree(folder / _STATE, ignore_errors=True)
    return curve


def finished_curve(folder: Path) -> TrainingCurve | None:
    """The curve of a training that came to its end; None where there is none."""
    path = folder / CURVE
    return TrainingCurve.from_json(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def _of(category: str, pairs: Sequence[StepPair]) -> list[StepPair]:
    return [pair for pair in pairs if category in (ALL, pair.category)]


def _asked(
    encoder: str, data: str, modality: str, category: str, settings: TrainingSettings, fitting: int, checking: int
) -> dict[str, Any]:
    return {
        "asked": Path(encoder).name if Path(encoder).is_dir() else encoder,
        "data": data,
        "modality": modality,
        "category": category,
        "settings": settings.to_json(),
        "training_pairs": fitting,
        "validation_pairs": checking,
    }


def _claim(folder: Path, asked: dict[str, Any]) -> None:
    """Note what is trained in a folder; another training may not go on there."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "asked.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != asked:
        raise InputError(f"{folder.name} holds a training with other settings: choose an empty folder.")
    path.write_text(json.dumps(asked, indent=1), encoding="utf-8")


def accelerator_for(settings: TrainingSettings) -> Accelerator:
    """The devices and the number format of a training."""
    precision: str = settings.precision
    if precision == "auto":
        if torch.cuda.is_available():
            precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        elif torch.backends.mps.is_available():
            precision = "no"
        else:
            precision = "bf16" if torch.cpu.get_capabilities().get("amx_bf16") else "no"
    if AcceleratorState._shared_state:  # one a process: another number format needs a fresh one
        AcceleratorState._reset_state()
    # BLIP's cross-attention rests where only features are asked for.
    handlers: list[Any] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
    return Accelerator(mixed_precision=precision, kwargs_handlers=handlers)


def _explicit_attention(towers: nn.Module) -> None:
    """Attention by matrix products: on a CPU, the fused kernel's backward pass takes twice their time."""
    models: list[Any] = list(towers.children()) if isinstance(towers, nn.ModuleDict) else [towers]
    for model in models:
        if model.config.model_type != "blip":  # which always multiplies explicitly
            model.set_attn_implementation("eager")


class _Run:
    """One training: model, optimizers, and where it is."""

    def __init__(
        self,
        accelerator: Accelerator,
        classifier: OrderClassifier,
        settings: TrainingSettings,
        folder: Path,
        asked: dict[str, Any],
    ) -> None:
        self.accelerator, self.settings, self.folder, self.asked = accelerator, settings, folder, asked
        self.classifier = classifier
        optimizers = _optimizers(classifier, settings)
        self.model, *self.optimizers = accelerator.prepare(classifier, *optimizers)
        self.rates = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
        self.course = _Course()

    def go(
        self,
        fitting: PairBatches,
        checking: PairBatches,
        seen: Pictures,
        progress: Progress | None,
        watch: Watch | None,
    ) -> _Course:
        """From wherever it is to the end."""
        settings, course = self.settings, self._resumed()
        self.course = course
        each = math.ceil(len(fitting) / settings.batch)
        total = each * settings.epochs
        stride = max(1, each // settings.validations)
        every = max(1, stride // _POINTS)
        wall, processor = time.monotonic() - course.seconds, time.process_time() - course.cpu_seconds
        losses: list[float] = []
        rights: list[float] = []

        def clock() -> None:
            course.seconds, course.cpu_seconds = time.monotonic() - wall, time.process_time() - processor
            course.problems = list(dict.fromkeys([*course.problems, *seen.problems]))
            course.skipped = sorted({*course.skipped, *fitting.skipped})

        try:
            while course.step < total and not course.ended:
                epoch, within = divmod(course.step, each)
                order = torch.randperm(len(fitting), generator=torch.Generator().manual_seed(settings.seed + epoch))
                loader = self.accelerator.prepare(fitting.loader(settings.batch, order.tolist()))
                for batch in skip_first_batches(loader, within) if within else loader:
                    if progress is not None:
                        shown = f"{course.points[-1].loss:.3g}" if course.points else "not known yet"
                        progress(
                            f"epoch {epoch + 1} of {settings.epochs}, loss {shown}{_best(course)}",
                            course.step / total,
                        )
                    self._set_pace(course.step / total)
                    loss, right = self._learn(batch)
                    course.step += 1
                    if len(batch["labels"]):
                        losses.append(loss)
                        rights.append(right)
                    validating = course.step % stride == 0 or course.step == total
                    if (validating or course.step % every == 0) and losses:
                        clock()
                        point = CurvePoint(
                            course.step, course.step / each, sum(losses) / len(losses), sum(rights) / len(rights)
                        )
                        losses, rights = [], []
                        if validating:
                            point = self._validate(point, checking)
                        course.points.append(point)
                        if watch is not None:
                            watch(point)
                        if validating:
                            self._write_state()
                    if course.worse and course.worse == settings.patience:
                        course.ended = "early stop"
                        break
            course.ended = course.ended or "finished"
        except (Cancelled, KeyboardInterrupt):
            clock()
            self._write_state()
            raise
        clock()
        if course.best_step == 0:
            raise InputError("No pair could be used for training: every one has a picture that cannot be opened.")
        if progress is not None:
            progress(f"{course.ended}{_best(course)}", 1.0)
        return course

    def _set_pace(self, done: float) -> None:
        warm = self.settings.warmup
        share = 1.0
        if warm:
            share = min(1.0, (done + 1e-3) / warm) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * share

    def _learn(self, batch: dict[str, torch.Tensor]) -> tuple[float, float]:
        """One step; its loss (nats) and accuracy."""
        if not len(batch["labels"]):
            return math.nan, math.nan
        self.model.train()
        # Seeding each step on its own makes a resumed run drop out what an unbroken one would have dropped out.
        chance = self.settings.seed * 1_000_003 + self.course.step
        torch.manual_seed(1_009 * chance + self.accelerator.process_index)
        tokens, pixels = split_batch(batch)
        labels = batch["labels"]
        if self.settings.mirrored:
            labels = torch.cat([labels, 1 - labels])
        with self.accelerator.autocast():
            logits = self.model(tokens, pixels, self.settings.mirrored)
        loss = functional.cross_entropy(logits.float(), labels)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.accelerator.backward(loss)
        if self.settings.clip:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        return loss.item(), float((logits.argmax(-1) == labels).float().mean())

    def _validate(self, point: CurvePoint, checking: PairBatches) -> CurvePoint:
        """The point with loss and accuracy on the validation pairs; keeps the weights where they are the best yet."""
        found = predict(self.accelerator, self.model, checking, 4 * self.settings.batch)
        course = self.course
        if not found:
            raise InputError("No pair could be used for validation: every one has a picture that cannot be opened.")
        truth = {row: checking.pairs[row].label for row in found}
        loss = -sum(math.log(max(1e-12, p if truth[row] else 1 - p)) for row, p in found.items()) / len(found)
        accuracy = sum((p >= 0.5) == bool(truth[row]) for row, p in found.items()) / len(found)
        if (accuracy, -loss) > course.best:
            course.best, course.best_step, course.worse = (accuracy, -loss), point.step, 0
            if self.accelerator.is_main_process:
                about = {**self.asked, "step": point.step, "validation_accuracy": accuracy}
                save_classifier(self.classifier, self.folder / BEST, about)
        else:
            course.worse += 1
        return replace(point, validation_loss=loss, validation_accuracy=accuracy)

    def _write_state(self) -> None:
        """Weights, optimizers and place, so that a killed training goes on from here; never half written."""
        fresh, state = self.folder / f"{_STATE}.new", self.folder / _STATE
        shutil.rmtree(fresh, ignore_errors=True)
        self.accelerator.save_state(str(fresh))
        (fresh / "course.json").write_text(json.dumps(asdict(self.course)), encoding="utf-8")
        shutil.rmtree(state, ignore_errors=True)
        fresh.replace(state)

    def _resumed(self) -> _Course:
        state = self.folder / _STATE
        if not (state / "course.json").is_file():
            fresh = self.folder / f"{_STATE}.new"
            if not (fresh / "course.json").is_file():
                return _Course()
            fresh.replace(state)  # killed between the two moves
        self.accelerator.load_state(str(state))
        values = json.loads((state / "course.json").read_text(encoding="utf-8"))
        values["points"] = [CurvePoint(**point) for point in values["points"]]
        values["best"] = tuple(values["best"])
        return _Course(**values)


def _best(course: _Course) -> str:
    return f", best validation accuracy {course.best[0]:.3f}" if course.best_step else ""


def _optimizers(classifier: nn.Module, settings: TrainingSettings) -> list[torch.optim.Optimizer]:
    if settings.optimizer == "adam":
        return [torch.optim.Adam(classifier.parameters(), lr=settings.learning_rate)]
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in classifier.named_parameters():
        inside = parameter.ndim == 2 and "embed" not in name and not name.startswith("head")
        (matrices if inside else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=2 * settings.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=settings.learning_rate, weight_decay=0.0),
    ]


@torch.no_grad()
def predict(
    accelerator: Accelerator, model: nn.Module, data: PairBatches, batch: int, progress: Progress | None = None
) -> dict[int, float]:
    """Probability of "in order" by row of the pairs, those left out whose pictures cannot be opened."""
    model.eval()
    found: dict[int, float] = {}
    for done in accelerator.prepare(data.loader(batch)):
        if progress is not None:
            progress(f"{len(found):,} of {len(data):,} pairs", len(found) / max(1, len(data)))
        if not len(done["labels"]):
            continue
        tokens, pixels = split_batch(done)
        with accelerator.autocast():
            logits = model(tokens, pixels)
        told = torch.softmax(logits.float(), -1)[:, 1]
        rows, told = accelerator.gather_for_metrics((done["rows"], told))
        found.update(zip(rows.tolist(), told.tolist(), strict=True))
    return found
