"""The best weight of a method on the series on which it is judged.

No user could choose it this way: it needs the truth, and favours the other methods.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from firenet_benchmark.cine.edge import Edge
from firenet_benchmark.cine.worker import Run

# Halvings of the weight below the best one, at most, until the PSNR asked for is undercut.
_DOWN = 5


class Trial(NamedTuple):
    """A method's result with one weight; the edge is None where nothing abrupt happens."""

    weight: float
    psnr_db: float
    edge: Edge | None
    magnitude: Tensor
    run: Run


def climb(trial: Callable[[float], Trial], start: float, level_db: float | None) -> list[Trial]:
    """Return trials at a start times powers of two, past the best on both sides, weights rising.

    Parameters
    ----------
    trial
        Runs the method with a weight.
    start
        First weight.
    level_db
        PSNR below which the lower weights go at last, if they do within five halvings.
    """
    trials = [trial(start)]
    while len(trials) < 2 or trials[-1].psnr_db >= max(t.psnr_db for t in trials[:-1]):
        trials.append(trial(2 * trials[-1].weight))
    while trials[0].psnr_db >= max(t.psnr_db for t in trials[1:]):
        trials.insert(0, trial(trials[0].weight / 2))
    for _ in range(_DOWN):
        if level_db is None or trials[0].psnr_db < level_db:
            break
        trials.insert(0, trial(trials[0].weight / 2))
    return trials


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the trial of the highest PSNR."""
    return max(trials, key=lambda one: one.psnr_db)


def width_at(trials: Sequence[Trial], level_db: float) -> float | None:
    """Return the narrowest edge among weights that have a PSNR, between trials linearly in dB.

    Where no weight has so much, that of the best; None where nothing abrupt happens. Too low a
    weight widens edges, too, since noise hides where they begin and end.
    """
    best = best_of(trials)
    if best.edge is None:
        return None
    widths = []
    for one, other in itertools.pairwise(trials):
        low, high = sorted((one, other), key=lambda t: t.psnr_db)
        if low.psnr_db < level_db <= high.psnr_db:
            assert low.edge is not None
            assert high.edge is not None
            share = (level_db - low.psnr_db) / (high.psnr_db - low.psnr_db)
            widths.append(low.edge.width + share * (high.edge.width - low.edge.width))
    if widths:
        return min(widths)
    nearest = min(trials, key=lambda t: t.psnr_db) if level_db < best.psnr_db else best
    assert nearest.edge is not None
    return nearest.edge.width
