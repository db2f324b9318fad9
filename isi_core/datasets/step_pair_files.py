"""Step pairs as JSON lines with their pictures: the record of WikiOrder, written and read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isi_core.datasets.isi_folder import require_empty
from isi_core.datasets.step_articles import MAX_JSON_BYTES, MAX_TEXT, file_inside, json_entries
from isi_core.datasets.step_pictures import open_image, png_bytes
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import KINDS, PairSplits, PictureSource, StepPair

TRAIN_FILE, VALIDATION_FILE, TEST_FILE = "train.jsonl", "validation.jsonl", "test.jsonl"
_FILES = (TRAIN_FILE, VALIDATION_FILE, TEST_FILE)


def write_pairs(splits: PairSplits, folder: Path, progress: Progress | None = None) -> int:
    """Write `train.jsonl`, `validation.jsonl`, `test.jsonl` and `images/` into a new or empty folder.

    Every picture is written once, under the digest of its pixels. A pair with a picture that cannot be opened is left
    out. The same pairs make the same bytes. Returns the number of pairs written.

    Raises
    ------
    InputError : the folder holds something already or cannot be written.
    """
    require_empty(folder)
    names: dict[PictureSource, str] = {}
    written = 0
    total = len(splits.train) + len(splits.validation) + len(splits.test)
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for file, pairs in zip(_FILES, (splits.train, splits.validation, splits.test), strict=True):
            with (folder / file).open("w", encoding="utf-8") as out:
                for pair in pairs:
                    if progress is not None and written % 50 == 0:
                        progress(f"Writing pair {written + 1:,} of {total:,}", written / max(1, total))
                    try:
                        images = (_stored(pair.images[0], folder, names), _stored(pair.images[1], folder, names))
                    except InputError:
                        continue
                    out.write(json.dumps(pair.record(images), ensure_ascii=False) + "\n")
                    written += 1
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}): choose another folder.") from None
    return written


def _stored(source: PictureSource, folder: Path, names: dict[PictureSource, str]) -> str:
    """The picture's name relative to the folder, written there when it is new."""
    if source not in names:
        data = png_bytes(open_image(source))
        name = f"images/{hashlib.sha256(data).hexdigest()[:20]}.png"
        (folder / name).write_bytes(data)
        names[source] = name
    return names[source]


def read_pairs(folder: Path, progress: Progress | None = None) -> PairSplits:
    """Pairs that `write_pairs` wrote, or records of the same form made by hand.

    A record that is damaged, whose pictures are missing or the same with the same headlines, is named and left out;
    pictures are opened when they are needed.

    Raises
    ------
    InputError : there is no such folder, a file cannot be read, or no record can be used.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}: check the path.")
    problems: list[str] = []
    parts: list[tuple[StepPair, ...]] = []
    for i, file in enumerate(_FILES):
        if progress is not None:
            progress(f"Reading {file}", i / len(_FILES))
        parts.append(_read_file(folder / file, folder, problems) if (folder / file).is_file() else ())
    if not any(parts):
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{folder.name} holds no pair that can be used{first}: see the format in the README.")
    return PairSplits(folder.name, parts[0], parts[1], parts[2], tuple(problems))


def _read_file(path: Path, folder: Path, problems: list[str]) -> tuple[StepPair, ...]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_JSON_BYTES // 10**6} MB: split it.")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise InputError(f"{path.name} cannot be read: it must be UTF-8 text.") from None
    pairs: list[StepPair] = []
    taken: set[int] = set()
    for number, entry in enumerate(json_entries(text), 1):
        try:
            pair = _pair(entry, folder)
            if pair.idx in taken:
                raise ValueError(f"its idx {pair.idx} is taken")
        except ValueError as error:
            problems.append(f"{path.name}, record {number}: {error}; it is left out.")
            continue
        taken.add(pair.idx)
        pairs.append(pair)
    return tuple(pairs)


def _pair(entry: object, folder: Path) -> StepPair:
    """The record as a pair; `ValueError` says what is wrong with it."""
    if not isinstance(entry, Mapping):
        raise ValueError("it is not a JSON object")
    idx, label, kind = entry.get("idx"), entry.get("label"), entry.get("kind", "")
    if not isinstance(idx, int) or isinstance(idx, bool) or idx < 0:
        raise ValueError("its idx is not a whole number from 0")
    if label not in (0, 1):
        raise ValueError("its label is neither 0 nor 1")
    headlines = _two_texts(entry, "headlines")
    names = _two_texts(entry, "images")
    paths: list[Path] = []
    for name in names:
        path = file_inside(folder, name)
        if path is None:
            raise ValueError(f"its picture {name[:80]} is missing")
        paths.append(path)
    if headlines[0] == headlines[1] and paths[0] == paths[1]:
        raise ValueError("its two steps are the same")
    title, category = entry.get("title"), entry.get("category")
    if not isinstance(title, str) or not isinstance(category, str) or not category.strip():
        raise ValueError("it has no title or no category")
    return StepPair(
        idx,
        title[:MAX_TEXT],
        headlines,
        (paths[0], paths[1]),
        int(label),
        category[:200],
        kind if kind in KINDS else "",
    )


def _two_texts(entry: Mapping[str, Any], name: str) -> tuple[str, str]:
    values = entry.get(name)
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 2:
        raise ValueError(f"it does not have two {name}")
    first, second = values
    if not (isinstance(first, str) and isinstance(second, str) and first.strip() and second.strip()):
        raise ValueError(f"one of its {name} is empty")
    return first[:MAX_TEXT], second[:MAX_TEXT]
