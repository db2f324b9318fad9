"""Datasets of one's own: made, changed, exported and read back without loss."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from isi_core.datasets import catalogue
from isi_core.datasets.authoring import (
    as_row,
    copy_dataset,
    create_dataset,
    delete_observation,
    export_folder,
    export_zip,
    save_observation,
)
from isi_core.datasets.built_in import BUILT_IN, load_dataset
from isi_core.datasets.importing import import_source, open_source, staging_folder
from isi_core.datasets.isi_folder import NO_ANNOTATED, NO_ANSWER, FolderRow, folder_rows, load_isi_folder
from isi_core.domain.errors import InputError
from isi_core.domain.home import HOME_VARIABLE
from isi_core.domain.observation import Dataset
from tests.unit.test_import import png

FULL = FolderRow(
    image="fish.png",
    natural=png(),
    annotated=png((9, 9, 9), "JPEG"),
    question=" Is the “fish”, really,\nred? ",
    truth=True,
    complementary="Ünï\u2028code; \"quoted\", 'too'",
    contradictory="=1+1\r\nnext",
    description="a, b",
    family="colour",
    annotated_name="fish.jpg",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    create_dataset("mine")
    return tmp_path / "home"


def row(number: int, **changes: object) -> FolderRow:
    made = replace(FULL, image=f"{number}.png", natural=png((number, 0, 0)), annotated=None, annotated_name="")
    return replace(made, question=f"Is it {number}?", **changes)


def content(dataset: Dataset) -> list[FolderRow]:
    return list(folder_rows(dataset))


def test_an_observation_comes_back_as_it_was_written() -> None:
    assert load_dataset("mine").observations == ()
    assert save_observation("mine", FULL) == "fish"
    (observation,) = load_dataset("mine").observations
    assert as_row(observation) == FULL
    assert catalogue.dataset_names() == [BUILT_IN, "mine"]


@pytest.mark.parametrize("truth", [True, False, None])
def test_the_round_trip_through_zip_and_folder_is_lossless(tmp_path: Path, truth: bool | None) -> None:
    for made in (FULL, row(1, truth=truth), row(2, family=""), replace(row(3), natural=png(), image="fish.png")):
        save_observation("mine", made)
    before = content(load_dataset("mine"))
    assert len(before) == 4 and before[3].image == "fish_2.png"

    path = tmp_path / "away.zip"
    path.write_bytes(export_zip("mine"))
    with staging_folder() as staging:
        made = import_source(open_source(path, staging), "back")
    assert (
        all(problem.endswith((NO_ANNOTATED, NO_ANSWER)) for problem in made.problems)
        and content(load_dataset("back")) == before
    )
    assert export_zip("back").replace(b"back/", b"mine/") == path.read_bytes()

    export_folder(load_dataset("mine"), tmp_path / "out")
    assert content(load_isi_folder(tmp_path / "out")) == before
    with pytest.raises(InputError, match="not an empty folder"):
        export_folder(load_dataset("mine"), tmp_path / "out")


def test_an_observation_is_changed_in_its_place(home: Path) -> None:
    for made in (row(1), FULL, row(2)):
        save_observation("mine", made)
    changed = replace(FULL, question="Is it blue?", truth=False, annotated=png((3, 3, 3)), annotated_name="fish.png")
    assert save_observation("mine", changed, replaces="fish") == "fish"
    assert content(load_dataset("mine")) == [row(1), changed, row(2)]
    bare = replace(changed, annotated=None, annotated_name="")
    save_observation("mine", bare, replaces="fish")
    assert load_dataset("mine").observations[1].annotated is None
    assert list((home / "datasets" / "mine" / "annotated_images").iterdir()) == []


def test_two_questions_may_share_a_picture_until_one_changes_it() -> None:
    save_observation("mine", FULL)
    save_observation("mine", replace(FULL, question="Is it a bird?", truth=False))
    first, second = load_dataset("mine").observations
    assert first.image == second.image and first.id != second.id
    save_observation("mine", replace(as_row(second), annotated=png((1, 1, 1)), annotated_name="x.png"), second.id)
    first, second = load_dataset("mine").observations
    assert as_row(first) == FULL
    assert second.image != first.image and as_row(second).annotated == png((1, 1, 1))


def test_a_deleted_observation_takes_its_pictures_along_unless_they_are_shared(home: Path) -> None:
    for made in (FULL, replace(FULL, question="Is it a bird?"), row(1)):
        save_observation("mine", made)
    ids = [o.id for o in load_dataset("mine").observations]
    delete_observation("mine", ids[0])
    delete_observation("mine", ids[2])
    assert [o.question for o in load_dataset("mine").observations] == ["Is it a bird?"]
    folder = home / "datasets" / "mine"
    assert sorted(p.name for p in (folder / "natural_images").iterdir()) == ["fish.png"]
    assert sorted(p.name for p in (folder / "annotated_images").iterdir()) == ["fish.jpg"]
    with pytest.raises(InputError, match="no observation"):
        delete_observation("mine", ids[2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"question": "  "}, "question is empty"),
        ({"question": "Is it\0?"}, "cannot be stored"),
        ({"complementary": "\ud800"}, "cannot be stored"),
        ({"contradictory": "x" * 100_001}, "too long"),
        ({"natural": b"no picture"}, "not a picture"),
        ({"annotated": png()[:40]}, "fish.jpg"),
    ],
)
def test_what_cannot_be_stored_changes_nothing(changes: dict[str, object], words: str) -> None:
    save_observation("mine", FULL)
    with pytest.raises(InputError, match=words):
        save_observation("mine", replace(FULL, **changes))
    assert content(load_dataset("mine")) == [FULL]


def test_the_same_observation_twice_is_refused_and_so_is_the_built_in_dataset() -> None:
    save_observation("mine", FULL)
    with pytest.raises(InputError, match="the same in every respect"):
        save_observation("mine", FULL)
    with pytest.raises(InputError, match="stays as it is"):
        save_observation(BUILT_IN, FULL)
    with pytest.raises(InputError, match="no dataset"):
        save_observation("../../x", FULL)


def test_a_picture_name_stays_in_its_folder(home: Path) -> None:
    save_observation("mine", replace(FULL, image="../../../evil.png"))
    (observation,) = load_dataset("mine").observations
    assert observation.image.parent == home / "datasets" / "mine" / "natural_images"
    assert not list(home.parent.glob("evil*"))


def test_a_dataset_whose_rows_a_change_would_lose_is_not_changed(home: Path) -> None:
    save_observation("mine", FULL)
    table = home / "datasets" / "mine" / "vlm_dataset.csv"
    table.write_text(table.read_text() + "gone.png,Is it?,,,1,,x\n")
    before = table.read_bytes()
    with pytest.raises(InputError, match=r"gone\.png"):
        save_observation("mine", row(1))
    assert table.read_bytes() == before


def test_the_built_in_dataset_is_changed_as_a_copy() -> None:
    original = load_dataset()
    copy_dataset(original, "copy")
    copied = load_dataset("copy")
    assert content(copied) == content(original)
    first = copied.observations[0]
    save_observation("copy", replace(as_row(first), question="Is it changed?"), first.id)
    assert load_dataset("copy").observations[0].question == "Is it changed?"
    assert load_dataset().observations == original.observations


def test_two_writers_at_once_lose_nothing() -> None:
    threads = [
        threading.Thread(target=lambda k=k: [save_observation("mine", row(10 * k + i)) for i in range(6)])
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(o.question for o in load_dataset("mine").observations) == sorted(
        f"Is it {10 * k + i}?" for k in range(4) for i in range(6)
    )
