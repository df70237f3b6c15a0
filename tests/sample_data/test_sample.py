"""The shipped samples are what their script makes and what their README says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from dcm2niix_images import DCM2NIIX, needs_dcm2niix

import firenet_mri
from firenet_mri.calibration import whiten
from firenet_mri.io import read, read_reference
from firenet_mri.io.image.reading import read_image
from firenet_mri.simulation.sample import SAMPLE_REFERENCE

FOLDER = Path(__file__).resolve().parents[2] / "sample_data"
SCAN = FOLDER / "brain_8coil.h5"
REFERENCE = FOLDER / "brain_8coil_reference.nii.gz"
DICOM = FOLDER / "brain_dicom"
BIDS = FOLDER / "brain_bids/sub-mni152/anat/sub-mni152_part-mag_T1w.nii.gz"
SMALL = FOLDER / "brain_3slices.h5"
SMALL_REFERENCE = FOLDER / "brain_3slices_reference.nii.gz"


def test_sample_is_a_simulated_undersampled_scan_with_noise_and_place() -> None:
    scan = read(SCAN)
    assert scan.simulated
    assert scan.kspace.shape == (1, 8, 180, 216)
    rows = scan.mask[0, 0].all(dim=-1)
    assert rows.sum() == 60
    assert rows[78:102].all()
    assert scan.noise is not None
    assert scan.noise.shape == (8, 10_240)
    assert scan.geometry is not None
    assert scan.geometry.field_of_view_mm == pytest.approx((5, 180, 216))
    assert SCAN.stat().st_size < 2_500_000


def test_whitened_noise_of_the_sample_has_unit_variance() -> None:
    """Beside the head along the fully sampled readout there is noise alone."""
    scan = whiten(read(SCAN))
    rows = scan.mask[0, 0].all(dim=-1)
    lines = torch.fft.ifftshift(scan.kspace[0][:, rows], dim=-1)
    columns = torch.fft.fftshift(torch.fft.ifft(lines, norm="ortho"), dim=-1)
    beside = columns[..., [*range(15), *range(-15, 0)]]
    assert float(beside.abs().square().mean()) == pytest.approx(1, abs=0.03)


def test_reference_is_in_units_of_the_noise() -> None:
    """The sampled centre of k-space, combined over coils, is the blurred reference."""
    scan = whiten(read(SCAN))
    reference = read_reference(REFERENCE, shape=(1, 180, 216))[0]
    window = torch.zeros(180, 216)
    window[78:102, 96:120] = torch.outer(torch.hann_window(24), torch.hann_window(24))
    blurred = _image(scan.kspace[0] * window).abs().square().sum(dim=0).sqrt()
    expected = _image(_kspace(reference.to(torch.complex64)) * window).abs()
    inside = expected > 0.5 * expected.max()
    assert float((blurred / expected)[inside].median()) == pytest.approx(1, abs=0.02)


def test_script_makes_the_shipped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nilearn", reason="nilearn holds the template")
    spec = importlib.util.spec_from_file_location("make_sample", FOLDER / "make_sample.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "make_sample", module)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    made, shipped = read(tmp_path / SCAN.name), read(SCAN)
    scale = float(shipped.kspace.abs().max())
    np.testing.assert_allclose(made.kspace, shipped.kspace, atol=1e-5 * scale)
    assert made.noise is not None
    assert shipped.noise is not None
    np.testing.assert_allclose(
        made.noise, shipped.noise, atol=1e-5 * float(shipped.noise.abs().max())
    )
    assert torch.equal(made.mask, shipped.mask)
    assert made.geometry == shipped.geometry
    for name in (REFERENCE.name, SMALL_REFERENCE.name):
        reference = read_reference(tmp_path / name)
        np.testing.assert_allclose(reference, read_reference(FOLDER / name), rtol=1e-5, atol=1e-4)
    for image in (DICOM, BIDS):
        pixels, place = read_image(tmp_path / image.relative_to(FOLDER))
        shipped_pixels, shipped_place = read_image(image)
        np.testing.assert_allclose(pixels, shipped_pixels, atol=1e-2)
        assert place == shipped_place
    small, shipped_small = read(tmp_path / SMALL.name), read(SMALL)
    np.testing.assert_allclose(small.kspace, shipped_small.kspace, atol=1e-2)
    assert torch.equal(small.mask, shipped_small.mask)


def test_the_images_are_the_reference_with_a_phase_where_the_scan_lies() -> None:
    reference = read_reference(REFERENCE, shape=(1, 180, 216))
    scale = float(reference.max())
    expected = read(SCAN).geometry.affine_lps((1, 180, 216))
    for image in (DICOM, BIDS):
        pixels, place = read_image(image)
        np.testing.assert_allclose(pixels.abs(), reference, atol=1e-3 * scale)
        inside = reference > 0.1 * scale
        assert float(pixels.angle()[inside].std()) > 0.1
        np.testing.assert_allclose(place.affine_lps((1, 180, 216)), expected, atol=1e-4)


@needs_dcm2niix
def test_dcm2niix_finds_the_dicom_image_where_it_lies(tmp_path) -> None:
    command = [DCM2NIIX, "-o", tmp_path, "-f", "image", DICOM]
    subprocess.run(command, check=True, capture_output=True)
    found = [nibabel.load(path) for path in sorted(tmp_path.glob("*.nii"))]
    assert len(found) == 2
    for image in found:
        # dcm2niix turns the rows round.
        flipped = image.affine @ np.diag([1, -1, 1, 1])
        flipped[:3, 3] += 179 * image.affine[:3, 1]
        expected = read(SCAN).geometry.affine_ras((1, 180, 216))
        np.testing.assert_allclose(flipped, expected, atol=1e-3)


def test_the_small_scan_has_three_slices_and_is_simulated() -> None:
    scan = read(SMALL)
    assert scan.simulated
    assert scan.kspace.shape == (3, 4, 90, 108)
    assert scan.mask[0, 0].all(dim=-1).sum() == 36
    assert len(scan.geometry.positions_mm) == 3
    new = [SMALL, SMALL_REFERENCE, *DICOM.iterdir(), *BIDS.parent.iterdir()]
    assert sum(path.stat().st_size for path in new) < 1_000_000


def test_the_small_scan_is_the_one_that_the_package_makes() -> None:
    assert SMALL_REFERENCE.read_bytes() == SAMPLE_REFERENCE.read_bytes()
    shipped, made = read(SMALL), firenet_mri.sample()
    assert made.simulated
    scale = float(shipped.kspace.abs().max())
    np.testing.assert_allclose(made.kspace, shipped.kspace, atol=1e-6 * scale)
    np.testing.assert_allclose(made.noise, shipped.noise, atol=1e-5)
    assert torch.equal(made.mask, shipped.mask)
    shape = (3, *made.spatial_shape)
    places = [scan.geometry.affine_lps(shape) for scan in (made, shipped)]
    np.testing.assert_allclose(*places, atol=1e-4)


def _image(kspace: torch.Tensor) -> torch.Tensor:
    axes = (-2, -1)
    shifted = torch.fft.ifftshift(kspace, dim=axes)
    return torch.fft.fftshift(torch.fft.ifft2(shifted, norm="ortho"), dim=axes)


def _kspace(image: torch.Tensor) -> torch.Tensor:
    axes = (-2, -1)
    shifted = torch.fft.ifftshift(image, dim=axes)
    return torch.fft.fftshift(torch.fft.fft2(shifted, norm="ortho"), dim=axes)
