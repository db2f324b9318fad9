"""Semantic Uncertainty: the page's own sums, its switches, its jobs, what it teaches and what it refuses."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pypdf
import pytest
from streamlit.testing.v1 import AppTest

from isi_core.measures.answer_groups import ComparedAnswers, Grouping, group
from isi_core.measures.semantic_entropy import class_probabilities
from isi_core.measures.side_by_side import MeasureRow
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.reports.run_export import read_run
from isi_core.reports.wording import number
from isi_core.ui import resources
from isi_core.ui.uncertainty import downloads
from isi_core.ui.uncertainty.desk import Desk, View
from isi_core.ui.uncertainty.measures import rows_of
from isi_core.ui.uncertainty.sources import every_subject
from tests.openai_server import Fault
from tests.pages import visitor
from tests.unit.test_judge import JudgingServer, nli, server

__all__ = ["nli", "server"]  # fixtures

PAGE = visitor.ROOT / "pages" / "2_Semantic_Uncertainty.py"
COLOURS = "-0.5\tYes.\n-1\tNo.\n-2\tNo, the fish is blue.\n-0.5\tYes.\n-1.5\tNo, the fish is green."


def visit() -> AppTest:
    """A new visitor of Semantic Uncertainty."""
    return go(visitor.visit_home())


def go(at: AppTest) -> AppTest:
    """Turn to the page Semantic Uncertainty."""
    at.switch_page(str(PAGE.relative_to(visitor.ROOT)))
    return visitor.run(at)


def desk(at: AppTest) -> Desk:
    """What lies on the visitor's desk of this page."""
    found: Desk = at.session_state["uncertainty_desk"]
    return found


def settle(at: AppTest) -> AppTest:
    """Wait until the running work has ended, and see what it made."""
    while (job := desk(at).job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
    return at


def paste(at: AppTest, answers: str, question: str = "Is the fish red?") -> AppTest:
    """Paste answers and take them."""
    visitor.choose(at, "uncertainty_source", "Pasted answers")
    at.text_input(key="uncertainty_question").set_value(question)
    at.text_area(key="uncertainty_answers").set_value(answers)
    return visitor.press(at, "uncertainty_paste")


def compare(at: AppTest) -> AppTest:
    """Have the entailment model compare the answers."""
    settle(visitor.press(at, "uncertainty_compare"))
    assert not at.error, [e.value for e in at.error]
    return at


def measured() -> AppTest:
    """A visitor who has measured a trial on VQA Interventions and then came here."""
    at = visitor.visit()
    visitor.measure(at, "vqa_measure_uncertainty")
    return go(at)


def view(at: AppTest) -> View:
    """What the page shows now."""
    lying = desk(at)
    entries = at.session_state["vqa_desk"].entries if "vqa_desk" in at.session_state else []
    subjects = {s.key: s for s in every_subject(lying, entries)}
    key = lying.pasted.key if lying.source == "Pasted answers" and lying.pasted else _chosen(at)
    found = lying.view(subjects[key])
    assert found is not None
    return found


def _chosen(at: AppTest) -> str:
    if desk(at).source == "Stored runs":
        return f"run-{at.selectbox(key='uncertainty_run').value}"
    key: str = at.selectbox(key="uncertainty_subject_0").value
    return key


def table(at: AppTest, place: int = 0) -> dict[str, str]:
    """The measures' table: each one's value as shown."""
    frame = at.table[place].value
    return {name: re.sub(r"\*", "", value) for name, value in zip(frame["Measure"], frame.iloc[:, 1], strict=True)}


def meanings(at: AppTest) -> dict[str, str]:
    """The measures' table: what each one says."""
    frame = at.table[0].value
    return dict(zip(frame["Measure"], frame["What it says"], strict=True))


def values(rows: list[MeasureRow]) -> dict[str, str]:
    """What a table of these rows must show."""
    shown = {row.name: number(row.value) if row.measured else "–" for row in rows}
    return shown | {row.name: str(int(row.value)) for row in rows if row.key == "n_clusters"}


# -- coming here ----------------------------------------------------------------------------


def test_an_empty_page_teaches_and_offers_an_example() -> None:
    at = visit()
    assert visitor.shows(at, "What this page does") and visitor.shows(at, "No trials in this session yet")
    assert not at.table and not at.error
    visitor.choose(at, "uncertainty_source", "Stored runs")
    assert visitor.shows(at, "No stored runs yet")
    visitor.choose(at, "uncertainty_source", "This session")
    visitor.press(at, "uncertainty_example")
    compare(at)
    assert table(at) == values(rows_of(desk(at), view(at)))
    assert visitor.shows(at, "6 answers have")


def test_a_trial_of_the_session_needs_no_model_again() -> None:
    at = measured()
    found = view(at)
    made = found.subject.evaluation
    assert made is not None and made.uncertainty is not None
    assert found.groups.semantic_entropy == pytest.approx(made.uncertainty.semantic_entropy, abs=1e-12)
    assert table(at) == values(rows_of(desk(at), found))
    assert table(at)["p(True)"] == "–" and visitor.shows(at, made.trial.digest[:8])
    assert [job.kind for job in resources.jobs().list()] == ["evaluation"]


def test_a_trial_without_samples_can_be_sampled_here() -> None:
    at = visitor.visit()
    visitor.measure(at, "vqa_ask")
    go(at)
    assert visitor.shows(at, "no samples yet") and not at.table
    settle(visitor.press(at, "uncertainty_draw_10"))
    assert not at.error and len(view(at).answers) == 10
    assert resources.store().recent(1)[0].label == "10 samples"


def test_a_stored_run_opens_in_another_session() -> None:
    first = measured()
    at = visit()
    visitor.choose(at, "uncertainty_source", "Stored runs")
    assert table(at) == table(first)
    resources.store().delete(int(at.selectbox(key="uncertainty_run").value))
    visitor.run(at)
    assert not at.exception


def test_what_was_chosen_survives_another_page() -> None:
    at = compare(paste(visit(), COLOURS))
    visitor.choose(at, "uncertainty_rule", "strict")
    before = table(at)
    at.switch_page(str(visitor.PAGE.relative_to(visitor.ROOT)))
    visitor.run(at)
    assert table(go(at)) == before
    assert at.text_area(key="uncertainty_answers").value == COLOURS


# -- pasted answers -------------------------------------------------------------------------


def test_pasted_answers_without_likelihoods_say_so() -> None:
    at = compare(paste(visit(), "Yes.\nNo.\nYes.\nYes."))
    found = table(at)
    assert found["Predictive entropy, plain"] == "–"
    assert found["Semantic entropy"] == found["Discrete semantic entropy"] == number(view(at).groups.semantic_entropy)
    assert visitor.shows(at, "These answers have no likelihoods")
    assert visitor.shows(at, "no model is known that could draw more")


@pytest.mark.parametrize(
    ("text", "message"),
    [("Yes.", "at least two"), ("-1\tYes.\nNo.", "Line 2 has no log-likelihood"), ("x" * 3000 + "\ny", "too long")],
)
def test_what_cannot_be_read_is_said_in_one_sentence(text: str, message: str) -> None:
    at = paste(visit(), text)
    assert any(message in m for m in visitor.messages(at)) and not at.table
    at = compare(paste(at, COLOURS))
    assert not at.error and at.table


def test_hostile_answers_are_shown_as_written() -> None:
    evil = "<img src=x onerror=alert(1)> **bold** [x](javascript:alert(1)) $x$ :red[y]"
    at = compare(paste(visit(), f"{evil}\n=HYPERLINK(1)\n{evil}", question=evil))
    for markdown in at.markdown:
        assert "<img" not in re.sub(r"\\.", "", markdown.value)
        assert not re.search(r"(?<!\\)\[x(?<!\\)\]", markdown.value)
    answers = downloads.answers_csv(view(at).answers, view(at).groups).decode()
    assert "'=HYPERLINK(1)" in answers and "\r\n=HYPERLINK" not in answers
    assert downloads.pdf(desk(at), view(at)).startswith(b"%PDF")


# -- grouping -------------------------------------------------------------------------------


def test_every_switch_regroups_at_once_without_a_model() -> None:
    at = compare(paste(visit(), COLOURS))
    jobs = len(resources.jobs().list())
    answers: ComparedAnswers = view(at).answers

    def expected(**changes: Any) -> float:
        return group(answers, Grouping(**changes)).semantic_entropy

    def shown() -> str:
        return table(at)["Semantic entropy"]

    assert shown() == number(expected())
    visitor.choose(at, "uncertainty_rule", "strict")
    assert shown() == number(expected(rule="strict"))
    for assignment in ("first wins", "components"):
        at.selectbox(key="uncertainty_assignment").set_value(assignment)
        visitor.run(at)
        assert shown() == number(expected(rule="strict", assignment=assignment))
    at.toggle(key="uncertainty_normalized").set_value(False)
    visitor.run(at)
    assert desk(at).grouping == Grouping("strict", "components", "sampling", False)
    visitor.choose(at, "uncertainty_likelihood", "model")
    assert desk(at).grouping.likelihood == "model"
    assert len(resources.jobs().list()) == jobs


def test_leaving_the_question_out_asks_again_and_is_remembered() -> None:
    at = compare(paste(visit(), COLOURS))
    before = table(at)
    at.toggle(key="uncertainty_prepended").set_value(False)
    visitor.run(at)
    assert not at.table and visitor.shows(at, "without the question")
    compare(at)
    assert visitor.shows(at, "on answers alone")
    jobs = len(resources.jobs().list())
    at.toggle(key="uncertainty_prepended").set_value(True)
    visitor.run(at)
    assert table(at) == before and len(resources.jobs().list()) == jobs


def test_moving_an_answer_by_hand_and_back() -> None:
    at = compare(paste(visit(), COLOURS))
    before = table(at)
    clusters = len(view(at).groups.probabilities)
    at.selectbox(key="uncertainty_move_answer").set_value(0)
    at.selectbox(key="uncertainty_move_target").set_value(clusters)
    visitor.press(at, "uncertainty_move")
    after = table(at)
    assert after["Number of semantic sets"] == str(clusters + 1)
    assert after["Semantic entropy"] != before["Semantic entropy"]
    assert after["Eigenvalues of the entailment graph"] == before["Eigenvalues of the entailment graph"]
    assert visitor.shows(at, "changed by hand") and visitor.shows(at, "By the rule alone")
    visitor.press(at, "uncertainty_reset")
    assert table(at) == before and not visitor.shows(at, "changed by hand")


# -- more samples, temperatures, another trial ----------------------------------------------


def test_fifty_samples_answer_whether_ten_are_enough() -> None:
    at = measured()
    first = view(at).subject
    assert visitor.shows(at, "10 answers cannot say whether 10 samples are enough")
    settle(visitor.press(at, "uncertainty_draw_many"))
    assert not at.error, [e.value for e in at.error]
    found = view(at)
    assert len(found.answers) == 50
    assert [a.text for a in found.answers.samples[:10]] == [a.text for a in first.samples]
    assert visitor.shows(at, "10 samples are enough here") or visitor.shows(at, "10 samples are not enough here")
    rows = list(csv.DictReader(io.StringIO(downloads_of(at, "convergence"))))
    assert rows[-1]["n"] == "50" and float(rows[-1]["mean"]) == pytest.approx(found.groups.semantic_entropy)

    # The two can be compared: the same trial, ten answers and fifty.
    assert table(at, 1)["Number of semantic sets"] == str(len(found.groups.probabilities))
    assert visitor.shows(at, "95 % interval") and visitor.shows(at, "50 against 10 answers")


def downloads_of(at: AppTest, kind: str) -> str:
    """A table of the page as the button would give it."""
    from isi_core.reports.uncertainty_tables import convergence_csv
    from isi_core.ui.uncertainty.investigations import steps_of

    assert kind == "convergence"
    return convergence_csv(steps_of(desk(at), view(at))).decode()


def test_temperature_sweep_and_a_second_one_from_the_store() -> None:
    at = measured()
    at.multiselect(key="uncertainty_temperatures").set_value([0.3, 1.5])
    at.number_input(key="uncertainty_sweep_n").set_value(4)
    visitor.run(at)
    settle(visitor.press(at, "uncertainty_sweep"))
    assert not at.error, [e.value for e in at.error]
    (swept,) = desk(at).sweeps.values()
    assert [e.decoding.temperature for e in swept] == [0.3, 1.5]
    assert all(e.uncertainty is not None and len(e.uncertainty.samples) == 4 for e in swept)
    assert visitor.shows(at, "Each point is the entropy of 4 answers")
    runs = resources.store().count()
    settle(visitor.press(at, "uncertainty_sweep"))
    assert resources.store().count() == runs


def test_comparing_two_pasted_and_measured_trials() -> None:
    at = measured()
    compare(paste(at, COLOURS))
    visitor.choose(at, "uncertainty_source", "This session")
    assert visitor.shows(at, "95 % interval") and len(at.table) == 2
    other = desk(at).pasted
    assert other is not None
    second = desk(at).view(other)
    assert second is not None
    assert visitor.shows(at, "halves of each trial's answers drawn without repeats")
    assert dict(zip(at.table[1].value["Measure"], at.table[1].value.iloc[:, 2], strict=True)) == values(
        rows_of(desk(at), second)
    )


def test_cancelling_leaves_the_page_as_it_was() -> None:
    at = measured()
    before = table(at)
    visitor.press(at, "uncertainty_draw_many")
    job = desk(at).job
    if job is not None:
        resources.jobs().cancel(job)
    settle(at)
    assert not at.error
    assert table(at) == before or len(view(at).answers) == 50  # it may have been quicker


# -- what is taken along --------------------------------------------------------------------


def test_downloads_hold_what_the_page_shows() -> None:
    at = measured()
    found = view(at)
    rows = list(
        csv.DictReader(
            io.StringIO(downloads.measures_csv(rows_of(desk(at), found), downloads.settings_of(found)).decode())
        )
    )
    by_name = {row["measure"]: row for row in rows}
    assert float(by_name["semantic_entropy"]["value"]) == found.groups.semantic_entropy
    assert by_name["p_true"]["value"] == "" and by_name["semantic_entropy"]["rule"] == "loose"
    assert found.subject.evaluation is not None
    assert by_name["semantic_entropy"]["digest"] == found.subject.evaluation.trial.digest
    answers = list(csv.DictReader(io.StringIO(downloads.answers_csv(found.answers, found.groups).decode())))
    assert len(answers) == 10 and {int(a["cluster"]) - 1 for a in answers} == set(found.groups.ids)
    pairs = downloads.entailment_csv(found.answers).decode().splitlines()
    assert len(pairs) == 1 + 10 * 9
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(downloads.pdf(desk(at), found))).pages)
    text = re.sub(r"\s+", " ", text)
    for words in (
        "Every measure",
        "Rao's quadratic entropy",
        "Semantic clusters",
        number(found.groups.semantic_entropy),
    ):
        assert words in text
    assert found.subject.evaluation.trial.digest in text.replace(" ", "")
    (again,) = read_run(downloads.run(found.subject.evaluation, found.subject.label))
    assert again.uncertainty == found.subject.evaluation.uncertainty
    every_answer = next(e.value for e in at.dataframe if "weight" in e.value.columns)
    assert len(every_answer) == 10 and every_answer["weight"].sum() == pytest.approx(1)


def test_a_model_that_is_gone_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = paste(visit(), COLOURS)
    desk(at).entailment_model = str(tmp_path / "nothing-here")
    visitor.run(at)
    settle(visitor.press(at, "uncertainty_compare"))
    assert len(visitor.messages(at)) == 1 and not at.table


# -- the model's own word, a judge, the map -------------------------------------------------


def test_the_model_is_asked_whether_its_answer_is_true() -> None:
    at = measured()
    assert "press “Measure p(True)”" in meanings(at)["p(True)"] and table(at)["p(True)"] == "–"
    settle(visitor.press(at, "uncertainty_p_true"))
    assert not at.error, [e.value for e in at.error]
    found = desk(at).p_true_of(view(at).subject)
    assert found is not None and (found.n_answers, found.shots) == (10, 0)
    assert table(at)["p(True)"] == number(found.p_true) != "–"
    assert table(at) == values(rows_of(desk(at), view(at)))
    assert "shown its 10 answers" in meanings(at)["p(True)"]
    # Kept in a run of its own, which another session finds measured.
    assert resources.store().recent(1)[0].label == "p(True)"
    other = visit()
    visitor.choose(other, "uncertainty_source", "Stored runs")
    assert table(other)["p(True)"] == number(found.p_true)
    # Examples come from stored runs of other questions, of which there are none.
    at.number_input(key="uncertainty_shots").set_value(3)
    visitor.run(at)
    settle(visitor.press(at, "uncertainty_p_true"))
    assert any("There are no examples" in m for m in visitor.messages(at))


def test_pasted_answers_have_no_model_to_ask() -> None:
    at = compare(paste(visit(), COLOURS))
    assert table(at)["p(True)"] == "–" and "no model is known that could be asked" in meanings(at)["p(True)"]
    assert not [b for b in at.button if b.key == "uncertainty_p_true"]


def test_a_judge_behind_a_server_compares_the_answers(
    server: JudgingServer, nli: HuggingFaceEntailment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISI_ENDPOINT_KEY", raising=False)
    at = paste(visit(), COLOURS)
    visitor.write(at, "uncertainty_entailment_typed", "judge:nowhere")
    assert any("judge:MODEL@" in m for m in visitor.messages(at)) and desk(at).entailment_model == "tiny-nli"
    name = f"judge:{server.model}@{server.url}"
    visitor.write(at, "uncertainty_entailment_typed", name)
    assert desk(at).entailment_model == name and not at.error
    compare(at)
    texts = [answer.text for answer in view(at).answers.samples]
    expected = class_probabilities(texts, "Is the fish red?", nli)
    assert view(at).answers.implications.tolist() == expected.argmax(-1).tolist()
    assert visitor.shows(at, f"entailment by {name}")
    asked = len(server.asked())
    visitor.choose(at, "uncertainty_rule", "strict")
    assert len(server.asked()) == asked > 0
    # A server that is gone is told of in a sentence, and the answers stay.
    server.faults = [Fault(401, {"error": {"message": "no"}})] * 9
    at.toggle(key="uncertainty_prepended").set_value(False)
    visitor.run(at)
    settle(visitor.press(at, "uncertainty_compare"))
    assert any("asks for a key" in m for m in visitor.messages(at))


def test_the_map_shows_every_text_once_and_goes_into_the_pdf() -> None:
    at = compare(paste(visit(), COLOURS))
    assert any(s.value == "Map of the answers" for s in at.subheader)
    assert visitor.shows(at, "Answers lie near each other where they entail each other")
    [figure] = [f for f in downloads.figures_of(desk(at), view(at)) if f.name == "answer_map"]
    rows = next(iter(figure.chart.to_dict()["datasets"].values()))
    assert {row["answer"] for row in rows} == {answer.text for answer in view(at).answers.samples}
    assert {int(row["cluster"]) - 1 for row in rows} == set(view(at).groups.ids)
    assert sum(row["probability"] for row in rows) == pytest.approx(1)
    reader = pypdf.PdfReader(io.BytesIO(downloads.pdf(desk(at), view(at))))
    assert "Answers lie near each other" in " ".join(page.extract_text() for page in reader.pages).replace("\n", " ")
    at = compare(paste(at, "Yes.\nYes.\nYes."))
    assert visitor.shows(at, "there is nothing to lay out")
