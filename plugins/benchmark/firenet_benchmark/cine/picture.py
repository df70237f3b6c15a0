"""What readers of a cine look at: frames, a line through the heart over time, a pixel's curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from firenet_benchmark.cine.edge import curve_of
from firenet_benchmark.cine.problem import CineProblem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(problem: CineProblem, images: Sequence[tuple[str, Tensor]]) -> Figure:
    """Return a figure: one row per method with a frame, its error and a line over time; and curves.

    Below are the curves of the pixel that changes most and, where something happens abruptly, of
    the last event.

    Parameters
    ----------
    problem
        The series.
    images
        Names and magnitudes (frame, y, x).
    """
    from matplotlib.figure import Figure

    truth = problem.reference.numpy()
    frame, line = len(truth) // 3, _busiest_line(problem.moves)
    top, rows = float(truth.max()), [("truth", truth)]
    rows += [(name, image.numpy()) for name, image in images]
    figure = Figure(figsize=(9, 2.1 * len(rows) + 2.4), layout="constrained")
    axes = figure.subplots(len(rows) + 1, 3, squeeze=False)
    for (name, image), (left, middle, right) in zip(rows, axes, strict=False):
        left.imshow(image[frame], cmap="gray", vmin=0, vmax=top)
        left.set_title(name, fontsize=8)
        middle.imshow(abs(image - truth)[frame], cmap="magma", vmin=0, vmax=0.15 * top)
        middle.set_title("error, 0 to 15 % of the maximum", fontsize=8)
        right.imshow(image[:, :, line].T, cmap="gray", vmin=0, vmax=top, aspect="auto")
        right.set_title(f"column {line} over time", fontsize=8)
        for one in (left, middle, right):
            one.set_axis_off()
    y, x = _busiest_pixel(problem.reference)
    for one in axes[-1]:
        one.set_axis_off()
    grid = axes[-1, 0].get_gridspec()
    below = figure.add_subplot(grid[-1, :2] if problem.events else grid[-1, :])
    curves = [(name, image[:, y, x]) for name, image in rows]
    _plot(below, curves, f"pixel ({y}, {x})")
    below.legend(fontsize=6, ncols=2)
    if problem.events:
        event = problem.events[-1]
        shares = [(name, curve_of(torch.from_numpy(image), event)) for name, image in rows]
        _plot(figure.add_subplot(grid[-1, 2]), shares, "share of the last event")
    return figure


def _plot(axes: Axes, curves: Sequence[tuple[str, Any]], label: str) -> None:
    for name, curve in curves:
        axes.plot(curve, label=name, lw=2.5 if name == "truth" else 1)
    axes.set(xlabel="frame", ylabel=label)


def _busiest_line(moves: Tensor) -> int:
    return int(moves.sum(0).argmax())


def _busiest_pixel(truth: Tensor) -> tuple[int, int]:
    change = truth.diff(dim=0).abs().sum(0)
    return divmod(int(change.argmax()), change.shape[1])
