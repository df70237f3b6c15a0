"""Where the constants are known the theorem's network does what the theorem says, to 1e-12."""

from __future__ import annotations

import math
from dataclasses import replace

import cvxpy
import numpy as np
import pytest
import torch

from firenet_benchmark.paper.convergence import convergence, figure
from firenet_benchmark.paper.known_constants import (
    ACCURACIES,
    KnownProblem,
    draw,
    is_below,
    known_problem,
    needed_layers,
    promised_curves,
    promised_layers,
    summary,
)
from firenet_mri import FIRENET
from firenet_mri.errors import UsageError


@pytest.fixture(scope="module")
def known() -> KnownProblem:
    return known_problem(16, missing=5, sparsity=4, seed=3)


@pytest.fixture(scope="module")
def curves(known):
    return promised_curves(known)


def matrix_of(known: KnownProblem) -> np.ndarray:
    """The rows of numpy's Fourier matrix, for the frequencies that are sampled."""
    n = known.problem.encoding.domain_shape[0]
    units = torch.eye(n * n, dtype=torch.complex128).reshape(n * n, n, n)
    columns = known.problem.encoding(units).reshape(n * n, n * n).numpy()
    return columns.T[np.abs(columns).sum(0) > 0]


@pytest.mark.parametrize(("size", "missing", "sparsity"), [(4, 1, 2), (8, 5, 3), (8, 2, 12)])
def test_no_image_breaks_the_null_space_property(size, missing, sparsity) -> None:
    """Ascent on ||x_D|| - rho ||x_{D^c}||_1 / sqrt(s) - gamma ||A x||, for the worst D."""
    found = known_problem(size, missing=missing, sparsity=sparsity, seed=1)
    matrix = torch.from_numpy(matrix_of(found))
    assert matrix.shape == (size * size - missing, size * size)
    assert torch.allclose(matrix @ matrix.mH, torch.eye(len(matrix), dtype=matrix.dtype))
    rho, gamma = found.constants.rho, found.constants.gamma
    generator = torch.Generator().manual_seed(0)
    hidden = torch.linalg.svd(matrix)[2][len(matrix) :]
    start = torch.randn(20, missing, dtype=matrix.dtype, generator=generator) @ hidden
    noise = torch.randn(start.shape, dtype=matrix.dtype, generator=generator)
    x = (start + 0.1 * torch.rand(20, 1, generator=generator) * noise).requires_grad_()
    ascent = torch.optim.Adam([x], 0.02)
    worst = -math.inf
    for _ in range(150):
        unit = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        sizes = unit.abs().sort(descending=True).values
        large = torch.linalg.vector_norm(sizes[:, :sparsity], dim=-1)
        rest = rho * sizes[:, sparsity:].sum(-1) / math.sqrt(sparsity)
        excess = large - rest - gamma * torch.linalg.vector_norm(unit @ matrix.mT, dim=-1)
        worst = max(worst, float(excess.detach().max()))
        ascent.zero_grad()
        (-excess.sum()).backward()
        ascent.step()
    assert worst <= 1e-9


def test_the_sparse_image_is_the_minimiser_of_a_convex_solver() -> None:
    found = known_problem(6, missing=2, sparsity=2, seed=0)
    matrix, c = matrix_of(found), found.problem.truth.numpy().ravel()
    y = matrix @ c
    x = cvxpy.Variable(36, complex=True)
    objective = found.problem.lam * cvxpy.sum(cvxpy.abs(x)) + cvxpy.norm(matrix @ x - y)
    value = cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver="CLARABEL")
    assert found.optimum.objective == pytest.approx(value, rel=1e-6)
    assert np.linalg.norm(x.value - c) < 1e-4 * np.linalg.norm(c)


def test_gap_and_distance_stay_below_the_theorems_to_the_twelfth_digit(known, curves) -> None:
    promised = curves[0]
    schedule = known.schedule(1e-12)
    assert promised.inner == schedule.inner == math.ceil(2 * known.chi * math.e)
    assert math.exp(-schedule.restarts) <= 1e-12 < math.exp(1 - schedule.restarts)
    assert len(promised.gap) == schedule.restarts * schedule.inner
    truth = known.problem.truth
    net = FIRENET(None, known.problem.lam, None, schedule)
    image_norm, F_star = float(truth.norm()), known.problem.lam * float(truth.abs().sum())
    assert known.optimum.objective == F_star
    k = 0
    for j, (_, inner, x) in enumerate(net.iterates(known.problem.y, known.problem.encoding)):
        if inner < schedule.inner:
            continue
        k += 1
        eps = math.exp(-k) * known.data_norm
        residual = (known.problem.encoding(x) - known.problem.y).norm()
        gap = float(known.problem.lam * x.abs().sum() + residual) - F_star
        # F is rounded to a few units of 1e-16.
        assert -1e-14 <= gap <= eps
        assert float((x - truth).norm()) <= known.chi * eps
        assert promised.gap[j] * image_norm == pytest.approx(gap, abs=1e-14)
        assert promised.eps[j] * image_norm == pytest.approx(eps, rel=1e-9)
    assert promised.gap[-1] <= 1e-12
    assert is_below(promised)
    assert not is_below(replace(promised, eps=tuple(eps / 1e3 for eps in promised.eps)))


def test_layers_grow_like_the_logarithm_of_the_accuracy(known, curves) -> None:
    theorem, needed = promised_layers(known), needed_layers(known, curves[0])
    assert all(n is not None and n <= most for n, most in zip(needed, theorem, strict=True))
    for layers in (theorem, needed):
        slope, offset = np.polyfit(np.log(ACCURACIES), layers, 1)
        assert -slope == pytest.approx(curves[0].inner, rel=0.05)
        line = slope * np.log(ACCURACIES) + offset
        # Whole restarts only: a step of p.
        assert np.abs(np.array(layers) - line).max() < curves[0].inner
    assert needed_layers(known, replace(curves[0], gap=curves[0].gap[:50]))[-1] is None
    louder = replace(known, problem=replace(known.problem, y=100 * known.problem.y))
    assert needed_layers(louder, curves[0])[2:] == needed[:-2]


def test_summary_has_the_exact_constants(known, curves) -> None:
    """s q / N = 20 / 256: rho = 20 / 236, gamma^2 = 1 + rho^2 252 / 4."""
    found = summary(known, curves)
    assert found["rho"] == pytest.approx(20 / 236)
    assert found["gamma"] == pytest.approx(math.sqrt(1 + (20 / 236) ** 2 * 63))
    assert found["gap_below_eps_at_every_restart"] is True
    assert set(found["layers_needed"]) == {f"p = {curves[0].inner}", "p = 5"}


def test_figure_has_a_column_for_it(known, curves) -> None:
    small = replace(known.problem, name="other")
    drawing = figure(
        convergence(small, (3,), iterations=6),
        title="",
        beside=lambda axes: draw(axes, known, curves),
    )
    assert len(drawing.axes) == 4
    titles = [axis.get_title() for axis in drawing.axes]
    assert any("known constants" in title for title in titles)
    labels = [text.get_text() for axis in drawing.axes for text in axis.get_legend().get_texts()]
    assert "layers $n p$, proven" in labels
    assert f"theorem's p = {curves[0].inner}, ends of restarts" in labels


@pytest.mark.parametrize(("missing", "sparsity"), [(0, 3), (3, 0), (8, 16), (16, 8)])
def test_numbers_for_which_nothing_is_known_are_refused(missing, sparsity) -> None:
    with pytest.raises(UsageError, match="less than 128"):
        known_problem(16, missing=missing, sparsity=sparsity)
