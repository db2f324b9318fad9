"""What a vision-language model (VLM) was asked about pairs, kept in a folder of its own below the user's home.

The folder is named by what was asked; answers are lines that are added as they come, so that a study that was stopped
goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isi_core.domain.answer import Verdict
from isi_core.domain.errors import InputError
from isi_core.domain.home import home_folder
from isi_core.store.whole_file import write_whole
from isi_core.studies.step_order.results import MODALITIES, Modality

PLAN, ANSWERS, ABOUT = "plan.json", "answers.jsonl", "about.json"


@dataclass(frozen=True)
class AskPlan:
    """What a model is asked.

    Attributes
    ----------
    data : a name of the catalogue of how-tos.
    model : catalogue name, hub id, folder or endpoint of a VLM.
    modality : what it is shown beside the title; pictures that it may not see are grey.
    pairs : of each category, half of them reversed; the first ones of the test split.
    test : test pairs of each category that a study of encoders has, so that these are among them.
    samples : sampled answers a prompt for the semantic entropy; 0 measures none.
    attention : also where the model looked, where it tells.
    """

    data: str = "howto"
    model: str = "tiny-llava"
    modality: Modality = "vt"
    pairs: int = 10
    test: int = 1_000
    seed: int = 0
    samples: int = 5
    attention: bool = True
    entailment: str = "tiny-nli"
    quantization: str = "none"

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise InputError(f"Unknown modality {self.modality!r:.40}: choose from {', '.join(MODALITIES)}.")
        if not (2 <= self.pairs <= 10_000 and self.pairs <= self.test <= 100_000):
            raise InputError("Ask 2 to 10,000 pairs of each category, and at most as many as the test split has.")
        if not 0 <= self.samples <= 100:
            raise InputError("The number of sampled answers lies between 0 (none) and 100.")

    @property
    def id(self) -> str:
        """Names the plan: the same choices have the same id."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:12]

    @property
    def folder(self) -> Path:
        """Where its answers lie."""
        return asked_folder() / self.id

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AskPlan:
        """The plan from plain values; `InputError` where it is none."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InputError(f"These questions cannot be read ({error}): ask again.") from None


@dataclass(frozen=True)
class OrderAnswer:
    """What the model said of one order.

    Attributes
    ----------
    verdict : yes (the first shown comes first), no, or unclear.
    semantic_entropy : in nats; None where it was not measured.
    attention : shares of attention by `isi_core.studies.step_order.order_prompt.PARTS`, summing to one; None where it
        was not measured.
    """

    text: str
    verdict: Verdict
    semantic_entropy: float | None = None
    attention: Mapping[str, float] | None = None


@dataclass(frozen=True)
class PairAnswers:
    """One pair asked in both orders: as it is shown, and with both steps exchanged."""

    idx: int
    category: str
    kind: str
    label: int
    shown: OrderAnswer
    swapped: OrderAnswer

    @property
    def right(self) -> bool:
        """The answer to the order shown is the truth; unclear is not."""
        return self.shown.verdict == ("yes" if self.label else "no")

    @property
    def swapped_right(self) -> bool:
        """The answer to the other order is the truth."""
        return self.swapped.verdict == ("no" if self.label else "yes")

    @property
    def clear(self) -> bool:
        """Both answers are yes or no."""
        return "unclear" not in (self.shown.verdict, self.swapped.verdict)

    @property
    def contradicts(self) -> bool:
        """The same yes or no to both orders: one of the two must be wrong."""
        return self.clear and self.shown.verdict == self.swapped.verdict

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PairAnswers:
        """The answers from plain values."""
        values = dict(data)
        for name in ("shown", "swapped"):
            values[name] = OrderAnswer(**values[name])
        return cls(**values)


@dataclass(frozen=True)
class Asked:
    """What a model was asked, as far as it is.

    Attributes
    ----------
    model : its record as plain values; empty before the first answer.
    layout : two pictures, or one stitched picture.
    answers : in the order they were asked.
    problems : pairs that were left out, one sentence each.
    wanted : pairs to ask in all.
    """

    plan: AskPlan
    model: Mapping[str, str]
    layout: str
    answers: tuple[PairAnswers, ...]
    problems: tuple[str, ...] = ()
    wanted: int = 0
    created: str = ""

    @property
    def complete(self) -> bool:
        """Every pair that can be asked was."""
        return bool(self.wanted) and len(self.answers) + len(self.problems) >= self.wanted

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "complete": self.complete}


def asked_folder() -> Path:
    """Where the answers of VLMs lie; it may not be there yet."""
    return home_folder() / "step_order_asked"


def asked_ids() -> list[str]:
    """Plans with answers, the last one first."""
    try:
        found = [path.parent for path in asked_folder().glob(f"*/{ANSWERS}")]
        return [f.name for f in sorted(found, key=lambda f: (f / ANSWERS).stat().st_mtime_ns, reverse=True)]
    except OSError:
        return []


def asked_stamp(asked_id: str) -> int:
    """Tells one state of the answers from the next; 0 where there are none."""
    try:
        return (asked_folder() / asked_id / ANSWERS).stat().st_mtime_ns
    except OSError:
        return 0


def read_asked(asked_id: str) -> Asked:
    """The answers so far.

    Raises
    ------
    InputError : there are none, or they are damaged.
    """
    folder = asked_folder() / asked_id
    try:
        plan = AskPlan.from_json(json.loads((folder / PLAN).read_text(encoding="utf-8")))
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        answers, problems = read_lines(folder / ANSWERS)
        return Asked(
            plan, dict(about["model"]), str(about["layout"]), tuple(answers.values()), tuple(problems.values()),
            int(about["wanted"]), str(about["created"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"The answers {asked_id[:20]} cannot be read: ask again.") from None


def forget_asked(asked_id: str) -> None:
    """Delete the answers."""
    if asked_id in asked_ids():
        shutil.rmtree(asked_folder() / asked_id, ignore_errors=True)


def read_lines(path: Path) -> tuple[dict[int, PairAnswers], dict[int, str]]:
    """Answers and problems by the pair's number; lines that are no answers are passed over."""
    answers: dict[int, PairAnswers] = {}
    problems: dict[int, str] = {}
    if not path.is_file():
        return answers, problems
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
            if "problem" in data:
                problems[int(data["idx"])] = str(data["problem"])
            else:
                answers[int(data["idx"])] = PairAnswers.from_json(data)
        except (ValueError, KeyError, TypeError):
            continue
    return answers, problems


def keep_lines(path: Path, answers: Mapping[int, PairAnswers], problems: Mapping[int, str]) -> None:
    """Write the file anew, without a line that was half written when a process died."""
    lines = [json.dumps(asdict(one)) for one in answers.values()]
    lines += [json.dumps({"idx": idx, "problem": problem}) for idx, problem in problems.items()]
    write_whole(path, "".join(line + "\n" for line in lines))
