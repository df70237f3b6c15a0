"""The theory's constants are what the paper says, and what they promise holds where provable."""

from __future__ import annotations

import itertools
import math

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import (
    PAPER_SPARSITIES,
    LevelStructure,
    NullSpaceConstants,
    RecoveryConstants,
    admissible_lam,
    best_approximation_error,
    data_error,
    error_bound,
    image_sparsities,
    level_index,
    level_sizes,
    objective_bound,
    recovery_constants,
    sharpness,
    smallest_inner,
    smallest_restarts,
    theorem_parameters,
)
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet
from firenet_mri.phantoms import shepp_logan

RHO = st.floats(0, 0.95)
GAMMA = st.floats(0.1, 10)
SIZES = (16, 48, 192, 768, 3072, 12288, 49152)


@st.composite
def structures(draw: st.DrawFn) -> LevelStructure:
    count = draw(st.integers(1, 4))
    sizes = draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
    sparsities = tuple(draw(st.integers(1, size)) for size in sizes)
    weights = draw(st.lists(st.floats(0.1, 10), min_size=count, max_size=count))
    return LevelStructure(sparsities, tuple(sizes), tuple(weights))


class Known:
    """A problem whose (rho, gamma) is proven: the kernel is spanned by one known vector.

    For x = t n + u with u in the orthogonal complement of the kernel, ||u|| <= ||A x|| / sigma:
    ||x_D|| <= |t| ||n_D|| + ||u|| and |t| ||n_{D^c}||_w <= ||x_{D^c}||_w + max w sqrt(N) ||u||.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(5)
        self.levels = LevelStructure((1, 1), (4, 6), (1.0, 1.5))
        self.index = torch.tensor([0] * 4 + [1] * 6)
        self.w = np.array([1.0] * 4 + [1.5] * 6)
        kernel = np.exp(2j * math.pi * generator.random(10)) * (1 + 0.2 * generator.random(10))
        kernel /= np.linalg.norm(kernel)
        basis = np.linalg.qr(np.c_[kernel, np.eye(10)[:, 1:]])[0][:, 1:]
        left = np.linalg.qr(generator.standard_normal((9, 9)))[0]
        scales = np.linspace(1.0, 0.7, 9)
        self.A = left @ np.diag(scales) @ basis.conj().T
        self.kernel = kernel
        rho = max(
            np.linalg.norm(kernel[[i, j]])
            * math.sqrt(self.levels.xi)
            / (self.w * abs(kernel))[[k for k in range(10) if k not in (i, j)]].sum()
            for i in range(4)
            for j in range(4, 10)
        )
        spread = rho * self.w.max() * math.sqrt(10 / self.levels.xi)
        self.constants = NullSpaceConstants(rho, (1 + spread) / scales.min())
        self.generator = generator

    def draw(self, *shape: int) -> np.ndarray:
        g = self.generator
        return g.standard_normal(shape) + 1j * g.standard_normal(shape)

    def tail(self, x: np.ndarray) -> float:
        return best_approximation_error(torch.from_numpy(x), self.index, self.levels)


@pytest.fixture
def known() -> Known:
    return Known()


def test_published_weights_come_out() -> None:
    levels = LevelStructure.balanced(PAPER_SPARSITIES, SIZES)
    published = (9.3524, 5.4606, 4.0, 3.0504, 2.3781, 1.9144, 1.7268)
    assert levels.weights == pytest.approx(published, abs=5e-5)
    assert levels.kappa == pytest.approx(7)
    assert levels.zeta == pytest.approx(sum(PAPER_SPARSITIES))
    assert levels.xi == pytest.approx(7 * sum(PAPER_SPARSITIES))


@given(structures())
def test_balanced_weights_have_the_least_kappa(levels) -> None:
    balanced = LevelStructure.balanced(levels.sparsities, levels.sizes)
    assert balanced.kappa == pytest.approx(len(levels.sizes))
    assert levels.kappa >= balanced.kappa * (1 - 1e-12)


@given(structures(), RHO, GAMMA)
def test_inexact_constants_are_the_exact_ones_of_a_perturbed_operator(levels, rho, gamma) -> None:
    """Theorem 3's C1, C2 are c1, c2 at ((1 + rho)/2, 2 gamma)."""
    inexact = recovery_constants(levels, NullSpaceConstants(rho, gamma), exact=False)
    worse = recovery_constants(levels, NullSpaceConstants((1 + rho) / 2, 2 * gamma))
    assert inexact.c1 == pytest.approx(worse.c1)
    assert inexact.c2 == pytest.approx(worse.c2)


def test_constants_of_theorem_3_in_numbers() -> None:
    """kappa = 16, rho = 1/2, gamma = 1, worked out by hand."""
    levels = LevelStructure((1,) * 16, (2,) * 16, (1.0,) * 16)
    half = NullSpaceConstants(0.5, 1.0)
    exact, inexact = (recovery_constants(levels, half, exact) for exact in (True, False))
    assert (exact.c1, exact.c2) == pytest.approx((6.0, 10.0))
    assert (inexact.c1, inexact.c2) == pytest.approx((17.5, 44.0))


@given(structures(), RHO, GAMMA)
def test_largest_perturbation_ends_at_the_constants_of_theorem_3(levels, rho, gamma) -> None:
    constants = NullSpaceConstants(rho, gamma)
    error = constants.largest_perturbation(levels.kappa)
    moved = constants.perturbed(error, levels.kappa)
    parts = (moved.rho / ((1 + rho) / 2), moved.gamma / (2 * gamma))
    assert max(parts) == pytest.approx(1)
    if rho >= 1 / 9:
        assert parts[0] == pytest.approx(1)


def worst_ratio(known: Known, A: np.ndarray, constants: NullSpaceConstants) -> float:
    """Largest ||x_D|| / (rho ||x_{D^c}||_w / sqrt(xi) + gamma ||A x||) that is found."""
    worst = 0.0
    _, _, rows = np.linalg.svd(A)
    for size in np.logspace(-4, 1, 60):
        for x in (known.kernel + size * known.draw(10), rows[-1].conj() + size * known.draw(10)):
            for pair in itertools.product(range(4), range(4, 10)):
                inside = np.isin(np.arange(10), pair)
                right = constants.rho * (known.w * abs(x))[~inside].sum() / known.levels.xi**0.5
                right += constants.gamma * np.linalg.norm(A @ x)
                worst = max(worst, np.linalg.norm(x[inside]) / right)
    return worst


def test_perturbed_operators_keep_the_property_with_the_stated_constants(known) -> None:
    assert 0.9 < worst_ratio(known, known.A, known.constants) <= 1 + 1e-12
    error = 0.9 * known.constants.largest_perturbation(known.levels.kappa)
    for _ in range(5):
        step = known.draw(9, 10)
        B = known.A + error * step / np.linalg.norm(step, 2)
        moved = known.constants.perturbed(error, known.levels.kappa)
        assert worst_ratio(known, B, moved) <= 1 + 1e-12
    # And the constants do move: those of A itself do not hold for a nearby operator.
    direction = np.outer(np.linalg.svd(known.A)[0][:, -1], known.kernel.conj())
    worse = known.A - error * direction / np.linalg.norm(direction, 2)
    assert worst_ratio(known, worse, moved) <= 1 + 1e-12


def test_distance_is_bounded_by_regularity_and_misfit(known) -> None:
    """||d|| <= (c1/sqrt(xi)) T + c2 ||A d||, and the bound is within a factor of 20."""
    recovery, xi = recovery_constants(known.levels, known.constants), known.levels.xi
    largest = 0.0
    for size in np.logspace(-3, 2, 300):
        x = np.zeros(10, dtype=complex)
        x[[1, 7]] = known.draw(2)
        x = x + 0.01 * known.draw(10)
        for d in (size * known.kernel * np.exp(1j * size), size * known.draw(10)):
            T = (known.w * (abs(x + d) - abs(x))).sum() + 2 * known.tail(x)
            bound = recovery.c1 / xi**0.5 * T + recovery.c2 * np.linalg.norm(known.A @ d)
            assert np.linalg.norm(d) <= bound * (1 + 1e-12)
            largest = max(largest, np.linalg.norm(d) / bound)
    assert largest > 0.05


def small_problem(known: Known) -> tuple[np.ndarray, np.ndarray, float]:
    """An image that is sparse up to a small tail, its noisy data, and the largest lam."""
    truth = 0.002 * known.draw(10)
    truth[[2, 5]] = (3 - 1j, 2j)
    noise = known.draw(9)
    y = known.A @ truth + 0.01 * noise / np.linalg.norm(noise)
    lam = admissible_lam(known.levels, recovery_constants(known.levels, known.constants))
    return truth, y, lam


def objective(known: Known, lam: float, z: np.ndarray, y: np.ndarray) -> float:
    return float(lam * (known.w * abs(z)).sum() + np.linalg.norm(known.A @ z - y))


@pytest.mark.parametrize("part", [1.0, 0.3])
def test_objective_is_sharp_with_chi(known, part) -> None:
    truth, y, largest = small_problem(known)
    lam = part * largest
    recovery = recovery_constants(known.levels, known.constants)
    chi = sharpness(known.levels, recovery, lam)
    assert chi == pytest.approx(recovery.c2 / part)
    tail, misfit = known.tail(truth), float(np.linalg.norm(known.A @ truth - y))
    c = data_error(known.levels, recovery, lam, tail=tail, misfit=misfit)
    z = cvxpy.Variable(10, complex=True)
    F = lam * cvxpy.sum(cvxpy.multiply(known.w, cvxpy.abs(z))) + cvxpy.norm(known.A @ z - y)
    cvxpy.Problem(cvxpy.Minimize(F)).solve(solver="CLARABEL")
    candidates = [z.value, 0 * truth] + [truth + size * known.draw(10) for size in (0.01, 0.1, 1)]
    for candidate in candidates:
        rise = objective(known, lam, candidate, y) - objective(known, lam, truth, y)
        distance = np.linalg.norm(candidate - truth)
        assert distance <= chi * (c + rise)
        bound = error_bound(
            known.levels, recovery, lam, tail=tail, misfit=misfit, objective_gap=rise
        )
        assert bound == pytest.approx(chi * (c + rise))


@pytest.mark.parametrize("relative_step", [1.0, 0.6])
def test_network_keeps_the_theorems_promise(known, relative_step) -> None:
    """With the theorem's p, n and delta, objective and error stay below their bounds."""
    truth, y, largest = small_problem(known)
    lam = 0.8 * largest
    recovery = recovery_constants(known.levels, known.constants)
    chi = sharpness(known.levels, recovery, lam)
    tail, misfit = known.tail(truth), float(np.linalg.norm(known.A @ truth - y))
    delta = data_error(known.levels, recovery, lam, tail=tail, misfit=misfit)
    size = float(np.linalg.norm(y))
    p = smallest_inner(chi, 1.0, step=relative_step)
    n = smallest_restarts(chi, size, 4 * chi * delta, delta=delta)
    schedule = PaperSchedule(
        restarts=n, inner=p, tau=relative_step, sigma=relative_step, delta=delta / size
    )
    weights = torch.from_numpy(known.w)
    encoding = MatrixOperator(torch.from_numpy(known.A), norm_bound=1.0)
    net = FIRENET(None, lam, weights, schedule)
    data = torch.from_numpy(y)
    problem = SquareRootLasso(encoding, None, weights, lam)
    reference = objective(known, lam, truth, y)
    for restart, inner, x in net.iterates(data, encoding):
        if inner == p:
            rise = float(problem.objective(x, data)) - reference
            assert rise <= objective_bound(size, restart, delta=delta)
    bound = error_bound(
        known.levels,
        recovery,
        lam,
        tail=tail,
        misfit=misfit,
        objective_gap=objective_bound(size, n, delta=delta),
    )
    assert np.linalg.norm(x.numpy() - truth) <= bound
    assert n > 1


def test_theorem_parameters_are_the_functions_put_together() -> None:
    levels = LevelStructure.balanced(PAPER_SPARSITIES, SIZES)
    half = NullSpaceConstants(0.5, math.sqrt(2))
    theorem = theorem_parameters(levels, half, accuracy=0.01, lam=0.001, norm=2.0, exact=False)
    recovery = recovery_constants(levels, half, exact=False)
    assert theorem.recovery == recovery
    assert theorem.chi == sharpness(levels, recovery, 0.001)
    assert theorem.inner == math.ceil(2 * theorem.chi * 2.0 * math.e)
    assert theorem.chi * math.exp(-theorem.restarts) <= 0.01
    assert theorem.chi * math.exp(1 - theorem.restarts) > 0.01
    bound = error_bound(levels, recovery, 0.001, tail=3.0, misfit=0.0, objective_gap=0.0)
    assert theorem.tail_factor * 3.0 == pytest.approx(bound)
    bound = error_bound(levels, recovery, 0.001, tail=0.0, misfit=2.0, objective_gap=0.0)
    assert theorem.misfit_factor * 2.0 == pytest.approx(bound)
    assert theorem.delta_factor == pytest.approx(theorem.chi / (math.e - 1), rel=1e-4)
    best = theorem_parameters(levels, half, accuracy=0.01, exact=False)
    assert best.lam == best.largest_lam
    assert best.chi == pytest.approx(recovery.c2)


@given(
    chi=st.floats(0.1, 100),
    eps0=st.floats(0.01, 100),
    delta=st.floats(0, 1),
    nu=st.floats(0.1, 0.9),
    factor=st.floats(1.001, 1e4),
)
def test_restarts_are_the_fewest_that_reach_the_accuracy(chi, eps0, delta, nu, factor) -> None:
    accuracy = factor * chi * delta * nu / (1 - nu) + 1e-3
    n = smallest_restarts(chi, eps0, accuracy, delta=delta, nu=nu)
    assert chi * objective_bound(eps0, n, delta=delta, nu=nu) <= accuracy * (1 + 1e-9)
    if n > 0:
        assert chi * objective_bound(eps0, n - 1, delta=delta, nu=nu) > accuracy * (1 - 1e-9)


@given(eps0=st.floats(0, 10), delta=st.floats(0, 1), nu=st.floats(0.05, 0.95))
def test_objective_bound_is_the_recursion_of_the_schedule(eps0, delta, nu) -> None:
    eps = eps0
    for restart in range(6):
        assert objective_bound(eps0, restart, delta=delta, nu=nu) == pytest.approx(eps, abs=1e-12)
        eps = nu * (delta + eps)


def test_smaller_steps_need_more_inner_iterations() -> None:
    assert smallest_inner(1.0, 1.0) == math.ceil(2 * math.e) == 6
    assert smallest_inner(1.0, 2.0, step=0.5) == 11
    assert smallest_inner(1.0, 1.0, nu=0.5) == 4
    assert smallest_inner(1.0, 1.0, nu=0.5, step=0.5) == math.ceil(4 / (math.sqrt(2) - 1))


@given(structures(), st.integers(0, 2**32 - 1))
def test_best_approximation_error_is_the_minimum_over_supports(levels, seed) -> None:
    levels = LevelStructure(
        tuple(min(s, 3) for s in levels.sparsities[:2]),
        tuple(min(size, 6) for size in levels.sizes[:2]),
        levels.weights[:2],
    )
    x = np.random.default_rng(seed).standard_normal(sum(levels.sizes))
    index = np.repeat(np.arange(len(levels.sizes)), levels.sizes)
    expected = 0.0
    for level, (s, w) in enumerate(zip(levels.sparsities, levels.weights, strict=True)):
        part = abs(x[index == level])
        kept = itertools.combinations(range(len(part)), s)
        expected += w * min(part.sum() - part[list(support)].sum() for support in kept)
    found = best_approximation_error(torch.from_numpy(x), torch.from_numpy(index), levels)
    assert found == pytest.approx(expected, abs=1e-9)


def test_levels_of_an_image_are_those_of_the_theory() -> None:
    wavelet = OrthogonalWavelet("haar", 7, (256, 256))
    assert level_sizes(wavelet) == SIZES
    image = shepp_logan(256)
    # 15, 43, 81, 141: the published counts less one entry that two levels share there.
    assert image_sparsities(image, wavelet) == (15, 43, 81, 141, 246, 370, 496)
    assert image_sparsities(1e-3j * image, wavelet) == image_sparsities(image, wavelet)
    both = torch.stack([image, torch.zeros_like(image)])
    assert image_sparsities(both, wavelet) == image_sparsities(image, wavelet)
    flat = torch.ones(256, 256)
    assert image_sparsities(flat, wavelet) == (4, 1, 1, 1, 1, 1, 1)
    assert level_index(wavelet).max() == 6


LEVELS = LevelStructure((2, 3), (4, 12), (1.0, 1.0))
RECOVERY = RecoveryConstants(2.0, 4.0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: LevelStructure((1,), (4, 4), (1.0, 1.0)),
            r"1 sparsity \(1,\) given; .* sizes \(4, 4\)",
        ),
        (lambda: LevelStructure((), (), ()), "0 sparsities"),
        (lambda: LevelStructure((5, 1), (4, 4), (1.0, 1.0)), "level 1 is 5.*size 4"),
        (lambda: LevelStructure((1, 0), (4, 4), (1.0, 1.0)), "level 2 is 0"),
        (lambda: LevelStructure((1, 1), (4, 4), (1.0, -1.0)), "must be positive"),
        (lambda: LevelStructure((1, 1), (4, 4), (1.0, math.nan)), "must be positive"),
        (lambda: LevelStructure((1, 1), (4, 4), (1.0,)), "1 weight given for 2 levels"),
        (lambda: LevelStructure.balanced((0, 1), (4, 4)), "level 1 is 0"),
        (lambda: NullSpaceConstants(1.0, 1.0), "rho is 1.0"),
        (lambda: NullSpaceConstants(-0.1, 1.0), "rho is -0.1"),
        (lambda: NullSpaceConstants(0.5, 0.0), "gamma is 0.0"),
        (lambda: NullSpaceConstants(0.5, 1.0).perturbed(0.3, 1.0), "below 0.25 .* 0.153"),
        (lambda: NullSpaceConstants(0.5, 1.0).perturbed(-1.0, 1.0), "error is -1"),
        (lambda: sharpness(LEVELS, RECOVERY, 0.3), "0 < lam <= .* = 0.223607"),
        (lambda: sharpness(LEVELS, RECOVERY, 0.0), "0 < lam"),
        (lambda: smallest_inner(1.0, 1.0, step=0.25), "from 0.25 to 1"),
        (lambda: smallest_inner(1.0, 2.0, step=1.0), "from 0.125 to 0.5"),
        (lambda: smallest_inner(1.0, 1.0, nu=1.0), "nu is 1.0"),
        (lambda: smallest_inner(0.0, 1.0), "chi is 0.0"),
        (lambda: smallest_restarts(1.0, 1.0, 0.5, delta=1.0), "only more than .* 0.582"),
        (lambda: smallest_restarts(1.0, 1.0, 0.0), "accuracy is 0.0"),
        (lambda: objective_bound(-1.0, 2), "eps0 is -1"),
        (lambda: best_approximation_error(torch.ones(3), torch.tensor([0, 0, 1]), LEVELS), r"\(2"),
        (
            lambda: image_sparsities(torch.zeros(4, 4), OrthogonalWavelet("haar", 1, (4, 4))),
            "image is zero",
        ),
    ],
)
def test_what_lies_outside_the_theorem_is_refused(make, said) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_the_largest_lam_itself_is_admissible() -> None:
    assert sharpness(LEVELS, RECOVERY, admissible_lam(LEVELS, RECOVERY)) == pytest.approx(4.0)
