"""The search for a dual vector: its bound is below the optimum, and what it does is the formula."""

from __future__ import annotations

import functools
from typing import NamedTuple

import cvxpy
import numpy as np
import pytest
import torch
from laws import assert_close
from torch import Tensor

from firenet_mri import FIRENET
from firenet_mri.firenet.certificate.gap import DualSearch, evaluate, prove_gap
from firenet_mri.firenet.dual import (
    DualPoint,
    _begin,
    _relaxed_step,
    _step_size,
    point_of,
    search_dual,
    start_of_q,
    tightened,
)
from firenet_mri.firenet.primal_dual import State, start, step
from firenet_mri.firenet.problem import Lasso, Problem, SquareRootLasso
from firenet_mri.operators import LinearOperator, make_sparsifier
from firenet_mri.prox import soft_threshold

SHAPE, DATA, LAM = (8, 8), 40, 0.05
KINDS = ("haar", "undecimated-haar", "tv", "dual-tree", "tv+undecimated-haar")
FIELDS = {"real": torch.float64, "complex": torch.complex128}
# Energies of the items of a batch.
SIZES = (1e-3, 1.0, 50.0)


class Flat(LinearOperator):
    """A dense matrix on images."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(SHAPE, (len(matrix),), float(torch.linalg.matrix_norm(matrix, 2)))
        self.matrix = matrix

    def forward(self, x: Tensor) -> Tensor:
        """Return the data of images."""
        return x.flatten(-2) @ self.matrix.mT.to(x.dtype)

    def adjoint(self, y: Tensor) -> Tensor:
        """Return the images of data."""
        return (y @ self.matrix.conj().to(y.dtype)).unflatten(-1, SHAPE)


class Case(NamedTuple):
    """A problem, its data (3, DATA), and W as a matrix (coefficients, pixels)."""

    problem: Problem
    y: Tensor
    dense: Tensor


@functools.cache
def make_case(kind: str, field: str, form: str = "P3") -> Case:
    generator = torch.Generator().manual_seed(len(kind + field))
    dtype = FIELDS[field]
    matrix = torch.randn(DATA, 64, dtype=dtype, generator=generator) / 8
    image = torch.zeros(SHAPE, dtype=dtype)
    image[2:5, 3:7] = 1.0
    noise = torch.randn(len(SIZES), DATA, dtype=dtype, generator=generator)
    encoding = Flat(matrix)
    # Data that are not all noise, so that neither image nor residual is zero.
    y = torch.tensor(SIZES, dtype=dtype)[:, None] * (encoding(image) + 0.1 * noise)
    sparsifier = make_sparsifier(kind, SHAPE)
    dense = sparsifier(torch.eye(64, dtype=torch.float64).reshape(64, *SHAPE)).reshape(64, -1).T
    kinds = {"P3": SquareRootLasso, "P2": Lasso}
    return Case(kinds[form](encoding, sparsifier, lam=LAM), y, dense)


@functools.cache
def optima_of(kind: str, field: str, form: str = "P3") -> Tensor:
    """Return the minima of the items, by a general convex solver."""
    problem, y, dense = make_case(kind, field, form)
    values = [_optimum(problem, dense, one, size, form) for one, size in zip(y, SIZES, strict=True)]
    return torch.tensor(values, dtype=torch.float64)


def _groups(problem: Problem, dense: Tensor) -> list[np.ndarray]:
    """Return for each group of coefficients that are penalised together its rows of W, (rows, ...).

    Rows of one pixel and different bands of a group stand in one place of the first axis.
    """
    groups = problem.transform.groups
    if groups is None:
        return [dense.numpy()[None]]
    bands = dense.reshape(sum(groups), -1, 64)
    return [part.numpy() for part in bands.split(groups)]


def _optimum(problem: Problem, dense: Tensor, y: Tensor, size: float, form: str) -> float:
    """Return the minimum that a general convex solver finds, of the data over their size."""
    x = cvxpy.Variable(64, complex=y.is_complex())
    sparsity = 0
    for rows in _groups(problem, dense):
        parts = cvxpy.vstack([cvxpy.abs(band @ x) for band in rows])
        sparsity += cvxpy.sum(cvxpy.norm(parts, 2, axis=0))
    distance = cvxpy.norm(problem.encoding.matrix.numpy() @ x - y.numpy() / size, 2)
    misfit = distance if form == "P3" else size * cvxpy.square(distance)
    task = cvxpy.Problem(cvxpy.Minimize(problem.penalty * sparsity + misfit))
    return size * float(task.solve(solver=cvxpy.CLARABEL))


def first_point(problem: Problem, y: Tensor, layers: int = 4) -> DualPoint:
    """Return the dual of a few plain layers."""
    batch = y.shape[:1]
    state = start(problem, torch.zeros(*batch, *SHAPE, dtype=y.dtype))
    sizes = torch.linalg.vector_norm(y, dim=-1)
    sigma = 1 / (problem.norm_bound**2 * 0.1 * sizes)
    for _ in range(layers):
        state = step(problem, problem.encoding.residual(y), state, 0.1 * sizes, sigma)
    return point_of(problem, y, state.bare(problem, y))


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("field", [pytest.param("real", marks=pytest.mark.slow), "complex"])
@pytest.mark.parametrize("kind", KINDS)
def test_bound_is_below_the_optimum_and_comes_near_it(kind, field) -> None:
    """Items of a batch have energies from 1e-3 to 50, and each is served."""
    problem, y, _ = make_case(kind, field)
    optima = optima_of(kind, field)
    before = first_point(problem, y)
    _, first = evaluate(problem, y, before.near, before)
    reached = []
    for layers, rounds in ((0, 0), (0, 20), (36, 20), (400, 100)):
        found = search_dual(problem, y, before, layers=layers, rounds=rounds)
        objective, bound = evaluate(problem, y, before.near, found)
        assert bool((bound <= optima * (1 + 1e-6)).all())
        assert bool((optima <= objective * (1 + 1e-6)).all())
        reached.append(bound)
    assert bool((reached[2] > first).all())
    # Four times as many layers, and much less than half of what is missing is left.
    assert bool((optima - reached[3] < 0.3 * (optima - reached[2])).all())
    assert bool((reached[3] > 0.99 * optima).all())


@pytest.mark.parametrize("kind", ["haar", "undecimated-haar"])
def test_bound_of_the_lasso_is_below_its_optimum(kind) -> None:
    problem, y, _ = make_case(kind, "complex", "P2")
    optima = optima_of(kind, "complex", "P2")
    before = first_point(problem, y)
    found = search_dual(problem, y, before, layers=40, rounds=20)
    _, bound = evaluate(problem, y, before.near, found)
    assert bool((bound <= optima * (1 + 1e-6)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_any_point_gives_a_bound_below_the_optimum(kind, randn) -> None:
    """Whatever somebody writes into the evidence."""
    problem, y, _ = make_case(kind, "complex")
    optima = optima_of(kind, "complex")
    for share in (-1.0, 0.0, 0.01, 1.0, 1e3):
        source = randn(3, *SHAPE)
        q = None if problem.is_synthesis else randn(3, *problem.transform.codomain_shape)
        point = DualPoint(source, torch.full((3,), share, dtype=torch.float64), q, source)
        _, bound = evaluate(problem, y, source, point)
        assert bool((bound <= optima * (1 + 1e-6)).all())
        assert bool((bound >= 0).all())


def projected(problem: Problem, z: Tensor) -> Tensor:
    """Return the projection of coefficients on |q_i| <= lam, by its formula."""
    groups = problem.transform.groups or (1,) * problem.transform.codomain_shape[0]
    parts = []
    for group in z.split(groups, 1):
        length = group.abs().square().sum(1, keepdim=True).sqrt()
        parts.append(torch.where(length > LAM, LAM * group / length, group))
    return torch.cat(parts, 1)


def by_hand(case: Case, point: DualPoint, tau: Tensor, count: int, last: float) -> tuple:
    """Return x, v and q after relaxed Chambolle-Pock steps with v as data, all but the last by 1.8.

    The iteration of Chambolle and Pock (2011) relaxed as by Condat (2013), algorithm 3.2.
    """
    problem, y = case.problem, case.y
    encoding = problem.encoding
    sigma = 1 / (problem.norm_bound**2 * tau)
    tau, sigma_v = tau[:, None, None], sigma[:, None]
    x, v, q = point.near, encoding(point.source) - point.share[:, None] * y, point.q
    for done in range(count):
        r = 1.8 if done < count - 1 else last
        if q is None:
            inside = problem.analyse(x - tau * encoding.adjoint(v))
            x_next = problem.synthesise(soft_threshold(inside, tau * LAM))
        else:
            x_next = x - tau * (encoding.adjoint(v) + problem.synthesise(q))
        inside = v + sigma_v * (encoding(2 * x_next - x) - y)
        v_next = inside / torch.linalg.vector_norm(inside, dim=-1, keepdim=True).clamp(min=1)
        if q is not None:
            change = sigma[:, None, None, None] * problem.analyse(2 * x_next - x)
            q = q + r * (projected(problem, q + change) - q)
        x, v = x + r * (x_next - x), v + r * (v_next - v)
    return x, v, q


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_relaxed_steps_with_the_dual_kept_as_an_image(kind, field) -> None:
    case = make_case(kind, field)
    problem, y = case.problem, case.y
    point = first_point(problem, y)
    tau = _step_size(problem, y, torch.linalg.vector_norm(problem.encoding(point.near) - y, dim=-1))
    for count in (1, 7):
        x, v, q = by_hand(case, point, tau, count, last=1.0)
        found = search_dual(problem, y, point, layers=count, rounds=0)
        assert_close(found.near, x, 1e-9)
        assert_close(found.dual(problem, y), v, 1e-9)
        if q is not None:
            assert_close(found.q, q, 1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_relaxation_one_is_a_layer(kind) -> None:
    problem, y, _ = make_case(kind, "complex")
    residual = problem.encoding.residual(y)
    point = first_point(problem, y)
    tau = torch.tensor([0.01, 0.1, 2.0], dtype=torch.float64)
    sigma = 1 / (problem.norm_bound**2 * tau)
    plain = step(problem, residual, _begin(problem, residual, point), tau, sigma)
    found = _relaxed_step(problem, residual, _begin(problem, residual, point), tau, sigma, 1.0)
    for one, other in zip(found, plain, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert_close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_that_is_carried_along_is_that_of_the_dual(kind) -> None:
    """Relaxed steps move it by a formula and never compute it anew."""
    problem, y, _ = make_case(kind, "complex")
    residual = problem.encoding.residual(y)
    at = _begin(problem, residual, first_point(problem, y))
    tau = torch.tensor([1e-4, 0.1, 5.0], dtype=torch.float64)
    for _ in range(9):
        at = _relaxed_step(problem, residual, at, tau, 1 / (problem.norm_bound**2 * tau), 1.8)
        share = at.rho[:, None, None]
        v = problem.encoding(share * at.mean) - at.rho[:, None] * y
        assert_close(share * at.gradient, problem.encoding.adjoint(v), 1e-8)
        assert bool((at.rho > 0).all())
        if at.q is not None:
            assert_close(at.synthesised, problem.synthesise(problem.coefficients(at.q)))


def test_share_that_relaxing_would_make_negative_is_left_alone() -> None:
    """v stays a positive multiple of a residual."""
    problem, y, _ = make_case("haar", "real")
    residual = problem.encoding.residual(y)
    point = first_point(problem, y)
    far = point._replace(share=point.share * 1e4, source=point.source * 1e4)
    tau = torch.full((3,), 1e-2, dtype=torch.float64)
    at = _begin(problem, residual, far)
    plain = _relaxed_step(problem, residual, at, tau, 1 / tau, 1.0)
    found = _relaxed_step(problem, residual, at, tau, 1 / tau, 1.8)
    assert bool((at.rho + 1.8 * (plain.rho - at.rho) < 0).all())
    assert_close(found.rho, plain.rho)
    assert_close(found.mean, plain.mean)
    assert_close(found.gradient, plain.gradient)


def test_constant_part_of_the_dual_is_taken_off_before_the_rounds() -> None:
    """W of a constant is zero for total variation, so that no q balances it."""
    problem, y, _ = make_case("tv", "complex")
    optima = optima_of("tv", "complex")
    point = first_point(problem, y, layers=20)
    found = search_dual(problem, y, point, layers=0, rounds=400)
    image = problem.encoding.adjoint(found.dual(problem, y))
    assert bool((image.mean((-2, -1)).abs() > 1e-3).all())
    _, image = problem.without_constants(found.dual(problem, y), image)
    by_hand = next(tightened(problem, image, point.q, [400]))
    assert_close(found.q, by_hand, 1e-9)
    assert bool((evaluate(problem, y, point.near, found)[1] <= optima).all())


def test_step_is_the_geometric_mean_of_data_and_residual_and_never_zero() -> None:
    """At the lam of white noise; elsewhere by 1 / lam within a factor of 4."""
    _, y, _ = make_case("haar", "complex")
    encoding = make_case("haar", "complex").problem.encoding
    sizes = torch.linalg.vector_norm(y, dim=-1)
    distance = torch.tensor([1e-4, 0.5, 3.0], dtype=torch.float64)
    noise = DATA**-0.5
    for lam, factor in ((noise, 1.0), (2 * noise, 0.5), (100 * noise, 0.25), (1e-9, 4.0)):
        problem = SquareRootLasso(encoding, make_sparsifier("haar", SHAPE), lam=lam)
        expected = 0.88 * factor * (sizes * distance).sqrt()
        assert_close(_step_size(problem, y, distance), expected)
        none = _step_size(problem, torch.zeros_like(y), distance)
        assert bool((none > 0).all())
        assert bool((_step_size(problem, y, 0 * distance) > 0).all())


def test_last_round_ends_on_the_discs() -> None:
    """Relaxed ones end beside them."""
    problem, y, _ = make_case("undecimated-haar", "complex")
    point = first_point(problem, y)
    image = 10 * problem.encoding.adjoint(point.dual(problem, y))
    for q in tightened(problem, image, point.q, (1, 3, 7)):
        assert float(problem.modulus(q).max()) <= LAM * (1 + 1e-12)
    found = search_dual(problem, y, point, layers=6, rounds=0)
    assert float(problem.modulus(found.q).max()) <= LAM * (1 + 1e-12)


def test_start_without_a_share_begins_at_zero() -> None:
    problem, y, _ = make_case("undecimated-haar", "complex")
    residual = problem.encoding.residual(y)
    point = first_point(problem, y)
    none = point._replace(share=torch.tensor([0.0, -1.0, 1.0], dtype=torch.float64))
    at = _begin(problem, residual, none)
    assert at.rho.tolist() == [0.0, 0.0, 1.0]
    found = search_dual(problem, y, none, layers=30, rounds=10)
    _, bound = evaluate(problem, y, point.near, found)
    assert bool(bound.isfinite().all())
    assert bool((bound[:2] > 0).all())


def _least_scale(case: Case, v: Tensor) -> float:
    """Return the least t with W^H q = -A^H v for a q with |q_i| <= t, by a general solver."""
    problem = case.problem
    image = problem.encoding.adjoint(v).reshape(-1).numpy()
    total, bounds, t = 0, [], cvxpy.Variable()
    for rows in _groups(problem, case.dense):
        parts = [cvxpy.Variable(len(band), complex=v.is_complex()) for band in rows]
        total += sum(band.T @ q for band, q in zip(rows, parts, strict=True))
        bounds.append(cvxpy.norm(cvxpy.vstack([cvxpy.abs(q) for q in parts]), 2, axis=0) <= t)
    task = cvxpy.Problem(cvxpy.Minimize(t), [total == -image, *bounds])
    return float(task.solve(solver=cvxpy.CLARABEL))


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("undecimated-haar", "complex"),
        ("tv", "real"),
        ("dual-tree", "complex"),
        ("tv+undecimated-haar", "real"),
    ],
)
def test_rounds_reach_the_best_q_for_a_given_v(kind, field) -> None:
    """With lam a little larger than v needs they find q; a little smaller, and nobody can."""
    case = make_case(kind, field)
    y = case.y[1]
    direction = case.problem.encoding(torch.ones(SHAPE, dtype=y.dtype)) - 5 * y
    v = direction / torch.linalg.vector_norm(direction)
    v, _ = case.problem.without_constants(v, case.problem.encoding.adjoint(v))
    v = v / torch.linalg.vector_norm(v)
    least = _least_scale(case, v)
    for room in (1.1, 0.9):
        problem = SquareRootLasso(case.problem.encoding, case.problem.sparsifier, lam=room * least)
        image = problem.encoding.adjoint(v)
        slope = float(-(v.conj() * y).real.sum())
        assert slope > 0
        q = start_of_q(problem, -image)
        bounds = [
            float(problem.dual_value(v, y, q)) for q in tightened(problem, image, q, (50, 800))
        ]
        assert bounds[-1] <= min(room, 1.0) * slope * (1 + 1e-6)
        if room > 1:
            assert bounds[-1] >= slope * (1 - 1e-6)


def test_start_of_q_lies_on_the_discs_with_the_signs_of_the_coefficients(randn) -> None:
    problem, _, _ = make_case("undecimated-haar", "complex")
    near = randn(2, *SHAPE)
    q, c = start_of_q(problem, near), problem.analyse(near)
    large = c.abs() > 1e-3
    assert bool((q.abs() <= LAM * (1 + 1e-12)).all())
    assert_close(q[large], (LAM * c / c.abs())[large])


@pytest.mark.parametrize("kind", KINDS)
def test_search_knows_no_unit(kind) -> None:
    """Data and image times a number: the same dual, its bound times that number."""
    problem, y, _ = make_case(kind, "complex")
    point = first_point(problem, y)
    found = search_dual(problem, y, point, layers=10, rounds=5)
    factor = 37.0
    scaled = point._replace(share=point.share / factor, near=factor * point.near)
    other = search_dual(problem, factor * y, scaled, layers=10, rounds=5)
    assert_close(other.source, found.source, 1e-9)
    assert_close(other.share * factor, found.share, 1e-9)
    assert_close(other.near, factor * found.near, 1e-9)
    _, first = evaluate(problem, y, point.near, found)
    _, second = evaluate(problem, factor * y, factor * point.near, other)
    assert_close(second, factor * first, 1e-9)


@pytest.mark.parametrize("factor", [1e-20, 1e15])
def test_gap_of_data_of_any_size_is_the_same(factor) -> None:
    _, y, _ = make_case("undecimated-haar", "complex")
    encoding = Flat(make_case("undecimated-haar", "complex").problem.encoding.matrix)
    net = FIRENET(lam=LAM, sparsifier=make_sparsifier("undecimated-haar", SHAPE))
    gaps = []
    for size in (1.0, factor):
        data = (size * y).to(torch.complex64)
        found = prove_gap(net, data, encoding, net.solve(data, encoding), DualSearch(36, 20))
        assert bool((found.lower_bound <= found.objective).all())
        gaps.append((found.objective - found.lower_bound) / found.objective)
    assert bool((gaps[0] > 0).all())
    assert torch.allclose(gaps[0], gaps[1], rtol=1e-2)


def test_point_of_a_state_without_a_source_is_the_residual(randn) -> None:
    problem, y, _ = make_case("undecimated-haar", "complex")
    x = randn(3, *SHAPE)
    point = point_of(problem, y, State(x, torch.zeros_like(y)))
    residual = problem.encoding(x) - y
    length = torch.linalg.vector_norm(residual, dim=-1, keepdim=True)
    assert_close(point.dual(problem, y), residual / length)
    exact = point_of(problem, problem.encoding(x), State(x, torch.zeros_like(y)))
    assert torch.equal(exact.share, torch.ones(3, dtype=torch.float64))
