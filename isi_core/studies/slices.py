"""Slices: a named filter over a dataset's observations, kept in the home folder, usable wherever a dataset is."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from uuid import uuid4

from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.domain.observation import Dataset, Observation
from isi_core.store.run_search import models_of
from isi_core.store.runs import Store, StoredRun
from isi_core.studies.observed import Observed, disagreeing, judged, observe

MEASURES = ("semantic_entropy", "n_clusters", "attention_image", "attention_context", "attention_question")
FLIPS = ("any", "flips", "does not flip")
AGREEMENTS = ("any", "models disagree")
MAX_SLICES = 500
MAX_FILE_BYTES = 5_000_000


@dataclass(frozen=True)
class Slice:
    """Which observations; an empty part lets everything through, the parts that are not empty must all hold.

    Attributes
    ----------
    words : each must occur in the id, question, contexts, description or family.
    families, truths : any of these; a truth is yes, no or unknown.
    model : whose stored runs the parts below look at; "" where none does.
    image, context : the condition of these runs.
    outcomes : any of right, wrong, unclear, not judged, not asked.
    verdicts : any of yes, no, unclear.
    ranges : by a name of `MEASURES`, both ends included; an observation without the measure is left out.
    flips : whether the contradictory context turns the answer: any, flips, does not flip.
    agreement : any, or `models disagree` (some say yes, some no, under the same condition).
    """

    words: str = ""
    families: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    model: str = ""
    image: str = "natural"
    context: str = "none"
    outcomes: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    ranges: tuple[tuple[str, float, float], ...] = ()
    flips: str = "any"
    agreement: str = "any"

    @property
    def needs_runs(self) -> bool:
        """Whether it asks what stored runs say."""
        return bool(self.outcomes or self.verdicts or self.ranges or (self.flips, self.agreement) != ("any", "any"))

    def holds(self, o: Observation, observed: Observed | None, disputed: Collection[str] = ()) -> bool:
        """Whether an observation is in the slice.

        `observed` is what the model's runs say of it, `disputed` has the ids on which models disagree.
        """
        if not self._holds_of_words(o) or (self.agreement != "any" and o.id not in disputed):
            return False
        return not self.needs_runs or self._holds_of_runs(observed)

    def _holds_of_words(self, o: Observation) -> bool:
        if self.words:
            texts = (o.id, o.image.name, o.question, o.complementary, o.contradictory, o.description, o.family)
            text = " ".join(texts).lower()
            if not all(word in text for word in self.words.lower().split()):
                return False
        return (not self.families or o.family in self.families) and (not self.truths or o.truth_word in self.truths)

    def _holds_of_runs(self, observed: Observed | None) -> bool:
        run = observed.run(self.image, self.context) if observed is not None else None
        if self.outcomes and (judged(run) if run is not None else "not asked") not in self.outcomes:
            return False
        if self.verdicts and (run is None or run.verdict not in self.verdicts):
            return False
        for name, low, high in self.ranges:
            value = measure_of(run, name)
            if value is None or not low <= value <= high:
                return False
        if self.flips == "any":
            return True
        flipped = observed.flipped if observed is not None else None
        return flipped is (self.flips == "flips")

    def to_json(self) -> dict[str, Any]:
        """The slice as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Slice:
        """The slice from `to_json`'s form.

        Raises
        ------
        InputError : anything in it is not as `to_json` writes it.
        """
        try:
            if set(data) - {f.name for f in fields(cls)}:
                raise ValueError
            texts = {name: data.get(name, getattr(cls, name)) for name in ("words", "model", "image", "context")}
            texts |= {name: data.get(name, "any") for name in ("flips", "agreement")}
            lists = {n: tuple(data.get(n, ())) for n in ("families", "truths", "outcomes", "verdicts")}
            ranges = tuple((str(n), float(low), float(high)) for n, low, high in data.get("ranges", ()))
            strings = [*texts.values(), *(word for words in lists.values() for word in words)]
            if not all(isinstance(s, str) for s in strings) or texts["flips"] not in FLIPS:
                raise ValueError
            if texts["agreement"] not in AGREEMENTS:
                raise ValueError
            if not all(name in MEASURES for name, _, _ in ranges):
                raise ValueError
            return cls(**{**texts, **lists, "ranges": ranges})
        except (TypeError, ValueError, AttributeError):
            raise InputError("This is no slice of ISI Studio: save it again on the Dataset Browser.") from None


def measure_of(run: StoredRun | None, name: str) -> float | None:
    """A measure of a run by its name in `MEASURES`; None where it was not taken."""
    value = getattr(run, name) if run is not None else None
    return None if value is None else float(value)


def sliced(
    dataset: Dataset, wanted: Slice, observed: Mapping[str, Observed], disputed: Collection[str] = ()
) -> list[Observation]:
    """The observations in a slice, in the dataset's order.

    Parameters
    ----------
    observed : as `observe` gives it for the slice's model.
    disputed : as `disagreeing` gives it; needed where the slice asks for disagreement.
    """
    return [o for o in dataset.observations if wanted.holds(o, observed.get(o.id), disputed)]


def slice_members(store: Store, dataset: Dataset, wanted: Slice) -> list[Observation]:
    """The observations in a slice, in the dataset's order; what it asks of stored runs is looked up.

    Raises
    ------
    InputError : the database is damaged.
    """
    observed = observe(store, dataset, wanted.model) if wanted.needs_runs and wanted.model else {}
    return sliced(dataset, wanted, observed, disputed_in(store, dataset, wanted))


def disputed_in(store: Store, dataset: Dataset, wanted: Slice) -> set[str]:
    """Ids on which the models that were asked disagree; empty where the slice does not ask for it."""
    if wanted.agreement == "any":
        return set()
    each = (observe(store, dataset, model) for model in models_of(store, dataset.name))
    return disagreeing(each, wanted.image, wanted.context)


def find_slice(name: str, dataset: str) -> Slice:
    """A saved slice of a dataset by its name.

    Raises
    ------
    InputError : there is none of that name, or the file of slices cannot be read.
    """
    found = saved_slices(dataset)
    if name in found:
        return found[name][1]
    known = ", ".join(list(found)[:20]) or "none yet"
    raise InputError(f"There is no slice {name[:80]!r} of {dataset} (saved: {known}): save one on the Dataset Browser.")


def slice_warning(wanted: Slice) -> str:
    """What must be said beside numbers over a slice that stored runs chose; "" for one that only the data chose."""
    if not wanted.needs_runs:
        return ""
    return (
        "This slice was chosen by what stored runs said, so numbers over it describe the chosen cases; they do not "
        "estimate how often such things happen."
    )


def slices_path() -> Path:
    """The file that slices are kept in."""
    return home_folder() / "slices.json"


def saved_slices(dataset: str | None = None) -> dict[str, tuple[str, Slice]]:
    """(dataset, slice) by name; of one dataset where it is given. One that cannot be read is left out.

    Raises
    ------
    InputError : the file cannot be read at all.
    """
    path = slices_path()
    if not path.exists():
        return {}
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError
        data = json.loads(path.read_text(encoding="utf-8"))
        items = list(data["slices"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(f"{path} is damaged: move it away, slices are then saved anew.") from None
    found: dict[str, tuple[str, Slice]] = {}
    for name, entry in items:
        try:
            if dataset is None or entry["dataset"] == dataset:
                found[str(name)] = (str(entry["dataset"]), Slice.from_json(entry["slice"]))
        except (InputError, KeyError, TypeError):
            continue
    return found


def save_slice(name: str, dataset: str, wanted: Slice) -> None:
    """Keep a slice under a name, in the place of one of the same name.

    Raises
    ------
    InputError : the name is empty or too long, there are too many, or the file cannot be read or written.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise InputError("A slice needs a name of at most 80 characters.")
    slices = {**saved_slices(), name: (dataset, wanted)}
    if len(slices) > MAX_SLICES:
        raise InputError(f"There are {MAX_SLICES} slices already: delete some.")
    _write(slices)


def delete_slice(name: str) -> None:
    """Forget a slice; one that is not there is no error."""
    _write({known: entry for known, entry in saved_slices().items() if known != name})


def _write(slices: Mapping[str, tuple[str, Slice]]) -> None:
    path = slices_path()
    entries = {name: {"dataset": dataset, "slice": kept.to_json()} for name, (dataset, kept) in slices.items()}
    staging = path.with_name(f".{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging.write_text(json.dumps({"format": 1, "slices": entries}, indent=1), encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}): set ISI_HOME to another folder.") from None


def slice_words(wanted: Slice, words: Sequence[str] = ()) -> str:
    """A slice in words, for captions."""
    parts = [*words]
    if wanted.words:
        parts.append(f"“{wanted.words}”")
    parts += [f"{what}: {', '.join(found)}" for what, found in _named(wanted) if found]
    parts += [f"{name.replace('_', ' ')} {low:g} to {high:g}" for name, low, high in wanted.ranges]
    if wanted.flips != "any":
        parts.append(f"contradictory context {wanted.flips} the answer")
    if wanted.agreement != "any":
        parts.append(wanted.agreement)
    if wanted.needs_runs:
        parts.append(f"by {wanted.model} on the {wanted.image} picture, context {wanted.context}")
    return " · ".join(parts) or "everything"


def _named(wanted: Slice) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("family", wanted.families),
        ("truth", wanted.truths),
        ("outcome", wanted.outcomes),
        ("verdict", wanted.verdicts),
    )
