"""Derivatives known in closed form, which replace those of every operation inside a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Accepts any leading batch axes.
Map = Callable[[Tensor], Tensor]


def linear(x: Tensor, forward: Map, adjoint: Map) -> Tensor:
    """Return ``forward(x)`` of a linear map; gradients are propagated through ``adjoint``.

    The result is differentiable to any order, in reverse and forward mode, and works with
    ``torch.func.vmap``. No gradients are recorded inside the two functions.

    Parameters
    ----------
    x
        (*batch, *domain).
    forward, adjoint
        The map and its adjoint, both for any leading batch axes.
    """
    result: Tensor = _Linear.apply(x, forward, adjoint)  # type: ignore[no-untyped-call]
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, forward: Map, adjoint: Map) -> Tensor:
        return forward(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.map, ctx.adjoint = inputs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return linear(gradients[0], ctx.adjoint, ctx.map), None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        return linear(tangents[0], ctx.map, ctx.adjoint)

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, forward: Map, adjoint: Map) -> tuple[Tensor, int]:
        return linear(x.movedim(in_dims[0], 0), forward, adjoint), 0
