"""A repair as a chart, as the paper's Table C, and in a sentence."""

from __future__ import annotations

from typing import Any

from isi_core.measures.statistics import Interval
from isi_core.reports.chart_parts import GREY, categories, data, finish, share_axis, unit_scale
from isi_core.reports.charts import Figure
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.repair_results import RepairResult, repair_rows
from isi_core.studies.counterfactuals.repair_task import AFFECTED, AS_TRAINED

# Colours of the Okabe-Ito palette that stand for no modality and no outcome, each with a shape of its own.
_COLOURS = {"before": GREY, "with counterfactuals": "#CC79A7", "with further pictures": "#56B4E9"}
_SHAPES = {"before": "circle", "with counterfactuals": "diamond", "with further pictures": "square"}


def repair_csv(result: RepairResult) -> bytes:
    """Table C, one row a group (UTF-8)."""
    return csv_bytes(list(repair_rows(result)))


def repair_figure(result: RepairResult) -> Figure:
    """Accuracy by group, before and after, with intervals over the seeds."""
    import altair as alt

    rows = []
    for group, size in result.sizes.items():
        for arm in result.arms:
            found = result.accuracy(arm, group)
            rows.append(
                {
                    "group": group,
                    "arm": arm,
                    "accuracy": found.estimate,
                    "low": max(0.0, found.low) if found.bounded else found.estimate,
                    "high": min(1.0, found.high) if found.bounded else found.estimate,
                    "shown": interval_words(found),
                    "pictures": size,
                }
            )
    arms = list(result.arms)
    colour = alt.Color(
        "arm:N",
        scale=alt.Scale(domain=arms, range=[_COLOURS[arm] for arm in arms]),
        legend=alt.Legend(title=None, orient="top", symbolSize=90),
    )
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=arms, range=[_SHAPES[arm] for arm in arms]), legend=None)
    y = categories("group", "", order=list(result.sizes), limit=200)
    base = alt.Chart(data(rows)).encode(y=y, yOffset=alt.YOffset("arm:N", sort=arms), color=colour)
    tooltip = [
        alt.Tooltip("group:N", title="group"),
        alt.Tooltip("arm:N", title="fitted"),
        alt.Tooltip("shown:N", title="accuracy, mean over seeds (95 %)"),
        alt.Tooltip("pictures:Q", title="held-out pictures"),
    ]
    scale = unit_scale()
    layers = [
        base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", scale=scale, axis=share_axis(), title="accuracy (share of pictures, 0 to 1)"), x2="high:Q"
        ),
        base.mark_point(size=90, filled=True, opacity=1).encode(
            x=alt.X("accuracy:Q", scale=scale), shape=shape, tooltip=tooltip
        ),
    ]
    reading = (
        f"Each mark is the accuracy on held-out pictures, its line the 95 % interval over {len(result.trials)} seeds: "
        "right is better, and a repair moves the affected group to the right while the others stay."
    )
    return Figure(finish(alt.layer(*layers), 420, 62 * len(result.sizes)), reading, "repair")


def interval_words(found: Interval) -> str:
    """A mean with its interval: "0.91 (0.88 to 0.94)"."""
    if not found.bounded:
        return number(found.estimate)
    return f"{number(found.estimate)} ({number(found.low)} to {number(found.high)})"


def repair_table(result: RepairResult) -> list[dict[str, str]]:
    """Table C for a person."""
    rows = []
    for group, size in result.sizes.items():
        row: dict[str, str] = {"group": f"{group} ({size:,})"}
        if result.start is not None:
            row["as it came"] = number(result.start[group])
        for arm in result.arms:
            row[arm] = interval_words(result.accuracy(arm, group))
        row["change by counterfactuals"] = interval_words(result.change("with counterfactuals", group))
        rows.append(row)
    return rows


def repair_sentence(result: RepairResult) -> str:
    """What the repair did, in a sentence."""
    task: dict[str, Any] = result.settings["task"]
    before, after = (result.accuracy(arm, AFFECTED).estimate for arm in ("before", "with counterfactuals"))
    overall = result.change("with counterfactuals", AS_TRAINED).estimate
    word = "gains" if overall >= 0 else "loses"
    return (
        f"With {result.trials[0].made} counterfactuals of {one_line(' › '.join(task['attribute']), 80)}, accuracy on "
        f"the affected group goes from {100 * before:.1f} % to {100 * after:.1f} %; overall, on pictures as in "
        f"training, it {word} {100 * abs(overall):.1f} points."
    )
