"""How the edits of a search grow: with the attributes, with the pictures and with the beam's width (DiffEx, Table B).

Beam, greedy and exhaustive search for the best pair of attributes, up and down, each on its own: nothing is shared
between them. Classifiers are drawn rules, pictures are edited exactly: what is counted is what a diffusion model would
have to edit. Exhaustive search looks at no score, so that its edits are counted without making them.
"""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from isi_core.domain.attributes import Attribute, Corpus
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.reports.chart_parts import data
from isi_core.reports.charts import Figure, figure_png, figure_svg
from isi_core.studies.counterfactuals.edit_checks import CheckSettings
from isi_core.studies.counterfactuals.effects import Effects
from isi_core.studies.counterfactuals.search import Found, exhaustive_search

RESULTS = Path(__file__).parent / "results"
LEAVES = (9, 18, 36, 54, 71)
"""Leaves of the corpora that grow; with the groups they stand in there are more attributes."""
PICTURES = (3, 6, 12, 24, 48)
BEAMS = (1, 2, 3, 4, 5)
FEW = 12
"""Pictures while the attributes grow."""
GREEDY, EXHAUSTIVE = "greedy (beam of 1)", "exhaustive"
_COLOURS = ("#000000", "#9ecae1", "#6baed6", "#3182bd", "#08519c", "#D55E00")

Searched = Callable[[Effects, Corpus, int], Found]


@dataclass(frozen=True)
class Growth:
    """Mean edits of each search, by what grows and how far it has grown.

    Attributes
    ----------
    edits : search -> what grows ("attributes", "pictures", "width") -> [(its size, edits)], mean over the rules.
    """

    edits: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]

    def exponent(self, search: str, grows: str) -> float:
        """Slope of log edits against log size: 1 is linear, 2 is quadratic."""
        sizes, edits = np.log(np.array(self.edits[search][grows])).T
        return float(np.polyfit(sizes, edits, 1)[0])


def beam_name(width: int) -> str:
    """A beam of one is greedy search."""
    return GREEDY if width == 1 else f"beam of {width}"


SEARCHES = (*map(beam_name, BEAMS), EXHAUSTIVE)


def part_of(corpus: Corpus, leaves: Sequence[Attribute]) -> Corpus:
    """The corpus of these leaves of three levels alone, with the groups that they stand in, in its order."""
    wanted = {leaf.path for leaf in leaves}
    tree: dict[str, dict[str, tuple[str, ...]]] = {}
    for leaf in corpus.leaves():
        if leaf.path in wanted:
            first, second, third = leaf.path
            below = tree.setdefault(first, {})
            below[second] = (*below.get(second, ()), third)
    return Corpus(corpus.domain, tree)


def exhaustive_sets(corpus: Corpus) -> int:
    """Edit sets that exhaustive search looks at, whatever their scores."""
    return len(exhaustive_search(corpus, lambda sets: [0.0] * len(sets), joint=2).scores)


def measure(
    rules: Sequence[RuleClassifier],
    corpus: Corpus,
    drawn: Callable[[Random, int], list[Picture]],
    searched: Searched,
    leaves: Sequence[int] = LEAVES,
    pictures: Sequence[int] = PICTURES,
) -> Growth:
    """Count the edits of every search for every size, on pictures and parts of the corpus drawn for each rule.

    Parameters
    ----------
    drawn : so many pictures; searched : a search of a corpus with a beam of a width.
    leaves, pictures : the sizes; the largest part of the corpus is used while the pictures grow.
    """
    counted: dict[tuple[str, str, float], list[tuple[float, float]]] = defaultdict(list)
    for number, rule in enumerate(rules):
        rng = Random(f"growth {number}")
        shown, order = drawn(rng, max(*pictures, FEW)), list(corpus.leaves())
        rng.shuffle(order)

        def count(part: Corpus, images: int, rule: RuleClassifier = rule, shown: list[Picture] = shown) -> list[float]:
            """Edits of each of `SEARCHES`."""
            effects = Effects(shown[:images], RenderEditor(corpus.domain), rule, 1, checks=CheckSettings())
            # A set that two searches look at counts for both: each is taken as if it were alone.
            found = [len(searched(effects, part, width).scores) * images for width in BEAMS]
            return [*map(float, found), float(exhaustive_sets(part) * images)]

        for size in leaves:
            part = part_of(corpus, order[:size])
            for search, edits in zip(SEARCHES, count(part, FEW), strict=True):
                counted[search, "attributes", size].append((len(part.attributes()), edits))
        whole = part_of(corpus, order[: max(leaves)])
        for images in pictures:
            for search, edits in zip(SEARCHES, count(whole, images), strict=True):
                counted[search, "pictures", images].append((images, edits))
    made: dict[str, dict[str, list[tuple[float, float]]]] = {s: defaultdict(list) for s in SEARCHES}
    for (search, grows, _), values in counted.items():
        mean_size, mean_edits = np.mean(values, axis=0)
        made[search][grows].append((float(mean_size), float(mean_edits)))
    most = [made[beam_name(width)]["pictures"][-1][1] for width in BEAMS]
    made["beam"] = {"width": [(float(width), edits) for width, edits in zip(BEAMS, most, strict=True)]}
    return Growth(made)


def table(growth: Growth) -> str:
    """The counts and fitted exponents as text, a search a line."""
    lines = []
    for grows in ("attributes", "pictures"):
        sizes = [size for size, _ in growth.edits[EXHAUSTIVE][grows]]
        head = "".join(f"{size:>11,.0f}" for size in sizes)
        lines += [f"Edits by number of {grows}", f"{'':20}{head}   exponent"]
        for search in SEARCHES:
            row = "".join(f"{edits:>11,.0f}" for _, edits in growth.edits[search][grows])
            lines.append(f"{search:20}{row}{growth.exponent(search, grows):>11.2f}")
        lines.append("")
    widths = ", ".join(f"{width:.0f}: {edits:,.0f}" for width, edits in growth.edits["beam"]["width"])
    lines.append(
        f"Edits by beam width, on the most pictures: {widths}; exponent {growth.exponent('beam', 'width'):.2f}"
    )
    return "\n".join(lines)


def growth_figure(growth: Growth, rules: int) -> Figure:
    """Three panels: edits against attributes, pictures and beam width, one line a search."""
    import altair as alt

    panels = [
        _searches(growth, "attributes", f"attributes of the corpus ({FEW} pictures)"),
        _searches(growth, "pictures", "pictures (all attributes)"),
        _widths(growth),
    ]
    reading = (
        f"Each line is a search for the best pair of attributes, the mean of {rules} drawn rules, on "
        "logarithmic axes: with a slope of 1 edits grow in proportion, with 2 by the square; at the right, on plain "
        "axes, the beam widens."
    )
    title = alt.TitleParams(
        "Edits that a search takes",
        subtitle=textwrap.wrap(reading, 130),
        subtitleColor="#444444",
        subtitleFontSize=11,
        subtitlePadding=6,
        offset=12,
    )
    return Figure(alt.hconcat(*panels, spacing=20).properties(title=title), reading, "ranking_growth")


def _searches(growth: Growth, grows: str, title: str) -> Any:
    """All searches against what grows, each with its fitted slope at its end."""
    import altair as alt

    rows: list[dict[str, Any]] = [
        {"search": search, "size": size, "edits": edits, "slope": f"slope {growth.exponent(search, grows):.2f}"}
        for search in SEARCHES
        for size, edits in growth.edits[search][grows]
    ]
    sizes, counts = sorted({row["size"] for row in rows}), [row["edits"] for row in rows]
    colour = alt.Color(
        "search:N",
        sort=None,
        scale=alt.Scale(domain=list(SEARCHES), range=list(_COLOURS)),
        legend=alt.Legend(title=None, orient="bottom", columns=6),
    )
    x = alt.X(
        "size:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[sizes[0] / 1.15, sizes[-1] * 1.15], nice=False),
        axis=alt.Axis(values=sizes, format=",.0f", labelOverlap=False),
    )
    y = alt.Y(
        "edits:Q",
        title="edits",
        scale=alt.Scale(type="log", domain=[min(counts) / 1.3, max(counts) * 1.3], nice=False),
        axis=alt.Axis(values=[10**k for k in range(1, 8)], format=",.0f"),
    )
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    # The beams between end too close to each other for words.
    told = (GREEDY, beam_name(max(BEAMS)), EXHAUSTIVE)
    last = [row for row in rows if row["size"] == sizes[-1] and row["search"] in told]
    ends = alt.Chart(data(last)).encode(x=x, y=y, text="slope:N")
    return alt.layer(
        base.mark_line(strokeWidth=2).encode(color=colour),
        base.mark_point(filled=True, size=34, opacity=1).encode(color=colour),
        ends.mark_text(align="left", dx=16, fontSize=10, color="#222222"),
    ).properties(width=220, height=250)


def _widths(growth: Growth) -> Any:
    """Beam search against its width."""
    import altair as alt

    counts = growth.edits["beam"]["width"]
    most = growth.edits[EXHAUSTIVE]["pictures"][-1]
    rows = [{"width": width, "edits": edits} for width, edits in counts]
    axis = alt.Axis(values=list(BEAMS))
    x = alt.X("width:Q", title="beam width B", axis=axis, scale=alt.Scale(domain=[0, max(BEAMS) + 0.3], nice=False))
    y = alt.Y("edits:Q", title=f"edits, {most[0]:.0f} pictures", axis=alt.Axis(format=",.0f", tickCount=6))
    base = alt.Chart(data(rows)).encode(x=x, y=y)
    told = [f"slope {growth.exponent('beam', 'width'):.2f} on log. axes", f"exhaustive: {most[1]:,.0f} edits"]
    words = alt.Chart(data([{"width": 0.15, "edits": max(edits for _, edits in counts)}])).encode(x=x, y=y)
    return alt.layer(
        base.mark_line(strokeWidth=2, color=_COLOURS[3]),
        base.mark_point(filled=True, size=40, opacity=1, color=_COLOURS[3]),
        words.mark_text(align="left", baseline="top", fontSize=10, color="#222222", text=told, lineHeight=14),
    ).properties(width=200, height=250)


def draw(growth: Growth, rules: int, folder: Path = RESULTS) -> list[Path]:
    """Write the figure as PNG and SVG; their paths."""
    figure = growth_figure(growth, rules)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{figure.name}.png", folder / f"{figure.name}.svg"]
    paths[0].write_bytes(figure_png(figure))
    paths[1].write_bytes(figure_svg(figure))
    return paths
