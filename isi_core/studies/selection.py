"""From choices in words (an address, a command line) to the trial they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    ContextPreset,
    EditText,
    ImagePreset,
    Intervention,
    from_json,
)
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.trial import Trial
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS, build_trial

MAX_INTERVENTIONS = 1_000


def read_interventions(data: Any) -> tuple[Intervention, ...]:
    """Interventions from a JSON list.

    Raises
    ------
    InputError : not a list of at most `MAX_INTERVENTIONS`, or one of them is wrong; it is named by its number.
    """
    if not isinstance(data, list) or len(data) > MAX_INTERVENTIONS:
        raise InputError(f"Interventions must be a JSON list of at most {MAX_INTERVENTIONS:,}, such as [].")
    made = []
    for number, item in enumerate(data, start=1):
        try:
            made.append(from_json(item))
        except InputError as error:
            raise InputError(f"Intervention {number}: {error}") from None
    return tuple(made)


def choose_trial(
    dataset: Dataset,
    observation: Observation,
    image: str | None = None,
    context: str | None = None,
    question: str | None = None,
    interventions: Sequence[Intervention] = (),
    seed: int = 0,
) -> Trial:
    """The trial of an observation with what was chosen; None leaves a choice to `interventions` or the default.

    Parameters
    ----------
    image : natural, annotated, random, or the path of a picture file.
    context : none, complementary, contradictory, random, or the context itself.
    question : the question itself.
    interventions : an explicit choice wins over a preset or text among them.
    seed : draws the random picture and context.

    Raises
    ------
    InputError : what `build_trial` and `open_picture` raise.
    """
    changes = list(interventions)
    picture = None
    if image in IMAGE_KINDS:
        changes.append(ImagePreset(image, seed))  # type: ignore[arg-type]
    elif image is not None:
        try:
            picture = open_picture(Path(image).expanduser(), Path(image).name or image)
        except (ValueError, RuntimeError):
            raise InputError(f"{image!r} is not a path: give {', '.join(IMAGE_KINDS)} or a picture file.") from None
        changes.append(ImagePreset("natural"))
    if context in CONTEXT_KINDS:
        changes.append(ContextPreset(context, seed))  # type: ignore[arg-type]
    elif context is not None:
        changes.append(EditText("context", context))
    if question is not None:
        changes.append(EditText("question", question))
    return build_trial(dataset, observation, changes, picture)
