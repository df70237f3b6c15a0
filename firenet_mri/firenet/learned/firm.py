"""The firm projection P of groups of bands, differentiable in both directions.

At a pixel the real and imaginary parts of a group of K bands are a 2 x K matrix C. P acts on its
singular values t (K = 1: on the modulus) by

    phi(t) = t for t <= r,   r - rho (t - r) from there down to 0,   0 beyond r (1 + 1 / rho),

so that p - W^T P(W p) takes small coefficients away and leaves large ones as they are; rho = 0 is
the projection onto the ball of radius r, whose remainder is the soft threshold. With the
eigenvalues l = t^2 of K = C C^T, P(C) = M C, M = f(K), f(l) = phi(t) / t. For a change dC

    D dC = M dC + 2 G C,   G_ij = f[l_i, l_j] H_ij,   H = sym(dC C^T),

in the axes of K, with the divided differences f[., .]. D is symmetric, since P is a gradient; its
eigenvalues lie in [-rho, 1] (docs/theory.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.operators.base import records_graph
from firenet_mri.operators.kernels import kernels, real_array

_TINY = 1e-18


def firm_projection(c: Tensor, radii: Tensor, firmness: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return P(c).

    Parameters
    ----------
    c
        (item, 2, bands, pixels) real.
    radii
        r of each group, (item, groups), positive.
    firmness
        rho of each group, (groups), not negative.
    sizes
        Bands of each group, which follow one another.
    """
    if is_looked_at():
        return _plain(c, radii, firmness, sizes)
    projected: Tensor = _Firm.apply(c, radii, firmness, sizes)  # type: ignore[no-untyped-call]
    return projected


def firm_projection_(c: Tensor, radii: Tensor, firmness: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return P(c), which on a CPU takes the place of c in memory; nothing is recorded."""
    if c.device.type != "cpu":
        return _plain(c, radii, firmness, sizes)
    groups = np.asarray(sizes, np.int64)
    rho = firmness.detach().to(c.dtype).numpy()
    for item, radius in zip(c, radii.to(c.dtype), strict=True):
        numbers = item.detach().numpy()
        kernels().firm_project(numbers, real_array(radius), rho, groups, numbers)
    return c


def is_looked_at() -> bool:
    """Return whether a graph or forward-mode derivatives require operations of torch."""
    return records_graph() or torch.autograd.forward_ad._current_level >= 0


class _Firm(torch.autograd.Function):
    """P with its derivative by hand: what torch would record takes three times as long."""

    @staticmethod
    def forward(c: Tensor, radii: Tensor, firmness: Tensor, sizes: tuple[int, ...]) -> Tensor:
        return firm_projection_(c.clone(), radii, firmness, sizes)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        c, radii, firmness, ctx.sizes = inputs
        ctx.save_for_backward(c, radii, firmness)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        c, radii, firmness = ctx.saved_tensors
        gradient, slopes = firm_slopes(c, radii, firmness, ctx.sizes, cotangent.contiguous())
        return gradient, slopes[:, 0], slopes[:, 1].sum(0), None


def firm_slopes(
    c: Tensor, radii: Tensor, firmness: Tensor, sizes: tuple[int, ...], cotangent: Tensor
) -> tuple[Tensor, Tensor]:
    """Return D cotangent, and (item, 2, groups) its products with dP / dr and dP / drho."""
    if c.device.type != "cpu":
        with torch.enable_grad():
            inputs = [x.detach().requires_grad_() for x in (c, radii, firmness.expand_as(radii))]
            c, radii, firmness = inputs
            found = torch.autograd.grad(_plain(c, radii, firmness, sizes), inputs, cotangent)
        return found[0], torch.stack(found[1:], dim=1)
    out = torch.empty_like(c)
    slopes = c.new_empty(len(c), 2, len(sizes))
    groups = np.asarray(sizes, np.int64)
    rho = firmness.detach().to(c.dtype).numpy()
    for i in range(len(c)):
        kernels().firm_slopes(
            c[i].detach().numpy(),
            radii[i].detach().to(c.dtype).numpy(),
            rho,
            groups,
            cotangent[i].detach().numpy(),
            out[i].numpy(),
            slopes[i].numpy(),
        )
    return out, slopes


def _plain(c: Tensor, radii: Tensor, firmness: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Return P(c) by operations of torch, which can be recorded and exported."""
    rho = firmness.expand(radii.shape)
    parts = [
        _of_group(group, radii[:, i, None], rho[:, i, None])
        for i, group in enumerate(c.split(list(sizes), dim=2))
    ]
    return torch.cat(parts, dim=2)


def _of_group(c: Tensor, radius: Tensor, rho: Tensor) -> Tensor:
    """Return P of one group, (item, 2, K, pixels), for radius and rho (item, 1)."""
    real, imaginary = c[:, 0], c[:, 1]
    a, d = real.square().sum(1), imaginary.square().sum(1)
    if c.shape[2] == 1:
        return _factor(a + d, radius, rho)[:, None, None] * c
    b = (real * imaginary).sum(1)
    mean, half = (a + d) / 2, (a - d) / 2
    rad = (half.square() + b.square()).clamp(min=_TINY).sqrt()
    g1, g2 = _factor(mean + rad, radius, rho), _factor(mean - rad, radius, rho)
    turn, middle = (g1 - g2) / (2 * rad), (g1 + g2) / 2
    first = (middle + turn * half)[:, None] * real + (turn * b)[:, None] * imaginary
    second = (turn * b)[:, None] * real + (middle - turn * half)[:, None] * imaginary
    return torch.stack([first, second], dim=1)


def _factor(square: Tensor, radius: Tensor, rho: Tensor) -> Tensor:
    """Return phi(t) / t for t^2."""
    t = square.clamp(min=_TINY).sqrt()
    return (radius * (1 + rho) / t - rho).clamp(0, 1)
