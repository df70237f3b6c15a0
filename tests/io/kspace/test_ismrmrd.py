"""ISMRMRD scans are put where the header says: each known trap of scanner data has a test here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch
from mrd_scans import centred_fft, centred_ifft, make_header, make_readout, make_readouts

from firenet_mri.calibration import whiten
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.io import read
from firenet_mri.io.kspace.ismrmrd import assemble, outline

NX, NY = 16, 12
COILS = 3
AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
DROPPED = [
    ismrmrd.ACQ_IS_NAVIGATION_DATA,
    ismrmrd.ACQ_IS_PHASECORR_DATA,
    ismrmrd.ACQ_IS_HPFEEDBACK_DATA,
    ismrmrd.ACQ_IS_DUMMYSCAN_DATA,
    ismrmrd.ACQ_IS_RTFEEDBACK_DATA,
    ismrmrd.ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA,
    ismrmrd.ACQ_IS_PHASE_STABILIZATION_REFERENCE,
    ismrmrd.ACQ_IS_PHASE_STABILIZATION,
]


@pytest.fixture
def kspace(noisy: Callable[..., np.ndarray]) -> np.ndarray:
    """Return (coil, y, x) complex64 that fills the matrix."""
    return noisy(COILS, NY, NX).astype(np.complex64)


def delta_kspace(shape: tuple[int, ...], at: tuple[int, ...]) -> np.ndarray:
    """Return the k-space of two coils of an image with one bright voxel."""
    image = np.zeros((2, *shape), complex)
    image[(0, *at)], image[(1, *at)] = 2, 1j
    return centred_fft(image, axes=range(1, len(shape) + 1))


# Trap 1, 3 and 12: oversampling by any ratio, odd sizes, a recon matrix that means nothing.
@pytest.mark.parametrize("rows", [12, 13])
@pytest.mark.parametrize(
    ("wide", "columns"), [(16, 16), (32, 16), (34, 17), (48, 16), (24, 16), (15, 15), (30, 15)]
)
def test_a_point_stays_in_its_voxel(
    write_mrd: Callable[..., Path], rows: int, wide: int, columns: int
) -> None:
    at = (3, 4)
    start = wide // 2 - columns // 2
    kspace = delta_kspace((rows, wide), (at[0], at[1] + start))
    header = make_header(
        (wide, rows, 1),
        recon_columns=512,
        encoded_fov=(2.0 * wide, 3.0 * rows, 5.0),
        recon_fov_x=2.0 * columns,
    )
    scan = read(write_mrd(header, make_readouts(kspace)))
    assert scan.kspace.shape == (1, 2, rows, columns)
    image = centred_ifft(scan.kspace[0].numpy(), axes=(1, 2))
    expected = np.zeros((2, rows, columns), complex)
    expected[(0, *at)], expected[(1, *at)] = 2, 1j
    np.testing.assert_allclose(image, expected, atol=1e-5)
    assert scan.geometry is not None
    assert scan.geometry.field_of_view_mm == pytest.approx((5.0, 3.0 * rows, 2.0 * columns))


def test_oversampling_removal_keeps_the_noise_level(noisy: Callable[..., np.ndarray]) -> None:
    kspace = noisy(4, 64, 128) / np.sqrt(2)
    header = make_header((128, 64, 1), recon_fov_x=128.0)
    scan = assemble(header, make_readouts(kspace))
    assert scan.kspace.shape[-1] == 64
    assert float(scan.kspace.abs().square().mean()) == pytest.approx(1, abs=0.03)


# Trap 2
@pytest.mark.parametrize(("centre", "first"), [(6, 0), (2, -4), (11, 5)])
def test_rows_follow_the_centre_of_the_limits(kspace: np.ndarray, centre: int, first: int) -> None:
    rows = [row for row in range(NY) if row + first >= 0]
    readouts = [make_readout(kspace[:, row], row=row + first) for row in rows]
    scan = assemble(make_header((NX, NY, 1), centre=(centre, 0)), readouts)
    np.testing.assert_array_equal(scan.kspace[0][:, rows], kspace[:, rows])
    assert scan.mask[0, 0, :, 0].nonzero()[:, 0].tolist() == rows


def test_header_without_limits_counts_from_the_first_row(kspace: np.ndarray) -> None:
    header = make_header((NX, NY, 1))
    header.encoding[0].encodingLimits.kspace_encoding_step_1 = None
    header.encoding[0].encodingLimits.kspace_encoding_step_2 = None
    np.testing.assert_array_equal(assemble(header, make_readouts(kspace)).kspace[0], kspace)


# Trap 5 and 6
def test_left_handed_frame_and_slice_positions_reach_the_geometry(kspace: np.ndarray) -> None:
    directions = ((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    readouts = [
        readout
        for number in range(3)
        for readout in make_readouts(
            kspace * (number + 1),
            directions=directions,
            position=(10.0, -20.0, 30.0 + 6 * number),
            counters={"slice": number},
        )
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    assert scan.geometry is not None
    assert scan.kspace.shape == (3, COILS, NY, NX)
    affine = scan.geometry.affine_lps((3, NY, NX))
    assert np.linalg.det(affine[:3, :3]) < 0
    np.testing.assert_allclose(affine @ [NX // 2, NY // 2, 1, 1], [10, -20, 36, 1], atol=1e-5)
    np.testing.assert_allclose(affine[:3, 0], [-2, 0, 0], atol=1e-5)
    np.testing.assert_allclose(affine[:3, 2], [0, 0, 6], atol=1e-5)


def test_slices_numbered_in_order_of_acquisition_are_sorted_by_position(kspace: np.ndarray) -> None:
    heights = {0: 0.0, 1: 10.0, 2: 5.0, 3: 15.0}
    readouts = [
        readout
        for number, height in heights.items()
        for readout in make_readouts(
            kspace * (height + 1), position=(height, 0, 0), counters={"slice": number}
        )
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    assert scan.geometry is not None
    assert [position[0] for position in scan.geometry.positions_mm] == [0, 5, 10, 15]
    for i, height in enumerate((0, 5, 10, 15)):
        np.testing.assert_allclose(scan.kspace[i], kspace * (height + 1), rtol=1e-6)


def test_uneven_slices_get_no_position(
    kspace: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    readouts = [
        readout
        for number, height in enumerate((0.0, 5.0, 12.0))
        for readout in make_readouts(kspace, position=(height, 0, 0), counters={"slice": number})
    ]
    assert assemble(make_header((NX, NY, 1)), readouts).geometry is None
    assert "evenly spaced" in caplog.text


def test_scan_without_directions_has_sizes_and_no_place(kspace: np.ndarray) -> None:
    readouts = make_readouts(kspace, directions=((0, 0, 0),) * 3)
    geometry = assemble(make_header((NX, NY, 1)), readouts).geometry
    assert not geometry.is_placed
    assert geometry.field_of_view_mm == (5.0, 3.0 * NY, 2.0 * NX)


def test_three_dimensional_point_stays_in_its_voxel() -> None:
    shape, at = (6, 8, 10), (1, 5, 7)
    kspace = delta_kspace(shape, at)
    readouts = [
        make_readout(kspace[:, z, y], row=y, partition=z) for z in range(6) for y in range(8)
    ]
    scan = assemble(make_header((10, 8, 6)), readouts)
    assert scan.spatial_ndim == 3
    assert scan.kspace.shape == (2, *shape)
    assert scan.mask.shape == (1, *shape)
    image = np.abs(centred_ifft(scan.kspace.numpy(), axes=(1, 2, 3)))
    assert np.unravel_index(image[0].argmax(), shape) == at


# Trap 7 and 13
def test_noise_readouts_do_not_touch_the_image(
    kspace: np.ndarray, noisy: Callable[..., np.ndarray]
) -> None:
    header = make_header((NX, NY, 1))
    noise = make_readout(100 * noisy(COILS, NX), flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    without = assemble(header, make_readouts(kspace))
    scan = assemble(header, [noise, *make_readouts(kspace)])
    assert torch.equal(scan.kspace, without.kspace)
    assert without.noise is None
    assert scan.noise is not None
    assert scan.noise.shape == (COILS, NX)


def test_whitened_noise_has_unit_variance_whatever_the_dwell_times(
    noisy: Callable[..., np.ndarray],
) -> None:
    """The scanner's figures: 2.4 us and 20 us, bandwidth 0.793; unscaled noise would be 3.2."""
    factor = np.sqrt(2.4 / 20 * 0.793)
    noise = make_readout(
        7 * factor * noisy(COILS, 20_000),
        flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT],
        sample_time_us=20.0,
    )
    readouts = make_readouts(7 * noisy(COILS, 64, 64), sample_time_us=2.4)
    scan = assemble(make_header((64, 64, 1), bandwidth=0.793), [noise, *readouts])
    assert float(whiten(scan).kspace.abs().square().mean()) == pytest.approx(1, abs=0.03)


def test_averaged_noise_is_scaled_by_the_number_of_averages(
    noisy: Callable[..., np.ndarray],
) -> None:
    noise = make_readout(noisy(COILS, 20_000), flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    readouts = [
        readout
        for average in range(4)
        for readout in make_readouts(noisy(COILS, 64, 64), counters={"average": average})
    ]
    scan = assemble(make_header((64, 64, 1)), [noise, *readouts])
    assert float(whiten(scan).kspace.abs().square().mean()) == pytest.approx(1, abs=0.03)


# Trap 7 and 8
@pytest.mark.parametrize("flag", DROPPED)
def test_readouts_without_image_data_are_left_out(
    kspace: np.ndarray, noisy: Callable[..., np.ndarray], flag: int
) -> None:
    header = make_header((NX, NY, 1))
    other = make_readout(noisy(COILS, NX), row=3, flags=[flag])
    scan = assemble(header, [other, *make_readouts(kspace), other])
    np.testing.assert_array_equal(scan.kspace[0], kspace)


def test_calibration_lines_fill_empty_rows_only(kspace: np.ndarray) -> None:
    header = make_header((NX, NY, 1), calibration_mode="embedded")
    imaging = make_readouts(kspace)[::2]
    both = make_readout(
        kspace[:, 5], row=5, flags=[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING]
    )
    calibration = [
        make_readout(factor * kspace[:, row], row=row, flags=[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION])
        for row, factor in ((6, 100), (7, 1))
    ]
    scan = assemble(header, [*calibration, *imaging, both])
    rows = [0, 2, 4, 5, 6, 7, 8, 10]
    assert scan.mask[0, 0, :, 0].nonzero()[:, 0].tolist() == rows
    np.testing.assert_array_equal(scan.kspace[0][:, rows], kspace[:, rows])


def test_calibration_lines_of_a_separate_scan_are_not_mixed_in(
    kspace: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    header = make_header((NX, NY, 1), calibration_mode="separate")
    other = make_readout(kspace[:, 7], row=7, flags=[ismrmrd.ACQ_IS_PARALLEL_CALIBRATION])
    scan = assemble(header, [*make_readouts(kspace)[::2], other])
    assert not scan.mask[..., 7, :].any()
    assert "1 calibration readout " in caplog.text


# Trap 10
@pytest.mark.parametrize("centre", range(9))
def test_asymmetric_echo_is_placed_by_its_centre(kspace: np.ndarray, centre: int) -> None:
    first = NX // 2 - centre
    readouts = [
        make_readout(kspace[:, row, first : first + 8], row=row, center_sample=centre)
        for row in range(NY)
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    expected = np.zeros_like(kspace)
    expected[..., first : first + 8] = kspace[..., first : first + 8]
    np.testing.assert_array_equal(scan.kspace[0], expected)
    assert scan.mask[0, 0, 0].nonzero()[:, 0].tolist() == list(range(first, first + 8))


@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 0), (0, 2), (4, 5)])
def test_discarded_samples_are_cut(
    kspace: np.ndarray, noisy: Callable[..., np.ndarray], before: int, after: int
) -> None:
    readouts = [
        make_readout(
            np.hstack([noisy(COILS, before), kspace[:, row], noisy(COILS, after)]),
            row=row,
            center_sample=before + NX // 2,
            discard_pre=before,
            discard_post=after,
        )
        for row in range(NY)
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    np.testing.assert_array_equal(scan.kspace[0], kspace)


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("samples", [NX, 11])
def test_reversed_readouts_are_turned_round(
    kspace: np.ndarray, noisy: Callable[..., np.ndarray], samples: int, before: int
) -> None:
    """Stored backwards, the centre is at n - 1 - centre and discards are at the other end."""
    forward, backward = [], []
    part = kspace[..., NX - samples :]
    centre = NX // 2 - (NX - samples)
    for row in range(NY):
        junk = noisy(COILS, before)
        line = np.hstack([part[:, row], junk])
        forward.append(make_readout(line, row=row, center_sample=centre, discard_post=before))
        backward.append(
            make_readout(
                line[:, ::-1],
                row=row,
                center_sample=samples + before - 1 - centre,
                discard_pre=before,
                flags=[ismrmrd.ACQ_IS_REVERSE],
            )
        )
    header = make_header((NX, NY, 1))
    expected = assemble(header, forward)
    scan = assemble(header, backward)
    assert torch.equal(scan.kspace, expected.kspace)
    assert torch.equal(scan.mask, expected.mask)
    np.testing.assert_array_equal(scan.kspace[0][..., NX - samples :], part)


def test_asymmetric_echo_keeps_its_oversampling(kspace: np.ndarray) -> None:
    readouts = [
        make_readout(kspace[:, row, 4:], row=row, center_sample=NX // 2 - 4) for row in range(NY)
    ]
    scan = assemble(make_header((NX, NY, 1), recon_fov_x=float(NX)), readouts)
    assert scan.kspace.shape[-1] == NX
    assert not scan.mask[..., :4].any()
    assert scan.geometry is not None
    assert scan.geometry.field_of_view_mm[2] == 2.0 * NX


@pytest.mark.parametrize("fields", [{"row": NY}, {"center_sample": 0}, {"partition": 3}])
def test_readout_outside_of_the_matrix_is_refused(
    kspace: np.ndarray, fields: dict[str, int]
) -> None:
    readouts = [*make_readouts(kspace), make_readout(kspace[:, 0], **fields)]
    with pytest.raises(DataError, match="outside the encoded matrix 16 x 12 x 1"):
        assemble(make_header((NX, NY, 1)), readouts)


# Trap 11
def test_absent_and_zero_lines_are_not_sampled(kspace: np.ndarray) -> None:
    readouts = make_readouts(kspace)[: NY - 3]
    padding = make_readout(np.zeros((COILS, NX)), row=NY - 1)
    scan = assemble(make_header((NX, NY, 1)), [*readouts, padding])
    assert scan.mask[0, 0].all(dim=-1).tolist() == [True] * (NY - 3) + [False] * 3
    assert not scan.kspace[..., NY - 3 :, :].any()


# Trap 14
def test_different_channel_numbers_are_refused(kspace: np.ndarray) -> None:
    header = make_header((NX, NY, 1))
    short = make_readout(kspace[:2, 0])
    with pytest.raises(ShapeError, match=r"readouts have \[2, 3\] channels"):
        assemble(header, [*make_readouts(kspace), short])


def test_noise_of_other_coils_is_not_used_and_said(
    kspace: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    header, flags = make_header((NX, NY, 1)), [ismrmrd.ACQ_IS_NOISE_MEASUREMENT]
    other = make_readout(kspace[:2, 0], flags=flags)
    scan = assemble(header, [other, *make_readouts(kspace)])
    assert scan.noise is None
    assert "1 noise readout of other coils is not used ([2] channels" in caplog.text
    assert outline(header, [other, *make_readouts(kspace)]).noise_samples == 0
    own = make_readout(kspace[:, 1], flags=flags)
    both = assemble(header, [other, own, *make_readouts(kspace)])
    np.testing.assert_array_equal(both.noise, kspace[:, 1])


def two_stacks(kspace: np.ndarray) -> list[Any]:
    """Return readouts of four axial and three sagittal slices, whose numbers alternate."""
    sagittal = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    places = [((0.0, 0.0, 5.0 * i), AXIAL, 2 * i) for i in range(4)]
    places += [((-7.0 * i, 0.0, 0.0), sagittal, 2 * i + 1) for i in range(3)]
    return [
        line
        for position, directions, number in places
        for line in make_readouts(
            (number + 1) * kspace,
            position=position,
            directions=directions,
            counters={"slice": number},
        )
    ]


def test_one_of_two_stacks_has_its_place_once_it_is_chosen(
    kspace: np.ndarray, write_mrd: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mrd(make_header((NX, NY, 1)), two_stacks(kspace))
    assert read(path).geometry is None
    assert "2 stacks (0-3, 4-6)" in caplog.text
    axial, sagittal = read(path, slices="0-3"), read(path, slices=[4, 5, 6])
    assert axial.geometry.positions_mm == tuple((0.0, 0.0, 5.0 * i) for i in range(4))
    # In the order of positions along the slices' direction, as always.
    assert [p[0] for p in sagittal.geometry.positions_mm] in (
        [-14.0, -7.0, 0.0],
        [0.0, -7.0, -14.0],
    )
    assert sagittal.geometry.slice_direction == (1.0, 0.0, 0.0)
    factors = [float(abs(k[0, 0, 0] / kspace[0, 0, 0])) for k in axial.kspace.numpy()]
    np.testing.assert_allclose(factors, [1, 3, 5, 7], rtol=1e-5)
    assert read(path, slices=[3, 4]).geometry is None


def test_parallel_stacks_with_a_gap_have_their_places_one_by_one(
    kspace: np.ndarray, write_mrd: Callable[..., Path]
) -> None:
    heights = (0.0, 5.0, 10.0, 80.0, 85.0)
    readouts = [
        line
        for i, height in enumerate(heights)
        for line in make_readouts(
            kspace, position=(0.0, 0.0, height), directions=AXIAL, counters={"slice": i}
        )
    ]
    path = write_mrd(make_header((NX, NY, 1)), readouts)
    assert read(path).geometry is None
    chosen = read(path, slices=[3, 4])
    assert [z for _, _, z in chosen.geometry.positions_mm] == [80.0, 85.0]


def test_slices_whose_positions_are_in_metres_are_as_far_apart_as_they_are_thick(
    kspace: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    readouts = [
        line
        for i in range(3)
        for line in make_readouts(
            kspace, position=(0.01, 0.0, 0.005 * i), directions=AXIAL, counters={"slice": i}
        )
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    np.testing.assert_allclose(scan.geometry.positions_mm, [(10, 0, 5 * i) for i in range(3)])
    assert "interpreted as metres" in caplog.text


def test_a_volume_of_which_one_partition_was_measured_stays_one(kspace: np.ndarray) -> None:
    scan = assemble(make_header((NX, NY, 4)), make_readouts(kspace, partition=2))
    assert scan.kspace.shape == (COILS, 4, NY, NX)


def test_a_flat_scan_lies_in_the_plane_of_its_partition(kspace: np.ndarray) -> None:
    header = make_header((NX, NY, 2))
    scan = assemble(header, make_readouts(kspace, partition=1))
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    # The header itself is the caller's.
    assert header.encoding[0].encodedSpace.matrixSize.z == 2


@pytest.mark.parametrize(("slices", "thickness"), [(1, 10.0), (2, 5.0)])
def test_a_matrix_of_partitions_without_their_lines_is_a_2d_scan(
    kspace: np.ndarray, slices: int, thickness: float, caplog: pytest.LogCaptureFixture
) -> None:
    readouts = [
        line for i in range(slices) for line in make_readouts(kspace, counters={"slice": i})
    ]
    scan = assemble(make_header((NX, NY, 2)), readouts)
    assert scan.spatial_ndim == 2
    assert scan.kspace.shape == (slices, COILS, NY, NX)
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    assert "matrixSize.z is 2" in caplog.text
    assert outline(make_header((NX, NY, 2)), readouts).spatial_shape == (NY, NX)
    assert f"slices of {thickness:g} mm" in caplog.text


# Trap 15
def test_averages_are_averaged_point_by_point(kspace: np.ndarray) -> None:
    readouts = make_readouts(kspace) + [
        make_readout(3 * kspace[:, row], row=row, counters={"average": 1}) for row in (2, 5)
    ]
    expected = kspace.copy()
    expected[:, [2, 5]] *= 2
    scan = assemble(make_header((NX, NY, 1)), readouts)
    np.testing.assert_allclose(scan.kspace[0], expected, rtol=1e-6)


def test_segments_are_one_image(kspace: np.ndarray) -> None:
    readouts = [
        make_readout(kspace[:, row], row=row, counters={"segment": row % 3}) for row in range(NY)
    ]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    np.testing.assert_array_equal(scan.kspace[0], kspace)


@pytest.mark.parametrize("counter", ["contrast", "phase", "repetition", "set"])
def test_several_images_stay_apart(kspace: np.ndarray, counter: str) -> None:
    readouts = make_readouts(kspace) + make_readouts(3 * kspace, counters={counter: 1})
    scan = assemble(make_header((NX, NY, 1)), readouts)
    assert scan.images == (f"{counter} 0", f"{counter} 1")
    np.testing.assert_array_equal(scan.kspace[0, 0], kspace)
    np.testing.assert_array_equal(scan.kspace[1, 0], 3 * kspace)


def test_images_of_several_counters_are_named_by_all(kspace: np.ndarray) -> None:
    counters = [{"repetition": r, "contrast": c, "average": a} for r, c, a in np.ndindex(2, 2, 2)]
    readouts = [line for some in counters for line in make_readouts(kspace, counters=some)]
    scan = assemble(make_header((NX, NY, 1)), readouts)
    assert scan.images[1:3] == ("repetition 0, contrast 1", "repetition 1, contrast 0")
    assert scan.batch_shape == (4, 1)
    some = assemble(make_header((NX, NY, 1)), readouts, repetitions=[1])
    assert some.images == ("contrast 0", "contrast 1")
    with pytest.raises(
        UsageError, match=r"repetitions \[7\] were requested, but the scan has \[0, 1\]"
    ):
        assemble(make_header((NX, NY, 1)), readouts, repetitions=[1, 7])


def test_an_image_without_some_slices_is_refused(kspace: np.ndarray) -> None:
    whole = [{"slice": s, "repetition": r} for s, r in np.ndindex(2, 2)]
    readouts = [line for some in whole[:3] for line in make_readouts(kspace, counters=some)]
    with pytest.raises(DataError, match=r"repetition 1 has no imaging readouts of slices \[1\]"):
        assemble(make_header((NX, NY, 1)), readouts)
    assert assemble(make_header((NX, NY, 1)), readouts, repetitions=[0]).batch_shape == (2,)


@pytest.mark.parametrize("columns", [NX, NX + 1])
def test_the_forward_transform_turns_the_image_about_its_centre(columns: int) -> None:
    generator = np.random.default_rng(5)
    kspace = generator.normal(size=(2, NY, columns, 2)).view(complex)[..., 0].astype(np.complex64)
    readouts = make_readouts(kspace)
    header = make_header((columns, NY, 1), vendor="SIEMENS")
    axes = (-2, -1)
    forward = assemble(header, readouts)
    shifted = np.fft.ifftshift(kspace, axes=axes)
    expected = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)
    np.testing.assert_allclose(centred_ifft(forward.kspace[0].numpy(), axes), expected, atol=1e-5)
    inverse = assemble(header, readouts, fft_sign=1)
    np.testing.assert_array_equal(inverse.kspace[0], kspace)
    # Conjugation turns the image, too, and conjugates it.
    turned = np.conj(centred_ifft(kspace.conj(), axes))
    np.testing.assert_allclose(turned, expected, atol=1e-5)
    with pytest.raises(UsageError, match="FFT sign 2"):
        assemble(header, readouts, fft_sign=2)


def test_several_encodings_and_slabs_are_refused(kspace: np.ndarray) -> None:
    readouts = [*make_readouts(kspace), make_readout(kspace[:, 0], encoding_space_ref=1)]
    with pytest.raises(DataError, match=r"2 encodings \[0, 1\]"):
        assemble(make_header((NX, NY, 1), encodings=2), readouts)
    chosen = assemble(make_header((NX, NY, 1), encodings=2), readouts, encoding=0)
    np.testing.assert_array_equal(chosen.kspace[0], kspace)
    with pytest.raises(UsageError, match="encoding 2 was requested"):
        assemble(make_header((NX, NY, 1), encodings=2), readouts, encoding=2)
    with pytest.raises(
        DataError, match="refer to encoding 1, but the number of encodings in the header is 1"
    ):
        assemble(make_header((NX, NY, 1)), readouts[-1:])
    slabs = [*make_readouts(kspace), make_readout(kspace[:, 0], counters={"slice": 1})]
    with pytest.raises(DataError, match="2 slabs"):
        assemble(make_header((NX, NY, 4)), slabs)


@pytest.mark.parametrize("trajectory", ["radial", "spiral", "goldenangle", "other"])
def test_readouts_without_their_points_are_refused(kspace: np.ndarray, trajectory: str) -> None:
    with pytest.raises(DataError, match="lack their k-space points"):
        assemble(make_header((NX, NY, 1), trajectory=trajectory), make_readouts(kspace))


def test_scan_without_imaging_readouts_is_refused(kspace: np.ndarray) -> None:
    noise = make_readout(kspace[:, 0], flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    with pytest.raises(DataError, match="all imaging readouts are missing or zero"):
        assemble(make_header((NX, NY, 1)), [noise])


@pytest.mark.parametrize(
    ("vendor", "simulated"), [("Simulated by x", True), ("ACME", False), (None, False)]
)
def test_simulated_scans_say_so(kspace: np.ndarray, vendor: str | None, simulated: bool) -> None:
    scan = assemble(make_header((NX, NY, 1), vendor=vendor), make_readouts(kspace))
    assert scan.simulated is simulated
