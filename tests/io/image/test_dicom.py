"""DICOM images are where and what our NIfTI is, by dcm2niix; dicom3tools finds no error in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dcm2niix_images import DCM2NIIX, assert_same_in_space, converted, needs_dcm2niix
from dicom_series import SPACING, STEP, classic
from hypothesis import given, settings
from hypothesis import strategies as st
from real_scans import DATA

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.geometry import Moment
from firenet_mri.io.image.dicom import (
    read_dicom_reference,
    write_dicom_series,
    write_enhanced_dicom,
)
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.scan import AcquisitionParameters, Geometry

needs_dicom3tools = pytest.mark.skipif(
    shutil.which("dciodvfy") is None, reason="dicom3tools are not installed"
)
RNG = np.random.default_rng(0)


def unit(*values: float) -> np.ndarray:
    return np.array(values) / np.linalg.norm(values)


def geometry(plane: str, slices: int, *, is_volume: bool = False) -> Geometry:
    """Return 90 mm x 120 mm, slices of 4 mm every 5 mm (or a volume), off centre."""
    read, phase = {
        "axial": (unit(1, 0, 0), unit(0, 1, 0)),
        "coronal": (unit(1, 0, 0), unit(0, 0, -1)),
        "sagittal": (unit(0, 1, 0), unit(0, 0, -1)),
        "oblique": (unit(1, 0.2, 0.1), unit(-0.2, 1, 0)),
        "left-handed": (unit(1, 0.2, 0.1), unit(-0.2, 1, 0)),
    }[plane]
    normal = np.cross(read, phase) * (-1 if plane == "left-handed" else 1)
    first = np.array([10.0, -20.0, 30.0])
    if is_volume:
        return Geometry(
            (4.0 * slices, 90.0, 120.0), (tuple(first),), tuple(read), tuple(phase), tuple(normal)
        )
    positions = tuple(tuple(first + 5 * i * normal) for i in range(slices))
    return Geometry((4.0, 90.0, 120.0), positions, tuple(read), tuple(phase), tuple(normal))


@needs_dcm2niix
@pytest.mark.parametrize("form", ["classic", "enhanced"])
@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal", "oblique", "left-handed"])
def test_dcm2niix_makes_our_nifti_of_a_series(form, plane, tmp_path) -> None:
    image = RNG.random((4, 18, 30)) * 700
    place = geometry(plane, 4)
    write_nifti(tmp_path / "ours.nii", image, place)
    if form == "classic":
        source = tmp_path / "series"
        write_dicom_series(source, image, place)
    else:
        source = tmp_path / "image.dcm"
        write_enhanced_dicom(source, image, place)
    found = converted(source, tmp_path / "converted")
    # Half a step of the stored numbers, once for their rounding and once for dcm2niix's slope.
    assert_same_in_space(found, nibabel.load(tmp_path / "ours.nii"), 700 / 32_767)


@needs_dcm2niix
@pytest.mark.parametrize(("slices", "is_volume"), [(1, False), (6, True)])
def test_dcm2niix_makes_our_nifti_of_one_slice_and_of_a_volume(slices, is_volume, tmp_path) -> None:
    image = RNG.random((slices, 18, 30))
    place = geometry("oblique", slices, is_volume=is_volume)
    write_nifti(tmp_path / "ours.nii", image, place)
    write_dicom_series(tmp_path / "series", image, place, volume=is_volume)
    found = converted(tmp_path / "series", tmp_path / "converted")
    assert_same_in_space(found, nibabel.load(tmp_path / "ours.nii"), 1 / 32_767)


@needs_dicom3tools
@pytest.mark.parametrize("component", ["magnitude", "phase"])
@pytest.mark.parametrize("simulated", [False, True])
def test_dicom3tools_find_no_error(simulated, component, tmp_path) -> None:
    image = RNG.random((3, 18, 30))
    options = {
        "simulated": simulated,
        "description": "firenet_mri",
        "parameters": AcquisitionParameters(3.0, 10.0, (4.0,), 900.0, 15.0),
        "names": ["repetition 1"],
        "component": component,
    }
    files = write_dicom_series(tmp_path / "series", image, geometry("oblique", 3), **options)
    write_enhanced_dicom(tmp_path / "image.dcm", image, geometry("oblique", 3), **options)
    for path in (files[0], tmp_path / "image.dcm"):
        told = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert [line for line in lines if "Error" in line] == []
        # A slope is asked for, but not part of the older object; patients and sides are unknown.
        known = ("DICOMDIR", "Rescale", "Standard Extended SOP Class", "actually unknown")
        warnings = [line for line in lines if "Warning" in line]
        assert [line for line in warnings if not any(word in line for word in known)] == []
    told = subprocess.run(
        ["dcentvfy", *map(str, files)], capture_output=True, text=True, check=False
    )
    assert told.stdout + told.stderr == ""


@settings(deadline=None, max_examples=40)
@given(scale=st.floats(1e-8, 1e8), seed=st.integers(0, 2**32 - 1))
def test_pixels_are_kept_to_half_a_step(scale, seed, tmp_path_factory) -> None:
    image = np.random.default_rng(seed).random((2, 5, 6)) * scale
    path = tmp_path_factory.mktemp("dicom") / "image.dcm"
    write_enhanced_dicom(path, image, geometry("axial", 2))
    dataset = pydicom.dcmread(path)
    groups = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    step = float(groups.RescaleSlope)
    assert step == pytest.approx(image.max() / 32_767, rel=1e-6)
    assert np.abs(dataset.pixel_array * step - image).max() <= 0.51 * step


def test_series_say_which_echo_and_repetition_they_are(tmp_path) -> None:
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(2)]
    image = RNG.random((4, 1, 5, 6))
    files = write_dicom_series(
        tmp_path / "series",
        image,
        geometry("axial", 1),
        parameters=AcquisitionParameters(3.0, 40.0, (5.0, 12.5)),
        names=names,
    )
    found = [pydicom.dcmread(path) for path in files]
    assert [(item.EchoNumbers, item.EchoTime) for item in found] == [(1, 5)] * 2 + [(2, 12.5)] * 2
    assert [item.TemporalPositionIdentifier for item in found] == [1, 2, 1, 2]
    assert {item.NumberOfTemporalPositions for item in found} == {2}
    assert [item.SeriesNumber for item in found] == [1, 1, 2, 2]
    assert [path.name for path in files] == [f"0{s}_000{i}.dcm" for s in (1, 2) for i in (1, 2)]
    assert found[3].SeriesDescription == "FIRENET, contrast 1 12.5 ms"
    assert {item.RepetitionTime for item in found} == {40}
    shown = np.stack([item.pixel_array * float(item.RescaleSlope) for item in found])
    np.testing.assert_allclose(shown, image[[0, 2, 1, 3], 0], atol=1e-4)
    assert not any("CardiacNumberOfImages" in item or "TriggerTime" in item for item in found)
    with pytest.raises(ShapeError, match="3 names for 4 images"):
        write_dicom_series(
            tmp_path / "other", RNG.random((4, 1, 5, 6)), geometry("axial", 1), names=names[:3]
        )


def cine(folder: Path) -> tuple[np.ndarray, list[Path]]:
    """Write three phases, every 40 ms from 20 ms after the trigger, of two slices."""
    image = RNG.random((3, 2, 18, 30))
    names = [f"phase {i}" for i in range(3)]
    moments = tuple(Moment(name, None, 20.0 + 40 * i) for i, name in enumerate(names))
    known = AcquisitionParameters(3.0, 3.2, (1.6,), flip_angle_deg=50.0, moments=moments)
    return image, write_dicom_series(
        folder, image, geometry("oblique", 2), parameters=known, names=names
    )


def test_a_cine_is_one_series_with_the_time_of_every_phase(tmp_path) -> None:
    image, files = cine(tmp_path / "cine")
    found = [pydicom.dcmread(path) for path in files]
    assert len({item.SeriesInstanceUID for item in found}) == 1
    assert [item.InstanceNumber for item in found] == [1, 2, 3, 4, 5, 6]
    assert [item.TriggerTime for item in found] == [20, 60, 100] * 2
    assert [item.TemporalPositionIdentifier for item in found] == [1, 2, 3] * 2
    values = {
        (item.NumberOfTemporalPositions, item.CardiacNumberOfImages, item.TemporalResolution)
        for item in found
    }
    assert values == {(3, 3, 40)}
    # Slice by slice, every phase of each.
    shown = np.stack([item.pixel_array * float(item.RescaleSlope) for item in found])
    np.testing.assert_allclose(shown, image.swapaxes(0, 1).reshape(shown.shape), atol=1e-4)
    assert {item.SeriesDescription for item in found} == {"FIRENET"}


@needs_dicom3tools
def test_dicom3tools_find_no_error_in_a_cine(tmp_path) -> None:
    _, files = cine(tmp_path / "cine")
    for command in (["dciodvfy", str(files[4])], ["dcentvfy", *map(str, files)]):
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "Error" not in told.stdout + told.stderr


@needs_dcm2niix
def test_dcm2niix_makes_one_image_over_time_of_a_cine(tmp_path) -> None:
    image, _ = cine(tmp_path / "cine")
    found = converted(tmp_path / "cine", tmp_path / "out")
    assert found.shape == (30, 18, 2, 3)
    write_nifti(tmp_path / "ours.nii", image[1], geometry("oblique", 2))
    one = nibabel.Nifti1Image(found.get_fdata()[..., 1], found.affine)
    assert_same_in_space(one, nibabel.load(tmp_path / "ours.nii"), 1 / 32_767)


def test_an_enhanced_image_says_its_echo_time(tmp_path) -> None:
    known = AcquisitionParameters(3.0, 40.0, (5.0,))
    write_enhanced_dicom(
        tmp_path / "a.dcm", RNG.random((2, 5, 6)), geometry("axial", 2), parameters=known
    )
    groups = pydicom.dcmread(tmp_path / "a.dcm").SharedFunctionalGroupsSequence[0]
    assert groups.MREchoSequence[0].EffectiveEchoTime == 5.0


@needs_dcm2niix
def test_dcm2niix_finds_the_echoes(tmp_path) -> None:
    write_dicom_series(
        tmp_path / "series",
        RNG.random((2, 2, 18, 30)),
        geometry("axial", 2),
        parameters=AcquisitionParameters(3.0, 40.0, (5.0, 12.5)),
        names=["contrast 0", "contrast 1"],
    )
    (tmp_path / "out").mkdir()
    command = [str(DCM2NIIX), "-b", "o", "-o", str(tmp_path / "out"), str(tmp_path / "series")]
    subprocess.run(command, check=True, capture_output=True)
    found = [json.loads(path.read_text()) for path in sorted((tmp_path / "out").iterdir())]
    assert sorted((one.get("EchoNumber", 1), one["EchoTime"]) for one in found) == [
        (1, 0.005),
        (2, 0.0125),
    ]


def test_headers_say_how_and_by_whom_and_nothing_of_a_patient(tmp_path) -> None:
    files = write_dicom_series(
        tmp_path / "series",
        RNG.random((2, 2, 5, 6)),
        geometry("axial", 2),
        simulated=True,
        parameters=AcquisitionParameters(3.0, 10.0, (4.0,), None, 15.0),
    )
    assert [path.name for path in files] == [
        "01_0001.dcm",
        "01_0002.dcm",
        "02_0001.dcm",
        "02_0002.dcm",
    ]
    datasets = [pydicom.dcmread(path) for path in files]
    assert len({item.SOPInstanceUID for item in datasets}) == 4
    assert len({item.SeriesInstanceUID for item in datasets}) == 2
    assert len({item.StudyInstanceUID for item in datasets}) == 1
    first = datasets[0]
    assert first.ImageType[0] == "DERIVED"
    assert "simulated" in first.DerivationDescription
    assert "simulated" in first.SeriesDescription
    assert first.ContributingEquipmentSequence[0].Manufacturer == "firenet_mri"
    assert (first.EchoTime, first.RepetitionTime, first.FlipAngle) == (4, 10, 15)
    assert first.PixelSpacing == [18, 20]
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
        assert not first.get(name)
    assert not [element for element in first if element.tag.is_private]
    assert first.StudyInstanceUID.startswith("2.25.")


def reference_series(folder: Path, shape: tuple[int, int, int], place: Geometry) -> Path:
    """Write a series of a patient at a place, with a private attribute."""
    files = write_dicom_series(folder, np.ones(shape), place)
    for path in files:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Made^Up", "made-up-7"
        dataset.InstitutionName, dataset.OperatorsName = "Nowhere Hospital", "Op^Erator"
        dataset.PatientPosition = "HFS"
        dataset.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
        dataset.add_new(0x00291010, "LO", "private words")
        dataset.save_as(path)
    return folder


def test_a_reference_gives_patient_study_and_place_and_no_more(tmp_path) -> None:
    place = geometry("left-handed", 3)
    folder = reference_series(tmp_path / "reference", (3, 18, 30), place)
    (folder / "notes.txt").write_text("no DICOM")
    reference = read_dicom_reference(folder)
    assert reference.shape == (3, 18, 30)
    unplaced = Geometry((4, 90, 120), ((0, 0, 0), (0, 0, 5), (0, 0, 10)), is_placed=False)
    for given_place in (None, unplaced):
        shutil.rmtree(tmp_path / "series", ignore_errors=True)
        files = write_dicom_series(
            tmp_path / "series", np.ones((3, 18, 30)), given_place, reference=reference
        )
        theirs = pydicom.dcmread(sorted(folder.glob("*.dcm"))[0])
        ours = [pydicom.dcmread(path) for path in files]
        for name in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
            assert ours[0].get(name) == theirs.get(name), name
        assert ours[0].SeriesInstanceUID != theirs.SeriesInstanceUID
        # Slices in the order of their normal, as the images of the reference, sorted so.
        found = sorted(tuple(map(float, item.ImagePositionPatient)) for item in ours)
        expected = sorted(
            tuple(map(float, pydicom.dcmread(path).ImagePositionPatient))
            for path in folder.glob("*.dcm")
        )
        np.testing.assert_allclose(found, expected, atol=1e-6)
        assert ours[0].ImageOrientationPatient == theirs.ImageOrientationPatient
        assert len(ours[0].SourceImageSequence) == 3
        content = b"".join(path.read_bytes() for path in files)
        for words in (b"Nowhere Hospital", b"Op^Erator", b"private words", b"CSA"):
            assert words not in content


def test_a_real_series_as_reference(tmp_path) -> None:
    folder = DATA / "dicom/nih_ge/In"
    if not folder.is_dir():
        pytest.skip("the real DICOM series is not here")
    first_volume = tmp_path / "volume"
    first_volume.mkdir()
    for number in range(1, 16):
        name = f"axial_epi_fmri_interleaved_i_to_s-{number:05d}.dcm"
        shutil.copy(folder / name, first_volume)
    reference = read_dicom_reference(first_volume)
    assert reference.shape == (15, 64, 64)
    write_dicom_series(tmp_path / "series", np.ones(reference.shape), None, reference=reference)
    ours = read_dicom_reference(tmp_path / "series").geometry
    np.testing.assert_allclose(ours.positions_mm, reference.geometry.positions_mm, atol=1e-3)
    with pytest.raises(DataError, match="reference frames have the same position"):
        read_dicom_reference(folder)


def test_what_has_no_place_or_no_magnitude_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="does not state where the image lies"):
        write_dicom_series(tmp_path / "series", np.ones((3, 5, 6)), None)
    assert not (tmp_path / "series").exists()
    place = geometry("axial", 3)
    for image in (-np.ones((3, 5, 6)), np.full((3, 5, 6), np.nan)):
        with pytest.raises(DataError, match="negative, NaN or infinite"):
            write_enhanced_dicom(tmp_path / "image.dcm", image, place)
    with pytest.raises(ShapeError, match="3 slice positions for 2 slices"):
        write_enhanced_dicom(tmp_path / "image.dcm", np.ones((2, 5, 6)), place)
    folder = reference_series(tmp_path / "reference", (3, 18, 30), place)
    with pytest.raises(ShapeError, match=r"the reference has \(3, 18, 30\)"):
        write_enhanced_dicom(
            tmp_path / "image.dcm", np.ones((3, 5, 6)), None, reference=read_dicom_reference(folder)
        )


def test_outputs_are_kept_and_folders_not_mixed(tmp_path) -> None:
    place = geometry("axial", 3)
    folder = tmp_path / "series"
    files = write_dicom_series(folder, np.ones((3, 5, 6)), place)
    before = [path.read_bytes() for path in files]
    with pytest.raises(FileError, match="exists; use --overwrite"):
        write_dicom_series(folder, np.ones((3, 5, 6)), place)
    assert [path.read_bytes() for path in files] == before
    write_dicom_series(folder, np.ones((3, 5, 6)), place, overwrite=True)
    assert [path.read_bytes() for path in files] != before
    with pytest.raises(FileError, match="1 other file, such as 01_0003"):
        write_dicom_series(folder, np.ones((2, 5, 6)), geometry("axial", 2), overwrite=True)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(FileError, match="is not a folder"):
        write_dicom_series(tmp_path / "link", np.ones((3, 5, 6)), place, overwrite=True)


def test_what_is_no_reference_is_refused(tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(FileError, match="holds no DICOM file"):
        read_dicom_reference(tmp_path)
    place = geometry("axial", 2)
    for name in ("a", "b"):
        write_dicom_series(tmp_path / name, np.ones((2, 5, 6)), place)
        for path in (tmp_path / name).iterdir():
            shutil.copy(path, tmp_path / f"{name}_{path.name}")
    with pytest.raises(DataError, match="2 series"):
        read_dicom_reference(tmp_path)


def test_a_reference_has_the_spacing_of_rows_along_y_and_of_columns_along_x(tmp_path) -> None:
    # DICOM PS3.3 10.7.1.3: the first value is the distance between rows.
    part = np.ones((10, 6, 2))
    orientation = np.array([[1.0, 0, 0], [0, 1, 0]])
    classic(tmp_path, part, ["ORIGINAL", "PRIMARY", "M"], orientation, "1.2.3")
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.save_as(path)
    reference = read_dicom_reference(tmp_path)
    between_rows, between_columns = SPACING
    assert reference.shape == (2, 6, 10)
    assert reference.geometry.field_of_view_mm == (STEP, 6 * between_rows, 10 * between_columns)
