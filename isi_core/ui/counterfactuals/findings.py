"""What was found: counterfactuals as in the paper's Figure 4, charts, joint attributes, the planted truth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports import counterfactual_figures as figures
from isi_core.reports.charts import Figure
from isi_core.reports.counterfactual_classes import classes_figure, classes_note, turned_figure
from isi_core.reports.counterfactual_examples import counterfactual_plate, joint_figure_plate
from isi_core.reports.counterfactual_interactions import interaction_figure
from isi_core.reports.counterfactual_plate import LIGHT, Plate, plate_png, plate_svg
from isi_core.reports.counterfactual_truth import truth_figure, truth_sentences
from isi_core.reports.wording import duration, number
from isi_core.studies.counterfactuals.results import JointResult, SetResult
from isi_core.ui import frame
from isi_core.ui.bound import bound
from isi_core.ui.counterfactuals import classes, human_study, lists, repair, shown
from isi_core.ui.counterfactuals.desk import VIEWS, Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written
from isi_core.worlds.rules import shipped_rule

_MOST_PANELS = 12
_LEGEND, _SLANTED = 48, 90  # pixels


def show(desk: Desk, made: Kept) -> None:
    """Summary, the choice of view, and the view; a human study stands without the summary, which tells its answers."""
    hidden = set() if shown.truth(desk, made) is not None else {"Planted truth"}
    if not made.result.per_class:
        hidden.add("Classes")
    views = [view for view in VIEWS if view not in hidden]
    if desk.view not in views:
        desk.view = views[0]
    if not human_study.blind(desk):
        _summary(desk, made)
    # Ten and more of them: pills go on in a second row where a row of segments would scroll out of sight.
    st.pills("View", views, **bound(desk, "view"), label_visibility="collapsed", wrap=True)
    makers: dict[str, Callable[[Desk, Kept], None]] = {
        "Counterfactuals": _counterfactuals,
        "Influence": _influence,
        "Hierarchy": _hierarchy,
        "Joint": _joint,
        "Classes": classes.show,
        "Per picture": _pictures,
        "Planted truth": _truth,
        "Compare": lists.compare,
        "Table": lists.show,
        "Human study": human_study.show,
        "Repair": repair.show,
    }
    try:
        makers[desk.view](desk, made)
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")


def _summary(desk: Desk, made: Kept) -> None:
    result = made.result
    if result.stopped:
        st.warning(
            "This ranking was stopped before its end: it shows what had been finished. The same settings again go on.",
            icon=":material/warning:",
        )
    if result.ranking:
        best = result.ranking[0]
        word = "raises" if best.signed.estimate >= 0 else "lowers"
        st.markdown(
            f"**“{as_written(result.class_label)}” depends most on *{as_written(best.attribute.text)}***: "
            f"{'adding it' if best.edits[0].sign > 0 else 'taking it away'} {word} the score by "
            f"{number(abs(best.signed.estimate))} on average ({figures.unit_of(result)})."
        )
    else:
        st.warning(
            "No attribute could be ranked: most edits were flagged. Choose *flagged too* below to look at them.",
            icon=":material/warning:",
        )
    cost = result.cost
    parts = [
        f"{len(result.ranking)} attributes ranked",
        *([f"{len(result.apart)} set apart, since most of their edits were flagged"] if result.apart else []),
        f"{len(result.pictures)} pictures",
        f"{cost.edits:,} edits",
        *([f"{cost.denoiser_evaluations:,} denoiser evaluations"] if cost.denoiser_evaluations else []),
        duration(cost.seconds),
    ]
    found = shown.truth(desk, made)
    if found is not None and math.isfinite(found.spearman):
        parts.append(f"Spearman {number(found.spearman)} with the planted truth")
    st.caption(" · ".join(parts))
    if note := classes_note(result):
        st.caption(as_written(note, 900))


def _counterfactuals(desk: Desk, made: Kept) -> None:
    shown.filters(desk, made)
    chosen = shown.chosen_sets(desk, made)
    if not chosen:
        _nothing(desk)
        return
    plate = main_plate(desk, made, chosen, on_page=True)
    _plate(desk, plate, partial(main_plate, desk, made, chosen), ("plate", made.key, made.created, _filter_key(desk)))


def _nothing(desk: Desk) -> None:
    if desk.flags == "flagged only":
        st.info("No edit was flagged: every one did what it says.", icon=":material/check_circle:")
    else:
        st.info(
            "Nothing is left by these filters: choose *all levels*, or *flagged too*.", icon=":material/filter_alt:"
        )


def _filter_key(desk: Desk) -> tuple[object, ...]:
    return desk.shown_top, desk.shown_level, desk.flags, desk.each


def main_plate(desk: Desk, made: Kept, chosen: list[SetResult], on_page: bool = False) -> Plate:
    """Figure 4; in the theme's colours on the page, on white in a file."""
    ink = shown.ink() if on_page else LIGHT
    flagged = desk.flags != "valid only"

    def draw() -> Plate:
        pictures = shown.pictures_of(desk, made)
        return counterfactual_plate(made.result, chosen, pictures, int(desk.each), flagged, ink=ink)

    return desk.computed(("main", made.key, made.created, _filter_key(desk), ink), draw)


def _plate(desk: Desk, plate: Plate, on_white: Callable[[], Plate], key: tuple[object, ...]) -> None:
    """A picture figure, how to read it, and its downloads."""
    st.image(desk.computed(("png", key, plate.ink), lambda: plate_png(plate)), width="stretch")
    st.caption(as_written(plate.reading))
    with st.container(horizontal=True, gap="small"):
        for kind, render, mime in (("PNG", plate_png, "image/png"), ("SVG", plate_svg, "image/svg+xml")):
            st.download_button(
                kind,
                data=partial(_rendered, render, on_white),
                file_name=f"{plate.name}.{kind.lower()}",
                mime=mime,
                key=f"{kind}_ranking_{plate.name}",
                icon=":material/download:",
                type="tertiary",
                on_click="ignore",
            )


def _rendered(render: Callable[[Plate], bytes], plate: Callable[[], Plate]) -> bytes:
    return render(plate())


def _influence(desk: Desk, made: Kept) -> None:
    shown.filters(desk, made)
    chosen = shown.chosen_sets(desk, made)
    if not chosen:
        _nothing(desk)
        return
    _figure(desk, figures.influence_figure(made.result, chosen), made)


def _roomy(figure: Figure, pixels: int) -> Figure:
    """The chart with room for its legend: on a page a chart's height comes to include it."""
    return replace(figure, chart=figure.chart.properties(height=figure.chart.height + pixels))


def _figure(desk: Desk, figure: Figure, made: Kept) -> None:
    """The influence chart; a click on a diamond chooses that attribute."""
    event = frame.figure(_roomy(figure, _LEGEND), "ranking_influence", selects=True)
    picked = ((event or {}).get("selection") or {}).get(figures.PICKED) or []
    path = str(picked[0].get("path", "")) if picked else ""
    if path and path != desk.clicked and any(f.attribute.text == path for f in made.result.sets):
        desk.clicked, desk.chosen, desk.picture = path, path, ""
        st.rerun()
    st.caption("Click a diamond to look at that attribute's counterfactuals below.")


def _hierarchy(desk: Desk, made: Kept) -> None:
    frame.figure(_roomy(figures.hierarchy_figure(made.result), _LEGEND), "ranking_hierarchy")


def _joint(desk: Desk, made: Kept) -> None:
    result = made.result
    if not result.joint:
        st.info(
            "Only single attributes were edited. Choose the search *paper* or *exhaustive*, or two *attributes "
            "together*, to see which ones act on each other.",
            icon=":material/lightbulb:",
        )
        return
    frame.figure(_roomy(interaction_figure(result), _LEGEND + _SLANTED), "ranking_interaction")
    desk.joint_chosen = min(desk.joint_chosen, len(result.joint) - 1)
    st.selectbox(
        "Combination",
        range(len(result.joint)),
        **bound(desk, "joint_chosen"),
        format_func=lambda i: joint_words(result.joint[i]) if i < len(result.joint) else "",
    )
    joint = result.joint[desk.joint_chosen]
    _plate(
        desk,
        joint_plate_of(desk, made, joint, on_page=True),
        partial(joint_plate_of, desk, made, joint),
        ("joint", made.key, made.created, desk.joint_chosen),
    )


def joint_words(joint: JointResult) -> str:
    """A combination in the list: its edits and the interaction."""
    names = " and ".join(edit.text for edit in joint.whole.edits)
    return f"{names} · together {number(joint.whole.signed.estimate)}, interaction {number(joint.interaction.estimate)}"


def joint_plate_of(desk: Desk, made: Kept, joint: JointResult, on_page: bool = False) -> Plate:
    """Figure 8 of a combination."""
    ink = shown.ink() if on_page else LIGHT
    return joint_figure_plate(joint, made.result, shown.pictures_of(desk, made), ink=ink)


def _pictures(desk: Desk, made: Kept) -> None:
    shown.filters(desk, made)
    chosen = shown.chosen_sets(desk, made)
    if not chosen:
        _nothing(desk)
        return
    frame.figure(figures.pictures_figure(made.result, chosen), "ranking_pictures")


def _truth(desk: Desk, made: Kept) -> None:
    found = shown.truth(desk, made)
    if found is None:
        return
    rule = shipped_rule(made.rule)
    exact = made.result.settings.get("classifier", {}).get("kind") == "rule"
    st.caption(
        "The pictures' labels followed a rule with known weights, so this explanation can be checked. "
        + (
            "The classifier is that rule."
            if exact
            else "The classifier is a network that learned from such labels: where it departs from the rule, the "
            "ranking should depart too."
        )
    )
    frame.figure(truth_figure(made.result, found.planted, found.spearman), "ranking_truth")
    for sentence in truth_sentences(found, rule, exact):
        st.markdown(f"- {as_written(sentence)}")


def figures_of(desk: Desk, made: Kept, chosen: list[SetResult]) -> list[Figure]:
    """Every chart that the ranking allows."""
    found = shown.truth(desk, made)
    makers: list[Callable[[], Figure]] = [
        lambda: figures.influence_figure(made.result, chosen),
        lambda: figures.hierarchy_figure(made.result),
        lambda: interaction_figure(made.result),
        lambda: figures.pictures_figure(made.result, chosen[:_MOST_PANELS]),
        *((lambda: turned_figure(made.result), lambda: classes_figure(made.result)) if made.result.per_class else ()),
    ]
    if found is not None:
        makers.append(lambda: truth_figure(made.result, found.planted, found.spearman))
    made_figures = []
    for make in makers:
        try:
            made_figures.append(make())
        except StudioError:  # not measured, or too little of it
            continue
    return made_figures
