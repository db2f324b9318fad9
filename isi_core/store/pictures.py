"""Pictures as PNG files, each once, named by the digest of its pixels."""

from __future__ import annotations

import io
import re
from pathlib import Path

from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.domain.trial import image_digest
from isi_core.store.database import explain_os_error
from isi_core.store.whole_file import write_whole

_DIGEST = re.compile(r"[0-9a-f]{64}")


class Pictures:
    """A folder of pictures by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where the picture of this digest is or would be."""
        if not _DIGEST.fullmatch(digest):
            raise InputError(f"{digest[:80]!r} is no picture's digest: store the run again.")
        return self.folder / digest[:2] / f"{digest}.png"

    def save(self, digest: str, png: bytes) -> None:
        """Write a picture, at once or not at all; one that is there already stays.

        Raises
        ------
        InputError : the disk is full or the folder cannot be written.
        """
        path = self.path(digest)
        if path.exists():
            return
        write_whole(path, png)

    def load(self, digest: str) -> Image.Image:
        """The picture of this digest.

        Raises
        ------
        InputError : it is gone or was changed.
        """
        path = self.path(digest)
        try:
            with Image.open(path, formats=("PNG",)) as file:
                file.load()
                image = file.copy()
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            raise InputError(f"The picture {path.name} is missing or damaged: restore it, or ask again.") from None
        if image_digest(image) != digest:
            raise InputError(f"The picture {path.name} was changed: restore it, or ask again.")
        return image

    def delete(self, digest: str) -> None:
        """Remove a picture; one that is not there is no error."""
        try:
            self.path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(explain_os_error(error, self.folder)) from error


def to_png(image: Image.Image) -> bytes:
    """A picture's pixels as PNG, without what else its file carried (EXIF, colour profiles, text)."""
    bare = image.copy()
    bare.info = {}
    buffer = io.BytesIO()
    bare.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
