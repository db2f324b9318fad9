"""Vision-language models (VLMs) asked which step comes first, without training: both orders of every pair.

A pair is put as it is shown and the other way round. A model that knows the order says yes to one and no to the other;
one that says the same to both contradicts itself, and what it says then is its *position bias*.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from isi_core.datasets.step_catalogue import howto_source
from isi_core.datasets.step_pairs import load_pairs
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.store.whole_file import write_whole
from isi_core.studies.step_order.asked import (
    ABOUT,
    ANSWERS,
    PLAN,
    Asked,
    AskPlan,
    OrderAnswer,
    PairAnswers,
    keep_lines,
    read_asked,
    read_lines,
)
from isi_core.studies.step_order.order_prompt import attention_parts, takes_several, trial_of
from isi_core.studies.vqa import Wanted, evaluate_together

if TYPE_CHECKING:
    from isi_core.domain.evaluation import Evaluation
    from isi_core.domain.step_pairs import StepPair
    from isi_core.models.entailment.protocol import EntailmentModel
    from isi_core.models.vlm.protocol import VisionLanguageModel

_AT_ONCE = 4  # pairs, each in both orders
_NEW_TOKENS = 20


def chosen_pairs(pairs: Sequence[StepPair], per_category: int) -> list[StepPair]:
    """The first pairs of each category, half of them reversed (as far as there are); categories by turns."""
    columns = []
    for category in dict.fromkeys(pair.category for pair in pairs):
        here = [[pair for pair in pairs if (pair.category, pair.label) == (category, label)] for label in (1, 0)]
        half = min(per_category // 2, *map(len, here))
        columns.append([pair for both in zip(here[0][:half], here[1][:half], strict=True) for pair in both])
    deepest = max(map(len, columns), default=0)
    return [column[turn] for turn in range(deepest) for column in columns if turn < len(column)]


def ask_pairs(
    plan: AskPlan,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None = None,
    progress: Progress | None = None,
) -> Asked:
    """Ask what has not been asked yet; everything is on disk then.

    Raises
    ------
    InputError : the pairs cannot be used, or samples are wanted without an entailment model.
    ModelError : the model cannot do it.
    Cancelled : by `progress`; what was answered is kept.
    """
    if plan.samples and entailment is None:
        raise InputError("The semantic entropy needs an entailment model: choose one, or ask without samples.")
    if progress is not None:
        progress("Reading the pairs", 0.0)
    splits = load_pairs(howto_source(plan.data), plan.seed, (2, 2, plan.test))
    wanted = chosen_pairs(splits.test, plan.pairs)
    if not wanted:
        raise InputError(f"{splits.name} has no test pairs in both orders: choose other how-tos.")
    several = takes_several(vlm)
    plan.folder.mkdir(parents=True, exist_ok=True)
    write_whole(plan.folder / PLAN, json.dumps(asdict(plan)))
    path = plan.folder / ANSWERS
    answers, problems = read_lines(path)
    about = {
        "model": vlm.record.to_json(),
        "layout": "two pictures" if several else "one stitched picture",
        "wanted": len(wanted),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_whole(plan.folder / ABOUT, json.dumps(about))
    keep_lines(path, answers, problems)
    todo = [pair for pair in wanted if pair.idx not in answers and pair.idx not in problems]
    for start in range(0, len(todo), _AT_ONCE):
        done = len(answers) + len(problems)
        for made in _ask(todo[start : start + _AT_ONCE], plan, vlm, entailment, several, progress, done, len(wanted)):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(made, allow_nan=False) + "\n")
            if "problem" in made:
                problems[made["idx"]] = made["problem"]
            else:
                answers[made["idx"]] = PairAnswers.from_json(made)
    if progress is not None:
        progress("Done", 1.0)
    return read_asked(plan.id)


def _ask(
    pairs: Sequence[StepPair],
    plan: AskPlan,
    vlm: VisionLanguageModel,
    entailment: EntailmentModel | None,
    several: bool,
    progress: Progress | None,
    done: int,
    total: int,
) -> list[dict[str, Any]]:
    """Plain values of each pair's answers, or of its problem."""
    made: list[dict[str, Any]] = []
    trials = []
    usable = []
    for pair in pairs:
        try:
            trials += [trial_of(one, plan.modality, several) for one in (pair, pair.reversed())]
            usable.append(pair)
        except InputError as error:
            made.append({"idx": pair.idx, "problem": str(error)})
    if not usable:
        return made
    measures: set[Wanted] = {"answer"}
    if plan.samples:
        measures.add("uncertainty")
    if plan.attention and vlm.capabilities.attention:
        measures.add("attention")
    decoding = Decoding(max_new_tokens=_NEW_TOKENS, n_samples=max(1, plan.samples), seed=plan.seed)
    settings = UncertaintySettings(entailment_model=plan.entailment)
    told = None if progress is None else _Told(progress, done, len(pairs), total)
    found = evaluate_together(trials, vlm, decoding, measures, entailment, settings, told)
    for i, pair in enumerate(usable):
        shown, swapped = (
            _answer(evaluation, one, several)
            for evaluation, one in ((found[2 * i], pair), (found[2 * i + 1], pair.reversed()))
        )
        made.append(asdict(PairAnswers(pair.idx, pair.category, pair.kind, pair.label, shown, swapped)))
    return made


class _Told:
    """How far the whole is while a few pairs are asked."""

    def __init__(self, progress: Progress, done: int, here: int, total: int) -> None:
        self._progress, self._done, self._here, self._total = progress, done, here, total

    def __call__(self, message: str, share: float) -> None:
        words = f"{self._done:,} of {self._total:,} pairs asked in both orders"
        self._progress(words, (self._done + share * self._here) / self._total)


def _answer(evaluation: Evaluation, pair: StepPair, several: bool) -> OrderAnswer:
    answer, uncertainty = evaluation.answer, evaluation.uncertainty
    assert answer is not None
    return OrderAnswer(
        answer.text,
        answer.verdict,
        uncertainty.semantic_entropy if uncertainty is not None else None,
        attention_parts(evaluation.attribution, pair, several) if evaluation.attribution is not None else None,
    )
