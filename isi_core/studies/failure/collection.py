"""Successes and failures, collected until there are k of each; what was asked is kept and never asked again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isi_core.datasets.failure_tasks import TextItem, read_task
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.models.language.protocol import LanguageModel
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.store.pictures import to_png
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.groups import text_groups
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.pools import CHUNK, PictureInput, PicturePool, open_pool
from isi_core.studies.failure.results import SPLITS, Case, Pool, case_json, read_case
from isi_core.studies.failure.selection import balanced_splits, largest_k

DECODING = Decoding()
"""Answers are greedy."""
_AT_ONCE = 16
_TEXT_CHUNK = 200


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


def collect_pictures(
    plan: FailurePlan, vlm: VisionLanguageModel, folder: Path, progress: Progress | None = None
) -> Collection:
    """Ask until exactly k successes and k failures can be chosen; pictures go to `folder/pictures`.

    Raises
    ------
    InputError : the pool has too few failures or successes; the message says what k is possible.
    """
    source = open_pool(plan)
    return _collect(plan, folder, lambda number: _ask_pictures(source, number, vlm, folder, progress), progress)


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

    def ask(number: int) -> list[Asked]:
        here = order[number * _TEXT_CHUNK : (number + 1) * _TEXT_CHUNK]
        return _ask_texts([(i, items[i], groups[i]) for i in here], model, plan) if here else []

    return _collect(plan, folder, ask, progress)


def _collect(
    plan: FailurePlan, folder: Path, ask: Callable[[int], list[Asked]], progress: Progress | None
) -> Collection:
    most = plan.most_asked or 50 * plan.k
    asked: list[Asked] = []
    seen: set[str] = set()
    number = 0
    while True:
        path = folder / "asked" / f"{number:05d}.jsonl"
        chunk = _read_chunk(path) if path.is_file() else None
        if chunk is None:
            chunk = ask(number)
            _write_chunk(path, chunk)
        number += 1
        for entry in chunk:
            name = _identity(entry.case)
            if name not in seen:
                seen.add(name)
                asked.append(entry)
        labels = [entry.case.success for entry in asked]
        fewest = min(sum(labels), len(labels) - sum(labels))
        groups = [entry.group for entry in asked]
        if progress is not None:
            short = "failures" if sum(labels) > len(labels) / 2 else "successes"
            progress(f"Asked {len(asked):,}: {fewest:,} of {plan.k:,} {short}", min(1.0, fewest / plan.k))
        chosen = balanced_splits(labels, groups, plan.k, plan.seed) if fewest >= plan.k else None
        if chosen is not None:
            cases = tuple(replace(asked[i].case, split=chosen[i]) for i in sorted(chosen))
            return Collection(cases, _pool(asked))
        if not chunk or len(asked) >= most:
            _refuse(plan, labels, groups, exhausted=not chunk)


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


def _ask_pictures(
    source: PicturePool, number: int, vlm: VisionLanguageModel, folder: Path, progress: Progress | None
) -> list[Asked]:
    inputs = source.chunk(number)
    found = []
    for begin in range(0, len(inputs), _AT_ONCE):
        part = inputs[begin : begin + _AT_ONCE]
        if progress is not None:  # so that a stop is heard within a chunk
            progress(f"Asking {begin + 1} to {begin + len(part)} of part {number + 1}", 0.0)
        outputs = vlm.evaluate([i.trial for i in part], DECODING, {"answer"})
        for offset, (given, output) in enumerate(zip(part, outputs, strict=True)):
            assert output.answer is not None
            verdict = output.answer.verdict
            case = _picture_case(given, f"{number * CHUNK + begin + offset:07d}")
            case = replace(
                case,
                success=verdict == given.trial.truth_word,
                answer=output.answer.text,
                answer_likelihood=output.answer.mean_log_likelihood(),
                prompt_tokens=output.prompt_tokens,
            )
            _keep_picture(given, folder / case.picture)
            found.append(Asked(case, given.group, verdict == "unclear"))
    return found


def _picture_case(given: PictureInput, number: str) -> Case:
    trial = given.trial
    return Case(
        id=f"case_{number}",
        success=False,
        split="train",
        item=trial.observation_id,
        question=trial.question,
        context=trial.context,
        truth=trial.truth_word,
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


def _identity(case: Case) -> str:
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
