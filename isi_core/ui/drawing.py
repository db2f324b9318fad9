"""Drawings between the canvas and the picture: Fabric's objects into interventions and back.

Interventions hold fractions of the picture, the canvas holds its own pixels. What Fabric has
no field for (that a rectangle blurs or covers, and how strongly) is carried in a stroke colour
that no pen offers: it survives moving, scaling, undo and redo on the canvas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    Freehand,
    GaussianNoise,
    Occlusion,
    PictureIntervention,
    TextLabel,
)

Tool = Literal["Box", "Arrow", "Text", "Freehand", "Blur", "Cover"]
TOOLS: dict[Tool, str] = {
    "Box": "rect",
    "Arrow": "line",
    "Text": "text",
    "Freehand": "freedraw",
    "Blur": "rect",
    "Cover": "rect",
}
"""The canvas's drawing mode for each tool."""

_CLEAR = "rgba(0, 0, 0, 0)"
_NUMBERS = re.compile(r"[\d.]+")
_BLUR, _COVER = 2, 3
_ORIGIN = {"left": 0.0, "top": 0.0, "center": 0.5, "right": 1.0, "bottom": 1.0}

_DEFAULT_HEAD = 0.05

Point = tuple[float, float]


@dataclass(frozen=True)
class Pen:
    """How the next stroke looks; widths and sizes are fractions of the picture's shorter side."""

    tool: Tool = "Box"
    colour: str = "#d55e00"
    filled: bool = False
    opacity: float = 1.0
    width: float = 0.012
    head: float = 0.05
    size: float = 0.07
    radius: float = 0.03


@dataclass(frozen=True)
class CanvasSize:
    """The canvas in CSS pixels."""

    width: int
    height: int

    @classmethod
    def fitting(cls, picture: tuple[int, int], longest: int) -> CanvasSize:
        """The size at which a picture of (width, height) pixels fits into a square of side `longest`."""
        scale = longest / max(picture)
        return cls(max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale)))

    @property
    def shorter(self) -> int:
        """The shorter side."""
        return min(self.width, self.height)


def rgba(colour: str, opacity: float) -> str:
    """`#rrggbb` with an opacity, as CSS."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"


def _hidden(kind: int, strength: float) -> str:
    """A colour that says what an object is and how strongly: the canvas keeps colours, and nothing else of ours."""
    return f"rgba({kind}, {min(255, round(1000 * strength))}, 1, 0.6)"


def _with_head(colour: str, head: float) -> str:
    """A line's colour with the size of its head, for which Fabric has no field, in an opacity nobody sees."""
    return rgba(colour, 1 - head / 10)


def _revealed(css: Any, kind: int) -> float | None:
    """The strength in a colour of `_hidden`; None where it is none of this kind."""
    red, green, blue = (int(_parse_colour(css)[0][i : i + 2], 16) for i in (1, 3, 5))
    return green / 1000 if (red, blue) == (kind, 1) else None


def pen_style(pen: Pen, size: CanvasSize) -> dict[str, Any]:
    """Arguments of the canvas for a pen."""
    stroke = max(1, round(pen.width * size.shorter))
    if pen.tool == "Box" and pen.filled:
        return {"stroke_color": rgba(pen.colour, 0), "fill_color": rgba(pen.colour, pen.opacity), "stroke_width": 0}
    if pen.tool == "Box":
        return {"stroke_color": rgba(pen.colour, pen.opacity), "fill_color": _CLEAR, "stroke_width": stroke}
    if pen.tool == "Blur":
        return {
            "stroke_color": _hidden(_BLUR, pen.radius),
            "fill_color": "rgba(200, 200, 200, 0.45)",
            "stroke_width": 1,
        }
    if pen.tool == "Cover":
        return {"stroke_color": _hidden(_COVER, 0), "fill_color": rgba(pen.colour, 1), "stroke_width": 1}
    if pen.tool == "Text":
        return {
            "stroke_color": pen.colour,
            "fill_color": pen.colour,
            "stroke_width": 1,
            "font_size": max(6, round(pen.size * size.shorter)),
        }
    colour = _with_head(pen.colour, pen.head) if pen.tool == "Arrow" else pen.colour
    return {"stroke_color": colour, "fill_color": _CLEAR, "stroke_width": stroke}


def _parse_colour(css: Any) -> tuple[str, float]:
    """(`#rrggbb`, opacity) of a CSS colour as Fabric writes it."""
    if isinstance(css, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", css):
        return css.lower(), 1.0
    numbers = [float(n) for n in _NUMBERS.findall(css)] if isinstance(css, str) and css.startswith("rgb") else []
    if len(numbers) < 3:
        return "#000000", 1.0
    red, green, blue = (min(255, int(n)) for n in numbers[:3])
    return f"#{red:02x}{green:02x}{blue:02x}", min(1.0, numbers[3]) if len(numbers) > 3 else 1.0


def _scale(o: Mapping[str, Any]) -> tuple[float, float]:
    return float(o.get("scaleX", 1)), float(o.get("scaleY", 1))


def _centre(o: Mapping[str, Any]) -> Point:
    """The object's centre on the canvas, its rotation and stroke accounted for."""
    sx, sy = _scale(o)
    stroke = float(o.get("strokeWidth") or 0)
    uniform = bool(o.get("strokeUniform"))
    width = float(o.get("width", 0)) * sx + stroke * (1 if uniform else sx)
    height = float(o.get("height", 0)) * sy + stroke * (1 if uniform else sy)
    dx = (0.5 - _ORIGIN.get(o.get("originX", "left"), 0.0)) * width
    dy = (0.5 - _ORIGIN.get(o.get("originY", "top"), 0.0)) * height
    angle = math.radians(float(o.get("angle", 0)))
    return (
        float(o.get("left", 0)) + dx * math.cos(angle) - dy * math.sin(angle),
        float(o.get("top", 0)) + dx * math.sin(angle) + dy * math.cos(angle),
    )


def _place(o: Mapping[str, Any], points: Sequence[Point], centre: Point | None = None) -> list[Point]:
    """Points about the object's centre, scaled, turned and moved to where the object lies."""
    (sx, sy), (cx, cy) = _scale(o), centre or _centre(o)
    angle = math.radians(float(o.get("angle", 0)))
    if o.get("flipX"):
        sx = -sx
    if o.get("flipY"):
        sy = -sy
    cos, sin = math.cos(angle), math.sin(angle)
    return [(cx + x * sx * cos - y * sy * sin, cy + x * sx * sin + y * sy * cos) for x, y in points]


def _rectangle(o: Mapping[str, Any], size: CanvasSize) -> PictureIntervention | None:
    """A box, blur or cover; a turned one becomes the upright box around it, as the caption says."""
    (sx, sy), stroke = _scale(o), float(o.get("strokeWidth") or 0)
    half_width = (abs(float(o["width"]) * sx) + stroke) / 2
    half_height = (abs(float(o["height"]) * sy) + stroke) / 2
    if half_width < 1 or half_height < 1:
        return None
    corners = [(x, y) for x in (-half_width, half_width) for y in (-half_height, half_height)]
    placed = _place({**o, "scaleX": 1, "scaleY": 1}, corners, centre=_centre(o))
    xs, ys = [x for x, _ in placed], [y for _, y in placed]
    left, right = min(xs) / size.width, max(xs) / size.width
    top, bottom = min(ys) / size.height, max(ys) / size.height
    fill, fill_opacity = _parse_colour(o.get("fill"))
    line, line_opacity = _parse_colour(o.get("stroke"))
    radius = _revealed(o.get("stroke"), _BLUR)
    if radius is not None:
        return Blur(left, top, right, bottom, radius=radius)
    if _revealed(o.get("stroke"), _COVER) is not None:
        return Occlusion(left, top, right, bottom, colour=fill)
    if fill_opacity > 0:
        return Box(left, top, right, bottom, colour=fill, filled=True, opacity=fill_opacity)
    return Box(left, top, right, bottom, colour=line, opacity=line_opacity, width=stroke / size.shorter)


def _line(o: Mapping[str, Any], size: CanvasSize) -> PictureIntervention | None:
    ends = [(float(o[f"x{i}"]), float(o[f"y{i}"])) for i in (1, 2)]
    middle = ((ends[0][0] + ends[1][0]) / 2, (ends[0][1] + ends[1][1]) / 2)
    (x1, y1), (x2, y2) = _place(o, [(x - middle[0], y - middle[1]) for x, y in ends])
    if math.dist((x1, y1), (x2, y2)) < 2:
        return None
    width = float(o.get("strokeWidth") or 1)
    colour, opacity = _parse_colour(o.get("stroke"))
    return Arrow(
        x1 / size.width,
        y1 / size.height,
        x2 / size.width,
        y2 / size.height,
        colour=colour,
        width=width / size.shorter,
        head=_DEFAULT_HEAD if opacity == 1 else round(10 * (1 - opacity), 4),
    )


def _curve_points(commands: Sequence[Sequence[Any]]) -> list[Point]:
    """Points along an SVG path of M, L, Q and C commands."""
    points: list[Point] = []
    for command in commands:
        numbers = [float(n) for n in command[1:]]
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if command[0] == "Q" and len(pairs) == 2 and points:
            (x0, y0), (cx, cy), (x1, y1) = points[-1], *pairs
            points += [
                (
                    (1 - t) ** 2 * x0 + 2 * t * (1 - t) * cx + t * t * x1,
                    (1 - t) ** 2 * y0 + 2 * t * (1 - t) * cy + t * t * y1,
                )
                for t in (0.25, 0.5, 0.75, 1.0)
            ]
        elif pairs:
            points.append(pairs[-1])
    return points


def _path(o: Mapping[str, Any], size: CanvasSize) -> PictureIntervention | None:
    points = _curve_points(o["path"])
    if not points:
        return None
    xs, ys = [x for x, _ in points], [y for _, y in points]
    middle = ((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2)
    placed = _place(o, [(x - middle[0], y - middle[1]) for x, y in points])
    width = float(o.get("strokeWidth") or 1)
    return Freehand(
        tuple((x / size.width, y / size.height) for x, y in placed),
        colour=_parse_colour(o.get("stroke"))[0],
        width=width / size.shorter,
    )


def _text(o: Mapping[str, Any], size: CanvasSize) -> PictureIntervention | None:
    text = str(o.get("text", ""))
    if not text.strip():
        return None
    half = (float(o.get("width", 0)) / 2, float(o.get("height", 0)) / 2)
    [(x, y)] = _place({**o, "strokeWidth": 0}, [(-half[0], -half[1])])
    font = float(o.get("fontSize", 20)) * abs(_scale(o)[1])
    return TextLabel(
        x / size.width,
        y / size.height,
        text[:500],
        colour=_parse_colour(o.get("fill"))[0],
        size=max(0.005, font / size.shorter),
    )


def interventions_from_canvas(drawing: Mapping[str, Any] | None, size: CanvasSize) -> tuple[PictureIntervention, ...]:
    """What was drawn, in drawing order; objects too small to see or of an unknown kind are left out."""
    found: list[PictureIntervention] = []
    for o in (drawing or {}).get("objects", []):
        try:
            kind = str(o["type"])
            if kind in ("Rect", "LabeledRect"):
                made = _rectangle(o, size)
            elif kind == "Line":
                made = _line(o, size)
            elif kind == "Path":
                made = _path(o, size)
            elif kind in ("IText", "Text", "Textbox"):
                made = _text(o, size)
            else:
                made = None
        except (KeyError, TypeError, ValueError, InputError):
            made = None
        if made is not None:
            found.append(made)
    return tuple(found)


def _corner_object(
    change: Box | Blur | Occlusion, size: CanvasSize, stroke: str, fill: str, width: float
) -> dict[str, Any]:
    left, right = sorted((change.left * size.width, change.right * size.width))
    top, bottom = sorted((change.top * size.height, change.bottom * size.height))
    return {
        "type": "Rect",
        "originX": "left",
        "originY": "top",
        "left": left,
        "top": top,
        "width": max(1.0, right - left - width),
        "height": max(1.0, bottom - top - width),
        "stroke": stroke,
        "strokeWidth": width,
        "strokeUniform": True,
        "fill": fill,
    }


def _canvas_object(change: PictureIntervention, size: CanvasSize) -> dict[str, Any] | None:
    match change:
        case Box(filled=True):
            fill = rgba(change.colour, change.opacity)
            return _corner_object(change, size, rgba(change.colour, 0), fill, 0)
        case Box():
            width = max(1, round(change.width * size.shorter))
            return _corner_object(change, size, rgba(change.colour, change.opacity), _CLEAR, width)
        case Blur():
            stroke = _hidden(_BLUR, change.radius)
            return _corner_object(change, size, stroke, "rgba(200, 200, 200, 0.45)", 1)
        case Occlusion():
            return _corner_object(change, size, _hidden(_COVER, 0), rgba(change.colour, 1), 1)
        case Arrow():
            x1, y1 = change.x1 * size.width, change.y1 * size.height
            x2, y2 = change.x2 * size.width, change.y2 * size.height
            middle = ((x1 + x2) / 2, (y1 + y2) / 2)
            return {
                "type": "Line",
                "originX": "center",
                "originY": "center",
                "left": middle[0],
                "top": middle[1],
                "x1": x1 - middle[0],
                "y1": y1 - middle[1],
                "x2": x2 - middle[0],
                "y2": y2 - middle[1],
                "width": abs(x2 - x1),
                "height": abs(y2 - y1),
                "stroke": _with_head(change.colour, change.head),
                "strokeWidth": max(1, round(change.width * size.shorter)),
                "fill": change.colour,
            }
        case TextLabel():
            return {
                "type": "IText",
                "originX": "left",
                "originY": "top",
                "left": change.x * size.width,
                "top": change.y * size.height,
                "text": change.text,
                "fontSize": change.size * size.shorter,
                "fontFamily": "sans-serif",
                "fill": change.colour,
            }
        case Freehand():
            points = [(x * size.width, y * size.height) for x, y in change.points]
            xs, ys = [x for x, _ in points], [y for _, y in points]
            return {
                "type": "Path",
                "originX": "center",
                "originY": "center",
                "left": (min(xs) + max(xs)) / 2,
                "top": (min(ys) + max(ys)) / 2,
                "path": [["M", *points[0]], *(["L", *point] for point in points[1:])],
                "width": max(xs) - min(xs),
                "height": max(ys) - min(ys),
                "stroke": change.colour,
                "strokeWidth": max(1, round(change.width * size.shorter)),
                "strokeLineCap": "round",
                "strokeLineJoin": "round",
                "fill": None,
            }
        case GaussianNoise():
            return None


def canvas_from_interventions(changes: Sequence[PictureIntervention], size: CanvasSize) -> dict[str, Any]:
    """A drawing for the canvas to begin with; noise covers the whole picture and is no object."""
    objects = [_canvas_object(change, size) for change in changes]
    return {"version": "7.4.0", "objects": [o for o in objects if o is not None]}
