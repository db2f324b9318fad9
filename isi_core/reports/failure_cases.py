"""Which cases an explainer is surest about, rightly and wrongly."""

from __future__ import annotations

from isi_core.studies.failure.results import BenchmarkResult, Case, ExplainerScore

FORESEEN, MISSED, ALARMS, SAFE = "Failures it foresaw", "Failures it missed", "False alarms", "Successes it foresaw"
MEANINGS = {
    FORESEEN: "the model failed, and the score was among the lowest",
    MISSED: "the model failed, and the score was among the highest",
    ALARMS: "the model was right, and the score was among the lowest",
    SAFE: "the model was right, and the score was among the highest",
}


def surest_cases(result: BenchmarkResult, score: ExplainerScore, each: int) -> dict[str, list[tuple[Case, float]]]:
    """Kind of case to at most `each` of them with their scores, the surest first; empty lists where there are none.

    Below and above the middle of the test scores, so that no case counts as foreseen and as missed.
    """
    cases = {case.id: case for case in result.cases}
    both = [(cases[key], value) for key, value in zip(score.case_ids, score.scores, strict=True) if key in cases]
    ordered = sorted(both, key=lambda pair: pair[1])
    low, high = ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :][::-1]
    return {
        FORESEEN: [pair for pair in low if not pair[0].success][:each],
        MISSED: [pair for pair in high if not pair[0].success][:each],
        ALARMS: [pair for pair in low if pair[0].success][:each],
        SAFE: [pair for pair in high if pair[0].success][:each],
    }
