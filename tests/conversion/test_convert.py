"""One scan in another format: what is chosen, done and written, and what is refused by name."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from laws import assert_close

from firenet_mri import RawScan, read
from firenet_mri.calibration import compress_coils, whiten
from firenet_mri.conversion import ConversionOptions, convert_scan
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io import write_scan
from firenet_mri.io.kspace.bart import read_plain
from firenet_mri.operators.trajectories import radial


def scan_of(*shape: int, **others) -> RawScan:
    generator = torch.Generator().manual_seed(2)
    kspace = torch.randn(*shape, dtype=torch.complex64, generator=generator)
    noise = torch.randn(shape[-3], 40, dtype=torch.complex64, generator=generator)
    mask = torch.ones(1, *shape[-2:], dtype=torch.bool)
    return RawScan(kspace, mask, 2, **{"noise": noise, **others})


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Return an ISMRMRD file of 2 repetitions, 3 slices and 4 coils."""
    path = tmp_path_factory.mktemp("source") / "scan.h5"
    write_scan(path, scan_of(2, 3, 4, 8, 6, images=("repetition 0", "repetition 1")))
    return path


def converted(source, output, **options) -> RawScan:
    convert_scan(source, output, ConversionOptions.from_mapping(options))
    return read(output)


@pytest.mark.parametrize(("to", "suffix"), [("mrd", "h5"), ("fastmri", "h5"), ("bart", "cfl")])
def test_repetitions_and_slices_are_chosen(to, suffix, source, tmp_path) -> None:
    found = converted(source, tmp_path / f"a.{suffix}", to=to, repetitions="1", slices="0-1")
    expected = read(source).kspace[1, :2]
    turned = expected.transpose(-1, -2) if to == "fastmri" else expected
    assert_close(found.kspace.reshape(turned.shape), turned, 0)


def test_one_slice_of_one_repetition_becomes_an_array(source, tmp_path) -> None:
    converted(source, tmp_path / "a.npy", repetitions="1", slices="2")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), read(source).kspace[1, 2])


def test_coils_are_whitened_and_then_compressed(source, tmp_path) -> None:
    found = converted(source, tmp_path / "a.h5", whiten=True, coils="3")
    expected = compress_coils(whiten(read(source)), 3)
    assert_close(found.kspace, expected.kspace, 1e-6)
    assert found.noise is None


def test_whitened_noise_is_white(source, tmp_path) -> None:
    """The noise of the file, put through the same map, has the unit matrix as covariance."""
    noise = read(source).noise.numpy()
    covariance = noise @ noise.conj().T / noise.shape[1]
    converted(source, tmp_path / "a.h5", whiten=True)
    before = read(source).kspace.movedim(2, 0).flatten(1).numpy()
    after = read(tmp_path / "a.h5").kspace.movedim(2, 0).flatten(1).numpy()
    operator = after @ np.linalg.pinv(before)
    np.testing.assert_allclose(operator @ covariance @ operator.conj().T, np.eye(4), atol=1e-5)


def test_a_fastmri_file_keeps_its_axes(tmp_path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = scan_of(2, 3, 8, 6).kspace.numpy()
    found = converted(tmp_path / "a.h5", tmp_path / "b.h5", to="fastmri", slices="1")
    assert torch.equal(found.kspace, read(tmp_path / "a.h5").kspace[1:])


@pytest.fixture(scope="module")
def spokes(tmp_path_factory):
    """Return data and points of a radial scan, in NumPy files, and the scan."""
    folder = tmp_path_factory.mktemp("spokes")
    scan = scan_of(3, 5, 8)
    points = radial(5, 8, 8)
    np.save(folder / "data.npy", scan.kspace.numpy())
    np.save(folder / "points.npy", points.numpy())
    options = {"trajectory": folder / "points.npy", "matrix_size": "8x8"}
    return folder / "data.npy", options, scan.kspace, points


@pytest.mark.parametrize("suffix", ["h5", "cfl", "npy"])
def test_trajectories_go_where_the_format_has_them(suffix, spokes, tmp_path) -> None:
    source, options, kspace, points = spokes
    output = tmp_path / f"a.{suffix}"
    made = convert_scan(source, output, ConversionOptions.from_mapping(options))
    beside = {}
    if suffix != "h5":
        beside = {"trajectory": tmp_path / f"a_trajectory.{suffix}"}
        assert beside["trajectory"] in made.files
    again = read(output, **beside)
    assert torch.equal(again.kspace, kspace)
    np.testing.assert_allclose(again.trajectory, points, atol=1e-6)


def test_bart_gets_its_own_axes(spokes, tmp_path) -> None:
    source, options, _, points = spokes
    convert_scan(source, tmp_path / "a.cfl", ConversionOptions.from_mapping(options))
    # BART counts 1, sample, spoke, coil; and x, y, z, sample, spoke.
    assert (tmp_path / "a.hdr").read_text().split("\n")[1].split()[:4] == ["1", "8", "5", "3"]
    stored = read_plain(tmp_path / "a_trajectory.cfl")
    assert stored.shape == (5, 8, 3)
    np.testing.assert_allclose(stored[..., 0], points[..., 1], atol=1e-6)
    assert not stored[..., 2].any()


@pytest.mark.parametrize(
    ("options", "output", "words"),
    [
        ({"to": "fastmri"}, "a.npy", "fastmri scans are written as .h5"),
        ({"to": "bart"}, "a.cfl", "2 images .* bart file"),
        ({"to": "fastmri"}, "a.h5", "2 images .* fastMRI file"),
        ({"to": "npy", "repetitions": "0"}, "a.npy", "3 slices"),
        ({"coils": "9"}, "a.h5", "9 virtual coils"),
        ({"repetitions": "4"}, "a.h5", "repetitions .4. were requested"),
        ({"encoding": "2"}, "a.h5", "encoding 2 was requested"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(options, output, words, source, tmp_path):
    with pytest.raises((DataError, UsageError), match=words):
        convert_scan(source, tmp_path / output, ConversionOptions.from_mapping(options))
    assert list(tmp_path.iterdir()) == []


def test_fastmri_has_no_place_for_a_trajectory(spokes, tmp_path) -> None:
    source, options, _, _ = spokes
    wanted = ConversionOptions.from_mapping({**options, "to": "fastmri"})
    with pytest.raises(DataError, match="has a trajectory, which fastMRI"):
        convert_scan(source, tmp_path / "a.h5", wanted)


def test_nothing_is_whitened_without_a_noise_measurement(spokes, tmp_path) -> None:
    source, options, _, _ = spokes
    wanted = ConversionOptions.from_mapping({**options, "whiten": True})
    with pytest.raises(DataError, match="no noise measurement"):
        convert_scan(source, tmp_path / "a.h5", wanted)


def test_what_the_format_has_no_place_for_is_said(source, tmp_path) -> None:
    wanted = ConversionOptions.from_mapping({"to": "fastmri", "repetitions": "0"})
    made = convert_scan(source, tmp_path / "a.h5", wanted)
    assert "noise measurement is omitted" in made.notes[0]
    assert (made.coils, made.slices, made.images, made.spatial_shape) == (4, 3, 1, (8, 6))


def test_a_pair_is_not_written_over_itself(tmp_path) -> None:
    write_scan(tmp_path / "scan.cfl", scan_of(1, 4, 8, 6, noise=None))
    before = (tmp_path / "scan.cfl").read_bytes()
    with pytest.raises(FileError, match="is the scan itself"):
        convert_scan(tmp_path / "scan", tmp_path / "scan.cfl", overwrite=True)
    assert (tmp_path / "scan.cfl").read_bytes() == before


@pytest.mark.parametrize("suffix", ["cfl", "npy"])
def test_the_axis_of_a_single_image_is_left_out(suffix, tmp_path) -> None:
    scan = scan_of(1, 1, 4, 8, 6, noise=None, images=("repetition 3",))
    write_scan(tmp_path / f"a.{suffix}", scan)
    assert torch.equal(read(tmp_path / f"a.{suffix}").kspace, scan.kspace[0, 0])
