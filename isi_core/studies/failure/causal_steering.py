"""Steering: do the answers change when the activations are moved along a probe's direction, more than elsewhere?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from isi_core.domain.errors import InputError
from isi_core.domain.progress import Progress
from isi_core.measures.statistics import Interval, bootstrap_interval
from isi_core.studies.failure.causal import CausalPlan, Direction, Steered

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Ask = Callable[[NDArray[np.float64] | None], Floats]
"""Given a vector (hidden,) that is added at the probe's layer, or None: (n, options) log p of each option."""


def steer(
    ask: Ask, truth: Sequence[int], direction: Floats, spread: float, plan: CausalPlan, progress: Progress | None = None
) -> tuple[float, list[Steered]]:
    """Accuracy as it is, and what each strength and direction does; random directions first of each strength.

    Parameters
    ----------
    truth : (n,) index of each case's right option.
    direction : (hidden,) unit vector towards success.
    spread : standard deviation of the training cases along it.

    Raises
    ------
    InputError : an option's likelihood is not known.
    """
    right = np.asarray(truth)
    before = _answers(ask(None))
    rng = np.random.default_rng([plan.seed, 17])
    # Isotropic: all directions are equally likely, and all are as long as the probe's.
    others = rng.normal(size=(plan.directions, len(direction)))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    found: list[Steered] = []
    passes = len(plan.strengths) * (plan.directions + 2)
    done = 0

    def moved(vector: Floats, strength: float) -> NDArray[np.int64]:
        nonlocal done
        answers = _answers(ask(vector * strength * spread))
        done += 1
        if progress is not None:
            progress(f"Steered {len(right)} cases, {done} of {passes} times", done / passes)
        return answers

    for strength in plan.strengths:
        control = np.stack([moved(other, strength) for other in others])
        found.append(_row("random", strength, before, control, right, plan, None))
        for sign, name in _SIGNS:
            answers = moved(sign * direction, strength)
            found.append(_row(name, strength, before, answers[None], right, plan, control))
    return float((before == right).mean()), found


_SIGNS: tuple[tuple[int, Direction], ...] = ((1, "towards success"), (-1, "towards failure"))


def _answers(likelihoods: Floats) -> NDArray[np.int64]:
    if np.isnan(likelihoods).any():
        raise InputError("The model has no single token for yes and no: its answers cannot be compared while steered.")
    found: NDArray[np.int64] = likelihoods.argmax(axis=1)
    return found


def _row(
    direction: Direction,
    strength: float,
    before: NDArray[np.int64],
    answers: NDArray[np.int64],
    truth: NDArray[np.int64],
    plan: CausalPlan,
    control: NDArray[np.int64] | None,
) -> Steered:
    """`answers` and `control` are (directions, n)."""
    was, now = before == truth, answers == truth
    gain, other = _gain(now, was), (answers != before).mean(axis=0)
    beyond = changed_beyond = None
    p = float("nan")
    if control is not None:
        random_gain, random_other = _gain(control == truth, was), (control != before).mean(axis=0)
        beyond, changed_beyond = _interval(gain - random_gain, plan), _interval(other - random_other, plan)
        each = np.abs((control == truth).mean(axis=1) - was.mean())
        p = float((1 + (each >= abs(gain.mean()) - 1e-12).sum()) / (1 + len(control)))
    return Steered(
        direction=direction,
        strength=strength,
        accuracy=float(now.mean()),
        change=_interval(gain, plan),
        changed=_interval(other, plan),
        mended=_share(now[:, ~was]),
        broken=_share(~now[:, was]),
        beyond_random=beyond,
        changed_beyond_random=changed_beyond,
        p_value=p,
    )


def _gain(now: Flags, was: Flags) -> Floats:
    """(n,) how much righter each case became, the mean over directions."""
    found: Floats = now.mean(axis=0) - was
    return found


def _share(flags: Flags) -> float:
    return float(flags.mean()) if flags.size else float("nan")


def _interval(values: Floats, plan: CausalPlan) -> Interval:
    """Bootstrap over cases; without bounds where no case differs, since resamples would pretend to be certain."""
    if np.ptp(values) < 1e-12:
        return Interval(float(values.mean()), float("nan"), float("nan"), plan.level, len(values))
    return bootstrap_interval(values, level=plan.level, seed=plan.seed)
