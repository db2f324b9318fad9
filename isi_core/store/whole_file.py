"""Files that are whole or not there: nobody reads half of one, whatever ends the writing."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from isi_core.domain.errors import InputError
from isi_core.store.database import explain_os_error


def write_whole(path: Path, content: bytes | str) -> None:
    """Put the content in the place of whatever is at `path`; text as UTF-8. Folders above it are made.

    Raises
    ------
    InputError : the disk is full or the folder cannot be written; what was there before is untouched.
    """
    data = content.encode("utf-8") if isinstance(content, str) else content
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(explain_os_error(error, path.parent)) from error
