"""Which model answers, and every setting that shapes an answer or a measure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import streamlit as st

from isi_core.domain.decoding import Strategy
from isi_core.domain.errors import StudioError
from isi_core.domain.uncertainty import LikelihoodKind, Rule, UncertaintySettings
from isi_core.models import catalogue
from isi_core.ui import entailment_choice, resources
from isi_core.ui.vqa.desk import Desk
from isi_core.ui.wording import as_written


def model(desk: Desk) -> None:
    """Family, size and 4-bit, with what they need and whether they are ready."""
    try:
        row = catalogue.find_vlm(desk.model)
    except StudioError as error:
        desk.error, desk.model = str(error), catalogue.DEFAULT_VLM
        row = catalogue.find_vlm(desk.model)
    families = catalogue.vlm_families()
    family, size, bits = st.columns([4, 4, 2], vertical_alignment="bottom", wrap=False)
    if row.family not in families:
        families = [*families, row.family]
    st.session_state["vqa_family"] = row.family
    rows = catalogue.sizes(row.family) or [row]

    def choose_family() -> None:
        desk.model = (catalogue.sizes(st.session_state["vqa_family"]) or [row])[0].name

    def choose_size() -> None:
        desk.model = st.session_state["vqa_size"]

    def choose_bits() -> None:
        desk.four_bit = st.session_state["vqa_four_bit"]

    family.selectbox("Model family", families, key="vqa_family", on_change=choose_family)
    st.session_state["vqa_size"] = row.name
    names = {r.name: r.size for r in rows}
    size.selectbox("Size", list(names), key="vqa_size", format_func=lambda n: names.get(n, n), on_change=choose_size)
    st.session_state["vqa_four_bit"] = desk.four_bit
    bits.toggle("4-bit", key="vqa_four_bit", on_change=choose_bits, help="NF4 quantization: a quarter of the memory")
    _readiness(row, desk)


def another_model(desk: Desk) -> None:
    """Any vision-language model by its hub id, folder or OpenAI-compatible endpoint."""

    def use() -> None:
        typed = st.session_state["vqa_model_typed"].strip()
        desk.error = ""
        try:
            if typed:
                row = catalogue.find_vlm(typed)
                known = row.endpoint is not None or row in catalogue.ROWS
                desk.model = row.name if known else typed
        except StudioError as error:
            desk.error = str(error)

    with st.popover("Another model", icon=":material/add:"):
        st.text_input(
            "Hub id, folder or endpoint",
            key="vqa_model_typed",
            placeholder="llava-hf/llava-1.5-7b-hf",
            on_change=use,
            help="An image-text-to-text model with safetensors weights (no code of the checkpoint is run), "
            "or a server: endpoint:MODEL@http://127.0.0.1:8000/v1",
        )
        st.caption("Press Enter to choose it; it is loaded at the next question.")


def _readiness(row: catalogue.CatalogueRow, desk: Desk) -> None:
    try:
        found = resources.shelf().readiness(desk.model, desk.quantization)
    except StudioError as error:
        st.warning(as_written(str(error)))
        return
    resident = any(s.name == row.name and s.state != "loading" for s in resources.shelf().status())
    icon = ":material/check_circle:" if found.usable else ":material/warning:"
    state = "loaded" if resident else found.state
    st.caption(
        f"{icon} **{state}** · {as_written(found.sentence)}" + (f" {as_written(row.notes)}" if row.notes else "")
    )


def measures(desk: Desk) -> None:
    """Samples, temperature and the rest, with the published values as defaults."""
    kept, settings = desk.decoding, desk.settings
    with st.popover("Decoding and measures", icon=":material/tune:"):
        left, right = st.columns(2)
        values: dict[str, Any] = {
            "n_samples": int(left.number_input("Samples", 1, 500, kept.n_samples, key="vqa_n_samples")),
            "temperature": float(
                right.number_input("Temperature", 0.001, 10.0, kept.temperature, 0.05, key="vqa_temperature")
            ),
            "top_k": int(left.number_input("Top-k (0 keeps all)", 0, None, kept.top_k, key="vqa_top_k")),
            "top_p": float(right.number_input("Top-p", 0.001, 1.0, kept.top_p, 0.05, key="vqa_top_p")),
            "max_new_tokens": int(
                left.number_input("Longest answer (tokens)", 1, 2048, kept.max_new_tokens, key="vqa_max_tokens")
            ),
            "seed": int(right.number_input("Seed", None, None, kept.seed, key="vqa_seed")),
            "strategy": left.selectbox(
                "Main answer",
                get_args(Strategy),
                index=get_args(Strategy).index(kept.strategy),
                key="vqa_strategy",
            ),
        }
        rule = right.selectbox(
            "Same meaning when",
            get_args(Rule),
            index=get_args(Rule).index(settings.rule),
            key="vqa_rule",
            help="Loose (published): no contradiction either way and not both neutral. Strict: each entails the other.",
        )
        likelihood = left.selectbox(
            "Likelihoods",
            get_args(LikelihoodKind),
            index=get_args(LikelihoodKind).index(settings.likelihood),
            key="vqa_likelihood",
            format_func=lambda kind: "published (after temperature, top-k)" if kind == "sampling" else "model's own",
            help="ISI and the Nature code use likelihoods after temperature and top-k.",
        )
        names = [row.name for row in catalogue.ROWS if row.kind == "entailment"]
        if settings.entailment_model not in names:
            names.append(settings.entailment_model)
        entailment = right.selectbox(
            "Entailment model",
            names,
            index=names.index(settings.entailment_model),
            key="vqa_entailment",
            format_func=entailment_choice.words,
        )

        def put(name: str) -> None:
            desk.settings = replace(desk.settings, entailment_model=name)
            st.session_state["vqa_entailment"] = name

        def complain(error: str) -> None:
            desk.error = error

        entailment_choice.typed("vqa_entailment_typed", put, complain, folders=False)
        st.caption("Defaults are the published ones: 10 samples at temperature 0.9, top-k 50, loose rule.")
    try:
        desk.decoding = replace(kept, **values)
        desk.settings = UncertaintySettings(rule, likelihood, entailment)
    except StudioError as error:
        st.warning(as_written(str(error)))
