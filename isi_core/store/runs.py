"""The store: every evaluation that was made, found again by what was asked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation, ModelRecord
from isi_core.domain.home import HOME_VARIABLE, home_folder
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.store.database import Database
from isi_core.store.pictures import Pictures, to_png
from isi_core.store.serialization import evaluation_from_json, evaluation_to_json

__all__ = ["HOME_VARIABLE", "Store", "StoredRun", "home_folder"]


@dataclass(frozen=True)
class StoredRun:
    """A stored evaluation in brief; `Store.load` gives the whole. None for what was not measured.

    Attributes
    ----------
    id : its number in the store.
    created : ISO 8601 time, UTC.
    dataset, observation_id, label, session : where it came from.
    digest, image_digest : of the trial and of its picture.
    verdict, truth : yes, no or unclear; yes, no or unknown.
    semantic_entropy : in nats.
    attention_image, attention_context, attention_question : relative shares; they sum to one.
    drawn : number of changes that are not presets: drawings, noise, words typed by hand.
    tags : words a person put on it, separated by spaces; "" for none.
    note : what a person wrote about it.
    """

    id: int
    created: str
    dataset: str
    observation_id: str
    label: str
    session: str
    digest: str
    image_digest: str
    model_name: str
    image_kind: str
    context_kind: str
    question: str
    answer: str | None
    verdict: str | None
    truth: str
    semantic_entropy: float | None
    n_clusters: int | None
    attention_image: float | None
    attention_context: float | None
    attention_question: float | None
    drawn: int = 0
    tags: str = ""
    note: str = ""


BRIEF = ", ".join(StoredRun.__dataclass_fields__)


class Store:
    """Runs in one folder: a SQLite file and pictures beside it. Safe to use from any thread and several processes.

    Attributes
    ----------
    folder : where everything lies.
    database : the file; background jobs keep their state in it too.
    pictures : the pictures of the runs.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open or make the store in `folder`, by default `home_folder()`.

        Raises
        ------
        InputError : the folder cannot be written, or the database is damaged or a newer version's.
        """
        self.folder = folder or home_folder()
        self.database = Database(self.folder)
        self.pictures = Pictures(self.folder / "pictures")

    def save(self, evaluation: Evaluation, *, dataset: str, label: str = "", session: str = "") -> int:
        """Store an evaluation with its picture and return its number.

        Raises
        ------
        InputError : the disk is full or cannot be written; nothing is stored then.
        """
        trial = evaluation.trial
        values = {
            "dataset": dataset,
            "label": label,
            "session": session,
            **_columns(evaluation),
            "data": json.dumps(evaluation_to_json(evaluation)),
        }
        # SQLite takes no lone surrogates; the whole, in `data`, keeps them.
        values = {k: v.encode("utf-8", "replace").decode() if isinstance(v, str) else v for k, v in values.items()}
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        png = None if self.pictures.path(trial.image_digest).exists() else to_png(trial.image)
        with self.database.transaction() as connection:
            # Inside the transaction, so that a deletion elsewhere does not take the picture away in between.
            if not self.pictures.path(trial.image_digest).exists():
                self.pictures.save(trial.image_digest, png or to_png(trial.image))
            row = connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", list(values.values()))
            return int(row.lastrowid or 0)

    def recent(self, limit: int = 20, session: str | None = None) -> list[StoredRun]:
        """The last runs, newest first; of one session where it is given, else those that no sweep made."""
        # A sweep makes a thousand runs in an hour: among them nobody would find what they asked by hand.
        where, values = (
            ("AND session = ?", [session]) if session is not None else ("AND session NOT LIKE ?", ["sweep %"])
        )
        with self.database.reading() as connection:
            rows = connection.execute(
                f"SELECT {BRIEF} FROM runs WHERE deleted = '' {where} ORDER BY id DESC LIMIT ?", [*values, limit]
            ).fetchall()
        return [StoredRun(*row) for row in rows]

    def load(self, run_id: int) -> Evaluation:
        """The whole evaluation of a run.

        Raises
        ------
        InputError : there is no such run, or its picture is gone.
        """
        with self.database.reading() as connection:
            row = connection.execute("SELECT data, image_digest FROM runs WHERE id = ?", [run_id]).fetchone()
        if row is None:
            raise _gone(run_id)
        data, digest = row
        return evaluation_from_json(_read(data, run_id), self.pictures.load(digest))

    def brief(self, run_id: int) -> StoredRun:
        """A run in brief.

        Raises
        ------
        InputError : there is no such run.
        """
        with self.database.reading() as connection:
            row = connection.execute(f"SELECT {BRIEF} FROM runs WHERE id = ?", [run_id]).fetchone()
        if row is None:
            raise _gone(run_id)
        return StoredRun(*row)

    def find(
        self, digest: str, model: ModelRecord, decoding: Decoding, settings: UncertaintySettings | None = None
    ) -> Evaluation | None:
        """What this model already answered to the same trial under the same decoding; None where it did not.

        Of several runs the one that measured most comes back. With `settings` given, an
        uncertainty taken under other settings is left out. The trial that comes back has
        the same pixels and text, but may have come about otherwise (another preset).
        """
        wanted = _canonical(settings.to_json()) if settings else ""
        with self.database.reading() as connection:
            row = connection.execute(
                """
                SELECT id FROM runs WHERE digest = ? AND model = ? AND decoding = ? AND deleted = ''
                ORDER BY (settings <> '' AND ? IN ('', settings)) + (attention_image IS NOT NULL) DESC,
                         (settings <> '' AND ? IN ('', settings)) DESC, id DESC
                LIMIT 1
                """,
                [digest, _canonical(model.to_json()), _canonical(decoding.to_json()), wanted, wanted],
            ).fetchone()
        if row is None:
            return None
        try:
            found = self.load(row[0])
        except InputError:  # deleted by another process in between, or its picture is gone: ask again
            return None
        if settings and found.uncertainty and found.uncertainty.settings != settings:
            return replace(found, uncertainty=None)
        return found

    def find_measured(
        self, digest: str, model: ModelRecord, decoding: Decoding, settings: UncertaintySettings | None, attention: bool
    ) -> int | None:
        """The newest run of exactly this question to this model that measured everything asked for; None for none.

        `settings` None asks for no uncertainty.
        """
        with self.database.reading() as connection:
            row = connection.execute(
                "SELECT id FROM runs WHERE digest = ? AND model = ? AND decoding = ? AND answer IS NOT NULL "
                "AND deleted = '' AND ? IN ('', settings) AND (attention_image IS NOT NULL OR NOT ?) "
                "ORDER BY id DESC LIMIT 1",
                [
                    digest,
                    _canonical(model.to_json()),
                    _canonical(decoding.to_json()),
                    _canonical(settings.to_json()) if settings else "",
                    attention,
                ],
            ).fetchone()
        return int(row[0]) if row else None

    def delete(self, run_id: int) -> None:
        """Remove a run, and its picture when no other run shows it; one that is not there is no error."""
        with self.database.transaction() as connection:
            row = connection.execute("SELECT image_digest FROM runs WHERE id = ?", [run_id]).fetchone()
            if row is None:
                return
            connection.execute("DELETE FROM runs WHERE id = ?", [run_id])
            (left,) = connection.execute("SELECT count(*) FROM runs WHERE image_digest = ?", row).fetchone()
            if not left:
                self.pictures.delete(row[0])

    def count(self) -> int:
        """Number of stored runs; those in the bin do not count."""
        with self.database.reading() as connection:
            (number,) = connection.execute("SELECT count(*) FROM runs WHERE deleted = ''").fetchone()
        return int(number)

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def _columns(evaluation: Evaluation) -> dict[str, Any]:
    """What is searched and listed without reading the whole."""
    trial, answer = evaluation.trial, evaluation.answer
    uncertainty, attribution = evaluation.uncertainty, evaluation.attribution
    shares = attribution.relative if attribution else {}
    return {
        "created": evaluation.created or datetime.now(UTC).isoformat(timespec="seconds"),
        "observation_id": trial.observation_id,
        "digest": trial.digest,
        "image_digest": trial.image_digest,
        "model": _canonical(evaluation.model.to_json()),
        "decoding": _canonical(evaluation.decoding.to_json()),
        "settings": _canonical(uncertainty.settings.to_json()) if uncertainty else "",
        "model_name": evaluation.model.name,
        "image_kind": trial.image_kind,
        "context_kind": trial.context_kind,
        "question": trial.question,
        "drawn": sum(not change.type.endswith("_preset") for change in trial.interventions),
        "answer": answer.text if answer else None,
        "verdict": answer.verdict if answer else None,
        "truth": trial.truth_word,
        "semantic_entropy": uncertainty.semantic_entropy if uncertainty else None,
        "n_clusters": uncertainty.n_clusters if uncertainty else None,
        **{f"attention_{name}": _finite(shares.get(name)) for name in ("image", "context", "question")},
    }


def _gone(run_id: int) -> InputError:
    return InputError(f"There is no run {run_id}: it may have been deleted.")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _canonical(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True)


def _read(data: str, run_id: int) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(data)
    except (json.JSONDecodeError, RecursionError):
        raise InputError(f"Run {run_id} is damaged in the database: delete it and ask again.") from None
    return read
