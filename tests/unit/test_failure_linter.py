"""The linter: what it must find in the published splits and in planted defects, and what it must leave alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isi_core.datasets.scene_dataset import write_scene_dataset
from isi_core.domain.errors import InputError
from isi_core.studies.failure.lint_files import lint_paths
from isi_core.studies.failure.linter import LintItem, items_of_cases, lint
from isi_core.studies.failure.pools import ScenePool
from isi_core.studies.failure.results import Case, LintFinding
from isi_core.studies.failure.selection import balanced_splits

SHARED = Path(__file__).resolve().parents[3] / "shared" / "why_it_failed"
needs_published = pytest.mark.skipif(not SHARED.exists(), reason="the published data are not part of this repository")


def _found(findings: list[LintFinding], check: str) -> LintFinding:
    (finding,) = [f for f in findings if f.check.startswith(check)]
    return finding


@needs_published
def test_the_published_piqa_items_have_both_labels_and_cross_the_splits() -> None:
    findings = lint_paths([SHARED / f"piqa_{split}_split.json" for split in ("train", "val", "test")])
    both = _found(findings, "same item in both classes")
    assert (both.severity, both.count) == ("severe", 220)
    assert "220 of them with opposite gold" in both.advice
    crossing = _found(findings, "item in more than one split: test in train")
    assert (crossing.severity, crossing.count) == ("severe", 51)
    assert not [f for f in findings if "order" in f.check]  # its classes come one after the other, its ids are ours


@needs_published
def test_the_published_social_iqa_labels_are_the_halves_of_the_file() -> None:
    findings = lint_paths([SHARED / f"siqa_{split}_split.json" for split in ("train", "val", "test")])
    order = _found(findings, "label explained by order")
    assert (order.severity, order.count) == ("severe", 4_000)
    assert order.examples == ("siqa_0", "siqa_1999", "siqa_2000", "siqa_3999")
    assert "siqa_0 to siqa_1999" in order.advice
    assert findings[0] is order


@needs_published
def test_a_folder_names_the_data_set_of_each_finding() -> None:
    findings = lint_paths([SHARED])
    assert {f.advice.split(":")[0] for f in findings if f.severity == "severe"} == {"piqa", "siqa", "siqa_sample"}
    assert [f.severity for f in findings] == sorted((f.severity for f in findings), key="severe warning note".index)
    # BoolQ's ids are given by class, but its labels are what the model's answers say.
    boolq = next(f for f in findings if f.advice.startswith("boolq_sample"))
    assert (boolq.severity, boolq.check) == ("warning", "label explained by order")
    assert set(boolq.to_json()) == {"check", "severity", "count", "examples", "advice"}
    assert LintFinding.from_json(json.loads(json.dumps(boolq.to_json()))) == boolq


def _clean(n: int = 400, seed: int = 0) -> list[LintItem]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2).astype(bool)
    splits = balanced_splits(labels.tolist(), [str(i) for i in range(n)], n // 2, seed)
    assert splits is not None
    return [
        LintItem(
            id=f"x_{i}",
            number=i,
            label=bool(labels[i]),
            split=splits[i],
            key=f"item {i}",
            text=f"item {i}",
            gold="the red ball rolled away" if i % 2 else "the blue ball stood still",
            options=("the red ball rolled away", "the blue ball stood still"),
            passage=f"passage {i}",
            prompt=f"What happened to ball {i}?",
            agrees=True,
            likelihood_missing=False,
            cut=False,
        )
        for i in range(n)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_clean_items_pass(seed: int) -> None:
    assert lint(_clean(seed=seed), features=100) == []


Spoil = Callable[[int, LintItem], LintItem]


@pytest.mark.parametrize(
    ("check", "severity", "count", "spoil"),
    [
        ("label explained by order", "severe", 400, lambda i, x: replace(x, label=i < 200, agrees=None)),
        ("label explained by order", "severe", 400, lambda i, x: replace(x, label=not 100 <= i < 300, agrees=None)),
        ("same item in both classes", "severe", 1, lambda i, x: replace(x, key="one") if i < 40 else x),
        ("prompt cut", "warning", 8, lambda i, x: replace(x, cut=i < 8)),
        ("prompt cut", "severe", 40, lambda i, x: replace(x, cut=i < 40)),
        ("likelihoods missing", "severe", 100, lambda i, x: replace(x, likelihood_missing=i < 100)),
        ("label disagrees", "severe", 200, lambda i, x: replace(x, agrees=i < 200)),
        ("label disagrees", "warning", 2, lambda i, x: replace(x, agrees=i > 1)),
        ("gold answer visible", "severe", 400, lambda i, x: replace(x, prompt=f"{x.prompt} As {x.gold}.")),
        (
            "gold answer visible",
            "severe",
            400,
            lambda i, x: replace(x, options=("yes", "no"), gold="no", prompt="Is it? The answer is: no."),
        ),
    ],
)
def test_planted_defects_are_found(check: str, severity: str, count: int, spoil: Spoil) -> None:
    findings = lint([spoil(i, item) for i, item in enumerate(_clean())])
    finding = _found(findings, check)
    assert (finding.severity, finding.count) == (severity, count)
    assert finding.advice.endswith(".")


def test_shared_passages_are_a_warning_and_shared_items_are_not_told_twice() -> None:
    items = _clean()
    train = next(i for i in items if i.split == "train")
    tests = [i for i in items if i.split == "test"]
    near = [replace(i, passage=train.passage) if i in tests[:3] else i for i in items]
    assert [(f.check, f.severity, f.count) for f in lint(near)] == [
        ("passage in more than one split: test in train", "warning", 3)
    ]
    same = [replace(i, key=train.key, passage=train.passage, label=train.label) if i == tests[0] else i for i in items]
    checks = [f.check for f in lint(same)]
    assert checks == ["item in more than one split: test in train"]


def test_options_that_are_all_listed_give_nothing_away() -> None:
    items = [replace(i, prompt=f"Choose: {i.options[0]}, or {i.options[1]}?") for i in _clean()]
    assert lint(items) == []


def test_balance_and_features_are_counted() -> None:
    items = _clean()
    severe = _found(lint([replace(i, label=True) for i in items if i.split == "test"]), "classes out of balance")
    assert severe.severity == "severe"
    skewed = [i for i in items if i.label or i.number is None or i.number % 3 == 0]
    assert {f.severity for f in lint(skewed)} == {"warning"}
    assert _found(lint(items, features=200), "more features than examples").count == 200
    assert lint(items, features=199) == []


def test_generated_scenes_pass_on_twenty_seeds() -> None:
    """No false alarm: labels of a model that fails by chance and more often where it is misled."""
    pool = ScenePool(0, ("none", "complementary", "contradictory", "random"), size=120)
    inputs = pool.chunk(0)
    assert len({i.trial.digest for i in inputs}) == len(inputs)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        chance = [0.5 if i.trial.context_kind == "contradictory" else 0.2 for i in inputs]
        labels = [bool(rng.random() >= c) for c in chance]
        splits = balanced_splits(labels, [i.group for i in inputs], 20, seed)
        assert splits is not None
        cases = [
            Case(
                id=f"case_{i:07d}",
                success=labels[i],
                split=splits[i],
                item=inputs[i].trial.observation_id,
                question=inputs[i].trial.question,
                context=inputs[i].trial.context,
                truth=inputs[i].trial.truth_word,
                option_likelihoods=(-0.5, -1.0),
                context_kind=inputs[i].trial.context_kind,
                picture=f"pictures/{inputs[i].trial.image_digest}.png",
            )
            for i in sorted(splits)
        ]
        assert lint(items_of_cases(cases)) == []


def test_a_dataset_that_nobody_has_answered_is_checked_for_what_its_contexts_say(tmp_path: Path) -> None:
    write_scene_dataset(12, 0, tmp_path / "scenes")
    assert lint_paths([tmp_path / "scenes"]) == []
    table = tmp_path / "scenes" / "vlm_dataset.csv"
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    for row in rows:
        row["complementary"] = f"The answer is {'yes' if row['answer'] == '1' else 'no'}."
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert _found(lint_paths([tmp_path / "scenes"]), "gold answer visible").count == 12


def test_stray_files_are_told_and_nothing_readable_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no JSON"):
        lint_paths([tmp_path])
    (tmp_path / "notes.json").write_text('[{"a": 1}]')
    with pytest.raises(InputError, match="None of the files could be read"):
        lint_paths([tmp_path])
    item = {"goal": "open a jar", "sol1": "turn the lid", "sol2": "turn the table", "label": 0}
    (tmp_path / "piqa.jsonl").write_text(json.dumps(item) + "\n")
    assert [f.check for f in lint_paths([tmp_path])] == ["file not read"]
    with pytest.raises(InputError, match="not an item"):
        lint_paths([tmp_path / "notes.json"])
