"""The quiz: balanced questions, replies that are stored at once and found again, what people reached beside probes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import auc_interval
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.quiz import (
    SAYINGS,
    Quiz,
    Reply,
    add_reply,
    explanation,
    load_quizzes,
    new_quiz,
    reply_rows,
    save_quiz,
    standings,
)
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
    assert (shown.n, bare.n, probe.n) == (60, 60, 120)
    assert shown.auc is not None and bare.auc is not None and probe.auc is not None
    assert shown.auc.low > 0.5 and bare.auc.low < 0.5 < bare.auc.high
    assert shown.accuracy.low > 0.6 > bare.accuracy.low
    rows = reply_rows(result, done)
    assert len(rows) == 120 and sum(row["person_right"] for row in rows if row["explained"]) == round(
        shown.accuracy.estimate * 60
    )
    told = dict(zip(result.scores[0].case_ids, result.scores[0].scores, strict=True))
    again = auc_interval([r["model_right"] for r in rows], [told[r["case"]] for r in rows])
    assert probe.auc.estimate == pytest.approx(again.estimate)


def test_an_explanation_tells_the_score_and_not_the_answer(result: BenchmarkResult) -> None:
    quiz = new_quiz(result, "last-token", "", 0, NOW)
    case = quiz.questions[0].case
    said = explanation(result, quiz, case)
    value = dict(zip(result.scores[0].case_ids, result.scores[0].scores, strict=True))[case]
    assert f"{value:.0%}" in said[0] and "judged most alike" in said[1]
    changed = replace(result, cases=tuple(replace(c, success=c.success ^ (c.id == case)) for c in result.cases))
    assert explanation(changed, quiz, case) == said  # its own outcome does not enter
    assert set(SAYINGS.values()) == {0.0, 0.3, 0.7, 1.0}
