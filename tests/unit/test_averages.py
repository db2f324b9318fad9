"""Averages over a dataset, by real classes with random weights, and files of them that are hostile."""

import json
import math
import os
from dataclasses import replace

import numpy as np
import pytest

from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.datasets.scene_dataset import write_scene_dataset
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.home import HOME_VARIABLE
from isi_core.domain.observation import Dataset
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.measures.statistics import Rank, rank_among
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.studies import averages as files
from isi_core.studies.averages import (
    MEASURES,
    Averages,
    FamilyAverage,
    averages_path,
    averages_stamp,
    load_averages,
    own_averages_path,
    preset_key,
    read_averages,
    save_averages,
    usual,
    why_not_comparable,
)
from isi_core.studies.averaging import (
    Outcome,
    average,
    averages_table,
    family_averages,
    measure_averages,
    measure_values,
    preset_average,
)
from isi_core.studies.trials import build_trial, preset_grid
from isi_core.studies.vqa import evaluate
from isi_core.training import nli
from tests.checkpoints import save_llava

DECODING = Decoding(n_samples=3, max_new_tokens=5, seed=2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "three"
    write_scene_dataset(3, 1, folder)
    return load_isi_folder(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[HuggingFaceVLM, HuggingFaceEntailment]:
    folder = tmp_path_factory.mktemp("models")
    save_llava(folder / "llava")
    state = folder / "nli.pt"
    nli.train(state, steps=1, minutes=1, batch=2, seed=0, report_every=100)
    nli.save_model(state, folder / "nli")
    return HuggingFaceVLM.load(folder / "llava", "llava"), HuggingFaceEntailment.load(folder / "nli", name="nli")


@pytest.fixture(scope="module")
def averages(dataset, models) -> Averages:
    return measure_averages(dataset, *models, DECODING)


def test_every_preset_holds_what_each_of_its_trials_gives(dataset, models, averages):
    grid = {f"{image}/{context}": changes for image, context, changes in preset_grid()}
    assert list(averages.presets) == list(grid)
    verdicts = {}
    for key in ("natural/none", "random/contradictory"):
        trials = [build_trial(dataset, o, grid[key]) for o in dataset.observations]
        assert {preset_key(t) for t in trials} == {key}
        found = [evaluate(t, models[0], DECODING, {"uncertainty", "attention"}, models[1]) for t in trials]
        preset = averages.presets[key]
        said = verdicts[key] = [e.answer.verdict for e in found]
        assert preset.n == 3
        assert preset.accuracy == np.mean([v == t.truth_word for v, t in zip(said, trials, strict=True)])
        assert preset.yes_rate == said.count("yes") / 3
        assert preset.unclear_rate == said.count("unclear") / 3
        for name in MEASURES:
            values = [measure_values(e)[name] for e in found if name in measure_values(e)]
            assert values, name
            assert preset.measures[name].values == pytest.approx(values, abs=1e-5)
            assert preset.measures[name].mean == pytest.approx(np.mean(values))
        assert np.ptp(preset.measures["predictive_entropy"].values) > 0
    changed = [a != b for a, b in zip(*verdicts.values(), strict=True)]
    assert averages.presets["random/contradictory"].changed_rate == np.mean(changed)
    assert averages.presets["natural/none"].changed_rate == 0
    assert (averages.dataset, averages.model["name"], averages.entailment["name"]) == ("three", "llava", "nli")
    assert averages.decoding == DECODING.to_json()
    assert averages.settings == UncertaintySettings("loose", "sampling", "nli")


def test_a_values_rank_is_its_place_among_the_datasets(averages):
    values = sorted(averages.presets["natural/none"].measures["predictive_entropy"].values)
    assert averages.rank("natural/none", "predictive_entropy", values[1]) == Rank(1, 1, 3)
    assert averages.rank("natural/none", "predictive_entropy", values[-1] + 1) == Rank(3, 0, 3)
    assert averages.rank("natural/none", "predictive_entropy", math.nan) is None
    assert averages.rank("uploaded/edited", "predictive_entropy", 1.0) is None
    assert averages.rank("natural/none", "beauty", 1.0) is None


def test_verdicts_are_counted_as_they_should():
    def outcomes(*cases: tuple[str, bool | None, str]) -> list[Outcome]:
        return [Outcome(row, family, truth, said, {}) for row, (said, truth, family) in enumerate(cases, start=1)]

    before = outcomes(("yes", True, "a"), ("yes", False, "a"), ("unclear", True, "b"), ("no", None, "b"))
    after = outcomes(("no", True, "a"), ("no", False, "a"), ("yes", True, "b"), ("no", None, "c"))
    one, two = preset_average(before, before), preset_average(after, before)
    assert (one.n, one.accuracy, one.yes_rate, one.unclear_rate, one.changed_rate) == (4, 1 / 3, 0.5, 0.25, 0)
    assert (two.n, two.accuracy, two.yes_rate, two.unclear_rate, two.changed_rate) == (4, 2 / 3, 0.25, 0, 0.75)
    assert preset_average(after, before[:1]).changed_rate == 1
    assert preset_average(after).changed_rate is None
    assert preset_average(after[3:]).accuracy is None
    assert family_averages(before) == {"a": FamilyAverage(2, 0.5), "b": FamilyAverage(1, 0)}
    assert family_averages(outcomes(("yes", True, ""))) == {}
    assert not outcomes(("unclear", False, ""))[0].right


def test_families_come_from_the_natural_picture_without_context(dataset, models):
    rows = tuple(replace(o, family="a|b" if o.row < 3 else "c") for o in dataset.observations)
    keys = ["natural/none", "random/none"]
    found = measure_averages(Dataset("made", None, rows), *models, DECODING, presets=keys)
    assert {name: f.n for name, f in found.families.items()} == {"a|b": 2, "c": 1}
    assert "| a\\|b | 2 |" in averages_table(found)
    without = measure_averages(Dataset("made", None, rows), *models, DECODING, presets=keys[1:])
    assert without.families == {} and without.presets["random/none"].changed_rate is None


def test_an_observation_that_lacks_a_preset_is_left_out_of_it_alone(dataset, models):
    rows = (replace(dataset.observations[0], annotated=None), replace(dataset.observations[1], complementary=""))
    keys = ["natural/none", "annotated/complementary", "natural/complementary"]
    found = measure_averages(Dataset("made", None, rows), *models, DECODING, presets=keys)
    assert {key: p.n for key, p in found.presets.items()} == {"natural/none": 2, "natural/complementary": 1}
    with pytest.raises(InputError, match="natural/sideways"):
        measure_averages(dataset, *models, DECODING, presets=["natural/sideways"])
    with pytest.raises(InputError, match="Nothing in empty"):
        measure_averages(Dataset("empty", None, ()), *models, DECODING)


def test_progress_moves_on_and_can_stop_the_work(dataset, models):
    told = []
    measure_averages(dataset, *models, DECODING, lambda *step: told.append(step), ["natural/none"])
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1

    def stop(message: str, fraction: float) -> None:
        if fraction > 0.5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        measure_averages(dataset, *models, DECODING, stop, ["natural/none"])


def test_a_file_gives_the_averages_back_for_their_own_model_and_dataset(averages, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "AVERAGES_FOLDER", tmp_path)
    assert load_averages("llava", "three") is None
    save_averages(averages, averages_path("llava"))
    assert load_averages("llava", "three") == averages
    assert load_averages("llava", "four") is None
    assert averages_path("llava!") == tmp_path / "llava.json" and load_averages("llava!", "three") is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "", "a/b", "x" * 5000, "\0", "..\\..\\c"])
def test_no_models_name_leads_out_of_the_folder(name):
    assert averages_path(name).parent == files.AVERAGES_FOLDER
    assert load_averages(name, "three") is None


def test_the_table_shows_the_means(averages):
    table = averages_table(averages).splitlines()
    assert len(table) == 2 + 12 + 3 + len(averages.families)
    row = next(line for line in table if line.startswith("| annotated | contradictory |"))
    preset = averages.presets["annotated/contradictory"]
    expected = [preset.accuracy, preset.changed_rate, preset.measures["semantic_entropy"].mean]
    assert row.split(" | ")[2:6] == ["3", *(f"{v:.2f}" for v in expected)]


@pytest.fixture(scope="module")
def made(dataset, models) -> Evaluation:
    trial = build_trial(dataset, dataset.observations[0], ())
    return evaluate(trial, models[0], DECODING, {"uncertainty", "attention"}, models[1])


def test_means_stand_beside_what_the_same_model_made_in_the_same_way(averages, made):
    for measure in MEASURES:
        found = usual(averages, made, measure)
        expected = averages.presets["natural/none"].measures[measure]
        assert found is not None and why_not_comparable(averages, made, measure) == ""
        assert (found.mean, found.values, found.own) == (expected.mean, expected.values, True)
    values = averages.presets["natural/none"].measures["semantic_entropy"].values
    found = usual(averages, made, "semantic_entropy")
    assert found.rank(made.uncertainty.semantic_entropy) == rank_among(values[0], values)
    assert found.rank(math.nan) is None
    edited = usual(averages, replace(made, trial=replace(made.trial, context_kind="edited")), "semantic_entropy")
    assert (edited.preset, edited.own, edited.mean) == ("natural/none", False, found.mean)
    assert usual(None, made, "semantic_entropy") is None
    unmeasured = Averages(**{**vars(averages), "presets": {}})
    assert usual(unmeasured, made, "semantic_entropy") is None


@pytest.mark.parametrize("field", ["name", "revision", "quantization"])
def test_no_mean_of_another_model_stands_beside_a_value(averages, made, field):
    other = replace(made, model=replace(made.model, **{field: "another"}))
    for measure in MEASURES:
        assert usual(averages, other, measure) is None
        why = why_not_comparable(averages, other, measure)
        assert field.replace("name", "model") in why and "not another)." in why and why.count(".") >= 1


@pytest.mark.parametrize("field", ["rule", "likelihood", "entailment_model"])
def test_no_mean_of_other_settings_stands_beside_an_entropy(averages, made, field):
    value = {"rule": "strict", "likelihood": "model", "entailment_model": "another"}[field]
    other = replace(averages, settings=replace(averages.settings, **{field: value}))
    for measure in MEASURES:
        # Attention does not ask how answers are grouped.
        allowed = measure.startswith("attention")
        assert (usual(other, made, measure) is not None) == allowed
        assert (why_not_comparable(other, made, measure) == "") == allowed
    assert f"{value}, not {getattr(made.uncertainty.settings, field)}" in why_not_comparable(other, made, "n_clusters")


def test_settings_are_kept_with_the_averages(averages):
    outcomes = {"natural/none": [Outcome(1, "", True, "yes", {})]}
    found = average(
        "d", averages.model, averages.entailment, DECODING, outcomes, UncertaintySettings("strict", "model")
    )
    assert found.settings == UncertaintySettings("strict", "model", "nli")
    assert Averages.from_json(json.loads(json.dumps(found.to_json()))).settings == found.settings


def test_a_file_of_before_the_settings_is_refused(averages):
    data = {name: value for name, value in averages.to_json().items() if name != "settings"}
    with pytest.raises(InputError, match="do not tell the rule that made them: make them again"):
        Averages.from_json({**data, "format": 1})
    with pytest.raises(InputError, match="averages"):
        Averages.from_json(data)


def test_a_stamp_tells_when_a_file_came_changed_or_went(averages, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "AVERAGES_FOLDER", tmp_path / "assets")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    stamps = [averages_stamp("llava", "three")]
    for path in (averages_path("llava"), own_averages_path("llava", "three")):
        save_averages(averages, path)
        stamps.append(averages_stamp("llava", "three"))
    os.utime(path, ns=(1, 1))
    stamps.append(averages_stamp("llava", "three"))
    assert len(set(stamps)) == 4 and stamps[0] == (0, 0)
    path.unlink()
    assert averages_stamp("llava", "three") == stamps[1] and averages_stamp("llava", "four") == stamps[1]


def _changed(data: dict, *path, value) -> dict:
    copy = json.loads(json.dumps(data))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


HOSTILE = {
    "format": (("format",), 99),
    "settings": (("settings",), {"rule": "loose"}),
    "rule": (("settings", "rule"), "lenient"),
    "likelihood": (("settings", "likelihood"), ["model"]),
    "preset name": (("presets",), {"<b>": {}}),
    "presets": (("presets",), []),
    "share": (("presets", "natural/none", "accuracy"), 1.5),
    "text for a number": (("presets", "natural/none", "measures", "n_clusters", "mean"), "<script>"),
    "NaN": (("presets", "natural/none", "measures", "n_clusters", "values"), [math.nan]),
    "infinity": (("presets", "natural/none", "measures", "n_clusters", "values"), [math.inf]),
    "huge": (("presets", "natural/none", "measures", "n_clusters", "values"), [10**400]),
    "more values than observations": (("presets", "natural/none", "measures", "n_clusters", "values"), [1.0] * 4),
    "measure": (("presets", "natural/none", "measures"), {}),
    "count": (("presets", "natural/none", "n"), True),
    "model": (("model",), {"name": "x"}),
    "model's name": (("model", "name"), ["x"]),
    "decoding": (("decoding", "temperature"), "hot"),
    "family": (("families",), {"x" * 2000: {"n": 1, "accuracy": 1.0}}),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_file_that_holds_anything_else_is_refused(averages, tmp_path, case):
    path, value = HOSTILE[case]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(averages.to_json()))
    assert read_averages(file) == averages
    file.write_text(json.dumps(_changed(averages.to_json(), *path, value=value)))
    with pytest.raises(InputError, match="averages"):
        read_averages(file)


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000], ids=lambda raw: repr(raw[:9]))
def test_a_file_that_is_no_json_object_is_refused(tmp_path, raw):
    (tmp_path / "a.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"\.$"):
        read_averages(tmp_path / "a.json")


def test_the_averages_that_are_shipped_are_of_the_weights_that_are_shipped(monkeypatch, tmp_path):
    from isi_core.models.catalogue import DEFAULT_ENTAILMENT, DEFAULT_VLM, EMBEDDED
    from isi_core.models.weights import weights_digest

    monkeypatch.setenv("ISI_HOME", str(tmp_path))
    shipped = load_averages(DEFAULT_VLM, "isi_scenes")
    assert shipped is not None and len(shipped.presets) == 12
    assert shipped.model["revision"] == weights_digest(EMBEDDED / DEFAULT_VLM)
    assert shipped.entailment["revision"] == weights_digest(EMBEDDED / DEFAULT_ENTAILMENT)
