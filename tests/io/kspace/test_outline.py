"""An outline says of a file what the scan read from it is, and needs no torch for it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mrd_scans import make_header, make_readout, make_readouts
from real_scans import twix

from firenet_mri import read
from firenet_mri.errors import DataError
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.io.kspace.outline import Outline, outline_of_file

SAMPLE = Path(__file__).parents[3] / "sample_data/brain_8coil.h5"


@pytest.fixture
def draw():
    generator = np.random.default_rng(0)
    return lambda *shape: generator.normal(size=(*shape, 2)).view(complex)[..., 0]


def assert_is_the_scans(path: Path) -> None:
    """Compare the outline with what the scan, read with torch, has."""
    found, expected = outline_of_file(path), Outline.of(read(path))
    for field in dataclasses.fields(Outline):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)
    assert found.sampled_fraction == pytest.approx(read(path).sampled_fraction, rel=1e-6)


def test_real_scans_and_the_sample_have_their_outline() -> None:
    for path in (SAMPLE, twix("gre.dat")):
        assert_is_the_scans(path)


@pytest.mark.parametrize("vendor", ["GE", "Siemens", "simulated"])
@pytest.mark.parametrize("shape", [(2, 5, 8), (2, 4, 8), (2, 3, 4, 8)], ids=str)
def test_oversampled_scans_of_any_direction_have_their_outline(
    vendor, shape, draw, tmp_path
) -> None:
    *partitions, rows, columns = shape[1:]
    size = (columns, rows, *(partitions or [1]))
    fov = (2.0 * columns, 30.0, 40.0)
    header = make_header(
        size, recon_columns=4, encoded_fov=fov, recon_fov_x=fov[0] / 2, vendor=vendor
    )
    lines = [
        line
        for z in range(size[2])
        # What is left out shows how the axes are turned.
        for line in make_readouts(draw(2, rows, columns), partition=z)[z % 2 : -1]
    ]
    lines.append(make_readout(draw(2, 7), flags=[19]))
    write_acquisitions(tmp_path / "scan.h5", header, lines)
    assert_is_the_scans(tmp_path / "scan.h5")
    assert outline_of_file(tmp_path / "scan.h5").spatial_shape[-1] == 4


def test_images_slices_and_asymmetric_echoes_have_their_outline(draw, tmp_path) -> None:
    header = make_header((8, 4, 1), encoded_fov=(16.0, 8.0, 5.0), recon_fov_x=8.0)
    lines = [
        make_readout(
            draw(2, 6), row=row, center_sample=2, counters={"repetition": image, "slice": place},
            position=(5.0 * place, 0.0, 0.0),
        )
        for image in range(3) for place in range(2) for row in range(image + 1)
    ]  # fmt: skip
    write_acquisitions(tmp_path / "scan.h5", header, lines)
    assert_is_the_scans(tmp_path / "scan.h5")
    assert outline_of_file(tmp_path / "scan.h5").batch_shape == (3, 2)


def test_arrays_and_trajectories_have_their_outline(draw, tmp_path) -> None:
    kspace = draw(2, 3, 4, 5) * (np.arange(5) > 1)
    np.save(tmp_path / "scan.npy", kspace)
    write_cfl(tmp_path / "scan.cfl", kspace[:, :, None])
    header = make_header((4, 4, 1), trajectory="radial")
    points = np.linspace(-0.5, 0.4, 8, dtype=np.float32).reshape(4, 2)
    spoke = make_readout(draw(2, 4), trajectory=points)
    write_acquisitions(tmp_path / "radial.h5", header, [spoke])
    for name in ("scan.npy", "scan.cfl", "radial.h5"):
        assert_is_the_scans(tmp_path / name)
    assert outline_of_file(tmp_path / "radial.h5").points == 4


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_what_is_no_scan_is_refused_as_reading_refuses_it(value, tmp_path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.full((2, 4, 4), value, np.complex64))
    with pytest.raises(DataError) as expected:
        read(path)
    with pytest.raises(DataError) as found:
        outline_of_file(path)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("suffix", [".npy", ".cfl"])
def test_an_image_is_refused_as_reading_refuses_it(suffix, tmp_path) -> None:
    image = np.zeros((2, 32, 24), np.complex64)
    image[:, 6:25, 4:20] = 1 + np.linspace(0, 1, 16)
    path = tmp_path / f"image{suffix}"
    np.save(path, image) if suffix == ".npy" else write_cfl(path, image)
    with pytest.raises(DataError, match="is an image, not k-space") as expected:
        read(path)
    with pytest.raises(DataError) as found:
        outline_of_file(path)
    assert str(found.value) == str(expected.value)


def test_info_of_a_small_file_loads_no_torch(tmp_path) -> None:
    kspace = np.fft.fftshift(np.fft.fft2(np.eye(32), norm="ortho")) + np.zeros((2, 1, 1))
    kspace[:, 14:19] *= 20
    np.save(tmp_path / "scan.npy", kspace)
    code = (
        "import sys; from firenet_mri.cli import main\n"
        "try: main()\nexcept SystemExit: print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, "info", str(SAMPLE), str(tmp_path / "scan.npy")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "False"
