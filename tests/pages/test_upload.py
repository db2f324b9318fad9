"""VQA Interventions: pictures of the user's own, good and bad."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from isi_core.worlds.scenes.drawing import render_scene
from tests.evaluations import scene
from tests.pages import visitor


def _encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 60,000 x 60,000 pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10_000)))
        + chunk(b"IEND", b"")
    )


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _encoded(scene().crop((0, 0, 128, 96)), "JPEG", exif=exif, quality=95)


def _sixteen_bits() -> bytes:
    return _encoded(Image.fromarray((np.arange(64 * 48, dtype=np.uint16) * 21).reshape(48, 64)))


GOOD: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "plain.png": (lambda: _encoded(scene()), (128, 128)),
    "cmyk.jpg": (lambda: _encoded(scene().convert("CMYK"), "JPEG"), (128, 128)),
    "sixteen.png": (_sixteen_bits, (64, 48)),
    "turned.jpg": (_turned, (96, 128)),
    "clear.webp": (lambda: _encoded(scene().convert("RGBA"), "WEBP"), (128, 128)),
    "moving.webp": (
        lambda: _encoded(scene(1), "WEBP", save_all=True, append_images=[scene(2)], lossless=True),
        (128, 128),
    ),
    "<b>&amp; 🦜.png": (lambda: _encoded(scene()), (128, 128)),
}
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "short.png": (lambda: _encoded(scene())[:600], "damaged or cut short"),
    "text.png": (lambda: b"I am no picture, I am text.", "not a picture"),
    "nothing.png": (lambda: b"", "not a picture"),
    "bomb.png": (_bomb, "40 megapixels"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_picture_of_ones_own_is_shown_and_asked(name: str) -> None:
    make, size = GOOD[name]
    at = visitor.upload(visitor.visit(), name, make(), "Is there a red car?", "Cars are often red.")
    assert visitor.messages(at) == []
    trial = visitor.desk(at).trial()
    assert (trial.image_kind, trial.question) == ("uploaded", "Is there a red car?")
    assert trial.context == "Cars are often red."
    shown = visitor.current_picture(at)
    assert shown.size == trial.image.size == size and shown.tobytes() == trial.image.tobytes()
    made = visitor.measure(at)
    assert made.trial.truth is None and visitor.answer(at)
    visitor.draw(at, [visitor.rectangle(0.1, 0.1, 0.4, 0.4)])
    assert len(visitor.desk(at).draft.drawings) == 1 and visitor.answer(at) is None
    # A dataset's observation is one click away, and the picture is one undo away.
    visitor.press(at, "vqa_next")
    assert visitor.desk(at).upload is None and visitor.current_picture(at).size == (512, 512)
    visitor.press(at, "vqa_undo")
    assert visitor.desk(at).upload is not None and visitor.current_picture(at).size == size


@pytest.mark.parametrize("name", BAD)
def test_a_bad_picture_is_one_line_and_loses_nothing(name: str) -> None:
    at = visitor.visit()
    visitor.choose(at, "vqa_context_kind", "contradictory")
    before = visitor.desk(at).draft
    make, words = BAD[name]
    visitor.upload(at, name, make())
    (message,) = visitor.messages(at)
    assert name in message and words in message
    assert visitor.desk(at).draft == before and not visitor.desk(at).uploads
    # The next step works and takes the message away.
    visitor.upload(at, "good.png", _encoded(scene()))
    assert visitor.messages(at) == [] and visitor.desk(at).upload is not None


def test_an_upload_needs_a_picture_and_a_question() -> None:
    at = visitor.visit()
    visitor.press(at, "vqa_upload_use")
    assert visitor.messages(at) == ["There is no picture yet: drop one on the box above."]
    visitor.upload(at, "good.png", _encoded(scene()), question="  ")
    assert visitor.messages(at) == ["The question is empty: type one."]
    assert not visitor.desk(at).uploads


def test_the_truth_that_was_given_is_judged() -> None:
    from random import Random

    from isi_core.worlds.scenes.graph import draw_held_out_scene

    picture = render_scene(draw_held_out_scene(Random(5)), 100)
    at = visitor.visit()
    visitor.choose(at, "vqa_upload_truth", "yes")
    visitor.upload(at, "mine.png", _encoded(picture))
    made = visitor.measure(at)
    assert made.trial.truth is True and visitor.shows(at, "truth: yes")
