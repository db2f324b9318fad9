"""The sweeps panel with a Ray cluster: where it is offered, what it refuses, a sweep that a real cluster runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from isi_core.studies.sweep.control import Sweeps
from isi_core.ui.sweeps import engine, place
from tests.kill.ray_cluster import free_port, ray_cluster
from tests.pages import visitor
from tests.pages.test_sweep_panel import desk, keys, page, plan_few

needs_ray = pytest.mark.skipif(not place._installed(), reason="pip install -r requirements-ray.txt")


def visit() -> AppTest:
    return visitor.run(AppTest.from_function(page, default_timeout=visitor.PATIENCE))


@pytest.fixture
def sweeps(home: Path) -> Iterator[Sweeps]:
    found = engine.sweeps()
    yield found
    for status in found.all():
        found.cancel(status.id)
        found.wait(status.id, visitor.PATIENCE)


def test_without_ray_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, sweeps: Sweeps) -> None:
    monkeypatch.setattr(place, "_installed", lambda: False)
    at = visit()
    assert visitor.shows(at, "pip install -r requirements-ray.txt")
    assert "sweeps_engine" not in keys(at, "button_group") and desk(at).engine == "local"


@needs_ray
def test_the_operator_may_offer_none_or_one(monkeypatch: pytest.MonkeyPatch, sweeps: Sweeps) -> None:
    monkeypatch.setenv(place.ADDRESS_VARIABLE, "off")
    at = visit()
    assert "sweeps_engine" not in keys(at, "button_group") and not visitor.shows(at, "Ray")
    monkeypatch.setenv(place.ADDRESS_VARIABLE, "first-machine:6379")
    at = visit()
    at.button_group(key="sweeps_engine").set_value("ray")
    visitor.run(at)
    assert visitor.shows(at, "first-machine:6379") and "sweeps_address" not in keys(at, "text_input")


@needs_ray
def test_an_address_that_is_none_or_silent_is_one_sentence(sweeps: Sweeps) -> None:
    at = visit()
    plan_few(at, ["natural"], ["none"], ["answer"])
    at.button_group(key="sweeps_engine").set_value("ray")
    visitor.run(at)
    assert at.button(key="sweeps_estimate").disabled, "an estimate would load the model here"
    at.text_input(key="sweeps_address").set_value("ray://somewhere")
    visitor.run(at)
    visitor.press(at, "sweeps_start")
    assert any("no address of a Ray cluster" in message for message in visitor.messages(at))
    silent = f"127.0.0.1:{free_port()}"
    at.text_input(key="sweeps_address").set_value(silent)
    visitor.run(at)
    visitor.press(at, "sweeps_start")
    sweeps.wait(desk(at).sweep, visitor.PATIENCE)
    visitor.run(at)
    assert any(f"No Ray cluster answers at {silent}" in message for message in visitor.messages(at))
    assert sweeps.status(desk(at).sweep).done == 0


@needs_ray
@pytest.mark.timeout(900)
def test_a_sweep_runs_on_a_cluster_and_the_page_follows_it(sweeps: Sweeps) -> None:
    with ray_cluster(cpus=1) as address:
        at = visit()
        plan_few(at, ["natural"], ["none", "contradictory"], ["answer"])
        at.button_group(key="sweeps_engine").set_value("ray")
        visitor.run(at)
        at.text_input(key="sweeps_address").set_value(address)
        visitor.run(at)
        visitor.press(at, "sweeps_start")
        sweep = desk(at).sweep
        assert sweeps.status(sweep).running
        status = sweeps.wait(sweep, 5 * visitor.PATIENCE)
        assert (status.state, status.done, status.failed, status.error) == ("done", 6, 0, "")
        visitor.run(at)
        assert visitor.shows(at, "done · 6 of 6 done")
