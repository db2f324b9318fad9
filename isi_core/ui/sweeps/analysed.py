"""The analysis of a sweep, of all its observations or of a saved slice, kept as long as nothing new came."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from isi_core.domain.errors import InputError
from isi_core.domain.observation import Dataset
from isi_core.reports.sweep_part import WHOLE, Part
from isi_core.ui import resources
from isi_core.ui.sweeps import engine
from isi_core.ui.sweeps.desk import Desk

if TYPE_CHECKING:
    from isi_core.store.sweeps import SweepResult
    from isi_core.studies.sweep.analysis import Analysis
    from isi_core.studies.sweep.calibration import Calibration
    from isi_core.studies.sweep.plan import SweepPlan


@dataclass(frozen=True, eq=False)
class Analysed:
    """What a sweep's results say.

    Attributes
    ----------
    results : those that were analysed, failures among them.
    part : the slice they were narrowed to.
    """

    plan: SweepPlan
    results: list[SweepResult]
    analysis: Analysis
    calibration: list[Calibration]
    part: Part = WHOLE


def analysed(desk: Desk, dataset: Dataset, sweep: str) -> Analysed:
    """The analysis of the results that there are now, by the desk's reference and slice.

    Raises
    ------
    InputError : there is no result yet, or none in the slice.
    """
    folder, stamp = resources.store().folder, engine.sweeps().records.stamp(sweep)
    if not desk.slice:
        return _analysed(folder, sweep, stamp, desk.reference, None, WHOLE)
    from isi_core.store.run_search import runs_stamp
    from isi_core.studies.slices import find_slice, slice_members, slice_warning, slice_words

    wanted = find_slice(desk.slice, dataset.name)
    # The browser's own runs and a running sweep's change what such a slice holds.
    key = dataset, wanted, runs_stamp(resources.store()) if wanted.needs_runs else None
    if desk.members[0] != key:
        desk.members = key, tuple(o.id for o in slice_members(resources.store(), dataset, wanted))
    part = Part(desk.slice, slice_words(wanted), slice_warning(wanted))
    return _analysed(folder, sweep, stamp, desk.reference, desk.members[1], part)


@st.cache_resource(show_spinner="Resampling the observations", max_entries=12)
def _analysed(
    folder: Path,
    sweep: str,
    stamp: tuple[int, int, str, float],
    reference: str,
    members: tuple[str, ...] | None,
    part: Part,
) -> Analysed:
    """The analysis of the results that there are now; others of the same sweep have another `stamp`."""
    from isi_core.studies.sweep.analysis import analyse
    from isi_core.studies.sweep.calibration import calibrations

    sweeps = engine.sweeps()
    plan, results = sweeps.plan(sweep), sweeps.results(sweep)
    if members is not None:
        chosen = set(members)
        results = [r for r in results if r.observation in chosen]
        if not results:
            raise InputError("No evaluation of this sweep lies in this slice: choose another slice, or all.")
    labels = plan.model_labels, plan.condition_keys
    found = analyse(results, *labels, reference), calibrations(results, *labels)
    return Analysed(plan, results, *found, part)
