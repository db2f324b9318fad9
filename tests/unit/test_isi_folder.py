"""The published dataset format: read whole, written without loss, hostile folders survived."""

import os
from pathlib import Path

import pytest
from PIL import Image

from isi_core.datasets.isi_folder import FolderRow, folder_rows, load_isi_folder, write_isi_folder
from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import ContextPreset, ImagePreset
from isi_core.domain.observation import Dataset
from isi_core.studies.trials import build_trial

PUBLISHED = Path(__file__).parents[3] / "shared" / "isi_vqa"
HEADER = "image,question,contradictory,complementary,answer,img_text_description"


def _folder(
    where: Path, text: str | bytes, natural: str = "a.png b.png", annotated: str | None = "a.png b.png"
) -> Path:
    for kind, names in (("natural_images", natural), ("annotated_images", annotated)):
        if names is not None:
            (where / kind).mkdir(parents=True)
            for i, name in enumerate(names.split()):
                Image.new("RGB", (4, 4), (i, len(kind), 0)).save(where / kind / name, "PNG")
    (where / "vlm_dataset.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return where


def _content(dataset: Dataset) -> list[tuple[object, ...]]:
    return [
        (
            o.id,
            o.image.name,
            o.image.read_bytes(),
            o.annotated and (o.annotated.name, o.annotated.read_bytes()),
            o.question,
            o.truth,
            o.complementary,
            o.contradictory,
            o.description,
            o.family,
        )
        for o in dataset.observations
    ]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published dataset is not on this machine")
def test_the_published_dataset_loads_whole_and_survives_a_round_trip(tmp_path):
    dataset = load_isi_folder(PUBLISHED)
    assert dataset.problems == ()
    assert [o.row for o in dataset.observations] == list(range(1, 101))
    assert len({o.id for o in dataset.observations}) == 100
    assert dataset.find("new_york.png").image.suffix == ".png"
    with pytest.raises(InputError, match="several"):
        dataset.find("new_york")
    for o in dataset.observations:
        assert o.truth is not None and o.annotated is not None
        assert o.question and o.complementary and o.contradictory and o.description
        assert open_picture(o.image).mode == open_picture(o.annotated).mode == "RGB"
    write_isi_folder(folder_rows(dataset), tmp_path / "copy")
    assert _content(load_isi_folder(tmp_path / "copy")) == _content(dataset)


def test_any_text_survives_a_round_trip(tmp_path):
    nasty = [
        'a "quoted", text',
        "two\nlines\r\nand\rmore",
        " spaces ",
        "\u2028 \x0b \x85 \0",
        "=1+1;<b>&",
        "שלום 🐟",
        "",
    ]
    rows = [
        FolderRow(
            f"p {i}.png", b"natural", None if i == 2 else b"%d" % i, "Is it so?" + text, truth, text, text, text, f
        )
        for i, (text, truth, f) in enumerate(zip(nasty, [True, False, None] * 3, ["", "colour"] * 4, strict=False))
    ]
    write_isi_folder(iter(rows), tmp_path / "out")
    again = load_isi_folder(tmp_path / "out")
    assert list(folder_rows(again)) == [
        FolderRow(**{**vars(r), "annotated_name": r.image if r.annotated is not None else ""}) for r in rows
    ]
    assert all(("missing" in p) or ("truth is unknown" in p) for p in again.problems)


def test_the_annotated_picture_may_have_another_extension_but_not_another_rows_name(tmp_path):
    text = f"{HEADER}\na.jpg,Q?,c,h,1,d\nn.jpg,Q?,c,h,1,d\nn.png,Q?,c,h,1,d\n"
    dataset = load_isi_folder(_folder(tmp_path, text, "a.jpg n.jpg n.png", "a.PNG n.png"))
    assert [o.annotated and o.annotated.name for o in dataset.observations] == ["a.PNG", None, "n.png"]
    assert [o.id for o in dataset.observations] == ["a", "n.jpg", "n.png"]
    write_isi_folder(folder_rows(dataset), tmp_path / "copy")
    assert _content(load_isi_folder(tmp_path / "copy")) == _content(dataset)


def test_two_questions_about_one_picture_keep_ids_of_their_own(tmp_path):
    dataset = load_isi_folder(_folder(tmp_path, f"{HEADER}\na.png,Q?,c,h,1,d\na.png,R?,c,h,0,d\n"))
    assert [o.id for o in dataset.observations] == ["a.png#1", "a.png#2"]
    assert [dataset.find(o.id).question for o in dataset.observations] == ["Q?", "R?"]


BAD_ROWS = {
    "missing file": ("gone.png,Q?,c,h,1,d", "missing in natural_images"),
    "climbing": ("../../secret.png,Q?,c,h,1,d", "not a plain file name"),
    "climbing on Windows": ("..\\secret.png,Q?,c,h,1,d", "not a plain file name"),
    "absolute": ("/etc/passwd,Q?,c,h,1,d", "not a plain file name"),
    "the folder itself": (".,Q?,c,h,1,d", "not a plain file name"),
    "no name": (" ,Q?,c,h,1,d", "image column is empty"),
    "link out": ("out.png,Q?,c,h,1,d", "link out of the folder"),
    "loop": ("loop.png,Q?,c,h,1,d", "cannot be read"),
    "folder": ("folder.png,Q?,c,h,1,d", "not a file"),
    "pipe": ("pipe.png,Q?,c,h,1,d", "not a file"),
    "endless name": ("x" * 5000 + ".png,Q?,c,h,1,d", "cannot be read"),
    "empty question": ("b.png, ,c,h,1,d", "question of 'b.png' is empty"),
    "too few cells": ("b.png,Q?", "2 cells instead of 6"),
    "too many cells": ("b.png,Q?,c,h,1,d,e", "7 cells instead of 6"),
    "repeated": ("a.png,Q?,c,h,1,d", "repeats row 1"),
    "open quotation": ('b.png,"Q?,c,h,1,d', "check its quotation marks"),
    "endless cell": ("b.png,Q?,c,h,1," + "d" * 200_000, "cannot be read"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_left_out_with_one_sentence_and_the_others_stay(tmp_path, case):
    row, message = BAD_ROWS[case]
    (tmp_path / "secret.png").write_bytes(b"x")
    folder = _folder(tmp_path / "set", f"{HEADER}\na.png,Q?,c,h,1,d\n{row}\nb.png,R?,c,h,0,d\n")
    natural = folder / "natural_images"
    (natural / "out.png").symlink_to(tmp_path / "secret.png")
    (natural / "loop.png").symlink_to(natural / "loop.png")
    (natural / "folder.png").mkdir()
    os.mkfifo(natural / "pipe.png")
    dataset = load_isi_folder(folder)
    assert [o.question for o in dataset.observations] == ["Q?", "R?"]
    assert len(dataset.problems) == 1
    assert message in dataset.problems[0]
    assert dataset.problems[0].startswith("Row 2") and dataset.problems[0].endswith(".")
    assert "\n" not in dataset.problems[0] and len(dataset.problems[0]) < 200


@pytest.mark.parametrize("answer", ["yes", "2", "", "1.0", "true"])
def test_an_answer_that_is_not_0_or_1_leaves_the_truth_open(tmp_path, answer):
    dataset = load_isi_folder(_folder(tmp_path, f"{HEADER}\na.png,Q?,c,h,{answer},d\nb.png,Q?,c,h,0,d\n"))
    assert [o.truth for o in dataset.observations] == [None, False]
    assert len(dataset.problems) == 1 and "not 0 or 1" in dataset.problems[0]


@pytest.mark.parametrize("column", ["contradictory", "complementary", "answer", "img_text_description"])
def test_a_missing_column_disables_its_presets_and_is_named(tmp_path, column):
    columns = HEADER.split(",")
    cells = dict(zip(columns, ["a.png", "Q?", "harm", "help", "1", "d"], strict=True))
    kept = [c for c in columns if c != column]
    dataset = load_isi_folder(_folder(tmp_path, f"{','.join(kept)}\n{','.join(cells[c] for c in kept)}\n"))
    assert len(dataset) == 1
    assert len(dataset.problems) == 1 and column in dataset.problems[0]
    (observation,) = dataset.observations
    assert (observation.truth is None) is (column == "answer")
    for kind in ("contradictory", "complementary"):
        if kind == column:
            with pytest.raises(InputError, match=kind):
                build_trial(dataset, observation, [ContextPreset(kind)])
        else:
            assert build_trial(dataset, observation, [ContextPreset(kind)]).context in ("harm", "help")


@pytest.mark.parametrize("column", ["image", "question"])
def test_a_missing_column_that_nothing_works_without_leaves_an_empty_dataset(tmp_path, column):
    dataset = load_isi_folder(_folder(tmp_path, HEADER.replace(column, "other") + "\na.png,Q?,c,h,1,d\n"))
    assert len(dataset) == 0
    assert any(f"no column {column}" in p for p in dataset.problems)


def test_missing_folders_are_named_once(tmp_path):
    text = f"{HEADER}\na.png,Q?,c,h,1,d\nb.png,Q?,c,h,1,d\n"
    dataset = load_isi_folder(_folder(tmp_path / "one", text, annotated=None))
    assert len(dataset) == 2 and len(dataset.problems) == 1 and "annotated_images" in dataset.problems[0]
    with pytest.raises(InputError, match="no annotated"):
        build_trial(dataset, dataset.observations[0], [ImagePreset("annotated")])
    folder = _folder(tmp_path / "two", text)
    (folder / "natural_images").rename(tmp_path / "elsewhere")
    (folder / "natural_images").symlink_to(tmp_path / "elsewhere")
    dataset = load_isi_folder(folder)
    assert len(dataset) == 0 and len(dataset.problems) == 1 and "natural_images" in dataset.problems[0]


ROW = "a.png,Café 🐟?,c,h,1,d\n"


@pytest.mark.parametrize(
    ("raw", "question", "problems"),
    [
        (b"\xef\xbb\xbf" + f"{HEADER}\n{ROW}".encode(), "Café 🐟?", 0),
        (f"{HEADER}\r\n{ROW}".replace("\n", "\r\n").encode(), "Café 🐟?", 0),
        (f"{HEADER}\n{ROW}".replace(",", ";").encode(), "Café 🐟?", 0),
        (f" {HEADER.upper().replace(',', ' , ')}\n\n{ROW}".encode(), "Café 🐟?", 0),
        (f"{HEADER},,\n{ROW.strip()},,,,\n".encode(), "Café 🐟?", 0),
        (f"{HEADER}\n{ROW}".encode("utf-16"), "Café 🐟?", 1),
        (f"{HEADER}\n{ROW.replace('🐟', '€')}".encode("cp1252"), "Café €?", 1),
    ],
    ids=["BOM", "CRLF", "semicolons", "header", "empty columns", "UTF-16", "Windows-1252"],
)
def test_files_saved_by_other_programs_are_read(tmp_path, raw, question, problems):
    dataset = load_isi_folder(_folder(tmp_path, raw))
    assert [o.question for o in dataset.observations] == [question]
    assert len(dataset.problems) == problems


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0\0", bytes(range(256)) * 20, b'"' * 5000], ids=["empty", "nul", "bytes", "quotes"]
)
def test_a_file_that_is_no_table_is_an_empty_dataset_that_says_so(tmp_path, raw):
    dataset = load_isi_folder(_folder(tmp_path, raw))
    assert len(dataset) == 0 and dataset.problems


def test_what_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        load_isi_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no vlm_dataset\.csv"):
        load_isi_folder(tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "outside.csv").write_text(HEADER)
    (tmp_path / "set" / "vlm_dataset.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(InputError, match="link"):
        load_isi_folder(tmp_path / "set")


def test_writing_overwrites_nothing_and_stays_in_the_folder(tmp_path):
    row = FolderRow("a.png", b"a", None, "Q?", True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="nothing was overwritten"):
        write_isi_folder([row], tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="plain file name"):
        write_isi_folder([FolderRow("../a.png", b"a", None, "Q?", True)], tmp_path / "new")
    with pytest.raises(InputError, match="called 'a"):
        write_isi_folder([row, FolderRow("a.png", b"b", None, "Q?", True)], tmp_path / "other")
    assert not (tmp_path / "a.png").exists() and not (tmp_path / "other" / "vlm_dataset.csv").exists()
