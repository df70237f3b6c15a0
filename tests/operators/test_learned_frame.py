"""Learned frames are Parseval frames whatever their parameters, and that is proven exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close, check_linear_operator
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators import PhaseCoherent
from firenet_mri.operators.learned_frame import LARGEST_DEVIATION, LearnedFrame
from firenet_mri.operators.paraunitary import (
    cascade,
    norm_bound,
    parseval_deviation,
    reach,
    rotation,
    rounded,
)
from firenet_mri.operators.stationary_cosine import StationaryCosine

START = StationaryCosine(3, (3, 3)).kernels
DISTANCES = (0, 1, 2)


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kernels(seed: int, size: float = 1.0, distances: tuple[int, ...] = DISTANCES) -> Tensor:
    """Filters of a cascade with random angles, averages left alone."""
    return rounded(cascade(START, size * random(seed, len(distances), 28), distances, 1))


@given(
    seed=st.integers(0, 1000),
    size=st.sampled_from([1e-3, 1.0, 30.0]),
    distances=st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple),
    shape=st.tuples(st.integers(3, 13), st.integers(3, 13)),
)
@settings(max_examples=12)
def test_every_angle_and_image_size_gives_a_parseval_frame(seed, size, distances, shape) -> None:
    """Images may be smaller than the filters, which then wrap around them several times."""
    frame = LearnedFrame(kernels(seed, size, distances), shape)
    check_linear_operator(frame, batch=(2,))
    assert frame.deviation < Fraction(1, 10**13)
    assert 1 <= frame.norm_bound < 1 + 1e-13


@pytest.mark.parametrize("size", [1e-8, 1.0, 100.0])
def test_rotation_is_the_exponential_of_the_skew_matrix(size) -> None:
    skew = size * random(1, 10)
    upper = np.zeros((5, 5))
    upper[np.triu_indices(5, 1)] = skew.numpy()
    # i S is Hermitian, so that numpy knows the exponential.
    values, vectors = np.linalg.eigh(1j * (upper - upper.T))
    expected = (vectors * np.exp(-1j * values)) @ vectors.conj().T
    found = rotation(skew, 5)
    assert_close(found, torch.from_numpy(expected.real), 1e-13 * max(size, 1))
    assert float((found.mT @ found - torch.eye(5).double()).abs().max()) < 2e-15


def test_without_angles_the_cascade_is_its_start_with_zeros_around() -> None:
    found = cascade(START, torch.zeros(3, 28).double(), DISTANCES, 1)
    assert_close(found[:, 2:5, 2:5], START)
    assert found.abs().sum() == pytest.approx(float(found[:, 2:5, 2:5].abs().sum()), rel=1e-12)


def test_angles_turn_details_only_which_keep_zero_means_and_reach_further() -> None:
    found = kernels(2)
    assert torch.equal(found[0, 2:5, 2:5], rounded(START[0]))
    assert float(found[0].abs().sum()) == pytest.approx(1, rel=1e-12)
    assert float(found[1:].sum((1, 2)).abs().max()) < 1e-14
    assert found.shape == (9, 7, 7)


@pytest.mark.parametrize("distances", [(0,), (1,), (0, 1, 2), (2, 1), (1, 0, 1), (1, 3, 0, 2)])
def test_filters_reach_as_far_as_is_said_and_no_further(distances) -> None:
    found = kernels(2, 1.0, distances)[1:].abs()
    size = 3 + 2 * reach(distances)
    for axes in ((0, 1), (0, 2)):
        assert found.amax(axes).shape == (size,)
        assert bool((found.amax(axes) > 1e-6).all())
    frame = LearnedFrame(kernels(2, 1.0, distances), (9, 8))
    assert float(frame.deviation) < 1e-13


def test_derivatives_by_the_angles_are_those_of_finite_differences() -> None:
    angles = random(3, 2, 28).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: cascade(START, a, (0, 1), 1), angles, fast_mode=True)


@pytest.mark.parametrize("size", [1e-9, 1e-4, 0.3])
@pytest.mark.parametrize("shape", [(5, 4), (16, 9), (64, 64)])
def test_proven_deviation_bounds_the_one_at_every_frequency(size, shape) -> None:
    """An attack: filters that are off, on several grids, beside numpy's transform."""
    off = rounded(kernels(4) + size * random(5, 9, 7, 7) / 9)
    folded = np.zeros((9, *shape))
    for (band, y, x), tap in np.ndenumerate(off.numpy()):
        folded[band, y % shape[0], x % shape[1]] += tap
    energy = (np.abs(np.fft.fft2(folded)) ** 2).sum(0)
    proven = float(parseval_deviation(off))
    assert np.abs(energy - 1).max() <= proven * (1 + 1e-9) + 1e-14
    assert np.sqrt(energy.max()) <= norm_bound(parseval_deviation(off)) * (1 + 1e-14)
    assert proven < 50 * size


def test_deviation_is_exact() -> None:
    one = torch.zeros(2, 2, 1).double()
    one[0, 0], one[0, 1], one[1, 0] = 0.5, 2.0**-40, 0.75
    lag = Fraction(1, 2) * Fraction(1, 2**40)
    middle = Fraction(1, 4) + Fraction(1, 2**80) + Fraction(9, 16) - 1
    assert parseval_deviation(one) == abs(middle) + 2 * lag


@pytest.mark.parametrize("deviation", [0, Fraction(1, 10**17), Fraction(1, 3), Fraction(7, 10**13)])
def test_norm_bound_is_rounded_up(deviation) -> None:
    assert Fraction(norm_bound(Fraction(deviation))) ** 2 >= 1 + deviation


@pytest.mark.parametrize("shape", [(16, 12), (7, 5)])
def test_a_frame_in_training_is_the_same_map(shape) -> None:
    fixed = LearnedFrame(kernels(6), shape)
    trained = LearnedFrame(kernels(6).requires_grad_(), shape)
    x, y = (
        torch.complex(random(i, *s), random(i + 9, *s)) for i, s in ((7, shape), (8, (9, *shape)))
    )
    assert trained.is_trained
    assert_close(trained(x).detach(), fixed(x))
    assert_close(trained.adjoint(y).detach(), fixed.adjoint(y))


@pytest.mark.parametrize("groups", [None, (1, 3, 5)])
def test_gradients_by_the_filters_are_those_of_finite_differences(groups) -> None:
    x, q = random(9, 5, 4), random(10, 1, 9, 5, 4)
    radius = torch.full((9, 1, 1), 0.3).double().requires_grad_()

    def step(filters: Tensor, limits: Tensor) -> Tensor:
        frame = LearnedFrame(filters, (5, 4), groups, Fraction(0))
        sigma = torch.tensor(0.7).double()
        after, image = frame.dual_step(q, x, sigma, limits.exp())
        # An image that the filters have made.
        after, image = frame.dual_step(after, x - image, sigma, limits.exp())
        return torch.cat([after.flatten(), image.flatten()])

    filters = kernels(11).requires_grad_()
    assert torch.autograd.gradcheck(step, (filters, radius), fast_mode=True)


@torch.no_grad()
def test_steps_in_slabs_are_those_of_the_whole_image(monkeypatch) -> None:
    frame = LearnedFrame(kernels(12), (40, 11))
    x, sigma = torch.complex(random(13, 40, 11), random(14, 40, 11)), torch.tensor(0.5).double()
    whole = frame.dual_step(frame.zero_dual(x), x, sigma, 0.2)
    monkeypatch.setattr("firenet_mri.operators.frame._SLAB", 18 * 11 * 12)
    parts = frame.dual_step(frame.zero_dual(x), x, sigma, 0.2)
    for one, other in zip(parts, whole, strict=True):
        assert_close(one, other)
    q, weights = frame.coefficients(whole[0]), 1 + random(15, 9, 1, 1).abs()
    looks = [frame.weighted_sum(x, weights), frame.room(q, x, weights)]
    looks.append(frame.synthesised(q, q.dtype))
    monkeypatch.setattr("firenet_mri.operators.frame._LARGE", 100)
    again = [frame.weighted_sum(x, weights), frame.room(q, x, weights)]
    again.append(frame.synthesised(q, q.dtype))
    for one, other in zip(again, looks, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("groups", [(9,), (1, 1, 7)])
def test_bands_can_be_coherent(groups) -> None:
    frame = PhaseCoherent(LearnedFrame(kernels(15), (6, 5)), groups)
    check_linear_operator(frame)
    assert frame.is_parseval
    assert frame.norm_bound >= frame.frame.norm_bound


def test_what_is_no_parseval_frame_is_refused() -> None:
    off = rounded(kernels(16) * (1 + 1e-11))
    with pytest.raises(UsageError, match="not a Parseval frame: W"):
        LearnedFrame(off, (8, 8))
    assert parseval_deviation(off) > LARGEST_DEVIATION
    for value in (float("nan"), 2.0, 2.0**-61):
        with pytest.raises(UsageError, match="at most 1"):
            parseval_deviation(torch.full((1, 1, 1), value).double())
    with pytest.raises(UsageError, match="2D images"):
        LearnedFrame(kernels(16), (8, 8, 8))
    with pytest.raises(UsageError, match="there are 9 bands"):
        LearnedFrame(kernels(16), (8, 8), (4, 4))
    with pytest.raises(UsageError, match="cannot be scaled"):
        PhaseCoherent(LearnedFrame(kernels(16), (8, 8)), (9,), torch.full((9,), 0.5))
    with pytest.raises(UsageError, match="28 angles"):
        cascade(START, torch.zeros(3, 36), DISTANCES, 1)
