"""A ranking held against the rule behind its classifier, for a terminal and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isi_core.commands.parts import plain

if TYPE_CHECKING:
    from isi_core.models.editors.protocol import Picture
    from isi_core.reports.counterfactual_truth import Truth
    from isi_core.studies.counterfactuals.results import Result
    from isi_core.worlds.rules import Rule


def truth_behind(result: Result, rule: Rule | None, pictures: Sequence[Picture]) -> Truth | None:
    """What the rule planted beside what was found; None where no rule is known, or it cannot tell.

    Leaves that were added are held against it, over built-in pictures of its world.
    """
    if rule is None:
        return None
    from isi_core.reports.counterfactual_truth import truth_of

    subjects = [p.subject for p in pictures if p.subject is not None and p.subject.world == rule.world]
    return truth_of(result, rule, subjects) if len(subjects) == len(pictures) else None


def truth_json(truth: Truth, rule: Rule) -> dict[str, Any]:
    """Spearman and AUROC (None where not known), each leaf's planted influence, largest first, and what they leave out.

    `interactions` are the rule's pairs: what was planted, and what a joint edit found of it.
    """
    order = sorted(truth.planted, key=lambda attribute: (-abs(truth.planted[attribute]), attribute))
    return {
        "rule": rule.name,
        "spearman": _known(truth.spearman),
        "auroc": _known(truth.auroc),
        "planted": [{"attribute": a.to_json(), "influence": truth.planted[a]} for a in order],
        "interactions": [
            {
                "attributes": [first.to_json(), second.to_json()],
                "planted": planted,
                "found": None if found is None else _known(found.interaction.estimate),
            }
            for first, second, planted, found in truth.interactions
        ],
        "notes": _left_out(rule),
    }


def truth_words(truth: Truth | None, rule: Rule) -> str:
    """One line: how well the ranking agrees with the rule, and which of its terms are not held against it."""
    if truth is None:
        return f"truth of the rule {plain(rule.name)}: not known; added leaves alone are held against it"
    weighed = sum(abs(value) > 1e-9 for value in truth.planted.values())
    line = (
        f"truth of the rule {plain(rule.name)}: Spearman {_number(truth.spearman)} over the leaves that it weighs "
        f"({weighed}), AUROC {_number(truth.auroc)} over all ranked leaves ({len(truth.planted)})"
    )
    return "; ".join([line, *_left_out(rule)])


def _left_out(rule: Rule) -> list[str]:
    """Where terms of groups and pairs do not enter a leaf's planted influence."""
    groups = sum(len(path) < 3 and any(weights) for path, weights in rule.weights.items())
    told = ["groups of attributes are not held against it"]
    if groups:
        told.append(
            f"its weights of groups ({groups}) do not enter where a picture shows another leaf of the group already"
        )
    if rule.interactions:
        told.append(
            f"its terms of pairs ({len(rule.interactions)}) do not enter where a picture lacks the other attribute"
        )
    return told


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "not known"
