"""The peers' table: our side against what the real packages returned, and honest where they are missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import peers, relevancy
from benchmarks.peers_rows import ROWS, either_way, made_by_hand

# What lm-polygraph 0.7.0 and uqlm 0.6.7 returned for the cases made by hand, as `benchmarks.peers` asked them.
RETURNED: list[dict[str, Any]] = [
    {
        "polygraph_ids": [0, 1, 0],
        "polygraph_mean": 0.605994364,
        "polygraph_direct": 0.867583407,
        "polygraph_frequency": 0.636514168,
        "polygraph_sequence": 1.2,
        "polygraph_normalized": 0.347222222,
        "polygraph_sets": 1.0,
        "polygraph_eigenvalue": 1.556886228,
        "polygraph_degree": 0.367777778,
        "polygraph_lexical": -0.301587302,
        "uqlm_clusters": [[0, 2], [1, 2]],
        "uqlm_discrete": 0.693147181,
        "uqlm_tokenprob": 0.69210652,
        "uqlm_confidence": 0.369070246,
    },
    {
        "polygraph_ids": [0, 1, 2],
        "polygraph_mean": 1.2,
        "polygraph_direct": 0.97962555,
        "polygraph_frequency": 1.098612289,
        "polygraph_sequence": 1.2,
        "polygraph_normalized": 0.347222222,
        "polygraph_sets": 3.0,
        "polygraph_eigenvalue": 1.971462935,
        "polygraph_degree": 0.512222222,
        "polygraph_lexical": -0.301587302,
        "uqlm_clusters": [[0, 2], [1, 2]],
        "uqlm_discrete": 0.693147181,
        "uqlm_tokenprob": 0.69210652,
        "uqlm_confidence": 0.369070246,
    },
    {
        "polygraph_ids": [0, 1, 2],
        "polygraph_mean": 1.2,
        "polygraph_direct": 0.97962555,
        "polygraph_frequency": 1.098612289,
        "polygraph_sequence": 1.2,
        "polygraph_normalized": 0.347222222,
        "polygraph_sets": 2.0,
        "polygraph_eigenvalue": 2.455658952,
        "polygraph_degree": 0.607777778,
        "polygraph_lexical": -0.301587302,
        "uqlm_clusters": [[0], [1], [2]],
        "uqlm_discrete": 1.098612289,
        "uqlm_tokenprob": 1.092125472,
        "uqlm_confidence": 0.0,
    },
    {
        "polygraph_ids": [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "polygraph_mean": -2.242585093,
        "polygraph_direct": -211.198710413,
        "polygraph_frequency": -0.0,
        "polygraph_sequence": 0.06,
        "polygraph_normalized": 0.03,
        "polygraph_sets": 1.0,
        "polygraph_eigenvalue": 1.0,
        "polygraph_degree": 0.05,
        "polygraph_lexical": -1.0,
        "uqlm_clusters": [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]],
        "uqlm_discrete": 0.0,
        "uqlm_tokenprob": 0.0,
        "uqlm_confidence": 1.0,
    },
]


def test_every_difference_from_the_peers_has_its_cause() -> None:
    cases = made_by_hand()
    lines = peers.compare(cases, {"cases": RETURNED, "missing": {}})
    assert len(lines) == len(ROWS)
    for line in lines:
        assert line["left"] == pytest.approx(0, abs=1e-6), line
        assert (line["difference"] > 1e-6) == (line["why"] != "the same"), line
    made = peers.clusters_table(cases, {"cases": RETURNED})
    assert "| [0, 1, 1] | [0, 1, 0] | [0, 1, 0] | [[0, 2], [1, 2]] |" in made  # the three rules part


def test_clusters_by_either_direction_overlap() -> None:
    joined, one_way, apart, repeated = made_by_hand()
    assert either_way(joined) == either_way(one_way) == [[0, 2], [1, 2]]
    assert either_way(apart) == [[0], [1], [2]]
    assert either_way(repeated) == [list(range(10))]


def test_what_is_not_installed_is_said_in_the_table() -> None:
    """Asked in this project's own environment, which must not hold the peers."""
    cases = made_by_hand()[:1]
    found = peers.ask_peers(Path(sys.executable), cases)
    assert found["versions"] == {"lm-polygraph": "not installed", "uqlm": "not installed"}
    lines = peers.compare(cases, found)
    assert all(line["theirs"] is None and line["why"].startswith("not here: ModuleNotFoundError") for line in lines)
    table = peers.markdown(lines, found["versions"])
    assert table.count("| – | – | – |") == len(ROWS) and "lm-polygraph not installed" in table


def test_a_map_points_where_its_peak_is() -> None:
    heat_map = np.zeros((4, 4))
    heat_map[1, 2] = 0.3
    heat_map[3, 3] = 0.1
    inside = relevancy.points(heat_map, [(0.5, 0.25, 0.75, 0.5)])
    assert inside.hit and inside.chance == pytest.approx(1 / 16) and inside.density == pytest.approx(0.75 * 16)
    outside = relevancy.points(heat_map, [(0.0, 0.0, 0.3, 0.2)])
    assert not outside.hit and outside.density == 0
    assert outside.chance == pytest.approx(2 / 16)
    half = relevancy.points(np.ones((4, 4)), [(0.125, 0.0, 0.375, 1.0)])
    assert half.density == pytest.approx(1) and half.chance == pytest.approx(0.5)
    assert not relevancy.points(np.zeros((4, 4)), [(0.0, 0.0, 1.0, 1.0)]).hit
