"""Derivatives that are known in closed form, in the place of those of every operation inside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Takes any leading batch axes.
Map = Callable[[Tensor], Tensor]


def linear(x: Tensor, forward: Map, adjoint: Map) -> Tensor:
    """Return ``forward(x)`` of a linear map; ``adjoint`` is what gradients go back through.

    Differentiable to any order, forwards and backwards, and by ``torch.func.vmap``. No gradients
    are recorded inside the two functions.

    Parameters
    ----------
    x
        (*batch, *domain).
    forward, adjoint
        The map and its adjoint, both for any batch axes in front.
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
