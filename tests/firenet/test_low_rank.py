"""Proven statements about low rank and groups over images, by a convex solver and by attacks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.firenet.schedules import NetworkSchedule
from firenet_mri.firenet.verification import verify_on_scan
from firenet_mri.operators import MatrixOperator
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.low_rank import LocalLowRank
from firenet_mri.operators.sparsifiers import make_sparsifier

SHAPE, PATCH, LAM, ROWS = (2, 4, 3), 3, 0.3, 14


class Flat(LinearOperator):
    """A matrix of the pixels in a row."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self_norm = float(torch.linalg.matrix_norm(matrix, 2))
        super().__init__(SHAPE, (len(matrix),), self_norm)
        self.inner = MatrixOperator(matrix, self_norm)

    def forward(self, x):
        return self.inner(x.flatten(-3))

    def adjoint(self, y):
        return self.inner.adjoint(y).reshape(*y.shape[:-1], *SHAPE)


LOW_RANK, GROUPS = "across-low-rank3", "tv+across-groups+across-tv"


@pytest.fixture(params=[LOW_RANK, GROUPS])
def problem(request, randn) -> SquareRootLasso:
    matrix = randn(ROWS, math.prod(SHAPE)) / 12
    return SquareRootLasso(Flat(matrix), make_sparsifier(request.param, SHAPE), lam=LAM)


@pytest.fixture
def y(problem, randn) -> torch.Tensor:
    truth = randn(2, 1, 1) * randn(1, 4, 3)
    return problem.encoding(truth) + 0.1 * randn(ROWS)


def nuclear_norms(cvxpy, frames):
    """Of squares cut by hand: borders at rows 0, 3, 4 and 0, 1, 4."""
    total = 0
    for rows, columns in (((0, 3, 4), (0, 3)), ((0, 1, 4), (0, 1, 3))):
        for top, bottom in itertools.pairwise(rows):
            for left, right in itertools.pairwise(columns):
                parts = [
                    cvxpy.reshape(x[top:bottom, left:right], (1, -1), order="C") for x in frames
                ]
                total += cvxpy.normNuc(cvxpy.vstack(parts))
    return total / math.sqrt(2)


def group_norms(cvxpy, x):
    """Of both differences of a pixel in both images, and of its difference between them."""
    number = np.arange(math.prod(SHAPE)).reshape(SHAPE)
    down, right, later = (np.roll(number, -1, axis) for axis in (1, 2, 0))
    # Over the square root of 8 for both differences, and over 2; factors 1/2 and 1 of the sum.
    total, scale = 0, 1 / math.sqrt(1.25)
    for place in itertools.product(*map(range, SHAPE[1:])):
        at = (slice(None), *place)
        here, moved = number[at], np.concatenate([down[at], right[at]])
        total += 0.5 * scale / math.sqrt(8) * cvxpy.norm(x[moved] - x[[*here, *here]])
        total += scale / 2 * cvxpy.norm(x[later[at]] - x[here], 1)
    return total


def optimum(problem: SquareRootLasso, y: torch.Tensor) -> float:
    """min F by a convex solver."""
    cvxpy = pytest.importorskip("cvxpy")
    frames = [cvxpy.Variable(SHAPE[1:], complex=True) for _ in range(SHAPE[0])]
    x = cvxpy.hstack([cvxpy.reshape(x, (-1,), order="C") for x in frames])
    is_low_rank = isinstance(problem.transform, LocalLowRank)
    sparsity = nuclear_norms(cvxpy, frames) if is_low_rank else group_norms(cvxpy, x)
    residual = problem.encoding.inner.matrix.numpy() @ x - y.numpy()
    goal = LAM * sparsity + cvxpy.norm(residual, 2)
    return float(cvxpy.Problem(cvxpy.Minimize(goal)).solve(solver="SCS", eps=1e-7))


def test_optimum_is_the_convex_solvers_and_no_bound_lies_above_it(problem, y) -> None:
    expected = optimum(problem, y)
    found = AdaptiveBlock(AdaptiveSchedule(1e-6, 3000))(problem, y, torch.zeros(SHAPE).to(y.dtype))
    assert float(problem.objective(found.state.x, y)) == pytest.approx(expected, rel=1e-4)
    assert bool(found.converged)
    for layers in (1, 5, 30):
        state = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(layers)).solve(
            y, problem.encoding
        )
        objective = float(problem.objective(state.x, y))
        gap = float(problem.duality_gap(state.x, y, state.v, state.q))
        assert np.isfinite(gap)
        assert gap >= objective - expected * (1 + 1e-5)


def sparsity(problem: SquareRootLasso, x: torch.Tensor) -> torch.Tensor:
    """Return N(W x) by torch's own norms, with a gradient."""
    if isinstance(problem.transform, LocalLowRank):
        parts = problem.transform.squares(problem.analyse(x))
        return sum(torch.linalg.matrix_norm(m, "nuc").sum() for m, _ in parts)
    first, second = problem.transform.split_bands(problem.analyse(x))
    return torch.linalg.vector_norm(first[1], dim=(0, 1)).sum() + second[1].abs().sum()


def test_no_image_comes_below_the_lower_bound(problem, y, randn) -> None:
    """Attack: subgradient descent on F, evaluated by torch's own norms."""
    state = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(40)).solve(y, problem.encoding)
    bound = float(problem.dual_value(state.v, y, state.q))
    lowest = math.inf
    for start in (state.x, randn(*SHAPE)):
        x = start
        for count in range(1, 40):
            x = x.detach().requires_grad_()
            value = LAM * sparsity(problem, x) + (problem.encoding(x) - y).norm()
            lowest = min(lowest, float(value.detach()))
            (slope,) = torch.autograd.grad(value, x)
            x = x - 0.3 / count * slope / slope.norm()
    assert bound <= lowest < 1.3 * bound


def moving(net: FIRENET) -> FIRENET:
    """The same network with another tiling in every layer."""
    generator = torch.Generator().manual_seed(3)
    draws = torch.randint(0, PATCH, (net.depth, 2, 2), generator=generator).tolist()
    tilings = [LocalLowRank(SHAPE, PATCH, [tuple(o) for o in offsets]) for offsets in draws]
    net.solver.blocks[0].sparsifiers = nn.ModuleList(tilings)
    return net


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("problem", [LOW_RANK], indirect=True)
def test_changes_are_amplified_less_than_the_constant_says_also_if_tilings_move(
    moves, problem, y, randn
) -> None:
    """Attack: power iteration on the Jacobian at many data, and finite changes along it."""
    net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(8, eps0=1.0))
    net = moving(net) if moves else net
    bound, worst = net.lipschitz_bound(problem.encoding), 0.0

    def image(data):
        return net(data, problem.encoding)

    for size in (0.5, 5.0):
        at, change = size * y, randn(ROWS)
        for _ in range(3):
            change = change / change.norm()
            moved = torch.autograd.functional.jvp(image, at, change)[1]
            worst = max(worst, float(moved.norm()))
            change = torch.autograd.functional.vjp(image, at, moved)[1]
        for step in (0.3, 3.0):
            e = step * change / change.norm()
            with torch.no_grad():
                moved = image(at + e) - image(at)
            worst = max(worst, float(moved.norm() / e.norm()))
    assert 0.1 * bound < worst <= bound


def test_the_derivative_is_that_of_autograd(problem, y, randn) -> None:
    net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(5, eps0=1.0))
    u = randn(ROWS)
    expected = torch.autograd.functional.jvp(lambda data: net(data, problem.encoding), y, u)[1]
    step = 1e-6
    with torch.no_grad():
        pair = [net(y + sign * step * u, problem.encoding) for sign in (1, -1)]
    torch.testing.assert_close(expected, (pair[0] - pair[1]) / (2 * step), rtol=1e-5, atol=1e-6)


def test_the_bound_is_that_of_any_frame(problem) -> None:
    alone = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(8, eps0=1.0))
    other = FIRENET(
        make_sparsifier("across-fourier", SHAPE), LAM, None, NetworkSchedule(8, eps0=1.0)
    )
    bounds = [net.lipschitz_bound(problem.encoding) for net in (alone, other)]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-12)


def test_what_single_coefficients_need_is_refused(problem, y) -> None:
    net = FIRENET(problem.sparsifier, LAM, None, NetworkSchedule(2))
    state = net.solve(y, problem.encoding)
    with pytest.raises(UsageError, match="across-low-rank and across-groups"):
        reweighted(net, state.x, y, problem.encoding)
    entries = verify_on_scan(net, y, problem.encoding, state)
    assert all(entry.status == "not verified" for entry in entries)
