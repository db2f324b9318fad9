"""The history strip: this session's trials side by side, each a way back to its input."""

from __future__ import annotations

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.domain.evaluation import Evaluation
from isi_core.reports import charts
from isi_core.reports.wording import decoding_words, grouping_words, intervention_words, number
from isi_core.ui import frame
from isi_core.ui.vqa.desk import Desk, Entry
from isi_core.ui.vqa.outputs import downloads, under_settings
from isi_core.ui.wording import as_written

_ACROSS = 6
_SHOWN = 24


def show(desk: Desk) -> None:
    """Cards of the trials, newest first, and what two of them differ in."""
    st.subheader("This session's trials", anchor=False)
    if not desk.entries:
        st.caption("Every answer becomes a card here: click one to return to its input, tick two to compare them.")
        return
    newest = list(enumerate(desk.entries))[::-1][:_SHOWN]
    for start in range(0, len(newest), _ACROSS):
        columns = st.columns(_ACROSS)
        for column, (index, entry) in zip(columns, newest[start : start + _ACROSS], strict=False):
            with column, st.container(border=True, key=f"vqa_card_{index}"):
                _card(desk, index, entry)
    if len(desk.entries) > _SHOWN:
        st.caption(f"The newest {_SHOWN} of {len(desk.entries)} are shown; all are in the report and the store.")
    if desk.investigation and len(desk.investigation) > 1:
        st.markdown("**Example investigation** · its trials on one page")
        downloads([desk.entries[i] for i in desk.investigation], "investigation")
    st.markdown("**All of this session**")
    downloads(desk.entries, "session")
    _comparison(desk)


def _grouped(desk: Desk, index: int) -> Evaluation:
    """A trial with its answers grouped as chosen now, as the result panel shows it; grouped once for each choice."""
    made = desk.entries[index].evaluation
    return desk.once(f"grouped_{index}", (made, desk.settings), lambda: under_settings(desk, made))


def _card(desk: Desk, index: int, entry: Entry) -> None:
    made = _grouped(desk, index)
    st.image(entry.card, width="stretch")
    title = entry.label or f"{made.trial.image_kind} · {made.trial.context_kind}"
    st.markdown(f"**{index + 1}. {as_written(title, 28)}**")
    frame.verdict_badge(made)
    if made.answer is not None:
        st.caption(f"“{as_written(made.answer.text, 60)}”")
    lines = []
    if made.uncertainty is not None:
        lines.append(f"entropy {number(made.uncertainty.semantic_entropy)} nats")
    elif entry.evaluation.uncertainty is not None:
        lines.append("entropy grouped otherwise")
    if made.attribution is not None:
        shares = made.attribution.relative
        lines.append(
            "image {} · context {} · question {}".format(
                *(number(shares[name]) for name in ("image", "context", "question"))
            )
        )
    if lines:
        st.caption("  \n".join(lines))

    def restore() -> None:
        desk.error = ""
        try:
            desk.work_on(entry.dataset, entry.draft)
        except StudioError as error:
            desk.error = str(error)

    def compare() -> None:
        chosen = [i for i in desk.compared if i != index]
        if st.session_state[f"vqa_compare_{index}"]:
            chosen = [*chosen, index][-2:]
        desk.compared = chosen

    st.button("Restore", key=f"vqa_restore_{index}", icon=":material/restore:", on_click=restore, width="stretch")
    st.session_state[f"vqa_compare_{index}"] = index in desk.compared
    st.checkbox("Compare", key=f"vqa_compare_{index}", on_change=compare)


def _rows(asked: Evaluation, made: Evaluation) -> dict[str, str]:
    """All that can differ between two trials, in words; `made` is `asked` with its answers grouped as chosen now."""
    trial, model, found = made.trial, made.model, made.uncertainty
    return {
        "Picture": f"{trial.image_kind}, digest of the whole input {trial.digest[:8]}",
        "Context": f"({trial.context_kind}) {trial.context}" if trial.context else "none",
        "Question": trial.question,
        "Changes": "; ".join(intervention_words(c) for c in trial.interventions) or "none",
        "Truth": trial.truth_word,
        "Model": model.name,
        "Revision": model.revision[:12],
        "Loaded as": f"{model.source}, {model.dtype}, {model.quantization}, {model.attention}, {model.device}",
        "Decoding": decoding_words(made.decoding),
        "Seed": str(made.decoding.seed),
        "Grouping": grouping_words((found or asked.uncertainty).settings) if asked.uncertainty else "–",
        "Versions": ", ".join(f"{name} {version}" for name, version in made.versions.items()) or "–",
        "Answer": made.answer.text if made.answer else "not asked",
        "Verdict": made.answer.verdict if made.answer else "–",
        "Semantic entropy (nats)": number(found.semantic_entropy) if found else "–",
        "Clusters": str(found.n_clusters) if found else "–",
        **{
            f"Attention on the {name} (relative)": number(made.attribution.relative[name]) if made.attribution else "–"
            for name in ("image", "context", "question")
        },
    }


def _comparison(desk: Desk) -> None:
    chosen = [i for i in desk.compared if i < len(desk.entries)]
    if len(chosen) != 2:
        return
    entries, made = [desk.entries[i] for i in chosen], [_grouped(desk, i) for i in chosen]
    st.markdown(f"**Trial {chosen[0] + 1} against trial {chosen[1] + 1}** · only what differs")
    left, right = (_rows(entry.evaluation, now) for entry, now in zip(entries, made, strict=True))
    differing = [name for name in left if left[name] != right[name]]
    for name in differing:
        label, a, b = st.columns([2, 4, 4])
        label.markdown(f"**{name}**")
        a.markdown(as_written(left[name], 500))
        b.markdown(as_written(right[name], 500))
    if not differing:
        st.caption("Their input, model, settings, answer, entropy and attention are the same.")
    names = [e.label or e.evaluation.trial.context_kind for e in entries]
    _about_entropies(desk, chosen, made)
    frame.figure(charts.comparison_figure(made, names), "comparison")


def _about_entropies(desk: Desk, chosen: list[int], made: list[Evaluation]) -> None:
    """By which grouping the entropies are, and which trials' answers cannot be grouped so."""
    if any(now.uncertainty is not None for now in made):
        st.caption(f"Entropies as grouped now: {as_written(grouping_words(desk.settings))}.")
    for index, now in zip(chosen, made, strict=True):
        before = desk.entries[index].evaluation.uncertainty
        if before is not None and now.uncertainty is None:
            st.caption(
                f"Trial {index + 1} was grouped otherwise ({as_written(grouping_words(before.settings))}) and has no "
                "entropy here: measure its uncertainty again."
            )
