"""Draft: the input a person is putting together, as data; undo is a list of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from isi_core.domain.interventions import (
    ContextPreset,
    EditText,
    GaussianNoise,
    ImagePreset,
    Intervention,
    PictureIntervention,
    QuestionPreset,
    from_json,
    to_json,
)


@dataclass(frozen=True)
class Draft:
    """Which observation, and everything done to it.

    Attributes
    ----------
    observation : its id in the dataset; the id of an uploaded one for an upload.
    image, context, question : the preset, or the words typed instead of it.
    drawings : what was drawn on the picture, in order.
    noise : Gaussian noise over the whole picture, laid over the drawings; None for none.
    """

    observation: str
    image: ImagePreset = field(default_factory=lambda: ImagePreset("natural"))
    context: ContextPreset | EditText = field(default_factory=lambda: ContextPreset("none"))
    question: QuestionPreset | EditText = field(default_factory=lambda: QuestionPreset("original"))
    drawings: tuple[PictureIntervention, ...] = ()
    noise: GaussianNoise | None = None

    @property
    def interventions(self) -> tuple[Intervention, ...]:
        """Everything as the list that a trial is built from."""
        noise = () if self.noise is None or self.noise.sigma == 0 else (self.noise,)
        return (self.image, self.context, self.question, *self.drawings, *noise)

    @property
    def picture_changes(self) -> int:
        """How many changes lie on the picture."""
        return len(self.drawings) + (self.noise is not None and self.noise.sigma > 0)

    def with_interventions(self, changes: tuple[Intervention, ...]) -> Draft:
        """This observation with exactly these changes; what they do not name is the observation's own."""
        draft = Draft(self.observation)
        for change in changes:
            draft = draft._with(change)
        return draft

    def _with(self, change: Intervention) -> Draft:
        match change:
            case ImagePreset():
                return replace(self, image=change)
            case ContextPreset() | EditText(field="context"):
                return replace(self, context=change)
            case QuestionPreset() | EditText(field="question"):
                return replace(self, question=change)
            case GaussianNoise():
                return replace(self, noise=change)
            case EditText():
                return self
            case _:
                return replace(self, drawings=(*self.drawings, change))

    def to_json(self) -> dict[str, Any]:
        """The draft as plain JSON values."""
        return {"observation": self.observation, "interventions": [to_json(c) for c in self.interventions]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Draft:
        """The draft from `to_json`'s form."""
        return cls(str(data["observation"])).with_interventions(tuple(from_json(c) for c in data["interventions"]))


@dataclass(frozen=True)
class Timeline:
    """A draft with what was before it and what was undone: every step can be taken back."""

    now: Draft
    before: tuple[Draft, ...] = ()
    undone: tuple[Draft, ...] = ()

    def to(self, draft: Draft) -> Timeline:
        """One step on; the same draft is no step."""
        if draft == self.now:
            return self
        return Timeline(draft, (*self.before, self.now)[-200:])

    def undo(self) -> Timeline:
        """One step back, if there is one."""
        if not self.before:
            return self
        return Timeline(self.before[-1], self.before[:-1], (self.now, *self.undone))

    def redo(self) -> Timeline:
        """Take the last undo back, if there was one."""
        if not self.undone:
            return self
        return Timeline(self.undone[0], (*self.before, self.now), self.undone[1:])
