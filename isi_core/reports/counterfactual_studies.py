"""Human studies as the paper's Tables 2 and 3, and for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence

from isi_core.measures.statistics import Interval
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, percent
from isi_core.studies.counterfactuals.human_answers import Answer, Chosen, Rated, answer_rows


def rated_rows(found: Sequence[Rated]) -> list[dict[str, str]]:
    """Table 2: edit quality and disentanglement, means of 1 to 5 with 95 % intervals."""
    return [
        {
            "edits": row.name,
            "edit quality (1 to 5)": _mean(row.quality),
            "disentanglement (1 to 5)": _mean(row.disentanglement),
            "ratings": str(row.ratings),
            "raters": str(row.raters),
        }
        for row in found
    ]


def chosen_rows(found: Sequence[Chosen]) -> list[dict[str, str]]:
    """Table 3: the share that named the right attribute of four, with 95 % intervals."""
    return [
        {
            "explanation": row.method,
            "right attribute named": f"{percent(row.right.estimate)} ({percent(row.right.low)} to "
            f"{percent(row.right.high)})",
            "answers": str(row.right.n),
            "raters": str(row.raters),
        }
        for row in found
    ]


def answers_csv(answers: Sequence[Answer]) -> bytes:
    """One row an answer (UTF-8)."""
    return csv_bytes(answer_rows(answers))


def _mean(found: Interval) -> str:
    if not found.bounded:
        return f"{number(found.estimate)} (one rating)"
    return f"{number(found.estimate)} ({number(found.low)} to {number(found.high)})"
