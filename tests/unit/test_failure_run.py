"""The whole benchmark: balanced collection, splits, resuming, pictures and text from plan to result."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from isi_core.datasets.scene_dataset import write_scene_dataset
from isi_core.domain.errors import Cancelled, InputError
from isi_core.models.catalogue import DEFAULT_VLM, EMBEDDED
from isi_core.models.shelf import Shelf
from isi_core.models.vlm.hugging_face import HuggingFaceVLM
from isi_core.studies.failure import conclusions
from isi_core.studies.failure.activations import capture_pictures, case_trial
from isi_core.studies.failure.collection import collect_pictures
from isi_core.studies.failure.explainers import EXPLAINERS
from isi_core.studies.failure.lint_files import lint_paths
from isi_core.studies.failure.plan import PRESETS, FailurePlan
from isi_core.studies.failure.results import BenchmarkResult, load_result
from isi_core.studies.failure.run import run
from isi_core.studies.failure.scoring import correct_together
from isi_core.studies.failure.selection import balanced_splits, largest_k, split_sizes
from tests.language import save_gemma

FAST = {"resamples": 1_000, "permutations": 2, "k": 8}


@pytest.mark.parametrize("k", [8, 10, 13, 50])
def test_splits_are_balanced_exact_and_the_same_for_a_seed(k: int) -> None:
    rng = np.random.default_rng(k)
    labels = (rng.random(6 * k) < 0.7).tolist()
    groups = [f"{i // 2}" for i in range(6 * k)]
    found = balanced_splits(labels, groups, k, seed=1)
    assert found is not None
    counts = Counter((split, labels[i]) for i, split in found.items())
    assert counts == {(s, label): n for s, n in split_sizes(k).items() for label in (True, False)}
    assert sum(split_sizes(k).values()) == k
    by_group: dict[str, set[str]] = {}
    for i, split in found.items():
        by_group.setdefault(groups[i], set()).add(split)
    assert all(len(splits) == 1 for splits in by_group.values())
    assert balanced_splits(labels, groups, k, seed=1) == found
    assert balanced_splits(labels, groups, k, seed=2) != found


def test_the_order_of_asking_says_nothing_of_the_class() -> None:
    """Failures are rare and come late; of the successes too, late ones are taken."""
    labels = [i % 10 > 0 for i in range(2_000)]
    found = balanced_splits(labels, [str(i) for i in range(2_000)], 200, seed=0)
    assert found is not None
    mean = {label: np.mean([i for i in found if labels[i] is label]) for label in (True, False)}
    assert abs(mean[True] - mean[False]) < 120


def test_what_k_is_possible_is_found() -> None:
    labels = [True] * 50 + [False] * 17
    assert largest_k(labels, [str(i) for i in range(67)], 0) == 17
    assert largest_k([True] * 5, list("abcde"), 0) == 0
    # One group cannot be cut in three.
    assert largest_k([True, False] * 20, ["one"] * 40, 0) < 8


# -- text ------------------------------------------------------------------------------------


def _write_items(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


NAMES = ("Ann", "Bea", "Cy", "Dan", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo")
THINGS = ("boat", "house", "cup", "tree", "fish", "ball", "star", "flower")


def _items(task: str, count: int = 56) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    records: list[dict[str, Any]] = []
    for i in range(count):
        a, b = rng.choice(NAMES, 2, replace=False)
        x, y, z = rng.choice(THINGS, 3, replace=False)
        right = int(rng.integers(2))
        records.append(
            {
                "boolq": {
                    "question": f"does {a} see a {x} {i}",
                    "passage": f"{a} and {b} found a {y} near the {z} number {i * 7}.",
                    "answer": bool(right),
                },
                "piqa": {
                    "goal": f"{a} wants {x} {i} {b} {z}",
                    "sol1": f"take the {y} {i * 3}",
                    "sol2": f"leave {z} {i * 5}",
                    "label": right,
                },
                "winogrande": {
                    "sentence": f"{a} gave {b} the {x} {i * 3} since _ liked the {y} {i}.",
                    "option1": a,
                    "option2": b,
                    "answer": str(right + 1),
                },
                "social-iqa": {
                    "context": f"{a} gave {b} a {x} number {i * 11}.",
                    "question": f"What does {b} do?",
                    "answerA": f"keep the {x}",
                    "answerB": f"find a {y}",
                    "answerC": f"hide {z}",
                    "label": str(right + 1),
                },
            }[task]
        )
    return records


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gemma(tmp_path_factory.mktemp("language") / "tiny-gemma")


@pytest.mark.parametrize("task", ["boolq", "piqa", "winogrande", "social-iqa"])
def test_a_text_task_from_its_file_to_the_result(task: Any, tmp_path: Path, gemma: Path) -> None:
    source = _write_items(tmp_path / "train.jsonl", _items(task))
    plan = FailurePlan(
        task=task,
        source=str(source),
        model=str(gemma),
        layers=(1, 4),
        explainers=("majority", "option-margin", "prompt-length", "last-token", "mean-token", "context-kind"),
        **FAST,
    )
    told: list[float] = []
    result = run(plan, Shelf(), tmp_path / "run", lambda _message, fraction: told.append(fraction))
    assert told[-1] == 1.0
    assert Counter((c.split, c.success) for c in result.cases) == {
        (split, label): n for split, n in split_sizes(8).items() for label in (True, False)
    }
    for case in result.cases:
        best = case.options[int(np.argmax(case.option_likelihoods))]
        assert case.answer == best
        assert case.success == (best == case.truth)
        assert case.prompt_tokens > 5
    assert [s.key for s in result.scores] == [
        *("majority", "option-margin", "prompt-length"),
        *("last-token @ 1", "last-token @ 4", "mean-token @ 1", "mean-token @ 4"),
    ]
    assert result.skipped == {"context-kind": "Context kind needs pictures"}
    assert result.permutation is not None
    assert result.permutation.layers == (1, 4)
    assert len(result.control) == 2
    assert len(result.comparisons) == 10
    assert result.model["name"] == "tiny-gemma"
    assert load_result(tmp_path / "run").to_json() == result.to_json()
    assert all(f.severity != "severe" for f in lint_paths([tmp_path / "run"]))
    # The same plan in another folder finds the same numbers.
    again = run(plan, Shelf(), tmp_path / "again")
    assert again.to_json()["scores"] == result.to_json()["scores"]
    assert [c.id for c in again.cases] == [c.id for c in result.cases]


def test_cases_of_other_weights_are_not_mixed(tmp_path: Path) -> None:
    model = save_gemma(tmp_path / "tiny-gemma", layers=2)
    source = _write_items(tmp_path / "train.jsonl", _items("piqa"))
    plan = FailurePlan(task="piqa", source=str(source), model=str(model), explainers=("option-margin",), **FAST)
    run(plan, Shelf(), tmp_path / "run")
    save_gemma(model, layers=2, seed=1)
    with pytest.raises(InputError, match=r"tiny-gemma has other weights .* choose a new folder"):
        run(replace(plan, explainers=("prompt-length",)), Shelf(), tmp_path / "run")


def test_given_labels_are_taken_and_checked_against_the_models_answers(tmp_path: Path, gemma: Path) -> None:
    items = _items("piqa")
    path = tmp_path / "piqa_train_split.json"
    path.write_text(json.dumps({"correct": items[:28], "incorrect": items[28:]}))
    plan = FailurePlan(
        task="piqa", source=str(path), model=str(gemma), labels="given", explainers=("option-margin",), **FAST
    )
    result = run(plan, Shelf(), tmp_path / "run")
    numbers = {case.item: int(case.id.split("_")[1]) for case in result.cases}
    assert all(case.success == (numbers[case.item] < 28) for case in result.cases)
    checks = {f.check: f.severity for f in result.findings}
    assert checks["label disagrees with a re-evaluation"] == "severe"
    assert "say nothing" in conclusions.severe_sentence(result)
    assert result.layers == ()  # no probe was asked for
    bare = replace(plan, source=str(_write_items(tmp_path / "bare.jsonl", items)))
    with pytest.raises(InputError, match="gives no labels"):
        run(bare, Shelf(), tmp_path / "bare")


def test_what_cannot_be_run_is_told_before_the_work(tmp_path: Path, gemma: Path) -> None:
    source = _write_items(tmp_path / "p.jsonl", _items("piqa", 30))
    plan = FailurePlan(task="piqa", source=str(source), model=str(gemma), **{**FAST, "k": 20})
    with pytest.raises(InputError, match=r"k = 20 of each class is not possible.*Choose k = \d+ or less"):
        run(replace(plan, explainers=("option-margin",)), Shelf(), tmp_path / "few")
    assert list((tmp_path / "few" / "asked").iterdir())  # what was asked is kept
    with pytest.raises(InputError, match="4 layers, no layer 9"):
        run(replace(plan, layers=(9,), explainers=("last-token",)), Shelf(), tmp_path / "layer")
    assert not (tmp_path / "layer" / "asked").exists()
    with pytest.raises(InputError, match="unknown"):
        run(replace(plan, explainers=("crystal-ball",)), Shelf(), tmp_path / "x")
    with pytest.raises(InputError, match="None of these explainers"):
        run(replace(plan, explainers=("context-kind",)), Shelf(), tmp_path / "y")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        run(replace(plan, explainers=("option-margin",)), Shelf(), tmp_path / "other")
    with pytest.raises(InputError, match="other settings"):
        run(replace(plan, seed=3, explainers=("option-margin",)), Shelf(), tmp_path / "few")


# -- pictures --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceVLM:
    """The embedded model with nothing of the picture left: it goes by the words, and is often wrong."""
    folder = tmp_path_factory.mktemp("models") / "blind"
    model: Any = LlavaForConditionalGeneration.from_pretrained(EMBEDDED / DEFAULT_VLM, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.model.multi_modal_projector.parameters():
            parameter.zero_()
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(EMBEDDED / DEFAULT_VLM).save_pretrained(folder)
    return HuggingFaceVLM.load(folder, "blind")


class OneModel(Shelf):
    """A shelf that already holds the model; everything else is the shelf's own."""

    def __init__(self, vlm: HuggingFaceVLM) -> None:
        super().__init__()
        self._vlm = vlm

    @contextmanager
    def vlm(self, *_: Any, **__: Any) -> Iterator[HuggingFaceVLM]:
        yield self._vlm


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "scenes"
    write_scene_dataset(60, 5, folder)
    return folder


@pytest.fixture(scope="module")
def result(
    vlm: HuggingFaceVLM, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[BenchmarkResult, Path]:
    """Every explainer on a dataset of sixty, answered by the blind model."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    plan = FailurePlan(
        task="dataset",
        source=str(dataset),
        layers=(2,),
        explainers=tuple(EXPLAINERS),
        sampling_k=8,
        samples=3,
        **FAST,
    )
    return run(plan, OneModel(vlm), folder), folder


def test_a_dataset_with_every_explainer(result: tuple[BenchmarkResult, Path]) -> None:
    found, folder = result
    assert not found.skipped and [s.explainer for s in found.scores] == list(EXPLAINERS)
    assert all(s.layer == (2 if EXPLAINERS[s.explainer].by_layer else None) for s in found.scores)
    told = {"noise-sensitivity", "p-true", "attention-pooled", "sparse-features", "rationale"}
    assert told <= {s.explainer for s in found.scores}
    assert all(0 <= s.auc.estimate <= 1 and len(s.scores) == 4 for s in found.scores)
    assert found.pool.asked >= 16
    assert sum(sum(pair) for pair in found.pool.by_condition.values()) == found.pool.asked
    for case in found.cases:
        assert case.success == (case.answer.lower().startswith(case.truth))
        assert len(case.option_likelihoods) == 2
        assert case_trial(case, folder).digest
    kept = {case.picture for case in found.cases}
    assert {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()} == kept
    # A picture stays in one split, whatever the context.
    for picture in kept:
        assert len({case.split for case in found.cases if case.picture == picture}) == 1


def test_sentences_say_what_the_numbers_allow(result: tuple[BenchmarkResult, Path]) -> None:
    found, _ = result
    (majority,) = [s for s in found.scores if s.explainer == "majority"]
    assert "0.5 by construction" in conclusions.auc_sentence(majority)
    telling = [s for s in found.scores if not s.degenerate.startswith("all scores")]
    assert len(telling) > 10
    for s in telling:
        said = conclusions.auc_sentence(s)
        interval = s.bootstrap if s.degenerate else s.auc
        assert ("includes 0.5: no evidence" in said) == (interval.low <= 0.5 <= interval.high)
        assert "few test cases" in said
    assert conclusions.best_sentence(found)
    assert found.permutation is not None
    assert "shuffles" in conclusions.permutation_sentence(found.permutation)
    assert "shuffled labels" in conclusions.control_sentence(found)
    together = correct_together([found, found])
    pairs = zip(together[0].scores, found.scores, strict=True)
    assert all(a.p_holm >= b.p_holm for a, b in pairs if not np.isnan(b.p_holm))


def test_a_stopped_run_goes_on_where_it_was(vlm: HuggingFaceVLM, tmp_path: Path, result: Any) -> None:
    finished, _ = result
    plan = replace(finished.plan, explainers=("option-margin", "last-token"))

    def stop(message: str, _fraction: float) -> None:
        if message.startswith("Read "):
            raise Cancelled

    with pytest.raises(Cancelled):
        run(plan, OneModel(vlm), tmp_path / "run", stop)
    chunks = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "asked").iterdir()}
    assert chunks
    again = run(plan, OneModel(vlm), tmp_path / "run")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run" / "asked").iterdir()} == chunks
    assert [case.id for case in again.cases] == [case.id for case in finished.cases]
    by_key = {s.key: s for s in finished.scores}
    for s in again.scores:
        assert s.scores == pytest.approx(by_key[s.key].scores, abs=1e-6)
    read = run(plan, OneModel(vlm), tmp_path / "run")
    assert read.to_json() == again.to_json()  # from its file, to the second it was made


def test_others_get_the_model_between_batches_and_progress_begins_at_once(
    vlm: HuggingFaceVLM, dataset: Path, tmp_path: Path
) -> None:
    """Whoever waits for the model is next: the run never holds it for a whole chunk."""
    taken: list[int] = []

    class Counted(OneModel):
        @contextmanager
        def vlm(self, *_: Any, **__: Any) -> Iterator[HuggingFaceVLM]:
            before = vlm_asked[0]
            yield self._vlm
            taken.append(vlm_asked[0] - before)

    vlm_asked, evaluate = [0], vlm.evaluate

    def counting(trials: Any, *rest: Any) -> Any:
        vlm_asked[0] += len(trials)
        return evaluate(trials, *rest)

    told: list[tuple[str, float]] = []
    plan = FailurePlan(task="dataset", source=str(dataset), layers=(2,), explainers=("last-token",), **FAST)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vlm, "evaluate", counting)
        run(plan, Counted(vlm), tmp_path / "run", lambda *step: told.append(step))
    assert max(taken) == 16 and sum(taken) > 48
    asking = [(message, fraction) for message, fraction in told if message.startswith("Asked")]
    assert asking[0][0].startswith("Asked 16: ") and 0 < asking[0][1] < asking[2][1]
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0


def test_a_pool_with_too_few_failures_is_told(vlm: HuggingFaceVLM, dataset: Path, tmp_path: Path) -> None:
    plan = FailurePlan(task="dataset", source=str(dataset), contexts=("complementary",), **{**FAST, "k": 40})
    with pytest.raises(InputError, match=r"right and .* wrong, and there are no more.*Choose"):
        collect_pictures(plan, lambda: nullcontext(vlm), tmp_path)


def test_activations_are_read_once_and_lie_on_disk(vlm: HuggingFaceVLM, result: Any) -> None:
    found, folder = result
    captured = capture_pictures(lambda: nullcontext(vlm), vlm.record.revision, found.cases, (2,), folder)
    assert isinstance(captured.states, np.memmap)
    assert captured.states.shape[:3] == (16, 5, 1)
    messages: list[str] = []

    def none_is_lent() -> Any:
        raise AssertionError("the model was borrowed for nothing")

    capture_pictures(
        none_is_lent, vlm.record.revision, found.cases, (2,), folder, lambda message, _: messages.append(message)
    )
    assert messages == []  # nothing is read again


def test_plans_are_data() -> None:
    for make in PRESETS.values():
        plan = make(seed=4)
        assert FailurePlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
        assert plan.digest != make(seed=5).digest
    assert PRESETS["paper"]().k == 2_000
    assert FailurePlan(layers=(3, 1)).collection_digest == FailurePlan(explainers=("mlp",)).collection_digest
    assert FailurePlan().chosen_layers(26) == (5, 10, 16, 21, 26)
    for wrong in ({"k": 3}, {"task": "chess"}, {"task": "piqa"}, {"layers": ()}, {"layers": (0,)}, {"explainers": ()}):
        with pytest.raises(InputError):
            FailurePlan(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="new plan"):
        FailurePlan.from_json({"format": 1, "magic": True})


@pytest.mark.parametrize("text", ["{}", "[]", "nonsense", '{"format": 1, "plan": {}}'])
def test_a_damaged_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError):
        load_result(tmp_path)
