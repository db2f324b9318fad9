"""Hostile pictures: each is opened right or refused with one sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError


def _bytes(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_plain_pictures_come_back_as_they_are(tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    path = tmp_path / "a.png"
    path.write_bytes(_bytes(picture))
    assert open_picture(path).tobytes() == picture.tobytes()


@pytest.mark.parametrize("mode", ["CMYK", "L", "P", "1", "LA", "RGBA"])
def test_every_mode_becomes_rgb(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert open_picture(_bytes(Image.new("RGB", (8, 8), "white").convert(mode), kind)).getpixel((4, 4)) >= (250,) * 3


def test_sixteen_bits_are_scaled_not_clipped():
    picture = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    assert open_picture(_bytes(picture)).getpixel((0, 0)) == (128, 128, 128)


def test_transparency_lies_over_white():
    assert open_picture(_bytes(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))).getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_is_applied_and_the_first_frame_is_taken():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_picture(_bytes(Image.new("RGB", (10, 20)), "JPEG", exif=exif.tobytes())).size == (20, 10)
    frames = [Image.new("RGB", (6, 6), c) for c in ("red", "blue")]
    animated = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(animated).getpixel((0, 0))[0] > 200


def _chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


@pytest.mark.parametrize(
    "exif",
    [
        b"II*\0\xff\xff",
        b"II*\0",
        b"",
        b"MM",
        b"nonsense",
        b"II*\0\x08\0\0\0\x05\0\x12\x01",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06",
        b"\xff" * 500,
    ],
)
def test_exif_that_cannot_be_read_counts_as_none(exif):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8))
    plain = _bytes(picture)
    end = plain.index(b"IEND") - 4
    for raw in (plain[:33] + _chunk(b"eXIf", exif) + plain[33:], plain[:end] + _chunk(b"eXIf", exif) + plain[end:]):
        assert open_picture(raw).tobytes() == picture.tobytes()
    assert open_picture(_bytes(picture, "JPEG", exif=b"Exif\0\0" + exif)).size == (30, 20)
    assert open_picture(_bytes(picture, "WEBP", exif=exif)).size == (30, 20)


def _bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "raw",
    [b"", b"just text", _bytes(Image.effect_noise((64, 64), 50))[:400], _bomb(), b"%!PS-Adobe-3.0 EPSF-3.0\n"],
    ids=["empty", "text", "truncated", "bomb", "postscript"],
)
def test_what_cannot_be_used_is_refused_in_one_sentence_with_its_name(raw):
    with pytest.raises(InputError, match=r"^bad\.png .*\.$"):
        open_picture(raw, "bad.png")
