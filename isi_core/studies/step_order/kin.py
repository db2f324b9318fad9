"""Kept studies that differ from one in one thing only: its seed, or its number of training pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from isi_core.domain.errors import StudioError
from isi_core.studies.step_order.kept import Study, StudyPlan, read_study, study_ids

Read = Callable[[str], Study]
SHARES = (1 / 8, 1 / 4, 1 / 2)
"""Of the training pairs, for learning curves."""


def kin(plan: StudyPlan, read: Read = read_study) -> list[Study]:
    """Complete studies of the same how-tos, encoders, modalities, epochs and test pairs, the plan's own among them."""
    found = []
    for study_id in study_ids():
        try:
            study = read(study_id)
        except StudioError:
            continue
        other = replace(study.plan, seed=plan.seed, sizes=(plan.sizes[0], *study.plan.sizes[1:]))
        if study.complete and other == plan:
            found.append(study)
    return found


def over_seeds_of(plan: StudyPlan, read: Read = read_study) -> list[Study]:
    """Studies that differ in their seed alone, by seed; one or none where it was run with one."""
    same = [study for study in kin(plan, read) if study.plan.sizes == plan.sizes]
    return sorted(same, key=lambda study: study.plan.seed)


def over_sizes_of(plan: StudyPlan, read: Read = read_study) -> list[Study]:
    """Studies that differ in their number of training pairs alone, smallest first; the test pairs are the same."""
    same = [study for study in kin(plan, read) if study.plan.seed == plan.seed]
    return sorted(same, key=lambda study: study.plan.sizes[0])


def smaller_plans(plan: StudyPlan) -> list[StudyPlan]:
    """The plan with fewer training pairs of each category, smallest first; those of fewer than ten are left out."""
    train, validation, test = plan.sizes
    sizes = sorted({round(train * share / 2) * 2 for share in SHARES})
    return [replace(plan, sizes=(size, validation, test)) for size in sizes if 10 <= size < train]
