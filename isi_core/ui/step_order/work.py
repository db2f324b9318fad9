"""The study in the background: started, watched live, stopped, gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from isi_core.datasets.step_pairs import SIZES
from isi_core.domain.errors import StudioError
from isi_core.domain.progress import part_of
from isi_core.models.encoders.rows import ENCODERS, TINY
from isi_core.reports.order_figures import curves_figure
from isi_core.studies.step_order import study as studies
from isi_core.studies.step_order.results import MODALITY_NAMES, Modality
from isi_core.studies.step_order.study import Study, StudyPlan
from isi_core.ui import background, frame, resources
from isi_core.ui.step_order.desk import FULL, OWN, Desk
from isi_core.ui.wording import as_written

if TYPE_CHECKING:
    from isi_core.studies.jobs import Job, Jobs

_POLL = 1.0  # seconds
KIND = "step order"
_STUDY, ASKED = "step order ", "order ask "
"""Keys of jobs begin with it; the id of the study or of the answers follows."""
_ORDER: tuple[Modality, ...] = ("v", "t", "vt")


@st.cache_resource(show_spinner=False)
def _engine(folder: Path) -> Jobs:
    from isi_core.store.runs import Store
    from isi_core.studies.jobs import Jobs

    # One worker of its own: a long training never keeps the other pages waiting.
    return Jobs(Store(folder), workers=1)


def engine() -> Jobs:
    """The engine that studies run on."""
    return _engine(resources.store().folder)


def plan_of(desk: Desk) -> StudyPlan:
    """The study that the desk's choices ask for."""
    if desk.plan == OWN:
        size = SIZES[desk.sizes]
        modalities = tuple(m for m in _ORDER if m in desk.modalities)
        encoders = tuple(dict.fromkeys(name.strip() for name in desk.encoders if name.strip()))
        return StudyPlan(
            desk.data,
            encoders,
            modalities,
            (size.train, size.validation, size.test),
            desk.per_category,
            desk.epochs,
            desk.seed,
        )
    size = SIZES["standard" if desk.plan == FULL else "quick look"]
    return StudyPlan(
        desk.data, TINY if desk.plan == FULL else TINY[:1], _ORDER, (size.train, size.validation, size.test)
    )


def plan_words(plan: StudyPlan) -> str:
    """The plan in one line."""
    if not plan.encoders or not plan.modalities:
        return "Choose at least one encoder and one modality."
    modalities = ", ".join(MODALITY_NAMES[m] for m in plan.modalities)
    train, validation, test = plan.sizes
    return (
        f"{', '.join(plan.encoders)} · {modalities} · {train:,}/{validation:,}/{test:,} pairs of each category for "
        f"training/validation/test · seed {plan.seed}"
    )


def missing_weights(plan: StudyPlan) -> list[str]:
    """Embedded encoders of the plan whose weights are not in this copy of the repository."""
    sources = {row.name: row.source for row in ENCODERS if row.embedded}
    return [
        name
        for name in plan.encoders
        if name in sources and isinstance(sources[name], Path) and not Path(str(sources[name])).is_dir()
    ]


def study(study_id: str) -> Study:
    """A kept study, read again when it has changed; raises as `read_study`."""
    return _study(study_id, str(studies.studies_folder()), studies.study_stamp(study_id))


@st.cache_resource(show_spinner=False, max_entries=12)
def _study(study_id: str, folder: str, stamp: int) -> Study:
    return studies.read_study(study_id)


def known_study(plan: StudyPlan) -> Study | None:
    """What was made of the plan before; None where nothing was."""
    if not studies.study_stamp(plan.id):
        return None
    try:
        return study(plan.id)
    except StudioError:
        return None


def start(desk: Desk, plan: StudyPlan, again: bool = False) -> None:
    """Run the study, and with more seeds where several were asked for; `again` makes a complete one anew."""
    plans = with_seeds(plan, desk.seeds if desk.plan == OWN else 1)
    if again:
        for one in plans:
            studies.forget_study(one.id)
    run(desk, plans, plan)


def with_seeds(plan: StudyPlan, seeds: int) -> list[StudyPlan]:
    """The plan, and the same with the seeds after its own."""
    return [replace(plan, seed=plan.seed + i) for i in range(seeds)]


def run(desk: Desk, plans: Sequence[StudyPlan], shown: StudyPlan) -> None:
    """Run studies one after the other, what is missing of them; `shown` is looked at."""
    desk.study = shown.id

    def do(progress: Any) -> str:
        for i, one in enumerate(plans):
            studies.run_study(one, part_of(progress, i / len(plans), (i + 1) / len(plans)))
        return shown.id

    title = f"Step order: {plan_words(shown)}"
    submit(desk, title, do, lambda made: setattr(desk, "study", made), key=f"{_STUDY}{shown.id}")


def submit(desk: Desk, title: str, do: Callable[[Any], Any], done: Callable[[Any], None], key: str = "") -> None:
    """Have something done in the background; the desk waits for one thing at a time."""
    if desk.job is not None:
        return
    desk.error = ""
    try:
        desk.job, desk.when_done = engine().submit(KIND, title, do, key=key), done
    except StudioError as error:
        desk.error = str(error)


def adopt(desk: Desk) -> None:
    """Watch a study that another tab, or this one before it was reloaded, started."""
    if desk.job is not None:
        return
    for job in engine().list(KIND):
        if job.live and job.key.startswith((_STUDY, ASKED)):
            desk.job, desk.when_done = job.id, None
            if job.key.startswith(_STUDY):
                desk.study = job.key.removeprefix(_STUDY)
            else:
                desk.asked = job.key.removeprefix(ASKED)
            return


def collect(desk: Desk) -> bool:
    """Take what the job has made; True once it has ended."""
    if desk.job is None:
        return True
    try:
        job: Job | None = engine().get(desk.job)
    except StudioError:
        job = None
    if job is not None and job.live:
        return False
    done, desk.when_done, desk.job = desk.when_done, None, None
    if job is None or job.state == "interrupted":
        desk.error = background.INTERRUPTED
    elif job.state == "failed":
        desk.error = job.error
    elif job.state == "done" and done is not None and job.result is not None:
        done(job.result)
    return True


def show(desk: Desk) -> None:
    """The running work with its live curves, or why the last one failed."""
    if desk.job is not None:
        _watch(desk)
    if desk.error:
        st.error(as_written(desk.error), icon=":material/error:")


@st.fragment(run_every=_POLL)
def _watch(desk: Desk) -> None:
    if desk.job is None or collect(desk):
        st.rerun()
    job = engine().get(str(desk.job))
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, max(0.0, job.fraction)), text=as_written(job.message or "Waiting", 120))
    if stop.button("Stop", key="order_cancel", width="stretch", help="What is done is kept; “Go on” does the rest"):
        engine().cancel(job.id)
    if not job.key.startswith(_STUDY):
        return
    curve = studies.live_curve(desk.study)
    if curve is not None and len(curve.points) > 1:
        where = "" if curve.category == "all" else f", {curve.category}"
        st.markdown(
            f"**Training now**: {as_written(curve.encoder)}, {MODALITY_NAMES[curve.modality]}{as_written(where)}"
        )
        frame.chart(curves_figure([curve], curve.encoder), "order_live")


def choose(desk: Desk) -> Study | None:
    """The study that is looked at; None where there is none yet."""
    names = studies.study_ids()
    if desk.study not in names:
        desk.study = names[0] if names else desk.study
    if not names or desk.study not in names:
        return None
    if len(names) > 1:
        with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
            st.selectbox(
                "Study",
                names,
                index=names.index(desk.study),
                key=f"order_study_{len(names)}_{desk.study}",
                format_func=_named,
                on_change=partial(_look, desk, f"order_study_{len(names)}_{desk.study}"),
            )
            st.button(
                "Delete",
                key="order_delete",
                icon=":material/delete:",
                on_click=partial(studies.forget_study, desk.study),
                disabled=desk.job is not None,
            )
    try:
        return study(desk.study)
    except StudioError as error:
        st.error(as_written(str(error)), icon=":material/error:")
        return None


def _look(desk: Desk, key: str) -> None:
    desk.study = st.session_state[key]


def _named(study_id: str) -> str:
    try:
        found = study(study_id)
    except StudioError:
        return f"{study_id} (damaged)"
    plan = found.plan
    state = "" if found.complete else " · not complete"
    models = f"{len(plan.encoders)} encoders" if len(plan.encoders) > 1 else plan.encoders[0]
    return f"{plan.data} · {models} · {found.grid.created[:16].replace('T', ' ')}{state} · {study_id[:6]}"
