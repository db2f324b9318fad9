"""Successes and failures, collected until there are k of each; what was asked is kept and never asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from isi_core.datasets.failure_tasks import TextItem, read_task
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import ModelOutput
from isi_core.domain.progress import Progress
from isi_core.models.language.protocol import LanguageModel
from isi_core.store.pictures import to_png
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.groups import text_groups
from isi_core.studies.failure.lending import Lender
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import CHUNK, PictureInput, PicturePool, open_pool
from isi_core.studies.failure.results import SPLITS, Case, Pool, case_json, read_case
from isi_core.studies.failure.selection import balanced_splits, largest_k

DECODING = Decoding()
"""Answers are greedy."""
_AT_ONCE = 16
_TEXT_CHUNK = 200
_TEXTS_AT_ONCE = 50


@dataclass(frozen=True)
class Asked:
    """One input that was put to the model; its case has no split yet."""

    case: Case
    group: str
    unclear: bool = False


@dataclass(frozen=True)
class Collection:
    """The chosen cases, in the order they were asked, and the pool they come from."""

    cases: tuple[Case, ...]
    pool: Pool


Tell = Callable[[Sequence[Asked]], None]
"""Told what a chunk has brought so far."""


def collect_pictures(plan: FailurePlan, lend: Lender, folder: Path, progress: Progress | None = None) -> Collection:
    """Ask until exactly k successes and k failures can be chosen; pictures go to `folder/pictures`.

    The model is lent for a batch at a time, and not at all for what was asked before.

    Raises
    ------
    InputError : the pool has too few failures or successes; the message says what k is possible.
    """
    source = open_pool(plan)
    return _collect(plan, folder, lambda number, tell: _ask_pictures(source, number, lend, folder, tell), progress)


def collect_texts(
    plan: FailurePlan, model: LanguageModel, folder: Path, progress: Progress | None = None
) -> Collection:
    """The same for a text task's file: an answer is the option with the higher likelihood.

    Raises
    ------
    InputError : the file cannot be read, has no labels where they are to be taken from it, or too few of a class.
    """
    items = read_task(Path(plan.source).expanduser(), plan.task)
    if plan.labels == "given" and any(item.label is None for item in items):
        raise InputError(
            f"{Path(plan.source).name} gives no labels for its items: it needs the classes correct and incorrect, or "
            "is_correct; or let the model answer."
        )
    groups = text_groups(items)
    order = np.random.default_rng(plan.seed).permutation(len(items)).tolist()

    def ask(number: int, tell: Tell) -> list[Asked]:
        here = order[number * _TEXT_CHUNK : (number + 1) * _TEXT_CHUNK]
        found: list[Asked] = []
        for begin in range(0, len(here), _TEXTS_AT_ONCE):
            part = here[begin : begin + _TEXTS_AT_ONCE]
            found += _ask_texts([(i, items[i], groups[i]) for i in part], model, plan)
            tell(found)
        return found

    return _collect(plan, folder, ask, progress)


def _collect(
    plan: FailurePlan, folder: Path, ask: Callable[[int, Tell], list[Asked]], progress: Progress | None
) -> Collection:
    most = plan.most_asked or 50 * plan.k
    asked: list[Asked] = []
    seen: set[str] = set()
    number = 0
    while True:
        path = folder / "asked" / f"{number:05d}.jsonl"
        chunk = _read_chunk(path) if path.is_file() else None
        if chunk is None:
            chunk = ask(number, partial(_tell, plan, asked, progress))
            _write_chunk(path, chunk)
        number += 1
        for entry in chunk:
            name = input_identity(entry.case)
            if name not in seen:
                seen.add(name)
                asked.append(entry)
        labels = [entry.case.success for entry in asked]
        fewest = min(sum(labels), len(labels) - sum(labels))
        groups = [entry.group for entry in asked]
        _tell(plan, asked, progress, ())
        chosen = balanced_splits(labels, groups, plan.k, plan.seed) if fewest >= plan.k else None
        if chosen is not None:
            cases = tuple(replace(asked[i].case, split=chosen[i]) for i in sorted(chosen))
            return Collection(cases, _pool(asked))
        if not chunk or len(asked) >= most:
            _refuse(plan, labels, groups, exhausted=not chunk)


def _tell(plan: FailurePlan, asked: Sequence[Asked], progress: Progress | None, more: Sequence[Asked]) -> None:
    """How far the collection is: the share of the inputs it will take, by the rarer class's rate so far (Laplace)."""
    if progress is None:
        return
    right, count = sum(entry.case.success for entry in (*asked, *more)), len(asked) + len(more)
    fewest = min(right, count - right)
    done = 1.0 if fewest >= plan.k else count * (fewest + 1) / ((count + 2) * plan.k)
    short = "failures" if right > count / 2 else "successes"
    progress(f"Asked {count:,}: {fewest:,} of {plan.k:,} {short}", min(done, 0.99 if fewest < plan.k else 1.0))


def _refuse(plan: FailurePlan, labels: Sequence[bool], groups: Sequence[str], exhausted: bool) -> None:
    successes, failures = sum(labels), len(labels) - sum(labels)
    if not labels:
        raise InputError("There was nothing to ask: choose another source.")
    possible = largest_k(labels, groups, plan.seed)
    found = f"{plan.model} got {successes:,} of {len(labels):,} inputs right and {failures:,} wrong"
    if exhausted:
        found += ", and there are no more"
    if possible < 8:
        few = "failures" if failures < successes else "successes"
        raise InputError(f"{found}: there are too few {few} to learn from. Choose a harder or easier task or model.")
    why = "" if min(successes, failures) < plan.k else " without near-identical cases in two splits"
    raise InputError(
        f"{found}: k = {plan.k:,} of each class is not possible{why}. "
        f"Choose k = {possible:,} or less{'' if exhausted else ', or allow more inputs to be asked'}."
    )


def _pool(asked: Sequence[Asked]) -> Pool:
    conditions: dict[str, tuple[int, int]] = {}
    for entry in asked:
        right, wrong = conditions.get(entry.case.context_kind, (0, 0))
        conditions[entry.case.context_kind] = (right + entry.case.success, wrong + (not entry.case.success))
    right = sum(entry.case.success for entry in asked)
    return Pool(
        asked=len(asked),
        successes=right,
        failures=len(asked) - right,
        unclear=sum(entry.unclear for entry in asked),
        by_condition=dict(sorted(conditions.items())),
    )


def _ask_pictures(source: PicturePool, number: int, lend: Lender, folder: Path, tell: Tell) -> list[Asked]:
    inputs = source.chunk(number)
    found: list[Asked] = []
    for begin in range(0, len(inputs), _AT_ONCE):
        part = inputs[begin : begin + _AT_ONCE]
        with lend() as vlm:
            outputs = vlm.evaluate([i.trial for i in part], DECODING, {"answer"})
        for offset, (given, output) in enumerate(zip(part, outputs, strict=True)):
            case = answered_case(given, f"case_{number * CHUNK + begin + offset:07d}", output)
            _keep_picture(given, folder / case.picture)
            found.append(Asked(case, given.group, output.answer is None or output.answer.verdict == "unclear"))
        tell(found)  # which also hears a stop within a chunk
    return found


def answered_case(given: PictureInput, name: str, output: ModelOutput) -> Case:
    """The case of an input and of what the model answered to it; in no split but the first yet."""
    assert output.answer is not None
    trial = given.trial
    return Case(
        id=name,
        success=output.answer.verdict == trial.truth_word,
        split="train",
        item=trial.observation_id,
        question=trial.question,
        context=trial.context,
        answer=output.answer.text,
        truth=trial.truth_word,
        answer_likelihood=output.answer.mean_log_likelihood(),
        prompt_tokens=output.prompt_tokens,
        context_kind=trial.context_kind,
        family=given.family,
        image_kind=trial.image_kind,
        picture=f"pictures/{trial.image_digest[:24]}.png",
    )


def _keep_picture(given: PictureInput, path: Path) -> None:
    if path.is_file():
        return
    write_whole(path, to_png(given.trial.image))


def _ask_texts(entries: Sequence[tuple[int, TextItem, str]], model: LanguageModel, plan: FailurePlan) -> list[Asked]:
    likelihoods = model.option_likelihoods([item.continuations for _, item, _ in entries])
    found = []
    for (place, item, group), values in zip(entries, likelihoods, strict=True):
        chosen = int(np.argmax(values))
        right = chosen == item.gold
        given = plan.labels == "given" and item.label is not None
        case = Case(
            id=f"case_{place:07d}",
            success=bool(item.label) if given else right,
            split="train",
            item=item.id,
            question=item.question,
            context=item.passage,
            answer=item.options[chosen],
            truth=item.options[item.gold],
            options=item.options,
            option_likelihoods=tuple(values),
            answer_likelihood=values[chosen],
            reevaluated=right if given else None,
        )
        found.append(Asked(case, group))
    return found


def read_asked(folder: Path) -> list[Asked]:
    """Everything that was put to the model for a run, each input once, in the order it was asked.

    Raises
    ------
    InputError : a file of the run's folder is damaged.
    """
    found: dict[str, Asked] = {}
    for path in sorted((folder / "asked").glob("*.jsonl")):
        for entry in _read_chunk(path):
            found.setdefault(input_identity(entry.case), entry)
    return list(found.values())


def input_identity(case: Case) -> str:
    """Names what the model was shown: cases of two runs that share it were the same input."""
    if case.picture:
        return f"{case.picture}|{case.context}|{case.question}"
    return case.id


def _write_chunk(path: Path, chunk: Sequence[Asked]) -> None:
    lines = [json.dumps({"case": case_json(a.case), "group": a.group, "unclear": a.unclear}) for a in chunk]
    write_whole(path, "".join(f"{line}\n" for line in lines))


def _read_chunk(path: Path) -> list[Asked]:
    try:
        return list(_asked(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: remove it and start the run again.") from None


def _asked(lines: Sequence[str]) -> Iterator[Asked]:
    for line in lines:
        data: dict[str, Any] = json.loads(line)
        yield Asked(read_case(data["case"]), str(data["group"]), bool(data["unclear"]))


def drop_pictures(folder: Path, cases: Sequence[Case]) -> None:
    """Remove the pictures of inputs that were asked and not chosen."""
    kept = {case.picture for case in cases}
    for path in (folder / "pictures").glob("*.png"):
        if f"pictures/{path.name}" not in kept:
            path.unlink(missing_ok=True)


def split_counts(cases: Sequence[Case]) -> dict[str, int]:
    """Number of cases in each split."""
    return {split: sum(case.split == split for case in cases) for split in SPLITS}
