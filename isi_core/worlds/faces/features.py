"""Eyes, nose, mouth and skin of a portrait, and what is painted on them."""

from __future__ import annotations

from random import Random

from isi_core.worlds.brush import Canvas, Colour, colour, darker, lighter, mix, rounded
from isi_core.worlds.faces.proportions import Proportions

_IRISES = {"": colour("#5a3b22"), "blue": colour("#3f86c9"), "green": colour("#4c9a58")}
_LIPSTICKS = {"red": colour("#c41f30"), "pink": colour("#ec6f9e"), "plum": colour("#7c2a5c")}
_SHADOWS = {"blue": colour("#4f8fd6"), "smoky": colour("#4b4650")}
_WHITE, _INK = (250, 248, 244), (46, 32, 34)


def draw_cheeks(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Blush in the middle of the cheeks, bronzer below the cheekbones."""
    for side in (-1, 1):
        if leaf == "blush":
            canvas.glow(p.x + side * 0.128, p.eyes + 0.103, 0.074, (236, 88, 108), ry=0.058, opacity=0.75)
        elif leaf == "bronzer":
            bronze = mix(darker(p.skin, 0.5), (150, 76, 20), 0.5)
            canvas.glow(p.x + side * 0.15, p.eyes + 0.13, 0.07, bronze, ry=0.075, opacity=0.95)


def draw_eyes(canvas: Canvas, p: Proportions, iris: str, eyelashes: str, eyeshadow: str) -> None:
    """Both eyes with lids, lashes and shadow."""
    for side in (-1, 1):
        x, y = p.x + side * p.gap, p.eyes
        lid = mix(p.skin, darker(p.skin, 0.3), 0.6)
        if eyeshadow:
            tone = _SHADOWS[eyeshadow]
            wing = [(x - side * 0.048, y), (x - side * 0.03, y - 0.038), (x + side * 0.02, y - 0.052)]
            wing += [(x + side * 0.068, y - 0.034), (x + side * 0.05, y + 0.004)]
            canvas.blob(wing, tone, 0.85)
        else:
            canvas.taper([(x - side * 0.04, y - 0.02), (x, y - 0.04), (x + side * 0.046, y - 0.02)], 0.007, lid)
        eye = [(x - 0.045, y + 0.003), (x - 0.022, y - 0.024), (x, y - 0.029), (x + 0.022, y - 0.024)]
        eye += [(x + 0.045, y + 0.003), (x + 0.022, y + 0.02), (x, y + 0.024), (x - 0.022, y + 0.02)]
        canvas.blob(eye, _WHITE)
        canvas.disc(x, y - 0.003, 0.0245, darker(_IRISES[iris], 0.25))
        canvas.disc(x, y - 0.003, 0.021, _IRISES[iris])
        canvas.disc(x, y - 0.003, 0.0095, (20, 16, 20))
        canvas.disc(x + 0.008, y - 0.012, 0.006, (255, 255, 255))
        canvas.taper(
            [(x - 0.048, y + 0.004), (x - 0.02, y - 0.025), (x + 0.02, y - 0.025), (x + 0.048, y + 0.004)], 0.01, _INK
        )
        if eyelashes == "long":
            for k in range(5):
                share = -0.7 + 0.35 * k
                foot = (x + 0.04 * share, y - 0.026 + 0.022 * share * share)
                canvas.stroke([foot, (foot[0] + 0.024 * share, foot[1] - 0.026)], 0.006, _INK, smooth=False)
                low = (x + 0.036 * share, y + 0.023 - 0.014 * share * share)
                canvas.stroke([low, (low[0] + 0.010 * share, low[1] + 0.013)], 0.004, _INK, smooth=False)
        elif eyelashes == "winged":
            wing = [(x + side * 0.02, y - 0.026), (x + side * 0.05, y - 0.006), (x + side * 0.1, y - 0.046)]
            canvas.shape(rounded([*wing, (x + side * 0.052, y + 0.014), (x + side * 0.03, y - 0.01)]), _INK)


def draw_eyebrows(canvas: Canvas, p: Proportions, leaf: str, hair: Colour) -> None:
    """Both eyebrows, in a darker tone of the hair."""
    tone = darker(hair, 0.3)
    width = {"bushy": 0.04, "thin": 0.007}.get(leaf, 0.021)
    for side in (-1, 1):
        x, y = p.x + side * p.gap, p.eyes - 0.073
        if leaf == "arched":
            line = [(x - side * 0.052, y + 0.014), (x + side * 0.012, y - 0.032), (x + side * 0.066, y + 0.016)]
        else:
            line = [(x - side * 0.055, y + 0.006), (x, y - 0.010), (x + side * 0.058, y + 0.008)]
        canvas.taper(line, width, tone)
        if leaf == "bushy":
            for k in range(6):
                foot = x + side * (-0.045 + 0.018 * k)
                canvas.stroke([(foot, y + 0.006), (foot + side * 0.012, y - 0.022)], 0.005, tone, smooth=False)


def draw_nose(canvas: Canvas, p: Proportions) -> None:
    """A shadow at its side and below it."""
    shade = darker(p.skin, 0.24)
    y = (p.eyes + p.mouth) / 2
    canvas.taper([(p.x + 0.014, p.eyes + 0.01), (p.x + 0.024, y - 0.015), (p.x + 0.036, y + 0.02)], 0.007, shade)
    canvas.taper([(p.x - 0.034, y + 0.022), (p.x, y + 0.034), (p.x + 0.036, y + 0.02)], 0.012, shade)
    canvas.glow(p.x - 0.006, y + 0.006, 0.02, lighter(p.skin, 0.6), opacity=0.5)


def draw_mouth(canvas: Canvas, p: Proportions, volume: str, expression: str, lipstick: str) -> None:
    """Lips, and teeth in a grin."""
    tone = _LIPSTICKS.get(lipstick) or mix(p.skin, (168, 62, 66), 0.48)
    up, down = {"full": (0.034, 0.044), "thin": (0.005, 0.007)}.get(volume, (0.015, 0.021))
    lift = {"smile": -0.04, "grin": -0.028, "frown": 0.04}.get(expression, -0.005)
    half = {"smile": 0.1, "grin": 0.102}.get(expression, 0.074)
    x, y = p.x, p.mouth - lift * 0.35
    left, right = (x - half, y + lift), (x + half, y + lift)
    if expression == "grin":
        gape = 0.026
        lower = [
            right,
            (x + half * 0.5, y + gape + down * 0.6),
            (x, y + gape + down),
            (x - half * 0.5, y + gape + down * 0.6),
        ]
        upper = [left, (x - half * 0.4, y - up * 0.7), (x, y - up * 0.4), (x + half * 0.4, y - up * 0.7)]
        canvas.blob([*upper, *lower], tone)
        teeth = [(x - half * 0.8, y + lift * 0.55), (x, y + 0.003), (x + half * 0.8, y + lift * 0.55)]
        teeth += [(x + half * 0.45, y + gape * 0.8), (x, y + gape), (x - half * 0.45, y + gape * 0.8)]
        canvas.blob(teeth, _WHITE)
        canvas.taper(
            [left, (x - half * 0.4, y + lift * 0.2), (x, y + 0.003), (x + half * 0.4, y + lift * 0.2), right],
            0.008,
            darker(tone, 0.45),
        )
        return
    canvas.blob(
        [left, (x - 0.03, y - up), (x, y - up * 0.6), (x + 0.03, y - up), right, (x, y + 0.006)], darker(tone, 0.12)
    )
    canvas.blob(
        [
            left,
            (x, y + 0.002),
            right,
            (x + half * 0.45, y + down * 0.85),
            (x, y + down),
            (x - half * 0.45, y + down * 0.85),
        ],
        tone,
    )
    canvas.taper(
        [left, (x - half * 0.45, y + lift * 0.25), (x, y + 0.002), (x + half * 0.45, y + lift * 0.25), right],
        0.008,
        darker(tone, 0.5),
    )
    if lipstick or volume == "full":
        canvas.glow(x, y + down * 0.55, 0.026, lighter(tone, 0.6), ry=max(0.006, down * 0.4), opacity=0.55)


def draw_wrinkles(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Lines of age on the forehead, beside the eyes or beside the mouth."""
    tone = darker(p.skin, 0.5)
    if leaf == "forehead":
        for k, y in enumerate((0.288, 0.318, 0.348)):
            half = 0.10 + 0.012 * k
            canvas.taper(
                [
                    (p.x - half, y + 0.006),
                    (p.x - half / 2, y - 0.004),
                    (p.x, y),
                    (p.x + half / 2, y - 0.004),
                    (p.x + half, y + 0.006),
                ],
                0.014,
                tone,
            )
    elif leaf == "crow's feet":
        for side in (-1, 1):
            x = p.x + side * (p.gap + 0.058)
            for slope in (-0.028, 0.0, 0.028):
                canvas.taper(
                    [
                        (x, p.eyes + slope * 0.4 + 0.004),
                        (x + side * 0.024, p.eyes + slope * 1.0),
                        (x + side * 0.05, p.eyes + slope * 1.7),
                    ],
                    0.013,
                    tone,
                )
    elif leaf == "laugh lines":
        for side in (-1, 1):
            x = p.x + side * 0.056
            canvas.taper(
                [
                    (x, p.mouth - 0.085),
                    (x + side * 0.042, p.mouth - 0.045),
                    (x + side * 0.058, p.mouth + 0.012),
                    (x + side * 0.05, p.mouth + 0.04),
                ],
                0.016,
                tone,
            )


def draw_marks(canvas: Canvas, p: Proportions, leaf: str) -> None:
    """Freckles, a mole or a scar."""
    if leaf == "freckles":
        rng = Random(p.strands + 1)
        tone = mix(darker(p.skin, 0.5), (140, 64, 24), 0.5)
        for side in (-1, 1):
            for _ in range(11):
                canvas.disc(
                    p.x + side * rng.uniform(0.035, 0.165),
                    p.eyes + rng.uniform(0.045, 0.115),
                    rng.uniform(0.007, 0.0105),
                    tone,
                )
        for _ in range(4):
            canvas.disc(p.x + rng.uniform(-0.025, 0.025), p.eyes + rng.uniform(0.03, 0.08), 0.009, tone)
    elif leaf == "mole":
        canvas.disc(p.x + 0.118, p.mouth - 0.035, 0.0175, (48, 26, 22))
        canvas.disc(p.x + 0.115, p.mouth - 0.038, 0.004, (110, 70, 58))
    elif leaf == "scar":
        tone = mix(p.skin, (170, 40, 48), 0.75)
        line = [(p.x - 0.165, p.eyes + 0.05), (p.x - 0.135, p.eyes + 0.095), (p.x - 0.115, p.eyes + 0.15)]
        canvas.taper(line, 0.02, tone)
        for x, y in ((p.x - 0.15, p.eyes + 0.072), (p.x - 0.135, p.eyes + 0.097), (p.x - 0.124, p.eyes + 0.123)):
            canvas.stroke([(x - 0.02, y + 0.008), (x + 0.02, y - 0.008)], 0.009, tone, smooth=False)
