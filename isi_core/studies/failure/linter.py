"""Is a data set of successes and failures fit to tell anything? Checked before any probe runs.

Two of the four published null results are artefacts of their data (labels that follow the file's order, items in
both classes); every check here finds one such way to fool oneself.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from isi_core.datasets.failure_tasks import TextItem, plain_words
from isi_core.domain.observation import Dataset
from isi_core.measures.statistics import auc_interval
from isi_core.studies.failure.results import SPLITS, Case, LintFinding, Severity

_EXAMPLES = 10
_SHOWN = 90
_ORDERED = 0.9  # share of labels that one id range explains: severe
_FEWEST = 40  # labels below which one range may explain most by chance
_STATED = re.compile(r"\b(?:answer|response)\b[^.!?\n]{0,20}?(?:\bis\b|\bshould be\b|:)[\s:]*[\"'“‘(]?", re.IGNORECASE)
_SEVERITIES: tuple[Severity, ...] = ("severe", "warning", "note")


@dataclass(frozen=True)
class LintItem:
    """What the checks look at; a field that is not known is None (or empty) and its checks are left out.

    Attributes
    ----------
    id, number : name, and the number in it (or its place in the order it was asked).
    label : True success, False failure.
    split : train, validation, test or "".
    key : the same for the same item, whatever its gold.
    text : words to show.
    gold : the right answer; `options` are all of them.
    passage : what near-identical items share (passage, picture), in normal form; "" where nothing.
    prompt : what the model reads.
    agrees : whether a re-evaluation of the model gives the same label.
    likelihood_missing, cut : no likelihood, or the prompt lost tokens.
    """

    id: str
    number: int | None
    label: bool | None
    split: str
    key: str
    text: str
    gold: str
    options: tuple[str, ...] = ()
    passage: str = ""
    prompt: str = ""
    agrees: bool | None = None
    likelihood_missing: bool | None = None
    cut: bool | None = None


def items_of_task(items: Iterable[TextItem]) -> list[LintItem]:
    """A text task's items for the linter."""
    found = []
    for item in items:
        given = item.given_answer
        if given is None and item.likelihoods and not any(map(math.isnan, item.likelihoods)):
            given = int(np.argmax(item.likelihoods))
        found.append(
            LintItem(
                id=item.id,
                number=item.number,
                label=item.label,
                split=item.split,
                key=item.key,
                text=item.question,
                gold=item.options[item.gold],
                options=item.options,
                passage=plain_words(item.passage),
                prompt=item.given_prompt or item.prompt,
                agrees=None if given is None or item.label is None else (given == item.gold) == item.label,
                likelihood_missing=any(map(math.isnan, item.likelihoods)) if item.likelihoods else None,
            )
        )
    # Where some records have likelihoods, the others lack theirs.
    if any(item.likelihood_missing is not None for item in found):
        found = [i if i.likelihood_missing is not None else _without_likelihood(i) for i in found]
    return found


def items_of_cases(cases: Iterable[Case]) -> list[LintItem]:
    """Collected cases for the linter; they are numbered in the order they were asked."""
    found = []
    for case in cases:
        number = re.search(r"(\d+)$", case.id)
        missing = not case.option_likelihoods or any(map(math.isnan, case.option_likelihoods))
        found.append(
            LintItem(
                id=case.id,
                number=int(number.group(1)) if number else None,
                label=case.success,
                split=case.split,
                key=plain_words(" | ".join((case.picture, case.context, case.question, *sorted(case.options)))),
                text=case.question,
                gold=case.truth,
                options=case.options or ("yes", "no"),
                passage=case.picture or plain_words(case.context),
                prompt=f"{case.context} {case.question}",
                agrees=None if case.reevaluated is None else case.reevaluated == case.success,
                likelihood_missing=missing,
                cut=case.cut,
            )
        )
    return found


def items_of_dataset(dataset: Dataset) -> list[LintItem]:
    """A VQA dataset that no model has answered yet: every observation with each context it has."""
    return [
        LintItem(
            id=f"{o.id} ({kind})",
            number=None,
            label=None,
            split="",
            key=f"{o.image.name} | {plain_words(context)} | {plain_words(o.question)}",
            text=o.question,
            gold="yes" if o.truth else "no",
            options=("yes", "no"),
            passage=o.image.name,
            prompt=f"{context} {o.question}",
        )
        for o in dataset.observations
        if o.truth is not None
        for kind, context in (("complementary", o.complementary), ("contradictory", o.contradictory))
        if context
    ]


def lint(items: Sequence[LintItem], features: int | None = None) -> list[LintFinding]:
    """What is wrong with the data, severe findings first; empty where nothing was found.

    Parameters
    ----------
    features : dimensions of the probe that is to learn from the training split.
    """
    found = [finding for check in _CHECKS for finding in check(items)]
    train = [item for item in items if item.split == "train"] or list(items)
    if features is not None and features >= len(train):
        found.append(
            LintFinding(
                "more features than examples",
                "warning",
                features,
                (),
                f"A probe has {features:,} features for {len(train):,} training examples and can separate any labels: "
                "collect more, choose the regularization on the validation split, and read the test AUC only.",
            )
        )
    return sorted(found, key=lambda finding: _SEVERITIES.index(finding.severity))


def _order(items: Sequence[LintItem]) -> list[LintFinding]:
    """Does one range of ids hold one class?"""
    known = sorted((i for i in items if i.number is not None and i.label is not None), key=lambda i: i.number or 0)
    labels = np.array([i.label for i in known], dtype=bool)
    if len(known) < _FEWEST or labels.all() or not labels.any():
        return []
    best = _best_range(labels)
    classes = {True: [i for i in known if i.label], False: [i for i in known if not i.label]}
    ranges = {label: (members[0], members[-1]) for label, members in classes.items()}
    said = "; ".join(
        f"{'successes' if label else 'failures'} have the ids {first.id} to {last.id}"
        for label, (first, last) in ranges.items()
    )
    examples = tuple(item.id for pair in ranges.values() for item in pair)
    if best.accuracy >= _ORDERED:
        checked = [i for i in known if i.agrees is not None]
        if len(checked) >= 0.9 * len(known) and np.mean([bool(i.agrees) for i in checked]) >= 0.99:
            return [
                LintFinding(
                    "label explained by order",
                    "warning",
                    best.explained,
                    examples,
                    f"One range of ids tells the label of {best.accuracy:.0%} of the items ({said}). The model's own "
                    "answers agree with the labels, so the ids seem to be given by class: never let a probe see them.",
                )
            ]
        return [
            LintFinding(
                "label explained by order",
                "severe",
                best.explained,
                examples,
                f"One range of ids tells the label of {best.accuracy:.0%} of the items ({said}): the labels say where "
                "an item stood in the file, not whether the model failed. Collect the labels again from the model's "
                "own answers.",
            )
        ]
    area = auc_interval(labels, [i.number or 0 for i in known], 0.9999)
    if area.bounded and not area.low <= 0.5 <= area.high and abs(area.estimate - 0.5) > 0.1:
        return [
            LintFinding(
                "label explained by order",
                "warning",
                len(known),
                examples,
                f"The id alone has an AUC of {area.estimate:.2f} for the label: draw the cases of both classes at "
                "random from all that were asked.",
            )
        ]
    return []


class _Range(NamedTuple):
    explained: int
    accuracy: float


def _best_range(labels: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> _Range:
    """How many labels the best rule "this one contiguous range is of one class, the rest of the other" tells."""
    signs = np.where(labels, 1, -1)
    sums = np.concatenate([[0], np.cumsum(signs)])
    rises = sums - np.minimum.accumulate(sums)
    falls = np.maximum.accumulate(sums) - sums
    # A range whose sum is s and the rest t explains (n + s - t) / 2 labels, or the other way round.
    total = int(sums[-1])
    explained = max(
        (len(labels) + 2 * int(rises.max()) - total) // 2, (len(labels) + 2 * int(falls.max()) + total) // 2
    )
    return _Range(explained, explained / len(labels))


def _both_classes(items: Sequence[LintItem]) -> list[LintFinding]:
    """The same item as success and as failure."""
    by_key: dict[str, dict[bool, list[LintItem]]] = defaultdict(lambda: {True: [], False: []})
    for item in items:
        if item.label is not None and item.key:
            by_key[item.key][item.label].append(item)
    both = [classes for classes in by_key.values() if classes[True] and classes[False]]
    if not both:
        return []
    opposite = sum({i.gold for i in c[True]}.isdisjoint({i.gold for i in c[False]}) for c in both)
    gold = f", {opposite:,} of them with opposite gold answers" if opposite else ""
    return [
        LintFinding(
            "same item in both classes",
            "severe",
            len(both),
            tuple(_shown(c[True][0]) for c in both[:_EXAMPLES]),
            f"{len(both):,} items are both a success and a failure{gold}: no input can tell the label, which must come "
            "from the gold answer. Label every item once, by the model's answer to it.",
        )
    ]


def _shared_items(items: Sequence[LintItem]) -> list[LintFinding]:
    """Items in more than one split."""
    return _shared(
        items,
        lambda item: item.key,
        "item in more than one split",
        "severe",
        "items of {later} occur in {earlier} too: a probe can have learned them by heart. Keep duplicates in one "
        "split.",
    )


def _shared_passages(items: Sequence[LintItem]) -> list[LintFinding]:
    """Passages or pictures in more than one split, by different items."""
    keys: dict[str, set[str]] = defaultdict(set)
    for item in items:
        keys[item.key].add(item.split)
    once = [item for item in items if len(keys[item.key]) == 1]
    return _shared(
        once,
        lambda item: item.passage,
        "passage in more than one split",
        "warning",
        "items of {later} have a passage or picture that occurs in {earlier}: near-identical inputs cross the splits. "
        "Split by passage.",
    )


def _shared(
    items: Sequence[LintItem], key: Callable[[LintItem], str], check: str, severity: Severity, advice: str
) -> list[LintFinding]:
    found = []
    for earlier, later in (("train", "test"), ("train", "validation"), ("validation", "test")):
        known = {key(item) for item in items if item.split == earlier} - {""}
        again = [item for item in items if item.split == later and key(item) in known]
        if again:
            found.append(
                LintFinding(
                    f"{check}: {later} in {earlier}",
                    severity,
                    len(again),
                    tuple(map(_shown, again[:_EXAMPLES])),
                    f"{len(again):,} {advice.format(later=later, earlier=earlier)}",
                )
            )
    return found


def _gold_in_prompt(items: Sequence[LintItem]) -> list[LintFinding]:
    """Prompts that say the right answer, and not the wrong ones, more often than the reverse."""
    gold_only, other_only = [], 0
    judged = 0
    for item in items:
        if not item.prompt or not item.gold or len(item.options) < 2:
            continue
        judged += 1
        told = {option for option in item.options if _tells(item.prompt, option)}
        if item.gold in told and len(told) == 1:
            gold_only.append(item)
        elif told and item.gold not in told and len(told) == len(item.options) - 1:
            other_only += 1
    if judged < 1 or len(gold_only) < max(5, 0.05 * judged) or len(gold_only) < 3 * max(1, other_only):
        return []
    return [
        LintFinding(
            "gold answer visible in the prompt",
            "severe" if len(gold_only) > 0.2 * judged else "warning",
            len(gold_only),
            tuple(map(_shown, gold_only[:_EXAMPLES])),
            f"{len(gold_only):,} of {judged:,} prompts say the right answer and not the others: the model is told what "
            "it is asked. Take the answer out of the prompt.",
        )
    ]


def _tells(prompt: str, option: str) -> bool:
    """Whether a prompt says an option: a short one only where it is said to be the answer."""
    if len(option.split()) >= 3:
        return plain_words(option) in plain_words(prompt)
    return any(
        prompt[found.end() :].lower().startswith(option.lower())
        and not prompt[found.end() + len(option) : found.end() + len(option) + 1].isalnum()
        for found in _STATED.finditer(prompt)
    )


def _reevaluation(items: Sequence[LintItem]) -> list[LintFinding]:
    """Labels that a re-evaluation of the model does not confirm."""
    checked = [item for item in items if item.agrees is not None]
    wrong = [item for item in checked if not item.agrees]
    if not wrong:
        return []
    share = len(wrong) / len(checked)
    return [
        LintFinding(
            "label disagrees with a re-evaluation",
            "severe" if share > 0.05 else "warning",
            len(wrong),
            tuple(map(_shown, wrong[:_EXAMPLES])),
            f"{len(wrong):,} of {len(checked):,} labels ({share:.0%}) are not what the model's own answers give: take "
            "the labels from the answers.",
        )
    ]


def _balance(items: Sequence[LintItem]) -> list[LintFinding]:
    """Classes that are not equally large."""
    found = []
    for split in (*SPLITS, ""):
        labels = [item.label for item in items if item.split == split and item.label is not None]
        if not labels:
            continue
        successes, n = sum(labels), len(labels)
        where = f"the {split} split" if split else "the data"
        if successes in (0, n):
            only = "successes" if successes else "failures"
            severity: Severity = "severe"
            advice = f"All {n:,} labels of {where} are {only}: nothing can be told apart. Collect both classes."
        elif not 0.45 <= successes / n <= 0.55:
            severity = "warning"
            advice = (
                f"{successes:,} of {n:,} labels of {where} are successes: accuracy then rewards the larger class. "
                "Balance the classes, or read AUC only."
            )
        else:
            continue
        found.append(LintFinding("classes out of balance", severity, abs(2 * successes - n), (), advice))
    return found


def _cut(items: Sequence[LintItem]) -> list[LintFinding]:
    """Prompts that lost tokens."""
    cut = [item for item in items if item.cut]
    if not cut:
        return []
    return [
        LintFinding(
            "prompt cut by the context limit",
            "severe" if len(cut) > 0.05 * len(items) else "warning",
            len(cut),
            tuple(map(_shown, cut[:_EXAMPLES])),
            f"{len(cut):,} of {len(items):,} prompts did not fit and lost a part: the model never saw it. Leave these "
            "items out, or choose a model that takes more.",
        )
    ]


def _missing(items: Sequence[LintItem]) -> list[LintFinding]:
    """Items without likelihoods where there should be some."""
    asked = [item for item in items if item.likelihood_missing is not None]
    missing = [item for item in asked if item.likelihood_missing]
    if not missing:
        return []
    return [
        LintFinding(
            "likelihoods missing",
            "severe" if len(missing) > 0.05 * len(asked) else "warning",
            len(missing),
            tuple(map(_shown, missing[:_EXAMPLES])),
            f"{len(missing):,} of {len(asked):,} items have no likelihood of an option: their label cannot be checked. "
            "Ask the model again.",
        )
    ]


_CHECKS: tuple[Callable[[Sequence[LintItem]], list[LintFinding]], ...] = (
    _order,
    _both_classes,
    _shared_items,
    _shared_passages,
    _gold_in_prompt,
    _reevaluation,
    _balance,
    _cut,
    _missing,
)


def _shown(item: LintItem) -> str:
    text = item.text if len(item.text) <= _SHOWN else f"{item.text[: _SHOWN - 1]}…"
    return f"{item.id}: {text}" if item.id else text


def _without_likelihood(item: LintItem) -> LintItem:
    return replace(item, likelihood_missing=True)
