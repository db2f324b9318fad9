"""A run as tables for a spreadsheet: one row an evaluation, one row a sampled answer; no cell is a formula."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from isi_core.domain.attribution import INPUTS
from isi_core.domain.evaluation import Evaluation
from isi_core.reports.wording import judgement

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
_SAMPLE_COLUMNS = (
    "evaluation",
    "label",
    "sample",
    "cluster",
    "cluster_probability",
    "answer",
    "verdict",
    "tokens",
    "log_likelihood_model",
    "log_likelihood_sampling",
    "finished",
)


def results_csv(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> bytes:
    """One row an evaluation (UTF-8); numbers at full precision, empty cells for what was not measured."""
    pairs = enumerate(zip(evaluations, labels, strict=True), start=1)
    rows = [_result_row(i, evaluation, label) for i, (evaluation, label) in pairs]
    return csv_bytes(rows)


def samples_csv(evaluations: Sequence[Evaluation], labels: Sequence[str]) -> bytes:
    """One row a sampled answer (UTF-8); log-likelihoods are means over tokens, in nats."""
    pairs = enumerate(zip(evaluations, labels, strict=True), start=1)
    return csv_bytes([row for i, (e, label) in pairs for row in _sample_rows(i, e, label)], _SAMPLE_COLUMNS)


def _result_row(place: int, evaluation: Evaluation, label: str) -> dict[str, Any]:
    """One flat row; numbers at full precision, empty cells for what was not measured."""
    trial, model, decoding = evaluation.trial, evaluation.model, evaluation.decoding
    answer, uncertainty, attribution = evaluation.answer, evaluation.uncertainty, evaluation.attribution
    return {
        "evaluation": place,
        "label": label,
        "observation": trial.observation_id,
        "image_kind": trial.image_kind,
        "context_kind": trial.context_kind,
        "question_kind": trial.question_kind,
        "interventions": len(trial.interventions),
        "question": trial.question,
        "context": trial.context,
        "truth": trial.truth_word,
        "answer": answer.text if answer else None,
        "verdict": answer.verdict if answer else None,
        "judgement": judgement(evaluation).word,
        "answer_log_likelihood": answer.mean_log_likelihood() if answer else None,
        "semantic_entropy": uncertainty.semantic_entropy if uncertainty else None,
        "cluster_assignment_entropy": uncertainty.cluster_assignment_entropy if uncertainty else None,
        "predictive_entropy": uncertainty.predictive_entropy if uncertainty else None,
        "rao_entropy": uncertainty.rao_entropy if uncertainty else None,
        "n_clusters": uncertainty.n_clusters if uncertainty else None,
        "rule": uncertainty.settings.rule if uncertainty else None,
        "likelihood": uncertainty.settings.likelihood if uncertainty else None,
        "entailment_model": uncertainty.settings.entailment_model if uncertainty else None,
        **{f"attention_{n}": attribution.relative[n] if attribution else None for n in INPUTS[:-1]},
        **{f"attention_absolute_{n}": attribution.absolute[n] if attribution else None for n in INPUTS},
        "model": model.name,
        "source": model.source,
        "revision": model.revision,
        "dtype": model.dtype,
        "quantization": model.quantization,
        "device": model.device,
        **decoding.to_json(),
        "created": evaluation.created,
        "digest": trial.digest,
    }


def _sample_rows(place: int, evaluation: Evaluation, label: str) -> list[dict[str, Any]]:
    uncertainty = evaluation.uncertainty
    if uncertainty is None:
        return []
    return [
        {
            "evaluation": place,
            "label": label,
            "sample": i,
            "cluster": cluster + 1,
            "cluster_probability": uncertainty.cluster_probabilities[cluster],
            "answer": answer.text,
            "verdict": answer.verdict,
            "tokens": len(answer.token_ids),
            "log_likelihood_model": answer.mean_log_likelihood("model"),
            "log_likelihood_sampling": answer.mean_log_likelihood("sampling"),
            "finished": answer.finished,
        }
        for i, (answer, cluster) in enumerate(zip(uncertainty.samples, uncertainty.semantic_ids, strict=True), 1)
    ]


def cell(value: Any) -> str:
    """A value for a spreadsheet: what would be read as a formula gets an apostrophe in front, unless it is a number."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (bool, int, float)):
        return str(value)
    text = str(value).encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
    if not text.lstrip(" ").startswith(_FORMULA_STARTS) or _is_number(text):
        return text
    return f"'{text}"


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None


def csv_bytes(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> bytes:
    """Rows as CSV (UTF-8) under `columns`, else under every name that a row has, in the order they come."""
    names = columns if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(names)
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return buffer.getvalue().encode()
