"""Reference images are read as magnitudes on the grid of the reconstruction."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io import read_reference, write_nifti


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.npy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_written_volume_is_read_back(tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    image = torch.randn(4, 5, 6, dtype=dtype, generator=torch.Generator().manual_seed(0))
    if name.endswith(".npy"):
        np.save(tmp_path / name, image.numpy())
    else:
        write_nifti(tmp_path / name, image)
    reference = read_reference(tmp_path / name)
    assert reference.dtype == torch.float32
    torch.testing.assert_close(reference, image.abs())


@pytest.mark.parametrize("shape", [(5, 6), (1, 5, 6)])
def test_a_plane_fits_with_and_without_a_slice_axis(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = torch.arange(30.0).reshape(5, 6)
    write_nifti(tmp_path / "image.nii", image)
    assert torch.equal(read_reference(tmp_path / "image.nii", shape=shape), image.reshape(shape))


def test_fourth_axis_of_one_entry_is_dropped(tmp_path: Path) -> None:
    voxels = np.arange(60, dtype=np.float32).reshape(5, 4, 3, 1)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "image.nii")
    np.testing.assert_array_equal(read_reference(tmp_path / "image.nii"), voxels[..., 0].T)


@pytest.mark.parametrize("name", ["series.nii.gz", "series.npy"])
def test_a_series_is_a_reference_of_a_series(tmp_path: Path, name: str) -> None:
    voxels = np.arange(60, dtype=np.float32).reshape(5, 4, 1, 3)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "series.nii.gz")
    np.save(tmp_path / "series.npy", voxels.T)
    found = read_reference(tmp_path / name, shape=(3, 1, 4, 5))
    np.testing.assert_array_equal(found, voxels.T)
    with pytest.raises(ShapeError, match=r", 5\), but the reconstruction has \(2, 1, 4, 5\)"):
        read_reference(tmp_path / name, shape=(2, 1, 4, 5))
    with pytest.raises(ShapeError, match=r"one image or one volume$"):
        read_reference(tmp_path / name)


def test_scaled_integers_are_read_in_their_units(tmp_path: Path) -> None:
    nifti = nibabel.Nifti1Image(np.arange(30, dtype=np.int16).reshape(5, 6, 1), np.eye(4))
    nifti.header.set_slope_inter(0.5, 2)
    nibabel.save(nifti, tmp_path / "image.nii")
    stored = nibabel.load(tmp_path / "image.nii").get_fdata()
    np.testing.assert_allclose(read_reference(tmp_path / "image.nii"), stored.T)


def test_what_is_no_reference_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.npy"
    np.save(path, np.ones((2, 3, 4, 5)))
    with pytest.raises(ShapeError, match=r"shape \(2, 3, 4, 5\)"):
        read_reference(path)
    np.save(path, np.full((4, 5), np.inf))
    with pytest.raises(DataError, match="NaN or infinite"):
        read_reference(path)
    np.save(path, np.ones((4, 5)))
    with pytest.raises(ShapeError, match=r"\(4, 5\), but the reconstruction has \(5, 4\)"):
        read_reference(path, shape=(5, 4))
    with pytest.raises(FileError, match="no such file"):
        read_reference(tmp_path / "none.nii")


@pytest.mark.parametrize("name", ["notes.txt", "image.nii", "image.nii.gz"])
@pytest.mark.parametrize("kept", [1, 100, 360, 420])
def test_other_and_truncated_files_are_refused(tmp_path: Path, name: str, kept: int) -> None:
    if name == "notes.txt":
        (tmp_path / name).write_text("notes " * kept)
    else:
        noise = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
        write_nifti(tmp_path / name, noise)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[:kept])
        assert kept < len(whole)
    with pytest.raises(FileError, match=r"no NIfTI image|truncated"):
        read_reference(tmp_path / name)
