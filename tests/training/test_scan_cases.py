"""Cases from fully sampled scans: what is sampled fits maps and reference; others are refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_scans import full_scan

from firenet_mri.errors import DataError
from firenet_mri.scan import RawScan
from firenet_mri.training.scan_cases import measured_slices, scan_case, validation_case

SLICES = measured_slices(full_scan(2), "lowres")


def test_a_slice_is_in_units_of_its_brightest_pixel_and_knows_its_noise() -> None:
    scan = full_scan(2)
    assert len(SLICES) == 2
    for one in SLICES:
        assert float(one.combined.abs().max()) == pytest.approx(1)
    # The simulation's noise, in its own units, over the brightest pixel of the image.
    sigma = float(scan.noise.abs().square().mean().sqrt())
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(scan.kspace[0], axes=(-2, -1))))
    brightest = np.sqrt((np.abs(images) ** 2).sum(0)).max() * np.sqrt(images[0].size)
    assert SLICES[0].noise == pytest.approx(sigma / brightest, rel=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_samples_maps_and_reference_of_a_case_belong_together(seed) -> None:
    case = scan_case(SLICES, seed)
    assert case.kspace.shape == case.maps.shape
    assert case.mask.shape == case.reference.shape == case.maps.shape[1:]
    assert not bool(case.kspace[:, ~case.mask].any())
    assert 1.2 < case.mask.numel() / int(case.mask.sum()) < 9.5
    assert float(torch.linalg.vector_norm(case.maps, dim=0).max()) <= 1 + 1e-5
    assert float(case.reference.max()) == pytest.approx(1, rel=1e-4)
    # The images of the reference explain the samples, but for noise and what maps do not.
    turned = case.maps * case.reference
    samples = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(turned.numpy(), axes=(-2, -1)), norm="ortho"), axes=(-2, -1)
    )
    found = case.kspace[:, case.mask].numpy()
    expected = samples[:, case.mask.numpy()]
    assert np.linalg.norm(found - expected) < 0.5 * np.linalg.norm(found)


def test_cases_differ_and_a_seed_fixes_them() -> None:
    one, same, other = (scan_case(SLICES, seed) for seed in (3, 3, 4))
    assert torch.equal(one.kspace, same.kspace)
    assert one.kspace.shape != other.kspace.shape or not torch.equal(one.kspace, other.kspace)


def test_validation_shows_slices_as_they_were_measured() -> None:
    cases = [validation_case(SLICES, number, 10) for number in range(3)]
    for number, case in enumerate(cases):
        np.testing.assert_allclose(
            case.reference, SLICES[number % 2].combined.abs(), rtol=1e-5, atol=1e-6
        )


def test_slices_without_signal_are_left_out() -> None:
    scan = full_scan(2)
    kspace = scan.kspace.clone()
    kspace[1] *= 1e-3
    assert len(measured_slices(replace(scan, kspace=kspace), "lowres")) == 1


def test_a_volume_is_taken_apart_along_its_readout() -> None:
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(2, 24, 26, 6, dtype=torch.complex64, generator=generator)
    scan = RawScan(kspace, torch.ones(1, dtype=torch.bool), 3)
    assert [one.images.shape for one in measured_slices(scan, "lowres")] == [(2, 24, 26)] * 6


def test_a_single_coil_has_a_map_of_1() -> None:
    scan = full_scan(1)
    one = RawScan(scan.kspace[:, :1], scan.mask, 2)
    (found,) = measured_slices(one, "espirit")
    assert bool((found.maps == 1).all())
    assert found.noise == 0


def test_zeros_around_what_was_sampled_are_allowed_and_gaps_are_not() -> None:
    scan = full_scan(1)
    mask = scan.mask.clone()
    mask[..., :4] = mask[..., -2:] = False
    assert measured_slices(replace(scan, kspace=scan.kspace * mask, mask=mask), "lowres")
    mask[..., 15] = False
    with pytest.raises(DataError, match="82% of k-space was sampled; training needs fully sampled"):
        measured_slices(replace(scan, kspace=scan.kspace * mask, mask=mask), "lowres")
    half = scan.mask.clone()
    half[..., :12] = False
    with pytest.raises(DataError, match="70% of k-space"):
        measured_slices(replace(scan, kspace=scan.kspace * half, mask=half), "lowres")


def test_scans_along_a_trajectory_are_refused() -> None:
    trajectory = torch.rand(50, 2) * 10
    scan = RawScan(
        torch.ones(2, 50, dtype=torch.complex64),
        torch.ones(1, dtype=torch.bool),
        2,
        trajectory=trajectory,
        image_shape=(20, 20),
    )
    with pytest.raises(DataError, match="trajectory; training needs Cartesian scans"):
        measured_slices(scan, "lowres")
