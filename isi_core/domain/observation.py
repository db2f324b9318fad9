"""Observation: one row of a visual question answering (VQA) dataset; Dataset: its rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from isi_core.domain.errors import InputError


@dataclass(frozen=True)
class Observation:
    """One yes/no question about one picture, with the contexts that help and mislead.

    Attributes
    ----------
    id : the picture's file stem, or its whole name where a stem occurs twice, with `#row`
        behind it where the picture itself does.
    row : 1-based row number in the dataset.
    image : the natural picture.
    annotated : the same picture with helpful labels, or None where there is none.
    question : a yes/no question.
    truth : True for yes, False for no, None where it is not known (an upload).
    complementary : a context that nudges towards the truth; "" where there is none.
    contradictory : a context that nudges away from it; "" where there is none.
    description : what the picture shows, in words.
    family : the question's family (existence, colour, ...), "" where not known.
    """

    id: str
    row: int
    image: Path
    annotated: Path | None
    question: str
    truth: bool | None
    complementary: str = ""
    contradictory: str = ""
    description: str = ""
    family: str = ""

    @property
    def truth_word(self) -> str:
        """`yes`, `no` or `unknown`."""
        return "unknown" if self.truth is None else ("yes" if self.truth else "no")


@dataclass(frozen=True)
class Dataset:
    """A named list of observations and what was wrong with the ones left out.

    Attributes
    ----------
    name : the folder's name.
    folder : where it was read from; None for a dataset made in memory.
    observations : in file order.
    problems : one sentence for each thing that was skipped or disabled.
    """

    name: str
    folder: Path | None
    observations: tuple[Observation, ...]
    problems: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.observations)

    def find(self, key: str) -> Observation:
        """The observation with this 1-based row number, id, file name or file stem.

        Raises
        ------
        InputError : no observation fits, or a stem fits several.
        """
        key = key.strip()
        for observation in self.observations:
            if key in (observation.id, observation.image.name):
                return observation
        by_stem = [o for o in self.observations if o.image.stem == key]
        if len(by_stem) == 1:
            return by_stem[0]
        if by_stem:
            names = ", ".join(o.image.name for o in by_stem)
            raise InputError(f"{key!r} fits several pictures ({names}): give the whole file name.")
        if key.isdecimal() and len(key) < 10:
            for observation in self.observations:
                if observation.row == int(key):
                    return observation
        raise InputError(
            f"No observation {key[:100]!r} in {self.name}: "
            f"give a row number from 1 to {len(self)} or a picture's file name."
        )
