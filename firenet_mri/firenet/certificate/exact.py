"""Objective and lower bound in double precision, from single-precision data and duals.

They are :meth:`Problem.objective` and :meth:`Problem.dual_value` of P2 and P3, which stay the
definition. Here data go part by part (:meth:`LinearOperator.data_parts`) and coefficients slab by
slab, so that no volume is ever held in double precision as a whole:

    F(x) = lam sum_i w_i |(W x)_i| + f(||A x - y||),
    D(v) = max over 0 <= s <= limit of -s Re <v, y> - f*(s v),
    limit = min_i lam w_i / |(q - W (W^H W)^+ (W^H q + A^H v))_i|.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.firenet.dual import DualPoint
from firenet_mri.firenet.problem import Problem
from firenet_mri.prox import item_norm, over_axes


class DataDual(NamedTuple):
    """What the bound needs of a dual v of the data, in double precision.

    slope: -Re <v, y>, norm: ||v||, (*batch); image: A^H v, (*batch, *domain_shape).
    """

    slope: Tensor
    norm: Tensor
    image: Tensor


def exact_norm(y: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the Euclidean norm over the last axes in double precision, kept as axes of size 1."""
    double = torch.promote_types(y.dtype, torch.float64)
    # One entry of the first of the axes after the other, such as coils.
    parts = y.split(1, dim=axes[0])
    norms = [item_norm(part.to(double), axes) for part in parts]
    return torch.linalg.vector_norm(torch.stack(norms), dim=0)


def exact_objective(problem: Problem, y: Tensor, x: Tensor) -> Tensor:
    """Return F(x), (*batch) float64."""
    double = torch.promote_types(y.dtype, torch.float64)
    image = x.to(double)
    sparsity = problem.transform.weighted_sum(image, problem.threshold(image))
    distances = []
    for first, part in problem.encoding.data_parts():
        data = _part(problem, y, first, part.codomain_shape[0]).to(double)
        distances.append(item_norm(part(image) - data, problem.data_axes))
    distance = torch.linalg.vector_norm(torch.stack(distances), dim=0)
    return sparsity + problem.data_value(distance.reshape(sparsity.shape), y)


def dual_of_data(problem: Problem, y: Tensor, point: DualPoint) -> DataDual:
    """Return what the bound needs of v = A source - share y.

    Where W of a constant is 0, v is what :meth:`Problem.without_constants` makes of it.
    """
    double = torch.promote_types(y.dtype, torch.float64)
    exact = point._replace(q=None).to(double)
    axes = problem.data_axes
    if problem.transform.annihilates_constants:
        data = y.to(double)
        v = exact.dual(problem, data)
        v, image = problem.without_constants(v, problem.encoding.adjoint(v))
        slope = _slope(v, data, axes)
        return DataDual(slope, item_norm(v, axes).reshape(slope.shape), image)
    share = over_axes(exact.share, axes)
    image, slopes, norms = torch.zeros_like(exact.source), [], []
    for first, part in problem.encoding.data_parts():
        data = _part(problem, y, first, part.codomain_shape[0]).to(double)
        v = part(exact.source) - share * data
        slopes.append(_slope(v, data, axes))
        norms.append(item_norm(v, axes))
        image += part.adjoint(v)
    slope = torch.stack(slopes).sum(0)
    norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return DataDual(slope, norm.reshape(slope.shape), image)


def exact_bound(problem: Problem, dual: DataDual, q: Tensor | None) -> Tensor:
    """Return the lower bound of min F, (*batch) float64, for a dual of the coefficients.

    q is (*batch, *coefficients) in any precision; None is 0, and in the synthesis form, where it
    follows from v, it is ignored.
    """
    transform, image = problem.transform, dual.image
    threshold = problem.threshold(image)
    if problem.is_synthesis:
        limit = transform.room(None, -image, threshold)
    else:
        excess = image if q is None else image + transform.synthesised(q, image.dtype)
        limit = transform.room(q, -transform.solve_gram(excess), threshold)
    return problem.best_scaled(dual.slope, dual.norm, limit)


def _part(problem: Problem, y: Tensor, first: int, count: int) -> Tensor:
    return y.narrow(problem.data_axes[0], first, count)


def _slope(v: Tensor, data: Tensor, axes: tuple[int, ...]) -> Tensor:
    return -(v.conj() * data).real.sum(axes)
