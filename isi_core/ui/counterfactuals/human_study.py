"""Human studies of a ranking: pairs to be rated, explanations to be judged, answers kept at once, results in tables.

Nothing else on the page may tell an answer while a question stands there: see `blind`. Results come after a
participant's last question, or when whoever runs the study opens them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import streamlit as st
from PIL import Image

from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.palette import COUNTERFACTUAL_FRAME, ORIGINAL_FRAME
from isi_core.reports.wording import number
from isi_core.studies.counterfactuals.human_answers import (
    Answer,
    join,
    keep_answer,
    read_answers,
    study_folder,
    study_methods,
)
from isi_core.studies.counterfactuals.human_study import METHODS, Item, choice_items, rating_items
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import choices, examine, shown, study_results
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written

_KEY = "study_desk"
STUDIES = ("Rate the edits", "Which attribute?")
_CAM = "Grad-CAM"
_QUALITY = ("1 poor", "2", "3", "4", "5 perfect")


@dataclass
class StudyDesk:
    """One session's place in a study; the answers themselves are on disk."""

    prefix: ClassVar[str] = "study"

    study: str = STUDIES[0]
    participant: str = ""
    count: int = 12
    controls: int = 2
    seed: int = 0
    at: str = ""
    quality: str | None = None
    disentanglement: str | None = None
    choice: str | None = None
    organiser: bool = False
    error: str = ""

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""


def open_desk() -> StudyDesk:
    """The session's place."""
    desk: StudyDesk | None = st.session_state.get(_KEY)
    if desk is None:
        desk = st.session_state[_KEY] = StudyDesk()
    return desk


def blind(ranking: Desk) -> bool:
    """A study is taken: what else the page tells of the ranking (summary, counterfactuals, exports) stays away."""
    return ranking.view == "Human study"


def show(ranking: Desk, made: Kept) -> None:
    """The choice of study, the question, and what was answered so far."""
    desk = open_desk()
    st.segmented_control("Study", STUDIES, **bound(desk, "study", partial(_forget, desk)))
    left, middle, right = st.columns([3, 2, 2])
    left.text_input(
        "Your code",
        **bound(desk, "participant", partial(_another, desk)),
        placeholder="such as P1",
        help="Answers are kept under it at once; the same code goes on where it stopped.",
    )
    middle.number_input("Questions", 1, 200, **bound(desk, "count", partial(_forget, desk)))
    if desk.study == STUDIES[0]:
        right.number_input(
            "Of them named wrongly",
            0,
            20,
            **bound(desk, "controls", partial(_forget, desk)),
            help="Controls: a rater who does not look rates them as high as the others.",
        )
    else:
        right.number_input("Seed", 0, 2**31 - 1, **bound(desk, "seed", partial(_forget, desk)))
    finished = False
    if desk.participant.strip():
        try:
            finished = _question(ranking, desk, made)
        except StudioError as error:
            st.info(as_written(str(error)), icon=":material/lightbulb:")
    else:
        st.info(
            "Type a code for yourself to begin. You see pictures without scores and without the name of the method; "
            "every answer is kept at once, and you can stop at any time.",
            icon=":material/lightbulb:",
        )
    if desk.error:
        st.error(as_written(desk.error), icon=":material/error:")
    _results(desk, read_answers(study_folder(made.key)), made, finished)


def _another(desk: StudyDesk) -> None:
    """Somebody else sits down: what was open for whoever runs the study is closed."""
    _forget(desk)
    desk.organiser = False


def _forget(desk: StudyDesk) -> None:
    desk.at = ""
    desk.quality = desk.disentanglement = desk.choice = None


def items_of(desk: StudyDesk, ranking: Desk, made: Kept) -> list[Item]:
    """The participant's questions in their order: the same whenever they come back.

    Raises
    ------
    InputError : the ranking does not give any.
    """
    name = " ".join(desk.participant.split())
    if desk.study == STUDIES[0]:
        controls = min(int(desk.controls), int(desk.count) - 1)
        return rating_items(made.result, name, int(desk.count), controls, int(desk.seed))
    folder = study_folder(made.key)
    place = join(folder, name)
    # By the ranking alone, not by what can be loaded now: the questions must be the same whenever they are asked.
    fitting = [m for m in METHODS if m != _CAM or _record(made).get("kind") == "hugging-face"]
    return choice_items(made.result, name, place, int(desk.count), study_methods(folder, fitting), int(desk.seed))


def _record(made: Kept) -> dict[str, Any]:
    """Which classifier was ranked."""
    record = made.result.settings.get("classifier", {})
    return record if isinstance(record, dict) else {}


def _heat_map(ranking: Desk, made: Kept, picture: str, before: Image.Image) -> bytes:
    """Where the ranking's network looks.

    Raises
    ------
    InputError : the network is not known here, or is another one by now.
    ModelError : it cannot be loaded, or Grad-CAM finds no layer in it.
    """

    def make() -> bytes:
        record, label = _record(made), made.result.class_label
        name = str(record.get("name", "the classifier"))[:80]
        load = choices.loaded_again(ranking, record)
        if load is None:
            raise InputError(
                f"{name} is not known in this session: choose “another: folder or hub id” as the classifier and type "
                "where it is."
            )
        network = load()
        if record.get("revision") not in (None, network.record["revision"]) or label not in network.labels:
            raise InputError(f"{name} as it is here now is not the classifier that was ranked.")
        (heat,) = examine.maps(network, [before], network.labels.index(label))
        return heat

    return ranking.computed(("study cam", made.key, picture), make)


def _why_no_heat_maps(ranking: Desk, made: Kept, items: list[Item]) -> str:
    """Why the questions with Grad-CAM cannot be asked now; "" where they can, or there is none."""
    with_cam = next((item for item in items if item.method == _CAM), None)
    if with_cam is None:
        return ""
    before = shown.pictures_of(ranking, made)(with_cam.picture, ())
    if before is None:  # nothing can be shown of it, whatever the explanation
        return ""
    try:
        _heat_map(ranking, made, with_cam.picture, before)
    except StudioError as error:
        return str(error)
    return ""


def _question(ranking: Desk, desk: StudyDesk, made: Kept) -> bool:
    """The next question that can be asked; True once all of them are answered."""
    every = items_of(desk, ranking, made)
    answered = {answer.item.id for answer in read_answers(study_folder(made.key), desk.participant)}
    why = _why_no_heat_maps(ranking, made, every)
    items = [item for item in every if not why or item.method != _CAM]
    by_id = {item.id: item for item in items}
    if desk.at not in by_id:
        desk.at = next((item.id for item in items if item.id not in answered), "")
    done = sum(item.id in answered for item in every)
    left_out = sum(item.id not in answered for item in every if item.id not in by_id)
    asked = len(every) - left_out
    if left_out:
        st.info(
            as_written(
                f"{left_out} question{'s' * (left_out != 1)} with {_CAM} {'are' if left_out != 1 else 'is'} left out: "
                f"{why} Answers that were given are kept."
            ),
            icon=":material/info:",
        )
    if not asked:
        return False
    st.progress(done / asked, text=f"{done} of {asked} answered")
    if not desk.at:
        st.success("All questions of this study are answered: thank you.", icon=":material/check_circle:")
        return True
    item = by_id[desk.at]
    before, after = _pictures(ranking, made, item)
    if item.kind == "rating":
        _pair(before, after)
        st.markdown(f"**What the edit is to do: {as_written(item.words)}**")
        st.segmented_control(
            "Edit quality: does the second picture show it, and look right?", _QUALITY, **bound(desk, "quality")
        )
        st.segmented_control(
            "Disentanglement: did everything else stay as it was?", _QUALITY, **bound(desk, "disentanglement")
        )
    else:
        _explanation(ranking, made, item, before, after)
        st.radio(
            f"Which of these does the classifier listen to most when it says “{as_written(made.result.class_label)}”?",
            list(item.options),
            index=None if desk.choice is None else list(item.options).index(desk.choice),
            format_func=as_written,
            key=f"study_choice_{item.id}",
            on_change=partial(_choose, desk, item),
        )
    back, go = st.columns([1, 3])
    place = [i.id for i in items].index(item.id)
    if place:
        back.button(
            "Back", key="study_back", icon=":material/undo:", on_click=partial(_back, desk, items[place - 1].id)
        )
    go.button(
        "Keep and go on",
        key="study_next",
        icon=":material/arrow_forward:",
        on_click=partial(guarded, desk, _answer, desk, made, item, [i.id for i in items], answered),
    )
    return False


def _choose(desk: StudyDesk, item: Item) -> None:
    desk.choice = st.session_state.get(f"study_choice_{item.id}")


def _back(desk: StudyDesk, earlier: str) -> None:
    _forget(desk)
    desk.at = earlier


def _answer(desk: StudyDesk, made: Kept, item: Item, order: list[str], answered: set[str]) -> None:
    if item.kind == "rating":
        if desk.quality is None or desk.disentanglement is None:
            raise InputError("Give both, quality and disentanglement, 1 to 5.")
        values: dict[str, int | str] = {
            "quality": _QUALITY.index(desk.quality) + 1,
            "disentanglement": _QUALITY.index(desk.disentanglement) + 1,
        }
    else:
        if desk.choice is None:
            raise InputError("Choose one of the four attributes.")
        values = {"choice": desk.choice}
    keep_answer(study_folder(made.key), item, desk.participant, values)
    _forget(desk)
    later = order[order.index(item.id) + 1 :]
    desk.at = next((one for one in later if one not in answered), "")


def _pictures(ranking: Desk, made: Kept, item: Item) -> tuple[Image.Image, Image.Image]:
    find = shown.pictures_of(ranking, made)
    before, after = find(item.picture, ()), find(item.picture, item.edits)
    if before is None or after is None:
        raise InputError("This counterfactual is not in the edit bank any more: rank again to make it.")
    return before, after


def _pair(before: Image.Image, after: Image.Image, words: str = "") -> None:
    one, two, _ = st.columns([3, 3, 2], gap="small")
    one.image(examine.framed(before, ORIGINAL_FRAME), width="stretch", caption="the picture")
    two.image(examine.framed(after, COUNTERFACTUAL_FRAME), width="stretch", caption=as_written(words) or "edited")


def _explanation(ranking: Desk, made: Kept, item: Item, before: Image.Image, after: Image.Image) -> None:
    """What the item's method shows: never its name."""
    if item.method == _CAM:
        heat = _heat_map(ranking, made, item.picture, before)
        one, two, _ = st.columns([3, 3, 2], gap="small")
        one.image(examine.framed(before, ORIGINAL_FRAME), width="stretch", caption="the picture")
        two.image(heat, width="stretch", caption="yellow: where the classifier looks")
        return
    if item.method == "DiffEx":
        [found] = [s for s in made.result.ranking if s.edits == item.edits][:1]
        _pair(before, after, f"{item.words}: score {number(found.signed.estimate)}")
        return
    _pair(before, after)


def _results(desk: StudyDesk, answers: list[Answer], made: Kept, finished: bool) -> None:
    """Tables and files for whoever runs the study; tables of their own study for whoever has answered all of it."""
    st.toggle("I run this study: show results so far", **bound(desk, "organiser"))
    if not desk.organiser:
        st.caption(
            "Off for whoever takes part: the results tell what others answered, and the files what is right. Each "
            "study's results come after your last question of it."
        )
        if not finished:
            return
        kind = "rating" if desk.study == STUDIES[0] else "choice"
        answers = [answer for answer in answers if answer.item.kind == kind]
    study_results.show(answers, made, desk.organiser)
