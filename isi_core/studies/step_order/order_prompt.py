"""A step pair as a trial of a vision-language model, and where its attention went: picture by picture, headline by
headline.

The title and the headlines are the trial's context, the question asks for the order. Models that take several pictures
get both; others one picture with the two side by side on a grey square: most vision towers crop or squeeze what is not
square, and a square is only scaled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.datasets.step_pictures import open_images
from isi_core.domain.trial import Trial
from isi_core.measures.attribution import column_shares

if TYPE_CHECKING:
    from isi_core.domain.attribution import AttentionRecord, Attribution
    from isi_core.domain.step_pairs import StepPair
    from isi_core.models.vlm.protocol import VisionLanguageModel
    from isi_core.studies.step_order.results import Modality

GREY = (127, 127, 127)
"""Of what lies around stitched pictures, and of pictures that are hidden."""
PARTS = ("first picture", "second picture", "title", "first headline", "second headline", "question", "rest")
"""What attention is shared out to. A model whose image tokens fill no grid has "pictures" in place of the first two."""


def takes_several(vlm: VisionLanguageModel) -> bool:
    """Whether the model takes two pictures in one prompt."""
    return vlm.capabilities.several_pictures


def hidden(picture: Image.Image) -> Image.Image:
    """A grey picture of the same size."""
    return Image.new("RGB", picture.size, GREY)


def stitched(first: Image.Image, second: Image.Image) -> Image.Image:
    """Both pictures side by side in the middle of a grey square, each scaled to its half's width."""
    side = max(*first.size, *second.size)
    canvas = Image.new("RGB", (2 * side, 2 * side), GREY)
    for place, picture in enumerate((first, second)):
        scale = side / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        shown = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
        canvas.paste(shown, (place * side + (side - size[0]) // 2, side - size[1] // 2))
    return canvas


def _fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture in the middle of a grey one of this size: two of a size have as many image tokens each."""
    if picture.size == size:
        return picture
    scale = min(size[0] / picture.width, size[1] / picture.height)
    small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    canvas = Image.new("RGB", size, GREY)
    canvas.paste(small, ((size[0] - small.width) // 2, (size[1] - small.height) // 2))
    return canvas


def context_of(pair: StepPair, modality: Modality, several: bool) -> str:
    """The title, and the headlines where the model may read them."""
    first, second = ("first", "second") if several else ("left", "right")
    told = f"The pictures show two steps of: {_sentence(pair.title)}"
    if "t" not in modality:
        return told
    headlines = [_sentence(headline) for headline in pair.headlines]
    return f"{told} Step in the {first} picture: {headlines[0]} Step in the {second} picture: {headlines[1]}"


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def question_of(several: bool) -> str:
    """Yes means in order."""
    first, second = ("first", "second") if several else ("left", "right")
    return f"Does the step in the {first} picture come before the step in the {second} picture? Answer yes or no."


def trial_of(pair: StepPair, modality: Modality, several: bool) -> Trial:
    """The pair as it is shown; its truth is yes where it is in order.

    Raises
    ------
    InputError : a picture cannot be opened.
    """
    pictures = open_images(pair)
    if "v" not in modality:
        pictures = (hidden(pictures[0]), hidden(pictures[1]))
    context, question = context_of(pair, modality, several), question_of(several)
    name, truth = f"{pair.category} {pair.idx}", bool(pair.label)
    if several:
        further = (_fitted(pictures[1], pictures[0].size),)
        return Trial(name, pictures[0], context, question, truth, further_images=further)
    return Trial(name, stitched(*pictures), context, question, truth)


def attention_parts(attribution: Attribution, pair: StepPair, several: bool) -> dict[str, float]:
    """Shares of the attention on each of `PARTS`, summing to one, as `measures.attribution` takes them.

    Where the image tokens fill no grid, both pictures are one part, "pictures"; what of the context is neither title
    nor headline counts as the rest.
    """
    record = attribution.record
    absolute = attribution.absolute
    found: dict[str, float] = {}
    halves = None if record is None else _halves(record, attribution.heat_map, several)
    if halves is None:
        found["pictures"] = absolute["image"]
    else:
        found["first picture"], found["second picture"] = halves
    texts = {"title": 0.0, "first headline": 0.0, "second headline": 0.0}
    if record is not None and record.context_tokens:
        shares = column_shares(record, np.asarray(record.context_columns, dtype=float)).mean(axis=(0, 1))
        texts = _texts(record.context_tokens, shares, pair)
    found |= texts
    found["question"] = absolute["question"]
    found["rest"] = max(0.0, 1.0 - sum(found.values()))
    return {name: float(share) for name, share in found.items()}


def _halves(record: AttentionRecord, heat_map: NDArray[np.float64], several: bool) -> tuple[float, float] | None:
    """Attention on the first and the second picture; None where the tokens cannot be told apart."""
    rows, columns = record.image_grid
    if several:
        # Both pictures have the same size and so as many tokens, one after the other.
        flat = heat_map.reshape(-1)
        return (
            (float(flat[: len(flat) // 2].sum()), float(flat[len(flat) // 2 :].sum())) if len(flat) % 2 == 0 else None
        )
    if rows < 2 or columns < 2:
        return None
    by_column = heat_map.sum(axis=0)
    left, middle = columns // 2, by_column[columns // 2] if columns % 2 else 0.0
    first = float(by_column[:left].sum() + middle / 2)
    return first, float(by_column.sum() - first)


def _texts(tokens: tuple[str, ...], shares: NDArray[np.float64], pair: StepPair) -> dict[str, float]:
    """The context tokens' shares on the title and each headline, found by their letters."""
    joined, begins = "", []
    for token in tokens:
        begins.append(len(joined))
        joined += token
    ends = [*begins[1:], len(joined)]
    found, place = {}, 0
    names = ("title", "first headline", "second headline")
    for name, wanted in zip(names, (pair.title, *pair.headlines), strict=True):
        text = " ".join(wanted.split())
        start = joined.find(text, place)
        if start < 0:
            found[name] = 0.0
            continue
        place = start + len(text)
        inside = [begin < place and end > start for begin, end in zip(begins, ends, strict=True)]
        found[name] = float(shares[inside].sum())
    return found
