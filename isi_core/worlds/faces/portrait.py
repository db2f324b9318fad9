"""A portrait from its data: the layers from the background to what is worn."""

from __future__ import annotations

import numpy as np
from PIL import Image

from isi_core.worlds.attributed import Subject
from isi_core.worlds.brush import Canvas, darker, lighter
from isi_core.worlds.faces import facial_hair, features, hair, wear
from isi_core.worlds.faces.proportions import Proportions, proportions


def paint(subject: Subject, side: int) -> Image.Image:
    """RGB, `side` x `side` pixels."""
    on = {(one, two): leaf for one, two, leaf in subject.leaves}

    def leaf(one: str, two: str) -> str:
        return on.get((one, two), "")

    p = proportions(subject.seed, leaf("face", "shape"))
    length, texture, style = leaf("hair", "length"), leaf("hair", "texture"), leaf("hair", "style")
    tone = hair.tone_of(p, leaf("hair", "colour"))
    canvas = Canvas(side, *p.background)
    canvas.disc(p.x, 0.47, 0.43, lighter(p.background[0], 0.35), opacity=0.55)

    hair.draw_behind(canvas, p, length, texture, tone)
    _draw_body(canvas, p)
    wear.draw_collar(canvas, p, leaf("clothing", "collar"))
    wear.draw_tie(canvas, p, leaf("clothing", "tie"))
    wear.draw_necklace(canvas, p, leaf("jewellery", "necklace"))
    hair.draw_beside(canvas, p, length, texture, style, tone)

    _draw_head(canvas, p)
    features.draw_cheeks(canvas, p, leaf("makeup", "cheeks"))
    features.draw_wrinkles(canvas, p, leaf("skin", "wrinkles"))
    features.draw_nose(canvas, p)
    facial_hair.draw_beard(canvas, p, leaf("facial hair", "beard"), tone)
    features.draw_marks(canvas, p, leaf("skin", "marks"))
    features.draw_mouth(canvas, p, leaf("mouth", "lip volume"), leaf("mouth", "expression"), leaf("makeup", "lipstick"))
    if leaf("facial hair", "mustache"):
        facial_hair.draw_mustache(canvas, p, leaf("facial hair", "mustache"), tone)
    features.draw_eyes(canvas, p, leaf("eyes", "iris"), leaf("eyes", "eyelashes"), leaf("makeup", "eyeshadow"))
    hair.draw_above(canvas, p, length, texture, style, tone)
    features.draw_eyebrows(canvas, p, leaf("eyes", "eyebrows"), tone)

    wear.draw_band(canvas, p, leaf("headwear", "band"))
    wear.draw_hat(canvas, p, leaf("headwear", "hat"))
    if leaf("eyewear", "eyeglasses"):
        wear.draw_eyeglasses(canvas, p, leaf("eyewear", "eyeglasses"))
    if leaf("eyewear", "sunglasses"):
        wear.draw_sunglasses(canvas, p, leaf("eyewear", "sunglasses"))
    wear.draw_earrings(canvas, p, leaf("jewellery", "earrings"))
    return canvas.picture()


def _draw_body(canvas: Canvas, p: Proportions) -> None:
    """Shoulders in a plain garment, and the neck."""
    x = p.x
    shoulders = [(x - 0.44, 1.05), (x - 0.40, 0.95), (x - 0.27, 0.88), (x - 0.12, 0.84)]
    shoulders += [(2 * x - px, py) for px, py in shoulders[::-1]]
    canvas.blob([*shoulders, (x, 1.1)], p.garment)
    for side in (-1, 1):
        canvas.taper(
            [(x + side * 0.27, 1.0), (x + side * 0.265, 0.965), (x + side * 0.24, 0.93)], 0.01, darker(p.garment, 0.25)
        )
    neck = [
        (x - 0.1, 0.66),
        (x + 0.1, 0.66),
        (x + 0.108, 0.83),
        (x + 0.12, 0.86),
        (x, 0.93),
        (x - 0.12, 0.86),
        (x - 0.108, 0.83),
    ]
    canvas.shape(neck, darker(p.skin, 0.1))


def _draw_head(canvas: Canvas, p: Proportions) -> None:
    """Its shadow on the neck, ears, and the face, softly shaded on its right."""
    x = p.x
    shadow = p.outline(0.94) + np.array([0.0, 0.032])
    inside = shadow[(np.abs(shadow[:, 0] - x) < 0.098) & (shadow[:, 1] > 0.7)]
    if len(inside) > 2:
        canvas.shape(np.vstack([inside, [(x - 0.098, 0.7), (x + 0.098, 0.7)]]), darker(p.skin, 0.24))
    for side in (-1, 1):
        ear = x + side * p.width * 1.03
        canvas.disc(ear, p.eyes + 0.05, 0.036, darker(p.skin, 0.06 if side < 0 else 0.14), ry=0.055)
        canvas.disc(ear, p.eyes + 0.05, 0.019, darker(p.skin, 0.2), ry=0.034)
    for share, scale, shift in ((0.13, 1.0, 0.0), (0.08, 0.985, -0.004), (0.035, 0.965, -0.009), (0.0, 0.94, -0.015)):
        canvas.shape(p.outline(scale) + np.array([shift, shift * 0.6]), darker(p.skin, share))
    canvas.glow(x - 0.09, 0.33, 0.13, lighter(p.skin, 0.4), ry=0.09, opacity=0.35)
