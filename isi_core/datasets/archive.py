"""Zip files from anywhere: unpacked within limits and nowhere but into their folder; and datasets packed again."""

from __future__ import annotations

import errno
import io
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress

MAX_FILES = 100_000
MAX_FILE_BYTES = 500_000_000
MAX_TOTAL_BYTES = 20_000_000_000
MAX_RATIO = 200
"""Unpacked to packed bytes from which on a file is taken for a bomb; texts and pictures stay far below."""
SUFFIXES = {".csv", ".tsv", ".jsonl", ".parquet", ".arrow", ".json", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"}

_CHUNK = 1 << 20
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # one time for all makes the same files the same bytes


def unpack_zip(source: Path, folder: Path, progress: Progress | None = None) -> list[str]:
    """Unpack what a dataset can consist of; one sentence for each entry that was left out.

    Entries that climb out of the folder, links, encrypted and damaged ones, and those that swell beyond reason are
    left out; nothing is ever written outside of `folder` or over a file that is there.

    Raises
    ------
    InputError : it is no zip file, or holds more files or bytes than a dataset may.
    """
    problems: list[str] = []
    try:
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
            if len(entries) > MAX_FILES:
                raise InputError(f"The zip file holds more than {MAX_FILES:,} files: split the dataset.")
            if sum(entry.file_size for entry in entries) > MAX_TOTAL_BYTES:
                raise InputError(f"The zip file unpacks to more than {MAX_TOTAL_BYTES // 10**9} GB: split the dataset.")
            others, written = 0, 0
            for number, entry in enumerate(entries):
                if progress is not None and number % 50 == 0:
                    progress(f"Unpacking file {number + 1:,} of {len(entries):,}", number / len(entries))
                if entry.is_dir():
                    continue
                fault = _fault(entry)
                if not fault and PurePosixPath(entry.filename).suffix.lower() not in SUFFIXES:
                    others += 1
                    continue
                if not fault:
                    fault, size = _unpack(archive, entry, folder)
                    written += size
                    if written > MAX_TOTAL_BYTES:
                        raise InputError("The zip file unpacks to more than it says: do not use it.")
                if fault:
                    problems.append(f"{_shown(entry.filename)} in the zip file {fault}: it is left out.")
            if others:
                problems.append(f"{others:,} files of other kinds in the zip file are left out.")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, EOFError, NotImplementedError):
        raise InputError("This is not a zip file, or it is damaged: zip the dataset's folder again.") from None
    except OSError as error:
        raise InputError(f"The zip file cannot be unpacked ({error.strerror or error}): check it.") from None
    return problems


def _fault(entry: zipfile.ZipInfo) -> str:
    """What is wrong with an entry by its own words; "" if nothing."""
    name = entry.filename
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name or not path.parts:
        return "climbs out of its folder"
    if stat.S_ISLNK(entry.external_attr >> 16):
        return "is a link"
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode and not stat.S_ISREG(mode):
        return "is not a file"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.file_size > MAX_FILE_BYTES:
        return f"is larger than {MAX_FILE_BYTES // 1_000_000} MB"
    if entry.file_size > 1_000_000 and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
        return "swells beyond reason when unpacked (a zip bomb)"
    return ""


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path) -> tuple[str, int]:
    """Write one entry; what is wrong with it, and how many bytes it took."""
    target = folder / PurePosixPath(entry.filename)
    size = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("xb") as file:
            while chunk := packed.read(_CHUNK):
                size += len(chunk)
                if size > entry.file_size:
                    raise zlib.error
                file.write(chunk)
    except FileExistsError:
        return "is there twice", 0
    except (NotADirectoryError, IsADirectoryError):
        return "is both a file and a folder", 0
    except (zlib.error, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError):
        target.unlink(missing_ok=True)
        return "is damaged", 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return f"cannot be written ({error.strerror})", 0
    return "", size


def _shown(name: str) -> str:
    return repr(name if len(name) <= 80 else name[:79] + "…")


def zip_folder(folder: Path, files: Iterable[Path], inside: str) -> bytes:
    """Files of a folder as a zip whose entries lie below `inside`; the same files give the same bytes.

    Raises
    ------
    InputError : a file cannot be read.
    """
    buffer = io.BytesIO()
    try:
        with zipfile.ZipFile(buffer, "w") as archive:
            for path in files:
                info = zipfile.ZipInfo(f"{inside}/{path.relative_to(folder).as_posix()}", _ZIP_TIME)
                info.external_attr = 0o644 << 16
                packed = path.suffix.lower() in (".csv", ".json", ".bmp")
                info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
                archive.writestr(info, path.read_bytes())
    except OSError as error:
        raise InputError(f"The dataset cannot be read ({error.strerror}): check its files.") from None
    return buffer.getvalue()
