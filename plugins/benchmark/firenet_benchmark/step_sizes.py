"""Accuracy against certified stability: what first step, decay and depth of NetworkSchedule gain.

For a scan, every decay in the table of proven bounds and depths from 10 to 60: the relative
objective gap that the network reaches, and its certified Lipschitz constant at fixed eps_0. The
constant does not depend on the first step, so every curve uses the best of a few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule
from firenet_mri.firenet.solver import Schedule
from firenet_mri.operators import LinearOperator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECAYS = (0.8, 0.85, 0.9, 0.93, 0.95, 0.97)
TAUS = (0.25, 0.5, 1.0, 2.0)
DEPTHS = tuple(range(10, 61, 5))


@dataclass(frozen=True)
class Point:
    """One network on one scan.

    Parameters
    ----------
    scan, schedule
        Names.
    tau, decay, layers
        Its steps; tau and decay are 0 for the paper's.
    lipschitz_bound
        Certified, at fixed eps_0.
    relative_gap
        (F(x) - F*) / F*.
    """

    scan: str
    schedule: str
    tau: float
    decay: float
    layers: int
    lipschitz_bound: float
    relative_gap: float

    @property
    def is_shown(self) -> bool:
        """True for the networks that a short table shows: the default's steps, and the paper."""
        default = NetworkSchedule()
        paper = self.schedule == PaperSchedule.__name__
        return paper or (
            (self.tau, self.decay) == (default.tau, default.decay)
            and self.layers in (25, default.layers)
        )

    def row(self) -> dict[str, object]:
        """Return the point as a row of a table."""
        return asdict(self)


@dataclass(frozen=True)
class Curves:
    """All networks on one scan, and how well F* is known: (F* - lower bound) / F*."""

    points: tuple[Point, ...]
    best_objective: float
    best_objective_gap: float


def trade_off(
    name: str,
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    *,
    taus: Sequence[float] = TAUS,
    decays: Sequence[float] = DECAYS,
    depths: Sequence[int] = DEPTHS,
    long_run: int = 700,
    on_run: Callable[[int, int], None] | None = None,
) -> Curves:
    """Return accuracy and certified constant of many schedules on one problem.

    Parameters
    ----------
    name
        Of the scan.
    net
        Gives sparsifier, weights and lam; its schedule is not used.
    y, encoding
        Data (*codomain_shape) of one image and the encoding operator.
    taus, decays, depths
        What is tried.
    long_run
        Layers of the run that finds F*.
    on_run
        Called after each run with (runs done, runs in all).
    """
    problem = net.problem(encoding)
    values: list[tuple[Schedule, float]] = []
    total = len(taus) * len(decays) + 1
    with torch.no_grad():
        long = FIRENET(
            net.sparsifier,
            net.lam,
            net.weights,
            NetworkSchedule(long_run, 0.5, 0.5 ** (7 / long_run)),
        )
        x, v, q, *_ = long.solve(y, encoding)
        best = float(problem.objective(x, y))
        gap = float(
            problem.duality_gap(x, y, v, q if q is None else problem.tighten_dual(v, q, 20))
        )
        for done, (tau, decay) in enumerate(((t, d) for t in taus for d in decays), 1):
            values += _network_values(net, y, encoding, tau, decay, depths)
            if on_run is not None:
                on_run(done, total)
        paper = PaperSchedule()
        values.append((paper, _final_objective(net, paper, y, encoding)))
        if on_run is not None:
            on_run(total, total)
    best = min(best, *(value for _, value in values))
    return Curves(
        tuple(
            _point(name, net, encoding, schedule, value / best - 1) for schedule, value in values
        ),
        best,
        gap / best,
    )


def _network_values(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    tau: float,
    decay: float,
    depths: Sequence[int],
) -> Iterator[tuple[Schedule, float]]:
    """Yield the objective after each depth: a shallow network is the beginning of a deep one."""
    problem = net.problem(encoding)
    deepest = NetworkSchedule(max(depths), tau, decay)
    deep = FIRENET(net.sparsifier, net.lam, net.weights, deepest)
    for _, layers, x in deep.iterates(y, encoding):
        if layers in depths:
            yield NetworkSchedule(layers, tau, decay), float(problem.objective(x, y))


def _final_objective(
    net: FIRENET, schedule: Schedule, y: Tensor, encoding: LinearOperator
) -> float:
    other = FIRENET(net.sparsifier, net.lam, net.weights, schedule)
    return float(other.problem(encoding).objective(other(y, encoding), y))


def _point(
    name: str, net: FIRENET, encoding: LinearOperator, schedule: Schedule, gap: float
) -> Point:
    other = FIRENET(net.sparsifier, net.lam, net.weights, schedule)
    bound = other.lipschitz_bound(encoding)
    assert bound is not None
    tau, decay = 0.0, 0.0
    if isinstance(schedule, NetworkSchedule):
        tau, decay = schedule.tau, schedule.decay
    return Point(name, type(schedule).__name__, tau, decay, other.depth, bound, gap)


def plot(curves: Sequence[Curves]) -> Figure:
    """Return a figure with a panel for each scan: relative gap against certified constant."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(curves), 4.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, one in zip(panels, curves, strict=True):
        _draw(panel, one)
    panels[0].set_ylabel("relative objective gap (F - F*) / F*")
    return figure


def _draw(panel: Axes, curves: Curves) -> None:
    from matplotlib import colormaps

    network = [p for p in curves.points if p.schedule == NetworkSchedule.__name__]
    decays = sorted({p.decay for p in network})
    for index, decay in enumerate(decays):
        colour = colormaps["viridis"](0.9 * index / max(len(decays) - 1, 1))
        by_depth: dict[int, Point] = {}
        for point in (p for p in network if p.decay == decay):
            known = by_depth.get(point.layers)
            if known is None or point.relative_gap < known.relative_gap:
                by_depth[point.layers] = point
        line = [by_depth[layers] for layers in sorted(by_depth)]
        x, y = [p.lipschitz_bound for p in line], [max(p.relative_gap, 1e-7) for p in line]
        panel.plot(x, y, "-o", color=colour, markersize=3, linewidth=1, label=f"decay {decay:g}")
    for point in (point for point in curves.points if point.is_shown):
        place = point.lipschitz_bound, point.relative_gap
        if point.schedule == PaperSchedule.__name__:
            panel.plot(*place, "ks", markersize=6, zorder=3)
            _mark(panel, point, "paper, 5 x 5 layers")
        elif point.layers == NetworkSchedule().layers:
            panel.plot(*place, "r*", markersize=12, zorder=3)
            _mark(panel, point, f"default, {point.layers} layers")
    panel.set_yscale("log")
    panel.set_xlabel("certified Lipschitz constant at fixed scale")
    panel.set_title(curves.points[0].scan, fontsize=10)
    panel.legend(fontsize=7, frameon=False)
    panel.spines[["top", "right"]].set_visible(False)


def _mark(panel: Axes, point: Point, text: str) -> None:
    place = (point.lipschitz_bound, point.relative_gap)
    panel.annotate(text, place, xytext=(7, 5), textcoords="offset points", fontsize=8)
