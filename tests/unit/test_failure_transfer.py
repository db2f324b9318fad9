"""Transfer: what tells failure in one place tells it where the sign is the same; failures in common are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isi_core.cli import main
from isi_core.domain.errors import InputError
from isi_core.models.shelf import Shelf
from isi_core.reports.failure_transfer_figures import shared_sentence, transfer_csv, transfer_figure
from isi_core.studies.failure.plan import FailurePlan
from isi_core.studies.failure.results import SPLITS, BenchmarkResult, Case, Pool, case_json, save_result
from isi_core.studies.failure.run import run
from isi_core.studies.failure.transfer import Run, transfer
from tests.language import save_gemma

KINDS = {"none": 1.0, "random": 1.0, "contradictory": -1.0}
"""Context kind to how the margin points: under contradictory contexts a sure model is wrong."""


def _planted(folder: Path, seed: int = 0, flip: float = 0.0, count: int = 600) -> Run:
    """A run whose option margin tells success, the other way round under contradictory contexts."""
    rng = np.random.default_rng(seed)
    cases = []
    for i in range(count):
        kind = list(KINDS)[i % 3]
        success = bool((i // 3) % 2) ^ bool(rng.random() < flip)
        margin = float(np.exp(rng.normal() * 0.5 + KINDS[kind] * (0.8 if success else -0.8)))
        cases.append(
            Case(
                *(f"case_{i:04d}", success, SPLITS[(i // 6) % 3], f"item {i}", f"Is it {i}?"),
                option_likelihoods=(-0.1, -0.1 - margin),
                context_kind=kind,
                picture=f"pictures/{i:05d}.png",
            )
        )
    (folder / "asked").mkdir(parents=True)
    lines = [json.dumps({"case": case_json(case), "group": case.id, "unclear": False}) for case in cases]
    (folder / "asked" / "00000.jsonl").write_text("".join(f"{line}\n" for line in lines))
    plan = FailurePlan(k=count // 2, explainers=("option-margin",), seed=seed)
    pool = Pool(count, count // 2, count // 2, 0)
    result = BenchmarkResult(plan, {}, pool, tuple(cases), (), (), (), (), None, (), {}, {}, {}, "")
    save_result(result, folder)
    return Run(folder.name, result, folder)


def test_a_sign_that_turns_round_is_seen_off_the_diagonal(tmp_path: Path) -> None:
    planted = _planted(tmp_path / "one")
    found = transfer([planted], Shelf(), "option-margin", by="context")
    assert found.domains == ("no context", "random context", "contradictory context") and found.shared == ()
    area = {(c.train, c.test): c.auc for c in found.cells}
    same, turned = area["no context", "random context"], area["no context", "contradictory context"]
    assert same is not None and turned is not None
    assert same.low > 0.7 and turned.high < 0.3
    own = area["contradictory context", "contradictory context"]
    assert own is not None and own.low > 0.7
    assert all(c.n_test in {66, 67} for c in found.cells)
    figure = transfer_figure(found)
    (drawn,) = figure.chart.to_dict()["datasets"].values()
    assert len(drawn) == 9 and {row["sure"] for row in drawn} == {"excludes 0.5"}
    assert transfer_csv(found).decode().count("\n") == 10


def test_failures_in_common_are_counted_beside_chance(tmp_path: Path) -> None:
    first, second = _planted(tmp_path / "one"), _planted(tmp_path / "two", flip=0.2)
    found = transfer([first, second], Shelf(), "option-margin")
    (pair,) = found.shared
    mine = {case.picture for case in first.result.cases if not case.success}
    other = {case.picture for case in second.result.cases if not case.success}
    assert (pair.n, pair.first_failed, pair.second_failed) == (600, len(mine), len(other))
    assert pair.both_failed == len(mine & other)
    assert pair.share is not None
    assert pair.share.estimate == pytest.approx(len(mine & other) / len(mine | other))
    assert pair.share.low > pair.by_chance and pair.by_chance == pytest.approx(1 / 3, abs=0.03)
    assert "600 inputs in common" in shared_sentence(pair)
    # Trained on one, tested on the other: the very pictures it was trained on are left out.
    assert found.cell("one", "two").n_test == found.cell("one", "one").n_test == 198
    moved = replace(second.result, cases=tuple(replace(c, split="train") for c in second.result.cases))
    none_left = transfer([replace(second, result=moved), first], Shelf(), "option-margin").cell("two", "one")
    assert none_left.auc is None and "Only 0 test cases" in none_left.why


def test_what_cannot_be_carried_over_is_told(tmp_path: Path) -> None:
    planted = _planted(tmp_path / "one", count=60)
    for explainer, why in (
        ("semantic-entropy", "case by case"),
        ("attention-pooled", "case by case"),
        ("last-token", "not every run has any"),
        ("tarot", "unknown"),
    ):
        with pytest.raises(InputError, match=why):
            transfer([planted], Shelf(), explainer)
    with pytest.raises(InputError, match="nothing to transfer to"):
        transfer([planted], Shelf(), "option-margin")
    with pytest.raises(InputError, match="the same"):
        transfer([planted, planted], Shelf(), "option-margin")


def test_probes_are_carried_over_between_real_runs_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two models with random weights on the same items; nothing is read again, so that no model is opened."""
    source = tmp_path / "items.jsonl"
    records = [
        {"goal": f"open jar {i}", "sol1": f"turn {i * 3}", "sol2": f"hit {i * 7}", "label": i % 2} for i in range(90)
    ]
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    folders = []
    for seed in (0, 1):
        model = save_gemma(tmp_path / f"gemma-{seed}", layers=2, seed=seed)
        plan = FailurePlan(
            *("piqa", str(source), str(model)),
            k=24,
            layers=(2,),
            explainers=("last-token-tuned",),
            permutations=1,
            resamples=1_000,
        )
        folders.append(tmp_path / f"run-{seed}")
        run(plan, Shelf(), folders[-1])
        (model / "model.safetensors").unlink()
    assert main(["failure", "transfer", *map(str, folders), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["domains"], data["layer"], data["by"]) == (["run-0", "run-1"], 2, "run")
    cells = {(c["train"], c["test"]): c for c in data["cells"]}
    assert cells["run-0", "run-0"]["n_test"] == 12 and 0 <= cells["run-0", "run-0"]["auc"]["estimate"] <= 1
    assert cells["run-0", "run-1"]["n_test"] < 12  # items of its own training are left out
    assert data["shared"][0]["n"] == 90
    assert main(["failure", "transfer", *map(str, folders)]) == 0
    assert "Failures in common" in capsys.readouterr().out
