"""A sweep as a PDF: what was asked of whom, conditions with intervals, effects, calibration, flips, families."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, Spacer, Table

from isi_core.domain.errors import InputError
from isi_core.measures.statistics import Interval
from isi_core.reports import pages, sweep_breakdowns, sweep_figures
from isi_core.reports.charts import Figure
from isi_core.reports.published import published_note
from isi_core.reports.sweep_tables import NO_INTERVAL, mcnemar_rows
from isi_core.reports.typeset import (
    BODY,
    HEADING,
    NOTE,
    RULED,
    SMALL,
    SMALL_BOLD,
    SUBHEADING,
    TITLE,
    WIDTH,
    Bookmark,
    paragraph,
    register_fonts,
)
from isi_core.reports.wording import decoding_words, number, one_line
from isi_core.store.sweeps import SweepRecord, SweepResult
from isi_core.studies.sweep.analysis import Analysis, Effect
from isi_core.studies.sweep.calibration import Calibration
from isi_core.studies.sweep.plan import SweepPlan

_ROOM = 170.0  # points that a heading with the first rows of its table needs
MOST_MODELS = 6
"""Models that have charts of their own; tables show every model."""
MOST_FAMILIES = 8
"""Families of questions that fit beside each other in a table."""
_NO_INTERVAL = f"“{NO_INTERVAL}”: too few values, or no spread among them"
_COLUMNS = {
    "accuracy": "accuracy",
    "yes_rate": "share of yes",
    "semantic_entropy": "entropy (nats)",
    "n_clusters": "clusters",
    "attention_image": "attention: image",
    "attention_context": "attention: context",
    "attention_question": "attention: question",
}
_CHANGES = {
    "accuracy": "accuracy",
    "yes_rate": "share of yes",
    "semantic_entropy": "entropy (nats)",
    "attention_image": "attention: image",
    "attention_context": "attention: context",
}


def sweep_report(
    plan: SweepPlan,
    record: SweepRecord,
    results: Sequence[SweepResult],
    analysis: Analysis,
    calibration: Sequence[Calibration],
    slice_words: str = "",
    warning: str = "",
) -> bytes:
    """The PDF of a sweep, or of a slice of its observations.

    Parameters
    ----------
    results : those that the analysis and the calibration were made from, failures among them.
    slice_words : the slice that they were narrowed to, in words; "" for all.
    warning : what must be said beside numbers over that slice.
    """
    register_fonts()
    title = one_line(record.title, 80) or "Sweep"
    done, failed = sum(not r.error for r in results), sum(bool(r.error) for r in results)
    observations = len({r.observation for r in results if not r.error})
    asked = (
        f"{observations:,} observations of {one_line(record.dataset, 80)} under {len(analysis.conditions)} conditions, "
        f"put to {len(analysis.models)} model{'s' * (len(analysis.models) != 1)}: {done:,} evaluations"
        f"{f', {failed:,} failed and do not count' if failed else ''}."
    )
    missing = max(0, record.count - done - failed) if not slice_words else 0
    story: list[Flowable] = [Bookmark("sweep", title), paragraph(title, TITLE), paragraph(asked, BODY)]
    if missing:
        story.append(paragraph(f"{missing:,} planned evaluations are missing: the sweep had not ended.", BODY))
    if slice_words:
        story.append(paragraph(f"Of the slice {slice_words}.", BODY))
    if warning:
        story.append(paragraph(warning, BODY))
    story += [Spacer(1, 6), pages.settings_table(_settings(plan, record))]
    story += _conditions(analysis)
    story += _effects(analysis)
    story += _attention(analysis)
    story += _calibration(analysis, calibration)
    story += _flips(analysis)
    story += _families(analysis)
    story += _perturbations(analysis, plan)
    if note := published_note(model.name for model in plan.models):
        story += [Spacer(1, 8), paragraph(note, NOTE)]
    return pages.typeset(story, title, f"Only a slice: {slice_words}" if slice_words else "")


def _settings(plan: SweepPlan, record: SweepRecord) -> list[tuple[str, str]]:
    """The plan and who was asked, enough to plan the same sweep again."""
    pairs = [
        ("Dataset", f"{record.dataset}, digest {plan.dataset_digest[:12]}"),
        ("Observations", "all" if plan.observations is None else f"{len(plan.observations):,} chosen"),
        ("Conditions", f"{len(plan.conditions)}, as picture/context: {', '.join(plan.condition_keys)}"),
    ]
    for label in plan.model_labels:
        found = record.models.get(label)
        if found is None:
            pairs.append(("Model", f"{label}: not asked yet"))
            continue
        facts = (f"{key} {found[key]}" for key in ("revision", "dtype", "quantization", "device") if found.get(key))
        pairs.append(("Model", f"{label} ({', '.join(facts)})"))
    settings = plan.settings
    return [
        *pairs,
        ("Decoding", f"{decoding_words(plan.decoding)}; seed {plan.decoding.seed}"),
        ("Measures", ", ".join(plan.measures)),
        ("Grouping of answers", f"{settings.entailment_model}, {settings.rule} rule, {settings.likelihood} likelihood"),
        ("Seed", f"{plan.seed} draws random pictures and contexts, noise and places"),
        ("Sweep", f"{plan.id}, planned {record.created[:16].replace('T', ' ')} UTC"),
    ]


def _conditions(analysis: Analysis) -> list[Flowable]:
    shown = {m: words for m, words in _COLUMNS.items() if any(m in s.values for s in analysis.summaries)}
    rows = [
        [_named(analysis, s.model, s.condition), str(s.n), *(_cell(s.values.get(m)) for m in shown)]
        for s in analysis.summaries
    ]
    note = (
        "Each cell: the value and its 95 % interval, bootstrapped over observations (Wilson's where a rate is 0 or 1; "
        f"{_NO_INTERVAL})."
        + (" Attention: relative shares, the three scaled to one." if "attention_image" in shown else "")
    )
    story = [
        CondPageBreak(_ROOM),
        *_head("conditions", "Each condition"),
        _table(["condition", "n", *shown.values()], rows, 26),
    ]
    story += [Spacer(1, 3), paragraph(note, NOTE)]
    for measure in ("accuracy", "semantic_entropy"):
        story += _charts(partial(sweep_figures.condition_figure, analysis, measure))
    return story


def _effects(analysis: Analysis) -> list[Flowable]:
    if not analysis.effects:
        return []
    shown = {m: words for m, words in _CHANGES.items() if any(m in e.differences for e in analysis.effects)}
    tests = {(row["model"], row["condition"]): row for row in mcnemar_rows(analysis)}

    def row(effect: Effect) -> list[str]:
        test = tests.get((effect.model, effect.condition))
        only = f"{test['right only here']} / {test['right only in the reference']}" if test else "–"
        p = f"{test['McNemar p']}\n({test['p by Holm']})" if test else "–"
        changes = (_cell(effect.differences.get(m), signed=True) for m in shown)
        name = _named(analysis, effect.model, effect.condition)
        return [name, f"{effect.flips} of {effect.n}", *changes, only, p]

    head = ["condition", "verdicts that differ", *(f"Δ {words}" for words in shown.values())]
    head += ["right only here / there", "McNemar p (Holm)"]
    note = (
        f"Condition minus “{analysis.reference}” on the same observations; 95 % interval of shares: Newcombe's score "
        f"interval for paired proportions, of means: the paired bootstrap ({_NO_INTERVAL}). McNemar's exact test of "
        "right against wrong, in brackets by Holm's method over the model's conditions."
    )
    story = [
        CondPageBreak(_ROOM),
        *_head("effects", f"Effects against {analysis.reference}"),
        _table(head, [row(e) for e in analysis.effects]),
    ]
    story += [Spacer(1, 3), paragraph(note, NOTE)]
    for measure in ("accuracy", "semantic_entropy"):
        story += _charts(partial(sweep_figures.effect_figure, analysis, measure))
    return story


def _attention(analysis: Analysis) -> list[Flowable]:
    blocks = [
        _block(partial(sweep_figures.attention_figure, analysis, model), _of(analysis, model))
        for model in analysis.models[:MOST_MODELS]
    ]
    return _section("attention", "Attention", [(block, []) for block in blocks])


def _calibration(analysis: Analysis, found: Sequence[Calibration]) -> list[Flowable]:
    if not found:
        return []
    rows = [
        [
            _named(analysis, c.model, c.condition),
            str(c.n),
            str(c.wrong),
            _cell(c.auroc) if c.auroc is not None else "–",
            number(c.area),
        ]
        for c in found
    ]
    note = (
        "AUROC: how often a wrong answer has the higher semantic entropy (0.5 tells nothing), DeLong's 95 % interval; "
        f"none where all answers are right or all wrong ({_NO_INTERVAL}). Area: mean risk over coverages from 0 to 1."
    )
    head = ["condition", "n", "wrong", "AUROC of entropy", "area under risk-coverage"]
    story = [
        CondPageBreak(_ROOM),
        *_head("calibration", "Is entropy higher where it is wrong?"),
        _table(head, rows, 38),
    ]
    story += [Spacer(1, 3), paragraph(note, NOTE)]
    story += _charts(partial(sweep_breakdowns.auroc_figure, found, analysis.models, analysis.conditions))
    for model in analysis.models[:MOST_MODELS]:
        make = partial(sweep_breakdowns.risk_figure, found, analysis.reference, model)
        story += _charts(make, _of(analysis, model))
    return story


def _flips(analysis: Analysis) -> list[Flowable]:
    blocks = [
        _block(partial(sweep_breakdowns.flip_figure, analysis, model), _of(analysis, model))
        for model in analysis.models[:MOST_MODELS]
    ]
    return _section("flips", "Verdicts that differ between conditions", [(block, []) for block in blocks])


def _families(analysis: Analysis) -> list[Flowable]:
    """A chart a model, and below it the numbers with their intervals as far as they fit the page."""
    parts: list[tuple[list[Flowable], list[Flowable]]] = []
    families = sorted({f.family for f in analysis.families})
    for model in analysis.models[:MOST_MODELS]:
        block = _block(partial(sweep_breakdowns.family_figure, analysis, model), _of(analysis, model))
        found = {(f.condition, f.family): f.accuracy for f in analysis.families if f.model == model}
        table: list[Flowable] = []
        if len(families) <= MOST_FAMILIES:
            conditions = [c for c in analysis.conditions if any(key[0] == c for key in found)]
            cells = [[c, *(_counted(found.get((c, family))) for family in families)] for c in conditions]
            table = [Spacer(1, 4), _table(["accuracy", *families], cells)]
        parts.append((block, table))
    return _section("families", "Families of questions", parts)


def _counted(found: Interval | None) -> str:
    return f"{_cell(found)}\n(n {found.n})" if found is not None else "–"


def _perturbations(analysis: Analysis, plan: SweepPlan) -> list[Flowable]:
    kinds = dict.fromkeys(c.perturbation.kind for c in plan.conditions if c.perturbation)
    blocks = [
        _block(
            partial(sweep_figures.schedule_figure, analysis, plan.conditions, kind, measure, model),
            _of(analysis, model),
        )
        for kind in kinds
        for model in analysis.models[:MOST_MODELS]
        for measure in ("accuracy", "semantic_entropy")
    ]
    return _section("perturbations", "Perturbation schedules", [(block, []) for block in blocks])


def _head(key: str, title: str) -> list[Flowable]:
    return [Spacer(1, 10), Bookmark(key, title), paragraph(title, HEADING)]


def _section(key: str, title: str, parts: Sequence[tuple[list[Flowable], list[Flowable]]]) -> list[Flowable]:
    """A heading on the page of its first chart, then the charts with what comes below each; nothing without a chart."""
    story: list[Flowable] = []
    for block, below in parts:
        if block:
            story += [KeepTogether([*(_head(key, title) if not story else []), *block]), *below]
    return story


def _block(make: Callable[[], Figure], title: str = "") -> list[Flowable]:
    """A chart over its reading, to be kept on one page; nothing where it was not measured or too little of it."""
    try:
        figure = make()
    except InputError:
        return []
    # What a page shows to who points at a mark, a report has in its tables.
    printed = figure.reading.replace("(hover)", "(in the table)").replace("hover for its", "see its")
    printed = printed.replace(" (hover for the numbers)", " (flips.csv of the export has the numbers)")
    named: list[Flowable] = [paragraph(title, SUBHEADING)] if title else []
    return [Spacer(1, 8), *named, *pages.chart(replace(figure, reading=printed))]


def _charts(make: Callable[[], Figure], title: str = "") -> list[Flowable]:
    """A chart on one page behind a table."""
    block = _block(make, title)
    return [KeepTogether(block)] if block else []


def _of(analysis: Analysis, model: str) -> str:
    return one_line(model, 90) if len(analysis.models) > 1 else ""


def _named(analysis: Analysis, model: str, condition: str) -> str:
    return condition if len(analysis.models) == 1 else f"{condition}\n{one_line(model, 60)}"


def _cell(found: Interval | None, signed: bool = False) -> str:
    if found is None:
        return "–"
    shown = f"+{number(found.estimate)}" if signed and found.estimate > 0 else number(found.estimate)
    return f"{shown}\n{number(found.low)} to {number(found.high)}" if found.bounded else f"{shown}\n{NO_INTERVAL}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], narrow: float = 40) -> Table:
    """A table over as many pages as it takes, its head on each; the first column is wide, counts are narrow."""
    first = 112.0
    counts = [name in ("n", "wrong") for name in head[1:]]
    other = (WIDTH - first - narrow * sum(counts)) / max(1, len(counts) - sum(counts))
    widths = [first, *(narrow if count else other for count in counts)]
    cells = [[paragraph(text, SMALL_BOLD) for text in head]]
    cells += [[paragraph(text, SMALL) for text in row] for row in rows]
    return Table(cells, colWidths=widths, style=[*RULED, ("VALIGN", (0, 0), (-1, -1), "TOP")], repeatRows=1)
