"""What the page Semantic Uncertainty shows as tables, on the page and for a spreadsheet; no cell is a formula."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isi_core.domain.evaluation import Evaluation
from isi_core.measures.answer_groups import ComparedAnswers, Grouping, Groups, group
from isi_core.measures.convergence import Step
from isi_core.measures.semantic_entropy import cluster_assignment_entropy
from isi_core.measures.side_by_side import MeasureRow
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number


@dataclass(frozen=True)
class ClusterRow:
    """A cluster as a report lists it: probability, share of the answers, and its texts with their counts."""

    probability: float
    share: float
    texts: tuple[tuple[str, int], ...]


def measure_range(row: MeasureRow) -> str:
    """The range of a measure in words, with its unit."""
    unit = f" {row.unit}" if row.unit else ""
    if math.isinf(row.high):
        return f"from {_end(row.low)}{unit}"
    return f"{_end(row.low)} to {_end(row.high)}{unit}"


def _end(value: float) -> str:
    return str(int(value)) if value.is_integer() else number(value)


def measures_csv(rows: Sequence[MeasureRow], settings: Mapping[str, Any]) -> bytes:
    """One row a measure (UTF-8), then how it was measured; empty cells for what was not measured or has no bound."""
    table = [
        {
            "measure": row.key,
            "value": row.value,
            "unit": row.unit,
            "low": row.low,
            "high": None if math.isinf(row.high) else row.high,
            "unsure_is": row.unsure,
            "meaning": row.meaning,
            "source": row.source,
            **settings,
        }
        for row in rows
    ]
    return csv_bytes(table)


def answers_csv(answers: ComparedAnswers, groups: Groups) -> bytes:
    """One row an answer (UTF-8): cluster, likelihoods, and every token with its log-likelihoods as JSON lists."""
    return csv_bytes(
        [
            {
                "answer": place,
                "text": answer.text,
                "cluster": cluster + 1,
                "cluster_probability": float(groups.probabilities[cluster]),
                "log_likelihood": float(groups.log_likelihoods[place - 1]) if groups.available else None,
                "tokens": json.dumps(answer.tokens, ensure_ascii=False),
                "token_log_likelihoods_model": json.dumps(answer.log_likelihoods),
                "token_log_likelihoods_sampling": json.dumps(answer.sampling_log_likelihoods),
            }
            for place, (answer, cluster) in enumerate(zip(answers.samples, groups.ids, strict=True), start=1)
        ]
    )


def entailment_csv(answers: ComparedAnswers) -> bytes:
    """One row an ordered pair of answers (UTF-8): 0 contradiction, 1 neutral, 2 entailment, and P(entailment)."""
    n = len(answers)
    return csv_bytes(
        [
            {
                "answer": i + 1,
                "implies": j + 1,
                "label": int(answers.implications[i, j]),
                "entailment_probability": float(answers.entailment_probabilities[i, j]),
            }
            for i in range(n)
            for j in range(n)
            if i != j
        ]
    )


def convergence_csv(steps: Sequence[Step]) -> bytes:
    """One row a subset size (UTF-8), in nats."""
    return csv_bytes([{"n": s.n, "mean": s.mean, "low": s.low, "high": s.high, "close": s.close} for s in steps])


def sweep_points(evaluations: Sequence[Evaluation], grouping: Grouping) -> list[tuple[float, float, float]]:
    """(temperature, semantic entropy, discrete semantic entropy) of each evaluation with samples, coldest first."""
    points = []
    for made in evaluations:
        if made.uncertainty is not None:
            found = group(ComparedAnswers.of(made.uncertainty), grouping)
            points.append((made.decoding.temperature, found.semantic_entropy, cluster_assignment_entropy(found.ids)))
    return sorted(points)


def sweep_csv(evaluations: Sequence[Evaluation], grouping: Grouping) -> bytes:
    """One row a temperature (UTF-8), entropies in nats, with the model and the decoding."""
    by_temperature = {made.decoding.temperature: made for made in evaluations}
    return csv_bytes(
        [
            {
                "temperature": temperature,
                "semantic_entropy": semantic,
                "discrete_semantic_entropy": discrete,
                "rule": grouping.rule,
                "assignment": grouping.assignment,
                "likelihood": grouping.likelihood,
                "length_normalized": grouping.normalized,
                "model": by_temperature[temperature].model.name,
                "revision": by_temperature[temperature].model.revision,
                "digest": by_temperature[temperature].trial.digest,
                **{k: v for k, v in by_temperature[temperature].decoding.to_json().items() if k != "temperature"},
            }
            for temperature, semantic, discrete in sweep_points(evaluations, grouping)
        ]
    )
