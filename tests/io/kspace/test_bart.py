"""BART pairs are read with the right axes, and what cannot be used is refused by name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mrd_scans import centred_ifft

from firenet_mri.errors import FileError, ShapeError
from firenet_mri.io import read
from firenet_mri.io.kspace.bart import read_array, write_cfl

NOISE = Callable[..., np.ndarray]
needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


@pytest.mark.parametrize("shape", [(4, 5, 6), (4, 3, 5, 6), (2, 4, 3, 5, 6)])
def test_written_arrays_are_read_back(tmp_path: Path, noisy: NOISE, shape: tuple[int, ...]) -> None:
    array = noisy(*shape).astype(np.complex64)
    if len(shape) == 3:
        array = array[:, None]
    write_cfl(tmp_path / "scan.cfl", array)
    scan = read(tmp_path / "scan.cfl")
    np.testing.assert_array_equal(scan.kspace, array.reshape(shape))
    assert scan.spatial_ndim == (2 if len(shape) == 3 else 3)
    assert scan.geometry is None


@pytest.mark.parametrize("name", ["scan", "scan.cfl", "scan.hdr"])
def test_a_pair_is_found_by_any_of_its_names(tmp_path: Path, noisy: NOISE, name: str) -> None:
    write_cfl(tmp_path / "scan.cfl", noisy(4, 1, 5, 6))
    assert read(tmp_path / name).kspace.shape == (4, 5, 6)


def test_first_axis_of_bart_is_the_last_of_the_array(tmp_path: Path) -> None:
    """Column-major: read runs fastest in the file, then phase 1, phase 2, coil."""
    np.arange(1, 25, dtype=np.complex64).tofile(tmp_path / "scan.cfl")
    (tmp_path / "scan.hdr").write_text("# Dimensions\n4 3 1 2 1 1 1 1 1 1 1 1 1 1 1 1\n")
    kspace = read(tmp_path / "scan").kspace
    assert kspace.shape == (2, 3, 4)
    assert kspace[0, 0, :2].real.tolist() == [1, 2]
    assert kspace[0, 1, 0] == 5
    assert kspace[1, 0, 0] == 13


@pytest.mark.parametrize("sizes", ["1 3 4 2", "3 1 4 2", "3 4 1 2", "3 4 1 2 1 1 1 1 1 1 1 1 1 1"])
def test_a_plane_may_lie_along_any_two_axes(tmp_path: Path, sizes: str) -> None:
    np.ones(24, np.complex64).tofile(tmp_path / "scan.cfl")
    (tmp_path / "scan.hdr").write_text(f"# Dimensions\n{sizes}\n")
    scan = read(tmp_path / "scan")
    assert scan.kspace.shape == (2, 4, 3)
    assert scan.spatial_ndim == 2


def test_slices_come_first(tmp_path: Path) -> None:
    array = np.arange(1, 2 * 3 * 4 * 5 + 1, dtype=np.complex64)
    array.tofile(tmp_path / "scan.cfl")
    (tmp_path / "scan.hdr").write_text("# Dimensions\n5 4 1 3 1 1 1 1 1 1 1 1 1 2 1 1\n")
    scan = read(tmp_path / "scan")
    np.testing.assert_array_equal(scan.kspace, array.reshape(2, 3, 4, 5))
    assert scan.mask.shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    ("axis", "label"), [(4, "maps"), (5, "TE"), (10, "time"), (11, "time 2"), (14, "average")]
)
def test_other_axes_are_refused_by_name(tmp_path: Path, axis: int, label: str) -> None:
    sizes = [4, 3, 1, 2] + [1] * 12
    sizes[axis] = 2
    np.ones(48, np.complex64).tofile(tmp_path / "scan.cfl")
    (tmp_path / "scan.hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)))
    with pytest.raises(ShapeError, match=rf"dimension {axis} \({label}\) has 2 entries"):
        read(tmp_path / "scan")


def test_one_spatial_axis_is_refused(tmp_path: Path) -> None:
    write_cfl(tmp_path / "scan.cfl", np.ones((4, 1, 1, 6), complex))
    with pytest.raises(ShapeError, match=r"sizes \(6, 1, 1\)"):
        read(tmp_path / "scan")


def test_zeros_in_all_coils_are_not_sampled(tmp_path: Path, noisy: NOISE) -> None:
    array = noisy(4, 1, 5, 6)
    array[:, :, 2] = 0
    array[1, 0, 3, 3] = 0
    write_cfl(tmp_path / "scan.cfl", array)
    mask = read(tmp_path / "scan").mask
    assert mask.shape == (1, 5, 6)
    assert not mask[0, 2].any()
    assert mask.sum() == 24


@given(kept=st.integers(0, 4 * 5 * 6 * 8 - 1))
def test_truncated_data_are_refused(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    path = tmp_path_factory.mktemp("cut") / "scan.cfl"
    write_cfl(path, np.ones((4, 1, 5, 6), complex))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FileError, match=r"scan\.cfl: the file is (truncated|empty)"):
        read(path)


def test_a_header_of_fewer_slices_than_there_are_is_refused(tmp_path: Path, noisy: NOISE) -> None:
    path = tmp_path / "scan.cfl"
    write_cfl(path, noisy(3, 4, 1, 5, 6).astype(np.complex64))
    header = path.with_suffix(".hdr")
    write_cfl(tmp_path / "other.cfl", noisy(2, 4, 1, 5, 6).astype(np.complex64))
    header.write_bytes((tmp_path / "other.hdr").read_bytes())
    with pytest.raises(FileError, match=r"the file has 2880 bytes, but the sizes .* need 1920"):
        read(path)


@pytest.mark.parametrize(
    "text", ["", "\n", "# Dimensions", "# Dimensions\nfour 3", "# Dimensions\n4 0 1 2", "4 3 1 2"]
)
def test_header_without_sizes_is_refused(tmp_path: Path, text: str) -> None:
    write_cfl(tmp_path / "scan.cfl", np.ones((2, 1, 3, 4), complex))
    (tmp_path / "scan.hdr").write_text(text)
    with pytest.raises(FileError, match=r"scan\.hdr: "):
        read(tmp_path / "scan.cfl")


def test_missing_halves_are_named(tmp_path: Path) -> None:
    write_cfl(tmp_path / "a.cfl", np.ones((2, 1, 3, 4), complex))
    (tmp_path / "a.hdr").rename(tmp_path / "b.hdr")
    with pytest.raises(FileError, match=r"a\.cfl: its header a\.hdr is missing"):
        read(tmp_path / "a.cfl")
    with pytest.raises(FileError, match=r"b\.hdr: its data b\.cfl are missing"):
        read(tmp_path / "b.hdr")


@needs_bart
def test_files_of_bart_are_read_as_bart_means_them(tmp_path: Path) -> None:
    bart(tmp_path, "phantom", "-x", "32", "-s", "4", "image")
    bart(tmp_path, "fft", "-u", "3", "image", "kspace")
    scan = read(tmp_path / "kspace")
    image = read_array(tmp_path / "image.cfl")[0, :, 0]
    assert scan.kspace.shape == (4, 32, 32)
    found = centred_ifft(scan.kspace.numpy(), (1, 2))
    np.testing.assert_allclose(found, image, atol=1e-6 * np.abs(image).max())


@needs_bart
def test_bart_reads_what_is_written(tmp_path: Path, noisy: NOISE) -> None:
    array = noisy(2, 4, 3, 5, 6).astype(np.complex64)
    write_cfl(tmp_path / "scan.cfl", array)
    sizes = bart(tmp_path, "show", "-m", "scan")
    assert [int(word) for word in sizes.split("AoD:")[1].split()] == [6, 5, 3, 4] + [1] * 9 + [
        2,
        1,
        1,
    ]
    bart(tmp_path, "transpose", "0", "1", "scan", "turned")
    turned = read(tmp_path / "turned").kspace
    assert torch.equal(turned, torch.from_numpy(array).transpose(-1, -2))


def bart(folder: Path, *arguments: str) -> str:
    """Run a BART command and return what it says."""
    return subprocess.run(
        ["bart", *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout
