"""The pictures of the report."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firenet_benchmark.stability.run import CURVE, Comparison, is_main
from firenet_benchmark.stability.summary import means

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of the colour-blind-safe palette of Okabe and Ito.
_COLOURS = {
    "reference": "#777777",
    "trained": "#d55e00",
    "FIRENET": "#0072b2",
    "combined": "#009e73",
}
_MARKERS = "osD^vP*X"


def frontier(comparison: Comparison) -> Figure:
    """Return clean against attacked PSNR on the attacked slices: one point per method."""
    figure, axes = _figure(8.5, 6)
    size = f"{100 * comparison.settings.attack.checked_size:g} %"
    attacked = means(comparison.rows, "worst case", size, "psnr_db")
    slices = {row.slice for row in comparison.rows if row.test == "worst case"}
    rows = [row for row in comparison.rows if row.slice in slices]
    clean = means(rows, "clean", "all", "psnr_db")
    curves: dict[str, list[tuple[float, float]]] = {}
    for i, method in enumerate(comparison.methods):
        if method.name not in attacked or method.name not in clean:
            continue
        point = clean[method.name], attacked[method.name]
        curve = _curve_of(method.name)
        if curve:
            curves.setdefault(curve, []).append(point)
        if CURVE in method.name:
            continue
        axes.plot(
            *point,
            _MARKERS[i % len(_MARKERS)],
            color=_COLOURS[method.family],
            markersize=8,
            label=method.name,
            linestyle="none",
        )
    for points in curves.values():
        axes.plot(*zip(*sorted(points), strict=True), "-", color=_COLOURS["FIRENET"], linewidth=1)
    low = min((min(attacked.values()), min(clean.values())), default=0)
    high = max(clean.values(), default=1)
    axes.plot([low, high], [low, high], ":", color="#aaaaaa", linewidth=1)
    axes.set_xlabel("PSNR, clean (dB)")
    axes.set_ylabel(f"PSNR under the worst {size} found (dB)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _curve_of(name: str) -> str:
    """Return the curve on which a FIRENET lies: with or without phase constraint."""
    if CURVE in name:
        return "phase" if "phase" in name else "plain"
    return {"FIRENET accurate": "plain", "FIRENET accurate, phase": "phase"}.get(name, "")


def against_size(comparison: Comparison, metric: str, label: str) -> Figure:
    """Return a metric of the worst cases against their size, with the proven bounds."""
    figure, axes = _figure(7.5, 4.5)
    sizes = comparison.settings.attack.relative_sizes
    for i, method in enumerate(m for m in comparison.methods if is_main(m)):
        values = []
        for size in sizes:
            found = means(comparison.rows, "worst case", f"{100 * size:g} %", metric)
            values.append(found.get(method.name, float("nan")))
        colour = _COLOURS[method.family]
        marker = _MARKERS[i % len(_MARKERS)]
        percent = [100 * size for size in sizes]
        axes.plot(
            percent,
            values,
            f"-{marker}",
            label=method.name,
            markersize=5,
            color=colour,
            linewidth=1,
        )
        if metric == "amplification" and method.lipschitz_bound and method.family == "FIRENET":
            bound = method.lipschitz_bound
            axes.plot(percent[-1:], [bound], marker="_", markersize=14, color=colour)
            axes.annotate(
                f"proven: {method.name}", (percent[-1], bound), fontsize=6, ha="right", va="bottom"
            )
    axes.set_xlabel("size of the perturbation, % of the samples' norm")
    axes.set_ylabel(label)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def against_acceleration(comparison: Comparison) -> Figure:
    """Return PSNR against acceleration: more samples should not hurt."""
    figure, axes = _figure(7.5, 4.5)
    factors = comparison.settings.accelerations
    for i, method in enumerate(m for m in comparison.methods if is_main(m)):
        values = []
        for factor in factors:
            found = means(comparison.rows, "acceleration", f"{factor:g}x", "psnr_db")
            values.append(found.get(method.name, float("nan")))
        marker = _MARKERS[i % len(_MARKERS)]
        axes.plot(
            factors,
            values,
            f"-{marker}",
            label=method.name,
            markersize=5,
            color=_COLOURS[method.family],
            linewidth=1,
        )
    axes.set_xlabel("acceleration")
    axes.set_ylabel("PSNR (dB)")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def png_of_figure(figure: Figure) -> bytes:
    """Return a PNG, the same bytes for the same figure."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120, bbox_inches="tight")
    return stream.getvalue()


def png_of_image(image: Tensor, largest: float, colours: str = "gray") -> bytes:
    """Return a PNG of an image (y, x), 0 black and ``largest`` white."""
    from matplotlib.image import imsave

    stream = io.BytesIO()
    shown = (image / max(largest, 1e-30)).clamp(0, 1).to(torch.float32).numpy()
    imsave(stream, shown, cmap=colours, vmin=0, vmax=1, format="png")
    return stream.getvalue()


def as_url(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure((width, height))
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
