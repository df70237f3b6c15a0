"""What readers of a cine look at: frames, a line through the heart over time, a pixel's curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from firenet_benchmark.cine.problem import CineProblem

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(problem: CineProblem, images: Sequence[tuple[str, Tensor]]) -> Figure:
    """Return a figure: one row per method with a frame, its error and a line over time; and curves.

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
    below = figure.add_subplot(axes[-1, 0].get_gridspec()[-1, :])
    for name, image in rows:
        below.plot(image[:, y, x], label=name, lw=2.5 if name == "truth" else 1)
    below.set(xlabel="frame", ylabel=f"pixel ({y}, {x})")
    below.legend(fontsize=6, ncols=2)
    return figure


def _busiest_line(moves: Tensor) -> int:
    return int(moves.sum(0).argmax())


def _busiest_pixel(truth: Tensor) -> tuple[int, int]:
    change = truth.diff(dim=0).abs().sum(0)
    return divmod(int(change.argmax()), change.shape[1])
