"""Reference lines that were measured apart serve the maps and never the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch
from made_scans import (
    COILS,
    SIZE,
    kspace_of,
    made_image,
    maps_at,
    nrmse,
    other_contrast,
)
from mrd_scans import centred_fft, make_header, make_readout, make_readouts

from firenet_mri import read, reconstruct
from firenet_mri.calibration import compress_coils, sensitivity_maps, whiten
from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.outline import Outline, outline_of_file
from firenet_mri.io.kspace.writing import write_scan
from firenet_mri.scan import RawScan, select, split_readout

CALIBRATION = [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]
ROWS, REFERENCE_ROWS = range(0, SIZE, 2), range(20, 44)


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """Return the image's k-space (coil, y, x)."""
    return kspace_of(made_image())


@pytest.fixture(scope="module")
def other() -> np.ndarray:
    """Return that of another contrast."""
    return kspace_of(other_contrast(), seed=1)


def imaging(kspace: np.ndarray, **options: Any) -> list[Any]:
    return [make_readout(kspace[:, row], row=row, **options) for row in ROWS]


def references(kspace: np.ndarray, rows: Any = REFERENCE_ROWS, **options: Any) -> list[Any]:
    return [make_readout(kspace[:, y], row=y, flags=CALIBRATION, **options) for y in rows]


def header(mode: str | None = "separate", **options: Any) -> Any:
    return make_header((SIZE, SIZE, 1), calibration_mode=mode, **options)


def error_of(scan: RawScan, **options: Any) -> float:
    return nrmse(reconstruct(scan, no_gap=True, **options).image.numpy(), made_image())


@pytest.mark.parametrize("mode", ["separate", "external", "other", None])
def test_lines_of_another_contrast_are_not_in_the_image(
    mode, kspace, other, caplog: pytest.LogCaptureFixture
) -> None:
    lines = imaging(kspace)
    scan = assemble(header(mode), [*references(other), *lines])
    without = assemble(header(mode), lines)
    assert torch.equal(scan.kspace, without.kspace)
    assert torch.equal(scan.mask, without.mask)
    assert "24 calibration readouts were measured separately" in caplog.text
    said = "the header says" if mode in ("separate", "external") else "they repeat points"
    assert said in caplog.text
    expected = np.zeros_like(other)
    expected[:, 20:44] = other[:, 20:44]
    np.testing.assert_array_equal(scan.reference[0], expected)


@pytest.mark.parametrize("maps", ["espirit", "lowres"])
def test_the_image_is_right_with_maps_of_another_contrast(maps, kspace, other) -> None:
    scan = assemble(header(None), [*references(other), *imaging(kspace)])
    assert error_of(scan, maps=maps) < 0.08
    # As the lines would make it, were they taken for data.
    mixed = assemble(header("embedded"), [*references(other), *imaging(kspace)])
    assert error_of(mixed, maps=maps) > 0.24


def test_maps_do_not_count_as_made_from_the_samples(kspace, other) -> None:
    apart = assemble(header(), [*references(other), *imaging(kspace)])
    made = reconstruct(apart, no_gap=True)
    inside = reconstruct(
        assemble(header("embedded"), references(kspace) + imaging(kspace)), no_gap=True
    )
    said = [
        " ".join(str(entry) for entry in result.certificate.entries) for result in (made, inside)
    ]
    assert "sensitivity maps (made from these data)" not in said[0]
    assert "sensitivity maps (made from these data)" in said[1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"counters": {"contrast": 1}}, "counters match no image"),
        ({"sample_time_us": 7.0}, "dwell time differs"),
        ({"center_sample": SIZE // 2 - 1}, "number or centre of their samples differs"),
    ],
)
def test_what_differs_from_the_image_was_measured_apart(
    changes, why, kspace, other, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row for row in REFERENCE_ROWS if row % 2]
    lines = imaging(kspace, sample_time_us=5.0)
    options = {"sample_time_us": 5.0, **changes}
    scan = assemble(header(None), [*references(other, rows, **options), *lines])
    assert torch.equal(scan.kspace, assemble(header(None), lines).kspace)
    assert why in caplog.text


def test_lines_that_differ_in_nothing_fill_the_image(kspace) -> None:
    rows = [row for row in REFERENCE_ROWS if row % 2]
    scan = assemble(header(None), [*references(kspace, rows), *imaging(kspace)])
    assert scan.reference is None
    np.testing.assert_array_equal(scan.kspace[0][:, 20:44], kspace[:, 20:44])


def test_a_reference_that_does_not_suffice_gives_way_to_the_image(kspace, other) -> None:
    whole = make_readouts(kspace)
    alone = reconstruct(assemble(header(), whole), no_gap=True)
    few = assemble(header(), [*references(other, range(30, 34)), *whole])
    np.testing.assert_allclose(reconstruct(few, no_gap=True).image, alone.image, atol=1e-6)
    assert torch.equal(
        sensitivity_maps(few, "espirit"), sensitivity_maps(assemble(header(), whole), "espirit")
    )


def test_references_that_cannot_be_placed_are_said_and_left_out(
    kspace, other, caplog: pytest.LogCaptureFixture
) -> None:
    wide = np.concatenate([other, other], axis=-1)
    scan = assemble(header(), [*references(wide), *imaging(kspace)])
    assert scan.reference is None
    assert "not used" in caplog.text


@pytest.mark.parametrize("mode", ["separate", None])
def test_references_of_other_coils_are_said_and_left_out(
    mode, kspace, other, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row for row in REFERENCE_ROWS if row % 2]
    scan = assemble(header(mode), [*references(other[:4], rows), *imaging(kspace)])
    assert torch.equal(scan.kspace, assemble(header(mode), imaging(kspace)).kspace)
    assert scan.reference is None
    said = (
        "has 4 coils, but the scan has 8; give a reference of the same coils; these lines are not"
    )
    assert said in caplog.text
    with pytest.raises(ShapeError, match=r"readouts have \[4, 8\] channels"):
        assemble(header("embedded"), [*references(other[:4], rows), *imaging(kspace)])


def test_lines_of_another_encoding_serve_the_maps(kspace) -> None:
    """A smaller matrix over a larger field of view, shifted along both axes."""
    step = 2 / SIZE
    size, wide, shift = 40, 1.25, (3 * step, -2 * step)
    y, x = ((np.arange(size) - size // 2) * 2 * wide / size + offset for offset in shift)
    grid = np.meshgrid(y, x, indexing="ij")
    inside = (grid[0] ** 2 + grid[1] ** 2 < 0.8).astype(float)
    small = centred_fft(maps_at(*grid) * inside, (-2, -1))
    found = header(None, encodings=2)
    other_space = make_header(
        (size, size, 1), encoded_fov=(2.0 * SIZE * wide, 3.0 * SIZE * wide, 5.0)
    ).encoding[0]
    found.encoding = [found.encoding[0], other_space]
    # Phase is z and readout y; a pixel has 3 mm and 2 mm.
    position = (0.0, shift[1] / step * 2.0, shift[0] / step * 3.0)
    lines = [
        make_readout(small[:, row], row=row, encoding_space_ref=1, position=position)
        for row in range(size)
    ]
    flagged = [
        make_readout(
            small[:, row], row=row, encoding_space_ref=1, position=position, flags=CALIBRATION
        )
        for row in range(size)
    ]
    for scan in (
        assemble(found, [*lines, *imaging(kspace)], calibration_encoding=1),
        assemble(found, [*flagged, *imaging(kspace)]),
    ):
        assert error_of(scan, maps="espirit") < 0.05
    with pytest.raises(DataError, match="2 encodings"):
        assemble(found, [*lines, *imaging(kspace)])
    with pytest.raises(UsageError, match="encoding 3 was requested for the maps"):
        assemble(found, imaging(kspace), calibration_encoding=3)
    few = [
        make_readout(small[:4, row], row=row, encoding_space_ref=1, position=position)
        for row in range(size)
    ]
    # Lines that were asked for are not left out.
    with pytest.raises(ShapeError, match="has 4 coils, but the scan has 8"):
        assemble(found, [*few, *imaging(kspace)], calibration_encoding=1)


def test_the_maps_come_from_another_file(
    kspace, other, write_mrd: Callable[..., Path], tmp_path: Path
) -> None:
    scan = write_mrd(header(None), imaging(kspace), "scan.h5")
    noise = make_readout(other[:, 0], flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    only_references = write_mrd(header(), [noise, *references(other)], "reference.h5")
    np.save(tmp_path / "reference.npy", other[:, 20:44, 20:44])
    for source in (only_references, tmp_path / "reference.npy", torch.from_numpy(other)):
        found = read(scan, calibration_file=source)
        assert error_of(found) < 0.08
    assert list(read(scan, calibration_file=only_references).record["calibration_file"]) == [
        "sha256_of_file"
    ]
    np.save(tmp_path / "few.npy", other[:4])
    with pytest.raises(ShapeError, match=f"has 4 coils, but the scan has {COILS}"):
        read(scan, calibration_file=tmp_path / "few.npy")


def test_a_reference_elsewhere_or_turned_is_refused(
    kspace, other, write_mrd: Callable[..., Path]
) -> None:
    scan = write_mrd(header(None), imaging(kspace), "scan.h5")
    away = write_mrd(header(None), make_readouts(other, position=(30.0, 0, 0)), "away.h5")
    with pytest.raises(DataError, match=r"no slices at the positions of slices \[0\]"):
        read(scan, calibration_file=away)
    directions = ((0.0, 0.6, 0.8), (0.0, -0.8, 0.6), (1.0, 0.0, 0.0))
    turned = write_mrd(header(None), make_readouts(other, directions=directions), "turned.h5")
    with pytest.raises(DataError, match="its axes differ from those of the scan"):
        read(scan, calibration_file=turned)


def test_slices_of_a_reference_are_found_by_their_positions(kspace, other) -> None:
    positions = [(0.0, 0, 0), (5.0, 0, 0), (10.0, 0, 0)]
    lines = [
        line
        for number, position in enumerate(positions)
        for line in imaging(kspace, position=position, counters={"slice": number})
    ]
    apart = [
        line
        for number, position in enumerate(positions[::-1])
        for line in references(
            other * (number + 1),
            position=position,
            counters={"slice": number},
            encoding_space_ref=1,
        )
    ]
    scan = assemble(header(None, encodings=2), [*apart, *lines])
    scales = scan.reference.abs().sum((1, 2, 3)) / scan.reference[2].abs().sum()
    np.testing.assert_allclose(scales, [3, 2, 1], rtol=1e-5)
    some = select(scan, slices=[0, 2])
    np.testing.assert_array_equal(some.reference, scan.reference[[0, 2]])


def test_coils_of_the_reference_are_mixed_as_the_images_are(kspace, other) -> None:
    generator = np.random.default_rng(3)
    mixed = 0.1 * generator.normal(size=(COILS, COILS)) + np.eye(COILS)
    noise = make_readout(
        2e-3 * mixed @ generator.normal(size=(COILS, 500)), flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT]
    )
    scan = assemble(header(), [noise, *references(other), *imaging(kspace)])
    white = whiten(scan)
    expected = white.applied[0](scan.reference)
    torch.testing.assert_close(white.reference, expected)
    for method in ("svd", "geometric"):
        few = compress_coils(white, 5, method)
        assert few.reference.shape == (1, 5, SIZE, SIZE)
        assert not few.reference[:, :, 44:].any()
        short = white.reference.clone()
        short[..., 40:] = 0
        part = compress_coils(replace(white, reference=short), 5, method).reference
        assert not part[..., 40:].any()
        assert error_of(few) < 0.08


def test_references_are_written_and_read_again(
    kspace, other, write_mrd: Callable[..., Path], tmp_path: Path
) -> None:
    scan = read(write_mrd(header(), [*references(other), *imaging(kspace)]))
    write_scan(tmp_path / "again.h5", scan, to="mrd")
    again = read(tmp_path / "again.h5")
    assert torch.equal(again.kspace, scan.kspace)
    assert torch.equal(again.reference, scan.reference)


def test_planes_of_a_volume_have_their_part_of_the_reference() -> None:
    generator = np.random.default_rng(0)
    volume = generator.normal(size=(2, 4, 6, 8, 2)).view(complex)[..., 0].astype(np.complex64)
    lines = [
        make_readout(volume[:, z, y], row=y, partition=z, flags=flags)
        for flags in ((), CALIBRATION)
        for z, y in np.ndindex(4, 6)
    ]
    scan = assemble(make_header((8, 6, 4), calibration_mode="separate"), lines)
    planes = split_readout(scan)
    torch.testing.assert_close(planes.reference, planes.kspace)


def test_a_reference_of_another_shape_or_with_nan_is_refused(kspace) -> None:
    scan = assemble(header(), imaging(kspace))
    fields = {"kspace": scan.kspace, "mask": scan.mask, "spatial_ndim": 2}
    with pytest.raises(ShapeError, match="must end in"):
        RawScan(**fields, reference=scan.kspace[..., :-1])
    with pytest.raises(FirenetError, match="NaN"):
        RawScan(**fields, reference=scan.kspace * np.nan)


@pytest.mark.parametrize("own", [0, 12])
def test_references_may_count_from_a_first_line_of_their_own(own, kspace, other) -> None:
    """The header's centre is the image's; at another one all coils have the same phase more."""
    apart = [make_readout(other[:, row], row=row - 20, flags=CALIBRATION) for row in REFERENCE_ROWS]
    for line in apart:
        line.idx.user[5] = own
    scan = assemble(header(), [*apart, *imaging(kspace)])
    np.testing.assert_array_equal(scan.reference[0][:, 20:44], other[:, 20:44])


def test_the_outline_counts_the_reference_lines(
    kspace, other, write_mrd: Callable[..., Path]
) -> None:
    path = write_mrd(header(), [*references(other), *imaging(kspace)])
    assert outline_of_file(path).reference_lines == 24
    assert Outline.of(read(path)).reference_lines == 24


def test_an_array_of_slices_is_a_reference_of_slices(
    kspace, other, write_mrd: Callable[..., Path]
) -> None:
    lines = [line for number in range(2) for line in imaging(kspace, counters={"slice": number})]
    array = torch.from_numpy(np.stack([other, 2 * other]))
    path = write_mrd(header(None), lines)
    assert torch.equal(read(path, calibration_file=array).reference, array)
    with pytest.raises(DataError, match="has 1 slice, but the scan has 2"):
        read(path, calibration_file=array[0])


def test_a_scan_along_a_trajectory_takes_cartesian_reference_lines(kspace, other) -> None:
    """Spirals and spokes often come with Cartesian lines of another encoding for their maps."""
    found = header(None, encodings=2)
    found.encoding = [
        make_header((SIZE, SIZE, 1), trajectory="radial").encoding[0],
        *found.encoding,
    ]
    radius = np.arange(SIZE) - SIZE // 2
    spokes = [
        ismrmrd.Acquisition.from_array(
            kspace[:, row],
            np.outer(radius, [np.cos(angle), np.sin(angle)]).astype(np.float32),
            center_sample=SIZE // 2,
        )
        for row, angle in enumerate(np.linspace(0, np.pi, SIZE, endpoint=False))
    ]
    scan = assemble(found, [*references(other, encoding_space_ref=1), *spokes])
    assert scan.trajectory is not None
    np.testing.assert_array_equal(scan.reference[:, 20:44], other[:, 20:44])
