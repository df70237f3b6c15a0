"""Total variation, alone and with wavelets: differences of a pixel are penalised together."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import torch
from jacobians import jacobian_of

from firenet_mri import FIRENET, NetworkSchedule, certify
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.verification import verify_on_scan
from firenet_mri.operators import FiniteDifference, MatrixOperator, StackedFrame, StationaryWavelet
from firenet_mri.operators.base import LinearOperator

SHAPE = (4, 5)
PIXELS = 20
LAM = 0.2


class OnImages(LinearOperator):
    """A dense matrix that acts on images."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(SHAPE, (len(matrix),), float(torch.linalg.matrix_norm(matrix, 2)))
        self.inner = MatrixOperator(matrix)

    def forward(self, x):
        return self.inner(x.flatten(-2))

    def adjoint(self, y):
        return self.inner.adjoint(y).unflatten(-1, SHAPE)


def sum_of_both() -> StackedFrame:
    return StackedFrame([(0.6, FiniteDifference(SHAPE)), (0.8, StationaryWavelet(1, SHAPE))])


SPARSIFIERS = {"tv": lambda: FiniteDifference(SHAPE), "sum": sum_of_both}


def case(name: str, randn):
    encoding = OnImages(randn(12, PIXELS) / 8)
    problem = SquareRootLasso(encoding, SPARSIFIERS[name](), None, LAM)
    return problem, randn(12)


def optimum(problem: SquareRootLasso, y: torch.Tensor) -> float:
    """Return the smallest objective, by a solver that we did not write."""
    sparsifier = problem.sparsifier
    basis = torch.eye(PIXELS, dtype=torch.float64).reshape(PIXELS, *SHAPE)
    matrix = sparsifier(basis).reshape(PIXELS, -1, PIXELS).numpy()
    x = cvxpy.Variable(PIXELS, complex=True)
    bands = [matrix[:, band].T @ x for band in range(matrix.shape[1])]
    tv = cvxpy.sum(cvxpy.norm(cvxpy.vstack(bands[:2]), 2, axis=0))
    rest = sum(cvxpy.norm1(band) for band in bands[2:])
    residual = problem.encoding.inner.matrix.numpy() @ x - y.numpy()
    goal = cvxpy.Problem(cvxpy.Minimize(LAM * (tv + rest) + cvxpy.norm(residual, 2)))
    return float(goal.solve(solver="CLARABEL"))


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_optimum_is_the_convex_solvers(name, randn) -> None:
    problem, y = case(name, randn)
    expected = optimum(problem, y)
    found = AdaptiveBlock(AdaptiveSchedule(1e-7, 5000))(problem, y, torch.zeros(SHAPE).to(y.dtype))
    objective = float(problem.objective(found.state.x, y))
    assert objective == pytest.approx(expected, rel=1e-6)
    assert bool(found.converged)
    gap = float(problem.duality_gap(found.state.x, y, found.state.v, found.state.q))
    assert objective - expected * (1 + 1e-7) <= gap <= 1e-5 * expected


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_certified_gap_is_at_least_the_true_one(name, randn) -> None:
    problem, y = case(name, randn)
    expected = optimum(problem, y)
    for layers in (1, 5, 30):
        net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(layers))
        state = net.solve(y, problem.encoding)
        gap = float(problem.duality_gap(state.x, y, state.v, state.q))
        assert gap >= float(problem.objective(state.x, y)) - expected * (1 + 1e-7)
        assert np.isfinite(gap)


def test_objective_takes_the_differences_of_a_pixel_together(randn) -> None:
    problem, y = case("tv", randn)
    x = randn(*SHAPE)
    down, right = (np.roll(x.numpy(), -1, axis) - x.numpy() for axis in (0, 1))
    scale = 1 / (2 * 2**0.5)
    expected = LAM * scale * np.sqrt(np.abs(down) ** 2 + np.abs(right) ** 2).sum()
    expected += np.linalg.norm((problem.encoding(x) - y).numpy())
    assert float(problem.objective(x, y)) == pytest.approx(expected)


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_jacobian_is_that_of_autograd_and_below_the_bound(name, randn) -> None:
    problem, y = case(name, randn)
    net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(6, eps0=float(y.norm())))
    jacobian = jacobian_of(net, y, problem.encoding)
    u = randn(12)
    expected = torch.autograd.functional.jvp(lambda data: net(data, problem.encoding), y, u)[1]
    assert torch.allclose(jacobian.forward(u), expected, atol=1e-10)
    image = randn(*SHAPE)
    back = torch.autograd.functional.vjp(lambda data: net(data, problem.encoding), y, image)[1]
    assert torch.allclose(jacobian.transpose(image), back, atol=1e-10)
    assert float(expected.norm() / u.norm()) <= net.lipschitz_bound(problem.encoding)


def test_what_theory_does_not_cover_is_not_verified(randn) -> None:
    problem, y = case("tv", randn)
    net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(5))
    state = net.solve(y, problem.encoding)
    entries = verify_on_scan(net, y, problem.encoding, state)
    assert {entry.status for entry in entries} == {"not verified"}
    certificate = certify(net, y, problem.encoding, state, dual_layers=20)
    status = {entry.name: entry.status for entry in certificate.entries}
    assert status["duality_gap"] == status["lipschitz_bound"] == "proven"


def test_different_weights_in_a_group_are_refused(randn) -> None:
    problem, _ = case("tv", randn)
    weights = torch.tensor([1.0, 2.0]).reshape(2, 1, 1)
    with pytest.raises(UsageError, match="group"):
        SquareRootLasso(problem.encoding, problem.sparsifier, weights, LAM)
