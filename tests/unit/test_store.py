"""The store: evaluations come back whole, are found again, and nothing is lost when the disk or the file is bad."""

from __future__ import annotations

import json
import math
import resource
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from isi_core.domain.answer import Answer
from isi_core.domain.attribution import Attribution
from isi_core.domain.decoding import Decoding
from isi_core.domain.errors import InputError
from isi_core.domain.evaluation import Evaluation
from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    ContextPreset,
    EditText,
    Freehand,
    GaussianNoise,
    ImagePreset,
    Occlusion,
    QuestionPreset,
    TextLabel,
)
from isi_core.domain.trial import Trial
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.models.entailment.hugging_face import HuggingFaceEntailment
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.store.database import MIGRATIONS, Database
from isi_core.store.runs import Store
from isi_core.store.serialization import evaluation_from_json, evaluation_to_json
from isi_core.studies.vqa import evaluate
from tests.checkpoints import make_trial, save_llava
from tests.unit.test_entailment import save_model

EVERY_INTERVENTION = (
    ImagePreset("random", 3),
    ContextPreset("contradictory"),
    QuestionPreset("random", 2),
    EditText("context", "Red \ud800 مرحبا 🚗 <b>&</b> \x00"),
    Box(0.1, 0.2, 0.3, 0.4, filled=True),
    TextLabel(0.1, 0.1, "x" * 500),
    Arrow(0, 0, 1, 1),
    Freehand(((0.1, 1 / 3), (0.2, 0.7))),
    GaussianNoise(12.5, 7),
    Blur(),
    Occlusion(0, 0, 1, 1),
)
DECODING = Decoding(max_new_tokens=5, n_samples=4, seed=3)


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory: pytest.TempPathFactory) -> list[Evaluation]:
    """Measured by real classes: everything of one trial, the answer alone of two others."""
    folder = tmp_path_factory.mktemp("models")
    vlm = HuggingFaceVLM.load(save_llava(folder / "llava"), "llava")
    nli = HuggingFaceEntailment.load(save_model(folder / "nli", ("contradiction", "neutral", "entailment")), "nli")
    first = replace(make_trial("Red \ud800 🚗.", seed=1), interventions=EVERY_INTERVENTION, truth=None)
    return [
        evaluate(first, vlm, DECODING, {"uncertainty", "attention"}, nli),
        evaluate(make_trial("", seed=1), vlm, DECODING),
        evaluate(make_trial("", seed=2), vlm, DECODING),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def same(a: Any, b: Any) -> bool:
    """Equal through and through, arrays and types of numbers included; but for what is never stored."""
    if isinstance(a, Image.Image):
        return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if is_dataclass(a):
        stored = [f.name for f in fields(a) if not (type(a) is Attribution and f.name == "record")]
        return type(a) is type(b) and all(same(getattr(a, name), getattr(b, name)) for name in stored)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and bool(a == b)


def test_an_evaluation_comes_back_whole(evaluations: list[Evaluation], store: Store) -> None:
    whole = evaluations[0]
    assert whole.uncertainty is not None and whole.attribution is not None and whole.seconds
    text = json.dumps(evaluation_to_json(whole))
    assert same(evaluation_from_json(json.loads(text), whole.trial.image), whole)
    number = store.save(whole, dataset="noise \ud800")
    assert same(store.load(number), whole)
    assert same(Store(store.folder).load(number), whole)
    bare = replace(evaluations[1], answer=None)
    assert same(store.load(store.save(bare, dataset="noise")), bare)


def test_likelihoods_that_are_no_finite_numbers_come_back(evaluations: list[Evaluation], store: Store) -> None:
    whole = evaluations[0]
    assert whole.uncertainty is not None
    odd = replace(
        whole,
        answer=Answer("Yes.", (1,), ("Yes.",), (-math.inf,), (-0.1,), finished=False),
        uncertainty=replace(whole.uncertainty, predictive_entropy=math.nan, likelihoods_available=False),
    )
    assert same(store.load(store.save(odd, dataset="noise")), odd)


def test_the_picture_must_be_the_one_that_was_shown(evaluations: list[Evaluation]) -> None:
    data = evaluation_to_json(evaluations[1])
    with pytest.raises(InputError, match="changed"):
        evaluation_from_json(data, evaluations[2].trial.image)
    data["trial"]["context"] = "other"
    with pytest.raises(InputError, match="changed"):
        evaluation_from_json(data, evaluations[1].trial.image)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("model"),
        lambda d: d.update(format=2),
        lambda d: d.update(trial=[]),
        lambda d: d["trial"].update(interventions=[{"type": "evil"}]),
        lambda d: d["decoding"].update(temperature=-1),
        lambda d: d["decoding"].update(other=1),
        lambda d: d["model"].pop("name"),
        lambda d: d["uncertainty"]["settings"].update(rule="free"),
        lambda d: d["attribution"].update(by_head=[[1], [2, 3]]),
        lambda d: d.update(seconds={"a": "b"}),
        lambda d: d.clear(),
    ],
)
def test_json_from_outside_is_not_trusted(evaluations: list[Evaluation], change: Any) -> None:
    data = json.loads(json.dumps(evaluation_to_json(evaluations[0])))
    change(data)
    with pytest.raises(InputError) as caught:
        evaluation_from_json(data, evaluations[0].trial.image)
    assert "\n" not in str(caught.value)


def test_recent_runs_in_brief(evaluations: list[Evaluation], store: Store) -> None:
    numbers = [store.save(e, dataset="noise", label=f"n{i}", session=f"s{i % 2}") for i, e in enumerate(evaluations)]
    assert store.count() == 3
    last, _, first = store.recent()
    assert (last.id, first.id, last.label) == (numbers[2], numbers[0], "n2")
    whole = evaluations[0]
    assert whole.uncertainty is not None and whole.attribution is not None and whole.answer is not None
    assert (first.answer, first.verdict, first.truth) == (whole.answer.text, whole.answer.verdict, "unknown")
    assert (first.semantic_entropy, first.n_clusters) == (
        whole.uncertainty.semantic_entropy,
        whole.uncertainty.n_clusters,
    )
    assert first.attention_image == whole.attribution.relative["image"]
    assert (last.semantic_entropy, last.attention_image) == (None, None)
    assert [run.id for run in store.recent(1)] == [numbers[2]]
    assert [run.id for run in store.recent(session="s0")] == [numbers[2], numbers[0]]
    with pytest.raises(InputError, match="no run 99"):
        store.load(99)


def test_what_was_answered_is_found_again(evaluations: list[Evaluation], store: Store) -> None:
    whole = evaluations[0]
    assert whole.uncertainty is not None
    asked = (whole.trial.digest, whole.model, whole.decoding)
    assert store.find(*asked) is None
    store.save(whole, dataset="noise")
    store.save(replace(whole, uncertainty=None, attribution=None), dataset="noise")
    settings = whole.uncertainty.settings
    assert same(store.find(*asked), whole)
    assert same(store.find(*asked, settings), whole)
    other = store.find(*asked, replace(settings, rule="strict"))
    assert other is not None and other.uncertainty is None and same(other.answer, whole.answer)
    strict = replace(whole, uncertainty=replace(whole.uncertainty, settings=replace(settings, rule="strict")))
    store.save(replace(strict, attribution=None), dataset="noise")
    found = store.find(*asked, UncertaintySettings("strict", settings.likelihood, settings.entailment_model))
    assert found is not None and found.uncertainty is not None and found.uncertainty.settings.rule == "strict"
    assert store.find(evaluations[1].trial.digest, *asked[1:]) is None
    assert store.find(asked[0], replace(whole.model, quantization="4-bit"), asked[2]) is None
    assert store.find(*asked[:2], replace(DECODING, seed=4)) is None


def test_pictures_are_kept_once_and_as_long_as_a_run_shows_them(evaluations: list[Evaluation], store: Store) -> None:
    numbers = [store.save(e, dataset="noise") for e in (*evaluations, evaluations[1])]
    files = sorted(p.name for p in store.folder.rglob("*.png"))
    assert files == sorted({f"{e.trial.image_digest}.png" for e in evaluations}) and len(files) == 2
    store.delete(numbers[0])
    store.delete(numbers[0])
    store.delete(numbers[1])
    assert same(store.load(numbers[3]), evaluations[1])
    store.delete(numbers[3])
    assert [p.stem for p in store.folder.rglob("*.png")] == [evaluations[2].trial.image_digest]
    assert store.count() == 1 and not list(store.folder.rglob("*.part"))


def test_a_picture_that_was_changed_is_noticed(evaluations: list[Evaluation], store: Store) -> None:
    number = store.save(evaluations[1], dataset="noise")
    [path] = store.folder.rglob("*.png")
    asked = (evaluations[1].trial.digest, evaluations[1].model, DECODING)
    Image.new("RGB", (80, 60)).save(path)
    with pytest.raises(InputError, match="was changed"):
        store.load(number)
    with pytest.raises(InputError, match="was changed"):
        store.pictures.load(evaluations[1].trial.image_digest)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="missing or damaged"):
        store.load(number)
    assert store.find(*asked) is None  # asked again rather than failed
    path.unlink()
    with pytest.raises(InputError, match="missing or damaged"):
        store.load(number)
    store.save(evaluations[1], dataset="noise")
    assert same(store.load(number), evaluations[1])


def test_pictures_are_stored_without_what_else_their_file_carried(store: Store, evaluations: list[Evaluation]) -> None:
    image = evaluations[1].trial.image.copy()
    image.info = {"exif": b"Exif\0\0secret", "icc_profile": b"secret"}
    store.save(replace(evaluations[1], trial=Trial("x", image, "", "Is it?", True)), dataset="noise")
    [path] = store.folder.rglob("*.png")
    assert b"secret" not in path.read_bytes()


def test_many_threads_and_two_stores_on_one_file(evaluations: list[Evaluation], tmp_path: Path) -> None:
    stores = [Store(tmp_path / "home"), Store(tmp_path / "home")]
    start = threading.Barrier(8)

    def work(i: int) -> list[int]:
        start.wait(20)
        store = stores[i % 2]
        numbers = []
        for n in range(6):
            numbers.append(store.save(evaluations[n % 3], dataset=f"d{i}"))
            store.recent(5)
        store.delete(numbers.pop(0))
        assert same(store.load(numbers[0]), evaluations[1])
        return numbers

    with ThreadPoolExecutor(8) as pool:
        numbers = [n for found in pool.map(work, range(8)) for n in found]
    assert len(set(numbers)) == 40 == stores[0].count()
    assert all(store.load(n) is not None for store in stores for n in numbers[:8])


def test_home_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISI_HOME", str(tmp_path / "there"))
    assert Store().folder == tmp_path / "there"
    assert (tmp_path / "there" / "studio.db").is_file()
    monkeypatch.delenv("ISI_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store().folder == tmp_path / ".isi-studio"


def test_the_file_is_in_wal_mode_with_its_version(store: Store) -> None:
    with sqlite3.connect(store.folder / "studio.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


def _newer(path: Path) -> None:
    Database(path.parent).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def _another(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")


def _damaged(path: Path) -> None:
    Database(path.parent).close()
    content = bytearray(path.read_bytes())
    content[100:4000] = b"\xff" * 3900  # the schema's page, after the header
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_newer, "newer ISI Studio"),
        (_another, "another program"),
        (_damaged, "is damaged"),
        (lambda path: path.write_bytes(b"not a database, but long enough to look at" * 30), "is damaged"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_and_left_as_it_is(tmp_path: Path, spoil: Any, message: str) -> None:
    path = tmp_path / "studio.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=message) as caught:
        Store(tmp_path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_damage_behind_the_first_page_is_told_when_it_is_met(evaluations: list[Evaluation], store: Store) -> None:
    for _ in range(5):
        store.save(evaluations[0], dataset="noise")
    store.close()
    path = store.folder / "studio.db"
    content = bytearray(path.read_bytes())
    content[3 * 4096 :] = b"\xff" * (len(content) - 3 * 4096)
    path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        broken = Store(store.folder)
        broken.recent()
        broken.load(5)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match=r"cannot be used .*set ISI_HOME to another folder"):
            Store(folder)
    with pytest.raises(InputError, match="cannot be used"):
        Store(Path("/proc/isi-studio"))


def test_a_file_that_cannot_be_written(evaluations: list[Evaluation], store: Store) -> None:
    with store.database.reading() as connection:
        connection.execute("PRAGMA query_only = 1")
    with pytest.raises(InputError, match="cannot be written"):
        store.save(evaluations[0], dataset="noise")


def test_a_full_disk_stores_nothing_and_the_store_goes_on(evaluations: list[Evaluation], store: Store) -> None:
    store.save(evaluations[1], dataset="noise")
    with store.database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(InputError, match=r"The disk with .* is full"):
        for _ in range(20):
            store.save(evaluations[0], dataset="noise")
    stored = store.count()
    with store.database.reading() as connection:
        connection.execute("PRAGMA max_page_count = 100000")
    store.save(evaluations[2], dataset="noise")
    assert store.count() == stored + 1
    assert all(store.load(run.id) for run in store.recent())


def test_a_transaction_that_fails_writes_nothing(evaluations: list[Evaluation], store: Store) -> None:
    with pytest.raises(ValueError, match="mine"), store.database.transaction():
        store.save(evaluations[1], dataset="noise")
        raise ValueError("mine")
    assert store.count() == 0
    store.save(evaluations[1], dataset="noise")
    assert Store(store.folder).count() == 1


def test_a_picture_that_finds_the_disk_full(store: Store) -> None:
    """A real short write, in a process that may not write long files."""
    code = f"""
import resource
from pathlib import Path
from isi_core.domain.errors import InputError
from isi_core.store.pictures import Pictures
pictures = Pictures(Path({str(store.folder)!r}) / "pictures")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.getrlimit(resource.RLIMIT_FSIZE)[1]}))
try:
    pictures.save("0" * 64, bytes(100_000))
except InputError as error:
    print(error)
print(list(pictures.folder.rglob("*.p*")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert "is full: free some space" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_no_path_leaves_the_pictures_folder(store: Store) -> None:
    for digest in ("../../etc/passwd", "", "0" * 63, "A" * 64, "0" * 64 + "\n"):
        with pytest.raises(InputError, match="no picture's digest"):
            store.pictures.load(digest)
