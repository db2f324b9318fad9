"""Steps as pictures, drawn by Pillow at twice the size and reduced."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from PIL import Image, ImageDraw

from isi_core.worlds.howtos.articles import Step, StepScene
from isi_core.worlds.howtos.objects import DRAWINGS
from isi_core.worlds.howtos.pen import Pen
from isi_core.worlds.howtos.surroundings import draw_surroundings

_OVERSAMPLING = 2


def render_step(step: Step, side: int = 128) -> Image.Image:
    """The step's picture, RGB, `side` x `side` pixels; always the same for the same step."""
    return _render(step.scene, side)


def _render(scene: StepScene, side: int) -> Image.Image:
    canvas = Image.new("RGB", (side * _OVERSAMPLING, side * _OVERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    look, chance = Random(scene.article_seed), Random(scene.step_seed)
    draw_surroundings(Pen(draw, canvas.width), scene.category, look, chance)
    pen = Pen(
        draw,
        canvas.width,
        dx=chance.uniform(-0.035, 0.035),
        dy=chance.uniform(-0.02, 0.02),
        scale=look.uniform(0.86, 1.0),
    )
    DRAWINGS[scene.category](pen, scene.level, look, chance)
    light = chance.uniform(0.88, 1.06)
    picture = canvas.reduce(_OVERSAMPLING)
    return picture.point([min(255, round(v * light)) for v in range(256)] * 3)


@dataclass(frozen=True)
class DrawnStep:
    """A picture source (see `isi_core.domain.step_pairs.PictureSource`): draws its step when called."""

    step: Step
    side: int = 128

    def __call__(self) -> Image.Image:
        """The picture, RGB, `side` x `side` pixels."""
        return render_step(self.step, self.side)
