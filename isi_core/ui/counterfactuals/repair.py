"""Repair: counterfactuals of the shortcut join the training set, the network is fitted again, before and after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import streamlit as st

from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.home import home_folder
from isi_core.models.editors.render import RenderEditor
from isi_core.reports.counterfactual_repair import repair_csv, repair_figure, repair_sentence, repair_table
from isi_core.reports.wording import duration
from isi_core.store.whole_file import write_whole
from isi_core.studies.counterfactuals.repair_results import RepairResult
from isi_core.studies.counterfactuals.repair_task import SIDE, WorldTask
from isi_core.studies.jobs import Job
from isi_core.ui import background, frame, resources
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import choices
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written
from isi_core.worlds.rules import Rule, shipped_rule

_KEY = "repair_desk"
_LARGEST = 20_000_000


@dataclass
class RepairDesk:
    """What lies in the panel of one session: settings, the running job, the digest of what is shown."""

    prefix: ClassVar[str] = "repair"

    attribute: str = ""
    along: str = ""
    counterfactuals: int = 100
    seeds: int = 3
    pictures: int = 400
    held_out: int = 300
    share: float = 0.94
    steps: int = 120
    fresh: bool = False
    shown: str = ""
    job: str | None = None
    error: str = ""

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""


def open_desk() -> RepairDesk:
    """The session's panel."""
    desk: RepairDesk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = RepairDesk()
    return desk


def show(ranking: Desk, made: Kept) -> None:
    """The panel: what it does, its settings, its result."""
    desk = open_desk()
    _collect(desk)
    record = made.result.settings.get("classifier", {})
    name = str(record.get("name", "")) if isinstance(record, dict) else ""
    if not made.rule or not made.world or not (choices.MODELS / f"tiny-{_task_name(made)}" / "config.json").is_file():
        st.info(
            "A repair needs labelled training pictures. On this page it is offered for the built-in worlds, whose "
            "labels follow a known rule: rank attributes for tiny-age or tiny-gender first. The command `repair` "
            "takes any classifier of Hugging Face's with the rule's classes.",
            icon=":material/lightbulb:",
        )
        return
    rule = shipped_rule(made.rule)
    st.markdown(
        "A network that learned a shortcut is wrong where the shortcut misleads. Counterfactuals break it: pictures "
        "of the *other* class with the attribute added, and the label left as it was (DiffEx, Table C)."
    )
    _settings(desk, rule)
    st.button(
        "Repair and compare",
        key="repair_start",
        icon=":material/build:",
        on_click=partial(guarded, desk, _begin, desk, made),
        disabled=desk.job is not None,
        help=f"Fits {name or 'the network'} {3 * int(desk.seeds)} times, on this server.",
    )
    background.show(desk, partial(_collect, desk), "repair_cancel")
    found = _kept(desk.shown) if desk.shown else None
    if found is None:
        if desk.job is None:
            st.caption("No repair yet: press the button. A seed takes about a minute on a free core.")
        return
    _result(found, desk.shown)


def _task_name(made: Kept) -> str:
    return made.rule.removeprefix(f"{made.world}-")


def _settings(desk: RepairDesk, rule: Rule) -> None:
    from isi_core.worlds.attributed import world

    free = ["/".join(path) for path in world(rule.world).leaves() if not rule.influences(path)]
    usual = "/".join(rule.spurious) if rule.spurious else free[0]
    if desk.attribute not in free:
        desk.attribute, desk.along = usual, rule.spurious_class or rule.classes[-1]
    if desk.along not in rule.classes:
        desk.along = rule.classes[-1]
    left, middle, right = st.columns([3, 2, 2])
    left.selectbox(
        "Shortcut",
        free,
        **bound(desk, "attribute"),
        format_func=lambda text: text.replace("/", " › "),
        help="An attribute without weight in the rule, which the training pictures make go along with a class.",
    )
    middle.selectbox("goes along with", rule.classes, **bound(desk, "along"))
    right.number_input("Counterfactuals", 1, 10_000, **bound(desk, "counterfactuals"))
    with st.expander("Training", icon=":material/tune:"):
        one, two, three = st.columns(3)
        one.number_input("Seeds", 1, 100, **bound(desk, "seeds"), help="More, and the intervals are narrower.")
        two.number_input("Training pictures", 20, 20_000, **bound(desk, "pictures"))
        three.number_input("Held-out subjects", 20, 20_000, **bound(desk, "held_out"))
        one.number_input(
            "Together in (share)", 0.5, 1.0, step=0.01, **bound(desk, "share"), help="How strong the shortcut is."
        )
        two.number_input("Steps of a fit", 1, 100_000, **bound(desk, "steps"))
        three.toggle("From random weights", **bound(desk, "fresh"), help="Else from the network's own weights.")


def _begin(desk: RepairDesk, made: Kept) -> None:
    if desk.job is not None:
        return
    rule = shipped_rule(made.rule)
    task = WorldTask(
        rule,
        Attribute(tuple(desk.attribute.split("/"))),
        desk.along,
        float(desk.share),
        int(desk.pictures),
        int(desk.held_out),
    )
    numbers = int(desk.counterfactuals), int(desk.seeds), int(desk.steps), bool(desk.fresh)
    classifier = f"tiny-{_task_name(made)}"

    def work(progress: Any) -> str:
        from isi_core.models.classifiers.fitting import FitSettings
        from isi_core.studies.counterfactuals.repair import RepairSettings, repair

        progress("Loading the classifier", 0.0)
        count, seeds, steps, fresh = numbers
        settings = RepairSettings(count, seeds, fit=FitSettings(steps=steps, fresh=fresh))
        network = choices.load_embedded(classifier)
        result = repair(task, network, RenderEditor(rule.world, SIDE), settings, progress=progress)
        return _keep(result)

    desk.job = resources.jobs().submit("repair", f"Repairing {classifier}", work)


def _collect(desk: RepairDesk) -> bool:
    def take(job: Job | None) -> None:
        if job is not None and job.state == "done" and isinstance(job.result, str):
            desk.shown = job.result

    return background.collect(desk, take)


def _folder() -> Any:
    return home_folder() / "repairs"


def _keep(result: RepairResult) -> str:
    """Write it down; its digest."""
    text = json.dumps(result.to_json(), sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    write_whole(_folder() / f"{key}.json", text)
    return key


def _kept(key: str) -> RepairResult | None:
    path = _folder() / f"{key}.json"
    try:
        if path.stat().st_size > _LARGEST:
            return None
        return RepairResult.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError, InputError):
        return None


def _result(result: RepairResult, key: str) -> None:
    try:
        st.markdown(f"**{as_written(repair_sentence(result))}**")
        frame.figure(repair_figure(result), "repair")
        st.table(repair_table(result), border="horizontal")
    except StudioError as error:
        st.info(as_written(str(error)), icon=":material/lightbulb:")
        return
    st.caption(
        "*With further pictures* is the same fit with as many more pictures of the biased kind: what counterfactuals "
        "do beyond it is theirs. Intervals are Student's, over the seeds."
    )
    frame.downloads(
        [
            frame.Download("Table C as CSV", f"repair_{key[:8]}.csv", "repair_text/csv", partial(repair_csv, result)),
            frame.Download(
                "JSON",
                f"repair_{key[:8]}.json",
                "repair_application/json",
                lambda: json.dumps(result.to_json(), indent=1).encode(),
            ),
        ],
        tertiary=True,
    )
    classifier = result.settings["classifier"]
    st.caption(
        as_written(
            f"{classifier['name']}, revision {str(classifier['revision'])[:8]} · {len(result.trials)} seeds from "
            f"{result.settings['first_seed']} · {result.settings['task']['size']} training pictures · digest {key[:8]} "
            f"· {duration(result.seconds)}"
        )
    )
