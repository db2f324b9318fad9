"""The kept study: it grows on disk, survives a stop and damaged pictures, and says what was asked."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from isi_core.datasets import step_catalogue
from isi_core.datasets.howto_articles import SAMPLE_FOLDER
from isi_core.domain.errors import Cancelled, InputError
from isi_core.domain.home import HOME_VARIABLE, home_folder
from isi_core.studies.step_order import study as studies
from isi_core.studies.step_order.kin import over_seeds_of, over_sizes_of, smaller_plans
from isi_core.studies.step_order.results import ALL
from isi_core.studies.step_order.study import StudyPlan, live_curve, read_study, run_study, study_ids
from isi_core.worlds.howtos import CATEGORIES
from tests.step_study import sample_of, save_small_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_clip(tmp_path_factory.mktemp("encoders") / "small-clip")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def plan(clip: Path, **changes: object) -> StudyPlan:
    return replace(StudyPlan("howto", (str(clip),), ("v", "t", "vt"), (4, 2, 4), epochs=1), **changes)


def test_a_study_trains_tests_compares_and_measures_the_gap(clip: Path) -> None:
    seen: list[float] = []
    asked = plan(clip)
    assert run_study(asked, lambda message, fraction: seen.append(fraction)) == asked.id
    found = read_study(asked.id)
    assert (found.plan, found.complete, study_ids()) == (asked, True, [asked.id])
    assert seen == sorted(seen) and seen[-1] == 1.0
    rows = {(row.modality, row.category): row for row in found.grid.accuracies}
    assert set(rows) == {(m, c) for m in ("v", "t", "vt") for c in (*CATEGORIES, ALL)}
    assert all(row.n == (32 if row.category == ALL else 4) for row in rows.values())
    assert rows["v", "kite"].kind == "both"
    for verdicts in found.verdicts:
        right = [v.right for v in verdicts.verdicts]
        assert rows[verdicts.modality, ALL].accuracy == sum(right) / len(right)
        assert [v.idx for v in verdicts.verdicts] == list(range(32))
    assert {(c.other, c.category) for c in found.grid.comparisons} == {(o, c) for o in "vt" for c in (*CATEGORIES, ALL)}
    (gap,) = found.gaps
    assert (gap.encoder, gap.modality, len(gap.before.categories)) == ("small-clip", "vt", 8)
    assert {point.moment for point in gap.shift} == {"before", "after"}
    flips = {one.modality: one.pairs for one in found.flips}
    assert {m: len(pairs) for m, pairs in flips.items()} == {"v": 32, "t": 32, "vt": 32}
    for verdicts in found.verdicts:
        for verdict, pair in zip(verdicts.verdicts, flips[verdicts.modality], strict=True):
            assert (verdict.idx, verdict.in_order) == (pair.idx, pytest.approx(pair.in_order, abs=2e-3))
    assert live_curve(asked.id) is None
    assert found.grid.settings["sizes"] == [4, 2, 4]
    assert str(clip.parent) not in found.grid.settings["training"]


def test_a_stopped_study_keeps_what_is_done_and_goes_on(clip: Path) -> None:
    asked = plan(clip, modalities=("t", "vt"))

    def stop(message: str, fraction: float) -> None:
        if "VT" in message:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run_study(asked, stop)
    half = read_study(asked.id)
    assert not half.complete
    assert {row.modality for row in half.grid.accuracies} == {"t"}
    began = {v.modality: v for v in half.verdicts}
    run_study(asked)
    whole = read_study(asked.id)
    assert whole.complete
    assert {v.modality: v for v in whole.verdicts}["t"] == began["t"]
    assert {row.modality for row in whole.grid.accuracies} == {"t", "vt"}


def test_a_study_of_an_earlier_version_is_completed(clip: Path) -> None:
    """It has neither flips nor a whole shift; running it again measures these and trains nothing."""
    asked = plan(clip)
    run_study(asked)
    for path in asked.folder.glob("runs/*/flips.json"):
        path.unlink()
    (kept,) = asked.folder.glob("runs/*/gap.json")
    old = json.loads(kept.read_text())
    old["shift"] = [{"amount": 0.0, "distance": 0.5, "accuracy": 0.5}]
    kept.write_text(json.dumps(old))
    (asked.folder / "gaps.json").write_text(json.dumps([old]))
    before = read_study(asked.id)
    assert before.flips == () and before.gaps[0].shift[0].matching is None
    run_study(asked)
    after = read_study(asked.id)
    assert len(after.flips) == 3 and len(after.gaps[0].shift) == 26
    assert after.verdicts == before.verdicts and after.grid.curves == before.grid.curves


def test_studies_that_differ_in_seed_or_size_alone_are_found(clip: Path) -> None:
    asked = plan(clip, modalities=("t",), sizes=(40, 2, 4))
    assert [one.sizes for one in smaller_plans(asked)] == [(10, 2, 4), (20, 2, 4)]
    for one in (asked, replace(asked, seed=1), smaller_plans(asked)[0], replace(asked, modalities=("v",))):
        run_study(one)
    assert [study.plan.seed for study in over_seeds_of(asked)] == [0, 1]
    sizes = over_sizes_of(asked)
    assert [study.plan.sizes[0] for study in sizes] == [10, 40]
    assert len({tuple(v.label for v in study.verdicts[0].verdicts) for study in sizes}) == 1  # the same test pairs
    assert over_sizes_of(replace(asked, modalities=("v", "t"))) == []


def test_one_model_a_category_is_tested_on_its_own_category(clip: Path) -> None:
    step_catalogue.import_howtos(sample_of({"kite", "dish"}, home_folder()), "two")
    asked = plan(clip, data="two", modalities=("t",), per_category=True)
    run_study(asked)
    found = read_study(asked.id)
    assert {curve.category for curve in found.grid.curves} == {"kite", "dish"}
    assert {row.category for row in found.grid.accuracies} == {"kite", "dish", ALL}
    assert found.gaps == ()


def test_a_picture_that_goes_bad_after_the_import_is_skipped_and_counted(clip: Path, home: Path) -> None:
    step_catalogue.import_howtos(sample_of({"kite", "dish"}, home_folder()), "two")
    asked = plan(clip, data="two", modalities=("v",), sizes=(20, 4, 4))
    splits = studies.load_study_pairs(asked)
    broken = splits.train[0].images[0]
    assert isinstance(broken, Path)
    original = studies.load_study_pairs
    with pytest.MonkeyPatch.context() as patch:

        def load(of: StudyPlan, progress: object = None) -> object:
            made = original(of)
            broken.write_bytes(b"broken")  # between reading the articles and training
            return made

        patch.setattr(studies, "load_study_pairs", load)
        run_study(asked)
    (curve,) = read_study(asked.id).grid.curves
    assert curve.skipped_pairs >= 1
    assert any(broken.name in line for line in curve.skipped)


def test_nothing_chosen_and_unknown_names_are_told(clip: Path) -> None:
    with pytest.raises(InputError, match="at least one encoder"):
        run_study(plan(clip, encoders=()))
    with pytest.raises(InputError, match="no how-tos 'nowhere'"):
        run_study(plan(clip, data="nowhere"))
    with pytest.raises(InputError, match="cannot be read"):
        read_study("nothing")


def test_the_catalogue_imports_zip_files_and_folders_and_forgets_them(tmp_path: Path) -> None:
    folder = sample_of({"kite", "dish"}, home_folder())
    packed = tmp_path / "mine.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, f"wrapped/{path.relative_to(folder)}")
    found = step_catalogue.import_howtos(packed, step_catalogue.proposed_howto_name("mine.zip"[:-4]))
    assert (found.name, found.pairs) == ("mine", 0)
    assert found.articles >= 14
    assert step_catalogue.howto_names() == ["howto", "howto-sample", "mine"]
    assert step_catalogue.proposed_howto_name("mine") == "mine_2"
    with pytest.raises(InputError, match="is taken"):
        step_catalogue.import_howtos(packed, "mine")
    with pytest.raises(InputError, match="holds no articles"):
        step_catalogue.import_howtos(_empty(tmp_path), "empty")
    step_catalogue.forget_howtos("howto-sample")
    step_catalogue.forget_howtos("mine")
    assert step_catalogue.howto_names() == ["howto", "howto-sample"]
    assert SAMPLE_FOLDER.is_dir()


def _empty(folder: Path) -> Path:
    made = folder / "empty"
    made.mkdir()
    return made
