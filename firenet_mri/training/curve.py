"""Draws the curve of a training: PSNR of validation and training, and the constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES = (
    ("validation_psnr_db", "validation", "#2e86ab", "-"),
    ("clean_psnr_db", "training", "#8a8a8a", "-"),
    ("attacked_psnr_db", "training, attacked", "#c8553d", "-"),
)


def figure(curve: Sequence[Mapping[str, float]], *, wanted: float | None, title: str) -> Figure:
    """Return PSNR at the top, and below the constant, or its estimate beside the wanted one.

    Parameters
    ----------
    curve
        Numbers of every validation.
    wanted
        The wanted constant; None if there is none.
    title
        One line above.
    """
    from matplotlib.figure import Figure

    result = Figure(figsize=(7.0, 6.0), layout="constrained")
    top, bottom = result.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for name, label, colour, style in _LINES:
        _draw(top, curve, name, label=label, color=colour, linestyle=style)
    top.set_ylabel("PSNR (dB)")
    top.legend(fontsize=9)
    _draw(bottom, curve, "bound_estimate", label="estimate", color="#2e86ab")
    _draw(bottom, curve, "lipschitz_constant", label="proven", color="#2e86ab")
    if wanted is not None:
        bottom.axhline(wanted, color="#c8553d", linestyle="--", linewidth=1, label="wanted")
    bottom.set(xlabel="minutes", ylabel="Lipschitz constant")
    bottom.legend(fontsize=9)
    result.suptitle(title, fontsize=11)
    return result


def _draw(axis: Any, curve: Sequence[Mapping[str, float]], name: str, **style: Any) -> None:
    points = [(look["minutes"], look[name]) for look in curve if name in look]
    if points:
        axis.plot(*zip(*points, strict=True), marker=".", **style)
