"""A whole ranking: search, measure, rank, join, count; progress and partial results on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations

import numpy as np

from isi_core.domain.attributes import Corpus, Edit, EditSet, edit_set
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.models.classifiers.protocol import AttributeReader, Classifier
from isi_core.models.editors.protocol import NEUTRAL, ImageEditor, Picture, SubjectEditor, as_made
from isi_core.studies.counterfactuals.bank import EditBank
from isi_core.studies.counterfactuals.effects import Effects
from isi_core.studies.counterfactuals.racing import race
from isi_core.studies.counterfactuals.results import (
    Cost,
    JointResult,
    Result,
    SetResult,
    Turned,
    enough_valid,
    strongest_first,
)
from isi_core.studies.counterfactuals.scores import (
    in_direction,
    joint_result,
    set_result,
    turned_classes,
)
from isi_core.studies.counterfactuals.search import (
    Found,
    Score,
    beam_search,
    both_ways,
    exhaustive_search,
    greedy_search,
)
from isi_core.studies.counterfactuals.settings import (
    MATRIX,
    SEARCHES,
    Estimate,
    Search,
    Settings,
    check_feasible,
    estimate,
)

__all__ = ["SEARCHES", "Estimate", "Ranking", "Search", "Settings", "estimate", "rank"]

Partial = Callable[[Result], None]
"""Given the ranking as far as it is, every now and then."""

JOINT_KEPT = 30
"""Joint sets that a result holds, the strongest."""
MOST_CLASSES = 20
"""Classes up to which a result ranks for every class."""


def rank(
    pictures: Sequence[Picture],
    corpus: Corpus,
    editor: ImageEditor,
    classifier: Classifier,
    settings: Settings,
    bank: EditBank | None = None,
    reader: AttributeReader | None = None,
    progress: Progress | None = None,
    partial: Partial | None = None,
) -> Result:
    """Rank the corpus' attributes by their effect on the classifier (DiffEx, CVPR 2025).

    Parameters
    ----------
    bank : where edits are kept and found again; None keeps none (right for `render`, which is exact and quick).
    reader : reads attributes off pictures, for the checks; not needed where editor and pictures know their subject.

    Raises
    ------
    InputError : pictures, corpus, classifier or settings that cannot be used; a disk that is full.
    ModelError : editor or classifier failed.
    Cancelled : by `progress`; finished edits stay in the bank, the last partial ranking is what there is.
    """
    return Ranking(pictures, corpus, editor, classifier, settings, bank, reader, progress, partial).run()


class Ranking:
    """One ranking while it is made; `rank` is the way in. `effects` gives its pictures afterwards."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        corpus: Corpus,
        editor: ImageEditor,
        classifier: Classifier,
        settings: Settings,
        bank: EditBank | None = None,
        reader: AttributeReader | None = None,
        progress: Progress | None = None,
        partial: Partial | None = None,
    ) -> None:
        if not corpus.attributes():
            raise InputError("The corpus has no attribute: add one, or choose another.")
        if len(classifier.labels) < 2:
            raise InputError("The classifier tells one class only, so that nothing can change: choose another.")
        self._planned = estimate(corpus, settings, len(pictures))
        check_feasible(self._planned)
        self.corpus, self.settings = corpus, settings
        self._classifier, self._progress, self._partial = classifier, progress, partial
        self.effects = Effects(
            pictures,
            editor,
            classifier,
            0,
            settings.scale,
            settings.base,
            settings.seed,
            bank,
            reader,
            settings.checks,
            self._tell,
        )
        self._started = time.monotonic()
        self._next_partial = 0.0
        self._floor: dict[str, float] = {}
        self._taken: dict[tuple[EditSet, tuple[int, ...]], SetResult] = {}
        self._steps: list[str] = []
        self._best: EditSet = ()
        self._raced: tuple[EditSet, ...] = ()
        self._reader = reader

    def run(self) -> Result:
        """The ranking."""
        self.effects.class_index = self._class_index()
        no_op = self.effects.deltas((NEUTRAL,))
        self._floor = {delta.picture: abs(delta.change) for delta in no_op}
        settings = self.settings
        if settings.search == "racing":
            self._race()
        else:
            self._searched()
        if settings.joint > 1 and settings.search != "exhaustive":
            self._matrix()
        return self._result(stopped=False)

    def _class_index(self) -> int:
        labels, wanted = list(self._classifier.labels), self.settings.class_label
        if wanted:
            if wanted not in labels:
                raise InputError(f"The classifier has no class {wanted!r:.60}: choose from {', '.join(labels)[:300]}.")
            return labels.index(wanted)
        if len(labels) == 2:
            return 1
        counts = np.bincount(self.effects.base_classes(), minlength=len(labels))
        return int(counts.argmax())

    def _changes(self, sets: Sequence[EditSet]) -> list[float]:
        """Signed mean change of each set; NaN where its edits mostly fail, which must not lead the search either."""
        values = []
        for edits in sets:
            deltas = self.effects.deltas(edits)
            known = [delta.change for delta in deltas if delta.valid] if enough_valid(deltas) else []
            values.append(float(np.mean(known)) if known else float("nan"))
            self._tell_partial()
        return values

    def _tell_partial(self) -> None:
        """Tell what is known so far, for at most a fifth of the time."""
        began = time.monotonic()
        if self._partial is not None and began >= self._next_partial:
            self._partial(self._result(stopped=True))
            spent = time.monotonic() - began
            self._next_partial = began + max(0.3, 5 * spent)

    def _score(self, sets: Sequence[EditSet]) -> list[float]:
        return [in_direction(change, self.settings.direction) for change in self._changes(sets)]

    def _searched(self) -> None:
        s = self.settings
        if s.search == "exhaustive":
            self._remember(exhaustive_search(self.corpus, self._score, s.threshold, s.joint, s.sign))
            return

        def search(score: Score) -> Found:
            if s.search == "greedy":
                return greedy_search(self.corpus, score, s.threshold, s.joint, s.sign)
            return beam_search(self.corpus, score, s.beam, s.threshold, s.joint, s.sign)

        self._remember(both_ways(search, self._changes) if s.direction == "both" else search(self._score))

    def _remember(self, found: Found) -> None:
        self._steps += found.steps
        self._best = found.best

    def _race(self) -> None:
        sets = [edit_set([Edit(leaf, self.settings.sign)]) for leaf in self.corpus.leaves()]

        def size(edits: EditSet, numbers: Sequence[int]) -> list[float]:
            deltas = self.effects.deltas(edits, numbers)
            self._tell_partial()
            return [abs(d.change) if d.valid else float("nan") for d in deltas]

        went = race(sets, size, len(self.effects.pictures), self.settings.top)
        self._steps.append(
            f"raced for {self.settings.top} places: {went.edits} of {len(sets) * len(self.effects.pictures)} edits, "
            f"{len(went.open)} attributes undecided at the end"
        )
        self._raced = went.top
        scores = {}
        for edits in sets:
            deltas = self.effects.deltas(edits, range(went.spent[edits]))
            known = [d.change for d in deltas if d.valid]
            if enough_valid(deltas):
                scores[edits] = in_direction(float(np.mean(known)), self.settings.direction)
        best = max(scores, key=lambda edits: scores[edits], default=())
        if best and scores[best] >= self.settings.threshold:
            self._best = best

    def _matrix(self) -> None:
        """Join the best attributes of the strongest branches pair by pair."""
        best: dict[str, EditSet] = {}
        for found in self._singles():
            if found.ranked:
                best.setdefault(found.attribute.branch, found.edits)
        strongest = list(best.values())[:MATRIX]
        self._score([edit_set([*one, *two]) for one, two in combinations(strongest, 2)])

    def _measured(self, edits: EditSet, numbers: Sequence[int]) -> SetResult:
        # A partial ranking after every step would take the same intervals again and again.
        key = edits, tuple(numbers)
        if key not in self._taken:
            deltas = self.effects.deltas(edits, numbers)
            self._taken[key] = set_result(edits, deltas, self._floor, self.settings.level, self.settings.seed)
        return self._taken[key]

    def _singles(self) -> tuple[SetResult, ...]:
        looked = self._looked_at()
        singles = [self._measured(e, i) for e, i in looked.items() if len(e) == 1 and e != (NEUTRAL,)]
        return strongest_first(singles, self._raced)

    def _looked_at(self) -> dict[EditSet, list[int]]:
        """Edit sets of the ranking's sign with their pictures; no-op edits among them."""
        looked = self.effects.looked_at().items()
        return {e: i for e, i in looked if e == (NEUTRAL,) or all(edit.sign == self.settings.sign for edit in e)}

    def _groups_by_lot(self) -> bool:
        """Whether a leaf stands for a group that is added, rather than the group's own words."""
        editor, pictures = self.effects.editor, self.effects.pictures
        if isinstance(editor, SubjectEditor):
            return True
        groups = [Edit(attribute) for attribute in self.corpus.attributes() if self.corpus.children(attribute)]
        return any(as_made(editor, pictures[0], (group,)) != (group,) for group in groups)

    def _opposite(self, joint: Sequence[JointResult]) -> tuple[SetResult, ...]:
        """The strongest joint edit and its parts with the other sign."""
        if not joint or not self.settings.both_signs:
            return ()
        whole = edit_set([Edit(edit.attribute, -edit.sign, edit.strength) for edit in joint[0].whole.edits])
        everything = list(range(len(self.effects.pictures)))
        return tuple(self._measured(edits, everything) for edits in (whole, *((edit,) for edit in whole)))

    def _joint(self, finished: bool) -> tuple[JointResult, ...]:
        looked = {e: i for e, i in self._looked_at().items() if len(e) > 1}

        def strength(edits: EditSet) -> float:
            known = [delta.change for delta in self.effects.deltas(edits, looked[edits]) if delta.valid]
            return abs(float(np.mean(known))) if known else 0.0

        made = []
        for edits in sorted(looked, key=lambda e: (-strength(e), e))[:JOINT_KEPT]:
            if finished:  # what was not yet looked at alone is now
                parts = [self._measured((edit,), looked[edits]) for edit in edits]
            else:
                known = self._looked_at()
                parts = [self._measured((e,), known[(e,)]) for e in edits if (e,) in known]
                if len(parts) < len(edits):
                    continue
            whole = self._measured(edits, looked[edits])
            made.append(joint_result(whole, parts, self.settings.level, self.settings.seed))
        return tuple(made)

    def _result(self, stopped: bool) -> Result:
        effects, s = self.effects, self.settings
        joint = self._joint(finished=not stopped) if s.joint > 1 else ()
        sets = self._singles()
        everything = list(range(len(effects.pictures)))
        labels = self._classifier.labels
        turned: list[Turned] = []
        per_class: dict[str, tuple[SetResult, ...]] = {}
        reconstruction = None
        opposite: tuple[SetResult, ...] = ()
        if not stopped:
            opposite = self._opposite(joint)
            reconstruction = set_result((), effects.reconstruction_deltas(), {}, s.level, s.seed)
            for found in sets:
                if found.ranked:
                    turned += turned_classes(found.edits, *effects.classes(found.edits), labels)
            if 3 <= len(labels) <= MOST_CLASSES:
                per_class = {label: self._for_class(i, sets) for i, label in enumerate(labels)}
        return Result(
            settings={
                **s.to_json(),
                "editor": dict(effects.editor.record),
                "classifier": dict(self._classifier.record),
                "classes": len(labels),
                "groups_by_lot": self._groups_by_lot(),
                "reader": dict(self._reader.record) if self._reader is not None and s.checks is not None else None,
            },
            corpus=self.corpus,
            class_label=labels[effects.class_index],
            pictures=tuple((p.digest, p.name) for p in effects.pictures),
            sets=sets,
            joint=joint,
            best=self._best,
            no_op=self._measured((NEUTRAL,), everything),
            reconstruction=reconstruction,
            turned=tuple(sorted(turned, key=lambda t: (-t.count, t.edits))),
            cost=Cost(
                effects.asked, effects.edits_made, effects.denoiser_evaluations, time.monotonic() - self._started
            ),
            per_class=per_class,
            stopped=stopped,
            history=tuple(self._steps),
            raced=self._raced,
            opposite=opposite,
        )

    def _for_class(self, class_index: int, sets: Iterable[SetResult]) -> tuple[SetResult, ...]:
        looked, effects, s = self.effects.looked_at(), self.effects, self.settings
        nothing = effects.deltas((NEUTRAL,), class_index=class_index)
        floor = {delta.picture: abs(delta.change) for delta in nothing}
        return strongest_first(
            [
                set_result(f.edits, effects.deltas(f.edits, looked[f.edits], class_index), floor, s.level, s.seed)
                for f in sets
                if f.ranked
            ]
        )

    def _tell(self, what: str) -> None:
        if self._progress is not None:
            fraction = min(self.effects.asked / max(self._planned.edits, 1), 0.99)
            self._progress(f"{what} ({self.effects.asked:,} edits done)", fraction)
