"""The built-in world of illustrated how-to articles, with known truth about what decides the order of their steps."""

from isi_core.worlds.howtos.articles import CATEGORIES, Article, Step, StepScene, draw_article, draw_articles
from isi_core.worlds.howtos.drawing import DrawnStep, render_step
from isi_core.worlds.howtos.language import vocabulary

__all__ = [
    "CATEGORIES",
    "Article",
    "DrawnStep",
    "Step",
    "StepScene",
    "draw_article",
    "draw_articles",
    "render_step",
    "vocabulary",
]
