"""Where fine-tuned encoders are kept, and which there are: those of single trainings and those of studies."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.step_pairs import PairSplits
from isi_core.studies.step_order.results import ALL, MODALITIES, Modality
from isi_core.studies.step_order.settings import TrainingSettings
from isi_core.studies.step_order.study import studies_folder

BEST = "best"
ABOUT = "order.json"


def training_folder(
    encoder: str, modality: Modality, splits: PairSplits, category: str, settings: TrainingSettings
) -> Path:
    """The folder of a single training; the same choices have the same folder, so that it is resumed."""
    sizes = len(splits.train), len(splits.validation)
    choices = json.dumps([encoder, modality, splits.name, sizes, category, settings.to_json()])
    digest = hashlib.sha256(choices.encode()).hexdigest()[:8]
    return home_folder() / "step_order_trained" / f"{Path(encoder).name[:60]}-{modality}-{digest}"


def weights_folder(path: Path) -> Path:
    """The folder with the weights, of a training's folder or itself.

    Raises
    ------
    InputError : there are no fine-tuned weights.
    """
    for folder in (path, path / BEST):
        if (folder / ABOUT).is_file():
            return folder
    raise InputError(f"{path.name} holds no fine-tuned encoder: give a folder that `order train` wrote.")


def study_weights(study_id: str, encoder: str, category: str = ALL) -> dict[Modality, Path]:
    """The fine-tuned weights of a study's encoder by modality: those for all categories, else for this one."""
    found: dict[Modality, Path] = {}
    for modality in MODALITIES:
        for wanted in (ALL, category):
            for folder in sorted((studies_folder() / study_id).glob(f"runs/*{modality}_*/{BEST}")):
                try:
                    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
                    key = about["encoder"], about["modality"], about["category"]
                except (OSError, ValueError, KeyError, TypeError):
                    continue
                if key == (encoder, modality, wanted):
                    found.setdefault(modality, folder)
    return found


def trained_on(data: str) -> list[Path]:
    """The newest fine-tuned weights for all categories, of each encoder and modality that learned from these how-tos;
    by name and modality."""
    places = [*(home_folder() / "step_order_trained").glob(f"*/{BEST}"), *studies_folder().glob(f"*/runs/*/{BEST}")]
    found: dict[tuple[str, str], tuple[float, Path]] = {}
    for folder in places:
        # Only trainings that came to their end are asked.
        if not (folder.parent / "curve.json").is_file():
            continue
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            key = str(about["encoder"]), str(about["modality"])
            fits, made = (about["data"], about["category"]) == (data, ALL), (folder / ABOUT).stat().st_mtime
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if fits and made > found.get(key, (-1.0, folder))[0]:
            found[key] = made, folder
    return [folder for _, (_, folder) in sorted(found.items())]
