"""A ranking as tables: the paper's Table A and Table 1, and everything else for a spreadsheet; no cell is a formula."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isi_core.datasets.tables import decode
from isi_core.domain.attributes import Attribute
from isi_core.domain.errors import InputError
from isi_core.reports.run_tables import csv_bytes
from isi_core.reports.wording import number, one_line
from isi_core.studies.counterfactuals.results import Result, SetQuality, SetResult

TOP = 10
_MOST_LISTED = 10_000
_MOST_BYTES = 10_000_000
_LONGEST = 300


@dataclass(frozen=True)
class RankedList:
    """Attributes in the order of their influence, from a ranking or from a file.

    Attributes
    ----------
    name : whose list it is: a classifier or a method.
    entries : (attribute as text, score) with None where the file gives no score.
    """

    name: str
    entries: tuple[tuple[str, float | None], ...]

    @classmethod
    def of(cls, result: Result, name: str) -> RankedList:
        """The ranking's attributes with their influences."""
        return cls(name, tuple((found.attribute.text, found.influence) for found in result.ranking))


@dataclass(frozen=True)
class Agreement:
    """How far two ranked lists agree.

    Attributes
    ----------
    shared : attributes that both have.
    spearman : rank correlation over these; NaN for fewer than three.
    top : attributes among the first `of` of both.
    """

    shared: int
    spearman: float
    top: int
    of: int


def top_rows(result: Result, count: int = TOP) -> list[dict[str, str]]:
    """The paper's Table A: the strongest attributes with their scores, to three significant digits.

    Where a reader checked the edits, with how well they did what they say (`SetQuality`).
    """
    read = any(found.quality.drift is not None for found in result.ranking[:count])
    return [
        {
            "rank": str(place),
            "attribute": found.attribute.text,
            "edit": "added" if found.edits[0].sign > 0 else "taken away",
            "influence": number(found.influence),
            "signed mean": number(found.signed.estimate),
            "95 % interval": interval_words(found),
            "valid edits": f"{found.valid} of {found.images}",
            **(_quality_cells(found.quality) if read else {}),
        }
        for place, found in enumerate(result.ranking[:count], start=1)
    ]


def _quality_cells(quality: SetQuality) -> dict[str, str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{number(100 * value)} %"

    return {
        "done": share(quality.done),
        "SSIM": "-" if quality.ssim is None else number(quality.ssim),
        "drift": share(quality.drift),
    }


def interval_words(found: SetResult) -> str:
    """The interval of the signed mean: "0.21 to 0.40"."""
    if not found.signed.bounded:
        return "too few pictures"
    return f"{number(found.signed.low)} to {number(found.signed.high)}"


def beside_rows(first: RankedList, second: RankedList, count: int = TOP) -> list[dict[str, str]]:
    """The paper's Table 1: the top attributes of two classifiers, or of two methods, side by side."""
    names = (first.name, second.name if second.name != first.name else f"{second.name} (2)")

    def entry(ranked: RankedList, place: int) -> str:
        if place >= len(ranked.entries):
            return ""
        text, score = ranked.entries[place]
        return text if score is None else f"{text} ({number(score)})"

    longest = max(len(first.entries), len(second.entries))
    return [
        {"rank": str(place + 1), names[0]: entry(first, place), names[1]: entry(second, place)}
        for place in range(min(count, longest))
    ]


def agreement(first: RankedList, second: RankedList, count: int = TOP) -> Agreement:
    """Rank correlation over what both lists have, and the overlap of their first `count`."""
    from scipy.stats import spearmanr

    ranks = [{_key(text): place for place, (text, _) in enumerate(ranked.entries)} for ranked in (first, second)]
    shared = [key for key in ranks[0] if key in ranks[1]]
    correlation = math.nan
    if len(shared) >= 3:
        correlation = float(spearmanr([ranks[0][k] for k in shared], [ranks[1][k] for k in shared]).statistic)
    heads = [{_key(text) for text, _ in ranked.entries[:count]} for ranked in (first, second)]
    return Agreement(len(shared), correlation, len(heads[0] & heads[1]), min(count, *(len(h) or count for h in heads)))


def _key(text: str) -> str:
    """What two ways to write an attribute have in common: its last label where a file gives no path."""
    return " ".join(text.replace(" > ", " › ").replace("/", " › ").lower().split())


def read_ranked_list(raw: bytes, name: str, known: Sequence[Attribute] = ()) -> RankedList:
    """A ranked list from a file: the JSON of `rank --json`, or text or CSV of one attribute a line, best first.

    A line is an attribute, and after a comma, a semicolon or a tab its score; a head line is skipped. Labels of the
    `known` attributes stand for their whole path.

    Raises
    ------
    InputError : too large, not text, or no attribute in it.
    """
    shown = one_line(name, 60) or "The list"
    if len(raw) > _MOST_BYTES:
        raise InputError(f"{shown} is larger than {_MOST_BYTES // 1_000_000} MB: give a shorter list.")
    text, _ = decode(raw, shown)
    if text.lstrip().startswith("{"):
        try:
            return RankedList.of(Result.from_json(json.loads(text)), shown)
        except (json.JSONDecodeError, RecursionError):
            raise InputError(f"{shown} is not valid JSON: give what `rank --json` wrote, or a CSV.") from None
    paths: dict[str, str] = {}
    for attribute in known:
        for written in (attribute.text, attribute.label, attribute.phrase):
            paths.setdefault(_key(written), attribute.text)
    entries: list[tuple[str, float | None]] = []
    try:
        lines = list(csv.reader(io.StringIO(text), delimiter=_delimiter(text)))
    except csv.Error:
        raise InputError(f"{shown} cannot be read as a table: give one attribute a line.") from None
    for place, line in enumerate(lines):
        cells = [part.strip() for part in line if part.strip()]
        # A leading number is the rank.
        if len(cells) > 1 and _score(cells[0]) is not None:
            cells = cells[1:]
        if not cells or (place == 0 and len(cells) > 1 and all(_score(c) is None for c in cells)):
            continue
        label = one_line(cells[0], _LONGEST)
        if not any(character.isalpha() for character in label):
            continue
        score = next((s for s in map(_score, cells[1:]) if s is not None), None)
        written = paths.get(_key(label), label)
        if all(written != other for other, _ in entries[-1000:]):
            entries.append((written, score))
    if not entries or len(entries) > _MOST_LISTED:
        raise InputError(f"{shown} holds no list of attributes that can be used: give one a line, the best first.")
    return RankedList(shown, tuple(entries))


def _delimiter(text: str) -> str:
    head = text[:2000]
    return max("\t;,", key=head.count)


def _score(text: str) -> float | None:
    try:
        value = float(text.replace("−", "-"))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def ranking_csv(result: Result) -> bytes:
    """One row an attribute (UTF-8): its levels, influence, signed mean with interval, floor, valid edits, their
    quality (`SetQuality`), flags."""
    rows = []
    for place, found in enumerate((*result.ranking, *result.apart), start=1):
        levels = [*found.attribute.path, "", ""][:3]
        rows.append(
            {
                "rank": place if found.ranked else None,
                **{f"level_{i}": label for i, label in enumerate(levels, start=1)},
                "attribute": found.attribute.phrase,
                "influence": found.influence,
                "signed": found.signed.estimate,
                "low": found.signed.low,
                "high": found.signed.high,
                "level": found.signed.level,
                "floor": found.floor,
                "mean_score": found.f,
                "images": found.images,
                "edits_valid": found.valid,
                "edits_done": found.quality.done,
                "ssim_outside": found.quality.ssim,
                "pixels_changed_outside": found.quality.pixels,
                "others_drifted": found.quality.drift,
                "flagged": "; ".join(f"{reason} ({count})" for reason, count in found.flagged.items()),
                **_provenance(result),
            }
        )
    return csv_bytes(rows)


def deltas_csv(result: Result) -> bytes:
    """One row an edit of a picture (UTF-8): score before and after, and why it was flagged."""
    names = dict(result.pictures)
    joint = [j.whole for j in result.joint]
    return csv_bytes(
        [
            {
                "edit": " and ".join(edit.text for edit in found.edits),
                "attributes": " and ".join(edit.attribute.text for edit in found.edits),
                "picture": names.get(delta.picture, ""),
                "picture_digest": delta.picture,
                "score_before": delta.base,
                "score_after": delta.score,
                "change": delta.change,
                "valid": delta.valid,
                "flags": "; ".join(delta.reasons),
                "read_before": _read(delta.quality.before),
                "read_after": _read(delta.quality.after),
                "ssim_outside": delta.quality.ssim,
                "pixels_changed_outside": delta.quality.pixels,
                "others_drifted": delta.quality.drift,
            }
            for found in (*result.sets, *joint, *result.opposite)
            for delta in found.deltas
        ]
    )


def _read(probabilities: Sequence[float | None]) -> str:
    """Of each edited attribute, in their order; empty where nothing read them."""
    return "; ".join("" if p is None else number(p) for p in probabilities)


def joint_csv(result: Result) -> bytes:
    """One row a joint edit (UTF-8): its parts, what they do alone, together, and beyond their sum."""
    return csv_bytes(
        [
            {
                "attributes": " and ".join(edit.text for edit in joint.whole.edits),
                "influence": joint.whole.influence,
                "signed": joint.whole.signed.estimate,
                "low": joint.whole.signed.low,
                "high": joint.whole.signed.high,
                "parts": "; ".join(number(part) for part in joint.parts),
                "sum_of_parts": sum(joint.parts),
                "interaction": joint.interaction.estimate,
                "interaction_low": joint.interaction.low,
                "interaction_high": joint.interaction.high,
                "images": joint.whole.images,
                "edits_valid": joint.whole.valid,
            }
            for joint in result.joint
        ]
    )


def _provenance(result: Result) -> dict[str, Any]:
    """Where a row comes from: the classifier, the editor, the class and the settings that are single values."""
    plain = {
        key: value for key, value in result.settings.items() if isinstance(value, (str, int, float, bool)) or not value
    }
    names = {key: value.get("name", "") for key, value in result.settings.items() if isinstance(value, Mapping)}
    return {"class": result.class_label, **names, **{k: v for k, v in plain.items() if k not in names}}
