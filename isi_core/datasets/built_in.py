"""Datasets by name: the built-in one, or any folder in the published format."""

from __future__ import annotations

from pathlib import Path

from isi_core.datasets.isi_folder import load_isi_folder
from isi_core.domain.observation import Dataset

BUILT_IN = "isi_scenes"
BUILT_IN_FOLDER = Path(__file__).parents[2] / "data" / BUILT_IN


def load_dataset(name_or_path: str | Path | None = None) -> Dataset:
    """The built-in dataset (None or its name), or the one in a folder.

    Raises
    ------
    InputError : there is no such folder, or it is not in the published format.
    """
    if name_or_path is None or str(name_or_path) == BUILT_IN:
        return load_isi_folder(BUILT_IN_FOLDER)
    return load_isi_folder(Path(name_or_path))
