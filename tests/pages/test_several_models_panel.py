"""VQA Interventions, several models at once: answers side by side, in the store, with what differs marked."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from isi_core.models.catalogue import EMBEDDED
from isi_core.reports.wording import number
from isi_core.ui import resources
from isi_core.ui.vqa.several_models import Rounds
from tests.checkpoints import save_llava
from tests.pages import visitor


def rounds(at: AppTest) -> Rounds:
    """What the visitor asked of several models."""
    found: Rounds = at.session_state["vqa_several_models"]
    return found


def choose(at: AppTest, *labels: str) -> AppTest:
    """Choose these models."""
    at.multiselect(key="vqa_contenders").set_value(list(labels))
    return visitor.run(at)


def ask(at: AppTest) -> AppTest:
    """Ask them and wait."""
    visitor.press(at, "vqa_ask_several")
    while (job := rounds(at).job) is not None:
        assert not resources.jobs().wait(job, visitor.PATIENCE).live
        visitor.run(at)
    return at


def numbers(at: AppTest) -> dict[str, list[str]]:
    """The table of numbers: a row a measure."""
    [table] = [t.value for t in at.table if "Measure" in t.value]
    return {row[0].removesuffix(" ≠"): list(row[1:]) for row in table.itertuples(index=False)}


def test_the_panel_teaches_and_waits_for_two_models() -> None:
    at = visitor.visit()
    assert visitor.shows(at, "Does another model fall for the same words?")
    assert at.button(key="vqa_ask_several").disabled
    choose(at, "tiny-llava")
    assert at.button(key="vqa_ask_several").disabled
    choose(at, "tiny-llava", "tiny-llava · 4-bit")
    assert not at.button(key="vqa_ask_several").disabled
    assert at.query_params["models"] == "tiny-llava,tiny-llava · 4-bit"
    choose(at, "tiny-llava", "no such model")
    assert visitor.desk(at).contenders == ("tiny-llava",)
    assert any("No model 'no such model'" in m for m in visitor.messages(at))


def test_one_model_whole_and_in_four_bit(tmp_path: Path) -> None:
    at = visitor.visit(models="tiny-llava,tiny-llava · 4-bit,../elsewhere")
    assert visitor.desk(at).contenders == ("tiny-llava", "tiny-llava · 4-bit")
    ask(at)
    assert not at.error, [e.value for e in at.error]
    entries = visitor.desk(at).entries
    assert [e.label for e in entries] == ["tiny-llava", "tiny-llava · 4-bit"]
    whole, quantized = (e.evaluation for e in entries)
    assert (whole.model.quantization, quantized.model.quantization) == ("none", "4-bit")
    assert whole.trial.digest == quantized.trial.digest == visitor.desk(at).trial().digest
    # In the store as any other run, newest first, each the one that the page shows.
    stored = resources.store().recent()
    assert [(run.label, run.semantic_entropy) for run in stored[::-1]] == [
        (e.label, e.evaluation.uncertainty.semantic_entropy if e.evaluation.uncertainty else None) for e in entries
    ]
    shown = numbers(at)
    assert whole.uncertainty and quantized.uncertainty and whole.attribution and quantized.attribution
    assert shown["Semantic entropy (nats)"] == [
        number(m.uncertainty.semantic_entropy) for m in (whole, quantized) if m.uncertainty
    ]
    assert shown["Attention on the image (0 to 1)"] == [
        number(m.attribution.relative["image"]) for m in (whole, quantized) if m.attribution
    ]
    assert visitor.shows(at, "models answer alike") or visitor.shows(at, "The models disagree")
    # Another input is not shown beside these answers, and comes back with them.
    visitor.choose(at, "vqa_context_kind", "contradictory")
    assert not at.table and visitor.shows(at, "has changed since these models were asked")
    visitor.press(at, "vqa_undo")
    assert numbers(at) == shown


def test_models_that_disagree_are_marked(tmp_path: Path) -> None:
    other = save_llava(tmp_path / "another")
    at = visitor.visit()
    choose(at, "tiny-llava", str(other))
    ask(at)
    assert not at.error, [e.value for e in at.error]
    first, second = (e.evaluation for e in visitor.desk(at).entries)
    assert first.answer and second.answer and first.answer.text != second.answer.text  # one has random weights
    assert visitor.shows(at, "The models disagree")
    table = next(t.value for t in at.table if "Measure" in t.value)
    assert ("Verdict ≠" in set(table["Measure"])) == visitor.shows(at, "The models disagree")
    assert resources.store().recent(1)[0].model_name == "another"


def test_a_model_that_cannot_be_loaded_does_not_cost_the_other(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(EMBEDDED / "tiny-llava", broken)
    (broken / "model.safetensors").write_bytes(b"no weights")
    at = visitor.visit()
    choose(at, str(broken), "tiny-llava")
    ask(at)
    assert len(visitor.desk(at).entries) == 1 and resources.store().count() == 1
    assert any("broken" in m or "damaged" in m for m in visitor.messages(at))
    assert visitor.desk(at).entries[0].evaluation.answer is not None
    assert len(numbers(at)["Verdict"]) == 1


@pytest.mark.parametrize("leave", [False, True])
def test_a_round_can_be_cancelled_or_left(leave: bool) -> None:
    at = visitor.visit(models="tiny-llava,tiny-llava · 4-bit")
    visitor.press(at, "vqa_ask_several")
    job = rounds(at).job
    if leave:
        at.switch_page("pages/7_Run_History.py")
        visitor.run(at)
        if job is not None:
            resources.jobs().wait(job, visitor.PATIENCE)
        at.switch_page(str(visitor.PAGE.relative_to(visitor.ROOT)))
        visitor.run(at)
        assert len(numbers(at)["Verdict"]) == 2
        return
    if job is not None:
        resources.jobs().cancel(job)
        resources.jobs().wait(job, visitor.PATIENCE)
        visitor.run(at)
    assert rounds(at).job is None and not at.error
    assert len(visitor.desk(at).entries) == resources.store().count()


def test_an_llm_judge_is_chosen_by_its_address(tmp_path: Path) -> None:
    at = visitor.visit()
    name = "judge:gemma3:4b@http://127.0.0.1:9/v1"
    visitor.write(at, "vqa_entailment_typed", name + "/")
    assert visitor.desk(at).settings.entailment_model == name and not at.error
    assert at.selectbox(key="vqa_entailment").value == name
    for wrong, words in (("judge:x", "judge:MODEL@"), (str(tmp_path), "give a hub id"), ("nothing", "No model")):
        visitor.write(at, "vqa_entailment_typed", wrong)
        assert any(words in m for m in visitor.messages(at))
        assert visitor.desk(at).settings.entailment_model == name
    # Nobody listens there: a sentence, no result, nothing stored.
    visitor.settle(visitor.press(at, "vqa_measure_uncertainty"))
    assert any("Nothing answers at http://127.0.0.1:9/v1" in m for m in visitor.messages(at))
    assert resources.store().count() == 0
