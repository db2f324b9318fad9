"""An evaluation as plain JSON values and back, whole; its picture travels beside it."""

from __future__ import annotations

from typing import Any

from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import Attribution
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import Uncertainty

FORMAT = 1


def evaluation_to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Everything in an evaluation but the pixels, which `trial.image_digest` names."""
    answer, uncertainty, attribution = evaluation.answer, evaluation.uncertainty, evaluation.attribution
    return {
        "format": FORMAT,
        "created": evaluation.created,
        "trial": evaluation.trial.to_json(),
        "model": evaluation.model.to_json(),
        "decoding": evaluation.decoding.to_json(),
        "prompt": evaluation.prompt,
        "answer": answer.to_json() if answer else None,
        "uncertainty": uncertainty.to_json() if uncertainty else None,
        "attribution": attribution.to_json() if attribution else None,
        "seconds": dict(evaluation.seconds),
        "versions": dict(evaluation.versions),
    }


def evaluation_from_json(data: dict[str, Any], image: Image.Image) -> Evaluation:
    """The evaluation from `evaluation_to_json`'s form and its picture.

    Raises
    ------
    InputError : something is missing or of the wrong kind, the form is a newer one's, or the
        picture is not the one that was shown.
    """
    try:
        if data["format"] != FORMAT:
            raise InputError(f"This run is of a newer form ({data['format']}): update ISI Studio to read it.")
        answer, uncertainty, attribution = data["answer"], data["uncertainty"], data["attribution"]
        return Evaluation(
            trial=Trial.from_json(data["trial"], image),
            model=ModelRecord.from_json(data["model"]),
            decoding=Decoding.from_json(data["decoding"]),
            prompt=data["prompt"],
            answer=Answer.from_json(answer) if answer else None,
            uncertainty=Uncertainty.from_json(uncertainty) if uncertainty else None,
            attribution=Attribution.from_json(attribution) if attribution else None,
            created=data["created"],
            seconds={name: float(value) for name, value in data["seconds"].items()},
            versions={name: str(value) for name, value in data["versions"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"This run cannot be read ({type(error).__name__}: {error}): export it again, or ask again."
        ) from None
