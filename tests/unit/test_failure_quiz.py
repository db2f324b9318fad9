"""The quiz: balanced questions, replies that are stored at once and found again, what people reached beside probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import auc_interval, wilson_interval
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.quiz import (
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
from isi_core.studies.failure.quiz_standings import standings
from isi_core.studies.failure.results import BenchmarkResult, Case, ExplainerScore, Pool

NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def result() -> BenchmarkResult:
    """Sixty test cases and a score that knows half of the truth."""
    rng = np.random.default_rng(0)
    cases = tuple(Case(f"case_{i:03d}", i % 2 == 0, "test", str(i), "Is it?", answer="yes") for i in range(60))
    scores = tuple(float(np.clip(0.5 + 0.3 * (1 if c.success else -1) + rng.normal() * 0.3, 0, 1)) for c in cases)
    truth = [c.success for c in cases]
    auc = auc_interval(truth, scores)
    plan = FailurePlan(k=120)
    score = ExplainerScore(
        *("last-token", 3, 120, 60, auc, auc, "", 0.1, 0.1, 1.0, 0.5, 0.2, (), ()),
        case_ids=tuple(c.id for c in cases),
        scores=scores,
    )
    return BenchmarkResult(plan, {}, Pool(60, 30, 30, 0), cases, (), (3,), (score,), (), None, (), {}, {}, {}, NOW)


def _take(quiz: Quiz, result: BenchmarkResult, folder: Path, knows: float, seed: int = 0) -> Quiz:
    """Somebody who knows the truth that often, where it is explained, and guesses otherwise."""
    rng = np.random.default_rng(seed)
    while (question := quiz.next) is not None:
        right = result.case(question.case).success
        believed = right if question.explained and rng.random() < knows else bool(rng.integers(2))
        said = (
            ("surely right" if believed else "surely wrong")
            if rng.random() < 0.5
            else ("probably right" if believed else "probably wrong")
        )
        quiz = add_reply(quiz, Reply(question.case, question.explained, said, 2.5, NOW), folder)
    return quiz


def test_questions_are_balanced_and_in_no_order(result: BenchmarkResult) -> None:
    quiz = new_quiz(result, "last-token", " Ann\n B ", 0, NOW)
    assert quiz.person == "Ann B" and quiz.layer == 3 and len(quiz.questions) == 20
    kinds = [(result.case(q.case).success, q.explained) for q in quiz.questions]
    assert all(kinds.count((a, b)) == 5 for a in (True, False) for b in (True, False))
    assert len({q.case for q in quiz.questions}) == 20
    assert kinds != sorted(kinds)
    assert new_quiz(result, "last-token", "", 0, NOW).questions == quiz.questions
    assert new_quiz(result, "last-token", "", 1, NOW).questions != quiz.questions
    few = replace(result, scores=(replace(result.scores[0], case_ids=("case_000",), scores=(0.5,)),))
    with pytest.raises(InputError, match="choose a larger k"):
        new_quiz(few, "last-token", "", 0, NOW)
    with pytest.raises(InputError, match="no explainer"):
        new_quiz(result, "tarot", "", 0, NOW)


def test_replies_are_stored_at_once_and_a_stopped_quiz_goes_on(result: BenchmarkResult, tmp_path: Path) -> None:
    quiz = new_quiz(result, "last-token", "Ann", 0, NOW)
    save_quiz(quiz, tmp_path)
    first = quiz.questions[0]
    went_on = add_reply(quiz, Reply(first.case, first.explained, "probably wrong", 3.0, NOW), tmp_path)
    (found,) = load_quizzes(tmp_path, result.plan.digest)
    assert found == went_on and found.next == quiz.questions[1] and not found.finished
    with pytest.raises(InputError, match="answered before"):
        add_reply(went_on, Reply(first.case, first.explained, "surely wrong", 1.0, NOW), tmp_path)
    second = quiz.questions[1]
    with pytest.raises(InputError, match="Say one of"):
        add_reply(went_on, Reply(second.case, second.explained, "maybe", 1.0, NOW), tmp_path)
    # A line cut by a crash is no reply, and a file that is none is no quiz.
    with (tmp_path / f"{quiz.id}.jsonl").open("a") as file:
        file.write('{"case": "case_0')
    (tmp_path / "quiz_00009_00000000.jsonl").write_text("nonsense\n")
    (again,) = load_quizzes(tmp_path, result.plan.digest)
    assert again == went_on
    assert load_quizzes(tmp_path, "another run") == [] and load_quizzes(tmp_path / "none", "x") == []


def test_what_people_reached_stands_beside_the_explainer(result: BenchmarkResult, tmp_path: Path) -> None:
    done = []
    for seed in range(6):
        quiz = new_quiz(result, "last-token", "", seed, NOW)
        save_quiz(quiz, tmp_path)
        done.append(_take(quiz, result, tmp_path, knows=0.9, seed=seed))
    assert [quiz.replies for quiz in load_quizzes(tmp_path, result.plan.digest)] == [quiz.replies for quiz in done]
    shown, bare, probe = standings(result, done)
    assert (shown.who, bare.who, probe.who) == ("people, explained", "people, unexplained", "last-token @ 3")
    asked = {reply.case for quiz in done for reply in quiz.replies}
    assert 40 < len(asked) < 60 and (shown.n, bare.n) == (60, 60)
    assert (shown.persons, bare.persons, probe.persons) == (6, 6, 0)
    assert probe.n == probe.cases == len(asked)  # the explainer says the same of a case however often it is asked
    assert shown.cases == len({r.case for quiz in done for r in quiz.replies if r.explained})
    assert shown.interval == "persons and cases resampled"
    assert shown.auc is not None and bare.auc is not None and probe.auc is not None
    assert shown.auc.low > 0.5 and bare.auc.low < 0.5 < bare.auc.high
    assert shown.accuracy.low > 0.6 > bare.accuracy.low
    rows = reply_rows(result, done)
    assert len(rows) == 120 and sum(row["person_right"] for row in rows if row["explained"]) == round(
        shown.accuracy.estimate * 60
    )
    told = dict(zip(result.scores[0].case_ids, result.scores[0].scores, strict=True))
    once = auc_interval([result.case(case).success for case in asked], [told[case] for case in asked])
    assert (probe.auc.estimate, probe.auc.low) == (pytest.approx(once.estimate), pytest.approx(once.low))
    # Whoever takes the quiz again adds nothing to what is known of the explainer, and little to what is of people.
    twice = standings(result, done * 2)
    assert twice[2] == probe and twice[0].n == 120 and (twice[0].persons, twice[0].cases) == (6, shown.cases)
    width = shown.accuracy.high - shown.accuracy.low
    assert twice[0].accuracy.high - twice[0].accuracy.low > 0.9 * width


def _replies(quiz: Quiz, said: Callable[[Question], str]) -> Quiz:
    return replace(quiz, replies=tuple(Reply(q.case, q.explained, said(q), 1.0, NOW) for q in quiz.questions))


def test_peoples_intervals_know_whose_replies_they_are(result: BenchmarkResult) -> None:
    def right(question: Question) -> str:
        return "surely right" if result.case(question.case).success else "surely wrong"

    def wrong(question: Question) -> str:
        return "surely wrong" if result.case(question.case).success else "surely right"

    quizzes = [new_quiz(result, "last-token", "", seed, NOW) for seed in range(8)]
    # Half of the people always right, half always wrong: eight observations, not eighty.
    split = standings(result, [_replies(q, right if i % 2 else wrong) for i, q in enumerate(quizzes)])[0]
    naive = wilson_interval(40, 80)
    assert split.persons == 8 and split.n == 80 and split.accuracy.estimate == 0.5
    assert split.accuracy.high - split.accuracy.low > 2 * (naive.high - naive.low)
    assert split.auc is not None and split.auc.high - split.auc.low > 0.5
    # Everybody right about the same ten cases: no more is known than of ten.
    same = [replace(quizzes[0], id=f"quiz_{i:05d}_0", person=f"person {i}") for i in range(8)]
    sure = standings(result, [_replies(q, right) for q in same])[0]
    assert (sure.n, sure.cases, sure.persons) == (80, 10, 8)
    assert sure.accuracy.low == pytest.approx(wilson_interval(10, 10).low) and "too narrow" in sure.degenerate
    # One person, however the name is written: cases alone are resampled.
    one = [replace(q, person=name) for q, name in zip(quizzes[:2], ("Ann", "ann"), strict=True)]
    alone = standings(result, [_replies(q, lambda q: "probably right") for q in one])[0]
    assert alone.persons == 1 and alone.interval == "one person, cases resampled"
    assert alone.auc is not None and alone.auc.estimate == 0.5 and "by construction" in alone.degenerate
    few = standings(result, [replace(one[0], replies=_replies(one[0], right).replies[:1])])[0]
    assert few.auc is None and few.cases == 1 and 0 < few.accuracy.high - few.accuracy.low < 1


def test_an_explanation_tells_the_score_and_not_the_answer(result: BenchmarkResult) -> None:
    quiz = new_quiz(result, "last-token", "", 0, NOW)
    case = quiz.questions[0].case
    said = explanation(result, quiz, case)
    score = result.scores[0]
    value = dict(zip(score.case_ids, score.scores, strict=True))[case]
    assert f"{value:.0%}" in said[0] and "judged most alike" in said[1]
    others = [v for name, v in zip(score.case_ids, score.scores, strict=True) if name != case]
    below = sum(v < value for v in others)
    assert said[0].endswith(f"; that is higher than for {100 * below / 59:.3g}% of the other test cases.")
    # Where most are the same it does not claim to be above half of them.
    for values, words in (
        ({case: 0.5}, "; that is the same as for all other test cases."),
        ({case: 0.5, score.case_ids[-1]: 0.4}, "higher than for 1.69% of the other test cases, and the same as for 98"),
        ({case: 0.5, score.case_ids[-1]: 0.6}, "higher than for none of the other test cases, and the same as for 98"),
    ):
        tied = replace(score, scores=tuple(values.get(name, 0.5) for name in score.case_ids))
        assert words in explanation(replace(result, scores=(tied,)), quiz, case)[0]
    changed = replace(result, cases=tuple(replace(c, success=c.success ^ (c.id == case)) for c in result.cases))
    assert explanation(changed, quiz, case) == said  # its own outcome does not enter
    assert set(SAYINGS.values()) == {0.0, 0.3, 0.7, 1.0}
