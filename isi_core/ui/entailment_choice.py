"""An entailment model beside the catalogue's: an LLM judge by its endpoint, a hub id or a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import streamlit as st

from isi_core.domain.errors import InputError, StudioError
from isi_core.models import catalogue
from isi_core.models.entailment.judge_address import EXAMPLE, is_judge


def typed(key: str, put: Callable[[str], None], complain: Callable[[str], None], folders: bool = True) -> None:
    """A field for the name; `put` gets one that can be found, `complain` the sentence about one that cannot."""

    def use() -> None:
        name = st.session_state[key].strip()
        if not name:
            return
        try:
            row = catalogue.find_entailment(name)
            if isinstance(row.source, Path) and row not in catalogue.ROWS and not folders:
                raise InputError("A folder's entailment model is chosen on Semantic Uncertainty: give a hub id here.")
        except StudioError as error:
            complain(str(error))
            return
        complain("")
        put(row.name if row.endpoint is not None or row in catalogue.ROWS else name)

    st.text_input(
        "LLM judge or hub id" if not folders else "LLM judge, hub id or folder",
        key=key,
        placeholder=EXAMPLE,
        on_change=use,
        help="A judge is a language model behind an OpenAI-compatible server (vLLM, Ollama, llama.cpp, a cloud) that "
        "is asked of every pair of answers whether the first entails the second. It gets the question and the answers, "
        "no picture; its key comes from ISI_ENDPOINT_KEY. A hub id is a sequence classifier fine-tuned on MNLI.",
    )


def words(name: str) -> str:
    """The name as a list shows it: a judge by its model and host."""
    if not is_judge(name):
        return name
    try:
        endpoint = catalogue.find_entailment(name).endpoint
    except StudioError:
        endpoint = None
    return name if endpoint is None else f"judge {endpoint.model} at {endpoint.host}:{endpoint.port}"
