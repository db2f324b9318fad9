"""Rankings end to end on the built-in world: exact editor, rules, pixel classifiers, checks, bank, cancel, command."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isi_core.cli import main
from isi_core.domain.attributes import Attribute, Corpus, Edit, EditSet
from isi_core.domain.errors import Cancelled, InputError
from isi_core.models.classifiers.rule import RuleClassifier
from isi_core.models.editors.protocol import NEUTRAL, Edited, OnStep, Picture
from isi_core.models.editors.render import RenderEditor
from isi_core.studies.counterfactuals.bank import EditBank, fill_bank
from isi_core.studies.counterfactuals.comparison import compare_rankings
from isi_core.studies.counterfactuals.corpora import world_corpus
from isi_core.studies.counterfactuals.edit_checks import (
    DRIFT,
    MISSING,
    OUTSIDE,
    STILL_THERE,
    THERE_BEFORE,
    UNCHANGED,
    CheckSettings,
    check_edit,
)
from isi_core.studies.counterfactuals.effects import Effects
from isi_core.studies.counterfactuals.results import Delta, Result, strongest_first
from isi_core.studies.counterfactuals.run import Settings, estimate, rank
from isi_core.studies.counterfactuals.scores import set_result
from isi_core.studies.counterfactuals.search import beam_search
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import Rule, planted_influence

FACES = world("faces")
CAP, GOATEE = ("headwear", "hat", "cap"), ("facial hair", "beard", "goatee")
RULE = Rule(
    "test",
    "faces",
    ("young", "old"),
    {GOATEE: (2.0,), ("hair", "colour", "grey"): (3.0,), CAP: (-1.5,), ("jewellery", "necklace", "pearl"): (0.7,)},
    ((("hair", "colour", "grey"), GOATEE, (1.0,)),),
)
SMALL = Corpus.from_json(
    {
        "domain": "faces",
        "categories": {
            "hair": {"colour": ["grey", "blond"]},
            "facial hair": {"beard": ["goatee", "full"]},
            "headwear": {"hat": ["cap", "beanie"]},
            "jewellery": {"necklace": ["pearl", "chain"]},
        },
    }
)


def portraits(count: int, seed: int = 0, side: int = 32) -> list[Picture]:
    rng = Random(seed)
    subjects = [FACES.draw_subject(rng) for _ in range(count)]
    return [Picture.of(FACES.render(subject, side), f"face {i}", subject) for i, subject in enumerate(subjects)]


class Brightness:
    """Two classes by the mean of all pixels: real pixels, known effect."""

    labels = ("dark", "light")
    exclusive = True

    def __init__(self) -> None:
        self.pictures = 0

    @property
    def record(self) -> Mapping[str, Any]:
        return {"name": "brightness"}

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        self.pictures += len(images)
        means = np.array([np.asarray(image, dtype=float).mean() for image in images])
        return np.stack([np.zeros(len(images)), means], axis=1)


class Painter:
    """An editor of any picture: paints a square whose grey is the attribute's label, counts what it does."""

    def __init__(self, **settings: Any) -> None:
        self.record = {"name": "painter", **settings}
        self.edits = 0

    def reconstruct(self, picture: Picture, on_step: OnStep | None = None) -> Edited:
        return Edited(picture.image.point(lambda v: min(255, v + 10)), None, 5)

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        self.edits += 1
        image = self.reconstruct(picture).image
        mask = np.zeros((image.height, image.width), dtype=bool)
        for place, edit in enumerate(edits):
            if edit == NEUTRAL:
                image.putpixel((0, 0), (0, 0, 0))
                continue
            box = (8 * place, 0, 8 * place + 8, 8)
            image.paste((int(edit.attribute.path[-1]),) * 3, box)
            mask[0:8, 8 * place : 8 * place + 8] = True
        return Edited(image, mask, 7)


class SteppedPainter(Painter):
    """One that takes three steps an edit, and tells them."""

    def edit(self, picture: Picture, edits: EditSet, seed: int, on_step: OnStep | None = None) -> Edited:
        assert on_step is not None
        for step in range(3):
            on_step(step, 3)
        return super().edit(picture, edits, seed)


class StandInPainter(Painter):
    """One that cannot paint a group: its first leaf stands for it."""

    def stand_ins(self, picture: Picture, edits: EditSet) -> EditSet:
        if NEUTRAL in edits:
            return edits
        leaves = [next(leaf for leaf in GREYS.leaves() if leaf.within(edit.attribute)) for edit in edits]
        return tuple(map(Edit, leaves))


GREYS = Corpus.from_json({"domain": "greys", "categories": {"0": ["0"], "128": ["130", "120"], "250": ["255", "250"]}})


def plain_pictures(count: int = 4, side: int = 32) -> list[Picture]:
    return [Picture.of(Image.new("RGB", (side, side), (100 + i,) * 3), f"grey {i}") for i in range(count)]


def test_the_ranking_is_the_rule_s_own() -> None:
    pictures = portraits(24)
    settings = Settings(search="exhaustive", joint=2)
    result = rank(pictures, SMALL, RenderEditor("faces"), RuleClassifier(RULE), settings)
    subjects = [p.subject for p in pictures if p.subject is not None]
    planted = planted_influence(RULE, subjects, paths=[a.path for a in SMALL.leaves()], only_lacking=True)
    for leaf in SMALL.leaves():
        found = result.of(leaf)
        assert found is not None
        assert found.signed.estimate == pytest.approx(planted[leaf.path], abs=1e-9)
        there = sum(FACES.has(subject, leaf.path) for subject in subjects)
        assert found.flagged.get(THERE_BEFORE, 0) == there == 24 - found.valid
    assert [found.attribute.path for found in result.ranking if found.attribute.level == 3][:2] == [
        ("hair", "colour", "grey"),
        GOATEE,
    ]
    assert {edit.attribute.path for edit in result.best} == {("hair", "colour", "grey"), GOATEE}
    joint = next(
        j for j in result.joint if {e.attribute.path for e in j.whole.edits} == {RULE.interactions[0][0], GOATEE}
    )
    assert joint.interaction.estimate == pytest.approx(1.0)
    others = [j for j in result.joint if RULE.interactions[0][0] not in {e.attribute.path for e in j.whole.edits}]
    assert others
    assert result.no_op is not None and result.no_op.influence == 0.0
    assert result.cost.edits == 24 * len(result.sets) + 24 * (4 * 6)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Result.from_json(plain).to_json() == plain and Result.from_json(plain).sets == result.sets


def test_direction_down_finds_what_lowers_the_score() -> None:
    settings = Settings(direction="down", joint=1)
    result = rank(portraits(12), SMALL, RenderEditor("faces"), RuleClassifier(RULE), settings)
    assert [edit.attribute.path for edit in result.best] == [CAP]
    up = rank(portraits(12), SMALL, RenderEditor("faces"), RuleClassifier(RULE), Settings(direction="up", joint=1))
    assert up.best[0].attribute.path == ("hair", "colour", "grey")


def test_removing_attributes_edits_only_pictures_that_have_them() -> None:
    pictures = portraits(40)
    settings = Settings(search="exhaustive", joint=1, sign=-1)
    result = rank(pictures, SMALL, RenderEditor("faces"), RuleClassifier(RULE), settings)
    goatee = result.of(Attribute(GOATEE))
    having = [p for p in pictures if p.subject is not None and FACES.has(p.subject, GOATEE)]
    assert goatee is not None and goatee.valid == len(having) > 0
    assert goatee.signed.estimate <= -2.0


def test_the_strongest_joint_edit_is_made_with_the_other_sign_too_where_that_is_wanted() -> None:
    settings = Settings(joint=2, both_signs=True)
    pictures = portraits(30)
    result = rank(pictures, SMALL, RenderEditor("faces"), RuleClassifier(RULE), settings)
    plain = rank(pictures, SMALL, RenderEditor("faces"), RuleClassifier(RULE), Settings(joint=2))
    whole, *parts = result.opposite
    assert [edit.attribute for edit in whole.edits] == [edit.attribute for edit in result.joint[0].whole.edits]
    assert {edit.sign for edit in whole.edits} == {-1} and [p.edits for p in parts] == [(e,) for e in whole.edits]
    for part in parts:  # taking away is the contrary of adding, for a rule that adds up
        added = result.of(part.attribute)
        assert added is not None and (part.signed.estimate * added.signed.estimate < 0 or not part.valid)
    # They enter no ranking, and are counted.
    assert result.sets == plain.sets and result.joint == plain.joint and not plain.opposite
    assert result.cost.edits == plain.cost.edits + 3 * 30 <= estimate(SMALL, settings, 30).edits
    again = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Result.from_json(again).to_json() == again


def test_racing_ranks_with_fewer_edits_than_fixed_n() -> None:
    pictures, corpus = portraits(24), world_corpus("faces")
    raced = rank(
        pictures, corpus, RenderEditor("faces"), RuleClassifier(RULE), Settings(search="racing", joint=1, top=3)
    )
    assert 2 * raced.cost.edits <= 24 * len(corpus.leaves())
    assert {found.attribute.path for found in raced.ranking[:3]} == {("hair", "colour", "grey"), GOATEE, CAP}
    assert [found.edits for found in raced.ranking[:3]] == list(raced.raced)
    plain = json.loads(json.dumps(raced.to_json(), allow_nan=False))
    assert Result.from_json(plain).sets == raced.sets and Result.from_json(plain).raced == raced.raced


def test_means_over_few_pictures_do_not_outrank_the_winners_of_a_race() -> None:
    """A loser's mean over the four pictures it got may be above a winner's over all of them."""
    few, all_of_them = [Delta(str(i), 0.0, 9.0) for i in range(4)], [Delta(str(i), 0.0, 1.0) for i in range(24)]
    loser, winner = (Edit(Attribute(GOATEE)),), (Edit(Attribute(CAP)),)
    sets = [set_result(loser, few, {}), set_result(winner, all_of_them, {})]
    assert [found.edits for found in strongest_first(sets)] == [loser, winner]
    assert [found.edits for found in strongest_first(sets, [winner])] == [winner, loser]


def test_a_race_is_told_while_it_runs_and_a_cancelled_one_leaves_what_it_had() -> None:
    partial: list[Result] = []

    def progress(message: str, fraction: float) -> None:
        if partial and partial[-1].sets:
            raise Cancelled("The job was cancelled.")

    settings = Settings(search="racing", joint=1, top=2, checks=None)
    with pytest.raises(Cancelled):
        rank(plain_pictures(8), GREYS, Painter(), Brightness(), settings, progress=progress, partial=partial.append)
    assert partial[-1].stopped and partial[-1].ranking and not partial[-1].raced


def test_a_group_is_a_leaf_of_it_held_fixed_in_every_set_of_a_picture() -> None:
    editor, picture = RenderEditor("faces"), portraits(1)[0]
    group = Attribute(("headwear",))
    leaf = editor.leaf_for(picture, group, 0)
    assert leaf.level == 3 and leaf.within(group)
    alone = editor.subject_after(picture, (Edit(group),), 0)
    joint = editor.subject_after(picture, (Edit(Attribute(GOATEE)), Edit(group)), 0)
    assert FACES.has(alone, leaf.path) and FACES.has(joint, leaf.path)
    leaves = {editor.leaf_for(p, group, 0) for p in portraits(30)}
    assert len(leaves) > 1
    assert {editor.leaf_for(p, group, s) for p in [picture] for s in range(30)} != {leaf}


def test_rule_and_pixels_of_the_render_editor_agree() -> None:
    """What a rule is told of an edit is what the edited picture shows."""
    editor, picture = RenderEditor("faces", 64), portraits(1, 3)[0]
    edits = (Edit(Attribute(GOATEE)),)
    made = editor.edit(picture, edits, 0)
    assert made.subject == editor.subject_after(picture, edits, 0)
    assert made.subject is not None and made.image.tobytes() == FACES.render(made.subject, 64).tobytes()
    assert made.mask is not None and made.mask.any() and not made.mask.all()
    with pytest.raises(InputError, match="built-in world"):
        editor.edit(plain_pictures(1)[0], edits, 0)


def test_the_base_is_the_reconstruction_unless_eq_1_is_wanted_as_printed() -> None:
    pictures = plain_pictures()
    by_reconstruction = rank(
        pictures, GREYS, Painter(), Brightness(), Settings(search="exhaustive", joint=1, checks=None)
    )
    printed = rank(
        pictures, GREYS, Painter(), Brightness(), Settings(search="exhaustive", joint=1, checks=None, base="original")
    )
    one, two = by_reconstruction.of(Attribute(("250",))), printed.of(Attribute(("250",)))
    assert one is not None and two is not None
    share = 64 / 1024
    assert one.signed.estimate == pytest.approx(share * (250 - 111.5))
    assert two.signed.estimate == pytest.approx(one.signed.estimate + 10)
    assert by_reconstruction.reconstruction is not None
    assert by_reconstruction.reconstruction.signed.estimate == pytest.approx(10)
    assert one.floor == pytest.approx(111.5 / 1024)  # the no-op edit blackens one pixel
    assert one.f == pytest.approx(111.5 + one.signed.estimate)


def test_a_second_classifier_and_a_wider_beam_cost_no_edit(tmp_path: Path) -> None:
    pictures, editor = plain_pictures(), Painter()
    whole = Settings(search="exhaustive", joint=2, checks=None)
    first = rank(pictures, GREYS, editor, Brightness(), whole, EditBank(tmp_path))
    made = editor.edits
    assert first.cost.edits_made == made > 0 and first.cost.denoiser_evaluations == 7 * made + 5 * len(pictures)
    second = rank(pictures, GREYS, editor, Brightness(), Settings(beam=5, joint=1, checks=None), EditBank(tmp_path))
    assert editor.edits == made
    assert second.cost.edits_made == second.cost.denoiser_evaluations == 0
    again = rank(pictures, GREYS, editor, Brightness(), whole, EditBank(tmp_path))
    assert again.sets == first.sets
    other = Painter(strength=2)
    rank(pictures, GREYS, other, Brightness(), Settings(joint=1, checks=None), EditBank(tmp_path))
    assert other.edits > 0


def test_a_leaf_that_stands_for_a_group_is_made_once_and_found_under_both(tmp_path: Path) -> None:
    pictures, editor, bank = plain_pictures(), StandInPainter(), EditBank(tmp_path)
    settings = Settings(search="exhaustive", joint=1)
    result = rank(pictures, GREYS, editor, Brightness(), settings, bank)
    assert result.settings["groups_by_lot"] is True
    for leaf in GREYS.leaves()[:2]:  # the first of their groups
        group = Attribute(leaf.path[:1])
        one, two = result.of(leaf), result.of(group)
        assert one is not None and two is not None and one.deltas == two.deltas
        found = [bank.get(p.digest, (Edit(a),), editor.record, 0) for p in pictures[:1] for a in (leaf, group)]
        assert found[0] is not None and found[1] is not None
        assert found[0].image.tobytes() == found[1].image.tobytes()
    assert editor.edits == len(pictures) * (len(GREYS.leaves()) + 1)  # with the no-op edits
    assert rank(pictures, GREYS, Painter(), Brightness(), settings).settings["groups_by_lot"] is False


def test_the_bank_keeps_pixels_mask_and_cost_and_makes_damage_good(tmp_path: Path) -> None:
    bank, editor, picture = EditBank(tmp_path), Painter(), plain_pictures(1)[0]
    edits = (Edit(Attribute(("250",))),)
    edited = editor.edit(picture, edits, 0)
    bank.put(picture.digest, edits, editor.record, 0, edited)
    found = bank.get(picture.digest, edits, editor.record, 0)
    assert found is not None and found.image.tobytes() == edited.image.tobytes()
    assert found.mask is not None and edited.mask is not None and (found.mask == edited.mask).all()
    assert found.denoiser_evaluations == 7 and len(bank) == 1
    assert bank.get(picture.digest, edits, editor.record, 1) is None
    assert bank.get(picture.digest, (Edit(Attribute(("250",)), -1),), editor.record, 0) is None
    for damaged in (*tmp_path.rglob("*.png"), *tmp_path.rglob("*.json")):
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[: len(whole) // 2])
        assert bank.get(picture.digest, edits, editor.record, 0) is None
        bank.put(picture.digest, edits, editor.record, 0, edited)
        assert bank.get(picture.digest, edits, editor.record, 0) is not None


def test_a_full_disk_is_told_and_finished_edits_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bank, real, written = EditBank(tmp_path), os.fsync, []

    def fsync(number: int) -> None:
        written.append(number)
        if len(written) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(InputError, match="is full"):
        rank(plain_pictures(), GREYS, Painter(), Brightness(), Settings(joint=1), bank)
    monkeypatch.undo()
    kept = len(bank)
    assert kept > 0 and not list(tmp_path.rglob("*.part"))
    editor = Painter()
    result = rank(plain_pictures(), GREYS, editor, Brightness(), Settings(joint=1), bank)
    assert editor.edits < result.cost.edits + 4


def test_cancelling_keeps_finished_edits_and_the_partial_ranking(tmp_path: Path) -> None:
    told: list[str] = []
    partial: list[Result] = []

    def progress(message: str, fraction: float) -> None:
        assert 0.0 <= fraction <= 1.0
        told.append(message)
        if len(told) > 22:
            raise Cancelled("The job was cancelled.")

    bank = EditBank(tmp_path)
    settings = Settings(joint=1)
    with pytest.raises(Cancelled):
        rank(
            plain_pictures(), GREYS, Painter(), Brightness(), settings, bank, progress=progress, partial=partial.append
        )
    assert len(bank) == 22
    assert partial and partial[-1].stopped and partial[-1].sets
    editor = Painter()
    whole = rank(plain_pictures(), GREYS, editor, Brightness(), settings, bank)
    assert not whole.stopped and whole.cost.edits_made == editor.edits <= 4 * (len(whole.sets) + 1) - 18


def test_cancel_does_not_wait_for_the_edit_to_end(tmp_path: Path) -> None:
    """The second step of an edit hears of it: nothing of that edit is kept, everything before it is."""
    told: list[str] = []

    def progress(message: str, fraction: float) -> None:
        told.append(message)
        if "130" in message and "step 2 of 3" in message:
            raise Cancelled("The job was cancelled.")

    bank, editor = EditBank(tmp_path), SteppedPainter()
    settings = Settings(search="exhaustive", joint=1)
    with pytest.raises(Cancelled):
        rank(plain_pictures(), GREYS, editor, Brightness(), settings, bank, progress=progress)
    assert len(bank) == editor.edits + 4 > 8 and "step 2 of 3" in told[-1]
    again = SteppedPainter()
    with pytest.raises(Cancelled):
        fill_bank(bank, again, plain_pictures(), [(Edit(Attribute(("128", "130"))),)], progress=progress)
    assert again.edits == 0


def test_edits_can_be_built_ahead(tmp_path: Path) -> None:
    bank, editor, pictures = EditBank(tmp_path), Painter(), plain_pictures(2)
    sets: list[EditSet] = [(Edit(leaf),) for leaf in GREYS.leaves()]
    assert fill_bank(bank, editor, pictures, sets) == (2 * (len(sets) + 2), 0)
    assert fill_bank(bank, editor, pictures, sets) == (0, 2 * (len(sets) + 2))


BEARD, HAT = Attribute(GOATEE), Attribute(CAP)


@pytest.mark.parametrize(
    ("sign", "before", "after", "reasons"),
    [
        (1, 0.1, 0.9, ()),
        (1, 0.1, 0.2, (MISSING,)),
        (1, 0.8, 0.9, (THERE_BEFORE,)),
        (-1, 0.8, 0.9, (STILL_THERE,)),
        (-1, 0.8, 0.1, ()),
    ],
)
def test_presence_is_checked_by_what_a_reader_reads(
    sign: int, before: float, after: float, reasons: tuple[str, ...]
) -> None:
    base, edits = Image.new("RGB", (32, 32)), (Edit(BEARD, sign),)
    edited = Edited(Image.new("RGB", (32, 32), "white"))
    check = check_edit(edits, base, edited, CheckSettings(), {BEARD: before, HAT: 0.1}, {BEARD: after, HAT: 0.1})
    assert check.reasons == reasons
    moved = check_edit(edits, base, edited, CheckSettings(), {BEARD: before, HAT: 0.1}, {BEARD: after, HAT: 0.9})
    assert DRIFT in moved.reasons and moved.quality.drift == 1.0


@pytest.mark.parametrize(
    ("sign", "beard", "hat", "reasons", "drift"),
    [
        (1, 0.9, 0.3, (), 0.0),
        (1, 0.1, 0.1, (MISSING,), 0.0),
        (-1, 0.01, 0.11, (), 0.0),
        (-1, 0.3, 0.1, (STILL_THERE,), 0.0),
        (1, 0.2, 0.9, (DRIFT,), 1.0),
    ],
)
def test_of_a_rough_reader_only_what_moved_counts(
    sign: int, beard: float, hat: float, reasons: tuple[str, ...], drift: float
) -> None:
    base, edits = Image.new("RGB", (32, 32)), (Edit(BEARD, sign),)
    edited = Edited(Image.new("RGB", (32, 32), "white"))
    before, after = {BEARD: 0.1, HAT: 0.1}, {BEARD: beard, HAT: hat}
    check = check_edit(edits, base, edited, CheckSettings(), before, after, rough=True)
    assert check.reasons == reasons and check.quality.drift == drift
    assert check.quality.after == (beard,)
    # It was there before, or so says a CLIP that likes every word: no reason against the edit.
    after = {BEARD: 0.999 if sign > 0 else 0.9}
    assert check_edit(edits, base, edited, CheckSettings(), {BEARD: 0.99}, after, rough=True).reasons == ()


def test_change_outside_the_mask_and_no_change_at_all_are_flagged() -> None:
    rng = np.random.default_rng(0)
    base = Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8))
    mask = np.zeros((32, 32), dtype=bool)
    mask[:8] = True
    inside = np.asarray(base).copy()
    inside[:7] = 0
    edits = (Edit(BEARD),)
    check = check_edit(edits, base, Edited(Image.fromarray(inside), mask), CheckSettings())
    assert check.reasons == () and (check.quality.ssim, check.quality.pixels) == (1.0, 0.0)
    # Rows of which every window reaches into the edited region tell no similarity.
    mask[3:] = True
    check = check_edit(edits, base, Edited(Image.fromarray(255 - inside), mask), CheckSettings())
    assert check.reasons == () and check.quality.ssim is None
    mask[8:] = False
    outside = Image.fromarray(255 - inside)
    check = check_edit(edits, base, Edited(outside, mask), CheckSettings())
    assert check.reasons == (OUTSIDE,)
    quality = check.quality
    assert quality.ssim is not None and quality.ssim < 0.5 and quality.pixels is not None and quality.pixels > 0.99
    assert check_edit(edits, base, Edited(base, mask), CheckSettings()).reasons == (UNCHANGED,)


class Reader:
    """Reads one attribute off the brightness of the first square."""

    record: Mapping[str, Any] = {"name": "reader"}
    attributes = (Attribute(("250", "255")), Attribute(("128", "130")))
    rough = False

    def read(self, images: Sequence[Image.Image]) -> Mapping[Attribute, np.ndarray]:
        greys = np.array([np.asarray(image)[4, 4, 0] for image in images])
        return {self.attributes[0]: (greys == 255) * 1.0, self.attributes[1]: np.zeros(len(images))}


def test_edits_that_the_reader_does_not_find_are_shown_apart_not_ranked() -> None:
    result = rank(plain_pictures(), GREYS, Painter(), Brightness(), Settings(search="exhaustive"), None, Reader())
    apart = {found.attribute.path: found.flagged for found in result.apart}
    assert apart[("128", "130")] == {MISSING: 4}
    found = result.of(Attribute(("250", "255")))
    assert found is not None and found.ranked and found.valid == 4


class Species:
    """Three classes by brightness."""

    labels = ("wren", "tit", "owl")
    exclusive = True
    record: Mapping[str, Any] = {"name": "species"}

    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        means = np.array([np.asarray(image, dtype=float).mean() for image in images])
        return np.stack([-abs(means - 100), -abs(means - 112), -abs(means - 125)], axis=1)


def test_several_classes_are_ranked_each_and_turned_ones_counted() -> None:
    result = rank(plain_pictures(), GREYS, Painter(), Species(), Settings(search="exhaustive", joint=1))
    assert set(result.per_class) == set(Species.labels) and result.class_label == "tit"
    assert {len(sets) for sets in result.per_class.values()} == {len(result.ranking)}
    assert result.per_class["tit"] == result.ranking
    turned = {(t.source, t.target, t.edits[0].attribute.path) for t in result.turned}
    assert ("tit", "owl", ("250",)) in turned
    assert all(0 < t.count <= t.of for t in result.turned)
    plain = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Result.from_json(plain).to_json() == plain


def test_two_rankings_are_compared() -> None:
    settings = Settings(search="exhaustive", joint=1)
    pictures, editor = portraits(12), RenderEditor("faces")
    one = rank(pictures, SMALL, editor, RuleClassifier(RULE), settings)
    flipped = Rule("other", "faces", RULE.classes, {CAP: (3.0,), GOATEE: (0.5,)})
    two = rank(pictures, SMALL, editor, RuleClassifier(flipped), settings)
    same = compare_rankings(one, one)
    assert same.spearman == pytest.approx(1.0) and len(same.top_shared) == 5
    found = compare_rankings(one, two, 3)
    assert found.spearman is not None and found.spearman < 0.9
    assert found.rows[0].first_place == 1 or found.rows[0].second_place == 1


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("beam", "joint"), [(1, 2), (3, 2), (2, 3)])
def test_the_estimate_holds_for_effects_without_any_order(seed: int, beam: int, joint: int) -> None:
    """Groups that no child beats are looked into down to the leaves: the most that a search can take."""
    rng = Random(seed)
    known: dict[EditSet, float] = {}
    corpus = world_corpus("faces")

    def score(sets: Sequence[EditSet]) -> list[float]:
        for edits in sets:
            height = sum(3 - edit.attribute.level for edit in edits)  # groups above their leaves
            known.setdefault(edits, rng.random() + 2 * height + 5 * len(edits))
        return [known[edits] for edits in sets]

    beam_search(corpus, score, beam, -100.0, joint)
    settings = Settings(beam=beam, joint=joint, direction="up")
    assert len(known) <= estimate(corpus, settings, 1).sets


def test_the_estimate_is_never_exceeded() -> None:
    pictures, corpus = portraits(3), world_corpus("faces")
    for settings in (
        Settings(),
        Settings(search="greedy", joint=3),
        Settings(search="racing"),
        Settings(beam=1, joint=1),
    ):
        result = rank(pictures, corpus, RenderEditor("faces"), RuleClassifier(RULE), settings)
        planned = estimate(corpus, settings, 3)
        assert result.cost.edits <= planned.edits
    assert estimate(SMALL, Settings(search="exhaustive", joint=2), 1).sets == len(SMALL.attributes()) + 24


class NotNumbers(Brightness):
    def logits(self, images: Sequence[Image.Image]) -> np.ndarray:
        return super().logits(images) * np.nan


class OneClass(Brightness):
    labels = ("light",)  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("pictures", "classifier", "corpus", "said"),
    [
        ([], Brightness(), GREYS, "no picture"),
        (plain_pictures(1, 1), Brightness(), GREYS, "1 x 1"),
        ([Picture.of(Image.new("RGB", (8000, 20)), "wide")], Brightness(), GREYS, "8000 x 20"),
        (plain_pictures(1) * 2, Brightness(), GREYS, "same picture"),
        (plain_pictures(), NotNumbers(), GREYS, "not numbers"),
        (plain_pictures(), OneClass(), GREYS, "one class"),
        (plain_pictures(), Brightness(), Corpus("empty", {}), "no attribute"),
        (plain_pictures(), RuleClassifier(RULE), GREYS, "render editor"),
    ],
)
def test_what_cannot_be_ranked_is_told(pictures: Any, classifier: Any, corpus: Corpus, said: str) -> None:
    with pytest.raises(InputError, match=said):
        rank(pictures, corpus, Painter(), classifier, Settings())


@pytest.mark.parametrize(
    "settings", [{"search": "best"}, {"direction": "left"}, {"beam": 0}, {"joint": 9}, {"threshold": float("nan")}]
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Settings(**settings)


def test_ten_thousand_attributes_exhaustively_are_refused_with_the_way_out() -> None:
    corpus = Corpus("big", {str(i): {str(j): ("a", "b", "c") for j in range(25)} for i in range(100)})
    with pytest.raises(InputError, match="use beam search"):
        rank(plain_pictures(), corpus, Painter(), Brightness(), Settings(search="exhaustive", joint=2))


def test_effects_of_a_rule_draw_nothing_and_ask_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, editor = portraits(3), RenderEditor("faces")
    monkeypatch.setattr(editor, "edit", lambda *_: pytest.fail("a rule needs no picture"))
    effects = Effects(pictures, editor, RuleClassifier(RULE), 1)
    edits = (Edit(Attribute(GOATEE)),)
    assert effects.deltas(edits) == effects.deltas(edits)
    assert effects.asked == 3 and effects.edits_made == 0


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rule = tmp_path / "rule.json"
    rule.write_text(json.dumps(RULE.to_json()))
    given = ["rank", "--rule", str(rule), "--images", "4", "--search", "beam", "--beam", "2"]
    assert main([*given, "--out", str(tmp_path / "one"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"ranking", "joint", "edits", "denoiser_evaluations", "seconds"} <= found.keys()
    row = found["ranking"][0]
    assert {"attribute", "influence", "signed", "low", "high", "images", "edits_valid"} <= row.keys()
    assert json.loads((tmp_path / "one" / "ranking.json").read_text()) == found
    assert main([*given, "--out", str(tmp_path / "one")]) == 2
    assert "already" in capsys.readouterr().err
    one = str(tmp_path / "one" / "ranking.json")
    assert main(["rank", "compare", one, one, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spearman"] == pytest.approx(1.0)
    assert main([*given, "--estimate"]) == 0
    assert "At most" in capsys.readouterr().out
    assert main(["rank", "compare", str(rule), one]) == 2
    assert "rank --json" in capsys.readouterr().err

    answer = tmp_path / "answer.txt"
    answer.write_text("```json\n{'beard': {'shape': {'goatee', 'ducktail'}}}\n```")
    assert main(["corpus", "check", str(answer), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["categories"]["beard"]["shape"] == ["goatee", "ducktail"]
    assert main(["corpus", "expand", "face", str(answer), "--out", str(tmp_path / "face.json")]) == 0
    capsys.readouterr()
    assert main(["corpus", "check", str(tmp_path / "face.json")]) == 0
    assert capsys.readouterr().out.startswith("face: 13 of level 1")
    small = tmp_path / "small.json"
    small.write_text(json.dumps({"domain": "faces", "categories": {"headwear": {"hat": ["cap"]}}}))
    built = ["edits", "build", "--corpus", str(small), "--images", "2", "--bank", str(tmp_path / "bank")]
    assert main(built) == 0 and capsys.readouterr().out.startswith("6 edits made")
    assert main(built) == 0 and capsys.readouterr().out.startswith("0 edits made, 6 were there")
