"""The ranking in the background: begun, watched with what it has found so far, cancelled, kept."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import streamlit as st

from isi_core.domain.attributes import Corpus
from isi_core.domain.errors import Cancelled, StudioError
from isi_core.models.editors.protocol import Picture
from isi_core.reports.wording import duration
from isi_core.studies.counterfactuals.bank import EditBank, default_bank
from isi_core.studies.counterfactuals.results import Result
from isi_core.studies.counterfactuals.run import Settings, rank
from isi_core.studies.jobs import Job
from isi_core.ui import background, frame, resources
from isi_core.ui.counterfactuals import choices, kept
from isi_core.ui.counterfactuals.desk import Desk, Live
from isi_core.ui.wording import as_written
from isi_core.worlds.attributed import WORLDS

_PARTIAL_EVERY = 1.0  # seconds
_TOP = 10
# Seconds an edit before one was made here: a rule draws nothing, a network is asked, a diffusion model runs.
_GUESS = {"rule": 0.0005, "render": 0.03, "ledits tiny-diffusion": 1.2, "ledits": 8.0, "instruct": 8.0}


@st.cache_resource(show_spinner=False)
def _rates() -> dict[str, float]:
    """Seconds an edit as measured on this server, by what makes and classifies it."""
    return {}


def _rate_key(desk: Desk) -> str:
    if choices.chosen_classifier(desk).exact:
        return "rule"
    return (
        "render" if desk.editor == "render" else f"{desk.editor} {desk.editor_model or choices.diffusion_default(desk)}"
    )


def seconds_an_edit(desk: Desk) -> float:
    """Measured where a ranking was made with these, else a guess."""
    key = _rate_key(desk)
    return _rates().get(key, _GUESS.get(key, _GUESS[key.partition(" ")[0]]))


def begin(desk: Desk, pictures: list[Picture], corpus: Corpus, settings: Settings) -> None:
    """Start the ranking; one that was made before with the same of everything is shown at once."""
    if desk.job is not None:
        return
    desk.error = desk.note = ""
    choice, live, rate_key = choices.chosen_classifier(desk), Live(), _rate_key(desk)
    rates = _rates()
    try:
        load_classifier, load_editor = choices.load_classifier(desk, choice), choices.load_editor(desk)
        load_reader = choices.load_reader(desk, choice, corpus)
        editor_name = desk.editor
        # What the exact editor draws is made again in no time.
        bank = EditBank(default_bank()) if editor_name != "render" else None
        world = desk.domain if desk.source == "Built-in" and desk.domain in WORLDS else ""
        shared = f"{choice.title} · {{}} · {editor_name}, {settings.search} · {len(pictures)} pictures"

        def work(progress: Any) -> str:
            progress("Loading the classifier", 0.0)
            classifier = load_classifier()
            progress("Loading the editor", 0.0)
            editor = load_editor()
            key = kept.ask_key(pictures, corpus, editor.record, classifier.record, settings)
            live.key = key
            known = next((e for e in kept.entries() if e.key == key and not e.stopped), None)
            if known is not None:
                return key

            def keep(result: Result) -> None:
                title = shared.format(result.class_label)
                kept.keep(kept.Kept(key, title, result, tuple(pictures), world, choice.rule))

            try:
                began = time.monotonic()
                result = rank(pictures, corpus, editor, classifier, settings, bank, load_reader(), progress, live.take)
            except (Cancelled, StudioError):
                # What was finished is kept before the job ends; asking for the same again goes on from the edit bank.
                if live.partial is not None and live.partial.sets:
                    keep(live.partial)
                raise
            # What the bank gives costs next to nothing, and tells nothing of the next ranking. A rule makes no edit.
            made = result.cost.edits if choice.exact else result.cost.edits_made
            if made and 2 * made >= result.cost.edits:
                rates[rate_key] = (time.monotonic() - began) / made
            keep(result)
            return key

        title = f"Ranking attributes for {choice.title}"
        desk.job, desk.live = resources.jobs().submit("ranking", title, work), live
    except StudioError as error:
        desk.error = str(error)


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""

    def take(job: Job | None) -> None:
        if job is None:
            return
        if job.state == "done" and isinstance(job.result, str):
            desk.shown, desk.note = job.result, ""
            desk.chosen = desk.picture = ""
        elif job.state == "done":
            desk.error = background.INTERRUPTED
        elif job.state in ("cancelled", "failed") and desk.live.partial is not None and desk.live.partial.sets:
            desk.shown = desk.live.key
            desk.note = "What had been ranked by then is kept and shown; press the button again to go on."
        elif job.state == "cancelled":
            desk.note = "Cancelled before anything was ranked; edits that were made are kept."

    return background.collect(desk, take)


def show(desk: Desk) -> None:
    """The running ranking: progress, the strongest attributes so far, Cancel; or why the last one failed."""
    running = desk.job is not None
    background.show(desk, partial(collect, desk), "ranking_cancel")
    if running and desk.job is not None and desk.view != "Human study":  # it would tell answers there
        _partial(desk)
    if desk.note:
        st.info(as_written(desk.note), icon=":material/info:")


@st.fragment(run_every=_PARTIAL_EVERY)
def _partial(desk: Desk) -> None:
    from isi_core.reports.counterfactual_figures import influence_figure

    found = desk.live.partial
    if found is None or not found.ranking:
        st.caption("The first attributes appear here as soon as they are measured.")
        return
    st.markdown(
        f"**So far:** {len(found.sets)} attribute{'s' * (len(found.sets) != 1)}, {found.cost.edits:,} edits, "
        f"{duration(found.cost.seconds)}"
    )
    frame.chart(influence_figure(found, found.ranking[:_TOP]), "ranking_partial")
