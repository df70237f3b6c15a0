"""The three problems: closed forms, their duals, feasibility, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.primal_dual import start, start_tracked, step
from firenet_mri.firenet.problem import (
    Lasso,
    Problem,
    QuadraticallyConstrainedBasisPursuit,
    SquareRootLasso,
)
from firenet_mri.operators import (
    CartesianFourier,
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
)


def data_prox(problem: Problem, z: Tensor, sigma: Tensor) -> Tensor:
    """Return the prox of sigma f* at one z."""
    return z * problem.data_factor(z.norm(), sigma)


SPARSIFIERS = {
    "identity": lambda: None,
    "unitary": lambda: OrthogonalWavelet("haar", 2, (16,)),
    "frame": lambda: StationaryWavelet(2, (16,)),
}


def make(kind: str, encoding, sparsifier=None, weights=None, number: float = 0.1) -> Problem:
    """Return P1, P2 or P3 with its lam or eta."""
    if kind == "P1":
        return QuadraticallyConstrainedBasisPursuit(encoding, sparsifier, weights, eta=number)
    return {"P2": Lasso, "P3": SquareRootLasso}[kind](encoding, sparsifier, weights, number)


def small(seed: int) -> tuple[MatrixOperator, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(10, 16, dtype=torch.complex128, generator=generator) / 3
    y = torch.randn(10, dtype=torch.complex128, generator=generator)
    return MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2))), y


def iterate(problem: Problem, y: Tensor, tau: float, count: int) -> Tensor:
    """Return x after plain Chambolle-Pock steps from zero."""
    batch = y.shape[: y.ndim - len(problem.data_axes)]
    taus = torch.full(batch, tau, dtype=torch.float64)
    sigmas = 1 / (taus * problem.norm_bound**2)
    residual = problem.encoding.residual(y)
    state = start(problem, torch.zeros(*batch, *problem.encoding.domain_shape, dtype=y.dtype))
    for _ in range(count):
        state = step(problem, residual, state, taus, sigmas)
    return state.x


@pytest.mark.parametrize("phase", [1.0, -1.0, 1j, 0.6 - 0.8j])
@pytest.mark.parametrize("size", [0.1, 2.0])
def test_lasso_in_one_dimension_is_soft_thresholding(phase, size) -> None:
    """min lam w |x| + |x - y|^2 is |y| shortened by lam w / 2."""
    lam, weight = 0.5, 2.0
    problem = Lasso(MatrixOperator(torch.eye(1)), None, torch.tensor([weight]), lam)
    y = torch.tensor([size * phase], dtype=torch.complex128)
    expected = max(size - lam * weight / 2, 0) * phase
    assert complex(iterate(problem, y, 1.0, 300)[0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("lam", "expected"), [(0.7, 3.0), (1.3, 0.0)])
def test_square_root_lasso_in_one_dimension_keeps_all_or_nothing(lam, expected) -> None:
    """lam |x| + |x - y| is least at y for lam < 1 and at 0 for lam > 1: no shrinkage."""
    problem = SquareRootLasso(MatrixOperator(torch.eye(1)), lam=lam)
    y = torch.tensor([3.0], dtype=torch.float64)
    assert float(iterate(problem, y, 1.0, 300)[0]) == pytest.approx(expected, abs=1e-10)


def test_square_root_lasso_with_one_column_has_the_known_minimiser() -> None:
    """For unit a and y at an angle t to it, x = ||y|| (cos t - lam sin t / sqrt(1 - lam^2))."""
    lam, angle = 0.3, 0.8
    a = torch.tensor([[1.0], [0.0]], dtype=torch.complex128)
    y = 2 * torch.tensor([math.cos(angle), 1j * math.sin(angle)], dtype=torch.complex128)
    problem = SquareRootLasso(MatrixOperator(a, 1.0), lam=lam)
    expected = 2 * (math.cos(angle) - lam * math.sin(angle) / math.sqrt(1 - lam**2))
    assert complex(iterate(problem, y, 1.0, 500)[0]) == pytest.approx(expected, abs=1e-10)


def test_basis_pursuit_in_one_dimension_stops_at_the_constraint() -> None:
    y = torch.tensor([3.0j], dtype=torch.complex128)
    for eta, expected in ((1.0, 2.0j), (0.0, 3.0j), (4.0, 0.0)):
        problem = QuadraticallyConstrainedBasisPursuit(MatrixOperator(torch.eye(1)), eta=eta)
        assert complex(iterate(problem, y, 1.0, 400)[0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("eta", [0.1, 1.0])
def test_gap_of_restored_basis_pursuit_closes(name, eta) -> None:
    encoding, y = small(1)
    weights = torch.linspace(0.5, 2, 16, dtype=torch.float64)
    problem = make("P1", encoding, SPARSIFIERS[name](), weights, eta)
    assert isinstance(problem, QuadraticallyConstrainedBasisPursuit)
    tau = torch.tensor(0.2, dtype=torch.float64)
    sigma = 1 / (tau * problem.norm_bound**2)
    residual, layer = encoding.residual(y), start(problem, torch.zeros(16, dtype=y.dtype))
    for _ in range(1500):
        layer = step(problem, residual, layer, tau, sigma)
    state = layer.bare(problem, y)
    x = problem.restore(state.x, y)
    gap, objective = problem.duality_gap(x, y, state.v, state.q), problem.objective(x, y)
    assert -1e-12 * objective <= gap <= 1e-4 * objective


@pytest.mark.parametrize("kind", ["P2", "P3"])
@given(seed=st.integers(0, 10_000), number=st.floats(1e-3, 10), scale=st.floats(1e-5, 1e5))
def test_gap_is_never_less_than_the_distance_to_a_better_point(kind, seed, number, scale) -> None:
    """F(x) - gap is a lower bound of F everywhere: at zero, at the data, at random points."""
    encoding, y = small(seed % 40)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=torch.complex128, generator=generator)

    others = [torch.zeros(16), draw(16), torch.linalg.pinv(encoding.matrix) @ y]
    for name in SPARSIFIERS:
        problem = make(kind, encoding, SPARSIFIERS[name](), None, number)
        q = None if problem.is_synthesis else draw(3, 16)
        x, v = draw(16), draw(10)
        bound = problem.objective(x, y) - problem.duality_gap(x, y, v, q)
        for other in others:
            value = problem.objective(other.to(y.dtype), y)
            assert bound <= value + 1e-9 * problem.objective(x, y)


@given(seed=st.integers(0, 10_000), eta=st.floats(0, 3), scale=st.floats(1e-5, 1e5))
def test_bound_of_basis_pursuit_is_below_every_feasible_image(seed, eta, scale) -> None:
    encoding, y = small(seed % 40)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=torch.complex128, generator=generator)

    for name in SPARSIFIERS:
        problem = make("P1", encoding, SPARSIFIERS[name](), None, eta)
        assert isinstance(problem, QuadraticallyConstrainedBasisPursuit)
        q = None if problem.is_synthesis else draw(3, 16)
        feasible = problem.restore(draw(16) / scale, y)
        for v in (draw(10), -y, encoding.matrix @ draw(16)):
            assert problem.dual_value(v, y, q) <= problem.objective(feasible, y) * (1 + 1e-9)
        assert problem.duality_gap(feasible, y, -y, q) >= -1e-9


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@given(slope=st.floats(-10, 10), norm=st.floats(1e-3, 10), limit=st.floats(1e-3, 10))
def test_no_other_scaling_of_the_dual_gives_a_better_bound(kind, slope, norm, limit) -> None:
    problem = make(kind, MatrixOperator(torch.eye(2)), number=0.3)
    numbers = (torch.tensor(z, dtype=torch.float64) for z in (slope, norm, limit))
    value = float(problem.best_scaled(*numbers))
    s = np.linspace(0, limit, 2001)
    conjugate = {"P1": 0.3 * s * norm, "P2": (s * norm) ** 2 / 4, "P3": 0 * s}[kind]
    values = s * slope - conjugate
    if kind == "P3":
        values = values[s * norm <= 1]
    assert value >= values.max() - 1e-12
    assert value == pytest.approx(values.max(), abs=1e-2 * (1 + abs(slope)))


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
def test_data_prox_minimises_its_definition(kind, randn) -> None:
    problem = make(kind, MatrixOperator(torch.eye(6)), number=0.4)
    sigma = torch.tensor([0.7], dtype=torch.float64)

    def value(v: Tensor, z: Tensor) -> float:
        norm = float(v.norm())
        conjugate = {"P1": 0.4 * norm, "P2": norm**2 / 4, "P3": 0.0 if norm <= 1 + 1e-9 else 1e9}
        return 0.7 * conjugate[kind] + 0.5 * float((v - z).norm()) ** 2

    for scale in (0.01, 0.3, 3.0):
        z = scale * randn(6)
        v = data_prox(problem, z, sigma)
        for _ in range(20):
            nearby = v + 1e-3 * scale * randn(6)
            if kind == "P3":
                nearby = nearby / max(1.0, float(nearby.norm()))
            assert value(v, z) <= value(nearby, z) + 1e-12


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
def test_dual_curvature_is_that_of_the_conjugate(kind, randn) -> None:
    """The prox of sigma f* contracts directions across v by 1 / (1 + sigma c)."""
    problem = make(kind, MatrixOperator(torch.eye(6)), number=0.4)
    y = randn(6)
    x = 0.2 * randn(6)
    distance = (x - y).norm()
    direction = (x - y) / distance
    v = {"P1": 2.5 * direction, "P2": 2 * (x - y), "P3": direction}[kind]
    if kind == "P1":
        # A dual of basis pursuit belongs to a residual of length eta.
        distance, y = torch.tensor(0.4).double(), x - 0.4 * direction
    sigma = torch.tensor([0.3], dtype=torch.float64)
    z = v + sigma * (x - y)
    across = randn(6)
    across = across - direction * torch.vdot(direction, across)
    moved = data_prox(problem, z + 1e-6 * across, sigma) - data_prox(problem, z, sigma)
    curvature = problem.dual_curvature(distance, v.norm())
    assert moved.norm() / (1e-6 * across.norm()) == pytest.approx(
        float(1 / (1 + sigma * curvature)), rel=1e-5
    )


def test_curvature_inside_the_unit_ball_is_zero() -> None:
    problem = SquareRootLasso(MatrixOperator(torch.eye(2)))
    curvature = problem.dual_curvature(torch.tensor([0.2, 0.2]), torch.tensor([1.0, 0.9]))
    assert torch.equal(curvature, torch.tensor([0.2, 0.0]))


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_tracked_step_is_the_step(kind, name, randn) -> None:
    encoding, _ = small(3)
    y = randn(2, 10)
    problem = make(kind, encoding, SPARSIFIERS[name](), None, 0.3)
    residual, layer = encoding.residual(y), start(problem, randn(2, 16))
    tracked = start_tracked(problem, y, layer.x)
    tau = torch.tensor([0.5, 1.3], dtype=torch.float64)
    sigma = 0.9 / (tau * problem.norm_bound**2)
    for _ in range(5):
        layer = step(problem, residual, layer, tau, sigma)
        plain = layer.bare(problem, y)
        tracked = step(problem, y, tracked, tau, sigma)
        assert torch.allclose(plain.x, tracked.x, atol=1e-12)
        assert torch.allclose(plain.v, tracked.v, atol=1e-12)
        assert torch.allclose(encoding(tracked.x), tracked.data, atol=1e-12)
        assert torch.allclose(encoding.adjoint(tracked.v), tracked.gradient, atol=1e-12)
        if plain.q is not None:
            assert torch.allclose(plain.q, tracked.q, atol=1e-12)
            assert torch.allclose(problem.analyse(plain.x), tracked.coefficients, atol=1e-12)
            assert torch.allclose(problem.synthesise(plain.q), tracked.synthesised, atol=1e-12)


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_batch_items_do_not_talk(kind, name, randn) -> None:
    encoding, _ = small(5)
    problem = make(kind, encoding, SPARSIFIERS[name](), None, 0.5)
    y = torch.tensor([1.0, 1e-3, 1e3]).reshape(3, 1) * randn(3, 10)
    x = randn(3, 16)
    q = None if problem.is_synthesis else randn(3, 3, 16)
    if isinstance(problem, QuadraticallyConstrainedBasisPursuit):
        together = problem.restore(x, y)
        for item in range(3):
            alone = problem.restore(x[item], y[item])
            assert torch.allclose(together[item], alone, rtol=1e-9, atol=1e-9)
        x = together
    gap, objective = problem.duality_gap(x, y, y, q), problem.objective(x, y)
    assert gap.shape == objective.shape == (3,)
    for item in range(3):
        one = None if q is None else q[item]
        assert gap[item] == pytest.approx(
            float(problem.duality_gap(x[item], y[item], y[item], one)), rel=1e-9
        )


def test_restored_image_is_the_nearest_feasible_one_for_a_masked_transform(randn) -> None:
    """With A A^H = 1 on the samples it is x + A^H (y - A x) (1 - eta / ||A x - y||)."""
    mask = torch.rand(16, generator=torch.Generator().manual_seed(0)) < 0.6
    encoding = CartesianFourier(mask, (16,))
    y, x = encoding(randn(16)), randn(16)
    problem = QuadraticallyConstrainedBasisPursuit(encoding, eta=0.5)
    residual = y - encoding(x)
    expected = x + encoding.adjoint(residual) * (1 - 0.5 / residual.norm())
    restored = problem.restore(x, y)
    assert torch.allclose(restored, expected, atol=1e-12)
    assert problem.objective(x, y) == math.inf
    assert problem.objective(restored, y) == pytest.approx(float(expected.abs().sum()))
    assert torch.equal(problem.restore(restored, y), restored)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("eta", [0.0, 1e-3, 1.0])
def test_restored_images_are_feasible_at_any_scale(dtype, scale, eta, randn) -> None:
    encoding, y = small(7)
    y = (scale * y).to(dtype)
    problem = QuadraticallyConstrainedBasisPursuit(encoding, eta=scale * eta)
    single = QuadraticallyConstrainedBasisPursuit(
        MatrixOperator(encoding.matrix.to(dtype)), eta=scale * eta
    )
    restored = single.restore((scale * randn(16)).to(dtype), y)
    assert torch.isfinite(single.objective(restored, y))
    distance = (problem.encoding(restored.to(torch.complex128)) - y).norm()
    assert distance <= scale * eta + 1e3 * torch.finfo(dtype).eps * y.norm()


def test_what_cannot_be_restored_is_said(randn) -> None:
    encoding = MatrixOperator(randn(16, 10))
    y = randn(16)
    least = float((encoding.matrix @ torch.linalg.lstsq(encoding.matrix, y).solution - y).norm())
    beyond = QuadraticallyConstrainedBasisPursuit(encoding, eta=0.9 * least)
    with pytest.raises(DataError, match="larger eta"):
        beyond.restore(torch.zeros(10, dtype=y.dtype), y)
    within = QuadraticallyConstrainedBasisPursuit(encoding, eta=1.1 * least)
    assert torch.isfinite(within.objective(within.restore(torch.zeros(10, dtype=y.dtype), y), y))


def test_dual_of_an_empty_feasible_set_is_unbounded() -> None:
    """No image gives the second number, which v sees: the lower bound has no end."""
    encoding = MatrixOperator(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
    problem = QuadraticallyConstrainedBasisPursuit(encoding, eta=0.5)
    y = torch.tensor([1.0, 1.0], dtype=torch.float64)
    assert problem.dual_value(torch.tensor([0.0, -1.0], dtype=torch.float64), y) > 1e100


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_weights_outside_their_range_are_refused(kind, bad) -> None:
    weights = torch.ones(3)
    weights[1] = bad
    with pytest.raises(UsageError, match="between 0 and infinity"):
        make(kind, MatrixOperator(torch.eye(3)), None, weights)


def test_complex_weights_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(UsageError, match="complex"):
        Lasso(MatrixOperator(torch.eye(3)), None, torch.ones(3, dtype=torch.complex64))
    with pytest.raises(ShapeError, match="broadcast"):
        Lasso(MatrixOperator(torch.eye(3)), None, torch.ones(4))


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
@pytest.mark.parametrize("number", [-1.0, math.nan, math.inf, 0.0])
def test_numbers_outside_their_range_are_refused(kind, number) -> None:
    if (kind, number) == ("P1", 0.0):
        assert make(kind, MatrixOperator(torch.eye(3)), number=number).penalty == 1.0
        return
    with pytest.raises(UsageError, match=r"(lam|eta) is .* must be"):
        make(kind, MatrixOperator(torch.eye(3)), number=number)


@pytest.mark.parametrize("kind", ["P1", "P2", "P3"])
def test_sparsifiers_that_do_not_fit_are_refused(kind) -> None:
    with pytest.raises(UsageError, match="Parseval"):
        make(kind, MatrixOperator(torch.eye(16)), MatrixOperator(torch.eye(16)))
    with pytest.raises(ShapeError, match="takes images"):
        make(kind, MatrixOperator(torch.eye(16)), OrthogonalWavelet("haar", 1, (8,)))
