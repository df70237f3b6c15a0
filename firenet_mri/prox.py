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
    return x * (1 - _length_over_modulus(threshold, x)).clamp(min=0)


def project_modulus(x: Tensor, radius: Tensor | float) -> Tensor:
    """Return the projection of every entry on the disc |x_i| <= radius_i (radius positive)."""
    return x * _length_over_modulus(radius, x).clamp(max=1)


def item_norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the Euclidean norm over the last axes, kept as axes of size 1; real."""
    # Over one flat real axis it takes a hundredth of the time of a complex norm over several.
    flat = x.reshape(*x.shape[: x.ndim - len(axes)], -1)
    if x.is_complex():
        flat = torch.view_as_real(flat.resolve_conj()).flatten(-2)
    norm = torch.linalg.vector_norm(flat, dim=-1)
    return norm.reshape(*norm.shape, *[1] * len(axes))


def _length_over_modulus(length: Tensor | float, x: Tensor) -> Tensor:
    """Return length / |x|, where it is at most 2, else 2.

    The callers clamp at 1. Without the 2 the derivative for small x is infinite, and times the
    clamp's zero NaN.
    """
    square = x.real**2 + x.imag**2 if x.is_complex() else x**2
    # Where the length is zero too, any positive modulus does.
    floor = length**2 / 4 + torch.finfo(square.dtype).tiny
    if isinstance(floor, Tensor):
        floor = floor.to(square.dtype)
        # The derivative of rsqrt would overflow at the smallest modulus.
        return length / torch.maximum(square, floor).sqrt()
    return length / square.clamp(min=floor).sqrt()
