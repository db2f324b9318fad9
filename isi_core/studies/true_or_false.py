"""p(True) of a stored or running evaluation: the model that answered is asked whether its main answer is true."""

from __future__ import annotations

from dataclasses import replace

from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.progress import Progress
from isi_core.measures.p_true import Shot, measure_p_true
from isi_core.models.vlm.protocol import VisionLanguageModel
from isi_core.store.runs import Store

MOST_SHOTS = 10
_LOOKED_THROUGH = 400
"""Runs, newest first, among which examples are looked for."""


def ask_if_true(
    evaluation: Evaluation, vlm: VisionLanguageModel, shots: tuple[Shot, ...] = (), progress: Progress | None = None
) -> Evaluation:
    """The evaluation with the p(True) of its main answer; costs one prefill.

    Raises
    ------
    InputError : it has no main answer or no samples, or another model gave them.
    ModelError : the model does not tell the likelihoods of its first token.
    """
    if evaluation.answer is None or evaluation.uncertainty is None:
        raise InputError("p(True) is of a trial's main answer beside its samples: measure its uncertainty first.")
    of = evaluation.model
    # A server tells which model answers only once it has answered.
    same = vlm.record.source == of.source and (of.device == "endpoint" or vlm.record.revision == of.revision)
    if not same:
        raise InputError(f"{of.name} has changed since it gave these answers: measure the uncertainty again.")
    found = measure_p_true(
        evaluation.trial, evaluation.uncertainty.samples, evaluation.answer.text, vlm, shots, progress
    )
    return replace(evaluation, uncertainty=replace(evaluation.uncertainty, p_true=found))


def stored_shots(store: Store, evaluation: Evaluation, count: int) -> tuple[Shot, ...]:
    """Solved examples from stored runs of the same model whose truth is known, the newest first, a question each once.

    True where the run's verdict was right; true and false ones in turn as far as there are both.

    Raises
    ------
    InputError : `count` is above `MOST_SHOTS`, or there is no such run.
    """
    if not 0 <= count <= MOST_SHOTS:
        raise InputError(f"Between 0 and {MOST_SHOTS} examples can stand in front of the question.")
    if not count:
        return ()
    kinds: dict[bool, list[int]] = {True: [], False: []}
    seen = {evaluation.trial.question}
    for run in store.recent(_LOOKED_THROUGH):
        judged = run.verdict in ("yes", "no") and run.truth in ("yes", "no") and run.semantic_entropy is not None
        if judged and run.model_name == evaluation.model.name and run.question not in seen:
            seen.add(run.question)
            kinds[run.verdict == run.truth].append(run.id)
    both = [run_id for pair in zip(kinds[True], kinds[False], strict=False) for run_id in pair]
    longer = max(kinds.values(), key=len)
    chosen = [*both, *longer[len(both) // 2 :]][:count]
    if not chosen:
        raise InputError(
            f"There are no examples: no stored run of {evaluation.model.name} has samples, a yes or no, a known truth "
            "and another question. Ask for none, or measure some on VQA Interventions first."
        )
    shots = []
    for run_id in chosen:
        made = store.load(run_id)
        if made.answer is not None and made.uncertainty is not None:
            answers = tuple(answer.text for answer in made.uncertainty.samples)
            shots.append(Shot(made.trial.question, answers, made.answer.text, run_id in kinds[True]))
    return tuple(shots)
