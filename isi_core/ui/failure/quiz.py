"""The quiz: a person looks at an input, half of the times with an explanation, and says whether the model will fail."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import streamlit as st

from isi_core.domain.errors import StudioError
from isi_core.reports.failure_words import explainer_title, name_of_key, ranked
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number
from isi_core.studies.failure.quiz import (
    QUESTIONS,
    SAYINGS,
    Question,
    Quiz,
    Reply,
    add_reply,
    explanation,
    load_quizzes,
    new_quiz,
    reply_rows,
    save_quiz,
)
from isi_core.studies.failure.quiz_standings import Standing, standings
from isi_core.studies.failure.results import BenchmarkResult
from isi_core.ui import resources
from isi_core.ui.bound import bound, guarded
from isi_core.ui.failure import runs
from isi_core.ui.failure.desk import Desk
from isi_core.ui.wording import as_written

_SIDE = 480
_FEWEST = 10  # replies, below which nothing is said of the explanation's worth
_ICONS = {
    "surely right": ":material/check_circle:",
    "probably right": ":material/check:",
    "probably wrong": ":material/close:",
    "surely wrong": ":material/cancel:",
}


def show(desk: Desk, key: str, result: BenchmarkResult) -> None:
    """The running quiz's next question, or a new one and what people reached so far."""
    folder = runs.quiz_folder(key)
    quizzes = load_quizzes(folder, result.plan.digest)
    running = next((quiz for quiz in quizzes if quiz.id == desk.quiz), None)
    if running is not None and running.next is not None:
        _ask(desk, key, result, running, running.next, folder)
        return
    if running is not None:
        st.success("That was the last question: thank you. Your replies are among those below.", icon=":material/done:")
    _begin(desk, result, quizzes, folder)
    done = [quiz for quiz in quizzes if quiz.replies]
    if not done:
        st.info("Nobody has taken the quiz on this run yet: press *Begin*.", icon=":material/lightbulb:")
        return
    _standings(result, done)
    st.download_button(
        "CSV: replies",
        data=lambda: csv_bytes(reply_rows(result, done)),
        file_name=f"failure_quiz_{key[:8]}.csv",
        mime="text/csv",
        icon=":material/table:",
        key="failure_download_quiz",
        on_click="ignore",
    )


def _begin(desk: Desk, result: BenchmarkResult, quizzes: list[Quiz], folder: Path) -> None:
    st.markdown(
        f"**Will it fail?** {QUESTIONS} test cases, half of them with what an explainer says of them, in random order. "
        "You see what the model saw, not what it answered. Every reply is stored at once: stop and go on as you like."
    )
    scored = {score.explainer: score for score in ranked(result) if len(set(score.scores)) > 1}
    if not scored:
        st.info("No explainer of this run says anything of single cases: run it with another.", icon=":material/info:")
        return
    if desk.quiz_explainer not in scored:
        desk.quiz_explainer = next(iter(scored))
    with st.container(key="stack_failure_quiz"):
        left, middle, right = st.columns([4, 3, 2], vertical_alignment="bottom")
    left.selectbox("Explanation", list(scored), **bound(desk, "quiz_explainer"), format_func=explainer_title)
    middle.text_input("Your name", **bound(desk, "quiz_person"), max_chars=60, placeholder="may stay empty")
    right.button(
        "Begin",
        icon=":material/play_arrow:",
        key="failure_quiz_begin",
        on_click=partial(guarded, desk, _new, desk, result, len(quizzes), folder),
        width="stretch",
    )
    for quiz in [quiz for quiz in quizzes if not quiz.finished][-3:]:
        who = as_written(quiz.person) or "no name"
        st.button(
            f"Go on: {who}, {len(quiz.replies)} of {len(quiz.questions)} answered",
            icon=":material/resume:",
            key=f"failure_quiz_on_{quiz.id}",
            on_click=partial(setattr, desk, "quiz", quiz.id),
        )


def _new(desk: Desk, result: BenchmarkResult, number_before: int, folder: Path) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    quiz = new_quiz(result, desk.quiz_explainer, desk.quiz_person, number_before, now)
    save_quiz(quiz, folder)
    desk.quiz, desk.quiz_shown = quiz.id, 0.0


def _ask(desk: Desk, key: str, result: BenchmarkResult, quiz: Quiz, question: Question, folder: Path) -> None:
    desk.quiz_shown = desk.quiz_shown or time.time()
    case, number_now = result.case(question.case), len(quiz.replies) + 1
    st.caption(f"Case {number_now} of {len(quiz.questions)}")
    st.progress(len(quiz.replies) / len(quiz.questions))
    with st.container(key="stack_failure_question"):
        left, right = st.columns([2, 3], gap="large")
    path = runs.picture_of(key, case.picture)
    with left:
        if path is not None:
            st.image(resources.small_picture(path, path.stat().st_mtime_ns, _SIDE), width="stretch")
        if case.context:
            st.caption("Context, as the model read it")
            st.markdown(as_written(case.context, 1_500))
    with right:
        st.markdown(f"##### {as_written(case.question, 400)}")
        for option in case.options:
            st.markdown(f"- {as_written(option, 300)}")
        if question.explained:
            with st.container(border=True, key="failure_quiz_explanation"):
                st.markdown(f"**{as_written(explainer_title(quiz.explainer))}**")
                try:
                    for sentence in explanation(result, quiz, question.case):
                        st.markdown(as_written(sentence))
                except StudioError as error:
                    st.caption(as_written(str(error)))
        else:
            st.caption("No explanation for this one.")
        st.markdown("**The model's answer will be**")
        for said in SAYINGS:
            st.button(
                said.capitalize(),
                icon=_ICONS[said],
                key=f"failure_quiz_{said.replace(' ', '_')}",
                on_click=partial(guarded, desk, _say, desk, quiz, question, said, folder),
                width="stretch",
            )
        st.button("Stop for now", key="failure_quiz_stop", type="tertiary", on_click=partial(setattr, desk, "quiz", ""))


def _say(desk: Desk, quiz: Quiz, question: Question, said: str, folder: Path) -> None:
    seconds = max(0.0, time.time() - desk.quiz_shown) if desk.quiz_shown else 0.0
    now = datetime.now(UTC).isoformat(timespec="seconds")
    add_reply(quiz, Reply(question.case, question.explained, said, round(seconds, 1), now), folder)
    desk.quiz_shown = 0.0


def _standings(result: BenchmarkResult, quizzes: list[Quiz]) -> None:
    found = standings(result, quizzes)
    finished = sum(quiz.finished for quiz in quizzes)
    st.markdown(f"**People beside the explainer** · {len(quizzes)} begun, {finished} finished")
    st.dataframe([_row(entry) for entry in found], hide_index=True, width="stretch", key="failure_quiz_table")
    st.caption(
        "AUC: how often a case the model got right was held for likelier right than one it got wrong (0.5 is chance); "
        "accuracy: share of cases called rightly. The explainer is scored on the very cases that people were asked, "
        "each once. Replies of one person, and replies to one case, go together: the 95 % intervals of people "
        "resample both; of one person alone they speak of that person only. A quiz without a name counts as a person "
        "of its own. With twenty replies intervals are wide: let several people take the quiz."
    )
    _verdict(found)


def _verdict(found: list[Standing]) -> None:
    by = {entry.who: entry for entry in found}
    shown, bare = by.get("people, explained"), by.get("people, unexplained")
    if shown is None or bare is None or min(shown.n, bare.n) < _FEWEST:
        return
    gap = shown.accuracy.estimate - bare.accuracy.estimate
    overlap = shown.accuracy.low <= bare.accuracy.high and bare.accuracy.low <= shown.accuracy.high
    said = "the intervals overlap: no evidence that it helps" if overlap else "the intervals are apart"
    st.markdown(f"With the explanation people's accuracy changes by {100 * gap:+.0f} percentage points; {said}.")


def _row(entry: Standing) -> dict[str, str]:
    who = entry.who if entry.who.startswith("people") else name_of_key(entry.who)
    return {
        "who": who,
        "persons": str(entry.persons) if entry.persons else "",
        "replies": str(entry.n) if entry.persons else "",
        "cases": str(entry.cases),
        "AUC": "not known" if entry.auc is None else number(entry.auc.estimate),
        "AUC interval": "" if entry.auc is None or not entry.auc.bounded else _bounds(entry.auc.low, entry.auc.high),
        "accuracy": number(entry.accuracy.estimate),
        "accuracy interval": _bounds(entry.accuracy.low, entry.accuracy.high),
        "intervals by": entry.interval,
        "note": entry.degenerate,
    }


def _bounds(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"
