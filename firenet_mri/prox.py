"""Proximal maps and projections of the primal-dual iteration, for real and complex tensors.

A number is shrunk along its own direction, so its phase is kept. Zero stays zero and has a zero
gradient, not NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def relaxed(before: Tensor, after: Tensor, relaxation: float) -> Tensor:
    """Return before + relaxation (after - before); a relaxation of 1 returns after itself."""
    return after if relaxation == 1 else before + relaxation * (after - before)


def over_axes(values: Tensor, axes: Sequence[int]) -> Tensor:
    """Return values, (*batch), followed by one axis of size 1 for each of ``axes``."""
    return values.reshape((*values.shape, *[1] * len(axes)))


def item_norm(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the Euclidean norm over the last axes, kept as axes of size 1; real.

    Squares outside the range of the precision neither overflow nor vanish.
    """
    flat = _flat(x, axes)
    norm = torch.linalg.vector_norm(flat, dim=-1)
    if not _is_ordinary(norm):
        # Scaling by a power of two is exact.
        scale = _scale(flat)
        norm = torch.linalg.vector_norm(flat * scale.unsqueeze(-1), dim=-1) / scale
    return over_axes(norm, axes)


def scale_to_one(x: Tensor, axes: tuple[int, ...]) -> Tensor | None:
    """Return per item a power of two that brings its largest number near 1; None if all are near.

    The result has the shape of :func:`item_norm`, is a constant for derivatives, and is 1 for an
    item of zeros. Near means that squares and products are far from the limits of the precision.
    While a graph is recorded, the power of two is always returned.
    """
    scale = _scale(_flat(x, axes))
    if _is_ordinary(scale):
        return None
    return over_axes(scale, axes)


def _flat(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the items as rows of real numbers."""
    # A norm over one flat real axis takes a hundredth of the time of a complex one over several.
    flat = x.reshape(*x.shape[: x.ndim - len(axes)], -1)
    return torch.view_as_real(flat.resolve_conj()).flatten(-2) if x.is_complex() else flat


def _scale(flat: Tensor) -> Tensor:
    """Return the power of two that brings the largest number of each row near 1."""
    least, most = torch.aminmax(flat.detach(), dim=-1)
    largest = torch.maximum(most, -least)
    tiny = torch.finfo(flat.dtype).tiny
    # The powers of the smallest and largest numbers would overflow or be subnormal.
    safe = largest.clamp(min=tiny)
    mantissa, _ = torch.frexp(safe)
    power = (mantissa / safe).clamp(min=tiny)
    return torch.where(largest > 0, power, torch.ones_like(power))


def _is_ordinary(sizes: Tensor) -> bool:
    """Return whether squares of all these sizes are known to fit the precision with room."""
    is_recorded = torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()
    if is_recorded or torch._C._functorch.is_functorch_wrapped_tensor(sizes):
        return False
    room = torch.finfo(sizes.dtype).tiny ** 0.4
    return bool(((sizes > room) & (sizes < 1 / room)).all())


def _length_over_modulus(length: Tensor | float, x: Tensor) -> Tensor:
    """Return length / |x|, capped at 2.

    The callers clamp at 1. Without the cap the derivative for small x is infinite, which times the
    clamp's zero gives NaN.
    """
    square = x.real**2 + x.imag**2 if x.is_complex() else x**2
    # Where the length is zero too, any positive modulus works.
    floor = length**2 / 4 + torch.finfo(square.dtype).tiny
    if isinstance(floor, Tensor):
        floor = floor.to(square.dtype)
        # The derivative of rsqrt would overflow at the smallest modulus.
        return length / torch.maximum(square, floor).sqrt()
    return length / square.clamp(min=floor).sqrt()
