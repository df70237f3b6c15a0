"""nibabel reads back the images that are written: values, place in the scanner, nothing else."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import ismrmrd
import nibabel
import numpy as np
import pytest
import torch
from mrd_scans import centred_fft, make_header, make_readouts

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io import read, write_nifti
from firenet_mri.scan import Geometry

# Two angles, so that no axis of the image is one of the patient's.
READ = np.array([0.36, 0.48, 0.8])
PHASE = np.array([-0.8, 0.6, 0.0])
NORMAL = np.array([-0.48, -0.64, 0.6])
LPS_TO_RAS = np.array([-1, -1, 1])


def oblique(positions: int = 1, *, hand: int = 1) -> Geometry:
    """Return an oblique geometry of anisotropic voxels; ``hand`` -1 turns the slice direction."""
    return Geometry(
        field_of_view_mm=(8.0, 30.0, 24.0),
        positions_mm=tuple(
            tuple(np.array([5, -7, 11]) + 4 * i * hand * NORMAL) for i in range(positions)
        ),
        read_direction=tuple(READ),
        phase_direction=tuple(PHASE),
        slice_direction=tuple(hand * NORMAL),
    )


@pytest.mark.parametrize("hand", [1, -1])
@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_volume_lies_where_the_scanner_says(tmp_path: Path, name: str, hand: int) -> None:
    image = torch.arange(4 * 5 * 6, dtype=torch.float32).reshape(4, 5, 6)
    write_nifti(tmp_path / name, image, oblique(hand=hand), description="a test")
    nifti = nibabel.load(tmp_path / name)
    assert nifti.shape == (6, 5, 4)
    assert nifti.get_data_dtype() == np.float32
    np.testing.assert_array_equal(np.asanyarray(nifti.dataobj).T, image)
    centre = nifti.affine @ [3, 2, 2, 1]
    np.testing.assert_allclose(centre[:3], LPS_TO_RAS * [5, -7, 11], atol=1e-4)
    steps = zip(nifti.affine[:3, :3].T, (4 * READ, 6 * PHASE, 2 * hand * NORMAL), strict=True)
    for step, expected in steps:
        np.testing.assert_allclose(step, LPS_TO_RAS * expected, atol=1e-5)
    for form, code in (nifti.get_sform(coded=True), nifti.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(form, nifti.affine, atol=1e-4)
    assert nifti.header.get_xyzt_units()[0] == "mm"
    assert nifti.header["descrip"].item() == b"a test"


def test_slices_take_their_step_from_their_positions(tmp_path: Path) -> None:
    write_nifti(tmp_path / "image.nii", torch.zeros(3, 5, 6), oblique(3))
    affine = nibabel.load(tmp_path / "image.nii").affine
    np.testing.assert_allclose(affine[:3, 2], LPS_TO_RAS * 4 * NORMAL, atol=1e-5)
    np.testing.assert_allclose((affine @ [3, 2, 0, 1])[:3], LPS_TO_RAS * [5, -7, 11], atol=1e-4)


def test_slices_shifted_sideways_keep_their_place(tmp_path: Path) -> None:
    """A quaternion has no shear, so the qform must not claim to know."""
    positions = tuple(tuple(i * (4 * NORMAL + READ)) for i in range(3))
    geometry = Geometry((4.0, 30.0, 24.0), positions, tuple(READ), tuple(PHASE), tuple(NORMAL))
    write_nifti(tmp_path / "image.nii", torch.zeros(3, 5, 6), geometry)
    nifti = nibabel.load(tmp_path / "image.nii")
    assert nifti.get_qform(coded=True)[1] == 0
    assert nifti.get_sform(coded=True)[1] == 1
    np.testing.assert_allclose(nifti.affine[:3, 2], LPS_TO_RAS * (4 * NORMAL + READ), atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_image_keeps_its_phase(
    tmp_path: Path, noisy: Callable[..., np.ndarray], dtype: torch.dtype
) -> None:
    image = torch.from_numpy(noisy(5, 6)).to(dtype)
    write_nifti(tmp_path / "image.nii.gz", image)
    nifti = nibabel.load(tmp_path / "image.nii.gz")
    assert nifti.get_data_dtype() == np.complex64
    np.testing.assert_array_equal(
        np.asanyarray(nifti.dataobj)[..., 0].T, image.numpy().astype(np.complex64)
    )


def test_unknown_geometry_is_called_unknown(tmp_path: Path) -> None:
    write_nifti(tmp_path / "image.nii", torch.ones(4, 5, 6))
    nifti = nibabel.load(tmp_path / "image.nii")
    assert nifti.header.get_zooms() == (1, 1, 1)
    assert (nifti.get_sform(coded=True)[1], nifti.get_qform(coded=True)[1]) == (0, 0)


def test_same_image_gives_the_same_bytes_under_any_name(tmp_path: Path) -> None:
    for name in ("one.nii.gz", "two.nii.gz"):
        write_nifti(tmp_path / name, torch.ones(5, 6), oblique())
    one, two = ((tmp_path / f"{name}.nii.gz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert b"one" not in one


def test_point_of_a_scan_lands_at_its_place_in_the_patient(
    tmp_path: Path, write_mrd: Callable[..., Path]
) -> None:
    """From the readout headers to NIfTI: the voxel (y, x) = (5, 7) of 12 x 16, 3 mm x 2 mm."""
    image = np.zeros((1, 12, 16))
    image[0, 5, 7] = 1
    position = np.array([10.0, -20.0, 30.0])
    readouts = make_readouts(
        centred_fft(image, axes=(1, 2)), position=position, directions=(READ, PHASE, -NORMAL)
    )
    scan = read(write_mrd(make_header((16, 12, 1)), readouts))
    found = torch.fft.fftshift(
        torch.fft.ifft2(torch.fft.ifftshift(scan.kspace, dim=(-2, -1))), dim=(-2, -1)
    )
    write_nifti(tmp_path / "image.nii", found[:, 0].abs(), scan.geometry)
    nifti = nibabel.load(tmp_path / "image.nii")
    voxels = np.asanyarray(nifti.dataobj)
    brightest = np.unravel_index(voxels.argmax(), voxels.shape)
    expected = position + (5 - 6) * 3 * PHASE + (7 - 8) * 2 * READ
    np.testing.assert_allclose(
        (nifti.affine @ [*brightest, 1])[:3], LPS_TO_RAS * expected, atol=1e-4
    )


def test_nothing_about_the_patient_is_written(
    tmp_path: Path, write_mrd: Callable[..., Path], noisy: Callable[..., np.ndarray]
) -> None:
    subject = ismrmrd.xsd.subjectInformationType(patientName="Made-up", patientID="Made-up-7")
    path = write_mrd(make_header((16, 12, 1), subject=subject), make_readouts(noisy(2, 12, 16)))
    assert b"Made-up" in path.read_bytes()
    scan = read(path)
    write_nifti(tmp_path / "image.nii.gz", scan.kspace[:, 0].abs(), scan.geometry)
    assert b"Made-up" not in gzip.decompress((tmp_path / "image.nii.gz").read_bytes())


def test_what_nifti_cannot_hold_is_refused(tmp_path: Path) -> None:
    image = torch.ones(5, 6)
    with pytest.raises(FileError, match=r"image\.dcm: NIfTI files end in"):
        write_nifti(tmp_path / "image.dcm", image)
    with pytest.raises(ShapeError, match=r"shape \(2, 2, 4, 5, 6\)"):
        write_nifti(tmp_path / "image.nii", torch.ones(2, 2, 4, 5, 6))
    with pytest.raises(ShapeError, match="3 slice positions for 2 slices"):
        write_nifti(tmp_path / "image.nii", torch.ones(2, 5, 6), oblique(3))
    for description in ("x" * 80, "µ"):
        with pytest.raises(DataError, match="ASCII"):
            write_nifti(tmp_path / "image.nii", image, description=description)
    assert not list(tmp_path.iterdir())
