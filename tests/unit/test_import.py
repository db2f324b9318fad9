"""Datasets from anywhere: zip files, tables, folders; whatever is wrong is told row by row and the rest is loaded."""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageEnhance

from isi_core.cli import main
from isi_core.datasets import archive, catalogue
from isi_core.datasets.built_in import BUILT_IN, load_dataset
from isi_core.datasets.card import dataset_card
from isi_core.datasets.column_mapping import Mapping, guess_mapping
from isi_core.datasets.importing import Imported, Source, import_source, open_source, staging_folder
from isi_core.datasets.isi_folder import FolderRow, write_isi_folder
from isi_core.datasets.linter import MOST_BITS, MOST_PARTNERS, find_leaks, near_duplicates
from isi_core.datasets.tables import read_table
from isi_core.domain.errors import InputError
from isi_core.domain.home import HOME_VARIABLE
from isi_core.domain.observation import Dataset, Observation
from isi_core.studies.slices import Slice, save_slice
from isi_core.worlds.scenes.drawing import render_scene
from isi_core.worlds.scenes.graph import draw_held_out_scene

PUBLISHED = Path(__file__).parents[3] / "shared" / "isi_vqa"
HEADER = "image,question,contradictory,complementary,answer,img_text_description\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def png(colour: tuple[int, int, int] = (10, 20, 30), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(buffer, kind)
    return buffer.getvalue()


def zipped(where: Path, files: dict[str, bytes]) -> Path:
    path = where / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def imported(path: Path, name: str = "mine", mapping: Mapping | None = None, alone: bool = False) -> Imported:
    with staging_folder() as staging:
        return import_source(open_source(path, staging, alone), name, mapping)


def told(problems: Sequence[str], *words: str) -> bool:
    return any(all(word in problem for word in words) for problem in problems)


def isi_files(root: str = "") -> dict[str, bytes]:
    table = HEADER + "a.png,Is it red?,no,yes,1,red\nb.png,Is it blue?,no,yes,0,blue\n"
    files = {"vlm_dataset.csv": table.encode(), "natural_images/a.png": png(), "natural_images/b.png": png((1, 2, 3))}
    files["annotated_images/a.png"] = png((9, 9, 9))
    return {root + name: content for name, content in files.items()}


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published dataset is not on this machine")
def test_the_published_dataset_is_imported_whole() -> None:
    made = imported(PUBLISHED, "isi_vqa")
    assert (made.observations, made.annotated, made.problems) == (100, 100, ())
    dataset = load_dataset("isi_vqa")
    original = load_dataset(PUBLISHED)
    assert [(o.id, o.question, o.truth, o.image.read_bytes()) for o in dataset.observations] == [
        (o.id, o.question, o.truth, o.image.read_bytes()) for o in original.observations
    ]
    assert catalogue.dataset_names() == [BUILT_IN, "isi_vqa"]
    card = dataset_card(dataset)
    assert (card.observations, card.annotated, card.complementary, card.contradictory) == (100, 100, 100, 100)
    assert sum(card.truths.values()) == sum(card.sizes.values()) == 100


@pytest.mark.parametrize("root", ["", "wrapped/", "two/deep/"])
def test_a_zip_file_is_imported_however_it_is_wrapped(tmp_path: Path, home: Path, root: str) -> None:
    made = imported(zipped(tmp_path, isi_files(root)))
    assert (made.observations, made.annotated) == (2, 1)
    dataset = load_dataset("mine")
    assert [o.truth for o in dataset.observations] == [True, False]
    assert dataset.observations[0].image.read_bytes() == png()
    assert list((home / "imports").iterdir()) == []
    source, problems = catalogue.import_problems("mine")
    assert source == "set" and problems == list(made.problems) and told(problems, "Row 2", "annotated")


def test_what_climbs_out_of_a_zip_file_is_left_out_and_the_rest_is_loaded(tmp_path: Path, home: Path) -> None:
    files = {**isi_files(), "../../evil.png": png(), "/etc/evil.csv": b"x", "natural_images/..\\evil.png": png()}
    path = zipped(tmp_path, files)
    with zipfile.ZipFile(path, "a") as file:
        link = zipfile.ZipInfo("natural_images/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    made = imported(path)
    assert made.observations == 2
    assert sum("climbs out" in p for p in made.problems) == 3 and told(made.problems, "link.png", "is a link")
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith("evil") or p.is_symlink()]


def test_a_bomb_is_left_out_before_it_is_unpacked(tmp_path: Path) -> None:
    path = zipped(tmp_path, {**isi_files(), "natural_images/bomb.png": b"\0" * 50_000_000})
    assert path.stat().st_size < 100_000
    made = imported(path)
    assert made.observations == 2 and told(made.problems, "bomb.png", "zip bomb")


def test_an_entry_that_holds_more_than_it_says_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, content in isi_files().items():
            file.writestr(name, content)
    raw = path.read_bytes()
    size = len(png((1, 2, 3))).to_bytes(4, "little")
    at = raw.rindex(b"natural_images/b.png") - 46 + 24  # the size unpacked, in the central directory
    assert raw[at : at + 4] == size
    path.write_bytes(raw[:at] + (3).to_bytes(4, "little") + raw[at + 4 :])
    made = imported(path)
    assert made.observations == 1 and told(made.problems, "b.png", "damaged")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_FILES", 3)
    with pytest.raises(InputError, match="more than 3 files"):
        imported(zipped(tmp_path, isi_files()))
    monkeypatch.setattr(archive, "MAX_FILES", 100)
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 100)
    with pytest.raises(InputError, match="unpacks to more"):
        imported(zipped(tmp_path, isi_files()))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"not a zip at all"])
def test_what_is_no_zip_file_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a zip file"):
        imported(path)
    assert catalogue.dataset_names() == [BUILT_IN]


def test_rows_that_cannot_be_used_are_told_one_by_one(tmp_path: Path) -> None:
    rows = "a.png,Is it red?,no,yes,1,red\n" * 2 + "gone.png,Is it?,,,0,\nb.png,Is it blue?,no,yes,maybe,blue\n"
    rows += "bad.png,Is it bad?,no,yes,1,x\n../a.png,Is it out?,no,yes,1,x\n"
    files = {**isi_files(), "vlm_dataset.csv": b"\xef\xbb\xbf" + (HEADER + rows).encode()}
    files["natural_images/bad.png"] = png()[:30]
    made = imported(zipped(tmp_path, files))
    assert made.observations == 2
    assert told(made.problems, "Row 2 repeats row 1") and told(made.problems, "Row 3", "gone.png")
    assert told(made.problems, "Row 4", "'maybe'") and told(made.problems, "Row 5", "bad.png", "not a picture")
    assert told(made.problems, "Row 6", "plain file name")
    assert [o.truth for o in load_dataset("mine").observations] == [True, None]


def test_nothing_is_left_behind_when_nothing_can_be_used(tmp_path: Path, home: Path) -> None:
    with pytest.raises(InputError, match=r"Nothing in set can be imported\. First of 2 reasons: .*natural_images"):
        imported(zipped(tmp_path, {"vlm_dataset.csv": (HEADER + "a.png,Is it?,,,1,\n").encode()}))
    assert list((home / "datasets").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", BUILT_IN, "x" * 61, "isi_SCENES", "a\nb"])
def test_a_name_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    path = zipped(tmp_path, isi_files())
    with pytest.raises(InputError):
        imported(path, name)
    assert catalogue.proposed_name("../Meine Daten (1)") == "Meine_Daten_1"
    imported(path, "taken")
    with pytest.raises(InputError, match="already"):
        imported(path, "Taken")
    assert catalogue.proposed_name("taken") == "taken_2"
    catalogue.remove_dataset("taken")
    assert catalogue.dataset_names() == [BUILT_IN]
    with pytest.raises(InputError, match="stays as it is"):
        catalogue.remove_dataset(BUILT_IN)


def test_what_a_dead_session_left_is_removed(home: Path) -> None:
    old, new = home / "imports" / "old", home / "imports" / "new"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    with staging_folder() as staging:
        assert sorted(p.name for p in (home / "imports").iterdir()) == sorted(["new", staging.name])


# --- tables ------------------------------------------------------------------------------------


def table_folder(where: Path, name: str, content: str | bytes) -> Path:
    (where / "img").mkdir(parents=True, exist_ok=True)
    (where / "img" / "a.png").write_bytes(png())
    (where / "img" / "b.jpg").write_bytes(png((200, 0, 0), "JPEG"))
    path = where / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


CHOSEN = Mapping(image="file", question="q", answer="gt", complementary="hint", family="kind")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_csv_is_mapped_column_by_column_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    text = "file;q;gt;hint;kind\nimg/a.png;Ist es größer?;Yes;Ä;size\nb.jpg;Is it red?;FALSE;;colour\n"
    path = table_folder(tmp_path, "t.csv", text.encode(encoding))
    made = imported(path, mapping=CHOSEN)
    first, second = load_dataset("mine").observations
    assert (first.question, first.truth, first.complementary, first.family) == ("Ist es größer?", True, "Ä", "size")
    assert (second.truth, second.image.name, second.image.read_bytes()) == (False, "b.jpg", png((200, 0, 0), "JPEG"))
    assert told(made.problems, "UTF") == (encoding in ("utf-16", "cp1252"))


def test_json_lines_are_read_row_by_row(tmp_path: Path) -> None:
    rows = [
        json.dumps({"file": "a.png", "q": "Is it\u2028red?", "gt": 1}),
        "{broken",
        "[1, 2]",
        json.dumps({"file": "../../etc/passwd", "q": "Out?", "gt": 0}),
        json.dumps({"file": "b.jpg", "q": "  ", "gt": 0}),
        json.dumps({"file": "https://example.com/a.png", "q": "Far?", "gt": 0}),
        json.dumps({"file": "b.jpg", "q": "Is it 2?", "gt": 2, "hint": {"x": 1}, "kind": None}),
        "[" * 100_000,
    ]
    made = imported(table_folder(tmp_path / "deep", "t.jsonl", "\n".join(rows)), mapping=CHOSEN)
    first, second = load_dataset("mine").observations
    assert (first.question, first.truth) == ("Is it\u2028red?", True)
    assert (second.truth, second.complementary, second.family) == (None, '{"x": 1}', "")
    for number, words in ((2, "JSON object"), (3, "JSON object"), (4, "passwd"), (5, "empty"), (6, "address")):
        assert told(made.problems, f"Row {number}", words), (number, made.problems)
    assert told(made.problems, "Row 7", "'2'", "truth is unknown") and told(made.problems, "Row 8", "JSON object")


def test_a_link_out_of_the_tables_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png((7, 7, 7)))
    path = table_folder(tmp_path / "t", "t.csv", "file,q,gt\nimg/link.png,Is it?,1\nimg/a.png,Is it red?,1\n")
    (tmp_path / "t" / "img" / "link.png").symlink_to(tmp_path / "secret.png")
    made = imported(path, mapping=Mapping("file", "q", "gt"))
    assert made.observations == 1 and told(made.problems, "Row 1", "outside")


def test_one_name_for_two_pictures_becomes_two_names(tmp_path: Path) -> None:
    path = table_folder(tmp_path, "t.csv", "file,q,gt\nx/a.png,Is it?,1\nimg/a.png,Is it red?,1\nimg/a.png,Why?,0\n")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(png((250, 1, 1)))
    imported(path, mapping=Mapping("file", "q", "gt"))
    first, second, third = load_dataset("mine").observations
    assert first.image.read_bytes() == png((250, 1, 1))
    assert second.image == third.image and second.image.read_bytes() == png()
    assert len({first.id, second.id, third.id}) == 3


def rows_with_pictures() -> dict[str, list[object]]:
    return {
        "image": [{"bytes": png(), "path": "a.png"}, {"bytes": png((1, 1, 1), "JPEG"), "path": None}],
        "question": ["Is it red?", "Is it black?"],
        "answer": [True, False],
        "annotated": [{"bytes": png((5, 5, 5)), "path": "other.png"}, None],
    }


def test_parquet_brings_its_pictures_along(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(rows_with_pictures()), path)
    table = read_table(path)
    mapping = Mapping(**guess_mapping(table.columns))
    assert (mapping.image, mapping.question, mapping.answer) == ("image", "question", "answer")
    made = imported(path, mapping=mapping, alone=True)
    first, second = load_dataset("mine").observations
    assert (first.truth, second.truth, made.annotated) == (True, False, 1)
    assert first.image.read_bytes() == png() and first.annotated is not None
    assert first.annotated.read_bytes() == png((5, 5, 5))
    assert second.image.suffix == ".jpg"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a Parquet file"):
        read_table(path)


def test_a_folder_saved_by_the_datasets_library_is_read_shard_by_shard(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    table = pa.table(rows_with_pictures())
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for i, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table.slice(i, 1))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names]}))
    imported(folder, mapping=Mapping("image", "question", "answer"))
    assert [o.question for o in load_dataset("mine").observations] == ["Is it red?", "Is it black?"]
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../x.arrow"}]}))
    with pytest.raises(InputError, match="outside"):
        read_table(folder)
    (folder / names[0]).write_bytes(b"broken")
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": names[0]}]}))
    with pytest.raises(InputError, match="damaged"):
        read_table(folder)
    with pytest.raises(InputError, match="several splits: give the folder of saved"):
        read_table(tmp_path)


def test_a_table_alone_says_that_its_pictures_are_missing(tmp_path: Path) -> None:
    path = table_folder(tmp_path, "t.csv", "file,q\na.png,Is it red?\n")
    with pytest.raises(InputError, match="zip the table together with its pictures"):
        imported(path, mapping=Mapping("file", "q"), alone=True)
    with pytest.raises(InputError, match="no column 'picture'"):
        imported(path, mapping=Mapping("picture", "q"))
    with pytest.raises(InputError, match="No column was chosen for the question"):
        imported(path, mapping=Mapping("file", ""))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("t.csv", "", "is empty"),
        ("t.csv", "a,a\n1,2\n", "two columns called 'a'"),
        ("t.pickle", "x", "not a table"),
        ("t.csv", ",".join(f"c{i}" for i in range(501)), "more than 500 columns"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_table(table_folder(tmp_path, name, content))


def test_a_folder_with_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no vlm_dataset\.csv"), staging_folder() as staging:
        open_source(tmp_path, staging)
    with pytest.raises(InputError, match="There is no file"), staging_folder() as staging:
        open_source(tmp_path / "gone", staging)
    with pytest.raises(InputError, match="nothing to import"):
        import_source(Source("x", None, None, None), "mine")


# --- the linter --------------------------------------------------------------------------------


def observation(number: int, path: Path, question: str = "Is the fish red?", **texts: str) -> Observation:
    return Observation(str(number), number, path, None, question, True, **texts)


@pytest.mark.parametrize(
    ("context", "how"),
    [
        ("The fish is red.", "uses every word of the question"),
        ("Nice day. A red fish swims by.", "uses every word of the question"),
        ("The correct answer is yes.", "states the answer"),
        ("No, it is another thing.", "states the answer"),
        ("People here like bright things.", ""),
        ("A fish may have any colour. Red paint is cheap.", ""),
        ("I know the answer and nobody else does.", ""),
    ],
)
def test_a_context_that_gives_the_answer_away_is_flagged(tmp_path: Path, context: str, how: str) -> None:
    found = find_leaks(Dataset("x", None, (observation(1, tmp_path / "a.png", contradictory=context),)))
    assert [(leak.which, leak.how) for leak in found] == ([("contradictory", how)] if how else [])


def test_the_built_in_dataset_gives_nothing_away() -> None:
    assert [leak for leak in find_leaks(load_dataset()) if leak.how == "states the answer"] == []


def test_near_duplicates_are_found_and_different_scenes_are_not(tmp_path: Path) -> None:
    scenes = [render_scene(draw_held_out_scene(Random(seed)), 192) for seed in range(30)]
    pictures = [*scenes, scenes[3].resize((150, 150)), ImageEnhance.Brightness(scenes[5]).enhance(1.03)]
    observations = []
    for number, picture in enumerate(pictures):
        path = tmp_path / f"{number}.jpg"
        picture.save(path, quality=85)
        observations.append(observation(number, path))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    observations += [observation(99, tmp_path / "0.jpg"), observation(100, tmp_path / "broken.png")]
    said: list[float] = []
    found = near_duplicates(Dataset("x", None, tuple(observations)), lambda _, fraction: said.append(fraction))
    assert {(pair.first, pair.second) for pair in found} == {("3", "30"), ("5", "31")}
    assert said == sorted(said) and len(said) > 2
    copy, brighter = sorted(found, key=lambda pair: pair.first)
    assert 0 <= copy.bits <= 4 and copy.levels < 1 and brighter.bits <= MOST_BITS


def test_many_of_the_same_picture_give_few_pairs_and_flat_ones_are_told_apart(tmp_path: Path) -> None:
    scene = render_scene(draw_held_out_scene(Random(1)), 96)
    greys = [Image.new("RGB", (64, 64), (level, level, level)) for level in (20, 120, 121, 220)]
    observations = []
    for number, picture in enumerate([*[scene] * 60, *greys]):
        path = tmp_path / f"{number}.png"
        picture.save(path)
        observations.append(observation(number, path))
    found = near_duplicates(Dataset("x", None, tuple(observations)))
    same = [pair for pair in found if int(pair.second) < 60]
    assert {(pair.first, pair.bits, pair.levels) for pair in same} == {("0", 0, 0.0)} and len(same) == 59
    assert {(pair.first, pair.second) for pair in found if int(pair.second) >= 60} == {("61", "62")}


def test_pictures_that_are_all_alike_are_named_with_their_nearest_only(tmp_path: Path) -> None:
    scene = render_scene(draw_held_out_scene(Random(1)), 96)
    observations = []
    for number in range(40):
        path = tmp_path / f"{number}.png"
        ImageEnhance.Contrast(scene).enhance(1 + number / 100).save(path)
        observations.append(observation(number, path))
    found = near_duplicates(Dataset("x", None, tuple(observations)))
    seconds = Counter(pair.second for pair in found)
    assert set(seconds) == {str(number) for number in range(1, 40)} and max(seconds.values()) <= 1 + MOST_PARTNERS


def test_the_command_names_leaks_pairs_and_slices(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = render_scene(draw_held_out_scene(Random(1)), 96)
    content = []
    for picture in (scene, scene.resize((60, 60))):
        file = io.BytesIO()
        picture.save(file, "PNG")
        content.append(file.getvalue())
    rows = [
        FolderRow("a.png", content[0], None, "Is the fish red?", True, contradictory="The answer is no."),
        FolderRow("b.png", content[1], None, "Is the boat blue?", False),
    ]
    write_isi_folder(rows, home / "datasets" / "mine")
    save_slice("boats", "mine", Slice(words="boat"))
    assert main(["datasets", "show", "mine", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(leak["observation"], leak["how"]) for leak in told["leaks"]] == [("a", "states the answer")]
    assert [(pair["first"], pair["second"]) for pair in told["near_duplicates"]] == [("a", "b")]
    assert told["slices"] == {"boats": "“boat”"}
    assert main(["datasets", "show", "mine"]) == 0
    out = capsys.readouterr().out
    assert "a: the contradictory context states the answer: The answer is no" in out
    assert "a and b: " in out and "slice boats: “boat”" in out
