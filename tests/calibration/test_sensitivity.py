"""Sensitivity maps from every method explain the data; what cannot be estimated is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close

from firenet_mri.calibration import normalise_maps, sensitivity_maps
from firenet_mri.calibration.sensitivity import low_resolution_maps, sensitivities
from firenet_mri.errors import CalibrationError, UsageError
from firenet_mri.operators import NonuniformFourier, encoding_operator
from firenet_mri.operators.trajectories import golden_angle_frames
from firenet_mri.scan import RawScan

SIZE = 48


@pytest.fixture
def coil_images() -> torch.Tensor:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((4, SIZE, SIZE))).to(torch.complex64)
    return maps * torch.from_numpy(sigpy.shepp_logan((SIZE, SIZE))).to(torch.complex64)


@pytest.fixture
def scan(coil_images) -> RawScan:
    fourier = encoding_operator(None, torch.ones(4, SIZE, SIZE, dtype=torch.complex64)).fourier
    kspace = torch.stack([fourier(coil_images), fourier(coil_images.flip(-1))])
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, ::2] = True
    mask[:, 12:36] = True
    return RawScan(kspace * mask, mask, 2, name="made.h5")


@pytest.mark.parametrize("method", ["espirit", "jsense", "lowres"])
def test_maps_reproduce_the_coil_images_of_every_slice(scan, coil_images, method) -> None:
    maps = sensitivity_maps(scan, method)
    assert maps.shape == scan.kspace.shape
    for item, images in zip(maps, (coil_images, coil_images.flip(-1)), strict=True):
        combined = (item.conj() * images).sum(0)
        residual = images - item * combined
        assert residual.norm() < 0.08 * images.norm()
    energy = torch.linalg.vector_norm(maps, dim=1)
    assert torch.all((energy < 1e-6) | ((energy - 1).abs() < 1e-5))


@pytest.mark.parametrize("method", ["espirit", "jsense", "lowres"])
@pytest.mark.parametrize("factor", [2.0**63, 2.0**-66])
def test_maps_do_not_depend_on_the_size_of_the_data(scan, method, factor) -> None:
    """About 1e19 and 1e-20: squares of these do not fit single precision."""
    kspace = scan.kspace / scan.kspace.abs().amax((1, 2, 3), keepdim=True)
    ordinary = sensitivity_maps(dataclasses.replace(scan, kspace=kspace), method)
    extreme = sensitivity_maps(dataclasses.replace(scan, kspace=kspace * factor), method)
    assert torch.isfinite(torch.view_as_real(extreme)).all()
    assert_close(extreme, ordinary, 1e-4)


def test_maps_of_low_resolution_are_those_of_a_hann_window() -> None:
    """NumPy makes the same maps, of the centre that was sampled and nothing besides."""
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=(3, 21, 16)) + 1j * rng.normal(size=(3, 21, 16))).astype(np.complex64)
    window = np.zeros((21, 16))
    # The centre of N samples is N // 2; np.hanning begins and ends with 0.
    window[6:15, 5:12] = np.outer(np.hanning(11)[1:-1], np.hanning(9)[1:-1])
    images = sigpy.ifft(kspace * window, axes=(-2, -1))
    expected = torch.from_numpy(images / np.linalg.norm(images, axis=0)).to(torch.complex64)
    assert_close(low_resolution_maps(torch.from_numpy(kspace), [9, 7]), expected, 1e-4)


def test_maps_of_low_resolution_come_from_all_samples_if_the_centre_has_none(randn) -> None:
    kspace = randn(2, 3, 16, 16).to(torch.complex64)
    kspace[1, :, 4:12] = 0
    maps = low_resolution_maps(kspace, [7, 16])
    images = torch.from_numpy(sigpy.ifft(kspace[1].numpy(), axes=(-2, -1)))
    assert_close(maps[1], normalise_maps(images, 2), 1e-4)
    assert_close(maps[:1], low_resolution_maps(kspace[:1], [7, 16]))


def test_normalised_maps_give_a_norm_bound_of_one(randn) -> None:
    maps = randn(3, 8, 8)
    maps[:, 2, 2] = 0
    normalised = normalise_maps(maps, 2)
    assert encoding_operator(None, normalised).norm_bound == pytest.approx(1)
    assert not normalised[:, 2, 2].any()
    assert_close(normalise_maps(normalised, 2), normalised)


def test_single_coil_needs_to_be_said(scan) -> None:
    single = dataclasses.replace(scan, kspace=scan.kspace[:, :1])
    with pytest.raises(CalibrationError, match="--maps none"):
        sensitivity_maps(single)
    assert torch.equal(sensitivity_maps(single, "none"), torch.ones_like(single.kspace))
    for coils in (4, 2):
        several = dataclasses.replace(scan, kspace=scan.kspace[:, :coils])
        with pytest.raises(UsageError, match=f"{coils} coils"):
            sensitivity_maps(several, "none")


@pytest.mark.parametrize(
    ("method", "lines"), [("espirit", 11), ("espirit", 8), ("espirit", 0), ("jsense", 7)]
)
def test_too_small_calibration_region_is_refused_by_size(scan, method, lines) -> None:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, 1::4] = True
    start = SIZE // 2 - lines // 2
    mask[:, start - 1 : start + lines + 1] = False
    mask[:, start : start + lines] = True
    thin = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    with pytest.raises(CalibrationError, match=rf"made.h5: .* {lines} x .*at least") as raised:
        sensitivity_maps(thin, method)
    assert ("--maps jsense" in str(raised.value)) == (lines >= 8)


@pytest.mark.parametrize(("method", "lines"), [("espirit", 12), ("lowres", 4)])
def test_the_smallest_calibration_region_serves(scan, method, lines) -> None:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, SIZE // 2 - lines // 2 : SIZE // 2 + lines // 2] = True
    thin = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    assert bool(sensitivity_maps(thin, method).any())


def test_unknown_method_is_refused(scan) -> None:
    with pytest.raises(UsageError, match="espirit, jsense, lowres, none"):
        sensitivity_maps(scan, "magic")


@pytest.mark.parametrize("before", [0, 3])
def test_half_of_the_centre_serves_espirit(scan, before) -> None:
    """A half echo: nothing, or little, was sampled on the left of the centre."""
    whole = sensitivity_maps(scan)
    mask = scan.mask.clone()
    mask[..., : SIZE // 2 - before] = False
    half = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    maps = sensitivity_maps(half)
    known = (torch.linalg.vector_norm(whole, dim=1) > 0) & (
        torch.linalg.vector_norm(maps, dim=1) > 0
    )
    assert known.float().mean() > 0.3
    # Each set has a phase of its own in every pixel.
    agreement = (whole.conj() * maps).sum(1).abs()[known]
    assert agreement.mean() > 0.995
    with pytest.raises(CalibrationError, match=r"25 x (1|7), but (jsense|lowres) needs at least"):
        sensitivity_maps(half, "lowres" if before == 0 else "jsense")


def test_too_few_lines_of_half_a_centre_are_refused(scan) -> None:
    mask = scan.mask.clone()
    mask[..., : SIZE // 2] = False
    mask[..., :17, :] = mask[..., 31:, :] = False
    half = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    with pytest.raises(CalibrationError, match="14 x 1, but espirit needs"):
        sensitivity_maps(half)
    mask[..., 31, SIZE // 2 :] = True
    half = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    assert bool(sensitivity_maps(half).any())


def test_eigenvalues_are_those_of_a_single_slice_in_the_unit_of_its_samples(scan) -> None:
    assert sensitivities(scan).eigenvalues is None
    one = dataclasses.replace(scan, kspace=scan.kspace[0], mask=scan.mask[0])
    found = sensitivities(one).eigenvalues
    huge = sensitivities(dataclasses.replace(one, kspace=one.kspace * 2.0**80)).eigenvalues
    assert found is not None
    assert huge is not None
    assert float(huge.noise) == pytest.approx(2.0**80 * float(found.noise), rel=1e-4)


def test_a_faint_slice_has_the_maps_that_it_has_alone(scan) -> None:
    """About 1e-20 of the other slice: squares of both do not fit single precision together."""
    first = scan.kspace[0] / scan.kspace[0].abs().max()
    both = dataclasses.replace(scan, kspace=torch.stack([first, first * 2.0**-66]))
    bright, faint = sensitivity_maps(both, "lowres")
    assert_close(faint, bright, 1e-5)


def test_eigenvalues_belong_to_one_slice_on_a_grid(scan) -> None:
    one = dataclasses.replace(scan, kspace=scan.kspace[0], mask=scan.mask[0])
    axis_of_one = dataclasses.replace(scan, kspace=scan.kspace[:1], mask=scan.mask[:1])
    points = golden_angle_frames(1, SIZE, 2 * SIZE, (SIZE, SIZE))[0]
    fourier = NonuniformFourier(points, (SIZE, SIZE))
    images = encoding_operator(None, torch.ones(4, SIZE, SIZE, dtype=torch.complex64)).fourier
    along = RawScan(
        fourier(images.adjoint(scan.kspace[0])),
        torch.ones((), dtype=torch.bool),
        2,
        trajectory=points,
        image_shape=(SIZE, SIZE),
    )
    assert sensitivities(one).eigenvalues is not None
    assert sensitivities(axis_of_one).eigenvalues is None
    assert sensitivities(along).eigenvalues is None


def test_maps_of_low_resolution_take_of_every_axis_what_is_sampled_up_to_24(scan) -> None:
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, 16:32] = True
    narrow = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    expected = low_resolution_maps(narrow.kspace, [16, 24])
    assert_close(sensitivity_maps(narrow, "lowres"), expected, 1e-5)


def test_a_slice_of_zeros_has_the_same_constant_map_in_all_coils(scan) -> None:
    dark = torch.stack([scan.kspace[0], torch.zeros_like(scan.kspace[1])])
    maps = sensitivity_maps(dataclasses.replace(scan, kspace=dark))
    assert_close(maps[1], torch.full_like(maps[1], 0.5), 1e-6)
    assert_close(maps[0], sensitivity_maps(scan)[0], 1e-6)
