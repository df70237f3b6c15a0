"""What is verified on a scan holds: no image and no change of the data breaks its constants."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cvxpy
import numpy as np
import pytest
import sigpy.mri
import torch
from torch import Tensor

from firenet_mri import SquareRootLasso
from firenet_mri.errors import ShapeError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.recovery import (
    Localisation,
    LocalRecovery,
    MinimiserStability,
    NotVerified,
    local_recovery,
    localise,
    minimiser_stability,
    smallest_eigenvalue_bound,
)
from firenet_mri.operators import (
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
    encoding_operator,
)

_LAM = 0.4
DTYPES = [torch.float64, torch.complex128]


def small_problem(seed: int, dtype: torch.dtype) -> tuple[SquareRootLasso, Tensor, Tensor]:
    """Return a problem of 24 x 60 with weights, its data, and the sparse truth."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(24, 60, dtype=dtype, generator=generator) / 24**0.5
    weights = 0.8 + 0.4 * torch.rand(60, dtype=torch.float64, generator=generator)
    truth = torch.zeros(60, dtype=dtype)
    truth[torch.randperm(60, generator=generator)[:3]] = (
        5 * torch.randn(3, dtype=dtype, generator=generator).sgn()
    )
    y = matrix @ truth + 0.05 * torch.randn(24, dtype=dtype, generator=generator)
    encoding = MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2)))
    return SquareRootLasso(encoding, None, weights, _LAM), y, truth


def fourier_haar(seed: int, coils: int = 1) -> tuple[SquareRootLasso, Tensor, Tensor]:
    """Return a problem on 64 x 64, its data, and the phantom."""
    shape = (64, 64)
    generator = torch.Generator().manual_seed(seed)
    maps = torch.ones(1, *shape, dtype=torch.complex128)
    if coils > 1:
        maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *shape))).to(torch.complex128)
        maps = maps / torch.linalg.vector_norm(maps, dim=0)
    radius = torch.hypot(*torch.meshgrid(*[torch.arange(-32.0, 32)] * 2, indexing="ij"))
    mask = torch.rand(shape, generator=generator) < 0.1 + torch.exp(-((radius / 14) ** 2))
    encoding = encoding_operator(mask, maps)
    image = torch.from_numpy(sigpy.shepp_logan(shape)).to(torch.complex128)
    noise = torch.randn(coils, *shape, dtype=torch.complex128, generator=generator) * mask
    y = encoding(image) + 0.005 * noise
    return SquareRootLasso(encoding, OrthogonalWavelet("haar", 4, shape), None, 0.1), y, image


def solved(problem: SquareRootLasso, y: Tensor, gap: float = 1e-9) -> tuple[Tensor, Tensor, float]:
    """Return an image near the minimiser, its dual, and its certified gap."""
    start = torch.zeros(problem.encoding.domain_shape, dtype=y.dtype)
    result = AdaptiveBlock(AdaptiveSchedule(gap, 20_000))(problem, y, start)
    assert bool(result.converged)
    x = result.state.x
    return x, result.state.v, float(result.relative_gap * problem.objective(x, y))


def exact_minimiser(problem: SquareRootLasso, y: Tensor) -> Tensor:
    """Return the minimiser that a convex solver finds."""
    matrix = problem.encoding.matrix.numpy()
    x = cvxpy.Variable(60, complex=bool(np.iscomplexobj(matrix)))
    sparsity = cvxpy.sum(cvxpy.multiply(problem.weights.numpy(), cvxpy.abs(x)))
    objective = problem.lam * sparsity + cvxpy.norm(matrix @ x - y.numpy())
    options = {f"tol_{name}": 1e-9 for name in ("gap_abs", "gap_rel", "feas")}
    cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver="CLARABEL", **options)
    return torch.from_numpy(x.value)


def on_level(problem: SquareRootLasso, y: Tensor, x: Tensor, d: Tensor, level: float) -> Tensor:
    """Return the point furthest from x along d with an objective of at most ``level``."""
    low, high = 0.0, 1.0
    while float(problem.objective(x + high * d, y)) <= level and high < 1e9:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if float(problem.objective(x + middle * d, y)) <= level:
            low = middle
        else:
            high = middle
    return x + low * d


def far_points(problem: SquareRootLasso, y: Tensor, x: Tensor, level: float) -> Iterator[Tensor]:
    """Yield images with objectives of at most ``level``: random ones, then ever further ones.

    The latter by ascent: step away from x, pull back to the level set.
    """
    generator = torch.Generator().manual_seed(0)
    for attempt in range(4):
        d = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        if attempt % 2:
            d = d * (problem.synthesise(problem.analyse(x)).abs() > 1e-3)
        z = on_level(problem, y, x, d, level)
        yield z
        for _ in range(30):
            point = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(problem.objective(point, y), point)
            away = (z - x) / (z - x).norm().clamp(min=1e-300)
            # Away from x, along the level set.
            inward = gradient / gradient.norm().clamp(min=1e-300)
            tangent = away - (away.conj() * inward).real.sum() * inward
            step = 0.3 * (z - x).norm() * tangent
            z = on_level(problem, y, x, z + step - 0.02 * (z - x).norm() * inward - x, level)
        yield z


@pytest.mark.parametrize("dtype", DTYPES)
def test_smallest_eigenvalue_is_bounded_from_below_and_closely(dtype, randn) -> None:
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        factor = torch.randn(50, 70, dtype=dtype, generator=generator)
        matrix = (factor @ factor.mH) / 70
        eigenvalues = np.linalg.eigvalsh(matrix.numpy())
        start = torch.randn(50, 2, dtype=torch.float64, generator=generator)
        start = torch.view_as_complex(start) if dtype.is_complex else start[:, 0]
        bound = smallest_eigenvalue_bound(lambda x, g=matrix: g @ x, start, 1.1 * eigenvalues[-1])
        assert 0.4 * eigenvalues[0] < bound < eigenvalues[0]


def test_smallest_eigenvalue_of_a_singular_matrix_is_bounded_by_zero() -> None:
    matrix = torch.diag(torch.linspace(0, 1, 60, dtype=torch.float64))
    start = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert smallest_eigenvalue_bound(lambda x: matrix @ x, start, 1.0) == 0.0
    assert smallest_eigenvalue_bound(lambda x: x, start, 1.0) == pytest.approx(0.99, abs=0.25)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("gap", [pytest.param(1e-4, marks=pytest.mark.slow), 1e-9])
def test_no_image_as_good_lies_outside_of_the_radius(dtype, gap) -> None:
    largest = 0.0
    for seed in range(2):
        problem, y, _ = small_problem(seed, dtype)
        x, v, _ = solved(problem, y, gap)
        found = localise(problem, y, x, v)
        assert isinstance(found, Localisation)
        for excess in (1e-6, 1e-3, 1e-1):
            radius = found.radius(excess)
            level = found.objective + excess
            for z in far_points(problem, y, x, level):
                distance = float((z - x).norm())
                assert distance <= radius
                largest = max(largest, distance / radius)
    assert largest > 0.02


def test_localisation_holds_for_redundant_sparsifiers() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(60, 64, dtype=torch.float64, generator=generator) / 60**0.5
    encoding = MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2)))
    problem = SquareRootLasso(encoding, StationaryWavelet(2, (64,)), None, 0.1)
    truth = torch.zeros(64, dtype=torch.float64)
    truth[20:40] = 3
    y = matrix @ truth + 0.02 * torch.randn(60, dtype=torch.float64, generator=generator)
    start = torch.zeros(64, dtype=torch.float64)
    x, v, q, *_ = AdaptiveBlock(AdaptiveSchedule(1e-8, 20_000))(problem, y, start).state
    found = localise(problem, y, x, v, q)
    assert isinstance(found, Localisation)
    for excess in (1e-5, 1e-2):
        radius = found.radius(excess)
        assert radius < float(x.norm())
        for z in far_points(problem, y, x, found.objective + excess):
            assert float((z - x).norm()) <= radius


@pytest.mark.parametrize("dtype", DTYPES)
def test_minimisers_of_changed_data_lie_within_the_radius(dtype) -> None:
    for seed in range(3):
        problem, y, _ = small_problem(seed, dtype)
        x, v, _ = solved(problem, y)
        found = localise(problem, y, x, v)
        assert isinstance(found, Localisation)
        for size in (0.01, 0.1):
            e = torch.randn(24, dtype=dtype, generator=torch.Generator().manual_seed(seed))
            e = size * e / e.norm()
            moved = exact_minimiser(problem, y + e)
            assert float((moved - x).norm()) <= found.radius(2 * size)


def recovery_slack(problem: SquareRootLasso, found: LocalRecovery, c: Tensor, z: Tensor) -> Tensor:
    """Return ||d|| over its bound, for coefficients z."""
    weights = torch.ones(1) if problem.weights is None else problem.weights
    sparsity = (weights * z.abs()).sum() - (weights * c.abs()).sum() + 2 * found.tail
    d = problem.synthesise(z - c)
    return d.norm() / (found.k1 * sparsity + found.k2 * problem.encoding(d).norm())


def worst_slack(problem: SquareRootLasso, found: LocalRecovery, c: Tensor) -> float:
    """Return the largest ratio of distance to bound that ascent from random images finds."""
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for attempt in range(6):
        d = torch.randn(c.shape, dtype=c.dtype, generator=generator) * 10.0 ** (-attempt)
        d = d * (c.abs() > 0) if attempt % 2 else d
        z = (c + d).requires_grad_()
        optimiser = torch.optim.Adam([z], lr=0.02 * float(d.abs().max()))
        for _ in range(150):
            optimiser.zero_grad()
            slack = recovery_slack(problem, found, c, z)
            worst = max(worst, slack.item())
            (-slack).backward()
            optimiser.step()
    return worst


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_image_breaks_the_recovery_constants(dtype) -> None:
    ratios = []
    for seed in range(6):
        problem, y, truth = small_problem(seed, dtype)
        found = local_recovery(problem, y, truth)
        # Where columns are too much alike there is no dual vector.
        if isinstance(found, LocalRecovery):
            assert (found.support, found.tail) == (3, 0)
            ratios.append(worst_slack(problem, found, truth))
    assert len(ratios) >= 3
    assert 0.05 < max(ratios) <= 1


@pytest.mark.parametrize("coils", [1, 4])
def test_no_image_breaks_the_recovery_constants_of_a_scan(coils) -> None:
    problem, y, image = fourier_haar(0, coils)
    found = local_recovery(problem, y, image)
    assert isinstance(found, LocalRecovery)
    assert found.support >= 16
    assert worst_slack(problem, found, problem.analyse(image)) <= 1


def test_true_image_lies_within_the_radius_of_its_reconstruction() -> None:
    problem, y, image = fourier_haar(0, 4)
    noise = float((problem.encoding(image) - y).norm())
    found = local_recovery(problem, y, image)
    assert isinstance(found, LocalRecovery)
    x, _, _ = solved(problem, y, 1e-6)
    # The minimiser is as regular as the truth, or fits the data better: the constants say how far.
    sparser = float(problem.analyse(x).abs().sum() - problem.analyse(image).abs().sum())
    data = float((problem.encoding(x) - y).norm()) + noise
    bound = found.k1 * (sparser + 2 * found.tail) + found.k2 * data
    assert float((x - image).norm()) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_minimiser_moves_no_further_than_stated(dtype) -> None:
    worst = 0.0
    for seed in range(4):
        problem, y, _ = small_problem(seed, dtype)
        x, _, gap = solved(problem, y, 1e-7)
        found = minimiser_stability(problem, y, x, gap)
        assert isinstance(found, MinimiserStability)
        before = exact_minimiser(problem, y)
        assert float((before - x).norm()) <= found.distance
        for e in changes(problem, y, x, 0.999 * found.largest_change):
            after = exact_minimiser(problem, y + e)
            ratio = float((after - before).norm() / (found.lipschitz * e.norm()))
            worst = max(worst, ratio)
            assert int((after.abs() > 1e-6).sum()) <= found.support
    assert 0.1 < worst <= 1


def changes(problem: SquareRootLasso, y: Tensor, x: Tensor, size: float) -> Iterator[Tensor]:
    """Yield changes of the data: random ones, and the one that moves the support's image most."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        e = torch.randn(24, dtype=y.dtype, generator=generator)
        yield size * e / e.norm()
    matrix = problem.encoding.matrix[:, x.abs() > 1e-6]
    v = problem.encoding(x) - y
    v = v / v.norm()
    left, _, _ = torch.linalg.svd(matrix - torch.outer(v, v.conj() @ matrix), full_matrices=False)
    yield size * left[:, -1]
    yield -size * left[:, -1]


def test_dual_direction_stays_near_for_any_change() -> None:
    """The inequality under the stability statement, docs/theory.md, section 6.2 (1)."""
    problem, y, _ = small_problem(0, torch.complex128)
    r = problem.encoding(exact_minimiser(problem, y)) - y
    for seed in range(3):
        e = torch.randn(24, dtype=y.dtype, generator=torch.Generator().manual_seed(seed)) * 0.1
        moved = problem.encoding(exact_minimiser(problem, y + e)) - y - e
        change = float((moved / moved.norm() - r / r.norm()).norm())
        assert change <= 2 * float(e.norm() / (r.norm() + moved.norm())) * (1 + 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_projection_across_the_residual_has_the_larger_singular_value(dtype) -> None:
    """mu' >= mu'', docs/theory.md, section 6.2 (3), for real-linear maps in real coordinates."""
    for seed in range(50):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(12, 4, dtype=dtype, generator=generator)
        v = torch.randn(12, dtype=dtype, generator=generator)
        v = v / v.norm()
        A, r = matrix.numpy(), v.numpy()
        if v.is_complex():
            A = np.block([[A.real, -A.imag], [A.imag, A.real]])
            r = np.concatenate([r.real, r.imag])
        across = np.linalg.svd(A - np.outer(r, r @ A), compute_uv=False)[-1]
        with_column = np.linalg.svd(np.column_stack([A, -r]), compute_uv=False)[-1]
        assert across >= with_column * (1 - 1e-12)
        assert across <= np.linalg.svd(A, compute_uv=False)[-1] * (1 + 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_stable_along_a_column_that_the_residual_is(dtype) -> None:
    """v = a_0 with 0 in T: (1 - v v^T) A_T has the singular value 0, A_T alone has not."""
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(24, 40, dtype=dtype, generator=generator)
    matrix = matrix / torch.linalg.vector_norm(matrix, dim=0)
    problem = SquareRootLasso(MatrixOperator(matrix), None, torch.ones(40, dtype=torch.float64), 1)
    x = torch.zeros(40, dtype=dtype)
    x[0] = 1
    other = matrix[:, 0] + 0.3 * torch.randn(24, dtype=dtype, generator=generator)
    for residual, expected in ((matrix[:, 0], NotVerified), (other, MinimiserStability)):
        assert isinstance(minimiser_stability(problem, matrix @ x - residual, x, 1e-12), expected)


def test_stability_of_a_scan_holds_for_its_minimiser() -> None:
    problem, y, _ = fourier_haar(0)
    x, _, gap = solved(problem, y, 1e-9)
    found = minimiser_stability(problem, y, x, gap)
    assert isinstance(found, MinimiserStability)
    generator = torch.Generator().manual_seed(3)
    e = torch.randn(y.shape, dtype=y.dtype, generator=generator) * (y != 0)
    e = 0.99 * found.largest_change * e / e.norm()
    after, _, gap_after = solved(problem, y + e, 1e-9)
    also = minimiser_stability(problem, y + e, after, gap_after)
    assert isinstance(also, MinimiserStability)
    allowed = found.lipschitz * float(e.norm()) + found.distance + also.distance
    assert float((after - x).norm()) <= allowed
    assert found.distance + also.distance < 0.2 * allowed


def test_what_cannot_be_true_is_not_verified() -> None:
    problem, y, truth = small_problem(0, torch.float64)
    matrix = problem.encoding.matrix.clone()
    at = int(truth.abs().argmax())
    matrix[:, (at + 1) % 60] = matrix[:, at]
    weights = torch.ones(60, dtype=torch.float64)
    twins = SquareRootLasso(MatrixOperator(matrix), None, weights, _LAM)
    # Two coefficients do the same: no dual vector tells them apart.
    assert isinstance(local_recovery(twins, y, truth), NotVerified)
    x, v, gap = solved(twins, y, 1e-9)
    assert isinstance(localise(twins, y, x, v), NotVerified)
    assert isinstance(minimiser_stability(twins, y, x, gap), NotVerified)


def test_too_many_coefficients_are_not_verified() -> None:
    problem, y, _ = small_problem(0, torch.float64)
    dense = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = local_recovery(problem, y, dense)
    assert isinstance(found, NotVerified)
    assert "16 largest" in found.reason


def test_gap_that_is_too_large_is_not_verified() -> None:
    problem, y, _ = small_problem(0, torch.float64)
    x, _, _ = solved(problem, y)
    for gap in (0.1, 1e6):
        assert isinstance(minimiser_stability(problem, y, x, gap), NotVerified)
    assert isinstance(localise(problem, y, x, torch.zeros_like(y)), Localisation | NotVerified)
    zero = torch.zeros_like(x)
    assert isinstance(localise(problem, 0 * y, zero, 0 * y), NotVerified)


def test_redundant_sparsifiers_are_not_verified_where_nothing_is_proven() -> None:
    problem, y, image = fourier_haar(0)
    frame = SquareRootLasso(problem.encoding, StationaryWavelet(2, (64, 64)), None, 0.1)
    for found in (local_recovery(frame, y, image), minimiser_stability(frame, y, image, 0.0)):
        assert isinstance(found, NotVerified)
        assert "redundant" in found.reason


def test_several_items_at_once_are_refused() -> None:
    problem, y, truth = small_problem(0, torch.float64)
    batch, images = torch.stack([y, y]), torch.stack([truth, truth])
    with pytest.raises(ShapeError, match="one item"):
        local_recovery(problem, batch, images)
    with pytest.raises(ShapeError, match="one item"):
        localise(problem, batch, images, batch)
    with pytest.raises(ShapeError, match="one item"):
        minimiser_stability(problem, batch, images, 0.0)


def test_constants_are_numbers_of_the_formulas() -> None:
    problem, y, truth = small_problem(1, torch.float64)
    found = local_recovery(problem, y, truth)
    assert isinstance(found, LocalRecovery)
    support = truth != 0
    matrix, weights = problem.encoding.matrix, problem.weights
    columns = matrix[:, support]
    u = torch.linalg.lstsq(columns.T, (weights * truth.sgn())[support, None]).solution[:, 0]
    h = matrix.T @ u
    eta = 1 - float((h.abs() / weights)[~support].max())
    assert found.eta == pytest.approx(eta, rel=1e-6)
    assert found.theta < 1e-6
    mu = float(torch.linalg.svdvals(columns)[-1])
    assert 0.8 * mu < found.mu <= mu
    smallest = float(weights[~support].min())
    ratio = problem.encoding.norm_bound / smallest / found.mu
    k1 = (ratio + 1 / smallest) / eta
    assert found.k1 == pytest.approx(k1, rel=1e-4)
    assert found.k2 == pytest.approx(1 / found.mu + k1 * float(u.norm()), rel=1e-4)
    assert math.isclose(found.radius, 2 * found.k2 * found.residual, rel_tol=1e-12)
