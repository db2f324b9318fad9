"""The desk: everything one session has on the page VQA Interventions, under one key.

Widgets forget their values when their page is left; the desk does not. Each run writes the
desk's words into the widgets, and each widget's callback writes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from isi_core.datasets.catalogue import BUILT_IN, dataset_names
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError, ModelError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.interventions import ContextPreset, EditText, ImagePreset
from isi_core.domain.observation import Dataset, Observation
from isi_core.domain.trial import Trial, image_digest
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.catalogue import DEFAULT_VLM, ROWS, find_vlm
from isi_core.reports.figures import thumbnail
from isi_core.studies.draft import Draft, Timeline
from isi_core.studies.several_models import from_catalogue
from isi_core.studies.trials import CONTEXT_KINDS, IMAGE_KINDS, build_trial
from isi_core.ui import resources

_KEY = "vqa_desk"

_LONGEST_IN_LINK = 300  # characters

Made = TypeVar("Made")


@dataclass(frozen=True)
class Upload:
    """A picture of the user's own, as an observation."""

    digest: str
    name: str
    picture: Any
    observation: Observation


@dataclass(frozen=True)
class Entry:
    """One trial of the session's history; `dataset` is the one that its observation is from."""

    label: str
    draft: Draft
    evaluation: Evaluation
    dataset: str = BUILT_IN

    @cached_property
    def card(self) -> bytes:
        """The trial's picture as a small PNG, drawn once."""
        return resources.png(thumbnail(self.evaluation.trial.image, 300))


@dataclass
class Desk:
    """What lies on the desk of one session.

    Attributes
    ----------
    version : counts changes of the drawing that did not come from the canvas, which is then mounted anew.
    entries : the trials that were asked, oldest first.
    job, arrived : the evaluation that is running, and what it has finished.
    compared : indexes of the entries that are held side by side, two at most.
    contenders : labels of the models that are asked together (`studies.several_models`).
    investigation : indexes of the entries of the last example investigation, for its PDF page.
    wanted_at_start : what to measure as soon as the page opens.
    shown_canvas : which canvas is mounted and what it began with.
    shown : what `once` keeps.
    """

    timeline: Timeline
    dataset_name: str = BUILT_IN
    version: int = 0
    model: str = DEFAULT_VLM
    four_bit: bool = False
    decoding: Decoding = field(default_factory=Decoding)
    settings: UncertaintySettings = field(default_factory=UncertaintySettings)
    entries: list[Entry] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    job: str | None = None
    arrived: list[Entry] = field(default_factory=list)
    error: str = ""
    compared: list[int] = field(default_factory=list)
    contenders: tuple[str, ...] = ()
    investigation: tuple[int, ...] = ()
    wanted_at_start: tuple[str, ...] = ()
    shown_canvas: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def hush(self) -> None:
        """Take back what was said about the action before."""
        self.error = ""

    @property
    def draft(self) -> Draft:
        """The input as it stands."""
        return self.timeline.now

    @property
    def quantization(self) -> str:
        """`4-bit` or `none`."""
        return "4-bit" if self.four_bit else "none"

    @property
    def dataset(self) -> Dataset:
        """The dataset that observations are picked from."""
        return resources.dataset(self.dataset_name)

    @property
    def upload(self) -> Upload | None:
        """The uploaded picture that is being looked at, if it is one."""
        return self.uploads.get(self.draft.observation)

    @property
    def own_picture(self) -> Any:
        """The uploaded picture itself, which stands in for the dataset's; None without one."""
        return self.upload.picture if self.upload else None

    @property
    def observation(self) -> Observation:
        """The observation being looked at."""
        return self.upload.observation if self.upload else self.dataset.find(self.draft.observation)

    def work_on(self, dataset: str, draft: Draft | None = None) -> None:
        """Take observations from another dataset of the catalogue, from its first one on or as the draft says.

        Raises
        ------
        InputError : there is none of this name, or it holds nothing.
        """
        found = resources.dataset(dataset)
        if not found.observations:
            raise InputError(f"{dataset} holds no observation yet: add one on the Dataset Browser.")
        if dataset != self.dataset_name:
            # Steps back would lead to observations that this dataset does not have.
            self.dataset_name, self.timeline = dataset, Timeline(draft or Draft(found.observations[0].id))
            self.version += 1
        elif draft is not None:
            self.change(draft)

    def change(self, draft: Draft, drawn: bool = False) -> None:
        """One step on; `drawn` when the canvas already shows it."""
        before = self.draft
        self.timeline = self.timeline.to(draft)
        if not drawn and (before.drawings != draft.drawings or before.observation != draft.observation):
            self.version += 1

    def step(self, back: bool) -> None:
        """Undo or redo."""
        before = self.draft
        self.timeline = self.timeline.undo() if back else self.timeline.redo()
        if before.drawings != self.draft.drawings or before.observation != self.draft.observation:
            self.version += 1

    def go_to(self, observation: str) -> None:
        """Look at another observation under the same presets, with a clean picture."""
        if observation == self.draft.observation:
            return
        kept = Draft(observation)
        target = self.uploads.get(observation)
        found = target.observation if target else self.dataset.find(observation)
        if self.draft.image.kind != "annotated" or found.annotated is not None:
            kept = replace(kept, image=self.draft.image)
        context = self.draft.context
        texts = {"complementary": found.complementary, "contradictory": found.contradictory}
        if isinstance(context, ContextPreset) and texts.get(context.kind, "some"):
            kept = replace(kept, context=context)
        self.change(kept)

    def once(self, name: str, key: Any, make: Callable[[], Made]) -> Made:
        """What `make` makes, kept until `key` changes: a click must not draw again what it did not change."""
        if name not in self.shown or self.shown[name][0] != key:
            self.shown[name] = (key, make())
        made: Made = self.shown[name][1]
        return made

    def trial(self) -> Trial:
        """What the model would be shown now.

        Raises
        ------
        InputError : the input cannot be asked as it is (an empty question, say).
        """

        def build() -> Trial:
            return build_trial(self.dataset, self.observation, self.draft.interventions, picture=self.own_picture)

        return self.once("trial", (self.dataset, self.draft), build)

    def entry_for(self, trial: Trial) -> Entry | None:
        """The newest entry made by exactly this input, model and decoding."""
        try:
            row = find_vlm(self.model)
        except ModelError:
            return None
        source = Path(row.source).resolve().name if isinstance(row.source, Path) else row.source
        for entry in reversed(self.entries):
            made = entry.evaluation
            if (made.trial.digest, made.model.name, made.model.quantization, made.decoding) == (
                trial.digest,
                row.name,
                self.quantization,
                self.decoding,
            ) and (row.endpoint is not None or made.model.source == str(source)):
                return entry
        return None

    def keep(self, entry: Entry) -> int:
        """Put an entry into the history, in the place of the one it adds measures to; its index."""

        def identity(made: Evaluation) -> tuple[Any, ...]:
            return made.trial.digest, made.model, made.decoding

        for index, known in enumerate(self.entries):
            if identity(known.evaluation) == identity(entry.evaluation):
                self.entries[index] = replace(entry, label=known.label if entry.label == "" else entry.label)
                return index
        self.entries.append(entry)
        return len(self.entries) - 1


def _seed(text: str | None) -> int:
    """A link's seed; 0 where it has none that could be one."""
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _from_link(dataset: Dataset, link: Mapping[str, str]) -> tuple[Draft, str]:
    """The draft that a deep link names, and a sentence about what of it could not be followed."""
    problems = []
    draft = Draft(dataset.observations[0].id)
    if link.get("obs"):
        try:
            draft = Draft(dataset.find(link["obs"]).id)
        except InputError as error:
            problems.append(str(error))
    image, context = link.get("image", "natural"), link.get("context", "none")
    if image in IMAGE_KINDS:
        draft = replace(draft, image=ImagePreset(image, _seed(link.get("image_seed"))))  # type: ignore[arg-type]
    else:
        problems.append(f"The link's picture {image[:50]!r} is unknown: choose one of {', '.join(IMAGE_KINDS)}.")
    if context in CONTEXT_KINDS:
        seed = _seed(link.get("context_seed"))
        draft = replace(draft, context=ContextPreset(context, seed))  # type: ignore[arg-type]
    else:
        draft = replace(draft, context=EditText("context", context[:20_000]))
    return draft, " ".join(problems)


def open_desk() -> Desk:
    """The session's desk; laid out as the deep link says when the session has none yet."""
    desk: Desk | None = st.session_state.get(_KEY)
    if desk is None:
        named = st.query_params.get("dataset", BUILT_IN)
        known = named in dataset_names() and resources.dataset(named).observations
        dataset = resources.dataset(named if known else BUILT_IN)
        draft, problem = _from_link(dataset, st.query_params.to_dict())
        if not known:
            problem = f"There is no dataset {named[:60]!r} here: this is {dataset.name}. {problem}".strip()
        desk = Desk(Timeline(draft), dataset_name=dataset.name, error=problem)
        model = st.query_params.get("model", desk.model)
        if any(row.name == model for row in ROWS if row.kind == "vlm"):
            desk.model = model
        else:
            # A link may have been written by anybody: it opens no folder and downloads nothing.
            desk.error = f"{desk.error} A link chooses models of the catalogue only, not {model[:50]!r}.".strip()
        desk.contenders = from_catalogue(st.query_params.get("models", ""))
        st.session_state[_KEY] = desk
    _mend(desk)
    return desk


def _mend(desk: Desk) -> None:
    """Go on with what is still there when the desk's dataset or observation was deleted or changed meanwhile."""
    lying = desk.draft.observation
    try:
        if lying in desk.uploads or any(o.id == lying for o in desk.dataset.observations):
            return
    except InputError:
        pass
    gone = f"{desk.dataset_name}: {lying}"
    desk.dataset_name, desk.timeline = BUILT_IN, Timeline(Draft(resources.dataset(BUILT_IN).observations[0].id))
    desk.version += 1
    desk.error = f"What lay on the desk ({gone[:120]}) is not there any more: choose another observation."


def session_entries() -> list[Entry]:
    """The trials that this session has asked, oldest first; none where the page was never opened."""
    desk: Desk | None = st.session_state.get(_KEY)
    return list(desk.entries) if desk is not None else []


def write_link(desk: Desk) -> None:
    """Let the address name what is on the desk, as far as an address can: no drawing, no question of one's own."""
    draft = desk.draft
    link: dict[str, str] = {"image": draft.image.kind}
    if any(row.name == desk.model for row in ROWS):
        link["model"] = desk.model
    if shared := ",".join(from_catalogue(",".join(desk.contenders))):
        link["models"] = shared
    if not desk.upload:
        link["obs"] = draft.observation
    if desk.dataset_name != BUILT_IN:
        link["dataset"] = desk.dataset_name
    if draft.image.seed:
        link["image_seed"] = str(draft.image.seed)
    if isinstance(draft.context, ContextPreset):
        link["context"] = draft.context.kind
        if draft.context.seed:
            link["context_seed"] = str(draft.context.seed)
    elif len(draft.context.text) <= _LONGEST_IN_LINK:
        link["context"] = draft.context.text
    if st.query_params.to_dict() != link:
        st.query_params.from_dict(link)


def begin(observation: str, draft: Draft | None, wanted: tuple[str, ...], dataset: str = BUILT_IN) -> None:
    """Lay an input on the session's desk and have it measured as soon as the page opens.

    Raises
    ------
    InputError : there is no such dataset.
    """
    desk = open_desk()
    desk.work_on(dataset, draft or Draft(observation))
    desk.wanted_at_start = wanted


def open_run(run_id: int, label: str) -> None:
    """Lay a stored run on the session's desk: its input, its settings and its results.

    Raises
    ------
    InputError : the store no longer has it.
    """
    made = resources.store().load(run_id)
    desk, trial = open_desk(), made.trial
    dataset = resources.store().brief(run_id).dataset
    if dataset in dataset_names() and resources.dataset(dataset).observations:
        desk.work_on(dataset)
    draft = Draft(trial.observation_id).with_interventions(trial.interventions)
    known = {o.id for o in desk.dataset.observations}
    if trial.observation_id not in known | set(desk.uploads):
        # The picture it was drawn on is gone with its session; the one that was asked is what the store has.
        digest = image_digest(trial.image)
        key = f"upload-{digest[:12]}"
        observation = Observation(
            id=key, row=0, image=Path("stored picture"), annotated=None, question=trial.question, truth=trial.truth
        )
        desk.uploads[key] = Upload(digest, "stored picture", trial.image, observation)
        context = EditText("context", trial.context) if trial.context else ContextPreset("none")
        draft = Draft(key, context=context)
    desk.change(draft)
    desk.model, desk.four_bit = made.model.name, made.model.quantization == "4-bit"
    desk.decoding = made.decoding
    if made.uncertainty is not None:
        desk.settings = made.uncertainty.settings
    desk.keep(Entry(label, draft, made, desk.dataset_name))
