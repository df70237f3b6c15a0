"""Files of others are opened at one place for each format, where their sizes are checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "firenet_mri"
DOORS = {
    r"h5py\.File\((?![^)]*[\"']w[\"'])": "io/hdf5.py",
    r"ismrmrd\.File\((?![^)]*[\"']w[\"'])": None,
    r"nibabel\.load\(": "io/image/nifti_files.py",
    r"dcmread\(|\.pixel_array\b": "io/image/dicom_door.py",
}


@pytest.mark.parametrize("call", DOORS)
def test_a_format_is_read_through_its_door_alone(call) -> None:
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        # The path may be a call itself.
        if re.search(call, path.read_text(encoding="utf-8").replace("str(path)", "path"))
    }
    assert found == ({DOORS[call]} if DOORS[call] else set())
