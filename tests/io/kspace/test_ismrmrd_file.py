"""ISMRMRD files that are damaged, foreign or hold personal data are handled as they should be."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mrd_scans import centred_ifft, make_header, make_readouts

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io import read

NX, NY = 16, 12


@pytest.fixture
def kspace(noisy: Callable[..., np.ndarray]) -> np.ndarray:
    """Return (coil, y, x) complex64 that fills the matrix."""
    return noisy(3, NY, NX).astype(np.complex64)


# Trap 16
@given(fraction=st.floats(0.001, 0.999))
def test_truncated_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, fraction: float
) -> None:
    rng = np.random.default_rng(1)
    kspace = rng.standard_normal((2, 24, 32)) + 0j
    path = tmp_path_factory.mktemp("cut") / "scan.h5"
    with ismrmrd.File(path, "w") as file:
        dataset = file["dataset"]
        dataset.header = make_header((32, 24, 1))
        dataset.acquisitions = make_readouts(kspace)
    whole = path.read_bytes()
    path.write_bytes(whole[: max(1, int(fraction * len(whole)))])
    with pytest.raises(FileError, match=r"scan\.h5: "):
        read(path)


def test_not_a_number_is_refused(write_mrd: Callable[..., Path], kspace: np.ndarray) -> None:
    kspace[1, 2, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        read(write_mrd(make_header((NX, NY, 1)), make_readouts(kspace)))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "it holds nothing"),
        ({"other/data": 1}, "it holds /other"),
        ({"dataset/xml": 1}, "/dataset holds only xml"),
    ],
)
def test_other_hdf5_files_are_refused_by_what_they_hold(
    tmp_path: Path, members: dict[str, int], words: str
) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        for name, value in members.items():
            file[name] = value
    with pytest.raises(FileError, match=words):
        read(path)


# Trap 17
def test_header_that_is_damaged_does_not_leak_into_the_message(tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    text = "<ismrmrdHeader><patientName>Made-up</patientName><encoding>Made-up</encoding>"
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "dataset/xml",
            data=np.array([text.encode()], dtype="O"),
            dtype=h5py.special_dtype(vlen=bytes),
        )
        file["dataset/data"] = 1
    with pytest.raises(FileError) as caught:
        read(path)
    assert "Made-up" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_patient_fields_are_neither_kept_nor_able_to_stop_the_reading(
    write_mrd: Callable[..., Path], kspace: np.ndarray
) -> None:
    subject = ismrmrd.xsd.subjectInformationType(patientName="Made-up", patientID="Made-up-7")
    path = write_mrd(make_header((NX, NY, 1), subject=subject), make_readouts(kspace))
    with h5py.File(path, "r+") as file:
        text = file["dataset/xml"][0].replace(
            b"</patientName>", b"</patientName><patientBirthdate>Made-up</patientBirthdate>"
        )
        assert text.count(b"Made-up") == 3
        file["dataset/xml"][0] = text
    scan = read(path)
    assert "Made-up" not in repr(scan)
    np.testing.assert_array_equal(scan.kspace[0], kspace)


@pytest.mark.skipif(
    shutil.which("ismrmrd_generate_cartesian_shepp_logan") is None
    or shutil.which("ismrmrd_recon_cartesian_2d") is None,
    reason="the Debian package ismrmrd-tools is not installed",
)
def test_image_equals_that_of_the_ismrmrd_tools(tmp_path: Path) -> None:
    path = tmp_path / "phantom.h5"
    generate = ["ismrmrd_generate_cartesian_shepp_logan", "-m", "64", "-c", "4", "-o", str(path)]
    subprocess.run(generate, check=True, capture_output=True)
    scan = read(path)
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path, "r") as file:
        expected = np.squeeze(file["dataset/cpp/data"][()])
    coil_images = centred_ifft(scan.kspace[0].numpy(), axes=(1, 2))
    image = np.sqrt((np.abs(coil_images) ** 2).sum(axis=0))
    scale = (image * expected).sum() / (expected**2).sum()
    np.testing.assert_allclose(image, scale * expected, atol=1e-4 * image.max())


def test_of_several_groups_one_is_chosen_and_none_is_taken_in_silence(
    write_mrd: Callable[..., Path], kspace: np.ndarray
) -> None:
    header = make_header((NX, NY, 1))
    path = write_mrd(header, make_readouts(kspace))
    with ismrmrd.File(path, "a") as file:
        file["dataset_2"].header = header
        file["dataset_2"].acquisitions = make_readouts(2 * kspace)
    with pytest.raises(UsageError, match=r"groups /dataset, /dataset_2; choose one with --group"):
        read(path)
    np.testing.assert_array_equal(read(path, group="dataset").kspace[0], kspace)
    np.testing.assert_array_equal(read(path, group="/dataset_2").kspace[0], 2 * kspace)
    with pytest.raises(
        UsageError, match="group third was requested, but scans are in /dataset, /dataset_2"
    ):
        read(path, group="third")


def test_the_only_group_is_read_whatever_its_name(
    write_mrd: Callable[..., Path], kspace: np.ndarray
) -> None:
    path = write_mrd(make_header((NX, NY, 1)), make_readouts(kspace))
    with h5py.File(path, "r+") as file:
        file.move("dataset", "meas_7")
    np.testing.assert_array_equal(read(path).kspace[0], kspace)
