"""Human studies of a ranking: pairs to be rated, explanations to be judged, answers kept at once, results in tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import streamlit as st
from PIL import Image

from isi_core.domain.errors import InputError, StudioError
from isi_core.domain.palette import COUNTERFACTUAL_FRAME, ORIGINAL_FRAME
from isi_core.reports.counterfactual_studies import answers_csv, chosen_rows, rated_rows
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number
from isi_core.studies.counterfactuals.human_answers import (
    Answer,
    chosen,
    join,
    keep_answer,
    rated,
    read_answers,
    study_folder,
)
from isi_core.studies.counterfactuals.human_study import METHODS, Item, choice_items, rating_items
from isi_core.ui import frame
from isi_core.ui.bound import bound, guarded
from isi_core.ui.counterfactuals import choices, examine, shown
from isi_core.ui.counterfactuals.desk import Desk
from isi_core.ui.counterfactuals.kept import Kept
from isi_core.ui.wording import as_written

_KEY = "study_desk"
STUDIES = ("Rate the edits", "Which attribute?")
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


def show(ranking: Desk, made: Kept) -> None:
    """The choice of study, the question, and what was answered so far."""
    desk = open_desk()
    st.segmented_control("Study", STUDIES, **bound(desk, "study", partial(_forget, desk)))
    left, middle, right = st.columns([3, 2, 2])
    left.text_input(
        "Your code",
        **bound(desk, "participant", partial(_forget, desk)),
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
    folder = study_folder(made.key)
    if desk.participant.strip():
        try:
            _question(ranking, desk, made)
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
    _results(read_answers(folder), made)


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
    place = join(study_folder(made.key), name)
    methods = [m for m in METHODS if m != "Grad-CAM" or _network(ranking, made) is not None]
    return choice_items(made.result, name, place, int(desk.count), methods, int(desk.seed))


def _network(ranking: Desk, made: Kept) -> Any:
    """How the ranking's network is loaded, for Grad-CAM; None for a rule, or one that is not known here."""
    record = made.result.settings.get("classifier", {})
    if not isinstance(record, dict) or record.get("kind") != "hugging-face":
        return None
    return choices.loaded_again(ranking, record)


def _question(ranking: Desk, desk: StudyDesk, made: Kept) -> None:
    items = items_of(desk, ranking, made)
    answered = {answer.item.id for answer in read_answers(study_folder(made.key), desk.participant)}
    by_id = {item.id: item for item in items}
    if desk.at not in by_id:
        desk.at = next((item.id for item in items if item.id not in answered), "")
    done = sum(item.id in answered for item in items)
    st.progress(done / len(items), text=f"{done} of {len(items)} answered")
    if not desk.at:
        st.success("All questions of this study are answered: thank you.", icon=":material/check_circle:")
        return
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
    two.image(examine.framed(after, COUNTERFACTUAL_FRAME), width="stretch", caption=words or "edited")


def _explanation(ranking: Desk, made: Kept, item: Item, before: Image.Image, after: Image.Image) -> None:
    """What the item's method shows: never its name."""
    if item.method == "Grad-CAM":
        load = _network(ranking, made)
        labels = load().labels
        key = ("study cam", made.key, item.picture)
        (heat,) = ranking.computed(key, lambda: examine.maps(load(), [before], labels.index(made.result.class_label)))
        one, two, _ = st.columns([3, 3, 2], gap="small")
        one.image(examine.framed(before, ORIGINAL_FRAME), width="stretch", caption="the picture")
        two.image(heat, width="stretch", caption="yellow: where the classifier looks")
        return
    if item.method == "DiffEx":
        [found] = [s for s in made.result.ranking if s.edits == item.edits][:1]
        _pair(before, after, f"{item.words}: score {number(found.signed.estimate)}")
        return
    _pair(before, after)


def _results(answers: list[Answer], made: Kept) -> None:
    ratings, right = rated(answers), chosen(answers)
    with st.expander(f"Results so far: {len(answers)} answers", icon=":material/bar_chart:"):
        if not answers:
            st.caption("No answers yet. The tables appear here with the first one.")
            return
        if ratings:
            st.markdown("**Edit quality and disentanglement** (the paper's Table 2)")
            st.table(rated_rows(ratings), border="horizontal")
            st.caption("Means of 1 to 5 with 95 % bootstrap intervals over the ratings.")
        if right:
            st.markdown("**Which attribute?** (the paper's Table 3)")
            st.table(chosen_rows(right), border="horizontal")
            st.caption(
                "Share of answers that named the right attribute of four, Wilson's 95 % interval; chance is 25 %."
            )
        files: list[tuple[str, Callable[[], bytes], str]] = [
            ("Answers as CSV", partial(answers_csv, answers), "answers")
        ]
        if ratings:
            files.append(("Table 2 as CSV", lambda: csv_bytes(rated_rows(ratings)), "table_2"))
        if right:
            files.append(("Table 3 as CSV", lambda: csv_bytes(chosen_rows(right)), "table_3"))
        frame.downloads(
            [frame.Download(label, f"{name}_{made.key[:8]}.csv", f"study_{name}", make) for label, make, name in files],
            tertiary=True,
        )
