"""Wavelets equal PyWavelets where it has them, and stay unitary or Parseval where it has not."""

from __future__ import annotations

import pytest
import pywt
import torch
from laws import assert_close

from firenet_mri.errors import UsageError
from firenet_mri.operators import OrthogonalWavelet, StationaryWavelet, make_sparsifier


@pytest.mark.parametrize("name", ["haar", "db2", "db4", "db8", "sym4", "coif1"])
@pytest.mark.parametrize(
    ("shape", "levels"), [((64,), 3), ((32, 64), 2), ((16, 8, 32), 2), ((12, 20), 2)]
)
@pytest.mark.filterwarnings("ignore:Level value:UserWarning")
def test_coefficients_equal_pywt_periodization(name, shape, levels, randn) -> None:
    x = randn(*shape, dtype=torch.float64)
    expected = pywt.wavedecn(x.numpy(), name, mode="periodization", level=levels)
    array, _ = pywt.coeffs_to_array(expected)
    assert_close(OrthogonalWavelet(name, levels, shape)(x), torch.from_numpy(array))


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_undecimated_haar_equals_pywt(ndim, randn) -> None:
    shape, levels = (16, 8, 32)[:ndim], 3
    x = randn(*shape, dtype=torch.float64)
    averages, *details = pywt.swtn(x.numpy(), "haar", levels, norm=True, trim_approx=True)
    ours = list(StationaryWavelet(levels, shape)(x))
    assert_close(ours.pop(0), torch.from_numpy(averages))
    for level in details:
        for band in range(1, 2**ndim):
            key = "".join("ad"[band >> axis & 1] for axis in range(ndim))
            assert_close(ours.pop(0), torch.from_numpy(level[key]))
    assert not ours


@pytest.mark.parametrize("shape", [(7, 9), (16, 11), (5, 6, 7)])
def test_undecimated_haar_commutes_with_shifts_and_decimated_does_not(shape, randn) -> None:
    x = randn(*shape)
    axes = tuple(range(-len(shape), 0))
    shifts = (1,) * len(shape)
    operator = StationaryWavelet(2, shape)
    assert_close(operator(x.roll(shifts, axes)), operator(x).roll(shifts, axes))
    decimated = OrthogonalWavelet("haar", 1, shape)
    assert (decimated(x.roll(shifts, axes)).abs().sum() - decimated(x).abs().sum()).abs() > 1e-3


@pytest.mark.parametrize("make", [OrthogonalWavelet, StationaryWavelet])
def test_constant_images_have_averages_only(make) -> None:
    shape = (16, 24)
    operator = make("db3", 3, shape) if make is OrthogonalWavelet else make(3, shape)
    coefficients = operator(torch.ones(shape, dtype=torch.float64))
    levels = operator.band_levels.expand(coefficients.shape)
    assert coefficients[levels > 0].abs().max() < 1e-11
    assert coefficients[levels == 0].abs().min() > 0.5
    assert sorted(set(levels.flatten().tolist())) == [0, 1, 2, 3]


def test_finest_level_holds_three_quarters_of_an_even_image() -> None:
    levels = OrthogonalWavelet("haar", 2, (16, 16)).band_levels
    assert [(levels == level).sum().item() for level in range(3)] == [16, 48, 192]


@pytest.mark.parametrize("name", ["bior2.2", "dmey", "nonsense", "gaus1", ""])
def test_wavelets_that_are_not_orthogonal_are_refused(name) -> None:
    with pytest.raises(UsageError, match="rthogonal"):
        OrthogonalWavelet(name, 1, (8, 8))


@pytest.mark.parametrize("levels", [0, 4, 9])
def test_more_levels_than_the_size_allows_are_refused(levels) -> None:
    with pytest.raises(UsageError, match="levels requested"):
        OrthogonalWavelet("haar", levels, (8, 5))
    with pytest.raises(UsageError, match="levels requested"):
        StationaryWavelet(levels, (8, 5))


def test_sparsifiers_are_found_by_name_on_small_images_too() -> None:
    assert isinstance(make_sparsifier("undecimated-haar", (230, 180)), StationaryWavelet)
    assert make_sparsifier("undecimated-haar", (230, 180)).levels == 1
    assert make_sparsifier("db4", (230, 180)).levels == 4
    assert make_sparsifier("haar", (4, 4)).levels == 1
    with pytest.raises(UsageError, match="nonsense"):
        make_sparsifier("nonsense", (64, 64))


@pytest.mark.parametrize("shape", [(32,), (16, 11), (8, 16, 9)])
def test_band_norms_are_the_deviation_of_white_noise(shape) -> None:
    operator = StationaryWavelet(2, shape)
    delta = torch.zeros(shape, dtype=torch.float64)
    delta[(0,) * len(shape)] = 1
    # All wavelets of a band are shifts of one: its norm is that of the band's response to a delta.
    response = operator(delta).flatten(1).norm(dim=1)
    assert_close(operator.band_norms.flatten(), response)
