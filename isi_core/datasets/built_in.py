"""Datasets by name: the built-in one, one of the user's own, or any folder in the published format."""

from __future__ import annotations

from pathlib import Path

from isi_core.datasets.catalogue import BUILT_IN, BUILT_IN_FOLDER, dataset_names, dataset_path
from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.domain.observation import Dataset

__all__ = ["BUILT_IN", "BUILT_IN_FOLDER", "load_dataset"]


def load_dataset(name_or_path: str | Path | None = None) -> Dataset:
    """The built-in dataset (None or its name), one of the user's own by its name, or the one in a folder.

    Raises
    ------
    InputError : there is no such folder, or it is not in the published format.
    """
    if name_or_path is None:
        return load_isi_folder(BUILT_IN_FOLDER)
    if isinstance(name_or_path, str) and name_or_path in dataset_names():
        return load_isi_folder(dataset_path(name_or_path))
    return load_isi_folder(Path(name_or_path))
