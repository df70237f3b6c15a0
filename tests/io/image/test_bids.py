"""BIDS pairs are read back as the complex image they were, and say no more than is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.image.bids import bids_paths, write_bids_pair
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.scan import AcquisitionParameters, Geometry

PLACE = Geometry((4.0, 90.0, 120.0), ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)))


@pytest.fixture
def image() -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=(2, 9, 12, 2)) @ [1, 1j]).astype(np.complex64)


def test_the_pair_is_read_as_the_image(image, tmp_path) -> None:
    files = write_bids_pair(tmp_path / "sub-01_T1w", image, PLACE)
    assert [path.name for path in files] == [
        "sub-01_part-mag_T1w.nii.gz",
        "sub-01_part-mag_T1w.json",
        "sub-01_part-phase_T1w.nii.gz",
        "sub-01_part-phase_T1w.json",
    ]
    found = read_complex_nifti(files[0])
    np.testing.assert_allclose(found.image, image.T, atol=1e-5)
    np.testing.assert_allclose(found.affine_ras, PLACE.affine_ras((2, 9, 12)), atol=1e-5)


def test_sidecars_hold_what_is_known_in_seconds(image, tmp_path) -> None:
    known = AcquisitionParameters(3.0, 2000.0, (30.0,), None, 90.0)
    _, mag, _, phase = write_bids_pair(
        tmp_path / "sub-01_bold", image, PLACE, parameters=known, simulated=True
    )
    fields = json.loads(mag.read_text())
    assert set(fields) == {
        "MagneticFieldStrength",
        "RepetitionTime",
        "EchoTime",
        "FlipAngle",
        "ReconMethodName",
        "GeneratedBy",
        "Simulated",
    }
    assert (fields["RepetitionTime"], fields["EchoTime"]) == (2.0, 0.03)
    assert json.loads(phase.read_text()) == {**fields, "Units": "rad"}


def test_a_name_without_suffix_gets_one(tmp_path) -> None:
    assert bids_paths(tmp_path / "brain")[0].name == "brain_part-mag_MRI.nii.gz"


def test_what_is_no_pair_is_refused(image, tmp_path) -> None:
    with pytest.raises(UsageError, match="without extension and part"):
        write_bids_pair(tmp_path / "sub-01_T1w.nii.gz", image)
    with pytest.raises(UsageError, match="without extension and part"):
        write_bids_pair(tmp_path / "sub-01_part-mag_T1w", image)
    with pytest.raises(DataError, match="needs a complex one"):
        write_bids_pair(tmp_path / "sub-01_T1w", np.abs(image))
    write_bids_pair(tmp_path / "sub-01_T1w", image)
    with pytest.raises(FileError, match="exists; use --overwrite"):
        write_bids_pair(tmp_path / "sub-01_T1w", image)
