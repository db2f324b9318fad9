"""How well people and an explainer foresaw failure, with intervals that know whose replies are whose.

A quiz has several replies of one person, and several persons' replies to one case. They are not independent, so
persons and cases are both resampled, as in studies of several readers and several cases (Owen, "The pigeonhole
bootstrap", Ann. Appl. Stat. 1, 2007).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from isi_core.measures.failure_scores import delong_caveat
from isi_core.measures.statistics import Floats, Interval, auc_bootstrap, auc_interval, wilson_interval
from isi_core.studies.failure.quiz import Quiz, Reply, score_shown
from isi_core.studies.failure.results import BenchmarkResult

_ONE_CLASS = "all cases were of one class"
_RESAMPLES = 4_000
_AT_ONCE = 2_000_000  # weights held at once: 16 MB


@dataclass(frozen=True)
class Standing:
    """How well somebody foresaw failure.

    Attributes
    ----------
    who : people with the explanation, people without it, or the explainer itself on the same cases.
    n : replies; of the explainer, cases.
    persons : who replied; a quiz without a name counts as a person of its own. 0 for the explainer.
    cases : distinct ones.
    auc : None with one class alone.
    accuracy : share of replies that rightly called the model's answer right or wrong.
    interval : what both intervals rest on, in words.
    degenerate : why the AUC or its interval means little, or "".
    """

    who: str
    n: int
    persons: int
    cases: int
    auc: Interval | None
    accuracy: Interval
    interval: str
    degenerate: str


def standings(result: BenchmarkResult, quizzes: Sequence[Quiz], level: float = 0.95) -> list[Standing]:
    """People with and without the explanation, and the explainers on the very cases that were asked, each once."""
    found = []
    for explained, who in ((True, "people, explained"), (False, "people, unexplained")):
        replies = [(_person(q), reply) for q in quizzes for reply in q.replies if reply.explained is explained]
        if replies:
            found.append(_people(who, result, replies, level))
    asked: dict[tuple[str, int | None], dict[str, None]] = {}
    for quiz in quizzes:
        asked.setdefault((quiz.explainer, quiz.layer), {}).update(dict.fromkeys(r.case for r in quiz.replies))
    for (explainer, layer), cases in asked.items():
        if not cases:
            continue
        score = score_shown(result, explainer, layer)
        told = dict(zip(score.case_ids, score.scores, strict=True))
        found.append(_explainer(score.key, result, {case: told[case] for case in cases}, level))
    return found


def _person(quiz: Quiz) -> str:
    return f"name {quiz.person.casefold()}" if quiz.person else f"quiz {quiz.id}"


def _explainer(who: str, result: BenchmarkResult, told: dict[str, float], level: float) -> Standing:
    truth, scores = [result.case(case).success for case in told], list(told.values())
    auc, caveat = None, _ONE_CLASS
    if len(set(truth)) == 2:
        caveat = delong_caveat(truth, scores)
        auc = auc_bootstrap(truth, scores, level) if caveat else auc_interval(truth, scores, level)
    hits = sum((value > 0.5) == right for value, right in zip(scores, truth, strict=True))
    accuracy = wilson_interval(hits, len(truth), level)
    return Standing(who, len(truth), 0, len(truth), auc, accuracy, "each case once", caveat)


def _people(who: str, result: BenchmarkResult, replies: Sequence[tuple[str, Reply]], level: float) -> Standing:
    truth = np.array([result.case(reply.case).success for _, reply in replies])
    scores = np.array([reply.score for _, reply in replies])
    persons = np.unique([person for person, _ in replies], return_inverse=True)[1]
    cases = np.unique([reply.case for _, reply in replies], return_inverse=True)[1]
    n_persons, n_cases = int(persons.max()) + 1, int(cases.max()) + 1
    areas, accuracies = _resampled(truth, scores, persons, cases)
    auc, caveat = None, _ONE_CLASS
    if truth.any() and not truth.all():
        area = auc_interval(truth, scores, level).estimate
        bounds = [float(bound) for bound in np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])]
        caveat = ""
        if min(len(set(cases[truth == kind])) for kind in (True, False)) == 1:
            bounds, caveat = [float("nan")] * 2, "a class has a single case: how the AUC varies is not known"
        elif len(set(scores)) == 1:
            caveat = "all replies are equal: the AUC is 0.5 by construction"
        elif area in (0.0, 1.0):
            caveat = "the classes are fully apart: the AUC's interval is too narrow"
        auc = Interval(area, bounds[0], bounds[1], level, len(truth))
    hits = float(((scores > 0.5) == truth).mean())
    accuracy = _share_interval(hits, float(accuracies.var()), len(truth), n_cases, level)
    how = "persons and cases resampled" if n_persons > 1 else "one person, cases resampled"
    return Standing(who, len(truth), n_persons, n_cases, auc, accuracy, how, caveat)


def _resampled(truth: np.ndarray, scores: np.ndarray, persons: np.ndarray, cases: np.ndarray) -> tuple[Floats, Floats]:
    """AUC and accuracy of resamples; those without both classes, or without replies, are left out.

    A resample draws as many persons, and of each class as many cases, as there are; a reply counts as often as its
    person was drawn times as often as its case was.

    Parameters
    ----------
    truth, scores, persons, cases : (n,) whether the model was right, what was said, who said it of which case.
    """
    rng = np.random.default_rng(0)
    levels = np.unique(scores, return_inverse=True)[1]
    of_level = np.eye(int(levels.max()) + 1)[levels]
    hits = ((scores > 0.5) == truth).astype(float)
    succeeded = np.zeros(int(cases.max()) + 1, dtype=bool)
    succeeded[cases] = truth
    areas, accuracies = [], []
    batch = max(1, min(_RESAMPLES, _AT_ONCE // len(truth)))
    for rows in [min(batch, _RESAMPLES - start) for start in range(0, _RESAMPLES, batch)]:
        of_case = np.zeros((rows, len(succeeded)))
        for kind in (True, False):
            of_case[:, succeeded == kind] = _drawn(int((succeeded == kind).sum()), rows, rng)
        weights = _drawn(int(persons.max()) + 1, rows, rng)[:, persons] * of_case[:, cases]
        right, wrong = (weights[:, truth == kind] @ of_level[truth == kind] for kind in (True, False))
        with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 where a class, or all, was not drawn
            below = np.cumsum(wrong, axis=1) - wrong / 2
            areas.append((right * below).sum(axis=1) / (right.sum(axis=1) * wrong.sum(axis=1)))
            accuracies.append(weights @ hits / weights.sum(axis=1))
    both = np.concatenate(areas), np.concatenate(accuracies)
    return both[0][np.isfinite(both[0])], both[1][np.isfinite(both[1])]


def _drawn(size: int, rows: int, rng: np.random.Generator) -> Floats:
    """(rows, size) how often each of `size` things is among `size` draws with replacement."""
    if size == 0:
        return np.zeros((rows, 0))
    return rng.multinomial(size, np.full(size, 1 / size), size=rows).astype(float)


def _share_interval(share: float, variance: float, n: int, n_cases: int, level: float) -> Interval:
    """Wilson's interval for as many independent replies as would vary like these (Dean & Pagano, JSSAM 3, 2015).

    Where all are right, or none, nothing varies that would tell; then as many as there are cases.
    """
    seen = 0 < share < 1 and variance > 0
    effective = min(float(n), share * (1 - share) / variance) if seen else float(n_cases)
    z = float(stats.norm.ppf((1 + level) / 2))
    middle = (share + z**2 / (2 * effective)) / (1 + z**2 / effective)
    reach = z / (1 + z**2 / effective) * float(np.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2)))
    return Interval(share, max(0.0, middle - reach), min(1.0, middle + reach), level, n)
