"""Jacobians of networks for tests: ours, layer by layer, and by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from firenet_mri import FIRENET
from firenet_mri.operators import LinearOperator
from firenet_mri.operators.links import Chain
from firenet_mri.reconstruction.jacobian import ImageJacobian
from firenet_mri.reconstruction.solve import Encoded, Solution, solve


def solution_of(net: FIRENET, y: Tensor, encoding: LinearOperator) -> Solution:
    """Return the network's solution for data without anything before or behind it."""
    support = torch.ones(encoding.domain_shape, dtype=y.real.dtype)
    with torch.no_grad():
        return solve(net, Encoded(y, encoding, support, Chain(), y))


def jacobian_of(net: FIRENET, y: Tensor, encoding: LinearOperator) -> ImageJacobian:
    """Return the network's Jacobian at its data."""
    return ImageJacobian(solution_of(net, y, encoding))


def automatic_jacobian(function: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """Return the real Jacobian of a function, (image, data), by automatic differentiation."""

    def real_map(data: Tensor) -> Tensor:
        image = function(torch.view_as_complex(data) if y.is_complex() else data)
        return torch.view_as_real(image) if image.is_complex() else image

    point = torch.view_as_real(y) if y.is_complex() else y
    return torch.autograd.functional.jacobian(real_map, point).reshape(-1, point.numel())


def jacobian_of_batches(function: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """Return the same matrix of a function of batches whose items never influence each other.

    One pass over a batch with an item for each number of the image gives all rows at once.
    """

    def real_map(data: Tensor) -> Tensor:
        images = function(torch.view_as_complex(data) if y.is_complex() else data)
        return (torch.view_as_real(images) if images.is_complex() else images).flatten(1)

    point = (torch.view_as_real(y) if y.is_complex() else y).detach()
    with torch.no_grad():
        numbers = real_map(point[None]).shape[1]
    points = point.expand(numbers, *point.shape).clone().requires_grad_()
    (rows,) = torch.autograd.grad(real_map(points).diagonal().sum(), points)
    return rows.reshape(numbers, -1)


def as_real(values: Tensor) -> Tensor:
    """Return the real numbers of a tensor as one row."""
    return torch.view_as_real(values).flatten() if values.is_complex() else values.flatten()


def norm_of(matrix: Tensor) -> float:
    """Return the largest singular value."""
    return float(torch.linalg.matrix_norm(matrix, 2))
