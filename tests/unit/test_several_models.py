"""One trial to several models in turn: what comes back, what fails alone, what counts as agreement, and revisions."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from isi_core.domain.answer import Answer
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import Cancelled, InputError, ModelError
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.catalogue import find_vlm
from isi_core.models.shelf import Shelf
from isi_core.studies.several_models import MOST, Contender, Outcome, agreement, ask_each, choices, from_catalogue
from tests import evaluations
from tests.checkpoints import make_trial, save_llava

DECODING = Decoding(n_samples=2, max_new_tokens=4)
SETTINGS = UncertaintySettings()


def test_models_are_asked_in_turn_and_never_two_at_a_time(tmp_path: Path) -> None:
    folders = [save_llava(tmp_path / name, layers=1, hidden=64, seed=i) for i, name in enumerate(("one", "two"))]
    contenders = [Contender(str(folder)) for folder in folders] + [Contender(str(folders[0]), "4-bit")]
    shelf, told, made = Shelf(), [], []

    def progress(message: str, fraction: float) -> None:
        told.append((message, fraction))
        assert len([s for s in shelf.status() if s.kind == "vlm" and s.state != "loading"]) <= 1

    outcomes = ask_each(
        make_trial(), contenders, shelf, DECODING, ("uncertainty", "attention"), SETTINGS, progress, made.append
    )
    assert made == outcomes and [o.contender for o in outcomes] == contenders
    done = [o.evaluation for o in outcomes]
    assert all(e is not None and e.answer and e.uncertainty and e.attribution for e in done)
    assert [e.model.name for e in done if e] == ["one", "two", "one"]
    assert [e.model.quantization for e in done if e] == ["none", "none", "4-bit"]
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[-1] == pytest.approx(1)
    again = ask_each(make_trial(), contenders[:1], Shelf(), DECODING, (), SETTINGS, known=[e for e in done if e])
    assert again[0].evaluation and done[0] and again[0].evaluation.uncertainty == done[0].uncertainty
    assert any("2 of 3: " in message for message, _ in told)


def test_one_that_fails_does_not_cost_the_others_and_cancel_ends_all(tmp_path: Path) -> None:
    good = save_llava(tmp_path / "good", layers=1)
    broken = tmp_path / "broken"
    shutil.copytree(good, broken)
    (broken / "model.safetensors").write_bytes(b"")
    # Four-bit weights of so few numbers are more than the library can do: it raises what it likes.
    contenders = [Contender(str(broken)), Contender(str(good)), Contender(str(good), "4-bit")]
    outcomes = ask_each(make_trial(), contenders, Shelf(), DECODING, (), SETTINGS)
    assert [bool(o.evaluation) for o in outcomes] == [False, True, False]
    assert all(o.error and "\n" not in o.error for o in outcomes if o.evaluation is None)

    arrived: list[Outcome] = []

    def stop(message: str, fraction: float) -> None:
        if arrived:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        ask_each(make_trial(), [contenders[1]] * 2, Shelf(), DECODING, (), SETTINGS, stop, arrived.append)
    assert len(arrived) == 1


def test_labels_are_read_back() -> None:
    for label in choices():
        assert Contender.read(label).label == label
    assert Contender.read("  owner/name·8-bit ") == Contender("owner/name", "8-bit")
    assert Contender.read("a · b") == Contender("a · b")
    for empty in ("", "  ", " · 4-bit"):
        with pytest.raises(InputError, match="needs a name"):
            Contender.read(empty)
    link = ",".join(["tiny-llava", "owner/name", "/etc", "", "tiny-llava", "tiny-llava · 4-bit", "llava-1.5-7b"])
    assert from_catalogue(link) == ("tiny-llava", "tiny-llava · 4-bit", "llava-1.5-7b")
    assert len(from_catalogue(",".join(choices()))) == MOST
    assert from_catalogue(",".join([" · 4-bit", "tiny-llava"])) == ("tiny-llava",)


def test_agreement_is_of_verdicts_else_of_words() -> None:
    made = evaluations.evaluation()

    def saying(*texts: str) -> tuple[int, ...]:
        return agreement([replace(made, answer=Answer(text)) for text in texts]).answers

    assert saying("Yes.", "yes, it is", "True") == (0, 0, 0)
    assert saying("Yes.", "No.", "yes") == (0, 1, 0)
    assert saying("A red car.", "a red  CAR", "A blue car") == (0, 0, 1)
    assert saying("", "…") == (0, 0) and saying("Yes.", "") == (0, 1)
    assert made.attribution is not None
    other = replace(made.attribution, relative={"image": 0.1, "context": 0.2, "question": 0.7})
    nothing = replace(made.attribution, relative=dict.fromkeys(("image", "context", "question"), float("nan")))
    listened = agreement([made, replace(made, attribution=other), replace(made, attribution=None)])
    assert listened.inputs[1:] == ("question", "") and not listened.same_input
    assert agreement([made, replace(made, attribution=nothing)]).same_input


def test_two_revisions_of_a_hub_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two commits in a hub cache on disk, offline: each is loaded, told apart and recorded."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    cache = tmp_path / "models--owner--tiny"
    commits = {"main": "a" * 40, "v2": "b" * 40}
    (cache / "refs").mkdir(parents=True)
    for seed, (name, commit) in enumerate(commits.items()):
        save_llava(cache / "snapshots" / commit, layers=1, seed=seed)
        (cache / "refs" / name).write_text(commit)
    contenders = [Contender("owner/tiny"), Contender("owner/tiny@v2"), Contender("owner/tiny@v3")]
    first, second, third = ask_each(make_trial(), contenders, Shelf(), DECODING, (), SETTINGS)
    assert first.evaluation is not None and second.evaluation is not None, (first.error, second.error)
    assert first.evaluation.model.revision == commits["main"]
    assert second.evaluation.model.name == "owner/tiny@v2"
    assert second.evaluation.model.revision == commits["v2"]
    assert first.evaluation.answer != second.evaluation.answer
    assert third.evaluation is None and "could not be loaded" in third.error


def test_a_revision_may_follow_a_hub_id_only(tmp_path: Path) -> None:
    row = find_vlm("llava-1.5-7b@" + "c" * 40)
    assert (row.source, row.revision, row.chat_template) == (
        "llava-hf/llava-1.5-7b-hf",
        "c" * 40,
        find_vlm("llava-1.5-7b").chat_template,
    )
    assert find_vlm("owner/name@refs/pr/3").place == "owner/name@refs/pr/3"
    for name in ("tiny-llava@main", "owner/name@", "owner/name@../x", "owner/name@a b", f"{tmp_path}@main", "x@y"):
        with pytest.raises(ModelError, match="No model"):
            find_vlm(name)
