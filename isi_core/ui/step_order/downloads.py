"""Everything on the page to take along: PDF, CSV, JSON; each file is made when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from isi_core.datasets.step_statistics import CategoryCount, TitleWords
from isi_core.domain.errors import StudioError
from isi_core.domain.step_pairs import PairSplits
from isi_core.reports.charts import Figure
from isi_core.reports.order_ask_figures import asked_figure, parts_figure
from isi_core.reports.order_cases import ReportCase
from isi_core.reports.order_figures import accuracy_figure, curves_figure, words_figure
from isi_core.reports.order_gap_figures import gap_figure, gap_lengths_figure
from isi_core.reports.order_shift_figures import position_figure, shift_figure, sizes_figure
from isi_core.reports.order_tables import (
    SHORT,
    accuracies_csv,
    comparisons_csv,
    curves_csv,
    flips_csv,
    gaps_csv,
    shift_csv,
    statistics_csv,
)
from isi_core.reports.order_words import asked_sentence, shift_sentences, turned_words
from isi_core.studies.step_order.asked import Asked, asked_ids, read_asked
from isi_core.studies.step_order.flips import flip_kinds, position_bias
from isi_core.studies.step_order.grid import over_seeds
from isi_core.studies.step_order.kept import Study
from isi_core.studies.step_order.kin import over_seeds_of, over_sizes_of
from isi_core.studies.step_order.results import ALL, GapResult, GridResult
from isi_core.studies.step_order.zero_shot_rows import zero_shot_rows
from isi_core.ui.frame import Download, downloads
from isi_core.ui.wording import as_written


def show(study: Study, splits: PairSplits, rows: Sequence[CategoryCount], words: TitleWords) -> None:
    """The buttons and the line that says where the results come from."""
    st.divider()
    name, grid, gaps = study.plan.id, study.grid, study.gaps
    files: list[tuple[str, str, str, Callable[[], bytes]]] = [
        ("PDF", "report.pdf", "picture_as_pdf", partial(pdf, study, rows, words, splits)),
        ("CSV: accuracies", "accuracies.csv", "table", partial(accuracies_csv, grid)),
        ("CSV: tests", "tests.csv", "rule", partial(comparisons_csv, grid)),
        ("CSV: curves", "curves.csv", "show_chart", partial(curves_csv, grid)),
        ("CSV: gap", "gap.csv", "scatter_plot", partial(gaps_csv, gaps)),
        ("CSV: shift", "shift.csv", "swap_horiz", partial(shift_csv, gaps)),
        ("CSV: flips", "flips.csv", "flip", partial(flips_csv, study.flips)),
        ("CSV: pairs", "pairs.csv", "table_rows", partial(statistics_csv, rows)),
        ("JSON", "result.json", "data_object", partial(as_json, grid, gaps)),
    ]
    downloads(
        [
            Download(label, f"step_order_{name}_{file}", f"order_download_{file.replace('.', '_')}", make, icon)
            for label, file, icon, make in files
        ]
    )
    st.caption(as_written(provenance(name, grid)))


def provenance(name: str, grid: GridResult) -> str:
    """Where the results come from, on one line."""
    encoders = ", ".join(dict.fromkeys(row.encoder for row in grid.accuracies))
    seeds = ", ".join(str(seed) for seed in sorted({curve.seed for curve in grid.curves}))
    parts = (grid.data, encoders, f"seed {seeds}" if seeds else "", f"study {name}", grid.created)
    return " · ".join(part for part in parts if part)


def as_json(grid: GridResult, gaps: Sequence[GapResult]) -> bytes:
    """Everything as one JSON object."""
    return json.dumps({"grid": grid.to_json(), "gaps": [gap.to_json() for gap in gaps]}, indent=1).encode()


def figures_of(study: Study, words: TitleWords, asked: Sequence[Asked] = ()) -> list[Figure]:
    """Every chart that the page can show for all categories."""
    grid, gaps = study.grid, study.gaps
    made: list[Figure] = []
    for encoder in dict.fromkeys(row.encoder for row in grid.accuracies):
        made.append(accuracy_figure(grid.accuracies, encoder))
        if any(curve.encoder == encoder for curve in grid.curves):
            made.append(curves_figure(grid.curves, encoder))
        for gap in gaps:
            if gap.encoder == encoder:
                made += [gap_figure(gap), gap_lengths_figure(gap)]
                shifted = shift_figure(gap)
                made += [shifted] if shifted is not None else []
    if study.flips:
        made.append(position_figure([row for flips in study.flips for row in position_bias(flips)]))
    sizes = over_sizes_of(study.plan)
    points = [(one.plan.sizes[0], row) for one in sizes for row in one.grid.accuracies]
    if len(sizes) > 1:
        made += [sizes_figure(points, encoder) for encoder in dict.fromkeys(row.encoder for _, row in points)]
    for one in asked:
        found = zero_shot_rows(one.answers)
        attention = parts_figure(found, one.plan.model)
        made += [asked_figure(found, one.plan.model), *([attention] if attention is not None else [])]
    made.append(words_figure(words))
    return made


def notes_of(study: Study, asked: Sequence[Asked] = ()) -> list[tuple[str, str]]:
    """What the charts do not say by themselves, as pairs of a name and words."""
    notes = [(f"Gap of {gap.encoder}", " ".join(shift_sentences(gap))) for gap in study.gaps if gap.shift]
    seeds = over_seeds_of(study.plan)
    if len(seeds) > 1:
        spreads = over_seeds([one.grid.accuracies for one in seeds])
        words = "; ".join(
            f"{row.encoder} {SHORT[row.modality]} {row.mean:.3f} ± {row.deviation:.3f}"
            for row in spreads
            if row.category == ALL
        )
        notes.append((f"Accuracy over {len(seeds)} seeds, mean ± standard deviation", words))
    for one in asked:
        row = zero_shot_rows(one.answers)[-1]
        notes.append((f"{one.plan.model}, asked without training", asked_sentence(row, one.layout)))
    return notes


def pdf(study: Study, rows: Sequence[CategoryCount], words: TitleWords, splits: PairSplits | None = None) -> bytes:
    """The page as a PDF, with cases where their pairs are given."""
    from isi_core.reports.order_report import build_order_report

    asked = asked_of(study.plan.data)
    figures = figures_of(study, words, asked)
    cases = cases_of(study, splits) if splits is not None else []
    return build_order_report(study.grid, rows, figures, notes_of(study, asked), cases)


def cases_of(study: Study, splits: PairSplits) -> list[ReportCase]:
    """The most decided case of each kind of each encoder, found by hiding and swapping."""
    by_idx = {pair.idx: pair for pair in splits.test}
    made = []
    for flips in study.flips:
        for kind, pairs in flip_kinds(flips).items() if flips.modality == "vt" else ():
            found = next((pair for pair in pairs if pair.idx in by_idx), None)
            if found is not None:
                made.append(ReportCase(f"{kind} ({flips.encoder})", by_idx[found.idx], turned_words(found)))
    return made


def asked_of(data: str) -> list[Asked]:
    """Answers of vision-language models about these how-tos."""
    found = []
    for asked_id in asked_ids():
        try:
            one = read_asked(asked_id)
        except StudioError:
            continue
        if one.plan.data == data and one.answers:
            found.append(one)
    return found
