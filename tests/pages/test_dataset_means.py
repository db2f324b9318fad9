"""What stands beside each value on VQA Interventions: the dataset's means, only those that it may be held against."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from isi_core.domain.evaluation import Evaluation
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.reports import wording
from isi_core.studies.averages import (
    MEASURES,
    Averages,
    MeasureAverage,
    PresetAverage,
    own_averages_path,
    save_averages,
)
from isi_core.studies.averaging import measure_values
from isi_core.ui import resources
from isi_core.ui.vqa import outputs
from isi_core.ui.vqa.desk import Entry
from tests.pages import visitor


@pytest.fixture(autouse=True)
def nothing_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the means that a test writes: those that come with ISI Studio are out of the way."""
    monkeypatch.setattr("isi_core.studies.averages.AVERAGES_FOLDER", tmp_path / "nothing shipped")


def _averages(made: Evaluation, dataset: str = "isi_scenes") -> Averages:
    """Four observations: one with the value that was found, one below it, two above."""
    values = measure_values(made)
    measures = {}
    for name in MEASURES:
        own = values.get(name, 0.0)
        listed = (own, own - 0.01, own + 0.01, own + 0.02)
        measures[name] = MeasureAverage(math.fsum(listed) / 4, listed)
    preset = PresetAverage(4, 0.5, 0.5, 0.0, 0.0, measures)
    return Averages(
        model=made.model.to_json(),
        entailment=made.model.to_json(),
        dataset=dataset,
        decoding=made.decoding.to_json(),
        created="",
        presets={"natural/none": preset},
        families={},
        settings=made.uncertainty.settings if made.uncertainty else UncertaintySettings(),
    )


def _save(averages: Averages) -> None:
    save_averages(averages, own_averages_path(averages.model["name"], averages.dataset))


def _downloads(at: object) -> set[str]:
    return {button.key for button in at.get("download_button")}  # type: ignore[attr-defined]


def test_means_come_and_go_with_their_file_and_are_told_from_others() -> None:
    at = visitor.visit()
    made = visitor.measure(at, "vqa_measure_all")
    assert made.uncertainty is not None and made.attribution is not None
    assert "Predictive entropy (nats per token)" in {metric.label for metric in at.metric}
    assert visitor.shows(at, "no dataset mean") and "PNG_entropy_strip" not in _downloads(at)

    # One of four below, one as large, wherever it is said.
    placed = "above 25 %"
    averages = _averages(made)
    _save(averages)
    visitor.run(at)
    entropy = made.uncertainty.semantic_entropy
    assert visitor.shows(at, f"mean {wording.number(entropy + 0.005)} · {placed}")
    assert visitor.shows(at, f"{placed} of the dataset's 4 observations (grey ticks)")
    assert visitor.shows(at, f"the tick is the dataset mean. Among the dataset's observations: image {placed}")
    assert not visitor.shows(at, "no dataset mean") and {"PNG_entropy_strip", "SVG_entropy_strip"} <= _downloads(at)

    _save(replace(averages, model={**averages.model, "revision": "0" * 64}))
    visitor.run(at)
    assert visitor.shows(at, "No dataset mean: the dataset was put to another revision of the model (000000000000, not")
    assert visitor.shows(at, "no dataset mean") and "PNG_entropy_strip" not in _downloads(at)
    assert not visitor.shows(at, "Among the dataset's observations") and not visitor.shows(at, "the tick is")

    _save(replace(averages, settings=replace(averages.settings, rule="strict")))
    visitor.run(at)
    assert visitor.shows(at, "No dataset mean: the dataset was measured with another rule (strict, not loose).")
    assert visitor.shows(at, "no dataset mean") and "PNG_entropy_strip" not in _downloads(at)
    assert visitor.shows(at, f"Among the dataset's observations: image {placed}")  # asks no rule

    own_averages_path(averages.model["name"], averages.dataset).unlink()
    visitor.run(at)
    assert not visitor.shows(at, "Among the dataset's observations")


def test_a_mean_that_stands_in_is_named_wherever_it_stands() -> None:
    at = visitor.write(visitor.visit(), "vqa_context", "Some cars are blue.")
    made = visitor.measure(at, "vqa_measure_all")
    assert made.trial.context_kind == "edited"
    _save(_averages(made))
    visitor.run(at)
    of, placed = "with the natural picture and no context", "above 25 %"
    assert visitor.shows(at, f"· {placed} ({of})")
    assert visitor.shows(at, f"{placed} of the dataset's 4 observations {of} (grey ticks)")
    assert visitor.shows(at, f"the tick is the dataset mean {of}. Among the dataset's observations {of}: image above")


def test_a_report_of_several_trials_holds_each_against_its_own_dataset() -> None:
    at = visitor.visit()
    made = visitor.measure(at, "vqa_measure_uncertainty")
    (entry,) = visitor.desk(at).entries
    for dataset in ("isi_scenes", "others"):
        _save(_averages(made, dataset))
    elsewhere = replace(entry, dataset="others")
    another = replace(entry, evaluation=replace(made, model=replace(made.model, name="another")))
    assert [found and found.dataset for found in map(outputs.averages_of, (entry, elsewhere, another))] == [
        "isi_scenes",
        "others",
        None,
    ]

    def text(*entries: Entry) -> str:
        reader = PdfReader(io.BytesIO(outputs.report(list(entries))))
        return " ".join(" ".join(page.extract_text() for page in reader.pages).split())

    both = text(entry, elsewhere, another)
    assert both.count("4 observations of isi_scenes") == both.count("4 observations of others") == 1


def test_a_file_of_averages_that_cannot_be_read_stands_in_nobodys_way() -> None:
    at = visitor.visit()
    made = visitor.measure(at, "vqa_measure_uncertainty")
    path = own_averages_path(made.model.name, "isi_scenes")
    path.parent.mkdir(parents=True)
    path.write_text('{"format":1}')
    visitor.run(at)
    assert visitor.shows(at, "no dataset mean") and visitor.messages(at) == []
    assert resources.averages(made.model.name, "others") is None


@pytest.mark.parametrize(("size", "cropped"), [((96, 60), True), ((96, 96), False)])
def test_the_heat_map_of_a_picture_that_is_not_square_says_what_may_be_cut(
    size: tuple[int, int], cropped: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    at = visitor.upload(visitor.visit(), "mine.png", buffer.getvalue())
    visitor.measure(at, "vqa_measure_attention")
    assert visitor.shows(at, "is one image token")
    assert visitor.shows(at, "A model that crops its input saw less than the whole picture.") == cropped
