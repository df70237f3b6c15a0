"""Images of other programs: sizes are checked before anything is unpacked, damage has a name."""

from __future__ import annotations

import gzip
import logging
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_series import classic
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from firenet_mri.errors import DataError, FileError
from firenet_mri.io import read_reference
from firenet_mri.io.image.complex_dicom import read_complex_dicom, read_dicom_image
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.io.image.dicom import read_dicom_reference
from firenet_mri.io.image.reading import read_image

# Where the size along x stands, and the number of axes.
_AXES, _X = 40, 42


def nifti(path: Path, shape: tuple[int, ...] = (6, 5, 4)) -> bytearray:
    """Write random voxels, and return the bytes unpacked."""
    voxels = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), path)
    content = path.read_bytes()
    return bytearray(gzip.decompress(content) if path.suffix == ".gz" else content)


def magnitude(folder: Path, slices: int = 3) -> list[Path]:
    """Write a series of magnitudes; return its files in the order of their positions."""
    stored = np.random.default_rng(0).integers(0, 4000, (6, 5, slices))
    folder.mkdir()
    axes = np.array([[1.0, 0, 0], [0, 1, 0]])
    classic(folder, stored, ["ORIGINAL", "PRIMARY", "M"], axes, "1.2.3")
    return sorted(folder.iterdir(), key=lambda one: dcmread(one).ImagePositionPatient[2])


READERS = (read_reference, read_image, read_complex_nifti)


@pytest.mark.parametrize("reader", READERS)
def test_the_checksum_of_a_compressed_image_counts(reader, tmp_path) -> None:
    path = tmp_path / "image.nii.gz"
    nifti(path)
    content = bytearray(path.read_bytes())
    # The last bytes are checksum and length: the samples themselves are as they were.
    content[-8] ^= 1
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"image\.nii\.gz: .* do not match its checksum"):
        reader(path)
    path.write_bytes(content[:-9])
    with pytest.raises(FileError, match="the compressed file is truncated"):
        reader(path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_a_header_of_more_than_the_file_is_refused_before_it_is_read(name, tmp_path) -> None:
    path = tmp_path / name
    content = nifti(path)
    for size, words in ((7, "the image is truncated"), (30_000, "would take")):
        struct.pack_into("<hhh", content, _X, size, size if size > 7 else 5, 4)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
        with pytest.raises(FileError, match=words):
            read_reference(path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_a_header_of_less_than_the_file_is_said(name, tmp_path, caplog) -> None:
    path = tmp_path / name
    content = nifti(path)
    struct.pack_into("<h", content, _AXES, 2)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    with caplog.at_level(logging.WARNING):
        read_reference(path)
    assert "contains more than the 472 bytes" in caplog.text


def test_a_compressed_image_that_unpacks_without_end_is_refused(tmp_path) -> None:
    path = tmp_path / "image.nii.gz"
    content = nifti(path)
    path.write_bytes(gzip.compress(bytes(content) + bytes(1 << 22), 1))
    with pytest.raises(FileError, match="decompresses to far more than the 832 bytes"):
        read_reference(path)


def test_a_deflated_data_set_that_unpacks_without_end_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("firenet_mri.io.image.dicom_door.ALWAYS_FINE", 1 << 20)
    (file,) = magnitude(tmp_path / "series", 1)
    dataset = dcmread(file)
    before = dataset.pixel_array
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(file)
    np.testing.assert_array_equal(read_dicom_image(file).image[..., 0].real, before.T)
    # A stream of several pieces, with a byte behind it, comes to its end, too.
    dataset.add_new((0x0009, 0x0010), "LO", "SOMEBODY")
    dataset.add_new((0x0009, 0x1001), "OB", bytes(3 << 19))
    with monkeypatch.context() as patch:
        patch.setattr("firenet_mri.io.image.dicom_door.ALWAYS_FINE", 1 << 22)
        for behind in (b"", b"\0"):
            dataset.save_as(file)
            file.write_bytes(file.read_bytes() + behind)
            assert read_dicom_image(file).image.shape == (6, 5, 1)
    dataset[0x0009, 0x1001].value = bytes(2 << 20)
    dataset.save_as(file)
    assert file.stat().st_size < 1 << 20
    for reader in (read_dicom_image, read_complex_dicom, read_dicom_reference):
        with pytest.raises(FileError, match="the data set would take"):
            reader(file)


def test_pixels_that_unpack_without_end_are_refused(tmp_path) -> None:
    (file,) = magnitude(tmp_path / "series", 1)
    dataset = dcmread(file)
    dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 60_000
    dataset.save_as(file)
    with pytest.raises(FileError, match=r"the pixels would take 6\.7 GiB"):
        read_dicom_image(file)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_no_slice_of_a_folder_is_lost_because_it_is_damaged(index, tmp_path) -> None:
    files = magnitude(tmp_path / "series")
    (tmp_path / "series" / "notes.txt").write_text("of another kind")
    assert read_dicom_image(tmp_path / "series").image.shape[-1] == 3
    content = bytearray(files[index].read_bytes())
    content[128:132] = b"DICN"
    files[index].write_bytes(content)
    with pytest.raises(FileError, match="is named like the DICOM files next to it but is not one"):
        read_dicom_image(tmp_path / "series")


def test_values_that_pydicom_finds_odd_are_not_shown(tmp_path, recwarn) -> None:
    (file,) = magnitude(tmp_path / "series", 1)
    content = file.read_bytes()
    assert content.count(b"Doe^Jane") == 1
    file.write_bytes(content.replace(b"1.2.3\0", b"1.x.3\0").replace(b"Doe^Jane", b"\xffoe^Jane"))
    read_dicom_image(file)
    assert not [one for one in recwarn if "pydicom" in str(one.filename)]


def test_floating_point_voxels_that_are_scaled_are_named(tmp_path, caplog) -> None:
    path = tmp_path / "image.nii"
    content = nifti(path)
    struct.pack_into("<f", content, 112, 2.0)
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        read_reference(path)
    assert "but the header scales them (slope 2, intercept 0)" in caplog.text


def test_slices_of_which_some_are_scaled_and_others_not_are_refused(tmp_path) -> None:
    files = magnitude(tmp_path / "series")
    dataset = dcmread(files[1])
    del dataset.RescaleSlope
    dataset.save_as(files[1])
    with pytest.raises(DataError, match="a rescale intercept but no slope"):
        read_dicom_image(tmp_path / "series")
    del dataset.RescaleIntercept
    dataset.save_as(files[1])
    with pytest.raises(DataError, match="1 of 3 slices of the magnitude has no rescale slope"):
        read_dicom_image(tmp_path / "series")


def test_a_slice_that_is_scaled_otherwise_is_named(tmp_path, caplog) -> None:
    files = magnitude(tmp_path / "series")
    dataset = dcmread(files[1])
    dataset.RescaleSlope = 3
    dataset.save_as(files[1])
    with caplog.at_level(logging.WARNING):
        read_dicom_image(tmp_path / "series")
    assert "1 of 3 slices of the magnitude has another rescale slope" in caplog.text


def test_bytes_that_came_in_between_are_named(tmp_path, caplog) -> None:
    (file,) = magnitude(tmp_path / "series", 1)
    content = file.read_bytes()
    with caplog.at_level(logging.WARNING):
        read_dicom_image(file)
    assert caplog.text == ""
    # Doubled samples: 6 x 5 of two bytes each are the last of the file.
    file.write_bytes(content[:-60] + content[-60:-48] + content[-60:])
    with caplog.at_level(logging.WARNING):
        read_dicom_image(file)
    assert "further elements follow its pixels" in caplog.text
