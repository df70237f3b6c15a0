"""The unit of a trajectory is found by one rule for every source, and is said."""

from __future__ import annotations

import logging
import math

import ismrmrd
import numpy as np
import pytest
import torch
from mrd_scans import make_header

import firenet_mri
from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_writer import write_ismrmrd
from firenet_mri.io.kspace.noncartesian import along
from firenet_mri.io.kspace.trajectory_units import in_cycles_per_fov
from firenet_mri.operators.trajectories import radial, stack_of_stars

SIZE = 32
SCALES = {
    "cycles per field of view": 1.0,
    "cycles per pixel": 1 / SIZE,
    "radians per pixel": 2 * math.pi / SIZE,
}


def from_npy(points: np.ndarray, kspace: np.ndarray, folder) -> firenet_mri.RawScan:
    np.save(folder / "data.npy", kspace)
    np.save(folder / "points.npy", points)
    shape = (SIZE, SIZE)
    return firenet_mri.read(
        folder / "data.npy", trajectory=folder / "points.npy", matrix_size=shape
    )


def from_ismrmrd(points: np.ndarray, kspace: np.ndarray, folder) -> firenet_mri.RawScan:
    readouts = [
        ismrmrd.Acquisition.from_array(kspace[:, spoke], points[spoke, :, ::-1].astype(np.float32))
        for spoke in range(len(points))
    ]
    return assemble(make_header((SIZE, SIZE, 1), trajectory="radial"), readouts)


@pytest.mark.parametrize("unit", SCALES)
@pytest.mark.parametrize("source", [from_npy, from_ismrmrd])
def test_every_source_reads_every_unit(unit, source, tmp_path, caplog, noisy) -> None:
    points = radial(9, 40, SIZE).numpy()
    kspace = np.ascontiguousarray(noisy(2, 9, 40), np.complex64)
    with caplog.at_level(logging.INFO):
        scan = source(points * SCALES[unit], kspace, tmp_path)
    np.testing.assert_allclose(scan.trajectory, points, atol=1e-5)
    assert f"read as {unit}" in caplog.text


def test_monai_finds_the_unit_of_a_trajectory_that_it_is_given() -> None:
    from firenet_mri.monai.trajectories import points_of

    points = radial(9, 40, SIZE)
    kspace = torch.ones(1, 2, 9, 40, dtype=torch.complex64)
    for scale in SCALES.values():
        found = points_of(kspace, {}, points * scale, None, (SIZE, SIZE))
        torch.testing.assert_close(found.trajectory[0], points, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("scale", "options", "words"),
    [
        (2 / SIZE, {"matrix_size": (SIZE, SIZE)}, "neither 0.5"),
        (1 / SIZE, {}, "give the size of the image"),
        (2 * math.pi / SIZE, {}, "give the size of the image"),
    ],
)
def test_a_unit_that_is_not_clear_is_refused(scale, options, words, tmp_path) -> None:
    np.save(tmp_path / "data.npy", np.ones((2, 9, 40), np.complex64))
    with pytest.raises(DataError, match=words):
        firenet_mri.read(tmp_path / "data.npy", trajectory=radial(9, 40, SIZE) * scale, **options)


def test_axes_in_two_units_are_refused(tmp_path) -> None:
    points = stack_of_stars(8, 3, 20, SIZE).numpy()
    points[..., 1:] /= SIZE
    np.save(tmp_path / "data.npy", np.ones((2, *points.shape[:-1]), np.complex64))
    with pytest.raises(DataError, match="on axis 1"):
        firenet_mri.read(tmp_path / "data.npy", trajectory=points, matrix_size=(8, SIZE, SIZE))


@pytest.mark.parametrize("reach", [0.4, 1.0, 3.0, 10.0])
def test_a_scan_of_a_small_part_of_kspace_is_read_as_it_was_written(reach, tmp_path) -> None:
    points = radial(5, 12, SIZE) * (reach / (SIZE / 2))
    scan = along(torch.ones(2, 5, 12, dtype=torch.complex64), points, (SIZE, SIZE), name="made")
    write_ismrmrd(tmp_path / "scan.h5", scan)
    found = firenet_mri.read(tmp_path / "scan.h5")
    torch.testing.assert_close(found.trajectory, points, atol=1e-5, rtol=0)


def test_a_lone_spoke_along_an_axis_has_one_unit() -> None:
    points = radial(1, 40, SIZE)
    found = in_cycles_per_fov(points.numpy(), (SIZE, SIZE), "spoke")
    np.testing.assert_array_equal(found, points)
    turned = points.numpy() @ np.array([[0.0, 1.0], [-1.0, 1e-9]])
    np.testing.assert_array_equal(in_cycles_per_fov(turned, (SIZE, SIZE), "spoke"), turned)
