"""A table of scores from anywhere: its AUC and both intervals by task and layer."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isi_core.domain.errors import InputError
from isi_core.measures.failure_scores import delong_caveat
from isi_core.measures.statistics import Interval, auc_bootstrap, auc_interval

COLUMNS = ("task", "layer", "label", "score")
MOST_ROWS = 5_000_000


@dataclass(frozen=True)
class TableScore:
    """The AUC of one task and layer; `degenerate` says why DeLong's interval means nothing, "" where it does."""

    task: str
    layer: str
    n: int
    delong: Interval
    bootstrap: Interval
    degenerate: str

    def to_json(self) -> dict[str, Any]:
        """The keys that `failure score --json` prints; a layer that is a whole number is one."""
        return {
            "task": self.task,
            "layer": int(self.layer) if self.layer.isascii() and self.layer.isdigit() else self.layer,
            "n": self.n,
            "auc": self.delong.estimate,
            "delong_low": _known(self.delong.low),
            "delong_high": _known(self.delong.high),
            "bootstrap_low": _known(self.bootstrap.low),
            "bootstrap_high": _known(self.bootstrap.high),
        }


def score_table(path: Path, level: float = 0.999, resamples: int = 20_000, seed: int = 0) -> list[TableScore]:
    """AUC of each task and layer of a CSV file with the columns `COLUMNS`, in the order they occur.

    Raises
    ------
    InputError : the file cannot be read, lacks a column, or holds a score or label that is none.
    """
    groups: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for task, layer, label, score in _rows(csv.DictReader(file), path):
                labels, scores = groups.setdefault((task, layer), ([], []))
                labels.append(label)
                scores.append(score)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is not a CSV file in UTF-8: save it as one.") from None
    if not groups:
        raise InputError(f"{path} has no rows: it needs the columns {', '.join(COLUMNS)}.")
    found = []
    for (task, layer), (labels, scores) in groups.items():
        if len(set(labels)) < 2:
            only = "successes" if labels[0] else "failures"
            raise InputError(
                f"All {len(labels)} labels of task {task[:40]}, layer {layer[:20]} are {only}: an AUC needs both."
            )
        found.append(
            TableScore(
                task=task,
                layer=layer,
                n=len(labels),
                delong=auc_interval(labels, scores, level),
                bootstrap=auc_bootstrap(labels, scores, level, resamples, seed),
                degenerate=delong_caveat(labels, scores),
            )
        )
    return found


def _rows(reader: csv.DictReader[str], path: Path) -> Iterable[tuple[str, str, float, float]]:
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]}: it needs {', '.join(COLUMNS)}.")
    for row in reader:
        if reader.line_num > MOST_ROWS:
            raise InputError(f"{path} has more than {MOST_ROWS:,} lines: split it by task.")
        label, score = _number(row["label"]), _number(row["score"])
        if label not in (0.0, 1.0):
            raise InputError(f"{path}, line {reader.line_num}: the label must be 0 (failure) or 1 (success).")
        if not math.isfinite(score):
            raise InputError(
                f"{path}, line {reader.line_num}: the score is not a number: leave the row out or mend it."
            )
        yield row["task"] or "", row["layer"] or "", label, score


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
