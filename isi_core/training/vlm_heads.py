"""What helps tiny-llava's training and is thrown away after it: supervision of what happens on the way.

A question about two objects takes three steps: find each object's place, compare the two, say
whether that is what was asked. From answers alone the model never found the first of them in our
time; told what to know where, it does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from isi_core.training.vlm_data import TurnEncoder
from isi_core.worlds.scenes.graph import COLOURS, COLUMNS, KINDS, ROWS, SIZES

_AFTER_LOOKING, _AFTER_COMPARING = 2, 3
"""Layers after which an object's place, and how two objects lie to each other, should be known."""


class AlignmentHead(nn.Module):
    """Scores each patch against the word embeddings of kinds, colours, sizes and places.

    A learned "nothing" stands beside the words of each, since most patches are no object's centre.
    Places count as nothing there too: attention that strays over empty patches must not mix theirs
    into the place of the object that was looked for. "middle" is both a column's word and a row's,
    so each of the two has a vector of its own here.
    """

    def __init__(self, encoder: TurnEncoder, hidden: int) -> None:
        super().__init__()
        groups = (KINDS, COLOURS, SIZES, COLUMNS, ROWS)
        self.words = [[encoder.encode(" " + w)[0] for w in group] for group in groups]
        self.nothing = nn.Parameter(torch.randn(len(groups), hidden) * 0.02)
        self.middle = nn.Parameter(torch.randn(2, hidden) * 0.02)
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, patches: torch.Tensor, embeddings: torch.Tensor) -> list[torch.Tensor]:
        """(n, patches, hidden) and (vocabulary, hidden) -> five (n, patches, classes + 1)."""
        unit = functional.normalize(patches, dim=-1)
        scores = []
        for k, words in enumerate(self.words):
            named = embeddings[words]
            if k >= 3:
                named = torch.stack([named[0], self.middle[k - 3], named[2]])
            targets = torch.cat([named, self.nothing[k : k + 1]])
            scores.append(self.scale * unit @ functional.normalize(targets, dim=-1).T)
        return scores

    def loss(self, scores: list[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        """Cross entropy summed over the five questions; empty patches count a tenth."""
        total = scores[0].new_zeros(())
        for k, score in enumerate(scores):
            weight = score.new_ones(score.shape[-1])
            weight[-1] = 0.1
            total = total + functional.cross_entropy(score.flatten(0, 1), targets[..., k].flatten(), weight)
        return total


class MentionHead(nn.Module):
    """Reads, at a question's words, what the language model should know there on its way to the answer.

    At the name of an object: its column and row. At the second of two names: whether the first
    object lies before, level with or behind it, in columns and in rows.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.place = nn.Linear(hidden, len(COLUMNS) + len(ROWS))
        self.relation = nn.Linear(hidden, 6)

    def loss(
        self, hidden: Sequence[torch.Tensor], mentions: torch.Tensor, relations: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropies of places and of relations.

        Parameters
        ----------
        hidden : (n, tokens, hidden) after each layer, the embeddings first.
        mentions, relations : (m, 4) as in `Batch`.
        """
        losses = []
        for layer, head, wanted in (
            (_AFTER_LOOKING, self.place, mentions),
            (_AFTER_COMPARING, self.relation, relations),
        ):
            if not len(wanted):
                losses.append(hidden[0].new_zeros(()))
                continue
            scores = head(hidden[layer][wanted[:, 0], wanted[:, 1]]).float()
            losses.append(
                functional.cross_entropy(scores[:, :3], wanted[:, 2])
                + functional.cross_entropy(scores[:, 3:], wanted[:, 3])
            )
        return losses[0], losses[1]
