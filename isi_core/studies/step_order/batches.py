"""Pairs into batches: words to tokens, pictures to small integers, damaged pictures named, skipped and counted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from isi_core.datasets.step_pairs import open_image
from isi_core.domain.errors import InputError
from isi_core.domain.step_pairs import PictureSource, StepPair
from isi_core.models.encoders.protocol import PairEncoder
from isi_core.studies.step_order.results import Modality

CACHE_BYTES = 1_000_000_000


class Pictures:
    """Pictures as an encoder's processor sizes them, kept while there is room.

    Attributes
    ----------
    problems : one sentence for each picture that could not be opened.
    """

    def __init__(self, encoder: PairEncoder, room: int = CACHE_BYTES) -> None:
        self._encoder, self._room = encoder, room
        self._kept: dict[PictureSource, torch.Tensor | None] = {}
        self.problems: list[str] = []

    def pixels(self, source: PictureSource) -> torch.Tensor | None:
        """uint8 (3, height, width); None for one that cannot be used, whose problem is then noted once."""
        if source in self._kept:
            return self._kept[source]
        try:
            made = self._encoder.pixels([open_image(source)])[0]
        except InputError as error:
            self.problems.append(str(error))
            self._kept[source] = None
            return None
        if made.nbytes <= self._room:
            self._room -= made.nbytes
            self._kept[source] = made
        return made


class PairBatches(Dataset[int]):
    """The pairs of one split for one modality.

    Attributes
    ----------
    skipped : rows of pairs that were left out because of a picture.
    """

    def __init__(self, pairs: Sequence[StepPair], encoder: PairEncoder, modality: Modality, pictures: Pictures) -> None:
        self.pairs, self._encoder, self._modality, self._pictures = pairs, encoder, modality, pictures
        self.skipped: set[int] = set()

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, row: int) -> int:
        return row

    def collate(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """`ids` and `mask` (titles, then first and second headlines), `pixels` (first, then second pictures; absent
        where the modality has none), `labels` and `rows`; empty where no pair of them can be used."""
        good: list[int] = []
        firsts: list[torch.Tensor] = []
        seconds: list[torch.Tensor] = []
        for row in rows:
            if "v" in self._modality:
                first, second = (self._pictures.pixels(source) for source in self.pairs[row].images)
                if first is None or second is None:
                    self.skipped.add(row)
                    continue
                firsts.append(first)
                seconds.append(second)
            good.append(row)
        if not good:
            nothing = torch.zeros(0, dtype=torch.long)
            return {"labels": nothing, "rows": nothing}
        pairs = [self.pairs[row] for row in good]
        texts = [pair.title for pair in pairs]
        if "t" in self._modality:
            texts += [pair.headlines[0] for pair in pairs] + [pair.headlines[1] for pair in pairs]
        batch = {f"text_{name}": value for name, value in self._encoder.tokens(texts).items()}
        if firsts:
            batch["pixels"] = torch.stack(firsts + seconds)
        batch["labels"] = torch.tensor([pair.label for pair in pairs])
        batch["rows"] = torch.tensor(good)
        return batch

    def loader(self, batch: int, order: Sequence[int] | None = None) -> DataLoader[int]:
        """Batches in the order given, else as they are."""
        rows: Iterable[int] = range(len(self.pairs)) if order is None else order
        return DataLoader(self, batch_size=batch, sampler=list(rows), collate_fn=self.collate)


def split_batch(batch: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """(tokens, pixels) of a batch that `collate` made."""
    tokens = {name.removeprefix("text_"): value for name, value in batch.items() if name.startswith("text_")}
    return tokens, batch.get("pixels")
