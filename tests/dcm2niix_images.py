"""What dcm2niix makes of DICOM files, and how images are compared in space."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

DCM2NIIX = Path(sys.executable).with_name("dcm2niix")
needs_dcm2niix = pytest.mark.skipif(not DCM2NIIX.exists(), reason="dcm2niix is not installed")


def converted(source: Path, folder: Path) -> nibabel.Nifti1Image:
    """Return what dcm2niix makes of a file or folder."""
    folder.mkdir()
    single = ["-s", "y"] if source.is_file() else []
    command = [
        str(DCM2NIIX),
        "-z",
        "n",
        "-b",
        "n",
        *single,
        "-f",
        "image",
        "-o",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = folder.glob("*.nii")
    return nibabel.load(path)


def assert_same_in_space(found, expected, tolerance: float) -> None:
    """Every voxel of one is a voxel of the other, with the same value."""
    assert sorted(found.shape[:3]) == sorted(expected.shape[:3])
    index = np.indices(expected.shape).reshape(3, -1)
    world = expected.affine[:3, :3] @ index + expected.affine[:3, 3:]
    inverse = np.linalg.inv(found.affine)
    place = inverse[:3, :3] @ world + inverse[:3, 3:]
    np.testing.assert_allclose(place, np.rint(place), atol=1e-3)
    values = found.get_fdata().reshape(found.shape[:3])[tuple(np.rint(place).astype(int))]
    np.testing.assert_allclose(values, expected.get_fdata().ravel(), atol=tolerance)
