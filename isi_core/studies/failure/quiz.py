"""Can a person foresee failure, and does an explanation help? Twenty cases, half of them explained, in random order.

The third criterion of *Why It Failed* (human-interpretable). A quiz is a file of lines: its questions first, then each
reply as it was given, so that nothing is lost and a stopped quiz goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import rank_among
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.results import BenchmarkResult, ExplainerScore

SAYINGS = {"surely right": 1.0, "probably right": 0.7, "probably wrong": 0.3, "surely wrong": 0.0}
"""What a person may say of a case, and how likely a success that counts as."""
QUESTIONS = 20
_FOUR = 4  # success or failure, explained or not
_LINE = 4_000  # characters of a line that is believed


@dataclass(frozen=True)
class Question:
    """A case of the run, shown with its explanation or without."""

    case: str
    explained: bool


@dataclass(frozen=True)
class Reply:
    """What a person said of a case.

    Attributes
    ----------
    said : one of `SAYINGS`.
    seconds : from the showing to the reply; at : UTC time, ISO 8601.
    """

    case: str
    explained: bool
    said: str
    seconds: float
    at: str

    @property
    def score(self) -> float:
        """How likely a success the person held it for."""
        return SAYINGS[self.said]


@dataclass(frozen=True)
class Quiz:
    """A person's quiz on a run.

    Attributes
    ----------
    id : its file's name.
    run : digest of the run's plan.
    explainer, layer : whose word is shown where a case is explained.
    person : a name, or "".
    questions : in the order they are asked.
    replies : given so far, to the first questions.
    """

    id: str
    run: str
    explainer: str
    layer: int | None
    person: str
    seed: int
    questions: tuple[Question, ...]
    created: str
    replies: tuple[Reply, ...] = ()

    @property
    def finished(self) -> bool:
        """Every question has its reply."""
        return len(self.replies) >= len(self.questions)

    @property
    def next(self) -> Question | None:
        """The question to be asked."""
        return None if self.finished else self.questions[len(self.replies)]


def new_quiz(
    result: BenchmarkResult, explainer: str, person: str, seed: int, created: str, count: int = QUESTIONS
) -> Quiz:
    """As many successes as failures of the test cases, half of each explained, in random order.

    Raises
    ------
    InputError : the explainer was not scored, or there are fewer than four test cases.
    """
    score = score_shown(result, explainer, None)
    rng = Random(f"failure quiz {result.plan.digest} {explainer} {seed}")
    by_class: dict[bool, list[str]] = {True: [], False: []}
    for name in score.case_ids:
        by_class[result.case(name).success].append(name)
    half = min(count // 2, *(len(names) for names in by_class.values())) // 2 * 2
    if half < _FOUR // 2:
        raise InputError(
            "A quiz needs at least two successes and two failures among the test cases: choose a larger k."
        )
    questions = []
    for names in by_class.values():
        chosen = rng.sample(names, half)
        questions += [Question(name, place < half // 2) for place, name in enumerate(chosen)]
    rng.shuffle(questions)
    return Quiz(
        id=f"quiz_{seed:05d}_{rng.randrange(16**8):08x}",
        run=result.plan.digest,
        explainer=explainer,
        layer=score.layer,
        person=" ".join(person.split())[:60],
        seed=seed,
        questions=tuple(questions),
        created=created,
    )


def save_quiz(quiz: Quiz, folder: Path) -> None:
    """Write a new quiz into the folder.

    Raises
    ------
    InputError : the folder cannot be written.
    """
    data = asdict(replace(quiz, replies=()))
    del data["replies"]
    write_whole(folder / f"{quiz.id}.jsonl", json.dumps(data) + "\n")


def add_reply(quiz: Quiz, reply: Reply, folder: Path) -> Quiz:
    """Store a reply at once; the quiz with it.

    Raises
    ------
    InputError : it is not the reply to the next question, or cannot be written.
    """
    expected = quiz.next
    if expected is None or (expected.case, expected.explained) != (reply.case, reply.explained):
        raise InputError("This question was answered before: go on with the next one.")
    if reply.said not in SAYINGS:
        raise InputError(f"Say one of {', '.join(SAYINGS)}.")
    try:
        with (folder / f"{quiz.id}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(reply)) + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"The reply cannot be stored ({error.strerror}): check the disk, and answer again.") from None
    return replace(quiz, replies=(*quiz.replies, reply))


def load_quizzes(folder: Path, run: str) -> list[Quiz]:
    """The quizzes of a run, the oldest first; files that are none are left out."""
    found = []
    for path in sorted(folder.glob("quiz_*.jsonl")) if folder.is_dir() else ():
        quiz = _read(path)
        if quiz is not None and quiz.run == run:
            found.append(quiz)
    return found


def _read(path: Path) -> Quiz | None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        head = json.loads(lines[0])
        quiz = Quiz(**{**head, "questions": tuple(Question(**q) for q in head["questions"])})
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    replies: list[Reply] = []
    for line in lines[1:]:
        if len(replies) >= len(quiz.questions):
            break
        try:
            reply = Reply(**json.loads(line[:_LINE]))
            question = quiz.questions[len(replies)]
            if reply.said in SAYINGS and (reply.case, reply.explained) == (question.case, question.explained):
                replies.append(reply)
        except (ValueError, TypeError, RecursionError):
            continue
    return replace(quiz, id=path.stem, replies=tuple(replies))


def explanation(result: BenchmarkResult, quiz: Quiz, case: str) -> list[str]:
    """What the explainer says of a case, and what that was worth on the other test cases; nothing of the answer."""
    score = score_shown(result, quiz.explainer, quiz.layer)
    told = dict(zip(score.case_ids, score.scores, strict=True))
    if case not in told:
        raise InputError("The explainer was not asked about this case: start another quiz.")
    mine = told[case]
    others = [value for name, value in told.items() if name != case]
    sentences = [f"It gives the model a chance of {mine:.0%} to be right here{_among(mine, others)}."]
    close = sorted((abs(value - mine), name) for name, value in told.items() if name != case)[:10]
    if len(close) >= 5:
        right = sum(result.case(name).success for _, name in close)
        sentences.append(f"Of the {len(close)} test cases it judged most alike, the model got {right} right.")
    return sentences


def _among(mine: float, others: Sequence[float]) -> str:
    """Where a chance lies among those of the other test cases, as the end of a sentence; "" without any."""
    if not others:
        return ""
    rank = rank_among(mine, others)
    if rank.same == rank.n:
        return "; that is the same as for all other test cases"
    below = f"{100 * rank.below / rank.n:.3g}%"
    same = f", and the same as for {100 * rank.same / rank.n:.3g}%" if rank.same else ""
    return f"; that is higher than for {below if rank.below else 'none'} of the other test cases{same}"


def reply_rows(result: BenchmarkResult, quizzes: Sequence[Quiz]) -> list[dict[str, Any]]:
    """Every reply as a row of a table, with the truth and what the explainer said."""
    rows = []
    for quiz in quizzes:
        score = score_shown(result, quiz.explainer, quiz.layer)
        told = dict(zip(score.case_ids, score.scores, strict=True))
        for place, reply in enumerate(quiz.replies, start=1):
            case = result.case(reply.case)
            rows.append(
                {
                    "quiz": quiz.id,
                    "person": quiz.person,
                    "place": place,
                    "case": reply.case,
                    "explained": reply.explained,
                    "said": reply.said,
                    "score": reply.score,
                    "model_right": case.success,
                    "person_right": (reply.score > 0.5) == case.success,
                    "explainer": score.key,
                    "explainer_score": told.get(reply.case, ""),
                    "seconds": round(reply.seconds, 1),
                    "at": reply.at,
                }
            )
    return rows


def score_shown(result: BenchmarkResult, explainer: str, layer: int | None) -> ExplainerScore:
    """The explainer's score at that layer, or at its chosen one."""
    for score in result.scores:
        if score.explainer == explainer and layer is not None and score.layer == layer:
            return score
    best = result.best(explainer)
    if best is None:
        raise InputError(f"This run has no explainer {explainer[:40]}: choose one that it scored.")
    return best
