"""Beak, crest, crown, face and eye of a bird."""

from __future__ import annotations

from isi_core.worlds.brush import Canvas, Colour, colour, darker, lighter

_BEAKS = {"": colour("#7b7672"), "yellow": colour("#eeb62b"), "red": colour("#d8412f"), "black": colour("#27252b")}
_CROWNS = {"black": colour("#25232a"), "red": colour("#c8262f"), "white": colour("#faf8f2")}
_RINGS = {"white": colour("#fffdf8"), "yellow": colour("#f5cc2a")}
_EYE = (0.645, 0.3)


def draw_beak(canvas: Canvas, shape: str, tone_name: str) -> None:
    """The beak; short and pointed by nature."""
    tone = _BEAKS[tone_name]
    if shape == "hooked":
        upper = [
            (0.715, 0.262),
            (0.79, 0.25),
            (0.86, 0.29),
            (0.872, 0.365),
            (0.845, 0.405),
            (0.84, 0.35),
            (0.8, 0.335),
            (0.725, 0.34),
        ]
        canvas.blob(upper, tone)
        canvas.shape([(0.728, 0.345), (0.82, 0.345), (0.79, 0.375), (0.735, 0.38)], darker(tone, 0.22))
    elif shape == "long":
        canvas.shape([(0.725, 0.275), (0.97, 0.33), (0.972, 0.342), (0.73, 0.33)], tone)
        canvas.shape([(0.73, 0.33), (0.972, 0.342), (0.735, 0.365)], darker(tone, 0.22))
    elif shape == "stout":
        canvas.blob([(0.69, 0.245), (0.775, 0.245), (0.835, 0.325), (0.81, 0.335), (0.7, 0.325)], tone)
        canvas.blob([(0.7, 0.325), (0.825, 0.328), (0.775, 0.395), (0.715, 0.4)], darker(tone, 0.22))
    else:
        canvas.shape([(0.72, 0.275), (0.842, 0.325), (0.73, 0.328)], tone)
        canvas.shape([(0.73, 0.328), (0.842, 0.325), (0.735, 0.366)], darker(tone, 0.22))


def draw_crest(canvas: Canvas, leaf: str, back: Colour) -> None:
    """Feathers that stand up from the head, drawn behind it."""
    tone = darker(back, 0.18)
    if leaf == "pointed":
        canvas.shape([(0.53, 0.25), (0.52, 0.06), (0.6, 0.15), (0.68, 0.2), (0.6, 0.26)], tone)
        canvas.taper([(0.535, 0.09), (0.57, 0.15), (0.6, 0.2)], 0.012, lighter(tone, 0.25))
    elif leaf == "fan":
        for k, (x, y) in enumerate(((0.49, 0.12), (0.54, 0.075), (0.6, 0.055), (0.66, 0.065), (0.71, 0.1))):
            foot = 0.575 + 0.022 * k
            canvas.stroke([(foot, 0.21), (x, y)], 0.02, tone, smooth=False)
            canvas.disc(x, y, 0.024, lighter(tone, 0.25) if k % 2 else tone)
    elif leaf == "swept":
        canvas.blob(
            [
                (0.66, 0.185),
                (0.58, 0.155),
                (0.48, 0.165),
                (0.385, 0.2),
                (0.47, 0.225),
                (0.42, 0.265),
                (0.5, 0.265),
                (0.52, 0.3),
                (0.6, 0.25),
            ],
            tone,
        )
        canvas.taper([(0.6, 0.185), (0.5, 0.195), (0.42, 0.205)], 0.01, lighter(tone, 0.25))


def draw_crown(canvas: Canvas, leaf: str) -> None:
    """A cap on the head."""
    if leaf:
        canvas.blob(
            [
                (0.503, 0.262),
                (0.575, 0.187),
                (0.665, 0.187),
                (0.73, 0.24),
                (0.735, 0.262),
                (0.64, 0.25),
                (0.56, 0.275),
                (0.505, 0.33),
            ],
            _CROWNS[leaf],
        )


def draw_face(canvas: Canvas, leaf: str) -> None:
    """A black mask through the eye, or a white eyebrow above it."""
    if leaf == "mask":
        canvas.blob(
            [
                (0.735, 0.285),
                (0.67, 0.262),
                (0.6, 0.27),
                (0.525, 0.315),
                (0.535, 0.345),
                (0.62, 0.345),
                (0.7, 0.345),
                (0.735, 0.335),
            ],
            colour("#232127"),
        )
    elif leaf == "eyebrow":
        canvas.taper([(0.74, 0.268), (0.665, 0.243), (0.585, 0.252), (0.515, 0.295)], 0.034, (254, 251, 244))


def draw_eye(canvas: Canvas, ring: str) -> None:
    """The eye, with a ring of colour."""
    x, y = _EYE
    if ring:
        canvas.disc(x, y, 0.046, darker(_RINGS[ring], 0.25))
        canvas.disc(x, y, 0.042, _RINGS[ring])
    canvas.disc(x, y, 0.028, (74, 52, 42))
    canvas.disc(x, y, 0.022, (22, 17, 20))
    canvas.disc(x + 0.008, y - 0.009, 0.0075, (255, 255, 255))
