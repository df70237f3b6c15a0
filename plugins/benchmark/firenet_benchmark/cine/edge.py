"""How many frames an abrupt event takes in a reconstructed series.

The curve of an event is the share of it that a frame shows,

    c_t = <m_t - b_t, a_t - b_t> / ||a_t - b_t||^2,

with the magnitudes m_t, and those of two series in which the event has never (b) and always (a)
taken place while everything else is the same. In the truth c is 0 before the event and 1 from its
frame on.

Its width is the time from 10 % to 90 % of the way between the plateaus, in frames. A plateau is the
median over the frames that are at least two away from the event and from both ends, since
sparsifiers over time are periodic. Between frames the curve is linear. So an ideal step is .8
frames wide, and one that is averaged over n frames .8 n.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: Width of a step that happens from one frame to the next.
IDEAL = 0.8

# Frames beside the event, and at the ends of the series, that belong to no plateau.
_GUARD = 2


class Event(NamedTuple):
    """Something that happens from one frame to the next.

    Parameters
    ----------
    frame
        The first frame after it.
    before, after
        Magnitudes (frame, y, x) of the series without the event, and with it from the beginning.
    """

    frame: int
    before: Tensor
    after: Tensor


class Edge(NamedTuple):
    """How a series shows an event.

    Parameters
    ----------
    width
        Frames from 10 % to 90 % of the step; inf where it is not reached.
    height
        Step between the plateaus, 1 in the truth.
    """

    width: float
    height: float


def curve_of(magnitude: Tensor, event: Event) -> Tensor:
    """Return the share of an event that every frame shows, (frame,) float64."""
    change = (event.after - event.before).double()
    shown = (magnitude - event.before).double()
    return (shown * change).sum((1, 2)) / change.square().sum((1, 2))


def edge_of(curve: Tensor, frame: int) -> Edge:
    """Return width and height of a step in a curve.

    Parameters
    ----------
    curve
        (frame,), rising at the event.
    frame
        The first one after the event; at least five lie on either side.
    """
    low = float(curve[_GUARD : frame - _GUARD].median())
    high = float(curve[frame + _GUARD : len(curve) - _GUARD].median())
    if high <= low:
        return Edge(math.inf, high - low)
    share = ((curve - low) / (high - low)).tolist()
    rises = [t for t in range(len(share) - 1) if share[t] < 0.5 <= share[t + 1]]
    if not rises:
        return Edge(math.inf, high - low)
    middle = min(rises, key=lambda t: abs(t + 1 - frame))
    first = next((t for t in range(middle, -1, -1) if share[t] <= 0.1), None)
    last = next((t for t in range(middle + 1, len(share)) if share[t] >= 0.9), None)
    if first is None or last is None:
        return Edge(math.inf, high - low)
    begins = first + (0.1 - share[first]) / (share[first + 1] - share[first])
    ends = last - (share[last] - 0.9) / (share[last] - share[last - 1])
    return Edge(ends - begins, high - low)


def mean_edge(magnitude: Tensor, events: Sequence[Event]) -> Edge | None:
    """Return the means of width and height over events; None without any."""
    edges = [edge_of(curve_of(magnitude, event), event.frame) for event in events]
    if not edges:
        return None
    width, height = torch.tensor(edges, dtype=torch.float64).mean(0).tolist()
    return Edge(width, height)
