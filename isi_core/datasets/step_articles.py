"""How-to articles from files, filtered as WikiOrder filters them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from isi_core.datasets.pictures import open_picture
from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.domain.step_pairs import KINDS, PictureSource

ARTICLES_NAME = "articles.jsonl"
MIN_SIDE = 32
"""Least width and height of a picture in pixels; smaller ones show nothing."""
MAX_TEXT = 1_000
MAX_JSON_BYTES = 500_000_000
MAX_ARTICLES = 200_000
UNSORTED = "uncategorized"

_TITLES = ("title", "goal", "task", "name")
_CATEGORIES = ("category", "category_hierarchy", "categories")
_HEADLINES = ("headline", "text", "title", "step", "description")
_PICTURES = ("image", "img", "picture", "image_path", "img_path")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")


@dataclass(frozen=True)
class ArticleStep:
    """One step: what it says and its picture."""

    headline: str
    image: PictureSource


@dataclass(frozen=True)
class StepArticle:
    """An illustrated how-to with at least two steps, in their order.

    Attributes
    ----------
    source : what it is a part of; articles of one source (the methods of one how-to) never lie in two splits.
    kind : what decides the order of its steps: picture, words, both, or "" where nobody knows.
    """

    source: str
    title: str
    category: str
    steps: tuple[ArticleStep, ...]
    kind: str = ""


@dataclass(frozen=True)
class ArticleSet:
    """Articles that passed the filters.

    Attributes
    ----------
    problems : one sentence for each article, step or file that was left out, with its name.
    skipped : articles that were left out.
    """

    name: str
    articles: tuple[StepArticle, ...]
    problems: tuple[str, ...] = ()
    skipped: int = 0


@dataclass(frozen=True)
class _RawStep:
    headline: str
    image: str


@dataclass(frozen=True)
class _RawArticle:
    """An article as it stands in a file, nothing checked; `name` is how problems call it."""

    name: str
    source: str
    title: str
    category: str
    kind: str
    steps: tuple[_RawStep, ...]
    folder: Path


class _Unusable(Exception):
    """Why an article or a record is left out."""


def read_articles(source: Path, min_side: int = MIN_SIDE, progress: Progress | None = None) -> ArticleSet:
    """Articles of a WikiPlan-like folder or file, with the paper's filters.

    Read are: a JSON list or JSON lines of `{title, category, steps: [{headline, image}]}` (wikiHow's names `goal`,
    `category_hierarchy`, `methods`, `img` count too; every method is an article of the same source), in a file or in
    a folder of such files; and WikiPlan's own folders, one an article, with `task.txt`, `step_1.txt`, `step_1.png` ...
    Pictures are named relative to their JSON file, or lie in the folder `images` beside it.

    The filters: an article is left out when a step has no headline or no picture that can be opened, when a picture
    is less than `min_side` pixels wide or high, or when fewer than two steps differ; each is named and counted.

    Raises
    ------
    InputError : there is nothing at `source`, or no article in it can be used.
    """
    problems: list[str] = []
    articles: list[StepArticle] = []
    skipped = 0
    raw = list(_raw_articles(source, problems))
    for number, item in enumerate(raw):
        if progress is not None and number % 20 == 0:
            progress(f"Reading article {number + 1:,} of {len(raw):,}", number / len(raw))
        if isinstance(item, str):
            problems.append(item)
            skipped += 1
            continue
        try:
            articles.append(_checked(item, min_side, problems))
        except _Unusable as reason:
            problems.append(f"{item.name}: {reason}; the article is left out.")
            skipped += 1
    if not articles:
        first = f" ({problems[0]})" if problems else ""
        raise InputError(f"{source.name} holds no article that can be used{first}: see the format in the README.")
    return ArticleSet(source.stem if source.is_file() else source.name, tuple(articles), tuple(problems), skipped)


def _checked(raw: _RawArticle, min_side: int, problems: list[str]) -> StepArticle:
    """The article, its files found and opened; raises `_Unusable`."""
    if not raw.title:
        raise _Unusable("it has no title")
    if len(raw.steps) < 2:
        raise _Unusable(f"it has {'one step' if raw.steps else 'no steps'}")
    steps: list[ArticleStep] = []
    seen: set[tuple[str, bytes]] = set()
    for number, step in enumerate(raw.steps, 1):
        if not step.headline:
            raise _Unusable(f"step {number} has no headline")
        if not step.image:
            raise _Unusable(f"step {number} has no picture")
        path = file_inside(raw.folder, step.image)
        if path is None:
            raise _Unusable(f"the picture of step {number}, {step.image[:80]}, is missing")
        try:
            picture = open_picture(path)
        except InputError as error:
            raise _Unusable(f"step {number}: {str(error).rstrip('.')}") from None
        if min(picture.size) < min_side:
            raise _Unusable(f"the picture of step {number} is {picture.width} x {picture.height} pixels, "
                            f"less than {min_side}")  # fmt: skip
        key = (step.headline.casefold(), hashlib.sha256(picture.tobytes()).digest())
        if key in seen:
            problems.append(f"{raw.name}: step {number} is the same as a step before it; the step is left out.")
            continue
        seen.add(key)
        steps.append(ArticleStep(step.headline, path))
    if len(steps) < 2:
        raise _Unusable("all of its steps are the same")
    return StepArticle(raw.source, raw.title, raw.category or UNSORTED, tuple(steps), raw.kind)


def file_inside(folder: Path, name: str) -> Path | None:
    """The file of this name in the folder or in its `images`, never one outside of it."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if relative.is_absolute() or ".." in relative.parts or "\0" in name:
        return None
    root = folder.resolve()
    for candidate in (folder / relative, folder / "images" / relative):
        try:
            path = candidate.resolve()
            if path.is_file() and path.is_relative_to(root):
                return candidate
        except OSError:
            continue
    return None


def _raw_articles(source: Path, problems: list[str]) -> Iterator[_RawArticle | str]:
    """Every article found, or the sentence that says why it cannot be read at all."""
    if source.is_file():
        yield from _from_file(source, source.parent)
        return
    if not source.is_dir():
        raise InputError(f"There is no file or folder {source}: check the path.")
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in (".json", ".jsonl") and path.is_file())
    folders = sorted(path.parent for path in source.glob("*/task.txt"))
    if not files and not folders:
        raise InputError(f"{source} holds no articles: a JSON file or WikiPlan's task folders are needed.")
    for path in files:
        yield from _from_file(path, source)
    for folder in folders:
        yield from _from_task_folder(folder)


def _from_file(path: Path, folder: Path) -> Iterator[_RawArticle | str]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{path.name} is larger than {MAX_JSON_BYTES // 10**6} MB: split it.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}): check the file.") from None
    except UnicodeDecodeError:
        yield f"{path.name} is not UTF-8 text: save it as UTF-8."
        return
    for number, entry in enumerate(json_entries(text), 1):
        if number > MAX_ARTICLES:
            yield f"{path.name}: only the first {MAX_ARTICLES:,} articles are read."
            return
        name = f"{path.name}, article {number}"
        if not isinstance(entry, Mapping):
            yield f"{name} is not a JSON object; it is left out."
            continue
        yield from _from_entry(entry, name, f"{path.name}:{number}", folder)


def json_entries(text: str) -> Iterator[object]:
    """The entries of a JSON list, one JSON object, or JSON lines; None for a line that is no JSON."""
    try:
        whole = json.loads(text)
        yield from whole if isinstance(whole, list) else [whole]
        return
    except (ValueError, RecursionError):
        pass
    for line in text.split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def _from_entry(entry: Mapping[str, Any], name: str, source: str, folder: Path) -> Iterator[_RawArticle | str]:
    title = _first_text(entry, _TITLES)
    kind = entry.get("kind", "")
    shared = (title, _first_text(entry, _CATEGORIES), kind if kind in KINDS else "")
    # An id of the source's own says better which articles belong together than its place in the file.
    own = entry.get("file_id", entry.get("source", ""))
    source = str(own)[:200] if isinstance(own, str | int) and own != "" else source
    methods = entry.get("methods", entry.get("sections"))
    if "steps" not in entry and isinstance(methods, list) and methods:
        for number, method in enumerate(methods, 1):
            if isinstance(method, Mapping):
                yield _RawArticle(f"{name}, method {number}", source, *shared, _steps(method.get("steps")), folder)
            else:
                yield f"{name}, method {number} is not a JSON object; it is left out."
        return
    yield _RawArticle(name, source, *shared, _steps(entry.get("steps")), folder)


def _steps(found: object) -> tuple[_RawStep, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(
        _RawStep(_first_text(step, _HEADLINES), _first_text(step, _PICTURES))
        if isinstance(step, Mapping)
        else _RawStep(_text(step), "")
        for step in found
    )


def _first_text(entry: Mapping[str, Any], names: Sequence[str]) -> str:
    """The text under the first of these names; of a list (a category's hierarchy) the topmost."""
    for name in names:
        value = entry.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        if text := _text(value):
            return text
    return ""


def _text(value: object) -> str:
    """One line of text, in bounds; "" for anything else."""
    return re.sub(r"\s+", " ", value).strip()[:MAX_TEXT] if isinstance(value, str) else ""


def _from_task_folder(folder: Path) -> Iterator[_RawArticle | str]:
    def line(name: str) -> str:
        try:
            return _text((folder / name).read_text(encoding="utf-8-sig")[: 4 * MAX_TEXT])
        except (OSError, UnicodeDecodeError):
            return ""

    numbers = sorted(
        int(found.group(1)) for path in folder.iterdir() if (found := re.fullmatch(r"step_(\d{1,4})\.txt", path.name))
    )
    steps = tuple(
        _RawStep(
            line(f"step_{n}.txt"),
            next((f"step_{n}{s}" for s in _SUFFIXES if (folder / f"step_{n}{s}").is_file()), ""),
        )
        for n in numbers
    )
    yield _RawArticle(folder.name, folder.name, line("task.txt"), line("category.txt"), "", steps, folder)
