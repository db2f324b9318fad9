"""The occlusion check: what covering a part of the picture does to the likelihood of the answer already given.

Attention tells where a model looked, not what its answer hangs on (Jain and Wallace, "Attention is not explanation",
2019). Covering is an intervention: a part of the picture is painted over with the picture's mean colour (Zeiler and
Fergus, "Visualizing and understanding convolutional networks", 2014), the same answer is forced on the model, and its
log-likelihood compared with that under the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.progress import Progress
from isi_core.domain.trial import Trial
from isi_core.models.vlm.protocol import AnswerLikelihoods, VisionLanguageModel

Floats = NDArray[np.float64]

SIDES = (4, 6, 8)
"""Parts along each side of the picture that pages offer."""
_MOST = 16


@dataclass(frozen=True, eq=False)
class OcclusionCheck:
    """What the occlusion check of one answer found.

    Attributes
    ----------
    whole : (tokens,) log-likelihood of each answer token under the whole picture, in nats.
    covered : (side, side, tokens) the same with one part covered, the top left one first.
    """

    whole: Floats
    covered: Floats

    @property
    def side(self) -> int:
        """Parts along each side of the picture."""
        return int(self.covered.shape[0])

    def drops(self, tokens: Sequence[int] | None = None) -> Floats:
        """(side, side) by how many nats covering a part lowers the log-likelihood of these answer tokens.

        Negative where the answer became likelier. None takes all tokens, the end token included.
        """
        chosen = list(range(len(self.whole)) if tokens is None else tokens)
        drops: Floats = (self.whole[chosen] - self.covered[..., chosen]).sum(axis=-1)
        return drops


def occlude(
    trial: Trial, answer: Answer, vlm: VisionLanguageModel, side: int = 4, progress: Progress | None = None
) -> OcclusionCheck:
    """Cover each of `side` x `side` parts of the trial's picture in turn and rate its answer again.

    Raises
    ------
    InputError : there is no answer, or the picture cannot be cut into so many parts.
    ModelError : the model cannot rate an answer that it is given (an endpoint).
    """
    if not isinstance(vlm, AnswerLikelihoods):
        raise ModelError(
            f"{vlm.record.name} cannot rate a given answer: choose a model that runs here for the occlusion check."
        )
    if not answer.token_ids:
        raise InputError("There is no answer whose likelihood could be measured: ask first.")
    covered = [replace(trial, image=image) for image in covered_pictures(trial.image, side)]
    rated = np.array(vlm.likelihoods([trial, *covered], answer.token_ids, progress), dtype=np.float64)
    return OcclusionCheck(rated[0], rated[1:].reshape(side, side, -1))


def covered_pictures(image: Image.Image, side: int) -> list[Image.Image]:
    """The picture once for each of `side` x `side` parts, row by row, that part in the picture's mean colour.

    Raises
    ------
    InputError : the picture has fewer pixels than parts along a side, or `side` is not 2 to 16.
    """
    if not 2 <= side <= _MOST or min(image.size) < side:
        raise InputError(f"The picture cannot be cut into {side} by {side} parts: choose fewer.")
    pixels = np.asarray(image.convert("RGB"))
    colour = np.rint(pixels.mean(axis=(0, 1))).astype(np.uint8)
    rows, columns = _edges(image.height, side), _edges(image.width, side)
    pictures = []
    for i in range(side):
        for j in range(side):
            painted = pixels.copy()
            painted[rows[i] : rows[i + 1], columns[j] : columns[j + 1]] = colour
            pictures.append(Image.fromarray(painted))
    return pictures


def attention_on_parts(heat_map: Floats, side: int) -> Floats:
    """(side, side) the heat map's attention on the same parts; a cell that a border cuts is shared by area.

    The sum stays the same, for any grid of (rows, columns).
    """
    rows, columns = (_overlap(n, side) for n in np.shape(heat_map))
    parts: Floats = rows @ np.asarray(heat_map, dtype=np.float64) @ columns.T
    return parts


def rank_agreement(attention: Floats, drops: Floats) -> float | None:
    """Spearman's rank correlation of two maps over the same parts, in [-1, 1]; None where one of them is flat.

    No p-value: parts beside each other are not independent.

    Raises
    ------
    InputError : the maps are not of one shape.
    """
    from scipy.stats import spearmanr

    if np.shape(attention) != np.shape(drops):
        raise InputError("The two maps are cut into different parts: run the occlusion check again.")
    a, b = np.ravel(attention), np.ravel(drops)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(spearmanr(a, b).statistic)


def _edges(length: int, side: int) -> list[int]:
    return [round(length * i / side) for i in range(side + 1)]


def _overlap(cells: int, side: int) -> Floats:
    """(side, cells) the part of each cell that lies in each of `side` equal stretches."""
    begin, end = np.arange(cells) / cells, np.arange(1, cells + 1) / cells
    low, high = np.arange(side)[:, None] / side, np.arange(1, side + 1)[:, None] / side
    overlap: Floats = np.clip(np.minimum(end, high) - np.maximum(begin, low), 0, None) * cells
    return overlap
