"""``read`` tells formats by content, takes masks, and refuses other files with one clear line."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mrd_scans import make_header, make_readouts

from firenet_mri import RawScan
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.io import read, write_scan
from firenet_mri.io.kspace.bart import write_cfl

NOISE = Callable[..., np.ndarray]


@pytest.fixture
def scan_file(tmp_path: Path, noisy: NOISE) -> Path:
    """Return a .npy scan of 3 coils and 6 x 5."""
    path = tmp_path / "scan.npy"
    np.save(path, noisy(3, 6, 5))
    return path


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 4, 6, 5)])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_numpy_scans_are_read(
    tmp_path: Path, noisy: NOISE, shape: tuple[int, ...], dtype: type
) -> None:
    array = noisy(*shape).astype(dtype)
    array[..., 2, :] = 0
    np.save(tmp_path / "scan.npy", array)
    scan = read(tmp_path / "scan.npy")
    np.testing.assert_array_equal(scan.kspace, array.astype(np.complex64))
    assert scan.kspace.dtype == torch.complex64
    assert scan.mask.shape == (1, *shape[1:])
    assert scan.spatial_ndim == len(shape) - 1
    assert not scan.mask[..., 2, :].any()
    assert scan.mask.sum() == scan.mask.numel() * 5 / 6
    assert (scan.geometry, scan.noise, scan.name) == (None, None, "scan.npy")


def test_content_decides_not_the_name(
    tmp_path: Path, scan_file: Path, write_mrd: Callable[..., Path], noisy: NOISE
) -> None:
    renamed = scan_file.rename(tmp_path / "scan.h5")
    assert read(renamed).kspace.shape == (3, 6, 5)
    kspace = noisy(2, 6, 8)
    path = write_mrd(make_header((8, 6, 1)), make_readouts(kspace), "scan.npy")
    assert read(str(path)).kspace.shape == (1, 2, 6, 8)


def test_array_that_is_no_kspace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.ones((3, 6, 5)))
    with pytest.raises(DataError, match="float64; k-space must be complex"):
        read(path)
    np.save(path, np.ones((6, 5), complex))
    with pytest.raises(ShapeError, match=r"shape \(6, 5\); it must be \(coil, y, x\)"):
        read(path)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match="Python objects"):
        read(path)


@given(kept=st.integers(1, 128 + 3 * 6 * 5 * 16 - 1))
def test_truncated_array_is_refused(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "scan.npy"
    np.save(path, np.ones((3, 6, 5), complex))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileError, match=r"scan\.npy: "):
        read(path)


def test_header_that_claims_more_than_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.ones((300, 6, 5), complex))
    path.write_bytes(path.read_bytes().replace(b"(300, 6, 5), }", b"(9**9, 6, 5),}"))
    with pytest.raises(FileError, match="damaged"):
        read(path)
    np.save(path, np.ones((300, 6, 5), complex))
    path.write_bytes(path.read_bytes().replace(b"(300, 6, 5), }      ", b"(99999999999, 6, 5)}"))
    with pytest.raises(FileError, match="truncated"):
        read(path)


def test_missing_file_folder_and_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"none\.h5: no such file"):
        read(tmp_path / "none.h5")
    with pytest.raises(FileError, match="is a folder"):
        read(tmp_path)
    (tmp_path / "empty.h5").touch()
    with pytest.raises(FileError, match=r"empty\.h5: the file is empty"):
        read(tmp_path / "empty.h5")


def foreign_files() -> dict[str, tuple[bytes, str]]:
    """Return a name, the content and what the message must say of files that are no raw scan."""
    nifti = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes()
    second = nibabel.Nifti2Image(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes()
    return {
        "image.nii": (nifti, "a NIfTI file: an image, not k-space"),
        "second.nii": (second, "a NIfTI file"),
        "image.nii.gz": (gzip.compress(nifti), "a compressed NIfTI file: an image, not k-space"),
        "named.h5": (nifti, "a NIfTI file"),
        "scan.h5.gz": (gzip.compress(b"\x89HDF"), "gzip-compressed file; decompress it"),
        "damaged.gz": (b"\x1f\x8b" + b"no gzip at all", "gzip-compressed file"),
        "image.dcm": (bytes(128) + b"DICM" + bytes(20), "a DICOM file"),
        "arrays.npz": (b"PK\x03\x04" + bytes(20), "npz archive; save the k-space array"),
        "picture.png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "a PNG picture"),
        "old.mat": (b"MATLAB 5.0 MAT-file" + bytes(200), "a MATLAB file"),
        "meas.dat": (struct.pack("<II", 0, 2) + bytes(100), "of an unknown format"),
        "P1.7": (struct.pack("<f", 26.002) + bytes(100), "of an unknown format"),
        "notes.txt": (b"These are notes.\n", "a text file; give an ISMRMRD"),
        "noise.bin": (bytes(range(256)), "of an unknown format; give an ISMRMRD"),
        "image.hdr": (nifti, "a NIfTI file"),
    }


@pytest.mark.parametrize("name", foreign_files())
def test_foreign_file_is_named_for_what_it_is(tmp_path: Path, name: str) -> None:
    content, words = foreign_files()[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileError) as caught:
        read(tmp_path / name)
    message = str(caught.value)
    assert words in message
    assert message.startswith(f"{tmp_path / name}: is ")
    assert "\n" not in message


def checkerboard(*shape: int) -> np.ndarray:
    """Return a bool array that is True where the indices add to an even number."""
    return np.indices(shape).sum(axis=0) % 2 == 0


@pytest.mark.parametrize("kind", ["bool", "tensor", "float", "npy", "cfl", "with coil axis"])
def test_mask_drops_samples(scan_file: Path, tmp_path: Path, kind: str) -> None:
    board = checkerboard(6, 5)
    mask = {
        "bool": board,
        "tensor": torch.from_numpy(board),
        "float": board * 0.5,
        "npy": tmp_path / "mask.npy",
        "cfl": tmp_path / "mask.cfl",
        "with coil axis": board[None],
    }[kind]
    np.save(tmp_path / "mask.npy", board)
    write_cfl(tmp_path / "mask.cfl", board[None, None].astype(complex))
    full, scan = read(scan_file), read(scan_file, mask=mask)
    np.testing.assert_array_equal(scan.mask, board[None])
    np.testing.assert_array_equal(scan.kspace, full.kspace * torch.from_numpy(board))


def test_mask_of_lines_covers_whole_readouts(scan_file: Path) -> None:
    lines = np.array([1, 0, 1, 1, 0, 1])[:, None]
    expected = np.broadcast_to(lines == 1, (6, 5))
    for mask in (lines, lines[None, None, None]):
        np.testing.assert_array_equal(read(scan_file, mask=mask).mask[0], expected)


def test_given_mask_may_keep_zeros_of_a_bare_array_but_not_of_a_scan_file(
    tmp_path: Path, write_mrd: Callable[..., Path], noisy: NOISE
) -> None:
    kspace = noisy(2, 6, 8)
    kspace[:, 2] = 0
    everything = np.ones((6, 8), bool)
    np.save(tmp_path / "scan.npy", kspace)
    assert read(tmp_path / "scan.npy", mask=everything).mask.all()
    path = write_mrd(make_header((8, 6, 1)), make_readouts(kspace))
    assert not read(path, mask=everything).mask[..., 2, :].any()


def test_slices_may_have_their_own_masks(write_mrd: Callable[..., Path], noisy: NOISE) -> None:
    kspace = noisy(2, 6, 8)
    readouts = [
        readout
        for number in range(2)
        for readout in make_readouts(
            kspace, counters={"slice": number}, position=(5.0 * number, 0, 0)
        )
    ]
    masks = np.stack([checkerboard(6, 8), ~checkerboard(6, 8)])
    scan = read(write_mrd(make_header((8, 6, 1)), readouts), mask=masks)
    np.testing.assert_array_equal(scan.mask, masks[:, None])


@pytest.mark.parametrize("shape", [(5, 6), (6,), (3, 6, 5), (6, 4), (2, 1, 6, 5)])
def test_mask_of_another_shape_is_refused(scan_file: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"scan\.npy: the mask has shape .*\(6, 5\)"):
        read(scan_file, mask=np.ones(shape))


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.zeros((6, 5)), "leaves no sample"),
        (np.full((6, 5), np.nan), "NaN"),
        (np.full((6, 5), "x"), "must be bool or numbers"),
    ],
)
def test_mask_of_nonsense_is_refused(scan_file: Path, mask: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(scan_file, mask=mask)


def test_mask_file_of_another_format_is_refused(scan_file: Path, tmp_path: Path) -> None:
    (tmp_path / "mask.txt").write_text("1 0 1")
    with pytest.raises(FileError, match=r"mask\.txt: is not a mask file"):
        read(scan_file, mask=tmp_path / "mask.txt")
    with pytest.raises(FileError, match=r"none\.npy: no such file"):
        read(scan_file, mask=tmp_path / "none.npy")


def test_slices_noise_and_the_record_are_those_asked_for(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    kspace = torch.randn(3, 2, 16, 12, dtype=torch.complex64, generator=generator)
    whole = RawScan(kspace, torch.ones(16, 12, dtype=torch.bool), 2)
    write_scan(tmp_path / "scan.h5", whole)
    noise = torch.randn(2, 100, dtype=torch.complex64, generator=generator)
    np.save(tmp_path / "noise.npy", noise.numpy())
    scan = read(tmp_path / "scan.h5", slices="1-2", noise_file=tmp_path / "noise.npy")
    assert torch.equal(scan.kspace, read(tmp_path / "scan.h5").kspace[1:])
    assert scan.noise is not None
    assert torch.equal(scan.noise, noise)
    assert scan.record["slices"] == [1, 2]
    assert scan.record["noise_file"] == {
        "sha256_of_file": hashlib.sha256((tmp_path / "noise.npy").read_bytes()).hexdigest()
    }
    assert read(tmp_path / "scan.h5").record["slices"] is None
    with pytest.raises(UsageError, match=r"slice \[7\] asked for; there are 0 to 2"):
        read(tmp_path / "scan.h5", slices=[7])
