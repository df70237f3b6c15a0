"""The barrier: the construction, FIRENET beside reference values, and that LISTA really learns."""

from __future__ import annotations

import cvxpy
import numpy as np
import pytest
import scipy.fft
import torch

from firenet_benchmark.paper.barrier import (
    barrier,
    barrier_figure,
    barrier_problem,
    firenet_solution,
)
from firenet_benchmark.paper.barrier import reading as digits_reading
from firenet_benchmark.paper.lista import Lista, Recipe, relative_error, train
from firenet_mri import SquareRootLasso
from firenet_mri.errors import UsageError
from firenet_mri.operators import MatrixOperator

PAIRS = [(k, n) for k in (1, 3, 6) for n in (10, 20, 30)]

# Reference values of another implementation, in NumPy.
REFERENCE = dict(
    zip(
        PAIRS,
        (0.1505736, 0.1500006, 0.15, 0.0015, 0.0015, 0.0015, 0.0000015, 0.0000015, 0.0000015),
        strict=True,
    )
)


def published_problem(K, n, j, *, delta=1 / 6, lam=1.0, N1=2, N2=20):
    """Return A, y and x in NumPy, in the published parametrisation with delta and t."""
    gamma1 = np.sqrt(2) * (1 - delta) * 10**K / (3 * lam)
    a = np.full(N1, gamma1 * lam / (1 - delta))
    e, rho = 2.0 ** (-n - 1) / (gamma1 * lam), 1 - delta
    smallest = rho - e * rho**2 / (1 + e * rho)
    a[j - 1] = gamma1 * lam / smallest
    A = np.zeros((N2 + 1, N1 + N2))
    A[0, :N1] = a
    A[1:, N1:] = np.linalg.norm(a) * np.eye(N2)
    x = np.zeros(N1 + N2)
    x[j - 1] = smallest / (lam * gamma1)
    dct = scipy.fft.dct(np.eye(N2 + 1), axis=0, norm="ortho")
    return dct @ A, dct[:, 0], x


@pytest.mark.parametrize(("digits", "bits"), PAIRS)
@pytest.mark.parametrize("index", [1, 2])
def test_problem_is_the_published_one(digits, bits, index) -> None:
    A, y, x = published_problem(digits, bits, index)
    problem = barrier_problem(digits, bits, index)
    assert problem.norm == pytest.approx(np.linalg.norm(A, 2), rel=1e-12)
    np.testing.assert_allclose(problem.matrix.numpy(), A, atol=1e-14 * problem.norm)
    np.testing.assert_allclose(problem.data.numpy(), y, atol=1e-15)
    np.testing.assert_allclose(problem.minimiser.numpy(), x, rtol=1e-14)


@pytest.mark.parametrize("digits", [1, 3])
def test_both_problems_are_well_conditioned(digits) -> None:
    """Small changes of A and y change the minimiser, which the KKT conditions prove to be one."""
    problem = barrier_problem(digits, 10, 2)
    A, y, x = (t.numpy() for t in (problem.matrix, problem.data, problem.minimiser))
    assert np.linalg.cond(A @ A.T) == pytest.approx(1, abs=1e-12)
    rng, size = np.random.default_rng(0), 1e-4 * 2.0**-10
    left = np.linalg.svd(A[:, 1:])[0]
    changes = [rng.standard_normal(A.shape) for _ in range(50)]
    changes.append(np.outer(left[:, -1], x))
    worst = {"A": 0.0, "y": 0.0}
    for change in changes:
        E = size * change / np.linalg.norm(change, 2)
        e = size * (change @ np.ones(22)) / np.linalg.norm(change @ np.ones(22))
        for name, (B, b) in {"A": (A + E, y), "y": (A, y + e)}.items():
            moved = np.concatenate([[0.0], np.linalg.solve(B[:, 1:], b)])
            v = np.linalg.solve(B[:, 1:].T, np.sign(moved[1:]))
            assert np.linalg.norm(v) < 1
            assert abs(B[:, 0] @ v) < 1
            relative = size / (np.linalg.norm(A, 2) if name == "A" else np.linalg.norm(y))
            moved = np.linalg.norm(moved - x) / np.linalg.norm(x)
            worst[name] = max(worst[name], moved / relative)
    assert 1.4 < worst["A"] < np.sqrt(2)
    assert 0.5 < worst["y"] <= 1 + 1e-6


def test_minimisers_are_minimisers_by_a_convex_solver() -> None:
    problem = barrier_problem(1, 3, 2)
    x = cvxpy.Variable(22)
    residual = problem.matrix.numpy() @ x - problem.data.numpy()
    goal = cvxpy.Minimize(cvxpy.norm1(x) + cvxpy.norm2(residual))
    cvxpy.Problem(goal).solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12)
    np.testing.assert_allclose(x.value, problem.minimiser.numpy(), atol=1e-6)


@pytest.mark.parametrize(("digits", "bits"), PAIRS)
def test_minimisers_have_no_duality_gap_and_the_matrices_are_near(digits, bits) -> None:
    pair = [barrier_problem(digits, bits, j) for j in (1, 2)]
    for p in pair:
        # y = C e_1: the dual -y / a_j is the one that the support of e_j asks for.
        problem = SquareRootLasso(MatrixOperator(p.matrix, norm_bound=p.norm), lam=1.0)
        gap = problem.duality_gap(p.minimiser, p.data, -p.data * p.minimiser.max())
        assert abs(float(gap)) < 1e-13 * float(p.minimiser.max()) * p.norm
    difference = (pair[0].matrix - pair[1].matrix).numpy()
    assert np.linalg.norm(difference, 2) <= 2.0**-bits
    distance = np.linalg.norm((pair[0].minimiser - pair[1].minimiser).numpy())
    assert distance == pytest.approx(3 * 10.0**-digits, rel=2e-4)


@pytest.mark.parametrize(("digits", "bits"), PAIRS)
def test_firenet_agrees_with_the_reference_values(digits, bits) -> None:
    output = firenet_solution(barrier_problem(digits, bits, 2))
    distance = float((output - barrier_problem(digits, bits, 1).minimiser).norm())
    assert round(distance, 7) == REFERENCE[digits, bits]


def test_training_lowers_the_loss_of_every_network() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 8, 9, generator=generator, dtype=torch.float64)
    matrices /= torch.linalg.matrix_norm(matrices, 2)[:, None, None]
    x = torch.randn(3, 300, 9, generator=generator, dtype=torch.float64)
    x *= torch.rand(3, 300, 9, generator=generator) < 0.2
    y = x @ matrices.mT
    recipe = Recipe(layers=4, steps=300, batch=50, learning_rates=(1e-12, 1e-2), checks=6)
    training = train(
        matrices, (y[:, :200], x[:, :200]), (y[:, 200:], x[:, 200:]), recipe=recipe, seed=0
    )
    assert training.learning_rate.tolist() == [1e-2] * 3
    assert bool((training.curves[:, -1] < 0.9 * training.curves[:, 0]).all())
    # The curve tells the truth about the network that is handed back, and begins at plain ISTA.
    after = relative_error(training.network, y[:, 200:], x[:, 200:])
    assert torch.equal(after, training.curves[:, -1])
    before = relative_error(Lista(matrices, 4), y[:, 200:], x[:, 200:])
    assert torch.equal(before, training.curves[:, 0])


def test_networks_trained_side_by_side_share_nothing() -> None:
    """Each comes out as if it had been trained alone."""
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64) / 5
    x = torch.randn(2, 40, 7, generator=generator, dtype=torch.float64)
    y = x @ matrices.mT
    recipe = Recipe(layers=3, steps=10, batch=8, learning_rates=(1e-2,), checks=2)
    together = train(matrices, (y, x), (y, x), recipe=recipe, seed=3)
    alone = train(matrices[1:], (y[1:], x[1:]), (y[1:], x[1:]), recipe=recipe, seed=3)
    torch.testing.assert_close(together.curves[1], alone.curves[0], rtol=1e-12, atol=0)


def test_untrained_network_is_ista_in_numpy() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 6)) / 5
    y = rng.standard_normal((3, 4))
    network = Lista(torch.from_numpy(A)[None], 5)
    with torch.no_grad():
        for theta in network.thresholds:
            theta.fill_(0.03)
        ours = network(torch.from_numpy(y)[None])[0].numpy()
    x = np.zeros((3, 6))
    for _ in range(5):
        z = x + (y - x @ A.T) @ A
        x = np.sign(z) * np.maximum(np.abs(z) - 0.03, 0)
    np.testing.assert_allclose(ours, x, rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def small():
    """K = 3, n = 10 with a short training."""
    recipe = Recipe(steps=300, batch=100, learning_rates=(1e-2,), checks=5)
    return barrier((3,), (10,), recipe=recipe, seed=0), recipe


def test_lista_is_right_for_the_problem_it_learned_and_wrong_for_the_other(small) -> None:
    (row,) = small[0].rows
    assert row.lista_validation_error < 1e-3
    output = firenet_solution(barrier_problem(3, 10, 2))
    for j in (1, 2):
        distance = float((output - barrier_problem(3, 10, j).minimiser).norm())
        assert getattr(row, f"firenet_true_{j}") == pytest.approx(distance, rel=1e-12)
    assert row.lista_true_2 < 1e-5
    assert row.lista_true_1 == pytest.approx(0.003, rel=1e-2)
    # Trained on both it is half-way, like FIRENET.
    assert row.lista_both_true_1 == pytest.approx(0.0015, rel=0.1)
    for name in ("firenet", "lista", "lista_both"):
        worst = max(getattr(row, f"{name}_true_{j}") for j in (1, 2))
        assert worst >= row.unavoidable * (1 - 1e-12)
    (sentence,) = digits_reading(small[0].rows)
    assert "(a) K digits, at most 1e-3: neither; (b) K-1 digits, at most 1e-2: both" in sentence


def test_same_seed_gives_the_same_table(small) -> None:
    again = barrier((3,), (10,), recipe=small[1], seed=0)
    assert again.rows == small[0].rows
    assert again.curves == small[0].curves


def test_figure_shows_every_row(small) -> None:
    left, right = barrier_figure(small[0]).axes
    points = {
        tuple(map(float, line.get_ydata())) for line in left.lines if line.get_marker() != "None"
    }
    (row,) = small[0].rows
    assert points == {(row.lista_true_1,), (row.firenet_true_1,)}
    assert tuple(right.lines[0].get_ydata()) == small[0].curves[0]


@pytest.mark.parametrize(("digits", "bits"), [(0, 10), (3, 0), (6, 40), (12, 20)])
def test_sizes_that_double_precision_does_not_hold_are_refused(digits, bits) -> None:
    with pytest.raises(UsageError, match=f"K is {digits} and n is {bits}"):
        barrier_problem(digits, bits, 1)
