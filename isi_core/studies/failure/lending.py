"""The model of a benchmark, borrowed for one batch at a time: others ask their questions in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.plan import FailurePlan

if TYPE_CHECKING:
    from isi_core.models.shelf import Shelf

Lender = Callable[[], AbstractContextManager[VisionLanguageModel]]
"""Lends the model until the `with` block ends; whoever waits for it comes next."""


def lender(plan: FailurePlan, shelf: Shelf, folder: Path, progress: Progress | None = None) -> Lender:
    """Lends the plan's model off the shelf, each time seen to be the one that answered the folder's cases.

    What is lent raises InputError where its weights are not those, ModelError where it cannot be loaded;
    `progress` is told of the waiting, with the fraction 0.
    """

    @contextmanager
    def lend() -> Iterator[VisionLanguageModel]:
        with shelf.vlm(plan.model, plan.quantization, progress) as vlm:
            same_model(folder, vlm.record.to_json())
            yield vlm

    return lend


def same_model(folder: Path, record: dict[str, Any]) -> None:
    """See that the cases were collected with these very weights: others would be read, and other answers meant.

    Raises
    ------
    InputError : they were not.
    """
    import json

    path = folder / "model.json"
    if not path.is_file():
        write_whole(path, json.dumps(record))
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        same = all(known[key] == record[key] for key in ("revision", "dtype", "quantization"))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is damaged: choose a new folder.") from None
    if not same:
        raise InputError(
            f"{record['name']} has other weights or another number format than when the cases in {folder} were "
            "collected: choose a new folder."
        )
