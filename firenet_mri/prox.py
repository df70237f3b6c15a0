"""Proximal maps and projections of the primal-dual iteration, for real and complex tensors.

A number is shrunk along its own direction, so phases are kept. Zero stays zero, with a zero
gradient instead of NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_threshold(x: Tensor, threshold: Tensor | float) -> Tensor:
    """Return max(|x| - threshold, 0) x / |x|: the prox of threshold * ||x||_1.

    Parameters
    ----------
    x
        Any shape, real or complex.
    threshold
        Non-negative, broadcasts against ``x``.
    """
    magnitude = _safe_magnitude(x)
    return x * (1 - threshold / magnitude).clamp(min=0)


def project_modulus(x: Tensor, radius: Tensor | float) -> Tensor:
    """Return the projection of every entry on the disc |x_i| <= radius_i (radius positive)."""
    return x / (_safe_magnitude(x) / radius).clamp(min=1)


def project_unit_ball(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the projection on the Euclidean unit ball over ``axes``; other axes are batch."""
    return x / item_norm(x, axes).clamp(min=1)


def item_norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the Euclidean norm over ``axes``, kept as axes of size 1; real."""
    return torch.linalg.vector_norm(x, dim=axes, keepdim=True)


def _safe_magnitude(x: Tensor) -> Tensor:
    """Return |x|, at least the smallest normal number, with a zero gradient at zero."""
    magnitude = x.abs()
    return magnitude.clamp(min=torch.finfo(magnitude.dtype).tiny)
