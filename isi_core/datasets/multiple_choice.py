"""Multiple choice in MMMU's form as yes/no questions: each row becomes one, about its right option or a wrong one.

MMMU: Yue et al., CVPR 2024. Rows with several pictures, pictures as options, or open answers cannot be converted.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from random import Random
from typing import Any

from isi_core.datasets.tables import Table, text_of

NEEDED = ("question", "options", "answer", "image_1")
_PICTURE = re.compile(r"<image\s*\d*>")
_FIRST = re.compile(r"<image\s*1?>")
_ID = re.compile(r"(?:dev|validation|test)_(.+)_\d+")
_LONGEST = 20_000


def is_multiple_choice(columns: Sequence[str]) -> bool:
    """Whether a table has the columns of MMMU."""
    return set(NEEDED) <= set(columns)


def yes_no_table(table: Table, seed: int = 0) -> Table:
    """The rows that can be asked as yes/no questions, as columns `image, question, answer, family`.

    A row asks of one of its options whether it is the answer: of the right one and of a wrong one equally often on
    average, drawn by lot from the seed and the row's id, so that always saying yes gains nothing.
    """
    rows, problems = [], list(table.problems)
    for number, cells in table.rows:
        try:
            rows.append((number, _row(number, cells, seed)))
        except ValueError as error:
            problems.append(f"Row {number} cannot be asked as a yes/no question: {error}. It is left out.")
    return Table(table.name, ("image", "question", "answer", "family"), tuple(rows), tuple(problems))


def _row(number: int, cells: dict[str, Any], seed: int) -> dict[str, Any]:
    if text_of(cells.get("question_type")) not in ("", "multiple-choice"):
        raise ValueError("it has an open answer")
    if any(cells.get(f"image_{i}") is not None for i in range(2, 8)):
        raise ValueError("it has several pictures")
    options = _options(cells["options"])
    right = ord(text_of(cells["answer"]).strip().upper()[:1] or " ") - ord("A")
    if not 0 <= right < len(options):
        raise ValueError("its answer names none of its options")
    if any(_PICTURE.search(option) for option in options):
        raise ValueError("its options are pictures")
    question = " ".join(_FIRST.sub(" ", text_of(cells["question"])).split())
    if not question or _PICTURE.search(question):
        raise ValueError("its question is empty or speaks of another picture")
    name = text_of(cells.get("id")) or str(number)
    lot = Random(f"multiple choice {seed} {name}")
    said = right if lot.random() < 0.5 else lot.choice([i for i in range(len(options)) if i != right])
    subject = _ID.fullmatch(name)
    return {
        "image": cells["image_1"],
        "question": f"{question} Is the answer “{options[said]}”?",
        "answer": "yes" if said == right else "no",
        "family": text_of(cells.get("subfield")) or (subject[1].replace("_", " ") if subject else ""),
    }


def _options(cell: Any) -> list[str]:
    """The options, also where they are written as a Python list, as in MMMU's files."""
    if isinstance(cell, str):
        if len(cell) > _LONGEST:
            raise ValueError("its options are too long")
        try:
            cell = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise ValueError("its options are no list") from None
    if not isinstance(cell, (list, tuple)):
        raise ValueError("its options are no list")
    options = [" ".join(text_of(option).split()) for option in cell]
    if len(options) < 2 or len(set(options)) < len(options) or not all(options):
        raise ValueError("it has fewer than two options, or the same one twice")
    return options
