"""Scenes as pictures: natural, and annotated with boxes, labels and an arrow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from isi_core.worlds.scenes.backgrounds import background
from isi_core.worlds.scenes.graph import Scene, SceneObject
from isi_core.worlds.scenes.pictograms import sprite

_INK = (176, 0, 60)
_PLATE = (255, 255, 255)
_OVERSAMPLING = 2


def render_scene(scene: Scene, size: int = 512) -> Image.Image:
    """The scene as an RGB picture of `size` x `size` pixels, always the same for the same scene."""
    picture = background(scene.background, size).copy()
    for item in scene.objects:
        figure = sprite(item.kind, item.colour, round(item.extent * size))
        corner = (round(item.x * size - figure.width / 2), round(item.y * size - figure.height / 2))
        picture.paste(figure, corner, figure)
    return picture


def _label_box(
    item: SceneObject, width: float, height: float, side: int, taken: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float, float, float]:
    """A place for a label above the object, below it or inside its top, in the picture and off other labels."""
    left, top, right, bottom = (v * side for v in item.box)
    x = min(max((left + right - width) / 2, 2), side - width - 2)
    gap = 0.006 * side
    candidates = [top - height - gap, bottom + gap, top + gap, bottom - height - gap]
    boxes = [(x, min(max(y, 2), side - height - 2)) for y in candidates]

    def overlap(place: tuple[float, float]) -> float:
        px, py = place
        return sum(
            max(0.0, min(px + width, t[2]) - max(px, t[0])) * max(0.0, min(py + height, t[3]) - max(py, t[1]))
            for t in taken
        )

    px, py = min(boxes, key=overlap)
    return px, py, px + width, py + height


def render_annotated(
    scene: Scene, size: int = 512, highlight: Sequence[int] = (), arrow: tuple[int, int] | None = None
) -> Image.Image:
    """The natural picture with help drawn into it.

    Parameters
    ----------
    highlight : indexes of the objects that get a box and a label; all when empty.
    arrow : (from, to) indexes of two objects that an arrow connects.
    """
    side = size * _OVERSAMPLING
    layer = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(size=max(8, round(0.036 * side)))
    width = max(1, round(0.007 * side))
    chosen = [scene.objects[i] for i in (highlight or range(len(scene.objects)))]

    if arrow is not None:
        start, end = scene.objects[arrow[0]], scene.objects[arrow[1]]
        angle = math.atan2(end.y - start.y, end.x - start.x)
        reach = end.extent * 0.52
        tip = ((end.x - reach * math.cos(angle)) * side, (end.y - reach * math.sin(angle)) * side)
        tail_reach = start.extent * 0.52
        tail = ((start.x + tail_reach * math.cos(angle)) * side, (start.y + tail_reach * math.sin(angle)) * side)
        head = 0.035 * side
        neck = (tip[0] - head * math.cos(angle), tip[1] - head * math.sin(angle))
        draw.line([tail, neck], fill=_INK, width=width)
        wing = head * 0.55
        normal = (-math.sin(angle) * wing, math.cos(angle) * wing)
        draw.polygon(
            [tip, (neck[0] + normal[0], neck[1] + normal[1]), (neck[0] - normal[0], neck[1] - normal[1])], fill=_INK
        )
    for item in chosen:
        draw.rounded_rectangle([v * side for v in item.box], radius=0.012 * side, outline=_INK, width=width)
    taken: list[tuple[float, float, float, float]] = []
    for item in chosen:
        text = f"{item.colour} {item.kind}"
        left, top, right, bottom = font.getbbox(text)
        pad = 0.009 * side
        place = _label_box(item, right - left + 2 * pad, bottom - top + 2 * pad, side, taken)
        taken.append(place)
        draw.rounded_rectangle(place, radius=0.009 * side, fill=_PLATE, outline=_INK, width=max(1, width // 2))
        draw.text((place[0] + pad - left, place[1] + pad - top), text, font=font, fill=_INK)

    overlay = layer.resize((size, size), Image.Resampling.BOX)
    return Image.alpha_composite(render_scene(scene, size).convert("RGBA"), overlay).convert("RGB")
