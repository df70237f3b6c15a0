"""The two layers of a learned network: a data step and a shrinkage, as functions of their weights.

Data step:   x + p(N) (A^H y - N x),   N = A^H A,   p(t) = a - b t.
Shrinkage:   x - W^T P(W x),   W filters, P the firm projection of their groups.

With zeros outside of the image W is a part of a convolution on the whole plane, so that its norm is
at most that of the convolution, for every image size.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, conv_transpose2d, fold, pad

from firenet_mri.firenet.learned.firm import (
    firm_projection,
    firm_projection_,
    firm_slopes,
    is_looked_at,
)

# Numbers of a block of coefficients: 2 MiB in single precision.
_BLOCK = 1 << 19

#: x -> A^H y - N x.
Gradient = Callable[[Tensor], Tensor]


class Stage(NamedTuple):
    """The weights of a stage: a data step, then a shrinkage.

    Parameters
    ----------
    coefficients
        (2): a and b of p(t) = a - b t.
    filters
        (band, k, k), k odd.
    log_radii
        (group): logarithms of the radii at the scale of the data.
    slopes
        (group, condition): what the conditions of the scan add to them.
    firmness
        (group): rho.
    """

    coefficients: Tensor
    filters: Tensor
    log_radii: Tensor
    slopes: Tensor
    firmness: Tensor

    def radii(self, conditions: Tensor) -> Tensor:
        """Return the radii, (item, group), for conditions (item, condition)."""
        return (self.log_radii + conditions @ self.slopes.mT).exp()


def data_step(x: Tensor, g: Tensor, gradient: Gradient, coefficients: Tensor) -> Tensor:
    """Return x + p(N) g for g = gradient(x).

    N g follows from the gradient at x + a g, so that only the gradient is needed.
    """
    a, b = coefficients.unbind()
    ahead = x + a * g
    return ahead - (b / a) * (g - gradient(ahead))


def shrinkage(
    x: Tensor, stage: Stage, conditions: Tensor, sizes: tuple[int, ...], dilation: int
) -> Tensor:
    """Return x - W^T P(W x).

    Parameters
    ----------
    x
        (item, y, x) complex.
    stage
        The weights.
    conditions
        (item, condition).
    sizes
        Filters of each group.
    dilation
        Pixels between neighbouring entries of a filter.
    """
    parts = torch.view_as_real(x).movedim(-1, 1).contiguous()
    radii = stage.radii(conditions)
    if is_looked_at():
        parts = _plain(parts, stage.filters, radii, stage.firmness, sizes, dilation)
    else:
        weights = stage.filters, radii, stage.firmness
        parts = _Shrinkage.apply(parts, *weights, sizes, dilation)  # type: ignore[no-untyped-call]
    return torch.view_as_complex(parts.movedim(1, -1).contiguous())


def _plain(
    x: Tensor,
    filters: Tensor,
    radii: Tensor,
    firmness: Tensor,
    sizes: tuple[int, ...],
    dilation: int,
) -> Tensor:
    """Return what :class:`_Shrinkage` does, by convolutions of torch."""
    items, _, *shape = x.shape
    weight = filters[:, None]
    reach = dilation * (filters.shape[-1] // 2)
    c = conv2d(x.reshape(2 * items, 1, *shape), weight, padding=reach, dilation=dilation)
    q = firm_projection(c.reshape(items, 2, len(filters), -1), radii, firmness, sizes)
    q = q.reshape(2 * items, len(filters), *shape)
    back = conv_transpose2d(q, weight, padding=reach, dilation=dilation)
    return x - back.reshape(x.shape)


class _Shrinkage(torch.autograd.Function):
    """The shrinkage by products of matrices, three times as fast as convolutions on a CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        filters: Tensor,
        radii: Tensor,
        firmness: Tensor,
        sizes: tuple[int, ...],
        dilation: int,
    ) -> Tensor:
        """Return x - W^T P(W x), real, (item, 2, y, x)."""
        if not any(ctx.needs_input_grad):
            return _by_rows(x, filters, radii, firmness, sizes, dilation)
        matrix, size = filters.flatten(1), filters.shape[-1]
        c = _times(matrix, _neighbours(x, size, dilation))
        q = firm_projection_(c.clone(), radii, firmness, sizes)
        ctx.save_for_backward(x, filters, radii, firmness, c, q)
        ctx.sizes, ctx.dilation = sizes, dilation
        return x - _add_up(_times(matrix.mT, q), x, size, dilation)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients; D is symmetric, so that x has I - W^T D W again."""
        x, filters, radii, firmness, c, q = ctx.saved_tensors
        matrix, size = filters.flatten(1), filters.shape[-1]
        near = _neighbours(cotangent, size, ctx.dilation)
        changed, slopes = firm_slopes(c, radii, firmness, ctx.sizes, _times(-matrix, near))
        by_x = cotangent + _add_up(_times(matrix.mT, changed), x, size, ctx.dilation)
        by_filters = None
        if ctx.needs_input_grad[1]:
            around = _neighbours(x, size, ctx.dilation)
            by_matrix = torch.zeros_like(matrix)
            for item, part in itertools.product(*map(range, x.shape[:2])):
                by_matrix.addmm_(changed[item, part], around[item, part].mT)
                by_matrix.addmm_(q[item, part], near[item, part].mT, alpha=-1)
            by_filters = by_matrix.reshape(filters.shape)
        return by_x, by_filters, slopes[:, 0], slopes[:, 1].sum(0), None, None


def _by_rows(
    x: Tensor,
    filters: Tensor,
    radii: Tensor,
    firmness: Tensor,
    sizes: tuple[int, ...],
    dilation: int,
) -> Tensor:
    """Return the shrinkage of blocks of rows that fit the cache, one after the other."""
    matrix, size = filters.flatten(1), filters.shape[-1]
    ny, nx = x.shape[-2:]
    reach = dilation * (size // 2)
    rows = max(1, _BLOCK // (2 * len(filters) * nx))
    padded = pad(x, (reach,) * 4)
    taken = torch.zeros_like(padded)
    for first in range(0, ny, rows):
        window = slice(first, min(first + rows, ny) + 2 * reach)
        near = _columns(padded[..., window, :], size, dilation)
        q = firm_projection_(_times(matrix, near), radii, firmness, sizes)
        block = taken[..., window, :]
        back = _times(matrix.mT, q).flatten(0, 1)
        block += fold(back, block.shape[-2:], size, dilation=dilation).reshape(block.shape)
    return x - taken[..., reach : reach + ny, reach : reach + nx]


def _times(matrix: Tensor, columns: Tensor) -> Tensor:
    """Return the matrix times (item, 2, ...); one by one, since torch would copy them to join."""
    out = columns.new_empty(*columns.shape[:2], len(matrix), columns.shape[-1])
    for item, part in itertools.product(*map(range, columns.shape[:2])):
        torch.mm(matrix, columns[item, part], out=out[item, part])
    return out


def _neighbours(x: Tensor, size: int, dilation: int) -> Tensor:
    """Return the pixels under a filter at every position, (item, 2, size^2, pixels)."""
    return _columns(pad(x, (dilation * (size // 2),) * 4), size, dilation)


def _columns(padded: Tensor, size: int, dilation: int) -> Tensor:
    """Return the same of an image that has its borders already."""
    reach = dilation * (size // 2)
    padded = padded.contiguous()
    ny, nx = (length - 2 * reach for length in padded.shape[-2:])
    whole, plane, row, _ = padded.stride()
    shape = (*padded.shape[:2], size, size, ny, nx)
    strides = (whole, plane, dilation * row, dilation, row, 1)
    return padded.as_strided(shape, strides).reshape(*padded.shape[:2], size * size, ny * nx)


def _add_up(columns: Tensor, x: Tensor, size: int, dilation: int) -> Tensor:
    """Return what is transposed to :func:`_neighbours`, of the shape of x."""
    reach = dilation * (size // 2)
    flat = columns.flatten(0, 1)
    return fold(flat, x.shape[-2:], size, dilation=dilation, padding=reach).reshape(x.shape)
