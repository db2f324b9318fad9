"""Plan a sweep: which observations, pictures, contexts, perturbations, models and measures; how many evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.observation import Dataset, Observation
from isi_core.models import catalogue
from isi_core.ui import resources
from isi_core.ui.bound import bound
from isi_core.ui.sweeps import engine, place
from isi_core.ui.sweeps.desk import Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.studies.slices import Slice
    from isi_core.studies.sweep.plan import Condition, SweepPlan

_NOISE = [10.0, 25.0, 50.0, 75.0, 100.0]
_OCCLUSION = [0.05, 0.1, 0.2, 0.3, 0.5]
_BLUR = [0.005, 0.01, 0.02, 0.04]


def show(desk: Desk, dataset: Dataset) -> None:
    """The choices, what they come to, and the buttons."""
    from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS

    left, right = st.columns(2, gap="large")
    with left:
        st.multiselect("Pictures", IMAGE_KINDS, **bound(desk, "images"))
        st.multiselect("Contexts", CONTEXT_KINDS, **bound(desk, "contexts"))
        _observations(desk, dataset)
    with right:
        names = [row.name for row in catalogue.ROWS if row.kind == "vlm"]
        options = [*names, *(m for m in desk.models if m not in names)]
        st.multiselect(
            "Models",
            options,
            **bound(desk, "models"),
            accept_new_options=True,
            help="From the list, or type a hub id, a folder or endpoint:MODEL@URL.",
        )
        st.multiselect("Measures", ("answer", "uncertainty", "attention"), **bound(desk, "measures"))
        st.toggle("4-bit", **bound(desk, "four_bit"), help="NF4 quantization: a quarter of the memory")
    with st.expander("Perturbations, sampling and seed"):
        _details(desk)
    place.choose(desk)
    _counted(desk, dataset)


def _observations(desk: Desk, dataset: Dataset) -> None:
    slices = _slices(dataset)
    options = ["all", "first", *(f"slice: {name}" for name in slices)]
    if desk.take not in options:
        desk.take = "all"
    words = {"all": f"All {len(dataset):,}", "first": "The first …"}
    take, first = st.columns([3, 2], vertical_alignment="bottom")
    take.selectbox(
        "Observations",
        options,
        **bound(desk, "take"),
        format_func=lambda option: words.get(option, option),
        help="A slice is a filter that was saved on Browse.",
    )
    if desk.take == "first":
        desk.first = max(1, min(desk.first, len(dataset)))
        first.number_input("How many", 1, max(1, len(dataset)), **bound(desk, "first"))
    if desk.take.startswith("slice: "):
        from isi_core.studies.slices import slice_warning, slice_words

        wanted = slices[desk.take.removeprefix("slice: ")]
        st.caption(as_written(slice_words(wanted), 300))
        if warning := slice_warning(wanted):
            st.caption(f":material/warning: {warning}")


def _details(desk: Desk) -> None:
    columns = st.columns(3, gap="large")
    with columns[0]:
        st.multiselect("Gaussian noise σ (grey levels of 255)", _NOISE, **bound(desk, "noise"), format_func=_plain)
        st.multiselect(
            "Occlusion (share of the picture)",
            _OCCLUSION,
            **bound(desk, "occlusion"),
            format_func=_plain,
            help="A grey rectangle at a place drawn by lot, the same for an observation at every size.",
        )
        st.multiselect("Blur (fraction of the shorter side)", _BLUR, **bound(desk, "blur"), format_func=_plain)
    with columns[1]:
        names = [row.name for row in catalogue.ROWS if row.kind == "entailment"]
        st.selectbox("Entailment model", names, **bound(desk, "entailment"))
        st.number_input("Samples", 1, 500, **bound(desk, "samples"))
    with columns[2]:
        st.number_input("Temperature", 0.05, 10.0, step=0.1, **bound(desk, "temperature"))
        st.number_input(
            "Seed", 0, 2**31 - 1, **bound(desk, "seed"), help="Of the sampling, random presets, noise and places"
        )
    st.caption("Every perturbation is tried at every strength on every picture and context, beside the clean one.")


def _plain(value: float) -> str:
    return f"{value:g}"


def _counted(desk: Desk, dataset: Dataset) -> None:
    """How many evaluations the choices make, and the buttons that begin."""
    from isi_core.studies.sweep.plan import left_out

    try:
        conditions = _conditions(desk)
        chosen = _chosen(desk, dataset)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return
    if not (conditions and desk.models and desk.measures and chosen):
        st.info(
            "Choose at least one picture, context, model and measure, and observations.", icon=":material/lightbulb:"
        )
        return
    without = left_out(conditions, chosen)
    models = len(desk.models)
    count = (len(chosen) * len(conditions) - sum(without.values())) * models
    words = (
        f"**{count:,} evaluations** · {len(chosen):,} observations × {len(conditions)} conditions × "
        f"{models} model{'s' * (models != 1)}"
    )
    if without:
        words += f"; {sum(without.values()) * models:,} are left out, since an observation lacks the picture or context"
    st.markdown(words)
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            "Estimate the time",
            icon=":material/timer:",
            key="sweeps_estimate",
            on_click=begin,
            args=(desk, dataset, True),
            disabled=count == 0 or place.on_cluster(desk),
            help="Plans the sweep and does three of its evaluations a model; they count as done.",
        )
        st.button(
            "Start",
            icon=":material/play_arrow:",
            type="primary",
            key="sweeps_start",
            on_click=begin,
            args=(desk, dataset, False),
            disabled=count == 0,
        )
        st.caption("It runs in the background: close the tab, come back, it goes on.", width="stretch")


def begin(desk: Desk, dataset: Dataset, probe: bool) -> None:
    """Write the plan down, and probe or start it; the same choices again are the same sweep."""
    desk.error = ""
    try:
        made = plan(desk, dataset)
        sweeps = engine.sweeps()
        desk.sweep = sweeps.create(made, dataset, _title(desk, made, dataset))
        if probe:
            sweeps.probe(desk.sweep, dataset)
        else:
            place.start(desk, desk.sweep, dataset)
    except StudioError as error:
        desk.error = str(error)


def _title(desk: Desk, made: SweepPlan, dataset: Dataset) -> str:
    """Names the slice where one was chosen; "" for the usual title."""
    if not desk.take.startswith("slice: "):
        return ""
    count, conditions = len(made.chosen(dataset)), len(made.conditions)
    words = f"{count:,} observation{'s' * (count != 1)}, {conditions} condition{'s' * (conditions != 1)}"
    return f"{dataset.name}, {desk.take}: {', '.join([words, *made.model_labels])}"


def plan(desk: Desk, dataset: Dataset) -> SweepPlan:
    """The choices as a plan.

    Raises
    ------
    InputError : something is missing, or there is no such model.
    """
    from isi_core.domain.decoding import Decoding
    from isi_core.domain.uncertainty import UncertaintySettings
    from isi_core.studies.sweep.plan import ModelChoice, SweepPlan, dataset_digest

    for name in desk.models:
        catalogue.find_vlm(name)
    quantization = "4-bit" if desk.four_bit else "none"
    chosen = _chosen(desk, dataset)
    return SweepPlan(
        dataset=dataset.name,
        dataset_digest=dataset_digest(dataset),
        conditions=_conditions(desk),
        models=tuple(ModelChoice(name.strip(), quantization) for name in desk.models),
        decoding=Decoding(n_samples=int(desk.samples), temperature=float(desk.temperature), seed=int(desk.seed)),
        measures=tuple(desk.measures),  # type: ignore[arg-type]  # checked there
        settings=UncertaintySettings(entailment_model=desk.entailment),
        seed=int(desk.seed),
        observations=None if len(chosen) == len(dataset) else tuple(o.id for o in chosen),
    )


def _conditions(desk: Desk) -> tuple[Condition, ...]:
    from isi_core.studies.sweep.plan import Perturbation, grid
    from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS

    changes = [
        Perturbation(kind, strength)  # type: ignore[arg-type]
        for kind, strengths in (("noise", desk.noise), ("occlusion", desk.occlusion), ("blur", desk.blur))
        for strength in sorted(strengths)
    ]
    # In their usual order, whichever was clicked first: the same choices are the same sweep.
    images = [kind for kind in IMAGE_KINDS if kind in desk.images]
    contexts = [kind for kind in CONTEXT_KINDS if kind in desk.contexts]
    return grid(images, contexts, changes)


def _slices(dataset: Dataset) -> dict[str, Slice]:
    """The dataset's saved slices by name; none where their file cannot be read."""
    from isi_core.studies.slices import saved_slices

    try:
        return {name: kept for name, (_, kept) in saved_slices(dataset.name).items()}
    except StudioError:
        return {}


def _chosen(desk: Desk, dataset: Dataset) -> list[Observation]:
    if desk.take == "first":
        return list(dataset.observations[: int(desk.first)])
    if not desk.take.startswith("slice: "):
        return list(dataset.observations)
    from isi_core.studies.slices import saved_slices, slice_members

    found = saved_slices(dataset.name).get(desk.take.removeprefix("slice: "))
    return [] if found is None else slice_members(resources.store(), dataset, found[1])
