"""Failure Prediction: what it teaches, real small runs, their states, what opens elsewhere, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
from pathlib import Path

import pypdf
import pytest
from streamlit.testing.v1 import AppTest

from isi_core.models.catalogue import DEFAULT_VLM
from isi_core.reports.failure_cases import FORESEEN, MISSED, surest_cases
from isi_core.reports.failure_words import ranked
from isi_core.store.runs import HOME_VARIABLE
from isi_core.studies.failure import causal, pools
from isi_core.studies.failure.explainers import EXPLAINERS
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.quiz import load_quizzes
from isi_core.studies.failure.run import run
from isi_core.ui import resources
from isi_core.ui.failure import cases, choices, findings, runs, scores, timing, work
from isi_core.ui.failure.desk import SCORES, SOME, Desk
from tests.pages import visitor

PAGE = visitor.ROOT / "pages" / "5_Failure_Prediction.py"
K = 8
RUN = 3 * visitor.PATIENCE
"""Seconds that a run may take on a slow, busy machine."""


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collect in parts of 60 questions, not 240: k is small here, and so may the pool be."""
    monkeypatch.setattr(pools, "CHUNK", 60)


def visit() -> AppTest:
    """A new visitor of Failure Prediction."""
    at = visitor.visit_home()
    at.switch_page(str(PAGE.relative_to(visitor.ROOT)))
    return visitor.run(at)


def desk(at: AppTest) -> Desk:
    found: Desk = at.session_state["failure_desk"]
    return found


def settle(at: AppTest) -> AppTest:
    """Wait until the running benchmark has ended, and see what it made."""
    while (job := desk(at).job) is not None:
        assert not resources.jobs().wait(job, RUN).live
        visitor.run(at)
    return at


def pick(at: AppTest, key: str, value: str) -> AppTest:
    at.selectbox(key=f"failure_{key}").set_value(value)
    return visitor.run(at)


def small(at: AppTest, *explainers: str) -> AppTest:
    """Choose the smallest k and these explainers by their check boxes."""
    at.number_input(key="failure_k").set_value(K)
    at.multiselect(key="failure_contexts").set_value(["contradictory"])  # the hardest: failures come soon
    for box in at.checkbox:
        box.set_value(str(box.key).removeprefix("failure_explainer_") in explainers)
    visitor.run(at)
    assert choices.plan_of(desk(at)).explainers == tuple(key for key in EXPLAINERS if key in explainers)
    return at


def ran(at: AppTest) -> AppTest:
    settle(visitor.press(at, "failure_run_button"))
    assert not desk(at).error, desk(at).error
    return at


def keys(at: AppTest, kind: str) -> set[str]:
    return {str(e.key) for e in at.get(kind)}


# -- before anything runs -------------------------------------------------------------------


def test_an_empty_page_teaches_and_offers_a_quick_look() -> None:
    at = visit()
    assert visitor.shows(at, "What this page does") and visitor.shows(at, "Press *Run* on the left")
    assert at.button(key="failure_run_button").label == "Run" and not at.button(key="failure_run_button").disabled
    assert visitor.shows(at, "is not known yet")
    assert not visitor.messages(at)


def test_presets_set_everything_but_task_and_model() -> None:
    at = visit()
    pick(at, "task", "dataset")
    visitor.press(at, "failure_preset_paper")
    plan = choices.plan_of(desk(at))
    assert (plan.task, plan.model, plan.k, plan.layers) == ("dataset", DEFAULT_VLM, 2_000, "five")
    assert "last-token-released" in plan.explainers
    visitor.press(at, "failure_preset_all_explainers")
    plan = choices.plan_of(desk(at))
    assert plan.k == 1_000 and plan.layers == "all" and set(plan.explainers) == set(EXPLAINERS)
    assert all(at.checkbox(key=f"failure_explainer_{key}").value for key in EXPLAINERS)
    visitor.press(at, "failure_preset_quick_look")
    assert choices.plan_of(desk(at)).k == 100


def test_a_text_task_offers_no_explainer_that_needs_pictures(tmp_path: Path) -> None:
    at = visit()
    visitor.press(at, "failure_preset_all_explainers")
    pick(at, "task", "winogrande")
    assert at.checkbox(key="failure_explainer_image-tokens").disabled
    assert not at.checkbox(key="failure_explainer_last-token").disabled
    assert visitor.shows(at, "WinoGrande needs its files") and at.button(key="failure_run_button").disabled
    at.text_input(key="failure_typed").set_value(str(tmp_path))
    visitor.run(at)
    assert visitor.shows(at, "needs a language model")
    at.text_input(key="failure_text_model").set_value("owner/model")
    visitor.run(at)
    plan = choices.plan_of(desk(at))
    assert (plan.source, plan.model) == (str(tmp_path), "owner/model")
    assert not any(EXPLAINERS[key].pictures_only for key in plan.explainers)


def test_uploaded_task_files_are_kept_by_their_content(home: Path) -> None:
    at = visit()
    pick(at, "task", "piqa")
    raw = json.dumps({"goal": "g", "sol1": "a", "sol2": "b", "label": 0}).encode()
    at.file_uploader(key="failure_files").set_value([("../../train.jsonl", raw, "application/json")])
    visitor.run(at)
    kept = Path(desk(at).kept)
    assert kept.is_relative_to(home) and [p.name for p in kept.iterdir()] == ["train.jsonl"]
    assert (kept / "train.jsonl").read_bytes() == raw
    assert choices.keep([("train.jsonl", raw)])[0] == str(kept)
    assert choices.keep([("train.jsonl", raw + b" ")])[0] != str(kept)


@pytest.mark.parametrize("numbers", ["", "five", "0", "1, -2"])
def test_layers_that_are_none_are_refused_in_one_sentence(numbers: str) -> None:
    at = visit()
    pick(at, "layers", SOME)
    at.text_input(key="failure_numbers").set_value(numbers)
    visitor.run(at)
    assert visitor.shows(at, "Layers are") and at.button(key="failure_run_button").disabled


def test_an_unknown_model_is_refused_in_one_sentence() -> None:
    at = visit()
    desk(at).model = "<b>no model</b>"
    visitor.run(at)
    assert visitor.shows(at, "No model '<b>no model</b>'") and at.button(key="failure_run_button").disabled


def test_the_time_is_estimated_from_a_few_questions_before_the_first_run() -> None:
    at = visit()
    settle(visitor.press(at, "failure_time"))
    assert not visitor.messages(at) and visitor.shows(at, f"judged by {timing.ASKED} questions")
    (timed,) = desk(at).timings.values()
    assert timed.seconds > 0 and 0 <= timed.wrong <= timed.asked == timing.ASKED
    assert "failure_time" not in keys(at, "button") and runs.finished_keys() == []
    plan = choices.plan_of(desk(at))
    twice = FailurePlan.from_json({**plan.to_json(), "k": 2 * plan.k})
    assert timing.expected(timed, twice) == pytest.approx(2 * timing.expected(timed, plan))


# -- real runs ------------------------------------------------------------------------------


def test_a_run_from_the_button_to_every_view_and_file(home: Path) -> None:
    at = small(visit(), "majority", "option-margin", "context-kind", "last-token")
    ran(at)
    key = desk(at).run
    result = runs.load(key)
    assert result.plan == choices.plan_of(desk(at)) and len(result.cases) == 2 * K
    assert visitor.shows(at, "What these numbers allow one to conclude") and visitor.shows(at, "inputs were asked")
    assert visitor.shows(at, "more features than examples")  # the linter's report is there with the first result
    assert visitor.shows(at, "Height is the AUC") and visitor.shows(at, result.plan.digest[:8])
    for view, words in {
        "Ranking": "One row an explainer",
        "Calibration and risk": "Keep only the cases that look safest",
        "Cases": "Test cases only; the score is",
        "Null and control": "learned shuffled labels",
    }.items():
        visitor.choose(at, "failure_view", view)
        assert visitor.shows(at, words), view
        assert visitor.shows(at, "linter's report") or at.expander, view
    assert not visitor.messages(at)
    # Files are made when they are asked for: make them as the buttons do.
    from isi_core.reports import failure_tables
    from isi_core.reports.failure_report import build_failure_report

    text = " ".join(p.extract_text() for p in pypdf.PdfReader(io.BytesIO(build_failure_report(result))).pages)
    assert "Failure prediction" in text and "Option margin" in text
    rows = list(csv.DictReader(io.StringIO(failure_tables.scores_csv(result).decode())))
    assert {row["explainer"] for row in rows} == set(result.plan.explainers)
    # The same settings again, in another session: the stored result, and nothing is asked.
    again = small(visit(), "majority", "option-margin", "context-kind", "last-token")
    assert again.button(key="failure_run_button").label == "Show the stored result"
    before = len(resources.jobs().list())
    visitor.press(again, "failure_run_button")
    assert desk(again).run == key and len(resources.jobs().list()) == before
    assert visitor.shows(again, "nothing was asked again")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with one real run, made once."""
    folder = tmp_path_factory.mktemp("made")
    plan = FailurePlan(
        k=K, explainers=("option-margin", "last-token"), contexts=("contradictory",), permutations=20, seed=0
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder))
        patch.setattr(pools, "CHUNK", 60)
        run(plan, resources.shelf(), runs.prepare(plan))
        runs.keep(plan)
    return folder


@pytest.fixture
def key(made: Path, home: Path) -> str:
    """The run of `made` in this test's home folder; its key."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    (found,) = runs.finished_keys()
    return found


def test_another_explainer_asks_nothing_again_and_stands_beside(key: str) -> None:
    """Plans that differ in explainers alone share their cases, and an earlier run tells the time."""
    at = small(visit(), "option-margin")
    assert at.button(key="failure_run_button").label == "Go on" and visitor.shows(at, "judged by an earlier run")
    asked = sorted(p.stat().st_mtime_ns for p in (runs.cases_folder(key) / "asked").iterdir())
    ran(at)
    assert desk(at).run != key and desk(at).run.partition("-")[0] == key.partition("-")[0]
    assert sorted(p.stat().st_mtime_ns for p in (runs.cases_folder(key) / "asked").iterdir()) == asked
    assert len(runs.finished_runs()) == 2
    at.multiselect(key="failure_beside").set_value([key])
    visitor.run(at)
    assert sum("Height is the AUC" in text for text in visitor.texts(at)) == 2
    visitor.press(at, "failure_forget")
    assert [run.key for run in runs.finished_runs()] == [key] and runs.load(key)


def test_cases_open_in_vqa_interventions_and_are_answered_the_same(key: str) -> None:
    at = visit()
    assert desk(at).run == key
    visitor.choose(at, "failure_view", "Cases")
    result = runs.load(key)
    score = next(s for s in ranked(result) if s.explainer == desk(at).sorting)
    sorted_out = surest_cases(result, score, cases.EACH)
    case, _ = (sorted_out[MISSED] or sorted_out[FORESEEN])[0]
    assert not case.success
    visitor.press(at, f"failure_open_{case.id}")
    lying = at.session_state["vqa_desk"]
    trial = lying.trial()
    assert (trial.question, trial.context, trial.truth_word) == (case.question, case.context, case.truth)
    assert f"pictures/{trial.image_digest[:24]}.png" == case.picture
    assert visitor.shows(at, "Current input")
    at.switch_page(str(visitor.PAGE.relative_to(visitor.ROOT)))  # AppTest does not follow the page's own turn
    asked = visitor.measure(visitor.run(at))
    assert asked.answer is not None and asked.answer.text == case.answer


def test_busy_then_cancelled_keeps_what_was_asked() -> None:
    at = small(visit(), "option-margin")
    at.number_input(key="failure_k").set_value(4_000)
    visitor.run(at)
    visitor.press(at, "failure_run_button")
    assert at.button(key="failure_run_button").disabled and "failure_cancel" in keys(at, "button")
    assert not visitor.shows(at, "What this page does")
    key = runs.key_of(choices.plan_of(desk(at)))
    limit = time.monotonic() + RUN
    while not runs.begun(key) and time.monotonic() < limit:
        time.sleep(0.1)
    visitor.press(at, "failure_cancel")
    settle(at)
    assert visitor.shows(at, "Stopped. What was collected is kept") and runs.begun(key) and not runs.is_finished(key)
    assert at.button(key="failure_run_button").label == "Go on" and not visitor.messages(at)


def test_a_pool_without_enough_failures_says_what_is_possible() -> None:
    at = small(visit(), "option-margin")
    pick(at, "task", "dataset")
    desk(at).contexts = ["complementary"]
    at.number_input(key="failure_k").set_value(90)
    visitor.run(at)
    settle(visitor.press(at, "failure_run_button"))
    (message,) = visitor.messages(at)
    assert "right and" in message and "wrong" in message and "hoose" in message
    assert at.button(key="failure_run_button").label == "Go on"


def test_a_layer_that_does_not_exist_is_told_with_those_that_do() -> None:
    at = small(visit(), "last-token")
    pick(at, "layers", SOME)
    at.text_input(key="failure_numbers").set_value("2, 77")
    visitor.run(at)
    settle(visitor.press(at, "failure_run_button"))
    (message,) = visitor.messages(at)
    assert "no layer 77" in message


def test_a_task_file_of_another_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "piqa.jsonl"
    path.write_text(json.dumps({"goal": "g", "sol1": "a", "label": 0}))
    at = visit()
    pick(at, "task", "piqa")
    at.text_input(key="failure_typed").set_value(str(path))
    at.text_input(key="failure_text_model").set_value(str(tmp_path))
    visitor.run(at)
    (message,) = visitor.messages(at)  # told by the linter, before anything is run
    assert "sol2" in message
    settle(visitor.press(at, "failure_run_button"))
    assert all("sol2" in message for message in visitor.messages(at)) and "sol2" in desk(at).error


def test_defective_files_are_told_before_any_model_is_asked(tmp_path: Path) -> None:
    items = [{"id": f"p_{i}", "goal": f"How to do {i}", "sol1": f"this {i}", "sol2": f"that {i}"} for i in range(80)]
    labelled = {
        name: [{**item, "correct_answer": gold} for item in items]
        for name, gold in (("correct", "A"), ("incorrect", "B"))
    }
    at = visit()
    pick(at, "task", "piqa")
    at.file_uploader(key="failure_files").set_value([("piqa.json", json.dumps(labelled).encode(), "application/json")])
    visitor.run(at)
    assert visitor.shows(at, "160 items, before any model is asked")
    assert visitor.shows(at, "same item in both classes") and visitor.shows(at, "with opposite gold answers")
    assert any("severe finding" in message for message in visitor.messages(at))
    assert not resources.jobs().list()


# -- scores from elsewhere ------------------------------------------------------------------


def drop(at: AppTest, name: str, text: str) -> AppTest:
    at.file_uploader(key="failure_scores_file").set_value((name, text.encode(), "text/csv"))
    return visitor.run(at)


def test_scores_from_elsewhere_get_both_intervals_and_survive_a_page_turn() -> None:
    at = pick(visit(), "task", SCORES)
    assert "failure_run_button" not in keys(at, "button")
    lines = [
        f"boolq,{layer},{i % 2},{(i % 2) * 0.4 * layer / 9 + (i * 37 % 100) / 100}"
        for layer in (3, 9)
        for i in range(400)
    ]
    drop(at, "mine.csv", "task,layer,label,score\n" + "\n".join(lines))
    assert visitor.shows(at, "mine.csv") and visitor.shows(at, "boolq: ")
    table = at.dataframe[0].value
    assert list(table["layer"]) == ["3", "9"] and all(" to " in cell for cell in table["bootstrap 99.9 %"])
    at.switch_page("pages/7_Run_History.py")
    visitor.run(at)
    at.switch_page(str(PAGE.relative_to(visitor.ROOT)))
    visitor.run(at)
    assert visitor.shows(at, "mine.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task,layer,score\na,1,0.5\n", "lacks the column label"),
        ("task,layer,label,score\na,1,1,nan\na,1,0,0.5\n", "not a number"),
        ("task,layer,label,score\na,1,1,0.3\na,1,1,0.5\n", "an AUC needs both"),
        ("task,layer,label,score\n", "has no rows"),
    ],
)
def test_a_wrong_csv_is_one_sentence_that_names_the_upload(text: str, words: str) -> None:
    at = drop(pick(visit(), "task", SCORES), "wrong.csv", text)
    (message,) = visitor.messages(at)
    assert words in message and "/tmp" not in message
    assert not at.dataframe


def test_sentences_of_scores_name_the_layers_above_chance() -> None:
    head = "task,layer,label,score\n"
    clear = "".join(f"a,1,{i % 2},{i % 2}.{i}\n" for i in range(100))
    flat = "".join(f"a,2,{i % 2},{(i * 7919) % 101}\n" for i in range(100))
    (said,) = scores.sentences(scores.read("x.csv", (head + clear + flat).encode()))
    assert "at layer 1 the interval excludes 0.5" in said


# -- parts ----------------------------------------------------------------------------------


def test_the_time_left_is_told_from_the_rate_of_this_run_only() -> None:
    told: list[str] = []
    clock = iter([0.0, 0.0, 10.0, 20.0])
    tell = work.with_time_left(lambda message, _: told.append(message), lambda: next(clock))
    tell("a", 0.5)  # a run that goes on where it was
    tell("b", 0.6)
    tell("c", 0.5)  # never backwards
    assert told[0] == "a" and told[1] == "b · about 40 s left" and told[2] == "c · about 80 s left"


def test_an_estimate_scales_stages_by_what_they_depend_on() -> None:
    from tests.unit.test_failure_reports import benchmark

    result = benchmark()
    same = timing.scaled(result, result.plan)
    assert same == pytest.approx(sum(result.seconds.values()))
    assert timing.scaled(result, FailurePlan(k=1_600)) == pytest.approx(2 * same)


def test_a_key_leads_to_no_file_outside_its_run(home: Path) -> None:
    key = runs.key_of(FailurePlan(k=K))
    folder = runs.cases_folder(key)
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(b"x")
    (home / "secret.png").write_bytes(b"x")
    assert runs.picture_of(key, "a.png") is not None
    assert runs.picture_of(key, "../../../../secret.png") is None and runs.picture_of(key, "") is None


def test_a_damaged_result_is_passed_over(home: Path) -> None:
    path = runs.result_file(runs.key_of(FailurePlan(k=K)))
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert runs.finished_runs() == []
    at = visit()
    assert visitor.shows(at, "What this page does") and findings.VIEWS


# -- causes and the quiz --------------------------------------------------------------------


def test_causes_are_tested_from_the_button_and_kept(key: str) -> None:
    at = visit()
    visitor.choose(at, "failure_view", "Causes")
    assert visitor.shows(at, "Nothing was tried with this run yet") and visitor.shows(at, "Is it a cause?")
    at.multiselect(key="failure_causal_parts").set_value(["steer"])
    visitor.run(at)
    settle(visitor.press(at, "failure_causal_start"))
    assert not desk(at).error and not visitor.messages(at)
    found = causal.load_causal(runs.causal_file(key))
    assert found.plan.explainer == "last-token" and found.plan.parts == ("steer",) and found.n == 4
    assert visitor.shows(at, "Each row moves the activations") and visitor.shows(at, "against random directions")
    # Another session finds it, and deleting the run deletes it.
    again = visit()
    visitor.choose(again, "failure_view", "Causes")
    assert visitor.shows(again, "Each row moves the activations")
    visitor.press(again, "failure_forget")
    assert not runs.causal_file(key).exists()


def test_without_a_direction_the_tab_of_causes_says_what_to_do(key: str) -> None:
    at = ran(small(visit(), "option-margin"))
    visitor.choose(at, "failure_view", "Causes")
    assert visitor.shows(at, "has a direction to steer along") and "failure_causal_start" not in keys(at, "button")


def test_the_quiz_is_taken_stopped_resumed_and_scored(key: str) -> None:
    at = visit()
    visitor.choose(at, "failure_view", "Quiz")
    assert visitor.shows(at, "Nobody has taken the quiz on this run yet")
    at.text_input(key="failure_quiz_person").set_value("Ann")
    visitor.run(at)
    visitor.press(at, "failure_quiz_begin")
    result = runs.load(key)
    (quiz,) = load_quizzes(runs.quiz_folder(key), result.plan.digest)
    assert len(quiz.questions) == 4 and visitor.shows(at, "Case 1 of 4")
    for place, question in enumerate(quiz.questions):
        assert visitor.shows(at, result.case(question.case).question)
        assert visitor.shows(at, "It gives the model a chance of") == question.explained
        assert visitor.shows(at, "No explanation for this one") != question.explained
        visitor.press(at, f"failure_quiz_{'surely_right' if place % 2 else 'probably_wrong'}")
        if place == 1:  # stop, and go on in another session
            at = visit()
            visitor.choose(at, "failure_view", "Quiz")
            assert visitor.shows(at, "People beside the explainer")
            visitor.press(at, f"failure_quiz_on_{quiz.id}")
            assert visitor.shows(at, "Case 3 of 4")
    assert visitor.shows(at, "That was the last question")
    (done,) = load_quizzes(runs.quiz_folder(key), result.plan.digest)
    assert done.finished and done.person == "Ann" and not visitor.messages(at)
    assert [reply.said for reply in done.replies] == ["probably wrong", "surely right"] * 2


def test_transfer_between_context_kinds_and_to_another_run(key: str) -> None:
    at = visit()
    visitor.choose(at, "failure_view", "Transfer")
    assert visitor.shows(at, "Nothing was carried over yet") and visitor.shows(at, "Does it carry over?")
    settle(visitor.press(at, "failure_transfer_start"))
    # A run under one context kind has nowhere to go: it says so.
    assert visitor.shows(at, "nothing to transfer to")
    visitor.choose(at, "failure_transfer_by", "run")
    assert at.button(key="failure_transfer_start").disabled
    assert "failure_transfer_to" in keys(at, "multiselect")
