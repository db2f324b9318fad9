"""Means that the published ISI tool displays for its three LLaVA families: quoted in footnotes, never on our axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedMeans:
    """One family's means as the ISI tool displays them.

    Attributes
    ----------
    names : what the names of its models start with, in the catalogue and on the hub.
    semantic_entropy, clusters : over its dataset.
    question, image, context : attention, summed over answer tokens with guessed spans.
    """

    family: str
    names: tuple[str, ...]
    semantic_entropy: float
    clusters: float
    question: float
    image: float
    context: float

    @property
    def words(self) -> str:
        """The means in words."""
        return (
            f"{self.family}: semantic entropy {self.semantic_entropy:.2f}, clusters {self.clusters:.2f}, attention to "
            f"question / image / context {self.question:.2f} / {self.image:.2f} / {self.context:.2f}"
        )


PUBLISHED = (
    PublishedMeans("LLaVA", ("llava-1.5", "llava-v1.5"), 1.21, 4.90, 0.15, 0.28, 0.09),
    PublishedMeans("LLaVA-Vicuna", ("llava-vicuna", "llava-v1.6-vicuna"), 1.25, 4.67, 0.08, 0.11, 0.19),
    PublishedMeans("LLaVA-NeXT", ("llava-next", "llava-v1.6-"), 1.21, 4.41, 0.35, 0.44, 0.26),
)


def published_means(model: str) -> PublishedMeans | None:
    """The published means of a model's family, by its catalogue name, hub id or folder; None where it has none."""
    name = model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    return next((means for means in PUBLISHED if name.startswith(means.names)), None)


def published_note(models: Iterable[str]) -> str:
    """The published means of the models' families as a footnote; "" where there are none."""
    wanted = {means.family for model in models if (means := published_means(model)) is not None}
    found = [means.words for means in PUBLISHED if means.family in wanted]
    if not found:
        return ""
    return (
        f"Published means (as the ISI tool displays them) · {'; '.join(found)}. Its attention is summed "
        "over answer tokens with guessed spans, so it is no share of ours and is not drawn on our axes."
    )
