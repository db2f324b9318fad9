"""What else can be asked of the answers: more of them, other temperatures, their tokens, another trial."""

from __future__ import annotations

import math
from functools import partial

import pandas as pd
import streamlit as st

from isi_core.measures.convergence import Step, convergence, verdict
from isi_core.measures.representatives import MANY
from isi_core.reports import uncertainty_figures
from isi_core.reports.uncertainty_tables import convergence_csv, sweep_csv, sweep_points
from isi_core.ui import frame
from isi_core.ui.uncertainty import comparison, work
from isi_core.ui.uncertainty.desk import Desk, View, sweep_key
from isi_core.ui.wording import as_written

TEMPERATURES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)


def show(desk: Desk, view: View) -> None:
    """One tab a question."""
    st.divider()
    samples, temperature, tokens, compare = st.tabs(
        ["Are 10 samples enough?", "Temperature", "Tokens", "Compare two trials"]
    )
    with samples:
        _convergence(desk, view)
    with temperature:
        _sweep(desk, view)
    with tokens:
        _tokens(view)
    with compare:
        comparison.show(desk, view)


def steps_of(desk: Desk, view: View) -> list[Step]:
    """The view's convergence, computed once."""
    ids = view.groups.ids if view.by_hand else None
    return desk.computed(("convergence", view.key), lambda: convergence(view.answers, view.grouping, ids))


def _convergence(desk: Desk, view: View) -> None:
    if len(view.answers) < 3:
        st.caption("Two answers have no subsets to look at: draw more.")
    else:
        steps = steps_of(desk, view)
        head, colon, found = verdict(steps).partition(":")
        st.markdown(f"**{as_written(head)}**{colon} {as_written(found)}")
        made = uncertainty_figures.convergence_figure(steps)
        frame.figure(made, "uncertainty_convergence")
        st.download_button(
            "CSV",
            data=partial(convergence_csv, steps),
            file_name="convergence.csv",
            mime="text/csv",
            key="uncertainty_csv_convergence",
            icon=":material/download:",
            type="tertiary",
            on_click="ignore",
        )
    if view.subject.evaluation is None:
        st.caption("These answers were pasted: no model is known that could draw more. Paste 50 to see how it settles.")
        return
    count = work.MANY if len(view.answers) < work.MANY else work.VERY_MANY
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.button(
            f"Draw {count} answers",
            key="uncertainty_draw_many",
            icon=":material/casino:",
            on_click=partial(work.draw, desk, view.subject, count),
            disabled=desk.job is not None,
        )
        st.caption(
            f"From {as_written(view.subject.evaluation.model.name)}, with this trial's settings and seed: the first "
            "answers are the same, the others new. They become a trial of their own."
        )


def _sweep(desk: Desk, view: View) -> None:
    made = view.subject.evaluation
    if made is None:
        st.caption("These answers were pasted: no model is known that could be asked at other temperatures.")
        return
    st.session_state["uncertainty_temperatures"] = list(desk.temperatures)
    st.session_state["uncertainty_sweep_n"] = desk.samples_each

    def write() -> None:
        desk.temperatures = tuple(sorted(st.session_state["uncertainty_temperatures"]))
        desk.samples_each = int(st.session_state["uncertainty_sweep_n"])

    chosen, count = st.columns([3, 1], vertical_alignment="bottom")
    chosen.multiselect(
        "Temperatures",
        sorted({*TEMPERATURES, *desk.temperatures, made.decoding.temperature}),
        key="uncertainty_temperatures",
        on_change=write,
    )
    count.number_input("Answers at each", 2, MANY, key="uncertainty_sweep_n", on_change=write)
    st.button(
        "Sweep the temperature",
        key="uncertainty_sweep",
        icon=":material/thermostat:",
        on_click=partial(work.sweep, desk, view.subject, desk.temperatures, desk.samples_each),
        disabled=desk.job is not None or len(desk.temperatures) < 2,
        help="Draws answers at each temperature in the background; what was drawn before is not drawn again.",
    )
    found = desk.sweeps.get(sweep_key(made), [])
    if not found:
        st.caption(
            "Low temperatures sharpen the model's distribution, high ones flatten it: a sure model keeps one meaning "
            "for longer. Choose two temperatures or more."
        )
        return
    points = sweep_points(found, view.grouping)
    frame.figure(uncertainty_figures.temperature_figure(points, found[0].decoding.n_samples), "uncertainty_sweep")
    models = {m.uncertainty.settings.entailment_model for m in found if m.uncertainty}
    st.caption(
        f"Compared by {as_written(', '.join(sorted(models)))} on question and answer; grouped by the rule chosen "
        f"above, at once. Trial {made.trial.digest[:8]}, {as_written(made.model.name)}."
    )
    st.download_button(
        "CSV",
        data=partial(sweep_csv, found, view.grouping),
        file_name="temperature_sweep.csv",
        mime="text/csv",
        key="uncertainty_csv_sweep",
        icon=":material/download:",
        type="tertiary",
        on_click="ignore",
    )


def _tokens(view: View) -> None:
    kind = view.grouping.likelihood
    samples = view.answers.samples
    if not view.groups.available:
        st.caption("These answers have no likelihoods: paste token log-likelihoods, or measure with a local model.")
        return
    frame.figure(uncertainty_figures.token_figure(samples, view.groups.ids, kind), "uncertainty_tokens")
    with st.expander("As a table", icon=":material/table_rows:"):
        rows = [
            {
                "answer": number_,
                "cluster": cluster + 1,
                "position": place + 1,
                "token": uncertainty_figures.token_words(a.tokens[place]) if place < len(a.tokens) else "",
                "log-likelihood": (a.log_likelihoods if kind == "model" else a.sampling_log_likelihoods)[place],
                "probability": math.exp(
                    min(0.0, (a.log_likelihoods if kind == "model" else a.sampling_log_likelihoods)[place])
                ),
            }
            for number_, (a, cluster) in enumerate(zip(samples, view.groups.ids, strict=True), start=1)
            for place in range(len(a.log_likelihoods if kind == "model" else a.sampling_log_likelihoods))
        ]
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            column_config={
                "log-likelihood": st.column_config.NumberColumn("log-likelihood (nats)", format="%.3f"),
                "probability": st.column_config.ProgressColumn(format="%.3f", min_value=0.0, max_value=1.0),
            },
        )
