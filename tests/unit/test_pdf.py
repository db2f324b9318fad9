"""The report: every number and setting in its text, hostile text as it is, everything inside the page."""

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reportlab
from PIL import Image
from pypdf import PdfReader
from reportlab.pdfbase.pdfmetrics import stringWidth

from isi_core.domain.errors import InputError
from isi_core.domain.interventions import (
    Box,
    ContextPreset,
    ImagePreset,
)
from isi_core.domain.uncertainty import UncertaintySettings
from isi_core.reports.overview import grid_shape
from isi_core.reports.pdf import build_report, default_label
from isi_core.reports.typeset import BOLD, fit, printable, safe, wrapped
from isi_core.reports.wording import one_line, provenance
from isi_core.studies.averages import MEASURES, Averages, MeasureAverage, PresetAverage
from tests.evaluations import attribution, evaluation, investigated, reworded, uncertainty


def _read(report: bytes) -> tuple[PdfReader, list[str]]:
    reader = PdfReader(io.BytesIO(report))
    return reader, [" ".join(page.extract_text().split()) for page in reader.pages]


def _inside(reader: PdfReader) -> None:
    """No text starts outside the page."""
    for page in reader.pages:

        def visit(text, matrix, text_matrix, font, size):
            if text.strip():
                x = text_matrix[4] * matrix[0] + matrix[4]
                assert 0 <= x <= 595, text

        page.extract_text(visitor_text=visit)


def _averages(model: str = "tiny-llava", dataset: str = "isi_scenes") -> Averages:
    values = {name: MeasureAverage(0.111 + i / 10, (0.5,)) for i, name in enumerate(MEASURES)}
    preset = PresetAverage(100, 0.9, 0.5, 0.0, None, values)
    presets = {"natural/none": preset, "natural/contradictory": replace(preset, n=99)}
    record = {**evaluation().model.to_json(), "name": model}
    return Averages(record, {}, dataset, evaluation().decoding.to_json(), "", presets, {})


def test_one_trial_says_everything_that_was_asked_and_found():
    changes = (ContextPreset("contradictory"), Box(0.1, 0.2, 0.3, 0.4, "#112233", True, 0.5))
    made = evaluation("No, it is blue.", context="Cars are blue.", interventions=changes)
    reader, pages = _read(build_report([made], labels=["my trial"], title="A title"))
    text = " ".join(pages)
    for words in (
        "my trial",
        "Is there a red car?",
        "Cars are blue.",
        "Truth yes",
        "No, it is blue.",
        "no: wrong",
        "1. Context preset: contradictory",
        "2. Box from (10 %, 20 %) to (30 %, 40 %), filled, colour #112233, opacity 0.5",
        "Semantic entropy 0.562 nats, 0 to ln 4 = 1.39",
        "Cluster-assignment entropy 0.562",
        "Predictive entropy 0.250 nats per token",
        "Rao's quadratic entropy 0.375 0 to below 1",
        "Semantic clusters 2 count, 1 to 4",
        "Attention to image, relative 0.500",
        "Attention to the rest, absolute 0.200",
        "1 0.750 Yes. 2 −0.250 −0.250",
        "2 0.250 No. 1",
        "0123456789abcdef",
        "float32, quantization 4-bit, attention sdpa, on cpu",
        "strategy greedy, 4 beams (unused), repetition penalty 1.05, at most 21 new tokens",
        "4 at temperature 0.9, top-k 33, top-p 0.95, seed 17",
        "tiny-nli, loose rule, sampling likelihoods",
        made.trial.digest,
        "torch 2.13.0, numpy 2.4.6",
        "model 0.123 s",
        "USER: <image>",
        "page 1 of",
    ):
        assert words in text, words
    assert provenance(made) in text
    assert "Dataset mean" not in text
    assert [entry["/Title"] for entry in reader.outline] == ["my trial"]
    assert reader.metadata.title == "A title" and "ISI Studio" in reader.metadata.author
    assert sum(len(page.images) for page in reader.pages) == 3 + 5  # picture, heat map, its legend; five charts
    width, height = (float(v) for v in reader.pages[0].mediabox[2:])
    assert (round(width), round(height)) == (595, 842)
    _inside(reader)


def test_fonts_are_embedded():
    reader, _ = _read(build_report([evaluation()]))
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            descriptor = font.get_object().get("/FontDescriptor")
            # Helvetica is named by reportlab on every page; no text uses it.
            assert descriptor is None or "/FontFile2" in descriptor.get_object()
            assert descriptor is not None or font.get_object()["/BaseFont"] == "/Helvetica"


def test_wider_fonts_are_used_where_they_lie(tmp_path):
    bundled = Path(reportlab.__file__).parent / "fonts"
    for source, name in (("Vera", "DejaVuSans"), ("VeraBd", "DejaVuSans-Bold"), ("VeraIt", "DejaVuSans-Oblique")):
        shutil.copy(bundled / f"{source}.ttf", tmp_path / f"{name}.ttf")
    # In a process of its own: reportlab keeps the fonts it has registered.
    code = (
        "import sys; from pathlib import Path; from reportlab.pdfbase import pdfmetrics;"
        "from isi_core.reports import typeset;"
        "typeset.FONTS_FOLDER = Path(sys.argv[1]); typeset.register_fonts();"
        "print(pdfmetrics.getFont(typeset.REGULAR).face.filename, pdfmetrics.getFont(typeset.BOLD).face.filename)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(tmp_path / "DejaVuSans.ttf"), str(tmp_path / "DejaVuSans-Bold.ttf")]


def test_the_dataset_mean_stands_beside_the_values_of_the_same_model_only():
    made = evaluation()
    _, pages = _read(build_report([made], averages=_averages()))
    text = " ".join(pages)
    assert "Semantic entropy 0.562 nats, 0 to ln 4 = 1.39 0.111" in text
    assert "Attention to image, relative 0.500 share, 0 to 1 0.411" in text
    assert (
        "mean over 100 observations of isi_scenes with the natural picture and no context, by the same model." in text
    )
    own = replace(made, trial=replace(made.trial, context="x", context_kind="contradictory"))
    _, pages = _read(build_report([own], averages=_averages()))
    assert "mean over 99 observations of isi_scenes with the natural picture and contradictory context" in " ".join(
        pages
    )
    other = replace(made, decoding=replace(made.decoding, temperature=0.5))
    _, pages = _read(build_report([other], averages=_averages()))
    assert "made with other decoding settings" in " ".join(pages)
    _, pages = _read(build_report([made, made], averages=_averages()))
    assert "its tick is the dataset's mean" in pages[0]
    _, pages = _read(build_report([made], averages=_averages("another")))
    assert "Dataset mean" not in " ".join(pages)
    assert "No dataset mean: the dataset was put to another model (another, not tiny-llava)." in " ".join(pages)
    unlike = replace(_averages(), settings=UncertaintySettings(rule="strict"))
    _, pages = _read(build_report([made, made], averages=unlike))
    text = " ".join(pages)
    assert "No dataset mean: the dataset was measured with another rule (strict, not loose)." in text
    assert "Semantic entropy 0.562 nats, 0 to ln 4 = 1.39 –" in text and "tick" not in pages[0]
    assert "Attention to image, relative 0.500 share, 0 to 1 0.411" in text


def test_a_mean_that_stands_in_is_named_beside_the_attention_too():
    made = evaluation()
    edited = replace(made, trial=replace(made.trial, context_kind="edited"))
    for shown, expected in ((made, False), (edited, True)):
        _, pages = _read(build_report([shown], averages=_averages()))
        text = " ".join(pages)
        assert ("the tick is the dataset mean with the natural picture and no context." in text) == expected
        assert "Among the dataset's observations" in text and "image above none" in text


def test_each_trial_stands_beside_the_averages_of_its_own_dataset():
    made = evaluation()
    own = [_averages(), _averages(dataset="others"), None]
    _, pages = _read(build_report([made] * 3, averages=own))
    text = " ".join(pages)
    assert text.count("observations of isi_scenes with") == text.count("observations of others with") == 1
    with pytest.raises(InputError, match="3 trials need as many averages, not 2"):
        build_report([made] * 3, averages=own[:2])


def test_six_measured_trials_begin_with_all_on_one_page(tmp_path):
    evaluations, labels = investigated(tmp_path)
    reader, pages = _read(build_report(evaluations, labels=labels, title="Example investigation"))
    first = pages[0]
    for i, label in enumerate(labels, start=1):
        assert f"{i} {label}" in first
    assert first.count("semantic entropy") >= 6 and first.count("nats") >= 6
    assert "Question: Is there a red car? Truth: yes." in first
    assert "natural picture + box" in first and "natural picture + gaussian" in first
    assert len(reader.pages[0].annotations) == 6
    titles = [entry["/Title"] for entry in reader.outline]
    assert titles == ["The investigation at a glance", *(f"Trial {i + 1} of 6: {n}" for i, n in enumerate(labels))]
    starts = [reader.get_destination_page_number(entry) for entry in reader.outline]
    assert all(f"Trial {i} of 6" in pages[start] for i, start in enumerate(starts[1:], start=1))
    assert f"page {len(pages)} of {len(pages)}" in pages[-1]
    assert len(reader.pages[0].images) == len({e.trial.image_digest for e in evaluations}) == 4  # each kept once
    _inside(reader)


@pytest.mark.parametrize("count", [1, 2, 5, 12, 30, 60])
def test_any_number_of_trials_fits_one_page(count):
    columns, rows = grid_shape(count, 499, 660)
    assert columns * rows >= count > (rows - 1) * columns


def test_twenty_trials_are_one_overview_page():
    made = evaluation(measured=False)
    _, pages = _read(build_report([made] * 20, labels=[f"label {i}" for i in range(20)]))
    assert all(f"label {i}" in pages[0] for i in range(20))
    assert "Trial 1 of 20" in pages[1]
    assert "20 trials (20 right) put to tiny-llava." in pages[0]
    assert "semantic entropy: not measured" in pages[0]


HOSTILE = (
    '<b>bold</b> & <font color="red">x</font> <img src="file:///etc/passwd"/> <a href="http://x.example">y</a> '
    "<para>&lt;&amp; {% x %} </para> \x00\x07 \ud83d 😀 שלום 中文 \u202e reversed"
)


def test_markup_is_printed_not_obeyed_and_unprintable_characters_are_named():
    made = evaluation(HOSTILE, question=HOSTILE, context=HOSTILE)
    made = replace(made, uncertainty=uncertainty([(HOSTILE,), ("No.",)]), attribution=attribution((HOSTILE, "<b>")))
    for trials in ([made], [made, made]):
        reader, pages = _read(build_report(trials, labels=[HOSTILE] * len(trials), title=HOSTILE))
        text = " ".join(pages)
        assert '<b>bold</b> & <font color="red">x</font> <img src="file:///etc/passwd"/>' in text
        assert "<para>&lt;&amp; {% x %} </para>" in text
        for code in ("U+0000", "U+D83D", "U+1F600", "U+202E", "U+05E9", "U+4E2D"):
            assert code in text, code
        assert "cannot print stand as code points" in text
        links = [a.get_object() for page in reader.pages for a in page.annotations or []]
        assert all("/A" not in link or "/URI" not in link["/A"] for link in links)
        _inside(reader)


def test_code_points_stand_for_what_the_font_lacks_and_nothing_is_lost():
    assert printable("naïve café – “ok” …") == "naïve café – “ok” …"
    assert printable("e\u0301") == "é"
    assert printable("a😀b") == "a[U+1F600]b"
    assert printable("中文") == "[U+4E2D U+6587]"
    assert printable("א" * 40).endswith(" … 40 characters]")
    assert printable("a\r\nb\rc\td") == "a\nb\nc\td"
    assert safe("a<b>\nc&d") == "a&lt;b&gt;<br/>c&amp;d"


@pytest.mark.parametrize(
    "text",
    ["context words " * 1430, "W" * 20_000, "line\n" * 4_000, "中" * 20_000, "\n" * 20_000],
    ids=["long", "word", "lines", "cjk", "empty"],
)
def test_twenty_thousand_characters_wrap_over_pages(text):
    made = reworded(evaluation(measured=False), context=text, question="Q" * 5000 + "?")
    reader, pages = _read(build_report([made, made]))
    joined = "".join("".join(page.split()) for page in pages)
    assert joined.count("Q") >= 2 * 5000
    if text.startswith("W"):
        assert joined.count("W") >= 2 * 20_000
    elif text.startswith("context"):
        assert joined.count("contextwords") >= 2 * 1430 - 2 * len(pages)  # a page's footer may part one
    elif text.startswith("line"):
        assert 0 <= joined.count("line") - 2 * 4_000 <= 100  # the cards repeat the first few
    elif text.startswith("\n"):
        assert "[19,999emptylines]" in joined and len(pages) < 20
    else:
        assert "20,000characters" in joined
    _inside(reader)


def test_many_long_samples_and_tokens_fit(tmp_path):
    words = [f"sample {i} " + "long " * 300 for i in range(60)]
    made = evaluation(" ".join(["tok"] * 200))
    made = replace(made, uncertainty=uncertainty([tuple(words[:40]), *((w,) for w in words[40:])]))
    made = replace(made, attribution=attribution(["tok"] * 200, layers=80, grid=(24, 24)))
    reader, pages = _read(build_report([made]))
    text = " ".join(pages)
    assert all(f"sample {i} " in text for i in range(60))
    assert "80" in text or reader.pages[-1].images
    _inside(reader)


def test_partial_and_empty_evaluations_are_reported():
    bare = replace(evaluation(measured=False), answer=None, prompt="", seconds={}, versions={}, created="")
    _, pages = _read(build_report([bare]))
    text = " ".join(pages)
    assert "Answer not asked" in text and "time not recorded" in text and "Measures" not in text
    strip = replace(evaluation(), attribution=attribution(grid=(1, 40)))
    _, pages = _read(build_report([strip]))
    assert "No heat map" in " ".join(pages)
    nan = replace(evaluation(), uncertainty=replace(uncertainty(), predictive_entropy=float("nan")))
    _, pages = _read(build_report([nan]))
    assert "Predictive entropy – nats" in " ".join(pages)
    lone = replace(evaluation(), uncertainty=uncertainty([("Yes.",)]))
    assert build_report([lone]).startswith(b"%PDF")
    unfinished = evaluation(measured=False)
    assert unfinished.answer is not None
    unfinished = replace(unfinished, answer=replace(unfinished.answer, finished=False))
    _, pages = _read(build_report([unfinished]))
    assert "cut at the length limit" in " ".join(pages)


@pytest.mark.parametrize("size", [(4000, 30), (30, 3000), (1, 1), (1800, 1600)])
def test_pictures_of_any_shape_keep_the_report_small(size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    report = build_report([evaluation(image=Image.fromarray(noise))])
    assert len(report) < 6_000_000
    assert f"{size[0]} × {size[1]} pixels" in " ".join(_read(report)[1])


def test_wrong_calls_are_refused_in_words():
    with pytest.raises(InputError, match="press Ask"):
        build_report([])
    with pytest.raises(InputError, match="labels"):
        build_report([evaluation()], labels=["a", "b"])


def test_trials_without_labels_are_named_by_what_they_are():
    made = evaluation(interventions=(Box(0, 0, 1, 1), ImagePreset("natural")))
    assert default_label(made) == "natural picture, no context, 1 change to the picture"


def test_lines_are_cut_to_their_width():
    assert fit("short", 200) == "short"
    cut = fit("a long line of words " * 10, 100, BOLD, 9)
    assert cut.endswith("…") and stringWidth(cut, BOLD, 9) <= 100
    lines = wrapped("some words that need several lines " * 5, 90, 3)
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert all(stringWidth(line, BOLD, 8) <= 120 for line in lines)
    assert one_line("a\n\tb  c", 60) == "a b c"
