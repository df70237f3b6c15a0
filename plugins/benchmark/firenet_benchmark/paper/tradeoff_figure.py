"""The figure of the trade-off between accuracy and stability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from firenet_benchmark.paper.tradeoff import Tradeoff, TradeoffRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def tradeoff_figure(result: Tradeoff) -> Figure:
    """Return the figure: the three questions as graphs, and pictures of every method."""
    from matplotlib.figure import Figure

    names = list(result.pictures)
    figure = Figure(figsize=(13, 12), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2), squeeze=False)[:, 0]
    accuracy, stability, detail = top.subplots(1, 3)
    colours = {row.method: f"C{i}" for i, row in enumerate(result.rows)}
    _draw_accuracy(accuracy, result.rows, colours)
    _draw_stability(stability, result.rows, colours)
    _draw_detail(detail, result.rows, colours)
    axes = bottom.subplots(3, len(names))
    largest = result.rows[0].attacks[-1].relative_size
    titles = ("noiseless data", f"worst perturbation, {largest:.0%}", "unseen letters T1, enlarged")
    # The letters are faint: their row is shown in the range of the true picture.
    true = result.pictures[names[0]].detail
    ranges = ((0.0, 1.0), (0.0, 1.0), (float(true.min()), float(true.max())))
    for column, name in enumerate(names):
        for axis, image, (low, high) in zip(
            axes[:, column], result.pictures[name], ranges, strict=True
        ):
            axis.imshow(image.numpy(), cmap="gray", vmin=low, vmax=high)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, column].set_title(name, fontsize=10)
    for axis, title in zip(axes[:, 0], titles, strict=True):
        axis.set_ylabel(title, fontsize=10)
    return figure


def _draw_accuracy(axes: Axes, rows: Sequence[TradeoffRow], colours: Mapping[str, str]) -> None:
    """Draw accuracy against stability, one point per method."""
    for row in rows:
        worst = max(attack.amplification for attack in row.attacks)
        axes.plot(worst, row.psnr_db, "o", color=colours[row.method], ms=9, label=row.method)
    axes.set_xlabel("largest amplification found")
    axes.set_ylabel("PSNR of noiseless images (dB)")
    axes.margins(0.15)
    axes.legend(frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_stability(axes: Axes, rows: Sequence[TradeoffRow], colours: Mapping[str, str]) -> None:
    """Draw amplification against size, for worst (solid) and random (dotted) perturbations."""
    for row in rows:
        sizes = [100 * attack.relative_size for attack in row.attacks]
        worst = [attack.amplification for attack in row.attacks]
        axes.plot(sizes, worst, "o-", color=colours[row.method])
        random = [attack.random_amplification for attack in row.attacks]
        axes.plot(sizes, random, ":", color=colours[row.method])
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("size of the perturbation (% of ||y||)")
    axes.set_ylabel("amplification, worst found (dotted: random)")
    axes.spines[["top", "right"]].set_visible(False)


def _draw_detail(axes: Axes, rows: Sequence[TradeoffRow], colours: Mapping[str, str]) -> None:
    """Draw the part of the letters' contrast that every method recovers."""
    names = [row.method for row in rows]
    contrasts = [100 * row.detail_contrast for row in rows]
    axes.barh(names, contrasts, color=[colours[name] for name in names])
    for place, value in enumerate(contrasts):
        axes.text(value, place, f" {value:.0f} %", va="center")
    axes.axvline(100, color="0.6", lw=1)
    axes.set_xlim(0, max(120, 1.2 * max(contrasts)))
    axes.invert_yaxis()
    axes.set_xlabel("recovered contrast of the letters (%)")
    axes.spines[["top", "right"]].set_visible(False)
