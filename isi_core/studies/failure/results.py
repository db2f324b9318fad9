"""What a failure benchmark found, as data: cases, linter findings, scores of explainers, comparisons."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.store.whole_file import write_whole
from isi_core.studies.failure.plan import FailurePlan

Split = Literal["train", "validation", "test"]
Severity = Literal["severe", "warning", "note"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_FORMAT = 1
_NUMBERS = ("p_value", "p_holm", "train_auc", "validation_auc", "average_precision", "brier")


@dataclass(frozen=True)
class Case:
    """One input that the model got right or wrong.

    Attributes
    ----------
    id : names the case within its run.
    success : the answer agrees with the truth; this is the label (1 success, 0 failure).
    split : which part of the benchmark it belongs to.
    item : what it was made from: an observation's id, or an id of the task's file.
    question, context : the text the model was shown; `context` is "" where there was none.
    answer, truth : in words.
    options : the choices of a text task; empty for a picture.
    option_likelihoods : log p of each option, in nats; for a picture those of "yes" and "no" as first token.
    answer_likelihood : mean log p of a generated answer's tokens, in nats a token; for a text task log p of the
        chosen option, in nats; NaN where not known.
    prompt_tokens : length of the prompt.
    cut : the prompt did not fit and lost tokens.
    context_kind : none, complementary, contradictory, random, or "" for a text task.
    family : the question's family, "" where there is none.
    image_kind : natural, annotated, ... or "" for a text task.
    picture : file of the picture in the run's folder, such as `pictures/0a1b2c3d4e5f6071.png`; "" for a text task.
    reevaluated : whether the model's own answer is right where the label was given; None where the label is that.
    """

    id: str
    success: bool
    split: Split
    item: str
    question: str
    context: str = ""
    answer: str = ""
    truth: str = ""
    options: tuple[str, ...] = ()
    option_likelihoods: tuple[float, ...] = ()
    answer_likelihood: float = float("nan")
    prompt_tokens: int = 0
    cut: bool = False
    context_kind: str = ""
    family: str = ""
    image_kind: str = ""
    picture: str = ""
    reevaluated: bool | None = None


@dataclass(frozen=True)
class LintFinding:
    """One defect of a data set that would fool its user.

    Attributes
    ----------
    check : which check found it, such as `label explained by order`.
    severity : `severe` (scores mean nothing), `warning` (they may mislead), `note`.
    count : items that are concerned.
    examples : ids or short texts of some of them.
    advice : what was found and what to do, in plain words.
    """

    check: str
    severity: Severity
    count: int
    examples: tuple[str, ...]
    advice: str

    def to_json(self) -> dict[str, Any]:
        """The keys that `failure lint --json` prints."""
        return {
            "check": self.check,
            "severity": self.severity,
            "count": self.count,
            "examples": list(self.examples),
            "advice": self.advice,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LintFinding:
        """The finding from `to_json`'s form."""
        return cls(**{**data, "examples": tuple(data["examples"])})


@dataclass(frozen=True)
class CalibrationBin:
    """Test cases whose score lies in [low, high): their mean score and the share of successes among them."""

    low: float
    high: float
    n: int
    mean_score: float
    success_rate: float


@dataclass(frozen=True)
class RiskCoveragePoint:
    """The share of failures (`risk`) among the `coverage` share of test cases with the highest scores."""

    coverage: float
    risk: float


@dataclass(frozen=True)
class ExplainerScore:
    """How well one explainer (at one layer) told success from failure on the test split.

    Attributes
    ----------
    explainer : its key in the registry, such as `last-token`.
    layer : decoder block, 1-based (layer l = output of block l); None where the explainer reads no activations.
    n_train, n_test : cases it learned from and was tested on (fewer than the run's where it needs samples).
    auc : area under the ROC curve with DeLong's 99.9 % interval.
    bootstrap : the same area with the class-stratified bootstrap's interval.
    degenerate : why DeLong's interval means nothing here, in words; "" where it does.
    p_value : two-sided, of AUC = 0.5 (DeLong); NaN where it is degenerate.
    p_holm : the same, corrected over all explainers, layers and tasks that were tested together.
    validation_auc : on the validation split, by which the layer of an explainer is chosen (`BenchmarkResult.best`).
    train_auc : on the training split; 1.0 beside a test AUC of 0.5 says that the probe has memorized.
    average_precision : of success as the positive class.
    brier : mean squared error of the score as probability of success.
    calibration, risk_coverage : curves, on the test split.
    case_ids, scores : the test cases and their predicted probability of success, aligned.
    settings : what was fitted or chosen, such as `{"C": 0.01}`.
    """

    explainer: str
    layer: int | None
    n_train: int
    n_test: int
    auc: Interval
    bootstrap: Interval
    degenerate: str
    p_value: float
    p_holm: float
    train_auc: float
    average_precision: float
    brier: float
    calibration: tuple[CalibrationBin, ...]
    risk_coverage: tuple[RiskCoveragePoint, ...]
    case_ids: tuple[str, ...]
    scores: tuple[float, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    validation_auc: float = float("nan")

    @property
    def key(self) -> str:
        """`last-token @ 5`, or the explainer alone where there is no layer."""
        return self.explainer if self.layer is None else f"{self.explainer} @ {self.layer}"


@dataclass(frozen=True)
class PairedTest:
    """DeLong's test of two explainers on the same test cases.

    Attributes
    ----------
    first, second : keys of the scores, as in `ExplainerScore.key`.
    difference : first AUC minus second, with its interval at the plan's level.
    p_value, p_holm : two-sided, and corrected over all pairs of the run; NaN where the variance is zero.
    """

    first: str
    second: str
    n: int
    difference: Interval
    p_value: float
    p_holm: float


@dataclass(frozen=True)
class PermutationNull:
    """What the best layer reaches when labels mean nothing: the maximum test AUC over layers under shuffled labels.

    Attributes
    ----------
    explainer, layers : whose maximum it is.
    observed : the maximum test AUC over the layers on the real labels.
    maxima : (shuffles,) the same for each shuffle of the labels within every split.
    threshold : 95 % quantile of the maxima.
    p_value : (1 + number of maxima >= observed) / (1 + shuffles).
    """

    explainer: str
    layers: tuple[int, ...]
    observed: float
    maxima: tuple[float, ...]
    threshold: float
    p_value: float


@dataclass(frozen=True)
class Pool:
    """What was asked to collect the cases.

    Attributes
    ----------
    asked : inputs put to the model, unclear answers included.
    successes, failures, unclear : how they came out (an unclear answer counts as failure).
    by_condition : context kind (or "") to (successes, failures).
    """

    asked: int
    successes: int
    failures: int
    unclear: int
    by_condition: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkResult:
    """A finished benchmark: everything a page, a PDF and a CSV need.

    Attributes
    ----------
    plan : the settings; `plan.digest` names the run.
    model : the model's record as JSON.
    pool : what was asked.
    cases : every collected case, all splits.
    findings : the linter's report, severe ones first.
    layers : layers that were probed (1-based), ascending.
    scores : one an explainer and layer.
    comparisons : best layer of each explainer against the others.
    permutation : the null of the plan's chosen explainer; None where it was not asked for.
    control : the chosen explainer's scores on shuffled labels, one a layer; their intervals must hold 0.5.
    skipped : explainer to why it was left out, in words.
    seconds : time by stage.
    library_versions : of what shaped the numbers.
    created : UTC time, ISO 8601.
    """

    plan: FailurePlan
    model: dict[str, Any]
    pool: Pool
    cases: tuple[Case, ...]
    findings: tuple[LintFinding, ...]
    layers: tuple[int, ...]
    scores: tuple[ExplainerScore, ...]
    comparisons: tuple[PairedTest, ...]
    permutation: PermutationNull | None
    control: tuple[ExplainerScore, ...]
    skipped: dict[str, str]
    seconds: dict[str, float]
    library_versions: dict[str, str]
    created: str

    @property
    def severe(self) -> tuple[LintFinding, ...]:
        """Findings that every figure must tell of."""
        return tuple(finding for finding in self.findings if finding.severity == "severe")

    def best(self, explainer: str) -> ExplainerScore | None:
        """The explainer's score at the layer chosen on the validation split; None where it was skipped.

        Never the layer that is best on the test split: picking that by luck is how a null result turns positive.
        """
        mine = [score for score in self.scores if score.explainer == explainer]
        return max(mine, key=lambda s: -1.0 if math.isnan(s.validation_auc) else s.validation_auc, default=None)

    def case(self, case_id: str) -> Case:
        """The case of that id.

        Raises
        ------
        InputError : there is none.
        """
        for case in self.cases:
            if case.id == case_id:
                return case
        raise InputError(f"This run has no case {case_id[:40]!r}: choose one of its own.")

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON values; numbers that are not known (NaN) are null."""
        data = {f.name: plain_json(getattr(self, f.name)) for f in fields(self) if f.name != "plan"}
        return {"format": _FORMAT, "plan": self.plan.to_json(), **data}

    @classmethod
    def from_json(cls, data: Any) -> BenchmarkResult:
        """The result from `to_json`'s form.

        Raises
        ------
        InputError : it is not the file of a finished run.
        """
        try:
            return _read_result(data)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"This is not the result of a failure benchmark ({str(error)[:80]}): choose a finished run."
            ) from error


def save_result(result: BenchmarkResult, folder: Path) -> Path:
    """Write `result.json` into the run's folder; returns its path."""
    path = folder / "result.json"
    write_whole(path, json.dumps(result.to_json(), allow_nan=False))
    return path


def load_result(folder: Path) -> BenchmarkResult:
    """The result of a finished run's folder.

    Raises
    ------
    InputError : there is none, or it cannot be read.
    """
    path = folder / "result.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): is the run finished?") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a JSON file: run the benchmark again.") from None
    return BenchmarkResult.from_json(data)


def plain_json(value: Any) -> Any:
    """Dataclasses, tuples and NaN as JSON has them."""
    if isinstance(value, (LintFinding, Interval)):
        return value.to_json()
    if hasattr(value, "__dataclass_fields__"):
        return {f.name: plain_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _read_result(data: dict[str, Any]) -> BenchmarkResult:
    if data["format"] != _FORMAT:
        raise ValueError(f"format {data['format']!r}")
    null = data["permutation"]
    return BenchmarkResult(
        plan=FailurePlan.from_json(data["plan"]),
        model=dict(data["model"]),
        pool=Pool(
            **{**data["pool"], "by_condition": {k: (v[0], v[1]) for k, v in data["pool"]["by_condition"].items()}}
        ),
        cases=tuple(read_case(case) for case in data["cases"]),
        findings=tuple(LintFinding.from_json(finding) for finding in data["findings"]),
        layers=tuple(data["layers"]),
        scores=_read_scores(data["scores"]),
        comparisons=tuple(
            PairedTest(
                **{
                    **pair,
                    "difference": read_interval(pair["difference"]),
                    "p_value": _number(pair["p_value"]),
                    "p_holm": _number(pair["p_holm"]),
                }
            )
            for pair in data["comparisons"]
        ),
        permutation=null
        and PermutationNull(**{**null, "layers": tuple(null["layers"]), "maxima": tuple(null["maxima"])}),
        control=_read_scores(data["control"]),
        skipped=dict(data["skipped"]),
        seconds=dict(data["seconds"]),
        library_versions=dict(data["library_versions"]),
        created=str(data["created"]),
    )


def case_json(case: Case) -> dict[str, Any]:
    """A case as plain JSON values."""
    data: dict[str, Any] = plain_json(case)
    return data


def read_case(data: dict[str, Any]) -> Case:
    """The case from `case_json`'s form."""
    return Case(
        **{
            **data,
            "options": tuple(data["options"]),
            "option_likelihoods": tuple(_number(value) for value in data["option_likelihoods"]),
            "answer_likelihood": _number(data["answer_likelihood"]),
        }
    )


def _read_scores(data: Iterable[dict[str, Any]]) -> tuple[ExplainerScore, ...]:
    return tuple(
        ExplainerScore(
            **{
                **score,
                "auc": read_interval(score["auc"]),
                "bootstrap": read_interval(score["bootstrap"]),
                **{key: _number(score[key]) for key in _NUMBERS},
                "calibration": tuple(CalibrationBin(**entry) for entry in score["calibration"]),
                "risk_coverage": tuple(RiskCoveragePoint(**entry) for entry in score["risk_coverage"]),
                "case_ids": tuple(score["case_ids"]),
                "scores": tuple(score["scores"]),
            }
        )
        for score in data
    )


def read_interval(data: dict[str, Any]) -> Interval:
    """The interval from `Interval.to_json`'s form."""
    return Interval(
        _number(data["estimate"]), _number(data["low"]), _number(data["high"]), float(data["level"]), int(data["n"])
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
