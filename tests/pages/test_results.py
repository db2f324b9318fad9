"""VQA Interventions, what comes out: answers, measures, staleness, history, jobs, failures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from isi_core.datasets.built_in import load_dataset
from isi_core.measures.semantic_entropy import recluster
from isi_core.models.catalogue import EMBEDDED
from isi_core.reports import wording
from isi_core.studies.trials import example_investigation
from isi_core.ui import resources
from tests.pages import visitor

FIRST = load_dataset().observations[0]
SAME = "Their input, model, settings, answer, entropy and attention are the same"


def test_ask_then_each_measure_adds_to_the_answer() -> None:
    at = visitor.visit()
    made = visitor.measure(at, "vqa_ask")
    assert made.answer is not None and made.uncertainty is None and made.attribution is None
    assert visitor.answer(at) == made.answer.text
    assert visitor.shows(at, wording.judgement(made).word)
    assert visitor.shows(at, f"verdict {made.answer.verdict}, truth {FIRST.truth_word}")
    assert visitor.shows(at, made.trial.digest[:8]) and visitor.shows(at, f"seed {made.decoding.seed}")
    assert visitor.shows(at, "press *Measure uncertainty*") and visitor.shows(at, "press *Measure attention*")

    made = visitor.measure(at, "vqa_measure_uncertainty")
    assert made.uncertainty is not None and made.attribution is None
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Semantic entropy (nats)"] == wording.number(made.uncertainty.semantic_entropy)
    assert metrics["Clusters (of 10 samples)"] == str(made.uncertainty.n_clusters)
    assert len(at.dataframe[0].value) == 10
    assert sum(made.uncertainty.cluster_probabilities) == pytest.approx(1)

    made = visitor.measure(at, "vqa_measure_attention")
    assert made.uncertainty is not None and made.attribution is not None
    assert sum(made.attribution.relative.values()) == pytest.approx(1)
    assert made.attribution.relative["context"] == 0  # there is none
    visitor.choose(at, "vqa_shares", "Absolute")
    assert visitor.answer(at) == made.answer.text if made.answer else False
    assert len(visitor.desk(at).entries) == 1
    assert [run.digest for run in resources.store().recent()] == [made.trial.digest] * 3


def test_the_same_input_and_seed_give_the_same_answers() -> None:
    first = visitor.measure(visitor.visit(), "vqa_measure_all")
    second = visitor.measure(visitor.visit(), "vqa_measure_all")
    assert first.uncertainty is not None and second.uncertainty is not None
    assert [a.text for a in first.uncertainty.samples] == [a.text for a in second.uncertainty.samples]
    assert first.uncertainty.semantic_entropy == second.uncertainty.semantic_entropy


def test_a_result_never_stands_beside_another_input() -> None:
    at = visitor.visit()
    first = visitor.measure(at)
    assert first.answer is not None
    for change in (
        lambda: visitor.choose(at, "vqa_context_kind", "contradictory"),
        lambda: visitor.choose(at, "vqa_image_kind", "random"),
        lambda: visitor.write(at, "vqa_question", "Is there a boat?"),
        lambda: visitor.draw(at, [visitor.rectangle(0.2, 0.2, 0.5, 0.5)]),
    ):
        change()
        assert visitor.answer(at) is None and not at.metric
        assert visitor.shows(at, "stale") and visitor.shows(at, "The input has changed since the last answer")
        visitor.press(at, "vqa_undo")
        assert visitor.answer(at) == first.answer.text and not visitor.shows(at, "The input has changed")

    visitor.choose(at, "vqa_context_kind", "contradictory")
    second = visitor.measure(at)
    assert second.trial.context == FIRST.contradictory
    # Back and forth: each input finds its own result at once, without asking again.
    visitor.choose(at, "vqa_context_kind", "none")
    assert visitor.desk(at).job is None and visitor.answer(at) == first.answer.text
    visitor.choose(at, "vqa_context_kind", "contradictory")
    assert second.answer is not None and visitor.answer(at) == second.answer.text
    assert len(visitor.desk(at).entries) == 2

    at.number_input(key="vqa_seed").set_value(7)
    visitor.run(at)
    visitor.run(at)
    assert visitor.answer(at) is None  # another seed is another result


def test_history_restores_and_compares() -> None:
    at = visitor.visit()
    visitor.draw(at, [visitor.rectangle(0.2, 0.2, 0.5, 0.5)])
    first = visitor.measure(at)
    visitor.press(at, "vqa_next")
    visitor.choose(at, "vqa_context_kind", "complementary")
    second = visitor.measure(at, "vqa_measure_all")
    assert first.trial.digest != second.trial.digest

    visitor.press(at, "vqa_restore_0")
    assert visitor.desk(at).trial().digest == first.trial.digest
    assert visitor.current_picture(at).tobytes() == first.trial.image.tobytes()
    assert first.answer is not None and visitor.answer(at) == first.answer.text

    for index in (0, 1):
        at.checkbox(key=f"vqa_compare_{index}").check()
        visitor.run(at)
    assert visitor.shows(at, "Trial 1 against trial 2")
    assert visitor.shows(at, first.trial.question) and visitor.shows(at, second.trial.context)
    at.checkbox(key="vqa_compare_1").uncheck()
    visitor.run(at)
    assert not visitor.shows(at, "against trial")


def _compare(at: AppTest, *indexes: int) -> None:
    for index in indexes:
        at.checkbox(key=f"vqa_compare_{index}").check()
        visitor.run(at)


def test_trials_of_other_settings_are_not_told_to_be_the_same() -> None:
    at = visitor.visit()
    first = visitor.measure(at)
    at.number_input(key="vqa_temperature").set_value(1.5)
    visitor.run(visitor.run(at))
    second = visitor.measure(at)
    at.number_input(key="vqa_seed").set_value(7)
    visitor.run(visitor.run(at))
    visitor.measure(at)
    assert first.answer is not None and second.answer is not None and first.answer.text == second.answer.text
    _compare(at, 0, 1)
    assert visitor.shows(at, "**Decoding**") and visitor.shows(at, "at temperature 0.9") and not visitor.shows(at, SAME)
    assert visitor.shows(at, "at temperature 1.5") and not visitor.shows(at, "**Seed**")
    _compare(at, 2)
    assert visitor.desk(at).compared == [1, 2]
    assert visitor.shows(at, "**Seed**") and not visitor.shows(at, "**Decoding**") and not visitor.shows(at, SAME)
    # A trial of another model, and of another revision, as a stored run may be.
    entries = visitor.desk(at).entries
    other = replace(entries[1].evaluation, model=replace(second.model, name="other", revision="f" * 64))
    entries[2] = replace(entries[2], evaluation=other)
    visitor.run(at)
    assert visitor.shows(at, "**Model**") and visitor.shows(at, "**Revision**") and visitor.shows(at, "f" * 12)
    entries[2] = replace(entries[2], evaluation=replace(other, model=second.model))
    visitor.run(at)
    assert visitor.shows(at, SAME)


def test_compared_entropies_are_of_one_grouping() -> None:
    at = visitor.visit()
    measured = visitor.measure(at, "vqa_measure_uncertainty")
    known = measured.uncertainty
    assert known is not None and known.settings.rule == "loose"
    # Each answer follows from those before it only: of one meaning by the loose rule, each its own by the strict one.
    n = len(known.samples)
    oneway = replace(known, implications=tuple(tuple(2 if i <= j else 1 for j in range(n)) for i in range(n)))
    loose, strict = (recluster(oneway, replace(known.settings, rule=rule)) for rule in ("loose", "strict"))
    assert loose.n_clusters == 1 and strict.n_clusters == n
    entries = visitor.desk(at).entries
    entries[0] = replace(entries[0], evaluation=replace(measured, uncertainty=loose))
    other = replace(measured, uncertainty=strict, decoding=replace(measured.decoding, seed=1))
    entries.append(replace(entries[0], evaluation=other))
    visitor.desk(at).compared = [0, 1]
    visitor.run(at)
    assert visitor.shows(at, "Entropies as grouped now: rule loose, likelihoods sampling")
    at.selectbox(key="vqa_rule").set_value("strict")
    visitor.run(visitor.run(at))
    entropy = wording.number(strict.semantic_entropy)
    panel = {metric.label: metric.value for metric in at.metric}
    assert panel["Semantic entropy (nats)"] == entropy
    cards = [text for text in visitor.texts(at) if text.startswith("entropy ")]
    assert cards == [f"entropy {entropy} nats"] * 2  # as the panel says, though the first was measured as loose
    assert visitor.shows(at, "Entropies as grouped now: rule strict, likelihoods sampling")
    assert visitor.shows(at, "**Seed**") and not visitor.shows(at, "**Semantic entropy (nats)**")
    assert not visitor.shows(at, "**Grouping**")
    # What another entailment model said cannot be grouped anew, and is not set beside the other.
    elsewhere = replace(strict, settings=replace(strict.settings, entailment_model="another"))
    entries[1] = replace(entries[1], evaluation=replace(other, uncertainty=elsewhere))
    visitor.run(at)
    assert visitor.shows(at, "**Grouping**") and visitor.shows(at, "entailment by another) and has no entropy here")
    assert visitor.shows(at, "entropy grouped otherwise") and visitor.shows(at, "Entropies as grouped now: rule strict")


def test_the_example_investigation() -> None:
    at = visitor.visit()
    visitor.settle(visitor.press(at, "vqa_investigation"))
    assert visitor.messages(at) == []
    lying = visitor.desk(at)
    assert [entry.label for entry in lying.entries] == [label for label, _ in example_investigation()]
    for entry in lying.entries:
        made = entry.evaluation
        assert made.answer is not None and made.uncertainty is not None
        assert made.trial.observation_id == FIRST.id
    assert {button.key for button in at.get("download_button")} >= {"vqa_pdf_investigation", "vqa_data_investigation"}
    # The desk's own input, no context, is the first of them.
    assert visitor.answer(at) == (lying.entries[0].evaluation.answer or lying).text  # type: ignore[union-attr]
    assert len(resources.store().recent()) == 6


def test_running_work_shows_progress_and_can_be_cancelled() -> None:
    at = visitor.visit()
    with resources.shelf().vlm("tiny-llava"):  # somebody else is using the model
        visitor.press(at, "vqa_measure_all")
        job = visitor.desk(at).job
        assert job is not None and resources.jobs().get(job).live
        assert at.button(key="vqa_ask").disabled and at.button(key="vqa_investigation").disabled
        visitor.press(at, "vqa_cancel")
        assert resources.jobs().wait(job, visitor.PATIENCE).state == "cancelled"
        visitor.settle(at)
    assert visitor.messages(at) == [] and visitor.desk(at).entries == []
    assert visitor.shows(at, "No answer yet")
    visitor.measure(at, "vqa_ask")


def _broken(folder: Path) -> Path:
    """A copy of the embedded model whose weights were cut short."""
    shutil.copytree(EMBEDDED / "tiny-llava", folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    return folder


@pytest.mark.parametrize("kind", ["empty folder", "cut weights", "not on this machine"])
def test_a_failing_model_is_one_sentence(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    model = {
        "empty folder": str(tmp_path / "empty"),
        "cut weights": str(_broken(tmp_path / "broken")),
        "not on this machine": "isi-studio-tests/no-such-model",
    }[kind]
    at = visitor.write(visitor.visit(), "vqa_model_typed", model)
    lying = visitor.desk(at)
    visitor.settle(visitor.press(at, "vqa_ask"))
    assert lying.entries == [] and visitor.answer(at) is None
    assert visitor.messages(at), "nothing says what is wrong"
    # The built-in model is still there to be asked.
    at.selectbox(key="vqa_family").set_value("Tiny LLaVA")
    visitor.run(at)
    visitor.measure(at)


def test_an_embedded_model_that_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from isi_core.models import catalogue

    gone = tuple(replace(row, source=tmp_path / "gone") if row.embedded else row for row in catalogue.ROWS)
    monkeypatch.setattr(catalogue, "ROWS", gone)
    at = visitor.visit()
    visitor.settle(visitor.press(at, "vqa_ask"))
    assert visitor.messages(at) and visitor.desk(at).entries == []
