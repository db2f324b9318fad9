"""A failure benchmark as tables for a spreadsheet; no cell is a formula."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from isi_core.measures.statistics import Interval
from isi_core.reports.failure_words import explainer_title, name_of, name_of_key, p_words, paired, ranked, severe_words
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number
from isi_core.studies.failure.results import BenchmarkResult, LintFinding


def scores_csv(result: BenchmarkResult) -> bytes:
    """One row an explainer and layer (UTF-8): both intervals, p-values, average precision, Brier score."""
    warning = severe_words(result)
    return csv_bytes(
        [
            {
                "task": result.plan.task,
                "model": result.plan.model,
                "explainer": s.explainer,
                "layer": s.layer,
                "n_train": s.n_train,
                "n_test": s.n_test,
                "auc": s.auc.estimate,
                "level": s.auc.level,
                **_bounds("delong", s.auc),
                **_bounds("bootstrap", s.bootstrap),
                "p_value": _known(s.p_value),
                "p_holm": _known(s.p_holm),
                "train_auc": _known(s.train_auc),
                "average_precision": _known(s.average_precision),
                "brier": _known(s.brier),
                "degenerate": s.degenerate,
                "severe_findings": warning,
            }
            for s in result.scores
        ]
    )


def cases_csv(result: BenchmarkResult) -> bytes:
    """One row a case (UTF-8): what was asked and answered, its split, and the score by every explainer's best layer."""
    best = ranked(result)
    scores = {s.key: dict(zip(s.case_ids, s.scores, strict=True)) for s in best}
    return csv_bytes(
        [
            {
                "case": c.id,
                "item": c.item,
                "split": c.split,
                "label": int(c.success),
                "question": c.question,
                "context": c.context,
                "context_kind": c.context_kind,
                "family": c.family,
                "answer": c.answer,
                "truth": c.truth,
                "prompt_tokens": c.prompt_tokens,
                **{f"score: {key}": found.get(c.id) for key, found in scores.items()},
            }
            for c in result.cases
        ]
    )


def predictions_csv(result: BenchmarkResult) -> bytes:
    """Test scores in the form that `failure score` and the page's own tab read: task, layer, label, score.

    The task names the explainer as well, so that none are mixed; the layer is empty where it reads none.
    """
    success = {c.id: int(c.success) for c in result.cases}
    return csv_bytes(
        [
            {"task": f"{result.plan.task} {s.explainer}", "layer": s.layer, "label": success[case], "score": score}
            for s in result.scores
            for case, score in zip(s.case_ids, s.scores, strict=True)
        ]
    )


def comparisons_csv(result: BenchmarkResult) -> bytes:
    """One row a pair of explainers (UTF-8): DeLong's paired test."""
    return csv_bytes(
        [
            {
                "first": t.first,
                "second": t.second,
                "n": t.n,
                "difference": t.difference.estimate,
                **_bounds("difference", t.difference),
                "p_value": _known(t.p_value),
                "p_holm": _known(t.p_holm),
            }
            for t in result.comparisons
        ]
    )


def findings_csv(findings: Sequence[LintFinding]) -> bytes:
    """One row a finding of the linter (UTF-8)."""
    return csv_bytes([{**f.to_json(), "examples": "; ".join(f.examples)} for f in findings])


def ranking_rows(result: BenchmarkResult) -> list[dict[str, Any]]:
    """The explainers at their best layer as a table to read, each beside the one on top of it."""
    found = ranked(result)
    rows = []
    for place, score in enumerate(found, start=1):
        test = paired(result, score.key, found[0].key) if place > 1 else None
        rows.append(
            {
                "rank": place,
                "explainer": explainer_title(score.explainer),
                "layer": "–" if score.layer is None else str(score.layer),
                "AUC": number(score.auc.estimate),
                "DeLong interval": _words(score.auc),
                "bootstrap interval": _words(score.bootstrap),
                "p (Holm)": _chance(score.p_holm),
                "minus the first": "–"
                if test is None
                else f"{number(test.difference.estimate)} ({_words(test.difference)})",
                "its p (Holm)": "–" if test is None else _chance(test.p_holm),
                "train AUC": _p(score.train_auc),
                "average precision": _p(score.average_precision),
                "Brier": _p(score.brier),
                "test cases": score.n_test,
            }
        )
    return rows


def comparison_rows(result: BenchmarkResult) -> list[dict[str, Any]]:
    """Every paired test as a table to read."""
    return [
        {
            "first": name_of_key(t.first),
            "second": name_of_key(t.second),
            "difference of AUC": number(t.difference.estimate),
            "interval": _words(t.difference),
            "p": _chance(t.p_value),
            "p (Holm)": _chance(t.p_holm),
            "test cases": t.n,
        }
        for t in result.comparisons
    ]


def layer_rows(result: BenchmarkResult) -> list[dict[str, Any]]:
    """Every explainer and layer as a table to read."""
    return [
        {
            "explainer": name_of(s),
            "AUC": number(s.auc.estimate),
            "DeLong interval": _words(s.auc),
            "bootstrap interval": _words(s.bootstrap),
            "p": _chance(s.p_value),
            "p (Holm)": _chance(s.p_holm),
        }
        for s in result.scores
    ]


def _bounds(name: str, found: Interval) -> dict[str, float | None]:
    return {
        f"{name}_low": found.low if found.bounded else None,
        f"{name}_high": found.high if found.bounded else None,
    }


def _words(found: Interval) -> str:
    return f"{number(found.low)} to {number(found.high)}" if found.bounded else "none"


def _p(value: float) -> str:
    return "–" if math.isnan(value) else number(value)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _chance(p: float) -> str:
    return "–" if math.isnan(p) else p_words(p).removeprefix("p ").removeprefix("= ")
