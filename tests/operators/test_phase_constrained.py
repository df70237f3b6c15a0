"""The phase constraint: adjoint for real inner products, known limits, gap and Lipschitz bound."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri import reconstruct
from firenet_mri.calibration import low_resolution_phase, sensitivity_maps, whiten
from firenet_mri.errors import CalibrationError, ShapeError, UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.metrics import psnr
from firenet_mri.operators import (
    FiniteDifference,
    MatrixOperator,
    PhaseConstrained,
    encoding_operator,
)
from firenet_mri.simulation import simulate


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def constrained(weight: float, seed: int = 0) -> PhaseConstrained:
    matrix = randn(5, 7, seed=seed)
    phase = torch.polar(torch.ones(7, dtype=torch.float64), randn(7, seed=seed + 1).real)
    phase[3] = 0
    return PhaseConstrained(MatrixOperator(matrix), phase, weight)


def as_real_matrix(function, size: int) -> np.ndarray:
    """Return the matrix of a map that is linear over the real numbers, column by column."""
    units = torch.cat([torch.eye(size), 1j * torch.eye(size)]).to(torch.complex128)
    return torch.view_as_real(function(units)).flatten(1).T.numpy()


@given(weight=st.floats(0, 1), seed=st.integers(0, 1000))
def test_adjoint_is_the_transpose_over_the_real_numbers(weight, seed) -> None:
    operator = constrained(weight, seed)
    forward = as_real_matrix(operator, 7)
    backward = as_real_matrix(operator.adjoint, 5)
    # Columns: real parts of the units, then imaginary parts; rows: both parts interleaved.
    order = lambda size: np.arange(2 * size).reshape(size, 2).T.ravel()  # noqa: E731
    np.testing.assert_allclose(forward[order(5)], backward[order(7)].T, atol=1e-12)
    assert np.linalg.norm(forward, 2) <= operator.norm_bound * (1 + 1e-12)


def test_limits_are_the_encoding_and_the_real_part() -> None:
    x = randn(2, 7, seed=9)
    whole, none = constrained(1), constrained(0)
    torch.testing.assert_close(whole(x), whole.encoding(x))
    image = none.image(x) * none.phase.conj()
    assert float(image.imag.abs().max()) < 1e-14
    torch.testing.assert_close(image.real, (x * none.phase.conj()).real)
    # Where the phase is not known the image stays as it is.
    torch.testing.assert_close(none.image(x)[:, 3], x[:, 3])


def test_residual_is_that_of_forward_and_adjoint() -> None:
    maps, mask = randn(3, 8, 6), torch.rand(8, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    phase = torch.polar(torch.ones(8, 6, dtype=torch.float64), randn(8, 6).real)
    operator = PhaseConstrained(encoding_operator(mask, maps), phase, 0.3)
    y, x = randn(3, 8, 6, seed=4) * mask, randn(8, 6, seed=5)
    gradient, norm = operator.residual(y)(x)
    torch.testing.assert_close(gradient, operator.adjoint(operator(x) - y))
    torch.testing.assert_close(norm, torch.linalg.vector_norm(operator(x) - y))


def test_what_does_not_fit_is_refused() -> None:
    encoding = MatrixOperator(randn(5, 7))
    with pytest.raises(UsageError, match=r"part is 2"):
        PhaseConstrained(encoding, torch.ones(7, dtype=torch.complex64), 2)
    with pytest.raises(ShapeError, match="phase has shape"):
        PhaseConstrained(encoding, torch.ones(6, dtype=torch.complex64), 0.3)
    with pytest.raises(ShapeError, match="must be complex"):
        PhaseConstrained(encoding, torch.ones(7), 0.3)


def test_low_resolution_phase_is_that_of_a_smooth_image() -> None:
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 64)] * 2, indexing="ij")
    phase = torch.polar(torch.ones(64, 64), 0.8 * y + 0.5 * x)
    image = torch.exp(-3 * (x**2 + y**2)) * phase
    maps = torch.ones(1, 64, 64, dtype=torch.complex64)
    found = low_resolution_phase(encoding_operator(None, maps)(image), maps, (16, 16))
    inside = image.abs() > 0.3
    assert float((found - phase).abs()[inside].max()) < 0.05
    assert float(low_resolution_phase(torch.zeros(1, 64, 64) + 0j, maps, (8, 8)).abs().max()) == 0


def brain_like(size: int = 48) -> torch.Tensor:
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="ij")
    magnitude = ((x**2 + 1.4 * y**2) < 0.7) * (1 + 0.5 * ((x * 9).sin() > 0) + 0.4 * (y > 0.2))
    return magnitude * torch.polar(torch.ones(size, size), 1.2 * x + 0.9 * y**2)


def test_constraint_gains_where_the_phase_is_smooth_and_certifies() -> None:
    image = brain_like()
    scan = simulate(image[None], coils=4, acceleration=3, calibration=12, snr=60, seed=2)
    sigma = scan.noise.abs().square().mean().sqrt()
    # Maps that are given are not turned by the phase, which has most of the gain in it.
    plain = reconstruct(scan, maps=sensitivity_maps(whiten(scan)))
    with_phase = reconstruct(scan, phase_constraint=0.3)
    reference = image.abs()[None] / sigma
    gain = psnr(reference, with_phase.magnitude) - psnr(reference, plain.magnitude)
    assert gain > 0.7
    turned = psnr(reference, reconstruct(scan, no_gap=True).magnitude)
    assert turned < psnr(reference, with_phase.magnitude)
    assert with_phase.options.phase_constraint == 0.3
    (gap,) = with_phase.certificate.relative_gap
    assert 0 <= gap < 0.02
    # The phase was made from the data: tests/reconstruction/test_bounds.py has an attack.
    certificate = with_phase.certificate
    assert certificate.lipschitz_bound is None
    assert "not certified" in certificate.sentence()
    fixed = certificate.lookup("lipschitz_bound_at_fixed_image_phase", "bound")
    assert fixed == {0: pytest.approx(plain.certificate.lipschitz_bound, rel=1e-6)}


def test_gap_is_above_the_true_one_and_the_bound_holds() -> None:
    maps = torch.ones(1, 16, 16, dtype=torch.complex128)
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(3)) < 0.5
    phase = torch.polar(torch.ones(16, 16, dtype=torch.float64), randn(16, 16).real)
    encoding = PhaseConstrained(encoding_operator(mask, maps), phase, 0.2)
    y = randn(1, 16, 16, seed=6) * mask
    net = make_network(1, (16, 16), lam=0.02)
    state = net.solve(y, encoding)
    problem = net.problem(encoding)
    long = make_network(1, (16, 16), lam=0.02, preset="adaptive", relative_gap=1e-5, layers=2000)
    least = float(problem.objective(long.solve(y, encoding).x, y))
    gap = float(problem.duality_gap(state.x, y, state.v, state.q))
    assert gap >= float(problem.objective(state.x, y)) - least - 1e-9
    bound = math.sqrt(2) * net.lipschitz_bound(encoding)
    for seed in range(3):
        e = 1e-3 * randn(1, 16, 16, seed=20 + seed) * mask
        change = torch.linalg.vector_norm(net(y + e, encoding) - net(y, encoding))
        assert float(change) <= bound * float(torch.linalg.vector_norm(e))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"recovery": True}, UsageError, "without the verification of recovery"),
        ({"phase_constraint": 1.5}, UsageError, "must lie in"),
    ],
)
def test_options_that_do_not_go_together(options, error, match) -> None:
    scan = simulate(brain_like()[None], coils=4, acceleration=3, calibration=12, seed=2)
    with pytest.raises(error, match=match):
        reconstruct(scan, **{"phase_constraint": 0.3, **options})


def test_small_centre_is_refused() -> None:
    scan = simulate(brain_like()[None], coils=4, acceleration=3, calibration=4, seed=2)
    maps = torch.ones(4, 48, 48, dtype=torch.complex64)
    with pytest.raises(CalibrationError, match="needs 8 samples"):
        reconstruct(scan, maps=maps, phase_constraint=0.3)


@pytest.mark.parametrize(
    "weight", [0.3, *(pytest.param(w, marks=pytest.mark.slow) for w in (0.0, 1.0))]
)
@pytest.mark.parametrize("is_flat", [True, False])
def test_lower_bound_with_total_variation_is_below_every_image_that_is_found(
    weight, is_flat
) -> None:
    """A constant image and i times it are two directions: A is not linear over complex numbers."""
    turns = torch.zeros(8, 8) if is_flat else torch.linspace(0, 3, 64).reshape(8, 8)
    phase = torch.polar(torch.ones(8, 8, dtype=torch.float64), turns.double() + 0.7)
    one = torch.ones(8, 8, dtype=torch.complex128)
    for seed in range(3):
        maps = randn(2, 8, 8, seed=seed)
        mask = torch.rand(8, 8, generator=torch.Generator().manual_seed(seed)) < 0.5
        encoding = PhaseConstrained(encoding_operator(mask, maps), phase, weight)
        y = (
            encoding(3 + 4j + randn(8, 8, seed=seed + 50))
            + 0.3 * randn(2, 8, 8, seed=seed + 99) * mask
        )
        problem = SquareRootLasso(encoding, FiniteDifference((8, 8)), lam=0.3)
        found = AdaptiveBlock(AdaptiveSchedule(1e-3, 400))(problem, y, torch.zeros(8, 8).to(y))
        least = problem.objective(found.state.x, y)
        for v, q in ((found.state.v, found.state.q), (-y, None), (-encoding(1j * one), None)):
            assert float(problem.dual_value(v, y, q)) <= float(least) * (1 + 1e-12)
        # The bound is tight, too: nothing was taken from the dual that need not be.
        assert float(found.relative_gap) < 0.05
