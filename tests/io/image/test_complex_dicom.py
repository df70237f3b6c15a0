"""Complex DICOM series are put together slice by slice, where they lie, or refused."""

from __future__ import annotations

import shutil

import numpy as np
import pydicom
import pytest
from dicom_series import SPACING, STEP, classic, enhanced, position
from monai.data import PydicomReader
from pydicom.uid import generate_uid
from real_scans import DATA

from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.complex_dicom import read_complex_dicom
from firenet_mri.io.image.dicom_parts import component_of

ORIENTATIONS = {
    "axial": np.array([[1.0, 0, 0], [0, 1, 0]]),
    "sagittal": np.array([[0, 1.0, 0], [0, 0, -1]]),
    "coronal": np.array([[1.0, 0, 0], [0, 0, -1]]),
    "oblique": np.linalg.qr(np.array([[1.0, 0.1, 0.2], [0.2, 1, -0.1], [0, 0, 1]]).T)[0].T[:2],
}
MAGNITUDE = np.random.default_rng(0).integers(100, 4000, (5, 4, 3)).astype(float)
PHASE = np.random.default_rng(1).integers(0, 4096, (5, 4, 3)).astype(float)
# What Siemens stores: 0 to 4095, rescaled by 2 and -4096, pi/4096 a unit.
TRUTH = MAGNITUDE * np.exp(1j * np.pi * (2 * PHASE - 4096) / 4096)


def affine(orientation: np.ndarray) -> np.ndarray:
    """Return index (column, row, slice) to RAS mm by the standard's formula."""
    normal = np.cross(*orientation)
    columns = (orientation[0] * SPACING[1], orientation[1] * SPACING[0], normal * STEP)
    lps = np.eye(4)
    lps[:3] = np.stack([*columns, position(0, orientation)], axis=1)
    return np.diag([-1.0, -1, 1, 1]) @ lps


@pytest.fixture
def series(tmp_path):
    """Return a function that writes a Siemens series, magnitude and phase, to a folder."""

    def write(name):
        folder = tmp_path / name
        folder.mkdir()
        reference = generate_uid()
        kinds = (("M", MAGNITUDE, {}), ("P", PHASE, {"slope": 2.0, "intercept": -4096.0}))
        for letter, part, rescale in kinds:
            kind = ("ORIGINAL", "PRIMARY", letter)
            classic(folder, part, kind, ORIENTATIONS[name], reference, **rescale)
        return folder

    return write


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_siemens_magnitude_and_phase_lie_where_they_should(series, name) -> None:
    found = read_complex_dicom(series(name))
    np.testing.assert_allclose(found.image, TRUTH, rtol=1e-5)
    np.testing.assert_allclose(found.affine_ras, affine(ORIENTATIONS[name]), atol=1e-4)


def test_magnitude_and_affine_are_monais(series, tmp_path) -> None:
    folder = series("oblique")
    only = tmp_path / "magnitude"
    only.mkdir()
    for file in folder.glob("M_*"):
        shutil.copy(file, only)
    reader = PydicomReader()
    array, meta = reader.get_data(reader.read(str(only)))
    found = read_complex_dicom(folder)
    # MONAI sorts by instance number, which runs backwards here.
    flip = np.eye(4)
    flip[2, 2], flip[2, 3] = -1, array.shape[2] - 1
    np.testing.assert_allclose(np.abs(found.image), array[..., ::-1], rtol=1e-5)
    np.testing.assert_allclose(found.affine_ras, meta["affine"] @ flip, atol=1e-3)


def test_a_siemens_phase_without_rescaling_is_brought_to_radians(tmp_path) -> None:
    reference = generate_uid()
    for letter, part in (("M", MAGNITUDE), ("P", PHASE)):
        classic(
            tmp_path,
            part,
            ("ORIGINAL", "PRIMARY", letter),
            ORIENTATIONS["axial"],
            reference,
            slope=None,
        )
    np.testing.assert_allclose(read_complex_dicom(tmp_path).image, TRUTH, rtol=1e-5)


def test_ge_real_and_imaginary_parts_are_told_by_the_private_element(tmp_path) -> None:
    reference = generate_uid()
    real, imaginary = MAGNITUDE - 2000, PHASE - 2000
    for code, part in ((2, real), (3, imaginary)):
        classic(
            tmp_path,
            part,
            ("ORIGINAL", "PRIMARY", f"OTHER{code}"),
            ORIENTATIONS["coronal"],
            reference,
            manufacturer="GE MEDICAL SYSTEMS",
            ge_component=code,
        )
    np.testing.assert_allclose(read_complex_dicom(tmp_path).image, real + 1j * imaginary)


def test_an_enhanced_file_holds_both_parts(tmp_path) -> None:
    parts = {"REAL": MAGNITUDE - 2000, "IMAGINARY": PHASE - 2000}
    enhanced(tmp_path / "e.dcm", parts, ORIENTATIONS["sagittal"], slope=0.5)
    found = read_complex_dicom(tmp_path / "e.dcm")
    np.testing.assert_allclose(found.image, 0.5 * (parts["REAL"] + 1j * parts["IMAGINARY"]))
    np.testing.assert_allclose(found.affine_ras, affine(ORIENTATIONS["sagittal"]), atol=1e-4)


def test_an_enhanced_philips_phase_is_in_thousandths_of_a_radian(tmp_path) -> None:
    angle = np.random.default_rng(2).integers(-3141, 3141, (5, 4, 3)).astype(float)
    enhanced(
        tmp_path / "e.dcm",
        {"MAGNITUDE": MAGNITUDE, "PHASE": angle},
        ORIENTATIONS["axial"],
        slope=1.0,
    )
    np.testing.assert_allclose(
        read_complex_dicom(tmp_path / "e.dcm").image, MAGNITUDE * np.exp(1e-3j * angle), rtol=1e-5
    )


def test_what_does_not_belong_together_is_refused(series, tmp_path) -> None:
    folder = series("axial")
    phases = sorted(folder.glob("P_*"))
    with pytest.raises(DataError, match=r"only (the )?magnitude.*phase"):
        read_complex_dicom(sorted(folder.glob("M_*")))
    with pytest.raises(DataError, match="magnitude has shape"):
        read_complex_dicom([*folder.glob("M_*"), *phases[1:]])
    copy = folder / "again.dcm"
    again = pydicom.dcmread(phases[0])
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    again.save_as(copy)
    with pytest.raises(DataError, match="1 to 2 images have the same position"):
        read_complex_dicom(folder)
    copy.unlink()
    (folder / "notes.txt").write_text("no DICOM")
    assert read_complex_dicom(folder).image.shape == (5, 4, 3)
    middle = next(file for file in phases if file.name.endswith("_1.dcm"))
    moved = pydicom.dcmread(middle)
    moved.ImagePositionPatient = [10.0, -20, 34.5]
    moved.save_as(middle)
    with pytest.raises(DataError, match="not evenly spaced"):
        read_complex_dicom(folder)
    moved.FrameOfReferenceUID = generate_uid()
    moved.save_as(middle)
    with pytest.raises(DataError, match="frame of reference"):
        read_complex_dicom(folder)


def test_a_part_that_is_not_named_is_not_guessed(tmp_path) -> None:
    classic(tmp_path, MAGNITUDE, ("DERIVED", "SECONDARY", "OTHER"), ORIENTATIONS["axial"], "1.2")
    with pytest.raises(DataError, match="OTHER does not state"):
        read_complex_dicom(tmp_path)


def test_an_unknown_makers_phase_needs_its_unit(tmp_path) -> None:
    for letter, part in (("M", MAGNITUDE), ("P", PHASE)):
        classic(
            tmp_path, part, ("A", "B", letter), ORIENTATIONS["axial"], "1.2", manufacturer="Other"
        )
    with pytest.raises(DataError, match=r"Other.*phase_scale"):
        read_complex_dicom(tmp_path)
    found = read_complex_dicom(tmp_path, phase_scale=2 * np.pi / 8192)
    np.testing.assert_allclose(
        found.image, MAGNITUDE * np.exp(2j * np.pi * PHASE / 8192), rtol=1e-4
    )


def test_damaged_and_missing_files_are_named(series, tmp_path) -> None:
    file = next(series("axial").glob("M_*"))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(FileError, match="cannot be decoded"):
        read_complex_dicom(file)
    text = tmp_path / "text.dcm"
    text.write_text("no DICOM")
    with pytest.raises(FileError, match=r"text\.dcm: is not a DICOM"):
        read_complex_dicom(text)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileError, match="holds no DICOM"):
        read_complex_dicom(empty)
    with pytest.raises(FileError, match="no such file"):
        read_complex_dicom(tmp_path / "nothing.dcm")


def real(name: str):
    path = DATA / "dicom" / name
    if not path.exists():
        pytest.skip("the real DICOM files are not here")
    return path


def test_real_series_of_magnitudes_are_recognised_and_refused(caplog) -> None:
    with pytest.raises(DataError, match=r"only (the )?magnitude"):
        read_complex_dicom(real("enhanced/In/Siemens/XA10/6_1.dcm"))
    with pytest.raises(DataError, match=r"only (the )?magnitude"):
        read_complex_dicom(real("enhanced/In/Philips/IM_0027_fMAP.dcm"))
    assert "skipped 32 frames of T1/FIELD_MAP" in caplog.text


def test_component_of_reads_the_standard_attribute_first() -> None:
    dataset = pydicom.Dataset()
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    dataset.ComplexImageComponent = "PHASE"
    assert component_of(dataset) == "phase"
