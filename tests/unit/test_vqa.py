"""Trials from presets, and evaluations by real classes with random weights."""

from random import Random

import pytest

from isi_core.datasets.pictures import open_picture
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import Box, ContextPreset, EditText, ImagePreset, QuestionPreset
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.rendering import apply
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.studies.trials import build_trial, example_investigation, preset_grid
from isi_core.studies.vqa import evaluate, evaluation_summary
from isi_core.training import nli
from isi_core.worlds.scenes.drawing import render_annotated, render_scene
from isi_core.worlds.scenes.graph import draw_held_out_scene
from tests.checkpoints import save_llava


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("scenes")
    rows = []
    for row in range(1, 5):
        scene = draw_held_out_scene(Random(row))
        natural, annotated = folder / f"{row}.png", folder / f"{row}-annotated.png"
        render_scene(scene, 96).save(natural)
        render_annotated(scene, 96).save(annotated)
        rows.append(
            Observation(
                f"scene{row}", row, natural, annotated, f"Is there a car {row}?", True, f"help {row}", f"harm {row}"
            )
        )
    return Dataset("scenes", folder, tuple(rows))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[HuggingFaceVLM, HuggingFaceEntailment]:
    folder = tmp_path_factory.mktemp("models")
    save_llava(folder / "llava")
    state = folder / "nli.pt"
    nli.train(state, steps=1, minutes=1, batch=2, seed=0, report_every=100)
    nli.save_model(state, folder / "nli")
    return HuggingFaceVLM.load(folder / "llava", "llava"), HuggingFaceEntailment.load(folder / "nli", name="nli")


def test_presets_choose_the_inputs_and_drawings_stay_on_top(dataset):
    first = dataset.observations[0]
    box = Box(0.2, 0.2, 0.8, 0.8, filled=True)
    trial = build_trial(dataset, first, [box, ImagePreset("annotated"), ContextPreset("contradictory")])
    assert trial.image.tobytes() == apply(open_picture(first.annotated), box).tobytes()
    assert (trial.context, trial.context_kind, trial.image_kind) == ("harm 1", "contradictory", "annotated")
    assert trial.truth is True


def test_random_presets_are_another_observations_and_repeat(dataset):
    first = dataset.observations[0]
    changes = [ImagePreset("random", 3), ContextPreset("random", 3), QuestionPreset("random", 3)]
    one, same = build_trial(dataset, first, changes), build_trial(dataset, first, changes)
    assert one.digest == same.digest
    assert one.context in {"help 2", "help 3", "help 4"}
    assert one.question != first.question
    assert one.truth is None
    assert one.image.tobytes() != open_picture(first.image).tobytes()


def test_impossible_wishes_are_refused(dataset):
    first = dataset.observations[0]
    with pytest.raises(InputError, match="empty"):
        build_trial(dataset, first, [EditText("question", "  ")])
    bare = Observation("bare", 9, first.image, None, "Is it?", None)
    for change in (ImagePreset("annotated"), ContextPreset("complementary")):
        with pytest.raises(InputError, match="bare has no"):
            build_trial(dataset, bare, [change])
    with pytest.raises(InputError, match="another observation"):
        build_trial(Dataset("one", None, (bare,)), bare, [ImagePreset("random")])


def test_the_grid_and_the_example_investigation_build_for_every_observation(dataset):
    conditions = [c[2] for c in preset_grid()] + [c[1] for c in example_investigation()]
    assert len(conditions) == 18
    for observation in dataset.observations:
        digests = {build_trial(dataset, observation, changes).digest for changes in conditions}
        assert len(digests) >= 14


def test_an_evaluation_measures_what_was_asked_and_keeps_what_was_measured(dataset, models):
    vlm, entailment = models
    trial = build_trial(dataset, dataset.observations[0], [ContextPreset("complementary")])
    decoding = Decoding(n_samples=4, max_new_tokens=6)
    told = []
    first = evaluate(trial, vlm, decoding, {"uncertainty"}, entailment, progress=lambda *step: told.append(step))
    assert first.uncertainty is not None and len(first.uncertainty.samples) == 4
    assert first.attribution is None
    assert told and all(0 <= fraction <= 1 for _, fraction in told)
    both = evaluate(trial, vlm, decoding, {"attention"}, previous=first)
    assert both.uncertainty is first.uncertainty
    summary = evaluation_summary(both)
    assert sum(summary["attention"].values()) == pytest.approx(1.0)
    assert sum(summary["attention_absolute"].values()) == pytest.approx(1.0)
    assert summary["n_clusters"] == len(summary["clusters"])
    other = build_trial(dataset, dataset.observations[1])
    assert evaluate(other, vlm, decoding, {"attention"}, previous=first).uncertainty is None


def test_uncertainty_without_an_entailment_model_is_refused(dataset, models):
    with pytest.raises(InputError, match="entailment"):
        evaluate(build_trial(dataset, dataset.observations[0]), models[0], Decoding(), {"uncertainty"})
