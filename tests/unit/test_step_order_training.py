"""Fine-tuning for step order: every family and modality, resuming, stopping, damaged pictures, tests and the gap."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from isi_core.datasets.step_pairs import drawn_pairs, open_images
from isi_core.domain.errors import Cancelled, InputError
from isi_core.domain.step_pairs import PairSplits, StepPair
from isi_core.measures.statistics import wilson_interval
from isi_core.models.encoders.loading import load_encoder
from isi_core.models.encoders.protocol import PairEncoder
from isi_core.studies.step_order.batches import PairBatches, Pictures
from isi_core.studies.step_order.classifier import OrderClassifier, load_classifier, read_about
from isi_core.studies.step_order.evaluate import Tested as Answered  # pytest takes Test... for tests
from isi_core.studies.step_order.evaluate import accuracies, compare_modalities, evaluate
from isi_core.studies.step_order.flips import (
    EITHER_MATTERS,
    HEADLINES_HIDDEN,
    HEADLINES_SWAPPED,
    IMAGE_MATTERS,
    PICTURES_HIDDEN,
    PICTURES_SWAPPED,
    REVERSED,
    TEXT_MATTERS,
    Flips,
    PairFlips,
    first_of_each,
    flip_kinds,
    measure_flips,
    position_bias,
)
from isi_core.studies.step_order.gap import distinct_steps, measure_gap, step_features
from isi_core.studies.step_order.gap_shift import head_accuracies
from isi_core.studies.step_order.grid import grid_plans, over_seeds
from isi_core.studies.step_order.interventions import PairChange, changed_pair, in_order
from isi_core.studies.step_order.results import (
    ALL,
    CategoryAccuracy,
    CurvePoint,
    GapResult,
    GridResult,
    PairVerdict,
    TrainingCurve,
)
from isi_core.studies.step_order.settings import PAPER, TINY, TrainingSettings, default_settings
from isi_core.studies.step_order.train import train
from tests.step_encoders import FAMILIES, WIDTH, save_random

FAST = TrainingSettings(epochs=1, batch=4, learning_rate=1e-3, precision="no")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("encoders")
    return {family: save_random(family, base / family) for family in FAMILIES}


@pytest.fixture(scope="module")
def splits() -> PairSplits:
    return drawn_pairs(0, 4, 4, 4, side=32, categories=("lawn", "dish"))


def weights(classifier: OrderClassifier) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in classifier.state_dict().items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_trains_two_steps_and_answers(
    folders: dict[str, Path], splits: PairSplits, family: str, tmp_path: Path
) -> None:
    curve = train(str(folders[family]), splits, "vt", tmp_path, FAST)
    assert (curve.encoder, curve.points[-1].step, curve.ended) == (family, 2, "finished")
    assert all(np.isfinite(point.loss) for point in curve.points)
    tuned = load_classifier(tmp_path / "best")
    before = load_encoder(str(folders[family])).module.state_dict()
    moved = {name for name, value in tuned.towers.state_dict().items() if not torch.equal(value, before[name])}
    # Both towers learn, not the head alone.
    assert any("vision" in name for name in moved) and any("text" in name for name in moved)
    tested = evaluate(tuned, splits.test)
    assert [v.idx for v in tested.verdicts] == [pair.idx for pair in splits.test]
    again = evaluate(load_classifier(tmp_path / "best"), splits.test)
    assert tested == again


@pytest.mark.parametrize(("modality", "parts"), [("v", 3), ("t", 3), ("vt", 5)])
def test_a_modality_sees_its_own_and_the_title_and_the_order(
    folders: dict[str, Path], splits: PairSplits, modality: str, parts: int
) -> None:
    encoder = load_encoder(str(folders["clip"]))
    torch.manual_seed(0)
    classifier = OrderClassifier(encoder, modality).eval()  # type: ignore[arg-type]
    assert classifier.head.in_features == parts * WIDTH
    pair, other = splits.test[0], splits.test[1]

    def score(shown: StepPair) -> float:
        (verdict,) = evaluate(classifier, [shown]).verdicts
        return verdict.in_order

    known = score(pair)
    assert score(replace(pair, title="Something else entirely")) != known
    assert (score(replace(pair, headlines=other.headlines)) != known) == ("t" in modality)
    assert (score(replace(pair, images=other.images)) != known) == ("v" in modality)
    assert score(replace(pair.reversed(), label=pair.label)) != known
    assert score(replace(pair, label=1 - pair.label)) == known


def test_mirrored_logits_are_those_of_the_reversed_pair(folders: dict[str, Path], splits: PairSplits) -> None:
    encoder = load_encoder(str(folders["clip"]))
    classifier = OrderClassifier(encoder, "vt").eval()
    both = [splits.test[0], splits.test[0].reversed()]
    batch = PairBatches(both, encoder, "vt", Pictures(encoder)).collate([0, 1])
    tokens = {name.removeprefix("text_"): value for name, value in batch.items() if name.startswith("text_")}
    with torch.no_grad():
        logits = classifier(tokens, batch["pixels"], mirrored=True)
    assert torch.allclose(logits[2:], logits[:2].flip(0), atol=1e-5)


def test_a_stopped_training_goes_on_to_what_an_unbroken_one_reaches(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    settings = replace(FAST, epochs=3, batch=2, mirrored=True, warmup=0.2, clip=1.0)
    name = str(folders["vit-roberta"])
    whole = train(name, splits, "vt", tmp_path / "whole", settings)
    calls = []

    def stop(message: str, fraction: float) -> None:
        calls.append(fraction)
        if len(calls) == 6:  # in the middle of the second epoch
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train(name, splits, "vt", tmp_path / "broken", settings, progress=stop)
    assert not (tmp_path / "broken" / "curve.json").exists()
    points: list[CurvePoint] = []
    rest = train(name, splits, "vt", tmp_path / "broken", settings, watch=points.append)
    assert points and points[0].step == 6
    assert [(p.step, p.validation_accuracy) for p in rest.points] == [
        (p.step, p.validation_accuracy) for p in whole.points
    ]
    one, other = (weights(load_classifier(tmp_path / folder / "best")) for folder in ("whole", "broken"))
    assert all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)
    # Finished is finished: asked again, nothing is trained.
    assert train(name, splits, "vt", tmp_path / "broken", settings, progress=stop) == rest
    with pytest.raises(InputError, match="holds a training with other settings"):
        train(name, splits, "v", tmp_path / "broken", settings)


def test_the_best_weights_are_kept_and_patience_ends_a_training(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    # At this rate the loss soon gets worse.
    settings = replace(FAST, epochs=30, learning_rate=0.5, patience=2)
    curve = train(str(folders["clip"]), splits, "t", tmp_path, settings)
    checked = [point for point in curve.points if point.validation_accuracy is not None]
    best = max(checked, key=lambda p: (p.validation_accuracy, -(p.validation_loss or 0.0), -p.step))
    assert curve.best_step == best.step
    assert (curve.ended, len(checked)) == ("early stop", checked.index(best) + 3)
    tested = evaluate(load_classifier(tmp_path / "best"), splits.validation)
    assert np.mean([v.right for v in tested.verdicts]) == best.validation_accuracy
    assert read_about(tmp_path / "best")["validation_accuracy"] == best.validation_accuracy


def test_damaged_pictures_are_named_skipped_and_counted(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"\x89PNG no picture")
    first = splits.train[0]
    train_pairs = (replace(first, images=(bad, first.images[1])), *splits.train[1:])
    test_pairs = (*splits.test, replace(splits.test[0], idx=99, images=(tmp_path / "gone.png", bad)))
    hurt = replace(splits, train=train_pairs)
    curve = train(str(folders["clip"]), hurt, "v", tmp_path / "run", FAST)
    assert curve.skipped_pairs == 1 and curve.points[-1].step == 2
    assert len(curve.skipped) == 1 and curve.skipped[0].startswith("broken.png")
    tested = evaluate(load_classifier(tmp_path / "run" / "best"), test_pairs)
    assert (tested.skipped, len(tested.verdicts)) == (1, len(splits.test))
    assert any("gone.png" in problem for problem in tested.problems)
    # Words need no pictures.
    text = train(str(folders["clip"]), hurt, "t", tmp_path / "words", FAST)
    assert text.skipped_pairs == 0
    nothing = replace(splits, train=tuple(replace(p, images=(bad, bad)) for p in splits.train))
    with pytest.raises(InputError, match="cannot be opened"):
        train(str(folders["clip"]), nothing, "v", tmp_path / "nothing", FAST)


def test_one_category_is_trained_alone_and_an_empty_one_is_refused(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    curve = train(str(folders["clip"]), splits, "t", tmp_path / "dish", FAST, category="dish")
    assert (curve.category, curve.points[-1].step) == ("dish", 1)
    with pytest.raises(InputError, match="in kite: choose larger sizes"):
        train(str(folders["clip"]), splits, "t", tmp_path / "kite", FAST, category="kite")


def test_accuracies_and_comparisons_are_counted_right() -> None:
    def tested(modality: str, right: list[bool]) -> Answered:
        verdicts = [PairVerdict(i, "ab"[i % 2], i % 3 % 2, 0.9 if good == bool(i % 3 % 2) else 0.1)
                    for i, good in enumerate(right)]  # fmt: skip
        return Answered("e", modality, tuple(verdicts))  # type: ignore[arg-type]

    both, words = tested("vt", [True] * 18 + [False] * 2), tested("t", [True, False] * 10)
    rows = {row.category: row for row in accuracies(both, {"a": "picture", "b": "words", "empty": ""})}
    assert list(rows) == ["a", "b", ALL]
    wilson = wilson_interval(18, 20)
    assert (rows[ALL].accuracy, rows[ALL].low, rows[ALL].high, rows[ALL].n) == (0.9, wilson.low, wilson.high, 20)
    assert (rows["a"].accuracy, rows["a"].kind) == (0.9, "picture")
    (row, *_) = [c for c in compare_modalities([both, words], ("a",)) if c.category == ALL]
    assert (row.other, row.only_vt, row.only_other, row.n) == ("t", 9, 1, 20)
    assert row.difference == pytest.approx(0.4)
    assert row.p == pytest.approx(2 * 11 / 2**10)


def test_the_gap_before_and_after_is_drawn_on_the_same_axes(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    train(str(folders["clip"]), splits, "vt", tmp_path, replace(FAST, epochs=3, learning_rate=3e-3))
    before, after = load_encoder(str(folders["clip"])), load_classifier(tmp_path / "best")
    found = measure_gap(before, after, splits.test, shifts=(0.0, 0.5))
    chosen = distinct_steps(splits.test)
    features = step_features(before, chosen)
    text, image = (c / np.linalg.norm(c, axis=1)[:, None] for c in (features.text, features.image))
    whole = found.before.whole
    assert whole.distance == pytest.approx(np.linalg.norm(text.mean(0) - image.mean(0)), abs=1e-6)
    assert whole.n == len(text) == 2 * len(chosen)
    assert found.after is not None and found.after.whole.distance != whole.distance
    assert {row.category for row in found.before.categories} == {"lawn", "dish"}
    # One set of axes: a centroid is the mean of its points, before and after, and all together have mean zero.
    points = [np.array(cloud) for m in (found.before, found.after) for cloud in (m.text, m.image)]
    assert np.mean(points[0], axis=0) == pytest.approx(whole.text_centroid, abs=1e-9)
    assert np.concatenate(points).mean(axis=0) == pytest.approx([0, 0], abs=1e-9)
    tested = evaluate(after, chosen)
    assert [(p.moment, p.amount) for p in found.shift] == [(m, a) for m in ("before", "after") for a in (0.0, 0.5)]
    plain, _, here, closed = found.shift
    assert plain.accuracy is None and plain.distance == pytest.approx(whole.distance)
    assert (plain.true_cosine, plain.random_cosine) == pytest.approx((whole.true_cosine, whole.random_cosine))
    assert here.accuracy == pytest.approx(np.mean([v.right for v in tested.verdicts]))
    assert here.distance == pytest.approx(found.after.whole.distance)
    assert closed.distance < here.distance
    # Rows are each pair's first step, then each pair's second: matching says so against one pair after the other.
    first, second = (features_of(before, chosen, place) for place in (0, 1))
    margins = ((first[0] - second[0]) * (first[1] - second[1])).sum(axis=1)
    assert plain.matching == pytest.approx(np.mean(margins > 0))
    assert GapResult.from_json(json.loads(json.dumps(found.to_json()))) == found
    blind = OrderClassifier(before, "t")
    with pytest.raises(InputError, match="moves both modalities"):
        head_accuracies(blind, chosen, (0.0,))


def features_of(encoder: PairEncoder, pairs: list[StepPair], place: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalized features of the headline and the picture shown at one place, pair by pair."""
    with torch.inference_mode():
        text = encoder.text_features(encoder.tokens([pair.headlines[place] for pair in pairs]))
        image = encoder.image_features(encoder.pixels([open_images(pair)[place] for pair in pairs]))
    found = [torch.nn.functional.normalize(cloud.double(), dim=-1).numpy() for cloud in (text, image)]
    return found[0], found[1]


def test_what_hiding_and_swapping_do_is_what_the_changed_pairs_are_told(
    folders: dict[str, Path], splits: PairSplits, tmp_path: Path
) -> None:
    """Features are encoded once and put together anew; asking about really changed pairs says the same."""
    train(str(folders["clip"]), splits, "vt", tmp_path, replace(FAST, epochs=2, learning_rate=3e-3))
    classifier = load_classifier(tmp_path / "best")
    chosen = first_of_each(splits.test, 4)
    assert len(chosen) == 8 and chosen == [pair for pair in splits.test if pair in chosen]
    found = measure_flips(classifier, chosen)
    grey = PairChange(hide=(True, True))
    for pair, told in zip(chosen, found.pairs, strict=True):
        changes = {
            REVERSED: pair.reversed(),
            PICTURES_SWAPPED: changed_pair(pair, PairChange(swap_pictures=True)),
            HEADLINES_SWAPPED: changed_pair(pair, PairChange(swap_headlines=True)),
            PICTURES_HIDDEN: changed_pair(pair, grey),
            HEADLINES_HIDDEN: changed_pair(pair, PairChange(headlines=("", ""))),
        }
        assert told.in_order == pytest.approx(in_order(classifier, [pair])[0], abs=5e-3)
        assert set(told.changed) == set(changes)
        for name, changed in changes.items():
            assert told.changed[name] == pytest.approx(in_order(classifier, [changed])[0], abs=5e-3), name
    assert Flips.from_json(json.loads(json.dumps(asdict(found)))) == found
    noisy = [changed_pair(chosen[0], PairChange(noise=60.0)) for _ in range(2)]
    pixels = [np.asarray(open_images(pair)[0], dtype=int) for pair in (chosen[0], *noisy)]
    assert np.abs(pixels[1] - pixels[0]).mean() > 20 and (pixels[1] == pixels[2]).all()


def test_kinds_of_flips_and_position_bias_are_counted_right() -> None:
    def pair(idx: int, label: int, shown: float, both: float, pictures: float, headlines: float) -> PairFlips:
        changed = {REVERSED: both, PICTURES_SWAPPED: pictures, HEADLINES_SWAPPED: headlines}
        return PairFlips(idx, "a", label, shown, changed)

    told = Flips(
        "e",
        "vt",
        (
            pair(0, 1, 0.9, 0.1, 0.2, 0.9),  # the picture turns it
            pair(1, 0, 0.1, 0.9, 0.1, 0.8),  # the words turn it
            pair(2, 1, 0.9, 0.6, 0.4, 0.4),  # both; the exchange does not: it sticks to the place
            pair(3, 1, 0.2, 0.8, 0.9, 0.9),  # wrong: no case
            pair(4, 1, 0.8, 0.7, 0.9, 0.9),  # nothing turns it
        ),
    )
    kinds = {kind: [p.idx for p in pairs] for kind, pairs in flip_kinds(told).items()}
    assert kinds == {IMAGE_MATTERS: [0], TEXT_MATTERS: [1], EITHER_MATTERS: [2]}
    (row,) = position_bias(told)
    assert (row.n, row.contradictions, row.says_in_order) == (5, 0.4, pytest.approx(7 / 10))
    assert row.low < 0.4 < row.high


def test_results_survive_json_and_damaged_ones_are_named(tmp_path: Path) -> None:
    row = CategoryAccuracy("tiny-clip", "vt", "lawn", "picture", 0.9, 0.85, 0.93, 100)
    curve = TrainingCurve("tiny-clip", "vt", ALL, 0, (CurvePoint(1, 0.5, 0.7, 0.5),), 1, 2.0, 1.5, ("x",), 1)
    grid = GridResult("howto", (row,), (), (curve,), {"seed": 0}, "2026-01-01", False)
    assert GridResult.from_json(json.loads(json.dumps(grid.to_json()))) == grid
    for damage in ({"format": 9}, {"accuracies": [{"encoder": 1}]}, {"curves": [{}]}):
        with pytest.raises(InputError):
            GridResult.from_json({**grid.to_json(), **damage})
    with pytest.raises(InputError, match="holds no fine-tuned encoder"):
        load_classifier(tmp_path)


def test_defaults_are_the_papers_and_seeds_are_put_together() -> None:
    assert (PAPER.optimizer, PAPER.learning_rate, PAPER.batch, PAPER.epochs) == ("adam", 1e-5, 4, 5)
    assert default_settings("clip") is PAPER and default_settings("tiny-clip") is TINY
    plans = grid_plans(seeds=3)
    assert [plan.seed for plan in plans] == [0, 1, 2] and plans[0].sizes[2] >= 1000
    one = CategoryAccuracy("e", "v", "lawn", "picture", 0.8, 0.7, 0.9, 10)
    (spread,) = over_seeds([[one], [replace(one, accuracy=0.9)], [replace(one, accuracy=1.0)]])
    assert (spread.mean, spread.deviation, spread.seeds) == (pytest.approx(0.9), pytest.approx(0.1), 3)
    for bad in ({"epochs": 0}, {"learning_rate": 0.0}, {"optimizer": "sgd"}, {"warmup": 1.0}):
        with pytest.raises(InputError):
            replace(PAPER, **bad)
