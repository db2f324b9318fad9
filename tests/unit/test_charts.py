"""Charts: the numbers they draw, their labels and colours, and that they render offline."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from isi_core.domain.errors import InputError
from isi_core.domain.palette import CONTEXT, IMAGE, OTHER, QUESTION
from isi_core.measures.statistics import Rank
from isi_core.reports.charts import (
    attention_figure,
    cluster_figure,
    comparison_figure,
    figure_png,
    figure_svg,
    layer_figure,
    token_figure,
    value_figure,
)
from tests.evaluations import SHARES, attribution, evaluation, uncertainty


def _rows(specification) -> list[dict]:
    """Every row of a chart's data."""
    return [row for rows in specification["datasets"].values() for row in rows]


def _all_figures():
    trials = [evaluation(), evaluation("No.", context="It is blue."), evaluation(measured=False)]
    return [
        cluster_figure(uncertainty()),
        attention_figure(attribution(), True, {"image": 0.3, "context": 0.3, "question": 0.4}),
        attention_figure(attribution(), False),
        value_figure(0.5, 0.0, 2.3, 0.7, "semantic entropy", "nats", [0.1, 0.2, 0.9]),
        layer_figure(attribution()),
        token_figure(attribution()),
        comparison_figure(trials, ["one", "two", "three"]),
    ]


def test_clusters_come_likeliest_first_with_their_commonest_answer_and_count():
    figure = cluster_figure(uncertainty([("No.",), ("Yes.", "Yes, it is.", "Yes, it is.")]))
    rows = {r["cluster"]: r for r in _rows(figure.chart.to_dict())}
    assert list(rows) == ["2: Yes, it is. (3×)", "1: No. (1×)"]
    first = rows["2: Yes, it is. (3×)"]
    assert (first["probability"], first["shown"]) == (0.75, "0.750")
    assert first["answers"] == "Yes, it is. (2×); Yes. (1×)"
    assert "0.562 nats" in figure.reading and "4 sampled answers" in figure.reading


def test_long_and_odd_answers_are_cut_to_one_line_and_stay_apart():
    long = "a very long answer " * 20
    figure = cluster_figure(uncertainty([(long,), (f"{long}!",), ("",), ("two\nlines\u202e <b>x</b>",)]))
    names = [r["cluster"] for r in _rows(figure.chart.to_dict())]
    assert len(set(names)) == 4
    assert all(len(name) < 50 and "\n" not in name and "\u202e" not in name for name in names)
    assert names[0].endswith("… (1×)")
    assert names[2] == "3: (empty answer) (1×)"
    assert names[3] == "4: two lines <b>x</b> (1×)"
    assert figure_png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize("relative", [True, False])
def test_attention_has_its_inputs_colours_and_the_means_as_ticks(relative):
    means = {"image": 0.3, "context": math.nan, "question": 0.25}
    figure = attention_figure(attribution(), relative, means)
    specification = figure.chart.to_dict()
    rows = _rows(specification)
    shares = {r["input"]: r["share"] for r in rows if "share" in r}
    scale = 0.8 if relative else 1.0
    names = ["image", "context", "question"] + ([] if relative else ["other"])
    assert shares == {n: pytest.approx(SHARES[n] / scale) for n in names}
    assert {r["input"]: r["mean"] for r in rows if "mean" in r} == {"image": 0.3, "question": 0.25}
    colours = specification["layer"][0]["encoding"]["color"]["scale"]
    assert colours == {"domain": names, "range": [IMAGE, CONTEXT, QUESTION, OTHER][: len(names)]}
    assert "tick" in figure.reading
    assert "tick" not in attention_figure(attribution(), relative).reading
    ranks = {"image": Rank(5, 1, 8), "context": Rank(2, 6, 8), "question": Rank(0, 0, 8)}
    of = attention_figure(attribution(), relative, means, ranks, "the natural picture")
    assert "the tick is the dataset mean with the natural picture." in of.reading
    assert of.reading.endswith(
        "Among the dataset's observations with the natural picture: image above 62.5 %, "
        "context above 25 % and the same as 75 %, question above none."
    )


def test_a_value_says_where_it_lies_among_the_dataset():
    figure = value_figure(0.5, 0.0, 2.3, 0.7, "semantic entropy", "nats", np.array([0.1, 0.2, 0.9, math.nan]))
    assert figure.name == "semantic_entropy"
    assert "0.500 nats" in figure.reading and "above 66.7 % of the dataset's 3 observations" in figure.reading
    assert "mean, 0.700" in figure.reading
    tied = value_figure(0.0, 0.0, 2.3, 0.1, "semantic entropy", "nats", [0.0] * 9 + [1.0], "the natural picture")
    of = "of the dataset's 10 observations with the natural picture"
    assert f", above none and the same as 90 % {of} (grey ticks)" in tied.reading
    alone = value_figure(0.5, 0.0, 1.0, None, "share")
    assert alone.reading == "The diamond is this trial, 0.500."
    wide = value_figure(5.0, 0.0, 1.0, None, "share").chart.to_dict()
    assert wide["layer"][-1]["encoding"]["x"]["scale"]["domain"] == [0.0, 5.0]
    with pytest.raises(InputError, match="measure it again"):
        value_figure(math.nan, 0.0, 1.0, None, "share")
    with pytest.raises(InputError, match="scale"):
        value_figure(0.5, 1.0, 1.0, None, "share")


def test_layers_and_tokens_are_stacked_to_one_in_order():
    made = attribution(("▁Yes", "Ġno", "", "Yes"), layers=12)
    layers = _rows(layer_figure(made).chart.to_dict())
    assert [r["name"] for r in layers[::4]] == [str(i) for i in range(1, 13)]
    tokens = _rows(token_figure(made).chart.to_dict())
    assert [r["name"] for r in tokens[::4]] == ["Yes", "no", "␣", "Yes"]
    assert len({r["place"] for r in tokens}) == 4
    assert sum(r["share"] for r in tokens[:4]) == pytest.approx(1.0)
    assert {r["input"]: r["rank"] for r in tokens} == {"image": 0, "context": 1, "question": 2, "other": 3}


def test_a_comparison_holds_what_each_trial_measured():
    trials = [evaluation(), evaluation("No."), evaluation("Perhaps.", measured=False)]
    figure = comparison_figure(trials, ["plain", "plain", "asked only"])
    specification = figure.chart.to_dict()
    rows = _rows(specification)
    entropies = {r["trial"]: r["shown"] for r in rows if "entropy" in r}
    assert entropies == {"1: plain (right)": "0.562", "2: plain (wrong)": "0.562"}
    ends = [r["end"] for r in rows if r.get("input") == "question"]
    assert ends == pytest.approx([1.0, 1.0])
    assert specification["hconcat"][0]["layer"][0]["encoding"]["y"]["sort"][2] == "3: asked only (unclear)"
    with pytest.raises(InputError, match="label"):
        comparison_figure(trials, ["one"])
    with pytest.raises(InputError, match="at least one"):
        comparison_figure([], [])


def test_every_figure_renders_offline_at_the_asked_scale_on_white():
    for figure in _all_figures():
        single, double = (Image.open(io.BytesIO(figure_png(figure, scale))) for scale in (1, 2))
        assert double.width == pytest.approx(2 * single.width, abs=2)
        assert double.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
        svg = figure_svg(figure).decode()
        assert svg.startswith("<svg") and "http" not in svg.replace("http://www.w3.org", "")
        assert figure.reading.endswith(".") and figure.name.isidentifier()


def test_the_picture_shows_the_bar_at_its_length_in_its_colour():
    picture = np.asarray(Image.open(io.BytesIO(figure_png(attention_figure(attribution(), False), 1))).convert("RGB"))
    widths = []
    for colour in (IMAGE, CONTEXT):
        ink = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        row = (np.abs(picture.astype(int) - ink).max(axis=2) < 6).sum(axis=1).max()
        widths.append(row)
    assert widths[0] == pytest.approx(0.4 * 340, abs=2)
    assert widths[1] == pytest.approx(0.2 * 340, abs=2)


def test_charts_leave_background_and_axis_colours_to_the_page():
    for figure in _all_figures():
        config = figure.chart.to_dict()["config"]
        assert config["background"] == "transparent"
        assert "axis" not in config


def test_importing_charts_does_not_import_altair():
    code = "import sys, isi_core.reports.charts; print('altair' in sys.modules, 'pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
