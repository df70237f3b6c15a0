"""MRD images become NIfTI, DICOM and BIDS at their place, and nothing else of their file does."""

from __future__ import annotations

import json
from pathlib import Path

import ismrmrd
import nibabel
import numpy as np
import pydicom
import pytest
from bids_tree import assert_valid_study, needs_bids_validator
from dcm2niix_images import assert_same_in_space, converted, needs_dcm2niix
from firenet_command import firenet

from firenet_mri.conversion import ConversionOptions, convert_images, convert_scan, convert_study
from firenet_mri.errors import FileError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.io.image.mrd_images import mrd_images, write_images, write_mrd_images
from firenet_mri.io.image.nifti import write_nifti

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_3slices.h5"
# Oblique, left-handed, off centre, with gaps, rows and columns of other sizes.
READ, COLUMN = np.array([1, 0.2, 0.1]), np.array([-0.2, 1, 0])
READ, COLUMN = READ / np.linalg.norm(READ), COLUMN / np.linalg.norm(COLUMN)
NORMAL = -np.cross(READ, COLUMN)
PLACE = Geometry(
    (4.0, 90.0, 120.0),
    tuple(tuple(np.array([10.0, -20, 30]) + 5 * i * NORMAL) for i in range(3)),
    tuple(READ),
    tuple(COLUMN),
    tuple(NORMAL),
)
ECHOES = ("contrast 0", "contrast 1")
KNOWN = AcquisitionParameters(None, 40.0, (5.0, 9.0))
RNG = np.random.default_rng(0)


@pytest.fixture
def image() -> np.ndarray:
    return RNG.normal(size=(3, 18, 60)).astype(np.float32).view(np.complex64)


@pytest.fixture
def source(image, tmp_path) -> Path:
    write_mrd_images(tmp_path / "images.h5", image, PLACE)
    return tmp_path / "images.h5"


def test_nifti_is_that_of_the_image(image, source, tmp_path) -> None:
    result = firenet("convert", source, tmp_path / "a.nii.gz")
    assert result.status == 0, result.err
    found = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(found.dataobj), image.T)
    np.testing.assert_allclose(found.affine, PLACE.affine_ras((3, 18, 30)), atol=1e-4)
    assert found.header["sform_code"] == 1
    result = firenet("convert", source, tmp_path / "a.nii.gz")
    assert "exists; use --overwrite" in result.err


@needs_dcm2niix
@pytest.mark.parametrize("form", ["classic", "enhanced"])
@pytest.mark.parametrize("image_type", [1, 2, 3])
def test_dcm2niix_makes_the_same_of_the_dicom_images(image, form, image_type, tmp_path) -> None:
    values = np.abs(image) if image_type == 1 else np.angle(image)
    made = mrd_images(values, PLACE)
    for one in made:
        one.image_type = image_type
    write_images(tmp_path / "images.h5", made)
    write_nifti(tmp_path / "ours.nii", values, PLACE)
    output = tmp_path / ("series" if form == "classic" else "image.dcm")
    convert_images(tmp_path / "images.h5", output, ConversionOptions(to="dicom"))
    file = next(output.iterdir()) if output.is_dir() else output
    dataset = pydicom.dcmread(file)
    if form == "enhanced":
        assert dataset.ComplexImageComponent == ("MAGNITUDE", "PHASE", "REAL")[image_type - 1]
    elif image_type == 2:
        assert dataset.ImageType[2] == "PHASE MAP"
    elif image_type == 3:
        assert dataset.ComplexImageComponent == "REAL"
    assert dataset.SeriesDescription == "MRD images, series 1"
    found = converted(output, tmp_path / "converted")
    step = np.ptp(values) if image_type > 1 else values.max()
    assert_same_in_space(found, nibabel.load(tmp_path / "ours.nii"), step / 32_767)


def test_bids_has_magnitude_and_phase_of_complex_images(image, source, tmp_path) -> None:
    done = convert_images(source, tmp_path / "sub-01_T1w", ConversionOptions(to="bids"))
    found = read_complex_nifti(done.files[0])
    np.testing.assert_allclose(found.image, image.T, atol=1e-5)
    assert "ReconMethodName" not in json.loads(done.files[1].read_text())


@pytest.mark.slow
@needs_bids_validator
def test_a_tree_of_echoes_is_accepted_by_the_validator(tmp_path) -> None:
    magnitude = RNG.random((2, 3, 18, 30)).astype(np.float32)
    source = tmp_path / "images.h5"
    write_mrd_images(source, magnitude, PLACE, ECHOES, parameters=KNOWN, simulated=True)
    folder = tmp_path / "study/sub-01/anat"
    folder.mkdir(parents=True)
    done = convert_images(source, folder / "sub-01_MEGRE", ConversionOptions(to="bids"))
    assert [path.name for path in done.files[::2]] == [
        "sub-01_echo-1_MEGRE.nii.gz",
        "sub-01_echo-2_MEGRE.nii.gz",
    ]
    fields = json.loads(done.files[3].read_text())
    assert (fields["EchoTime"], fields["RepetitionTime"]) == (0.009, 0.04)
    assert fields["Simulated"] is True
    assert_valid_study(tmp_path / "study")


def test_nothing_of_the_file_but_an_allow_list_is_written(image, tmp_path) -> None:
    secret = "SECRETNAME"
    made = mrd_images(np.abs(image), PLACE)
    for one in made:
        one.meta = {"PatientName": secret, "SeriesDescription": secret, "ImageComments": secret}
    with ismrmrd.File(str(tmp_path / "images.h5"), "w") as file:
        file[f"{secret}/image_0"].images = made
    for output, to in (
        ("a.nii", None),
        ("a.dcm", None),
        ("series", "dicom"),
        ("sub-01_T1w", "bids"),
    ):
        done = convert_images(tmp_path / "images.h5", tmp_path / output, ConversionOptions(to=to))
        for path in done.files:
            assert secret.encode() not in path.read_bytes()


def test_what_is_lost_or_not_known_is_said(image, source, tmp_path) -> None:
    done = convert_images(source, tmp_path / "a.dcm")
    assert done.notes == ("The phase is omitted; the DICOM images contain the magnitude.",)
    write_mrd_images(tmp_path / "nowhere.h5", np.abs(image))
    done = convert_images(tmp_path / "nowhere.h5", tmp_path / "b.nii")
    assert done.notes == ("The position of the images is not known.",)


def test_what_cannot_be_done_is_refused(source, tmp_path) -> None:
    with pytest.raises(UsageError, match="images are written as"):
        convert_images(source, tmp_path / "a.h5")
    with pytest.raises(UsageError, match="whiten, coils: does not apply to images"):
        convert_images(source, tmp_path / "a.nii", ConversionOptions(whiten=True, coils=4))
    with pytest.raises(UsageError, match="nifti images are written as"):
        convert_images(source, tmp_path / "a", ConversionOptions(to="nifti"))
    with pytest.raises(FileError, match="holds MRD images, not k-space; firenet convert"):
        convert_scan(source, tmp_path / "a.npy")
    with pytest.raises(UsageError, match="format of images, not of scans"):
        convert_scan(SAMPLE, tmp_path / "a.nii", ConversionOptions(to="nifti"))
    with pytest.raises(UsageError, match="A series can be chosen only among MRD images"):
        convert_scan(SAMPLE, tmp_path / "a.npy", ConversionOptions(series="1"))
    with pytest.raises(FileError, match="use firenet recon to make an image from a scan"):
        convert_images(SAMPLE, tmp_path / "a.nii")
    with pytest.raises(UsageError, match="file by file, not as a folder"):
        convert_study(tmp_path, tmp_path.parent / "o", ConversionOptions(to="bids"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images.h5"]
