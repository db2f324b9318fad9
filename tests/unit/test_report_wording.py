"""Results in words: three significant digits, verdicts, every setting of every intervention."""

from dataclasses import replace

import pytest

from isi_core.domain.interventions import (
    Arrow,
    Blur,
    Box,
    ContextPreset,
    EditText,
    Freehand,
    GaussianNoise,
    ImagePreset,
    Occlusion,
    QuestionPreset,
    TextLabel,
)
from isi_core.measures.statistics import Rank
from isi_core.reports.wording import intervention_words, judgement, number, one_line, plain, provenance, rank_words
from tests.evaluations import evaluation


def test_numbers_have_three_significant_digits():
    shown = {
        0.5: "0.500",
        1.0: "1.00",
        12.34: "12.3",
        999.6: "1,000",
        99.96: "100",
        123456.0: "123,000",
        0.00123: "0.00123",
        0.0000234567: "2.35e-5",
        -0.0421: "−0.0421",
        0.0: "0",
        2e-16: "0",
        0.9999: "1.00",
        float("nan"): "–",
        float("inf"): "∞",
    }
    assert {value: number(value) for value in shown} == shown
    assert number(None) == "–"


def test_a_rank_never_claims_more_than_lies_below():
    said = {
        (5, 0, 8): "above 62.5 %",
        (5, 1, 8): "above 62.5 %",  # the one that is the same is the trial itself, among its dataset's
        (25, 25, 100): "above 25 % and the same as 25 %",
        (0, 99, 100): "above none and the same as 99 %",
        (0, 100, 100): "the same as all",
        (0, 0, 4): "above none",
        (0, 1, 1): "above none",
        (4, 0, 4): "above all",
    }
    assert {counts: rank_words(Rank(*counts)) for counts in said} == said


@pytest.mark.parametrize(
    ("text", "truth", "word"),
    [
        ("Yes.", True, "right"),
        ("No.", True, "wrong"),
        ("No.", False, "right"),
        ("Perhaps.", True, "unclear"),
        ("Yes.", None, "not judged"),
    ],
)
def test_answers_are_judged_in_words(text, truth, word):
    assert judgement(evaluation(text, truth=truth)).word == word
    assert judgement(replace(evaluation(text, truth=truth), answer=None)).word == "not judged"


def test_every_intervention_has_its_words_with_every_setting():
    cases = {
        Box(0.1, 0.2, 0.3, 0.4, "#112233", True, 0.5): ("(10 %, 20 %)", "(30 %, 40 %)", "filled", "#112233", "0.5"),
        Box(0, 0, 1, 1, width=0.02): ("outline 2 % wide",),
        TextLabel(0.1, 0.2, "hi", size=0.1): ("“hi”", "(10 %, 20 %)", "10 %"),
        Arrow(0, 0.1, 0.2, 0.3, head=0.05): ("(0 %, 10 %)", "(20 %, 30 %)", "head 5 %"),
        Freehand(((0.1, 0.1), (0.5, 0.5), (0.9, 0.2))): ("3 points", "(90 %, 20 %)"),
        GaussianNoise(12.5, 7): ("12.5", "seed 7"),
        Blur(0.1, 0.1, 0.9, 0.9, 0.05): ("5 %", "(90 %, 90 %)"),
        Occlusion(0.1, 0.1, 0.9, 0.9): ("Occlusion", "#808080"),
        ImagePreset("random", 3): ("random (seed 3)",),
        ContextPreset("contradictory"): ("contradictory",),
        QuestionPreset("random", 5): ("random (seed 5)",),
        EditText("context", "abc"): ("Context typed by hand", "3 characters"),
    }
    for change, parts in cases.items():
        assert all(part in intervention_words(change) for part in parts), change


def test_settings_are_written_as_they_were_set():
    assert [plain(v) for v in (0.9, 50, 1.0, 1.05, 0.123456)] == ["0.9", "50", "1", "1.05", "0.123456"]


def test_the_provenance_line_names_model_decoding_seed_digest_and_time():
    made = evaluation()
    line = provenance(made)
    for part in (
        "tiny-llava · revision 01234567 · float32 (4-bit)",
        "greedy, 4 samples at temperature 0.9, top-k 33, top-p 0.95, repetition penalty 1.05, at most 21 tokens",
        "seed 17",
        f"digest {made.trial.digest[:8]} ·",
        "2026-11-24T05:45:32+00:00",
    ):
        assert part in line
    beam = replace(made, decoding=replace(made.decoding, strategy="beam", num_beams=3, top_k=0))
    assert "beam (3 beams)" in provenance(beam) and "top-k off" in provenance(beam)


def test_one_line_drops_what_would_break_or_turn_it():
    assert one_line("a\n\tb  c\u202e\x00d", 60) == "a b c d"
    assert one_line("abcdefgh", 5) == "abcd…"
