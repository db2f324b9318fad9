"""Vision-language models asked which step comes first, without training: what to ask, and what they said."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.models import catalogue
from isi_core.reports.order_ask_figures import asked_csv, asked_figure, parts_figure
from isi_core.reports.order_figures import category_words
from isi_core.reports.order_words import asked_sentence
from isi_core.reports.wording import number
from isi_core.studies.step_order import asked as kept
from isi_core.studies.step_order.asked import Asked, AskPlan
from isi_core.studies.step_order.results import MODALITIES, MODALITY_NAMES
from isi_core.studies.step_order.zero_shot_rows import ZeroShotRow, zero_shot_rows
from isi_core.ui import frame, resources
from isi_core.ui.bound import bound
from isi_core.ui.step_order import work
from isi_core.ui.step_order.desk import Desk
from isi_core.ui.wording import as_written


def show(desk: Desk) -> None:
    """The choices, the button, and the answers."""
    st.markdown("**Does a model that was never trained on this know the order?** Each pair is asked in both orders.")
    _choices(desk)
    plan = _plan(desk)
    if plan is not None:
        known = _read(plan.id)
        label = "Ask" if known is None or not known.answers else "Ask again" if known.complete else "Go on asking"
        st.button(
            label,
            key="order_ask",
            icon=":material/forum:",
            on_click=partial(start, desk, plan, again=known is not None and known.complete),
            disabled=desk.job is not None,
            help="In the background; what was answered is kept, and a stopped round goes on",
        )
    found = _looked_at(desk)
    if found is None or not found.answers:
        st.info("Nothing was asked yet: press Ask; a few pairs take a minute.", icon=":material/lightbulb:")
        return
    _answers(found)


def _choices(desk: Desk) -> None:
    names = [row.name for row in catalogue.ROWS if row.kind == "vlm"]
    options = names if desk.model in names else [*names, desk.model]
    pick, bits = st.columns([7, 3], vertical_alignment="bottom")
    pick.selectbox(
        "Vision-language model",
        options,
        **bound(desk, "model"),
        accept_new_options=True,
        help="From the list, or type a hub id, a folder or an endpoint. Models that take several pictures get both, "
        "others one picture with the two side by side.",
    )
    bits.toggle("4-bit", **bound(desk, "four_bit"), help="NF4 quantization: a quarter of the memory")
    shown, pairs, samples = st.columns([4, 3, 3], vertical_alignment="bottom")
    shown.selectbox(
        "Shown beside the title", MODALITIES, **bound(desk, "asked_modality"), format_func=lambda m: MODALITY_NAMES[m]
    )
    pairs.number_input("Pairs of each category", 2, 1_000, **bound(desk, "asked_pairs"), step=2)
    samples.number_input(
        "Samples", 0, 50, **bound(desk, "samples"), help="Sampled answers a prompt for the semantic entropy; 0: none"
    )
    if desk.model == catalogue.DEFAULT_VLM:
        st.info(
            f"{catalogue.DEFAULT_VLM} knows only its drawn scenes and has never seen a how-to: expect guesses and "
            "contradictions. It is here so that every measure can be seen at work; a real model needs a download.",
            icon=":material/info:",
        )


def _plan(desk: Desk) -> AskPlan | None:
    try:
        catalogue.find_vlm(desk.model.strip())
        return AskPlan(
            desk.data,
            desk.model.strip(),
            desk.asked_modality,  # type: ignore[arg-type]
            desk.asked_pairs,
            seed=desk.seed,
            samples=desk.samples,
            quantization="4-bit" if desk.four_bit else "none",
        )
    except StudioError as error:
        st.warning(as_written(str(error)), icon=":material/warning:")
        return None


def start(desk: Desk, plan: AskPlan, again: bool = False) -> None:
    """Ask in the background what has not been answered; `again` asks everything anew."""
    if again:
        kept.forget_asked(plan.id)
    desk.asked = plan.id

    def do(progress: Any) -> str:
        from contextlib import ExitStack

        from isi_core.studies.step_order.zero_shot import ask_pairs

        with ExitStack() as stack:
            shelf = resources.shelf()
            vlm = stack.enter_context(shelf.vlm(plan.model, plan.quantization, progress))
            entailment = stack.enter_context(shelf.entailment(plan.entailment, progress)) if plan.samples else None
            ask_pairs(plan, vlm, entailment, progress)
        return plan.id

    title = f"Step order: {plan.model} asked about {plan.data}"
    work.submit(desk, title, do, lambda made: setattr(desk, "asked", made), key=f"{work.ASKED}{plan.id}")


def _read(asked_id: str) -> Asked | None:
    stamp = kept.asked_stamp(asked_id)
    if not stamp:
        return None
    try:
        return _asked(asked_id, str(kept.asked_folder()), stamp)
    except StudioError:
        return None


@st.cache_resource(show_spinner=False, max_entries=8)
def _asked(asked_id: str, folder: str, stamp: int) -> Asked:
    return kept.read_asked(asked_id)


def _looked_at(desk: Desk) -> Asked | None:
    """The answers that are looked at, to choose from where there are several."""
    found = {asked_id: one for asked_id in kept.asked_ids() if (one := _read(asked_id)) is not None and one.answers}
    if not found:
        return None
    if desk.asked not in found:
        desk.asked = next(iter(found))
    if len(found) > 1:
        st.selectbox("Answers", list(found), **bound(desk, "asked"), format_func=lambda name: _named(found[name]))
    return found[desk.asked]


def _named(one: Asked) -> str:
    plan = one.plan
    state = "" if one.complete else " · not complete"
    return f"{plan.model} · {MODALITY_NAMES[plan.modality]} · {plan.data} · {len(one.answers):,} pairs{state}"


def _answers(found: Asked) -> None:
    rows = zero_shot_rows(found.answers)
    whole = rows[-1]
    left, middle, right, last = st.columns(4)
    interval = f"95 % [{number(whole.low)}, {number(whole.high)}]; chance is 0.5"
    left.metric("Accuracy", number(whole.accuracy), help=interval)
    middle.metric("Both orders right", number(whole.both_right), help="The pairs that the model can be said to know")
    against = "–" if whole.contradictions is None else number(whole.contradictions)
    right.metric("Contradictions", against, help=f"The same yes or no to both orders, of {whole.clear:,} clear pairs")
    says = "–" if whole.says_yes is None else number(whole.says_yes)
    last.metric("Says “yes”", says, help="Of the clear answers to both orders; without a position bias it is 0.5")
    st.caption(as_written(asked_sentence(whole, found.layout)))
    model = found.plan.model
    frame.figure(asked_figure(rows, model), f"order_asked_{found.plan.id}", table=lambda: asked_csv(found))
    made = parts_figure(rows, model)
    if made is not None:
        frame.figure(made, f"order_parts_{found.plan.id}")
    _table(rows)
    if found.problems:
        st.caption(f"{len(found.problems):,} pairs were left out: {as_written(found.problems[0], 220)}")
    record = found.model
    told = (
        f"{record.get('name', model)} · revision {record.get('revision', '')[:12]} · {record.get('dtype', '')} · "
        f"{found.layout} · greedy answers, {found.plan.samples} samples at temperature 0.9 · seed {found.plan.seed} · "
        f"{found.created}"
    )
    st.caption(as_written(told))


def _table(rows: list[ZeroShotRow]) -> None:
    import pandas

    def share(value: float | None) -> str:
        return "–" if value is None else number(value)

    st.table(
        pandas.DataFrame(
            [
                {
                    "category": as_written(category_words(row.category, row.kind)),
                    "pairs": f"{row.n:,}",
                    "accuracy": f"{row.accuracy:.2f} \\[{row.low:.2f}, {row.high:.2f}\\]",
                    "both right": share(row.both_right),
                    "contradictions": share(row.contradictions),
                    "says yes": share(row.says_yes),
                    "unclear": share(row.unclear),
                    "semantic entropy (nats)": share(row.semantic_entropy),
                }
                for row in rows
            ]
        ).set_index("category")
    )
