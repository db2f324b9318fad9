"""The landing page."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from isi_core.ui import resources
from tests.pages import visitor

_PRESETS = {
    "annotated": ("annotated", "none"),
    "complementary": ("natural", "complementary"),
    "contradictory": ("natural", "contradictory"),
}


def test_with_nothing_done_yet_it_says_where_to_start() -> None:
    at = visitor.visit_home()
    assert [title.value for title in at.title] == ["ISI Studio"]
    assert {button.key for button in at.button} >= {f"home_{name}" for name in _PRESETS}
    assert visitor.shows(at, "No runs yet")
    assert visitor.messages(at) == []


@pytest.mark.parametrize("name", _PRESETS)
def test_a_preset_is_one_click_to_a_measured_trial(name: str) -> None:
    at = visitor.press(visitor.visit_home(), f"home_{name}")
    assert [title.value for title in at.title] == ["VQA Interventions"]
    visitor.settle(at)
    (entry,) = visitor.desk(at).entries
    made = entry.evaluation
    assert (made.trial.image_kind, made.trial.context_kind) == _PRESETS[name]
    assert made.answer is not None and made.uncertainty is not None and made.attribution is not None
    assert visitor.answer(at) == made.answer.text

    at.switch_page("Home.py")
    visitor.run(at)
    assert not visitor.shows(at, "No runs yet")
    assert visitor.shows(at, made.trial.observation_id) and visitor.shows(at, made.answer.text)
    (stored,) = resources.store().recent()
    assert (stored.digest, stored.answer) == (made.trial.digest, made.answer.text)


def test_it_is_on_screen_before_torch_is_imported(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from tests.pages import visitor\n"
        "at = visitor.visit_home()\n"
        "assert at.title[0].value == 'ISI Studio'\n"
        "assert not {'torch', 'transformers', 'reportlab'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "ISI_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], cwd=visitor.ROOT, env=environment, check=True, timeout=120)


def test_a_last_run_opens_with_its_input_and_results() -> None:
    at = visitor.choose(visitor.visit(obs="3"), "vqa_context_kind", "contradictory")
    visitor.measure(at)
    asked = visitor.desk(at).entries[0]
    later = visitor.visit_home()
    [run] = resources.store().recent()[:1]
    visitor.press(later, f"home_run_{run.id}")
    opened = visitor.desk(later)
    assert opened.draft == asked.draft
    assert opened.entries[-1].evaluation.trial.digest == asked.evaluation.trial.digest
    assert opened.trial().digest == asked.evaluation.trial.digest


def test_models_are_shown_as_ready_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from isi_core.models import catalogue
    from isi_core.models.shelf import Shelf

    shelf = Shelf()
    monkeypatch.setattr(resources, "shelf", lambda: shelf)  # nothing is resident on a new one
    at = visitor.visit_home()
    for name in ("tiny-llava", "tiny-nli"):
        assert visitor.shows(at, f":material/check_circle: **{name}** · built in")
    gone = tuple(replace(row, source=tmp_path / "gone") if row.embedded else row for row in catalogue.ROWS)
    monkeypatch.setattr(catalogue, "ROWS", gone)
    at = visitor.visit_home()
    for name in ("tiny-llava", "tiny-nli"):
        assert visitor.shows(at, f":material/warning: **{name}** · {name} has no weights in gone: restore that folder.")
    assert not visitor.shows(at, "check_circle")


def test_a_dataset_without_a_complete_observation_names_a_way_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from isi_core.datasets.built_in import load_dataset

    whole = load_dataset()
    bare = replace(whole, observations=tuple(replace(o, annotated=None) for o in whole.observations))
    monkeypatch.setattr(resources, "dataset", lambda name: bare)
    at = visitor.visit_home()
    (said,) = visitor.messages(at)
    assert "data/isi_scenes" in said and (visitor.ROOT / "data" / "isi_scenes").is_dir() and "make " not in said
