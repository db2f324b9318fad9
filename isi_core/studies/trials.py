"""From an observation and a list of interventions to the trial that a model is shown."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import get_args

from PIL import Image

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Box,
    ContextPreset,
    EditText,
    GaussianNoise,
    ImagePreset,
    Intervention,
    PictureIntervention,
    QuestionPreset,
)
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.rendering import apply
from isi_core.domain.trial import Trial

IMAGE_KINDS = ("natural", "annotated", "random")
CONTEXT_KINDS = ("none", "complementary", "contradictory", "random")
MAX_TEXT = 100_000


def _another(dataset: Dataset, observation: Observation, seed: int, what: str) -> Observation:
    """Another observation by lot; the same one for the same observation, purpose and seed."""
    others = [o for o in dataset.observations if o.row != observation.row]
    if what == "image":
        others = [o for o in others if o.image != observation.image]
    if what == "context":
        others = [o for o in others if o.complementary]
    if not others:
        raise InputError(f"A random {what} needs a dataset with another observation: choose another preset.")
    return Random(f"{seed} {what} {observation.id}").choice(others)


def _preset_image(dataset: Dataset, observation: Observation, preset: ImagePreset) -> Image.Image:
    if preset.kind == "random":
        return open_picture(_another(dataset, observation, preset.seed, "image").image)
    if preset.kind == "annotated":
        if observation.annotated is None:
            raise InputError(f"{observation.id} has no annotated picture: choose the natural one.")
        return open_picture(observation.annotated)
    return open_picture(observation.image)


def _preset_context(dataset: Dataset, observation: Observation, preset: ContextPreset) -> str:
    if preset.kind == "none":
        return ""
    if preset.kind == "random":
        return _another(dataset, observation, preset.seed, "context").complementary
    text = observation.complementary if preset.kind == "complementary" else observation.contradictory
    if not text:
        raise InputError(f"{observation.id} has no {preset.kind} context: write one or choose another preset.")
    return text


def build_trial(
    dataset: Dataset,
    observation: Observation,
    interventions: Sequence[Intervention] = (),
    picture: Image.Image | None = None,
) -> Trial:
    """What the model is shown: presets choose the inputs, the rest changes them, in order.

    The last preset of a kind wins and stands before every drawing, wherever it occurs in the
    list, so that a drawing survives a change of picture. The truth stays the observation's own
    under any picture and context; it is unknown once the question is another one's or edited.

    Parameters
    ----------
    picture : an RGB picture that stands in for the observation's own, such as an uploaded one; the
        trial's image is then of the kind `uploaded`, unless a preset chooses annotated or random.

    Raises
    ------
    InputError : a preset that this observation or dataset does not have, an empty question, or
        a text that is too long.
    """
    image_preset = ImagePreset("natural")
    context, context_kind = "", "none"
    question, question_kind, truth = observation.question, "original", observation.truth
    drawings: list[PictureIntervention] = []
    for change in interventions:
        if isinstance(change, ImagePreset):
            image_preset = change
        elif isinstance(change, ContextPreset):
            context, context_kind = _preset_context(dataset, observation, change), change.kind
        elif isinstance(change, QuestionPreset):
            question, question_kind, truth = observation.question, "original", observation.truth
            if change.kind == "random":
                question = _another(dataset, observation, change.seed, "question").question
                question_kind, truth = "random", None
        elif isinstance(change, EditText):
            if len(change.text) > MAX_TEXT:
                raise InputError(f"The {change.field} is too long: at most {MAX_TEXT:,} characters fit.")
            if change.field == "context":
                context, context_kind = change.text, "edited"
            elif change.text.strip() == observation.question.strip():
                question, question_kind, truth = observation.question, "original", observation.truth
            else:
                question, question_kind, truth = change.text, "edited", None
        elif isinstance(change, get_args(PictureIntervention)):
            drawings.append(change)
    if not question.strip():
        raise InputError("The question is empty: type one, or reset it to the observation's own.")
    image_kind: str = image_preset.kind
    if picture is not None and image_kind == "natural":
        image, image_kind = picture, "uploaded"
    else:
        image = _preset_image(dataset, observation, image_preset)
    for drawing in drawings:
        image = apply(image, drawing)
    return Trial(
        observation_id=observation.id,
        image=image,
        context=context,
        question=question,
        truth=truth,
        interventions=tuple(interventions),
        image_kind=image_kind,
        context_kind=context_kind,
        question_kind=question_kind,
    )


def preset_grid() -> list[tuple[str, str, tuple[Intervention, ...]]]:
    """(image kind, context kind, interventions) of the twelve preset conditions."""
    return [
        (image, context, (ImagePreset(image), ContextPreset(context)))  # type: ignore[arg-type]
        for image in IMAGE_KINDS
        for context in CONTEXT_KINDS
    ]


def example_investigation() -> list[tuple[str, tuple[Intervention, ...]]]:
    """The six trials of the ISI paper's Figure 6, each with its name."""
    box = Box(0.3, 0.3, 0.7, 0.7, filled=True)
    return [
        ("no context", (ContextPreset("none"),)),
        ("complementary", (ContextPreset("complementary"),)),
        ("contradictory", (ContextPreset("contradictory"),)),
        ("box", (ContextPreset("none"), box)),
        ("noise", (ContextPreset("none"), GaussianNoise(50.0))),
        ("annotated", (ImagePreset("annotated"), ContextPreset("none"))),
    ]
