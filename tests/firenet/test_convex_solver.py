"""P1, P2 and P3 beside a general convex solver: same optimum, bracketed by the certificate."""

from __future__ import annotations

from typing import NamedTuple

import cvxpy
import numpy as np
import pytest
import torch
from torch import Tensor

from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.firenet.problem import (
    Lasso,
    Problem,
    QuadraticallyConstrainedBasisPursuit,
    SquareRootLasso,
)
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet

SIZE, DATA = 16, 10
SPARSIFIERS = {
    "synthesis": lambda: OrthogonalWavelet("haar", 2, (SIZE,)),
    "analysis": lambda: StationaryWavelet(2, (SIZE,)),
}
FIELDS = {"real": torch.float64, "complex": torch.complex128}


class Case(NamedTuple):
    problem: Problem
    y: Tensor
    optimum: float


def optimum(kind: str, matrix: Tensor, sparsifier: Tensor, w: Tensor, y: Tensor, number: float):
    """Return the optimal value that cvxpy finds."""
    x = cvxpy.Variable(matrix.shape[1], complex=matrix.is_complex())
    sparsity = cvxpy.sum(cvxpy.multiply(w.numpy(), cvxpy.abs(sparsifier.numpy() @ x)))
    distance = cvxpy.norm(matrix.numpy() @ x - y.numpy(), 2)
    if kind == "P1":
        task = cvxpy.Problem(cvxpy.Minimize(sparsity), [distance <= number])
    else:
        misfit = distance if kind == "P3" else cvxpy.square(distance)
        task = cvxpy.Problem(cvxpy.Minimize(number * sparsity + misfit))
    return float(task.solve(solver=cvxpy.CLARABEL))


def make_case(kind: str, form: str, field: str) -> Case:
    generator = torch.Generator().manual_seed(len(kind + form + field))
    dtype = FIELDS[field]
    matrix = torch.randn(DATA, SIZE, dtype=dtype, generator=generator) / 3
    y = torch.randn(DATA, dtype=dtype, generator=generator)
    sparsifier = SPARSIFIERS[form]()
    columns = sparsifier(torch.eye(SIZE, dtype=torch.float64))
    dense = columns.reshape(SIZE, -1).T
    w = 0.5 + 1.5 * torch.rand(sparsifier.codomain_shape, dtype=torch.float64, generator=generator)
    encoding = MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2)))
    number = {"P1": 0.8, "P2": 0.15, "P3": 0.1}[kind]
    if kind == "P1":
        problem: Problem = QuadraticallyConstrainedBasisPursuit(encoding, sparsifier, w, eta=number)
    else:
        problem = (Lasso if kind == "P2" else SquareRootLasso)(encoding, sparsifier, w, number)
    return Case(problem, y, optimum(kind, matrix, dense, w.flatten(), y, number))


@pytest.mark.parametrize("form", SPARSIFIERS)
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["P2", "P3"])
def test_adaptive_solver_finds_the_optimal_value(kind, form, field) -> None:
    problem, y, expected = make_case(kind, form, field)
    block = AdaptiveBlock(AdaptiveSchedule(relative_gap=1e-8, max_layers=6000))
    result = block(problem, y, torch.zeros(SIZE, dtype=y.dtype))
    assert bool(result.converged)
    check_bracket(problem, result.state.x, y, result.state.v, result.state.q, expected)


@pytest.mark.parametrize("form", SPARSIFIERS)
@pytest.mark.parametrize("field", FIELDS)
def test_basis_pursuit_finds_the_optimal_value(form, field) -> None:
    problem, y, expected = make_case("P1", form, field)
    assert isinstance(problem, QuadraticallyConstrainedBasisPursuit)
    tau = torch.tensor(0.25, dtype=torch.float64)
    sigma = 1 / (tau * problem.norm_bound**2)
    residual, layer = problem.encoding.residual(y), start(problem, torch.zeros(SIZE, dtype=y.dtype))
    for _ in range(4000):
        layer = step(problem, residual, layer, tau, sigma)
    state = layer.bare(problem, y)
    x = problem.restore(state.x, y)
    check_bracket(problem, x, y, state.v, state.q, expected)


def check_bracket(
    problem: Problem, x: Tensor, y: Tensor, v: Tensor, q: Tensor | None, expected: float
) -> None:
    """The objective is the solver's to 1e-6, and the certified gap contains the solver's value.

    The solver's own tolerance is 1e-8.
    """
    objective, gap = float(problem.objective(x, y)), float(problem.duality_gap(x, y, v, q))
    assert objective == pytest.approx(expected, rel=1e-6)
    slack = 1e-7 * expected
    assert objective - gap - slack <= expected <= objective + slack
    assert gap <= 1e-5 * expected


@pytest.mark.parametrize("form", SPARSIFIERS)
@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
def test_certified_gap_is_at_least_the_true_gap_on_the_way(kind, form) -> None:
    problem, y, expected = make_case(kind, form, "complex")
    tau = torch.tensor(0.5, dtype=torch.float64)
    sigma = 1 / (tau * problem.norm_bound**2)
    residual, layer = problem.encoding.residual(y), start(problem, torch.zeros(SIZE, dtype=y.dtype))
    gaps = []
    for _ in range(30):
        layer = step(problem, residual, layer, tau, sigma)
        state = layer.bare(problem, y)
        x = state.x
        if isinstance(problem, QuadraticallyConstrainedBasisPursuit):
            x = problem.restore(x, y)
        gaps.append(float(problem.duality_gap(x, y, state.v, state.q)))
        assert gaps[-1] >= float(problem.objective(x, y)) - expected * (1 + 1e-7)
    assert min(gaps) < 0.5 * gaps[0]
    assert np.isfinite(gaps).all()
