"""A ranking held against the rule that its classifier's labels followed: what no explanation of a real network has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.measures.statistics import auc_interval
from isi_core.reports.chart_parts import data, finish
from isi_core.reports.charts import Figure
from isi_core.reports.counterfactual_figures import RAISES, UNITS, labels_of, unit_of
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.results import JointResult, Result, SetResult
from isi_core.worlds.attributed import Subject
from isi_core.worlds.rules import Rule, planted_influence

_FEWEST = 3


@dataclass(frozen=True)
class Truth:
    """What was planted beside what was found.

    Attributes
    ----------
    planted : exact signed mean effect of each ranked leaf on the rule's log-odds of the class, over the pictures that
        lack it.
    spearman : rank correlation of its size with the influence found, over leaves that the rule weighs; NaN for fewer
        than three.
    auroc : how well influence tells leaves that the rule weighs from those it does not: 1 is perfectly; NaN where
        there is only one kind.
    spurious : what was found for the attribute that only goes along with a class in the training data, with its place
        among the leaves.
    interactions : (first, second, planted, what was found of it) of each of the rule's.
    scale : what the ranking measured on; what a rule plants is in log-odds.
    """

    planted: Mapping[Attribute, float]
    spearman: float
    auroc: float
    spurious: tuple[SetResult, int, int] | None
    interactions: tuple[tuple[Attribute, Attribute, float, JointResult | None], ...]
    scale: str


def truth_of(result: Result, rule: Rule, subjects: Sequence[Subject]) -> Truth | None:
    """The truth behind a ranking of attributes that were added; None where the rule cannot tell it."""
    leaves = [found for found in result.ranking if found.attribute.level == 3 and found.edits[0].sign > 0]
    if not subjects or not leaves or result.class_label not in rule.classes:
        return None
    from scipy.stats import spearmanr

    index = rule.classes.index(result.class_label)
    exact = planted_influence(rule, subjects, index, [found.attribute.path for found in leaves], only_lacking=True)
    planted = {Attribute(path): value for path, value in exact.items()}
    weighed = [found for found in leaves if abs(planted[found.attribute]) > 1e-9]
    spearman = auroc = math.nan
    if len(weighed) >= _FEWEST:
        sizes = [abs(planted[found.attribute]) for found in weighed]
        spearman = float(spearmanr(sizes, [found.influence for found in weighed]).statistic)
    if 0 < len(weighed) < len(leaves):
        known = {found.attribute for found in weighed}
        auroc = auc_interval([f.attribute in known for f in leaves], [f.influence for f in leaves]).estimate
    spurious = None
    if rule.spurious is not None:
        place = next((i for i, found in enumerate(leaves, 1) if found.attribute.path == rule.spurious), 0)
        spurious = (leaves[place - 1], place, len(leaves)) if place else None
    interactions = []
    for first, second, weight in rule.interactions:
        one, two = Attribute(first), Attribute(second)
        value = weight[0] if len(weight) == 1 else weight[index]
        if len(weight) == 1 and index == 0:
            value = -value
        interactions.append((one, two, value, _found(result, one, two)))
    return Truth(planted, spearman, auroc, spurious, tuple(interactions), str(result.settings.get("scale", "")))


def _found(result: Result, first: Attribute, second: Attribute) -> JointResult | None:
    """The pair that was edited together and stands within the two, the most telling one."""
    fitting = []
    for joint in result.joint:
        attributes = [edit.attribute for edit in joint.whole.edits]
        pairs = ((first, second), (second, first))
        if len(attributes) == 2 and any(attributes[0].within(a) and attributes[1].within(b) for a, b in pairs):
            fitting.append(joint)
    known = [joint for joint in fitting if math.isfinite(joint.interaction.estimate)]
    return max(known, key=lambda joint: abs(joint.interaction.estimate), default=None)


def truth_sentences(truth: Truth, rule: Rule, exact: bool) -> list[str]:
    """What the comparison says, a sentence each; `exact` where the classifier is the rule itself.

    Interactions are held against the rule on the scale of log-odds alone.
    """
    told = [
        f"Order of the leaves that the rule weighs: Spearman {number(truth.spearman)} with the planted influence "
        "(1: the same order, 0: none)."
    ]
    if math.isfinite(truth.auroc):
        told.append(
            f"Telling leaves with influence from those without: AUROC {number(truth.auroc)} (1: perfectly, 0.5: by "
            "chance)."
        )
    for first, second, planted, found in truth.interactions:
        names = f"{first.text} with {second.text}"
        if truth.scale != "log-odds":
            told.append(
                f"The rule's interaction of {names} is {number(planted)} in log-odds, and this ranking measured on "
                f"another scale ({UNITS.get(truth.scale, truth.scale)}): rank by log-odds to hold them against each "
                "other."
            )
        elif found is None:
            told.append(
                f"The rule's interaction of {names} ({number(planted)}) was not looked at: rank with two attributes "
                "together, as the presets paper and exhaustive do."
            )
        else:
            pair = " with ".join(labels_of([edit.attribute for edit in found.whole.edits]).values())
            bounds = found.interaction
            told.append(
                f"The rule's interaction of {names} is {number(planted)}; found for {pair}: {number(bounds.estimate)} "
                f"({number(bounds.low)} to {number(bounds.high)}), less where pictures show one of the two already."
            )
    if truth.spurious is not None:
        found_set, place, of = truth.spurious
        start = f"Spurious attribute: {found_set.attribute.text} has no weight in the rule"
        measured = f"an influence of {number(found_set.influence)}, place {place} of {of} leaves"
        if exact:
            told.append(f"{start}, and the ranking of the rule gives it {measured}.")
        else:
            floor = found_set.floor if math.isfinite(found_set.floor) else 0.0
            learned = found_set.significant and found_set.influence > 2 * floor
            verdict = "the network has learned the shortcut" if learned else "the network hardly uses it"
            told.append(
                f"{start}, but in the training pictures it went along with “{rule.spurious_class}”; the ranking gives "
                f"it {measured}: {verdict}."
            )
    return told


def truth_figure(result: Result, planted: Mapping[Attribute, float], correlation: float) -> Figure:
    """The planted influence of each attribute against the one that was found; `correlation` is Spearman's.

    Raises
    ------
    InputError : no attribute has both.
    """
    import altair as alt

    rows: list[dict[str, Any]] = [
        {
            "planted": abs(planted[found.attribute]),
            "found": found.influence,
            "attribute": found.attribute.text,
            "label": one_line(found.attribute.label, 24),
            "planted_shown": number(planted[found.attribute]),
            "found_shown": number(found.influence),
        }
        for found in result.ranking
        if found.attribute in planted and math.isfinite(found.influence)
    ]
    if not rows:
        raise InputError("No attribute has both a planted and a found influence.")
    named = _apart(rows)
    base = alt.Chart(data(rows))
    x = alt.X("planted:Q", title=f"planted influence ({UNITS['log-odds']})", axis=alt.Axis(tickCount=5))
    y = alt.Y("found:Q", title=f"found influence ({unit_of(result)})", axis=alt.Axis(tickCount=5))
    points = base.mark_point(filled=True, size=70, color=RAISES, opacity=0.85, stroke="white", strokeWidth=0.8).encode(
        x=x,
        y=y,
        tooltip=[
            alt.Tooltip("attribute:N"),
            alt.Tooltip("planted_shown:N", title="planted weight"),
            alt.Tooltip("found_shown:N", title="found influence"),
        ],
    )
    words = alt.Chart(data(named)).mark_text(align="right", dx=-7, fontSize=10).encode(x=x, y=y, text="label:N")
    reading = (
        "Each point is an attribute: how much the classifier's own rule weighs it, against the influence that the "
        f"ranking found; the more they rise together the better the explanation (Spearman {number(correlation)}, 1 is "
        "the same order)."
    )
    return Figure(finish(alt.layer(points, words), 420, 260), reading, "planted_truth")


def _apart(rows: Sequence[dict[str, Any]], most: int = 8) -> list[dict[str, Any]]:
    """The strongest points whose names do not run into each other."""
    reach = [max(row[axis] for row in rows) or 1.0 for axis in ("planted", "found")]
    named: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda r: -max(r["planted"], r["found"])):
        clear = all(
            abs(row["found"] - other["found"]) > 0.06 * reach[1]
            or abs(row["planted"] - other["planted"]) > 0.25 * reach[0]
            for other in named
        )
        if clear and row["planted"] > 0.12 * reach[0]:
            named.append(row)
    return named[:most]
