"""The network's constant against Jacobians of networks written with dense matrices and autograd."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.learned.bound import (
    Stage,
    StageBound,
    combined_bound,
    stage_bounds,
)
from firenet_mri.firenet.learned.filters_norm import scaled

SHAPE = (4, 5)
PIXELS = math.prod(SHAPE)


def correlations(filters: np.ndarray, x: Tensor, *, circular: bool) -> Tensor:
    """Return W x, (2, n, pixels), of x, (2, pixels), pixel by pixel."""
    height, width = SHAPE
    size = filters.shape[1]
    image = x.reshape(2, height, width)
    rows = []
    for h in filters:
        total = torch.zeros_like(image)
        for a, b in np.ndindex(size, size):
            u, v = a - size // 2, b - size // 2
            moved = torch.roll(image, (-u, -v), dims=(1, 2))
            if not circular:
                i, j = torch.arange(height)[:, None] + u, torch.arange(width) + v
                moved = moved * ((i >= 0) & (i < height) & (j >= 0) & (j < width))
            total = total + float(h[a, b]) * moved
        rows.append(total.reshape(2, PIXELS))
    return torch.stack(rows, dim=1)


def dense(filters: np.ndarray, *, circular: bool) -> Tensor:
    """Return W as a matrix, (n, pixels, pixels)."""
    basis = torch.eye(PIXELS, dtype=torch.float64)
    columns = [correlations(filters, torch.stack([e, e]), circular=circular)[0] for e in basis]
    return torch.stack(columns, dim=-1)


def firm(t: Tensor, r: float, rho: float) -> Tensor:
    return torch.where(
        t <= r, t, (r - rho * (t - r)).clamp(min=0) if rho else torch.full_like(t, r)
    )


def shrink(x: Tensor, w: Tensor, group: int, firmness: np.ndarray, r: float) -> Tensor:
    """Return x - W^T P(W x) for x (2, pixels)."""
    c = torch.einsum("npq,iq->pni", w, x)
    parts = []
    for first in range(0, c.shape[1], group):
        u, s, v = torch.linalg.svd(c[:, first : first + group], full_matrices=False)
        parts.append(u * firm(s, r, float(firmness[first]))[:, None] @ v)
    return x - torch.einsum("npq,pni->iq", w, torch.cat(parts, dim=1))


def random_filters(rng, count: int, limit: float) -> np.ndarray:
    return scaled(50 * rng.standard_normal((count, 3, 3)).astype(np.float32), limit)


@pytest.mark.parametrize("circular", [True, False])
@pytest.mark.parametrize("group", [1, 2, 3])
@pytest.mark.parametrize("limit", [1.0, 2.0, 4.0])
def test_a_layers_jacobian_has_its_eigenvalues_where_it_is_proven(limit, group, circular) -> None:
    rng = np.random.default_rng(group)
    filters = random_filters(rng, 6, limit)
    firmness = np.repeat(rng.uniform(0, 0.6, 6 // group), group)
    bound = stage_bounds([Stage((), filters, firmness)])[0]
    w = dense(filters, circular=circular)
    ends = []
    for scale in (0.3, 1.0, 3.0):
        x = scale * torch.from_numpy(rng.standard_normal((2, PIXELS)))
        jacobian = torch.autograd.functional.jacobian(
            lambda z: shrink(z.reshape(2, -1), w, group, firmness, 0.5).reshape(-1), x.reshape(-1)
        )
        torch.testing.assert_close(jacobian, jacobian.T, atol=1e-8, rtol=0)
        values = torch.linalg.eigvalsh(jacobian)
        assert values[0] >= 1 - bound.filters - 1e-9
        assert values[-1] <= 1 + bound.firm + 1e-9
        assert values.abs().max() <= bound.layer + 1e-9
        ends.append((float(values[0]), float(values[-1])))
    # Neither end is idle: some Jacobian shrinks, and some expands.
    assert min(low for low, _ in ends) < 1 - 0.3 * limit
    assert max(high for _, high in ends) > 1.0001


def test_both_ends_of_a_layers_spectrum_are_attained() -> None:
    """Means of 3 x 3 pixels of a constant image, periodic; two groups with a rho each."""
    filters = np.full((2, 3, 3), 1 / 9, dtype=np.float32)
    firmness = np.array([0.1, 0.3])
    bound = stage_bounds([Stage((), filters, firmness)])[0]
    w = dense(filters, circular=True)
    constant = torch.zeros(2, PIXELS, dtype=torch.float64)
    constant[0] = 1
    ends = []
    for size in (0.5, 2.0):
        _, change = torch.autograd.functional.jvp(
            lambda z: shrink(z, w, 1, firmness, 1.0), size * constant, constant
        )
        ends.append(float(change[0, 0]))
    assert ends == pytest.approx([1 - bound.filters, 1 + bound.firm], abs=1e-3)
    assert bound.layer == pytest.approx(1.4, abs=1e-3)


def test_filters_may_be_as_long_as_firm_thresholds_make_free() -> None:
    filters = np.full((1, 1, 1), 1.5, dtype=np.float32)
    soft, firm_layer = (
        stage_bounds([Stage((), filters, np.array([rho]))])[0].layer for rho in (0, 0.2)
    )
    assert soft == pytest.approx(1.25)
    assert firm_layer == pytest.approx(1.45)


class Network:
    """The network in double precision, with a dense A and dense W; y (2, samples) real."""

    def __init__(self, rng, stages, group: int, thresholds, a: Tensor) -> None:
        self.stages, self.group, self.thresholds = stages, group, thresholds
        self.w = [dense(stage.filters, circular=bool(i % 2)) for i, stage in enumerate(stages)]
        self.a = a

    def __call__(self, y: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        data = torch.complex(y[0], y[1])
        adjoint = self.a.conj().T
        x = torch.zeros(PIXELS, dtype=torch.complex128)
        for stage, w, r in zip(self.stages, self.w, self.thresholds, strict=True):
            power = adjoint @ (data - self.a @ x)
            for c in stage.coefficients:
                x = x + float(c) * power
                power = adjoint @ (self.a @ power)
            pair = torch.stack([x.real, x.imag]) / scale
            pair = shrink(pair, w, self.group, stage.firmness, r) * scale
            x = torch.complex(pair[0], pair[1])
        return torch.stack([x.real, x.imag])


def random_network(seed: int, depth: int = 3) -> tuple[Network, Tensor]:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((2, 25, PIXELS))
    a = torch.from_numpy(a[0] + 1j * a[1])
    a = a / torch.linalg.matrix_norm(a, 2)
    stages = [
        Stage(
            tuple(float(np.float32(c)) for c in (1.9, -1.2, 0.3)),
            random_filters(rng, 4, 2.0),
            np.repeat(rng.uniform(0, 0.3, 2), 2),
        )
        for _ in range(depth)
    ]
    network = Network(rng, stages, 2, rng.uniform(0.02, 0.2, depth), a)
    return network, torch.from_numpy(rng.standard_normal((2, 25)))


def layers_bound(stages) -> float:
    return combined_bound(stage_bounds(stages))


def jacobian_norm(function, y: Tensor) -> float:
    jacobian = torch.autograd.functional.jacobian(function, y).reshape(-1, y.numel())
    return float(torch.linalg.matrix_norm(jacobian, 2))


@pytest.mark.parametrize("seed", range(3))
def test_jacobians_of_random_networks_stay_below_the_bound(seed) -> None:
    network, y = random_network(seed)
    bound = layers_bound(network.stages)
    found = [jacobian_norm(network, size * y) for size in (0.1, 0.5, 2.0)]
    assert 0.3 * bound < max(found) <= bound


@pytest.mark.parametrize("seed", range(2))
def test_jacobians_with_thresholds_in_proportion_to_the_data_stay_below_the_bound(seed) -> None:
    network, y = random_network(seed)
    bound = math.sqrt(2) * layers_bound(network.stages)
    norm = jacobian_norm(lambda z: network(z, torch.linalg.vector_norm(z)), y)
    assert norm <= bound


def test_one_stage_attains_its_bound() -> None:
    """A sees the constant image with the singular value at which t p(t)^2 is largest."""
    coefficients = (1.5, -1.0)
    t = 0.5
    filters, firmness = np.full((1, 3, 3), 1 / 6, dtype=np.float32), np.array([0.25])
    stage = Stage(coefficients, filters, firmness)
    constant = torch.full((PIXELS,), PIXELS**-0.5, dtype=torch.complex128)
    a = t**0.5 * torch.outer(torch.eye(3, dtype=torch.complex128)[0], constant)
    network = Network(None, [stage], 1, [1.0], a)
    network.w = [dense(filters, circular=True)]
    y = torch.zeros(2, 3, dtype=torch.float64)
    # The image is 4/3 before and 2 after W: past r = 1, short of r (1 + 1 / rho) = 5.
    y[0, 0] = 4 / 3 * PIXELS**0.5 / t**0.5
    assert jacobian_norm(network, y) == pytest.approx(layers_bound([stage]), rel=1e-3)
    assert jacobian_norm(network, y) <= layers_bound([stage])


def test_numbers_of_stages_combine_as_the_formula_says_rounded_upwards() -> None:
    bounds = [
        StageBound(0.3, 1.1, 2, 0.1),
        StageBound(0.7, 1.2, 2, 0.2),
        StageBound(0, 1.3, 2, 0.3),
    ]
    square = sum(
        Fraction(b.step) * math.prod(Fraction(c.layer) ** 2 for c in bounds[k:])
        for k, b in enumerate(bounds)
    )
    bound = combined_bound(bounds)
    assert Fraction(bound) ** 2 >= square
    assert bound == pytest.approx(float(square) ** 0.5, rel=1e-14)


def test_only_the_first_data_step_starts_from_zero() -> None:
    filters, firmness = np.zeros((1, 1, 1)), np.zeros(1)
    steps = [(), (1.5,), (1.5,), (0.0,), (1.5,)]
    numbers = [b.step for b in stage_bounds([Stage(c, filters, firmness) for c in steps])]
    assert numbers == pytest.approx([0, 2.25, 3, 0, 3], rel=2e-6)


def test_layers_without_a_data_step_multiply() -> None:
    filters, firmness = np.ones((1, 1, 1)), np.array([0.5])
    once = layers_bound([Stage((1.0,), filters, firmness)])
    twice = layers_bound([Stage((1.0,), filters, firmness), Stage((), filters, firmness)])
    assert once == pytest.approx(1.5, rel=1e-5)
    assert twice == pytest.approx(2.25, rel=1e-5)


def test_a_bound_beyond_double_precision_is_infinite() -> None:
    stage = Stage((1.0,), np.full((1, 1, 1), 1e30), np.zeros(1))
    assert layers_bound([stage] * 4) == math.inf


def test_errors_name_the_stage() -> None:
    filters = np.zeros((1, 1, 1))
    good, bad = (Stage((c,), filters, np.zeros(1)) for c in (1.0, -1.0))
    with pytest.raises(UsageError, match="stage 2: the polynomial"):
        layers_bound([good, bad])
    with pytest.raises(UsageError, match="stage 1: a weight"):
        layers_bound([Stage((1.0,), filters, np.array([-0.1]))])


def test_every_filter_needs_its_rho() -> None:
    with pytest.raises(ShapeError, match="firmness"):
        Stage((1.0,), np.zeros((2, 3, 3)), np.zeros(1))
