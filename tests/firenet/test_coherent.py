"""The preset coherent: a convex problem with a proven gap, and the constant of accurate."""

from __future__ import annotations

import math
from typing import NamedTuple

import cvxpy
import numpy as np
import pytest
import torch
from jacobians import jacobian_of, jacobian_of_batches, norm_of
from laws import assert_close
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.coherent import coherent_form
from firenet_mri.firenet.derivative import NetworkDerivative
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.reweighting import reweighted
from firenet_mri.operators import LinearOperator, encoding_operator
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.operators.stacked import StackedFrame
from firenet_mri.reconstruction.options import ReconstructionOptions

SHAPE = (4, 3)
PIXELS = 12


def random(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


class Images(LinearOperator):
    """A matrix on the pixels of images."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SHAPE, matrix.shape[:1], float(torch.linalg.matrix_norm(matrix, 2)))
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(-2) @ self.matrix.T

    def adjoint(self, y: Tensor) -> Tensor:
        return (y @ self.matrix.conj()).unflatten(-1, SHAPE)


class Case(NamedTuple):
    problem: SquareRootLasso
    y: Tensor
    optimum: float
    state: State


def dense(frame: Frame) -> np.ndarray:
    """Return W as (bands, pixels, pixels)."""
    columns = frame(torch.eye(PIXELS, dtype=torch.float64).unflatten(-1, SHAPE))
    return columns.flatten(-2).permute(1, 2, 0).numpy()


def penalty(frame: Frame, weights: Tensor, x: cvxpy.Variable):
    """Return the sparsity of real and imaginary parts, x (pixels, 2), as cvxpy writes it."""
    total, first = 0, 0
    parts = frame.parts if isinstance(frame, StackedFrame) else [(1.0, frame)]
    for scale, part in parts:
        matrix, count = scale * dense(part), part.codomain_shape[0]
        w = weights.flatten()[first : first + count].numpy()
        for pixel in range(PIXELS):
            rows = matrix[:, pixel] @ x
            if isinstance(part, PhaseCoherent):
                start = 0
                for size in part.group_sizes:
                    total = total + w[start] * cvxpy.normNuc(rows[start : start + size])
                    start += size
            else:
                total = total + w @ cvxpy.norm(rows, 2, axis=1)
        first += count
    return total


def make_case(kind: str) -> Case:
    """Return a tiny problem with what cvxpy finds: scaled bands alone, or the preset's mixture."""
    haar = make_sparsifier("undecimated-haar", SHAPE)
    if kind == "scaled":
        sparsifier: Frame = PhaseCoherent(haar, (1, 3), torch.tensor([0.4, 1.0, 0.7, 0.9]))
        weights = torch.tensor([0.6, 1.0, 1.0, 1.0]).double().reshape(-1, 1, 1)
    else:
        w = torch.tensor([0.5, 1.0, 1.0, 1.0]).double().reshape(-1, 1, 1)
        sparsifier, weights = coherent_form(haar, w)
    matrix, y = random(1, 8, PIXELS) / 4, random(2, 8)
    x = cvxpy.Variable((PIXELS, 2))
    real, imaginary = matrix.real.numpy(), matrix.imag.numpy()
    parts = np.block([[real, -imaginary], [imaginary, real]])
    flat = cvxpy.reshape(x, (2 * PIXELS,), order="F")
    misfit = cvxpy.norm(parts @ flat - torch.cat([y.real, y.imag]).numpy(), 2)
    task = cvxpy.Problem(cvxpy.Minimize(misfit + 0.3 * penalty(sparsifier, weights, x)))
    optimum = float(task.solve(solver=cvxpy.CLARABEL))
    problem = SquareRootLasso(Images(matrix), sparsifier, weights, 0.3)
    block = AdaptiveBlock(AdaptiveSchedule(relative_gap=1e-4, max_layers=2000))
    with torch.no_grad():
        result = block(problem, y, torch.zeros(SHAPE, dtype=y.dtype))
    assert bool(result.converged)
    return Case(problem, y, optimum, result.state)


@pytest.fixture(scope="module", params=["scaled", "mixed"])
def case(request: pytest.FixtureRequest) -> Case:
    return make_case(request.param)


@torch.no_grad()
def test_gap_brackets_the_optimum_of_another_solver(case: Case) -> None:
    problem, y, expected, state = case
    objective = float(problem.objective(state.x, y))
    bound = float(problem.dual_value(state.v, y, state.q))
    assert bound <= expected * (1 + 1e-6)
    assert objective >= expected * (1 - 1e-6)
    assert objective - bound <= 2e-4 * objective
    assert float(problem.transform.shares(problem.analyse(state.x)).sum()) > 0


@torch.no_grad()
def test_no_pair_of_duals_proves_more_than_the_optimum(case: Case) -> None:
    """An attack on the bound: the best of many duals, pushed towards the optimum and off it."""
    problem, y, expected, state = case
    assert state.q is not None
    best = 0.0
    for seed, size in enumerate([0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0] * 6):
        v = state.v + size * random(seed, *y.shape)
        q = (1 + size) * state.q + size * random(seed + 1000, *state.q.shape)
        for dual in (q, problem.tighten_dual(v, q, 5)):
            best = max(best, float(problem.dual_value(v, y, dual)))
    assert 0.99 * expected < best <= expected * (1 + 1e-6)


def small_network(layers: int = 6):
    maps = random(3, 2, 5, 4)
    mask = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(4)) < 0.6
    encoding = encoding_operator(mask, maps / torch.linalg.vector_norm(maps, dim=0))
    net = make_network(2, (5, 4), preset="coherent", layers=layers).double()
    net.lam = 0.1
    return net, encoding, random(5, 2, 5, 4) * mask


def test_bound_is_that_of_accurate_and_no_jacobian_exceeds_it() -> None:
    net, encoding, y = small_network()
    bound = net.lipschitz_bound_everywhere(encoding)
    accurate = make_network(2, (5, 4), layers=6)
    assert bound == pytest.approx(accurate.lipschitz_bound_everywhere(encoding), rel=1e-9)
    for data in (y, random(6, *y.shape)):
        assert norm_of(jacobian_of_batches(lambda d: net(d, encoding), data)) <= bound


@torch.no_grad()
def test_no_pair_of_data_is_amplified_beyond_the_bound() -> None:
    """An attack by finite differences: ascent from random changes of the data."""
    net, encoding, y = small_network()
    bound = net.lipschitz_bound_everywhere(encoding)
    worst = 0.0
    for size in (1e-3, 1e-1, 1.0):
        change = size * random(7, *y.shape)
        length = change.norm()
        for _ in range(12):
            moved = net(y + change, encoding) - net(y, encoding)
            worst = max(worst, float(moved.norm() / change.norm()))
            derivative = NetworkDerivative(net, y + change, encoding)
            back, _ = derivative.transpose(moved)
            step = encoding(back.back) + back.inner * (y + change)
            change = length * step / step.norm()
    assert 0.5 < worst <= bound


def test_derivative_is_that_of_automatic_differentiation() -> None:
    net, encoding, y = small_network()
    expected = jacobian_of_batches(lambda data: net(data, encoding), y)
    jacobian = jacobian_of(net, y, encoding)
    change = random(8, *y.shape)
    with torch.no_grad():
        found = jacobian.forward(change)
    rows = expected @ torch.view_as_real(change).flatten()
    # Slopes are kept in single precision.
    assert_close(torch.view_as_real(found).flatten(), rows, 1e-5)


@torch.no_grad()
def test_a_phase_of_the_data_is_a_phase_of_the_image() -> None:
    net, encoding, y = small_network()
    turn = complex(math.cos(1.1), math.sin(1.1))
    assert_close(net(turn * y, encoding), turn * net(y, encoding))


def test_frame_stays_parseval_so_that_the_gap_needs_no_transform() -> None:
    for shape in ((16, 16), (7, 9), (5, 6, 7)):
        frame = make_network(2, shape, preset="coherent").sparsifier
        assert isinstance(frame, StackedFrame)
        assert frame.is_parseval
        assert frame.norm_bound == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["haar", "tv", "dual-tree"])
def test_sparsifiers_without_bands_of_a_pixel_are_refused(name) -> None:
    with pytest.raises(UsageError, match="undecimated wavelets of one level"):
        make_network(2, (16, 16), preset="coherent", sparsifier=name)


def test_reweighting_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="preset coherent"):
        ReconstructionOptions.from_mapping({"preset": "coherent", "reweighting": 1})
    net, encoding, y = small_network(2)
    with pytest.raises(UsageError, match="preset coherent, across-low-rank"):
        reweighted(net, net(y, encoding), y, encoding)
