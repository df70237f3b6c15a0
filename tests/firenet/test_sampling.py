"""Patterns have the samples that the theory asks for, where it asks for them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import PAPER_SPARSITIES, level_index
from firenet_mri.firenet.sampling import (
    allocate,
    band_of_frequency,
    default_sparsities,
    density,
    fourier_haar,
    measured_sparsities,
    sampling_design,
    sampling_pattern,
    walsh_haar,
)
from firenet_mri.operators import CartesianFourier, OrthogonalWavelet, WalshHadamard
from firenet_mri.phantoms import shepp_logan

DECAY = [0, 0.339, 0.636, 0.913, 1.177, 1.432, 1.682, 1.927, 2.168, 2.406]


def coherences(transform: str, size: int, levels: int) -> np.ndarray:
    """|B_k| max |U_ij|^2 of bands (k1, k2) and levels l, from the explicit matrix U."""
    shape = (size, size)
    wavelet = OrthogonalWavelet("haar", levels, shape)
    encode = {"fourier": CartesianFourier, "walsh": WalshHadamard}[transform](None, shape)
    unit = torch.eye(size * size, dtype=torch.complex128).reshape(-1, *shape)
    matrix = encode(wavelet.adjoint(unit)).reshape(size * size, -1).mT.abs().square()
    index = level_index(wavelet).flatten()
    band = band_of_frequency(size, levels, transform)
    result = np.zeros((levels,) * 3)
    for k1, k2, level in np.ndindex(result.shape):
        rows = torch.from_numpy(np.logical_and.outer(band == k1, band == k2).ravel())
        result[k1, k2, level] = int(rows.sum()) * float(matrix[rows][:, index == level].max())
    return result


@pytest.mark.parametrize(
    ("transform", "measure", "low", "high"),
    [("fourier", fourier_haar, 0.17, 9.8), ("walsh", walsh_haar, 1 - 1e-12, 4 + 1e-12)],
)
def test_measures_follow_the_coherences_of_the_transforms(transform, measure, low, high) -> None:
    """Up to a factor, for every band and level; for Walsh exactly zero where M_W is zero."""
    found = coherences(transform, 32, 4)
    for level in range(4):
        single = [float(level == other) for other in range(4)]
        expected = measure(single, 2)
        zero = expected == 0
        assert (found[..., level][zero] < 1e-25).all()
        ratio = found[..., level][~zero] / expected[~zero]
        assert low <= ratio.min()
        assert ratio.max() <= high
        assert zero.any() == (transform == "walsh")


@pytest.mark.parametrize("moments", [1, 2, 4, 10])
def test_fourier_density_is_the_published_codes(moments) -> None:
    """Its two-dimensional formula, for k1 <= k2, with its own numbering from 1."""
    s, v, q = (3, 7, 1, 20), moments, DECAY[moments - 1]
    found = density(s, 2, wavelet="haar" if v == 1 else f"db{v}", transform="fourier")
    for k1 in range(1, 5):
        for k2 in range(k1, 5):
            m = 0.0
            for level in range(1, 5):
                if level <= k1:
                    m += s[level - 1] * 2 ** -((2 * q + 1) * (k1 + k2 - 2 * level))
                elif level <= k2:
                    m += s[level - 1] * 2 ** -((level - k1) + (2 * q + 1) * (k2 - level))
                else:
                    m += s[level - 1] * 2 ** -((level - k1) + (2 * v + 1) * (level - k2))
            m *= 2 ** ((k1 == 1) + (k2 == 1))
            assert found[k1 - 1, k2 - 1] == pytest.approx(m)
            assert found[k2 - 1, k1 - 1] == pytest.approx(m)


def test_walsh_densities_are_the_theorys_and_the_published_codes() -> None:
    s = (3, 7, 1, 20)
    haar = density(s, 2, wavelet="haar", transform="walsh")
    smooth = density(s, 2, wavelet="db3", transform="walsh")
    for k1 in range(1, 5):
        for k2 in range(k1, 5):
            first = 2 ** ((k1 == 1) + (k2 == 1))
            assert haar[k1 - 1, k2 - 1] == pytest.approx(first * s[k2 - 1] * 2 ** -(k2 - k1))
            if k2 == 1:
                m = 16 * sum(s[level - 1] * 2.0 ** (-2 * level) for level in range(1, 5))
            elif k1 == 1:
                m = 4 * sum(
                    s[level - 1] * 2.0 ** -(level + abs(level - k2)) for level in (1, 2, 3, 4)
                )
            else:
                parts = [2.0 ** -(abs(n - k1) + abs(n - k2)) for n in (1, 2, 3, 4)]
                m = sum(a * b for a, b in zip(s, parts, strict=True))
            assert smooth[k1 - 1, k2 - 1] == smooth[k2 - 1, k1 - 1] == pytest.approx(m)


def test_bands_are_the_published_codes() -> None:
    """N = 32, r = 4, j0 = 1: band 1 is {-1..2} there, band k is (2^k-1, 2^k] and its mirror.

    There frequency f stands at N/2 - 1 + f (from 0), so f = 0 there is -1 of a centred transform.
    """
    band = band_of_frequency(32, 4, "fourier") + 1
    f = np.arange(32) - 15
    assert set(f[band == 1]) == {-1, 0, 1, 2}
    assert set(f[band == 2]) == {3, 4, -2, -3}
    assert set(f[band == 3]) == {5, 6, 7, 8, -4, -5, -6, -7}
    assert set(f[band == 4]) == {*range(9, 17), *range(-15, -7)}
    assert band_of_frequency(16, 3, "walsh").tolist() == [0] * 4 + [1] * 4 + [2] * 8


@given(size=st.integers(4, 300), data=st.data())
def test_bands_grow_outwards_on_any_size(size, data) -> None:
    levels = data.draw(st.integers(1, int(math.log2(size))))
    band = band_of_frequency(size, levels, "fourier")
    assert sorted(set(band)) == list(range(levels))
    assert band[size // 2] == 0
    assert (np.diff(band[size // 2 :]) >= 0).all()
    mirror = band[::-1] if size % 2 else band[: size // 2][::-1]
    assert (mirror == (band if size % 2 else band[size // 2 :])).all()


@given(
    bands=st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(1, 50)), min_size=1, max_size=8),
    part=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_allocation_is_proportional_exact_and_monotone(bands, part, seed) -> None:
    wanted, sizes = np.array([b[0] for b in bands]), np.array([b[1] for b in bands])
    lowest = np.random.default_rng(seed).integers(0, sizes + 1) * (seed % 2)
    total = int(lowest.sum() + part * (sizes - lowest).sum())
    found = allocate(wanted, sizes, total, at_least=lowest)
    assert found.sum() == total
    assert (found >= lowest).all()
    assert (found <= sizes).all()
    # No band would be rounded up before one that was: the rule of the divisor method.
    up, down = (found + 0.5) / wanted, (found - 0.5) / wanted
    if (found < sizes).any() and (found > lowest).any():
        assert down[found > lowest].max() <= up[found < sizes].min() * (1 + 1e-9)
    if total < sizes.sum():
        assert (allocate(wanted, sizes, total + 1, at_least=lowest) >= found).all()


def test_allocation_of_a_case_by_hand() -> None:
    found = allocate(np.array([10.0, 5.0, 1.0]), np.array([4, 100, 100]), 16)
    assert found.tolist() == [4, 10, 2]
    # The first two round up at the same c: one sample is left for one of them, none for the third.
    assert allocate(np.array([1.0, 1.0, 0.01]), np.array([9, 9, 9]), 3).tolist() == [2, 1, 0]


def test_walsh_measure_of_a_band_in_three_dimensions_by_hand() -> None:
    assert walsh_haar((3, 5, 48), 3)[0, 1, 2] == 48 / 4 / 2


@given(
    shape=st.tuples(st.integers(4, 70), st.integers(4, 70)),
    rate=st.floats(0.01, 1),
    seed=st.integers(0, 3),
)
def test_patterns_of_any_size_have_the_number_asked_for(shape, rate, seed) -> None:
    # Half of it, below, is at least one sample.
    rate = max(rate, 2 / math.prod(shape))
    design = sampling_design(shape, rate, seed=seed)
    count = round(rate * math.prod(shape))
    assert int(design.mask.sum()) == count == design.band_samples.sum()
    assert design.rate == pytest.approx(count / math.prod(shape))
    assert tuple(design.mask.shape) == shape
    assert torch.equal(design.mask, sampling_pattern(shape, rate, seed=seed))
    lower = sampling_pattern(shape, rate / 2, seed=seed)
    assert not (lower & ~design.mask).any()


def test_every_band_has_its_samples() -> None:
    for transform in ("fourier", "walsh"):
        design = sampling_design((64, 64), 0.2, transform=transform)
        band = band_of_frequency(64, 5, transform)
        for k1, k2 in np.ndindex(5, 5):
            block = design.mask[band == k1][:, band == k2]
            assert block.numel() == design.band_sizes[k1, k2]
            assert int(block.sum()) == design.band_samples[k1, k2]
        assert design.level_samples[0] == 16
        assert sum(design.level_samples) == round(0.2 * 64 * 64)
        assert design.level_frequencies == (16, 48, 192, 768, 3072)


def test_samples_are_spread_evenly_in_a_band() -> None:
    """Over many seeds every point of a band is drawn equally often; the zero frequency always."""
    draws = 400
    total = sum(sampling_pattern((16, 16), 0.4, seed=seed).double() for seed in range(draws))
    design = sampling_design((16, 16), 0.4)
    band = band_of_frequency(16, 3, "fourier")
    for k1, k2 in np.ndindex(3, 3):
        block = total[band == k1][:, band == k2]
        if k1 == k2 == 0:
            assert block[2, 2] == draws
            continue
        part = design.band_samples[k1, k2] / design.band_sizes[k1, k2]
        deviation = math.sqrt(draws * part * (1 - part))
        assert (block - draws * part).abs().max() <= 4.5 * deviation + 1e-9


def test_different_seeds_give_different_patterns() -> None:
    patterns = {sampling_pattern((32, 32), 0.3, seed=s).numpy().tobytes() for s in range(5)}
    assert len(patterns) == 5


@pytest.mark.parametrize("shape", [(32, 32), (31, 33), (8, 45)])
@pytest.mark.parametrize("rate", [0.001, 0.1])
def test_zero_frequency_is_always_sampled(shape, rate) -> None:
    flat = torch.ones(shape, dtype=torch.complex128)
    pattern = sampling_pattern(shape, max(rate, 1 / math.prod(shape)))
    kspace = CartesianFourier(pattern, shape)(flat)
    assert float(kspace.abs().max()) == pytest.approx(math.sqrt(math.prod(shape)))


def test_a_rate_of_less_than_one_sample_is_refused_with_the_lowest_rate() -> None:
    assert int(sampling_pattern((8, 45), 0.0028).sum()) == 1
    with pytest.raises(UsageError, match=r"less than one of 360 samples; give at least 0\.00278"):
        sampling_pattern((8, 45), 0.001)


def test_zero_sequency_is_always_sampled() -> None:
    mask = sampling_pattern((32, 32), 0.001, transform="walsh")
    sampled = WalshHadamard(mask, (32, 32))(torch.ones(32, 32))
    assert float(sampled.abs().max()) == pytest.approx(32)


def test_lines_and_planes_are_read_out_along_x() -> None:
    lines = sampling_pattern((60, 50), 0.3, kind="lines")
    assert int(lines[:, 0].sum()) == 18
    assert torch.equal(lines, lines[:, :1].expand(60, 50))
    plane = sampling_pattern((20, 30, 40), 0.3, kind="plane")
    assert int(plane[..., 0].sum()) == 180
    assert torch.equal(plane, plane[..., :1].expand(20, 30, 40))
    assert torch.equal(plane[..., 0], sampling_pattern((20, 30), 0.3))


@pytest.mark.parametrize(
    ("shape", "kind"), [((64, 50), "points"), ((64, 50), "lines"), ((31, 32, 8), "plane")]
)
def test_calibration_region_is_full_and_counts(shape, kind) -> None:
    design = sampling_design(shape, 0.5, kind=kind, calibration=12)
    pattern = design.mask.numpy().reshape(shape)
    centre = tuple(slice(size // 2 - 6, size // 2 + 6) for size in shape)
    axes = {"points": 2, "lines": 1, "plane": 2}[kind]
    assert pattern[centre[:axes]].all()
    total = round(0.5 * math.prod(shape[:axes]))
    assert pattern[(..., *(0,) * (len(shape) - axes))].sum() == total
    assert design.band_samples.sum() == total


def test_sparsities_decide_where_samples_go() -> None:
    coarse = sampling_design((64, 64), 0.2, sparsities=(16, 40, 10, 1, 1))
    fine = sampling_design((64, 64), 0.2, sparsities=(1, 1, 10, 40, 400))
    assert coarse.level_samples[2] > fine.level_samples[2]
    assert coarse.level_samples[4] < fine.level_samples[4]
    assert coarse.levels.kappa == pytest.approx(5)
    assert coarse.levels.sizes == (16, 48, 192, 768, 3072)


def test_default_sparsities_are_the_phantoms() -> None:
    assert default_sparsities((256, 256)) == PAPER_SPARSITIES
    assert default_sparsities((1024, 512)) == (*PAPER_SPARSITIES, 880)
    assert default_sparsities((64, 64)) == PAPER_SPARSITIES[:5]
    phantom = shepp_logan(256)
    assert default_sparsities((256,)) == measured_sparsities(phantom, kind="lines")


def test_sparsities_for_lines_are_the_largest_of_all_columns() -> None:
    image = torch.rand(64, 20, generator=torch.Generator().manual_seed(0)) + 0.5
    found = measured_sparsities(image, kind="lines", threshold=0.3)
    bands = pywt.wavedec(image.double().numpy(), "haar", "periodization", level=5, axis=0)
    large = [(np.abs(band) > 0.3 * float(image.max())).sum(0) for band in bands]
    expected = [(large[0] + large[1]).max(), *(count.max() for count in large[2:])]
    assert found == tuple(max(1, int(count)) for count in expected)


def test_sparsities_for_planes_are_the_largest_of_all_positions_along_x() -> None:
    volume = torch.rand(16, 32, 5, generator=torch.Generator().manual_seed(0))
    volume = volume / volume.amax((0, 1))
    each = [measured_sparsities(volume[..., x]) for x in range(5)]
    assert len(set(each)) > 1
    assert measured_sparsities(volume, kind="plane") == tuple(
        max(column) for column in zip(*each, strict=True)
    )


def test_margin_is_the_worst_band_that_is_not_full() -> None:
    design = sampling_design((64, 64), 0.2)
    kappa, measure = 5.0, fourier_haar(design.levels.sparsities, 2)
    worst = min(
        design.band_samples[k] / (kappa * measure[k])
        for k in np.ndindex(5, 5)
        if design.band_samples[k] < design.band_sizes[k]
    )
    assert design.margin == pytest.approx(worst)
    assert sampling_design((64, 64), 1.0).margin == math.inf
    assert sampling_design((64, 64), 0.2, wavelet="db2").margin is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": 1.01}, "rate is 1.01"),
        ({"rate": math.nan}, "rate is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"kind": "spiral"}, "Unknown kind 'spiral'.*points, lines, plane"),
        ({"transform": "cosine"}, "Unknown transform 'cosine'"),
        ({"kind": "plane"}, "needs 3 axes"),
        ({"spatial_shape": (4, 4, 4)}, "needs 2 axes"),
        ({"spatial_shape": (1, 8)}, "at least 2"),
        ({"spatial_shape": (32, 48), "transform": "walsh"}, "powers of two"),
        ({"transform": "walsh", "calibration": 4}, "no calibration region"),
        ({"calibration": -1}, "calibration is -1"),
        ({"calibration": 30, "rate": 0.1}, "900 samples, the rate 0.1 allows 102"),
        ({"sparsities": ()}, "0 sparsities given"),
        ({"sparsities": (1,) * 6}, "6 sparsities given.*1 to 5"),
        ({"sparsities": (17, 1, 1, 1)}, "level 1 is 17"),
        ({"sparsities": (1, 0, 1, 1)}, "level 2 is 0"),
        ({"wavelet": "db11"}, "no known sampling density"),
        ({"wavelet": "coif2"}, "no known sampling density"),
    ],
)
def test_bad_arguments_are_refused(change, said) -> None:
    arguments = {"spatial_shape": (32, 32), "rate": 0.25} | change
    with pytest.raises(UsageError, match=said):
        sampling_pattern(arguments.pop("spatial_shape"), arguments.pop("rate"), **arguments)
