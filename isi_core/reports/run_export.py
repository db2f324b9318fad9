"""A run as one folder in a zip file: everything to repeat it, tables for a spreadsheet, and back again.

isi_run/run.json       every evaluation, whole
isi_run/images/*.png   the pictures as the model saw them, named by the digest of their pixels
isi_run/results.csv    one row an evaluation
isi_run/samples.csv    one row a sampled answer
isi_run/report.pdf     the report, where one was made
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.reports.run_tables import results_csv, samples_csv
from isi_core.store.pictures import to_png
from isi_core.store.serialization import evaluation_from_json, evaluation_to_json

FOLDER = "isi_run"
FORMAT = 1
MAX_FILES = 5_000
MAX_JSON_BYTES = 500_000_000
MAX_PICTURE_BYTES = 60_000_000
MAX_EVALUATIONS = 5_000
MAX_PIXELS = 400_000_000

_PICTURE_NAME = re.compile(r"images/[0-9a-f]{8,64}\.png")
# Zip files hold times from 1980 on; one time for all makes the same run the same bytes.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def run_zip(
    evaluations: Sequence[Evaluation], labels: Sequence[str] | None = None, report: bytes | None = None
) -> bytes:
    """The run as a zip file; the same input gives the same bytes.

    Parameters
    ----------
    labels : a name for each evaluation; "" where none are given.
    report : the PDF of `build_report`, to lie beside the data.

    Raises
    ------
    InputError : there are no evaluations, or not as many labels as evaluations.
    """
    if not evaluations:
        raise InputError("There is nothing to export yet: press Ask first.")
    names = list(labels) if labels is not None else [""] * len(evaluations)
    if len(names) != len(evaluations):
        raise InputError(f"{len(evaluations)} evaluations need as many labels, not {len(names)}.")
    digests = [e.trial.image_digest for e in evaluations]
    paths = _picture_paths(digests)
    entries = [
        {"label": label, "image": paths[digest], "evaluation": evaluation_to_json(evaluation)}
        for evaluation, label, digest in zip(evaluations, names, digests, strict=True)
    ]
    run = {"format": FORMAT, "kind": "isi-studio-run", "evaluations": entries}
    files: dict[str, bytes] = {
        "run.json": json.dumps(run, indent=1).encode(),
        "results.csv": results_csv(evaluations, names),
        "samples.csv": samples_csv(evaluations, names),
    }
    for digest, evaluation in zip(digests, evaluations, strict=True):
        if paths[digest] not in files:
            files[paths[digest]] = to_png(evaluation.trial.image)
    if report is not None:
        files["report.pdf"] = report
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(f"{FOLDER}/{name}", _ZIP_TIME)
            info.external_attr = 0o644 << 16
            # Pictures are compressed already.
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return buffer.getvalue()


def _picture_paths(digests: Sequence[str]) -> dict[str, str]:
    """A file name for each digest: its first 8 characters, or more where two pictures share them."""
    distinct = sorted(set(digests))
    length = 8
    while len({d[:length] for d in distinct}) < len(distinct):
        length += 8
    return {digest: f"images/{digest[:length]}.png" for digest in distinct}


def read_run(source: bytes | Path) -> list[Evaluation]:
    """The evaluations of a run, from the zip file's bytes, its path, or the path of its unpacked folder.

    Nothing is unpacked to disk: `run.json` and the pictures it names are read, each up to a limit, and every picture
    must be the one whose digest was recorded.

    Raises
    ------
    InputError : it is no run, or a part of it is missing, damaged, changed, too large or outside of it.
    """
    if isinstance(source, Path) and source.is_dir():
        return _evaluations(_FolderFiles(source))
    try:
        opened: Any = io.BytesIO(source) if isinstance(source, bytes) else source
        with zipfile.ZipFile(opened) as archive:
            return _evaluations(_ZipFiles(archive))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError):
        raise InputError("This is not a run's zip file, or it is damaged: export the run again.") from None
    except OSError as error:
        raise InputError(f"The run cannot be read ({error.strerror or error}): check the file.") from None


class _ZipFiles:
    """The files of a zip archive that belong to its run, read within limits."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        entries = archive.infolist()
        if len(entries) > MAX_FILES:
            raise InputError(f"The zip file holds {len(entries):,} files, more than a run has: export the run again.")
        runs = []
        for entry in entries:
            path = PurePosixPath(entry.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in entry.filename:
                raise InputError("The zip file holds a path that climbs out of it: do not use it.")
            if path.name == "run.json" and len(path.parts) <= 2:
                runs.append(path)
        if len(runs) != 1:
            raise InputError("The zip file holds no run.json, or several: choose a file made by Download data.")
        self._archive, self._folder = archive, runs[0].parent

    def read(self, name: str, limit: int) -> bytes:
        """A file's content; at most `limit` bytes are ever unpacked."""
        try:
            entry = self._archive.getinfo(str(self._folder / name))
        except KeyError:
            raise InputError(f"The run lacks {name}: export it again.") from None
        if entry.flag_bits & 1:
            raise InputError("The zip file is encrypted: unpack it and zip it again without a password.")
        if entry.file_size > limit:
            raise _too_large(name, limit)
        try:
            with self._archive.open(entry) as file:
                content = file.read(limit + 1)
        except zlib.error:
            raise InputError(f"{name} in the zip file is damaged: export the run again.") from None
        if len(content) > limit:
            raise _too_large(name, limit)
        return content


class _FolderFiles:
    """The files of an unpacked run, which must not lead out of its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read(self, name: str, limit: int) -> bytes:
        """A file's content, at most `limit` bytes."""
        path = (self._folder / name).resolve()
        if not path.is_relative_to(self._folder):
            raise InputError(f"{name} leads out of the run's folder: do not use it.")
        if not path.is_file():
            raise InputError(f"The run lacks {name}: export it again.")
        if path.stat().st_size > limit:
            raise _too_large(name, limit)
        return path.read_bytes()


def _too_large(name: str, limit: int) -> InputError:
    return InputError(f"{name} is larger than {limit // 1_000_000} MB, which no run needs: export it again.")


def _evaluations(files: _ZipFiles | _FolderFiles) -> list[Evaluation]:
    try:
        run = json.loads(files.read("run.json", MAX_JSON_BYTES))
    except (ValueError, RecursionError):
        raise InputError("run.json is not valid JSON: export the run again.") from None
    if not isinstance(run, dict) or run.get("kind") != "isi-studio-run" or not isinstance(run.get("evaluations"), list):
        raise InputError("run.json is not a run of ISI Studio: choose a file made by Download data.")
    if run.get("format") != FORMAT:
        raise InputError("This run was made by a newer ISI Studio: update to read it.")
    if len(run["evaluations"]) > MAX_EVALUATIONS:
        raise InputError(f"The run holds more than {MAX_EVALUATIONS:,} evaluations: split it.")
    pictures: dict[str, Image.Image] = {}
    return [_evaluation(entry, files, pictures) for entry in run["evaluations"]]


def _evaluation(entry: Any, files: _ZipFiles | _FolderFiles, pictures: dict[str, Image.Image]) -> Evaluation:
    """One evaluation; a picture that several share is read once and kept in `pictures`."""
    name = entry.get("image") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not _PICTURE_NAME.fullmatch(name) or not isinstance(entry.get("evaluation"), dict):
        raise InputError("run.json names no picture or no evaluation where it should: export the run again.")
    if name not in pictures:
        pictures[name] = open_picture(files.read(name, MAX_PICTURE_BYTES), name)
        if sum(p.width * p.height for p in pictures.values()) > MAX_PIXELS:
            raise InputError(f"The run's pictures have more than {MAX_PIXELS // 1_000_000} megapixels: split the run.")
    return evaluation_from_json(entry["evaluation"], pictures[name])
