"""DICOM folders as they come: what is left out is named, and nothing is the first of several."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_series import SPACING, STEP, classic, enhanced
from pydicom.fileset import FileSet
from pydicom.uid import (
    GrayscaleSoftcopyPresentationStateStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from real_scans import DATA

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.image.complex_dicom import read_complex_dicom, read_dicom_image
from firenet_mri.io.image.dicom import (
    read_dicom_reference,
    write_dicom_series,
    write_enhanced_dicom,
)
from firenet_mri.io.image.dicom_parts import component_of
from firenet_mri.io.image.options import ImageReadOptions
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.kspace.recognise import images_in, is_dicom
from firenet_mri.scan import Geometry
from firenet_mri.training.sources import images_in as images_to_train_on

AXIAL = np.array([[1.0, 0, 0], [0, 1, 0]])
VOLUME = np.random.default_rng(0).integers(100, 4000, (5, 4, 5)).astype(float)
OTHER = VOLUME[::-1].copy()
MAGNITUDE, PHASE = ("ORIGINAL", "PRIMARY", "M"), ("ORIGINAL", "PRIMARY", "P")


def read(path: Path, **options) -> np.ndarray:
    """Return the magnitude (x, y, z) of an image."""
    return np.abs(read_dicom_image(path, ImageReadOptions(**options)).image)


@pytest.fixture
def folder(tmp_path):
    """Return a folder with one series of five magnitudes."""
    path = tmp_path / "series"
    path.mkdir()
    classic(path, VOLUME, MAGNITUDE, AXIAL, "1.2", number=3)
    return path


def without_preamble(path: Path, *, meta: bool) -> None:
    """Rewrite a file so that it begins with its file meta, or its data set."""
    whole = path.read_bytes()
    length = 12 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[132:] if meta else whole[132 + length :])


@pytest.mark.parametrize("meta", [True, False])
@pytest.mark.parametrize("implicit", [True, False])
def test_a_slice_without_preamble_is_not_dropped(folder, meta, implicit) -> None:
    last = next(folder.glob("*_4.dcm"))
    if implicit:
        dataset = pydicom.dcmread(last)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
        dataset.save_as(last, implicit_vr=True)
    without_preamble(last, meta=meta)
    with pytest.raises(pydicom.errors.InvalidDicomError):
        pydicom.dcmread(last)
    np.testing.assert_array_equal(read(folder), VOLUME)
    assert read_image(last)[0].shape == (1, 4, 5)


def test_a_folder_of_files_without_preamble_is_a_folder_of_dicom(folder, tmp_path) -> None:
    for file in folder.iterdir():
        without_preamble(file, meta=False)
    assert "DICOM files" in images_in(folder)
    assert list(images_to_train_on([tmp_path])) == [folder]
    for other in (
        b"\x08\0",
        b"\x08\0\x05\0zz\xff\xff" + bytes(200),
        b"text " * 60,
        bytes(300),
        np.array([8, 5] * 40, np.int32).tobytes(),
    ):
        assert not is_dicom(other)


def test_what_is_no_image_is_left_out_by_name(folder, caplog) -> None:
    first = next(folder.iterdir())
    shutil.copy(first, folder / "copy of it.dcm")
    (folder / "notes.txt").write_text("no DICOM")
    for name, uid in (
        ("state", GrayscaleSoftcopyPresentationStateStorage),
        ("capture", SecondaryCaptureImageStorage),
        ("fusion", MRImageStorage),
    ):
        other = pydicom.dcmread(first)
        other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = uid
        other.SOPInstanceUID = generate_uid()
        if name == "state":
            del other.Rows, other.Columns, other.PixelData
        if name == "fusion":
            other.SamplesPerPixel = 3
        other.save_as(folder / name)
    np.testing.assert_array_equal(read(folder), VOLUME)
    for words in (
        "notes.txt (not DICOM)",
        "copy of it.dcm (copy of another file)",
        "state (Grayscale Softcopy Presentation State Storage, without pixels)",
        "capture (Secondary Capture Image Storage, not an MR image)",
        "fusion (in colour)",
    ):
        assert words in caplog.text or words.replace("copy of it.dcm", first.name) in caplog.text
    with pytest.raises(FileError, match=r"no MR image in DICOM, only state \(Grayscale"):
        read(folder / "state")


def test_slices_of_one_identifier_are_no_copies_of_each_other(folder) -> None:
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SOPInstanceUID = "1.2.3"
        dataset.save_as(file)
    np.testing.assert_array_equal(read(folder), VOLUME)


def test_a_slice_that_is_a_dangling_link_is_not_dropped(folder) -> None:
    """Data sets under version control hold such links for files that were not fetched."""
    last = next(folder.glob("*_4.dcm"))
    last.unlink()
    last.symlink_to(folder / "elsewhere")
    with pytest.raises(FileError, match=r"_4\.dcm: is a link to a file that does not exist"):
        read(folder)
    with pytest.raises(FileError, match="Is a directory"):
        read_dicom_image([folder])


@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_damaged_files_are_an_image_or_a_named_error(kind, folder, tmp_path, caplog) -> None:
    rng = np.random.default_rng(0)
    if kind == "enhanced":
        folder = tmp_path / "enhanced"
        folder.mkdir()
        enhanced(folder / "a.dcm", {"REAL": VOLUME, "IMAGINARY": VOLUME}, AXIAL, 1.0)
    file = min(folder.iterdir())
    whole, messages = file.read_bytes(), []
    for _ in range(40):
        damaged = bytearray(whole)
        damaged[rng.integers(128, len(whole))] = rng.integers(256)
        damaged[rng.integers(128, 600)] = rng.integers(256)
        file.write_bytes(damaged[: rng.integers(len(whole)) if rng.random() < 0.3 else None])
        for reader in (read_image, read_dicom_reference):
            try:
                reader(folder)
            except DataError as error:
                messages.append(str(error))
    assert sum(str(folder) in message for message in messages) > 20
    assert "Doe" not in "".join(messages)
    # pydicom logs values of the file that do not fit their type.
    assert "Invalid value" not in caplog.text


@pytest.fixture
def disc(folder, tmp_path):
    """Return a disc that pydicom wrote, of two series in one study, with a DICOMDIR."""
    classic(folder, OTHER, MAGNITUDE, AXIAL, "1.2", number=4, echo=(2, 9.0))
    files, study = FileSet(), generate_uid()
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.StudyID, dataset.StudyInstanceUID = "1", "1", study
        dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
        files.add(dataset)
    path = tmp_path / "disc"
    files.write(path)
    # pydicom leaves its folder of work to the garbage collector, which warns.
    files._stage["t"].cleanup()
    return path


def test_a_disc_with_a_directory_is_read(disc) -> None:
    for path in (disc, disc / "DICOMDIR"):
        np.testing.assert_array_equal(read(path, series="4"), OTHER)
    for file in [one for one in disc.rglob("*") if one.is_file() and one.name != "DICOMDIR"]:
        file.rename(file.with_name(file.name.lower()))
    np.testing.assert_array_equal(read(disc, series="3"), VOLUME)
    next(one for one in disc.rglob("im*") if one.is_file()).unlink()
    with pytest.raises(FileError, match=r"DICOMDIR: names files that are missing: PT0"):
        read(disc, series="4")


def test_what_no_slice_can_be_may_be_called_as_slices_are(disc, folder) -> None:
    """A disc says which files it has; elsewhere hidden files are those of systems."""
    (disc / "LOCKFILE").write_text("no DICOM")
    np.testing.assert_array_equal(read(disc, series="3"), VOLUME)
    first = min(one for one in disc.rglob("*") if one.is_file() and one.parent != disc)
    first.write_bytes(b"no DICOM")
    with pytest.raises(FileError, match="is not a DICOM file, but the DICOMDIR names it"):
        read(disc, series="3")
    (folder / "._other.dcm").write_bytes(b"no DICOM")
    np.testing.assert_array_equal(read(folder, series="3"), VOLUME)
    (folder / "other.dcm").write_bytes(b"no DICOM")
    with pytest.raises(FileError, match="is named like the DICOM files next to it but is not one"):
        read(folder, series="3")


def test_a_directory_is_no_image_to_train_on(disc) -> None:
    assert all((path / "IM000000").is_file() for path in images_to_train_on([disc]))


def test_one_of_several_series_is_chosen_and_never_the_first(folder) -> None:
    classic(folder, OTHER, MAGNITUDE, AXIAL, "1.2", number=12)
    listed = r"2 series \(3: magnitude, 5 images of 5 x 4; 12: magnitude.*--series"
    with pytest.raises(DataError, match=listed):
        read(folder)
    np.testing.assert_array_equal(read(folder, series="12"), OTHER)
    header = pydicom.dcmread(next(folder.glob("M3_*_0.dcm")))
    with pytest.raises(UsageError, match="no series 5, only 3: magnitude"):
        read(folder, series="5")
    classic(folder, OTHER, ("ORIGINAL", "PRIMARY", "M_FFE"), AXIAL, "1.2", number=3)
    with pytest.raises(UsageError, match="2 series have the number 3; choose one by its UID"):
        read(folder, series="3")
    assert read(folder, series=header.SeriesInstanceUID).shape == VOLUME.shape


def test_series_that_lie_end_to_end_are_not_one_image(folder) -> None:
    classic(folder, OTHER, MAGNITUDE, AXIAL, "1.2", number=4)
    for file in folder.glob("M4_*"):
        dataset = pydicom.dcmread(file)
        dataset.ImagePositionPatient = [10, -20, dataset.ImagePositionPatient[2] + 5 * STEP]
        dataset.save_as(file)
    with pytest.raises(DataError, match="2 series"):
        read(folder)
    assert read(folder, series="4").shape == OTHER.shape


def test_two_series_are_one_image_only_if_they_are_its_parts(folder) -> None:
    classic(folder, VOLUME, PHASE, AXIAL, "1.2", number=4, slope=2.0, intercept=-4096.0)
    found = read_complex_dicom(folder).image
    truth = VOLUME * np.exp(1j * np.pi * (2 * VOLUME - 4096) / 4096)
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    np.testing.assert_array_equal(read(folder, series="3"), VOLUME)
    for path in folder.glob("P4_*"):
        dataset = pydicom.dcmread(path)
        dataset.EchoTime = 7.0
        dataset.save_as(path)
    with pytest.raises(DataError, match=r"4: phase, 5 images of 5 x 4, TE 7 ms"):
        read_complex_dicom(folder)


def test_a_series_that_is_no_image_does_not_hide_the_others(folder) -> None:
    classic(folder, OTHER, (*MAGNITUDE, "MOSAIC"), AXIAL, "1.2", number=4)
    with pytest.raises(DataError, match="4: 5 files without slices of an image"):
        read(folder)
    np.testing.assert_array_equal(read(folder, series="3"), VOLUME)
    with pytest.raises(DataError, match="one picture holds all slices side by side"):
        read(folder, series="4")


@pytest.mark.parametrize("is_enhanced", [True, False])
def test_one_of_several_echoes_is_chosen_by_the_order_of_their_times(tmp_path, is_enhanced) -> None:
    if is_enhanced:
        enhanced(tmp_path / "e.dcm", {"MAGNITUDE": VOLUME}, AXIAL, 1.0, echo_times=(4.6, 9.2))
    else:
        uid = generate_uid()
        for number, time in ((1, 9.2), (2, 4.6)):
            kind = ("ORIGINAL", "PRIMARY", f"E{number}", "M")
            (tmp_path / str(number)).mkdir()
            classic(tmp_path / str(number), VOLUME // (3 - number), kind, AXIAL, "1.2",
                    echo=(number, time))  # fmt: skip
        for file in tmp_path.rglob("*.dcm"):
            dataset = pydicom.dcmread(file)
            dataset.SeriesInstanceUID = uid
            dataset.save_as(file)
    with pytest.raises(DataError, match=r"2 echoes: 0 \(4.6 ms\), 1 \(9.2 ms\).*--echo"):
        read(tmp_path)
    np.testing.assert_array_equal(read(tmp_path, echo=0), VOLUME)
    np.testing.assert_array_equal(read(tmp_path, echo=1), VOLUME // 2)
    with pytest.raises(UsageError, match=r"no echo 2, only 0 \(4.6 ms\)"):
        read(tmp_path, echo=2)


def test_repetitions_are_in_the_order_of_measurement_whatever_the_files_names(folder) -> None:
    classic(folder, OTHER, MAGNITUDE, AXIAL, "1.2", number=2)
    for number, file in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(file)
        dataset.SeriesInstanceUID, dataset.SeriesNumber = "1.2.3", 1
        stored = dataset.pixel_array
        dataset.AcquisitionNumber = 1 + bool((stored == OTHER.T).all((1, 2)).any())
        dataset.InstanceNumber = 100 - number
        dataset.save_as(file)
    np.testing.assert_array_equal(read(folder, repetition=0), VOLUME)
    np.testing.assert_array_equal(read(folder, repetition=1), OTHER)


def test_a_single_slice_is_as_thick_as_the_file_says(folder) -> None:
    assert read_image(min(folder.iterdir()))[1].field_of_view_mm[0] == STEP


def test_frames_without_their_places_are_refused(folder) -> None:
    file = min(folder.iterdir())
    dataset = pydicom.dcmread(file)
    dataset.NumberOfFrames, dataset.PixelData = 2, 2 * dataset.PixelData
    dataset.save_as(file)
    with pytest.raises(DataError, match="several frames without their positions"):
        read(folder)


def test_what_chooses_among_dicom_images_is_refused_for_others(tmp_path) -> None:
    np.save(tmp_path / "a.npy", VOLUME)
    with pytest.raises(
        UsageError, match=r"a\.npy: series, echo can only be used with DICOM images"
    ):
        read_image(tmp_path / "a.npy", ImageReadOptions(series="1", echo=0))
    for wrong in ({"series": "3,"}, {"echo": -1}, {"phase_scale": 0.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            ImageReadOptions(**wrong)


def test_missing_slices_are_named_by_their_place(folder) -> None:
    for index in (1, 2):
        next(folder.glob(f"*_{index}.dcm")).unlink()
    places = r"2 of 5 are missing, at \(10.0, -20.0, 33.0\), \(10.0, -20.0, 36.0\)"
    with pytest.raises(DataError, match=places):
        read(folder)


OBLIQUE = tuple(np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.2, 1, 0], [0, 0, 1]]).T)[0].T)
PLACE = Geometry(
    (STEP, 4 * SPACING[0], 5 * SPACING[1]),
    tuple(tuple(10 + index * STEP * OBLIQUE[2]) for index in range(5)),
    *(tuple(one) for one in OBLIQUE),
)


def test_our_own_series_are_read_again_where_they_lie(tmp_path, caplog) -> None:
    image = VOLUME.transpose(2, 1, 0)
    write_dicom_series(tmp_path / "one", image, PLACE)
    write_enhanced_dicom(tmp_path / "one.dcm", image, PLACE)
    for path in (tmp_path / "one", tmp_path / "one.dcm"):
        found, place = read_image(path)
        # A sixteenth bit of rounding, and the order of slices, which is that of their normal.
        order = slice(None) if np.cross(*OBLIQUE[:2]) @ OBLIQUE[2] > 0 else slice(None, None, -1)
        np.testing.assert_allclose(found.numpy().real[order], image, atol=4000 / 32_767)
        np.testing.assert_allclose(place.positions_mm[0 if order.step is None else -1],
                                   PLACE.positions_mm[0], atol=1e-3)  # fmt: skip
    assert caplog.text == ""
    write_dicom_series(tmp_path / "two", np.stack([image, 2 * image]), PLACE)
    with pytest.raises(DataError, match="2 series"):
        read_image(tmp_path / "two")
    second = read_image(tmp_path / "two", ImageReadOptions(series="2"))[0].numpy().real
    np.testing.assert_allclose(second[order], 2 * image, atol=8000 / 32_767)


@pytest.mark.parametrize("tokens", ["MOSAIC", "VFRAME"])
def test_one_picture_of_all_slices_is_refused(tmp_path, tokens) -> None:
    classic(tmp_path, VOLUME, (*MAGNITUDE, tokens), AXIAL, "1.2")
    with pytest.raises(DataError, match="one picture holds all slices side by side"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "part"),
    [
        ("ORIGINAL/PRIMARY/M/ND", "magnitude"),
        ("ORIGINAL/PRIMARY/M_FFE/M/FFE", "magnitude"),
        ("ORIGINAL/PRIMARY/PHASE MAP/P/FFE", "phase"),
        ("ORIGINAL/PRIMARY/R_SE/R/SE", "real"),
        ("ORIGINAL/PRIMARY/I_IR", "imaginary"),
        ("ORIGINAL/PRIMARY/OTHER/PHASE", "phase"),
        ("DERIVED/PRIMARY/REAL_IMAGE", "real"),
        ("DERIVED/PRIMARY/MAGNITUDE_IMAGE", "magnitude"),
        ("ORIGINAL/PRIMARY/VOLUME/NONE", None),
        ("ORIGINAL/PRIMARY/M/P", None),
        ("ORIGINAL/PRIMARY", None),
    ],
)
def test_the_vendors_image_types_say_which_part_it_is(tokens, part) -> None:
    dataset = pydicom.Dataset()
    dataset.ImageType = tokens.split("/")
    dataset.Manufacturer = "CANON_MEC"
    assert component_of(dataset) == part


def test_an_anonymised_magnitude_is_one_only_without_negative_values(tmp_path, caplog) -> None:
    kind = ("ORIGINAL", "PRIMARY", "OTHER")
    classic(tmp_path, VOLUME, kind, AXIAL, "1.2", manufacturer="GE MEDICAL SYSTEMS")
    np.testing.assert_array_equal(read(tmp_path), VOLUME)
    assert "taken for a magnitude, although Image Type OTHER does not state" in caplog.text
    with pytest.raises(DataError, match="OTHER does not state"):
        read_complex_dicom(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    classic(tmp_path, VOLUME - 2000, kind, AXIAL, "1.2", manufacturer="GE MEDICAL SYSTEMS")
    with pytest.raises(DataError, match="a magnitude has no negative values"):
        read(tmp_path)


def test_a_phase_has_the_unit_that_the_file_states(tmp_path) -> None:
    for kind in (MAGNITUDE, PHASE):
        classic(tmp_path, VOLUME - 100 * (kind == PHASE), kind, AXIAL, "1.2", manufacturer="UIH")
    with pytest.raises(DataError, match=r"UIH.*--phase-scale"):
        read_complex_dicom(tmp_path)
    scaled = read_complex_dicom(tmp_path, options=ImageReadOptions(phase_scale=5e-4)).image
    np.testing.assert_allclose(scaled, VOLUME * np.exp(5e-4j * (VOLUME - 100)), rtol=1e-4)
    for file in tmp_path.glob("P_*"):
        dataset = pydicom.dcmread(file)
        dataset.RescaleType, dataset.RescaleSlope = "mrad", 0.5
        dataset.save_as(file)
    np.testing.assert_allclose(read_complex_dicom(tmp_path).image, scaled, rtol=1e-4)


def real(name: str) -> Path:
    path = DATA / "dicom" / name
    if not path.exists():
        pytest.skip("the real DICOM files are not here")
    return path


@pytest.mark.parametrize(
    ("name", "reference", "images"),
    [
        ("nih_ge/In", "nih_ge/Ref/DCM2NIIX_regression_test_4.nii", 2),
        ("enhanced/In/Siemens/XA10", "enhanced/Ref/Siemens_REST1_w_SMS_PF7-8_6.nii", 4),
        ("enhanced/In/Philips", "enhanced/Ref/Philips_WIP_B0_NS_801_e1.nii", 1),
    ],
)
def test_real_folders_are_read_image_by_image_as_dcm2niix_converted_them(
    name, reference, images
) -> None:
    """GE of two repetitions in thirty files, Siemens of four in four, a Philips field map."""
    truth = nibabel.load(real(reference))
    for repetition in range(images):
        chosen = ImageReadOptions(repetition=repetition if images > 1 else None)
        found = read_dicom_image(real(name), chosen)
        stored = np.asarray(truth.dataobj).reshape(*truth.shape[:3], -1)[..., repetition]
        # dcm2niix turns rows, and puts the first slice elsewhere: index theirs by place.
        to_theirs = np.linalg.inv(truth.affine) @ found.affine_ras
        index = np.indices(found.image.shape).reshape(3, -1)
        theirs = np.rint(to_theirs[:3, :3] @ index + to_theirs[:3, 3:]).astype(int)
        stored = stored[tuple(theirs)]
        if images == 1:
            # Of Philips dcm2niix writes what its private slope says, in other units.
            stored *= np.abs(found.image).max() / stored.max()
        np.testing.assert_allclose(np.abs(found.image).ravel(), stored, rtol=1e-4, atol=1e-3)
    with pytest.raises(UsageError, match="no repetition"):
        read_dicom_image(real(name), ImageReadOptions(repetition=images))


def test_several_images_at_one_place_are_counted() -> None:
    with pytest.raises(DataError, match=r"2 each .*--repetition.* 0 to 1"):
        read_dicom_image(real("nih_ge/In"))
    with pytest.raises(DataError, match="one picture holds all slices"):
        read_dicom_image(real("siemens_mosaic"))
