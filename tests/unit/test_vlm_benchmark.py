"""The benchmark compares like with like: the same model, the same answers, the published number of calls."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from benchmarks import vlm as benchmark
from benchmarks.growth import draw_growth
from benchmarks.peak_memory import Cost, cost
from benchmarks.vlm_models import QUICK, TEXTS, make_nli, make_trial, make_vlm, studio, ten_answers, texts_of
from benchmarks.vlm_reference import Reference, compare_pairwise
from benchmarks.vlm_ways import Setup, Way, make_way
from isi_core.domain.attribution import GROUPS

SMALL = Setup("llava", side=56, tokens=3, samples=2, threads=1, quick=True)
KEYS = {
    "samples_576",
    "samples_2900",
    "sampling_memory_2900",
    "attention_memory_2900",
    "attention_memory_vs_eager_2900",
    "attention_time_2900",
    "entailment",
    "measure_all_576",
    "measure_all_2900",
}


@pytest.mark.parametrize(("kind", "tokens"), [("llava", 576), ("next", 2928)])
def test_models_see_as_many_image_tokens_as_is_said(kind: str, tokens: int) -> None:
    model, processor = make_vlm(kind, QUICK)  # type: ignore[arg-type]
    vlm = studio(model, processor)
    prompt = vlm._prompts.build(make_trial(kind), 1)  # type: ignore[arg-type]
    assert len(prompt.image) == tokens
    assert len(prompt) < tokens + 60


@pytest.mark.parametrize("kind", ["llava", "next"])
def test_the_reference_and_this_project_answer_and_attend_alike(kind: str) -> None:
    setup = replace(SMALL, kind=kind, tokens=6)
    ours = make_way("attention", setup)
    assert ours.vlm is not None
    [output] = ours.vlm.evaluate([ours.trial], setup.decoding, ["attention"])
    assert output.answer is not None
    assert output.attention is not None
    assert len(output.answer.token_ids) == 6
    model, processor = make_vlm(setup.kind, QUICK, setup.side)
    reference = Reference(model, processor, ours.trial, 6, 2)
    with torch.no_grad():
        answer = reference._generate("sdpa", do_sample=False).sequences[0, -6:].tolist()
        shares = reference.attend()
    assert list(output.answer.token_ids) == answer
    # The published shares, without the first position, of the image: renormalized a layer, summed over tokens.
    sums = output.attention.sums.mean(axis=2)
    left_out = sums[..., GROUPS.index("first")] + sums[..., GROUPS.index("generated")]
    mine = (sums[..., GROUPS.index("image")] / (1 - left_out)).mean(-1)
    image = ours.vlm._prompts.build(ours.trial, 1).image
    assert shares[list(image)].sum().item() == pytest.approx(mine.sum(), rel=1e-5)


def test_the_published_clustering_asks_this_often() -> None:
    model, tokenizer = make_nli(QUICK)
    assert compare_pairwise(model, tokenizer, TEXTS) == 20
    assert compare_pairwise(model, tokenizer, [TEXTS[0]] * 5) == 8
    texts = texts_of(ten_answers())
    assert len(texts) == 10
    assert len(set(texts)) == 5


@pytest.mark.parametrize("way", get_args(Way))
def test_every_way_runs(way: Way) -> None:
    ready = make_way(way, SMALL)
    ready.warm_up()
    ready.run()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are measured on Linux only")
def test_peak_memory_tells_matrices_from_rows() -> None:
    setup = replace(SMALL, side=448)
    eager, here = cost("eager attention", setup), cost("attention", setup)
    assert eager is not None
    assert here is not None
    assert eager.peak > here.peak > 0


def test_interleaved_pairs_are_medians_of_ratios() -> None:
    pairs = benchmark.Pairs([4.0, 8.0, 9.0], [2.0, 1.0, 3.0])
    assert pairs.ratio == 3.0
    order: list[str] = []
    benchmark.interleave(lambda: order.append("reference"), lambda: order.append("here"), 2)
    assert order == ["reference", "here"] * 2


def test_the_table_and_the_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = {"side": 56, "threads": 1}
    monkeypatch.setattr(benchmark, "cost", lambda way, setup: Cost(30 if "eager" in way else 2, 1.0))
    monkeypatch.setattr(benchmark, "Setup", lambda kind, **options: Setup(kind, **options | small))
    out = tmp_path / "numbers.json"
    monkeypatch.setattr("sys.argv", ["vlm", "--quick", "--no-curve", "--threads", "1", "--json", str(out)])
    threads = torch.get_num_threads()
    benchmark.main()
    torch.set_num_threads(threads)
    found = json.loads(out.read_text())
    assert found.keys() == KEYS
    assert all(value > 0 for value in found.values())
    printed = capsys.readouterr().out
    assert "QUICK FORM" in printed
    for target in ("≥ 5", "≥ 8", "≤ 1.3", "≤ 1.1", "≥ 12", "≤ 1.15", "≥ 4", "≥ 3"):
        assert f"| {target} |" in printed
    assert "| prefills of a second and third click, other settings | 0 | 0 |" in printed


def test_the_growth_curve_is_a_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.growth.RESULTS", tmp_path)
    monkeypatch.setattr("benchmarks.growth.QUICK_SIDES", (4, 6))
    monkeypatch.setattr("benchmarks.growth.cost", lambda way, setup: Cost(setup.side, 1.0) if setup.side < 80 else None)
    path = draw_growth(SMALL)
    assert path.parent == tmp_path
    assert path.name == "vlm_growth_quick.png"  # a real one is not replaced
    assert path.read_bytes().startswith(b"\x89PNG")
