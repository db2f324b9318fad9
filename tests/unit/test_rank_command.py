"""The command `rank` and its kin: what they default to, refuse, hand to the editor, and print."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from isi_core.cli import build_parser, main
from isi_core.commands import rank as command
from isi_core.commands.rank_classifier import known_rule, open_classifier
from isi_core.commands.rank_editor import TINY, open_editor
from isi_core.commands.rank_parts import EMBEDDED
from isi_core.domain.errors import InputError, StudioError
from isi_core.models.classifiers.clip import ClipClassifier
from isi_core.models.editors import ledits
from isi_core.models.editors.instruct import InstructEditor
from isi_core.models.editors.ledits import LeditsEditor
from isi_core.models.editors.ledits_settings import DEFAULT_DIFFUSION, TINY_SETTINGS, LeditsSettings, paper_settings
from isi_core.worlds.attributed import world
from isi_core.worlds.rules import planted_influence, shipped_rule
from tests.diffusion_checkpoints import save_instruct, save_sd
from tests.rankings import result as drawn_ranking

QUICK = ["--images", "3", "--search", "greedy", "--joint", "1", "--no-checks"]
SMALL = {"domain": "faces", "categories": {"hair": {"colour": ["grey", "red"]}, "headwear": {"hat": ["cap"]}}}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A corpus of seven attributes, and a home of its own."""
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "home"))
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    return str(tmp_path / "small.json")


def settings_of(*words: str, built_in: bool = True) -> LeditsSettings:
    editor = open_editor(build_parser().parse_args(["rank", "--editor", "ledits", *words]), built_in)
    assert isinstance(editor, LeditsEditor)
    return editor.settings


# -- the editor ------------------------------------------------------------------------------


def test_the_embedded_pipeline_is_taken_for_built_in_faces_alone(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    taken: list[tuple[str, LeditsSettings]] = []

    def load(source: Path | str, name: str, settings: LeditsSettings, **_: object) -> None:
        assert Path(source) == EMBEDDED / TINY or source == name
        taken.append((name, settings))

    monkeypatch.setattr(ledits, "load_ledits_editor", load)
    for words, built_in in (
        (["--domain", "faces"], True),
        (["--domain", "birds"], True),
        (["--domain", "faces"], False),
        (["--domain", "pet"], False),
        (["--domain", "birds", "--editor-model", TINY], True),
        (["--domain", "faces", "--editor-model", str(EMBEDDED / TINY)], False),
    ):
        open_editor(build_parser().parse_args(["rank", "--editor", "ledits", *words]), built_in)
    assert [name for name, _ in taken] == [TINY, DEFAULT_DIFFUSION, DEFAULT_DIFFUSION, DEFAULT_DIFFUSION, TINY, TINY]
    assert [s for _, s in taken] == [
        TINY_SETTINGS,
        paper_settings("birds"),
        paper_settings("faces"),
        paper_settings("pet"),
        TINY_SETTINGS,
        TINY_SETTINGS,
    ]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and all("knows built-in faces only" in line and "--editor-model" in line for line in told)


def test_what_is_named_goes_into_the_settings_and_the_rest_stays(pipeline: Path, small: str) -> None:
    model = ["--editor-model", str(pipeline)]
    assert settings_of(*model, "--seed", "7", "--domain", "places") == replace(paper_settings("places"), seed=7)
    all_named = ["--inversion-steps", "4", "--skipped-steps", "0", "--edit-guidance", "3", "--edit-threshold", "0.5"]
    found = settings_of(*model, *all_named, "--masks", "noise", "--device", "cpu", "--dtype", "bfloat16")
    assert found == LeditsSettings(steps=4, skipped=0, guidance=3.0, threshold=0.5, masks="noise")
    editor = open_editor(
        build_parser().parse_args(["edits", "build", "--editor", "ledits", *model, *all_named, "--dtype", "bfloat16"]),
        True,
    )
    assert {"steps": 4, "skipped": 0, "guidance": 3.0, "threshold": 0.5}.items() <= editor.record.items()
    assert editor.record["model"]["dtype"] == "bfloat16" and editor.record["model"]["device"] == "cpu"


def test_instruction_editing_takes_its_own_settings(tmp_path: Path) -> None:
    words = ["--editor", "instruct", "--editor-model", str(save_instruct(tmp_path / "instruct")), "--seed", "5"]
    words += ["--instruct-steps", "3", "--text-guidance", "4", "--image-guidance", "2"]
    editor = open_editor(build_parser().parse_args(["repair", *words]), True)
    assert isinstance(editor, InstructEditor)
    assert asdict(editor.settings).items() >= {"steps": 3, "guidance": 4.0, "image_guidance": 2.0, "seed": 5}.items()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--edit-guidance", "3"], "--edit-guidance is for --editor ledits"),
        (["--editor", "instruct", "--masks", "noise"], "--masks is for --editor ledits"),
        (["--editor", "ledits", "--text-guidance", "3"], "--text-guidance is for --editor instruct"),
        (["--device", "cpu"], "--device is for --editor ledits and instruct"),
        (["--editor", "ledits", "--device", "tpu"], "no device 'tpu'"),
        (["--editor", "ledits", "--device", "cpu:x"], "no device 'cpu:x'"),
        (["--editor", "ledits", "--inversion-steps", "1"], "2 to 1000 steps"),
        (["--editor", "ledits", "--edit-threshold", "1.5"], "between 0 and 1"),
        (["--editor", "ledits", "--edit-guidance", "nan"], "Edit guidance"),
    ],
)
def test_options_that_the_editor_cannot_follow_are_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", *QUICK, *words]) == 2
    [line] = capsys.readouterr().err.splitlines()[-1:]
    assert said in line
    if "is for" in said:
        assert main(["repair", *words]) == 2 and said in capsys.readouterr().err


def test_another_seed_makes_other_edits_and_the_same_one_none(
    pipeline: Path, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures from a folder, so that the seed changes nothing but the edits."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(folder / "a.png")
    built = ["edits", "build", "--corpus", small, "--pictures", str(folder), "--bank", str(tmp_path / "bank"), "--json"]
    built += ["--editor", "ledits", "--editor-model", str(pipeline), "--inversion-steps", "3", "--skipped-steps", "1"]
    made = []
    for seed in ("0", "0", "1"):
        assert main([*built, "--seed", seed]) == 0
        made.append(json.loads(capsys.readouterr().out)["made"])
    assert made[0] > 0 and made[1] == 0 and made[2] == made[0]
    kept = [json.loads(path.read_text()) for path in (tmp_path / "bank" / "entries").rglob("*.json")]
    # The bank names pictures by their content.
    assert len({entry["image"] for entry in kept}) == len(kept) == 2 * made[0]


# -- the classifier --------------------------------------------------------------------------


def test_the_default_classifier_is_the_domains_own() -> None:
    for domain, labels in (("faces", ("young", "old")), ("birds", shipped_rule("birds-species").classes)):
        asked = build_parser().parse_args(["rank", "--domain", domain])
        assert open_classifier(asked).labels == labels
        rule = known_rule(asked)
        assert rule is not None and rule.classes == labels
    with pytest.raises(InputError, match="no built-in classifier for pet: name one with --classifier"):
        open_classifier(build_parser().parse_args(["rank", "--domain", "pet"]))


def test_label_prompts_of_ones_own_are_asked_of_a_clip(
    small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.json"
    told = {"grey one": ["a photo of an old person", "a photo of a person with grey hair"], "other": ["a photo"]}
    labels.write_text(json.dumps(told))
    given = ["rank", *QUICK, "--corpus", small, "--labels", str(labels)]
    assert main([*given, "--class", "grey one", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    record = found["settings"]["classifier"]
    assert record["name"] == "tiny-clip-worlds" and record["classes"] == told and found["class"] == "grey one"
    assert found["truth"] is None  # no rule is behind classes of one's own
    # The classifier is the CLIP with these texts, whichever way it is named.
    folder = EMBEDDED / "tiny-clip-worlds"
    picture = [Image.new("RGB", (64, 64), "grey")]
    alike = ClipClassifier.load(folder, "x", {label: tuple(texts) for label, texts in told.items()}).logits(picture)
    for name in ("clip:tiny-clip-worlds", f"clip:{folder}", "clip:age@tiny-clip-worlds", "clip:@tiny-clip-worlds"):
        asked = build_parser().parse_args(["rank", "--classifier", name, "--labels", str(labels)])
        opened = open_classifier(asked)
        assert isinstance(opened, ClipClassifier) and opened.logits(picture) == pytest.approx(alike)
    for wrong in (["--classifier", "age"], ["--rule", "faces-age"], ["--classifier", "python:json:loads"]):
        assert main([*given, *wrong]) == 2 and "--labels" in capsys.readouterr().err
    labels.write_text('{"old": "a"}')
    assert main(given) == 2 and "at least two classes" in capsys.readouterr().err
    assert main(["rank", *QUICK, "--classifier", "clip:no such preset"]) == 2
    assert "--labels" in capsys.readouterr().err


# -- what is printed -------------------------------------------------------------------------


def test_the_truth_of_any_rule_is_told(small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped = shipped_rule("faces-age")
    group, cap, hair = ("hair", "colour"), ("headwear", "hat", "cap"), ("hair", "colour", "grey")
    own = replace(
        shipped, name="own", weights={group: (1.0,), hair: (2.0,), cap: (-0.5,)}, interactions=((hair, cap, (1.5,)),)
    )
    file = tmp_path / "own.json"
    file.write_text(json.dumps(own.to_json()))
    given = ["rank", "--rule", str(file), "--corpus", small, "--images", "12", "--search", "exhaustive"]
    out = tmp_path / "out"
    assert main([*given, "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    truth = found["truth"]
    assert json.loads((out / "ranking.json").read_text())["truth"] == truth
    arguments = build_parser().parse_args(given)
    subjects = [p.subject for p in command.open_pictures(arguments)]
    leaves = [hair, (*group, "red"), cap]
    exact = planted_influence(own, subjects, 1, leaves, only_lacking=True)  # type: ignore[arg-type]
    planted = {tuple(row["attribute"]): row["influence"] for row in truth["planted"]}
    assert planted == pytest.approx({path: exact[path] for path in leaves})
    sizes = [abs(row["influence"]) for row in truth["planted"]]
    influence = {tuple(row["attribute"]): row["influence"] for row in found["ranking"]}
    order = spearmanr(sizes, [influence[tuple(row["attribute"])] for row in truth["planted"]]).statistic
    assert sizes == sorted(sizes, reverse=True) and truth["spearman"] == pytest.approx(order)
    assert truth["auroc"] is None  # every leaf of this corpus has influence
    assert [row["attributes"] for row in truth["interactions"]] == [[list(hair), list(cap)]]
    assert main([*given, "--joint", "1"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("truth of the rule own")]
    assert f"Spearman {order:.3f} over the leaves that it weighs (3)" in line and "AUROC not known" in line
    assert "weights of groups (1)" in line and "terms of pairs (1)" in line
    assert main([*given, "--joint", "1", "--images", "1"]) == 0
    assert "nan" not in capsys.readouterr().out  # one picture has no interval
    assert main(["rank", "--rule", str(tmp_path / "none.json"), *QUICK]) == 2
    assert "cannot be opened" in capsys.readouterr().err
    assert main(["rank", "--rule", "faces-beauty", *QUICK]) == 2
    assert "there are birds-species, faces-age" in capsys.readouterr().err
    assert main([*given, "--joint", "1", "--remove"]) == 0
    assert "truth of the rule own: not known" in capsys.readouterr().out


def test_a_group_weight_does_not_enter_where_another_leaf_of_it_is_shown() -> None:
    """What the line about groups says is so."""
    group, red = ("hair", "colour"), ("hair", "colour", "red")
    rule = replace(shipped_rule("faces-age"), weights={group: (1.0,)}, interactions=())
    place = world("faces")
    subjects = [place.draw_subject(Random(i)) for i in range(30)]
    shown = [s for s in subjects if place.has(s, group) and not place.has(s, red)]
    assert shown
    assert set(planted_influence(rule, shown, 1, [red]).values()) == {0.0}


def test_a_network_is_held_against_the_rule_its_labels_followed(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["rank", *QUICK, "--search", "exhaustive", "--corpus", small, "--classifier", "tiny-age", "--json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["truth"]["rule"] == "faces-age" and len(found["truth"]["planted"]) == 3
    assert main(["rank", *QUICK, "--rule", "faces-age", "--corpus", small, "--search", "exhaustive"]) == 0
    assert "truth of the rule faces-age: Spearman" in capsys.readouterr().out


def test_joint_edits_say_how_many_are_valid_and_unranked_ones_stand_apart(capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = drawn_ranking()
    [joint] = made.joint
    failed = tuple(replace(delta, reasons=("the picture did not change",)) for delta in joint.whole.deltas[:5])
    whole = replace(joint.whole, deltas=(*failed, *joint.whole.deltas[5:]))
    assert not whole.ranked
    command._print(replace(made, joint=(replace(joint, whole=whole), joint)))
    lines = capsys.readouterr().out.splitlines()
    [good] = [line for line in lines if line.startswith("together")]
    assert "6/6 edits valid: " in good and "round" in good
    [apart] = [line for line in lines if line.startswith("not ranked together")]
    assert "1/6 edits valid" in apart and apart.endswith("the picture did not change (5)")
    assert lines.index(good) < lines.index(apart)


def test_what_was_not_checked_is_said(
    pipeline: Path, small: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    world("faces").render(world("faces").draw_subject(Random(1)), 64).save(folder / "a.png")
    given = ["rank", "--pictures", str(folder), "--corpus", small, "--search", "greedy", "--joint", "1"]
    given += ["--editor", "ledits", "--editor-model", str(pipeline), "--inversion-steps", "2", "--skipped-steps", "0"]
    given += ["--masks", "noise", "--threshold", "50"]  # no group is looked into
    assert main(given) == 0
    told = capsys.readouterr()
    assert "presence of the attributes was not checked" in told.out and "--reader" in told.out
    assert "name another --classifier for photos" in told.err
    assert main([*given, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["reader"] is None and found["truth"] is None and found["settings"]["editor"]["steps"] == 2
    assert main([*given, "--reader", "attributes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reader"]["name"] == "attributes"
    assert main([*given, "--no-checks"]) == 0
    assert "not checked (--no-checks)" in capsys.readouterr().out


def test_the_exact_editor_is_for_built_in_pictures(tmp_path: Path) -> None:
    for words, built_in in ((["--domain", "pet"], True), (["--domain", "faces"], False)):
        with pytest.raises(StudioError, match="choose --editor ledits"):
            open_editor(build_parser().parse_args(["rank", *words]), built_in)
