"""What is sent early is the image of the whole scan, or the difference is refused by name."""

from __future__ import annotations

import itertools

import ismrmrd
import numpy as np
import pytest
from echo_trains import epi_header, phantom, phase, trains
from mrd_streams import (
    COUNTED,
    FAST,
    SIZE,
    FakeConnection,
    header,
    kspace,
    limit,
    noise_readout,
    readouts,
)

from firenet_mri import read, reconstruct
from firenet_mri.errors import FirenetError
from firenet_mri.io.kspace.ismrmrd_writer import write_acquisitions
from firenet_mri.server import process


def served(head, lines, **options) -> FakeConnection:
    connection = FakeConnection(lines)
    process(connection, {"parameters": {**FAST, **options}}, head)
    assert connection.closes == 1
    return connection


def of_the_file(folder, head, lines, **options) -> np.ndarray:
    """Return the images of firenet recon, (image, y, x)."""
    path = folder / "scan.h5"
    path.unlink(missing_ok=True)
    write_acquisitions(path, head, lines)
    return reconstruct(read(path), **{**FAST, **options}).magnitude.reshape(-1, SIZE, SIZE).numpy()


def pixels(connection: FakeConnection) -> np.ndarray:
    return np.stack([np.squeeze(image.data) for image in connection.sent])


def assert_same(connection: FakeConnection, expected: np.ndarray) -> None:
    assert not connection.errors
    np.testing.assert_allclose(pixels(connection), expected, atol=1e-4 * expected.max())


def alternating(*slices: list) -> list:
    return [line for lines in zip(*slices, strict=True) for line in lines]


def two_slices() -> list:
    return alternating(readouts(kspace(0), slice=0), readouts(kspace(1), slice=1))


def test_a_slice_comes_back_before_the_next_is_there_and_each_has_its_index(tmp_path) -> None:
    head, lines = header(counted=COUNTED), [noise_readout(), *two_slices()]
    connection, before_the_last = FakeConnection([]), []

    def arriving():
        for line in lines:
            if line is lines[-1]:
                before_the_last.extend(connection.sent)
            yield line

    connection.items = arriving()
    process(connection, {"parameters": FAST}, head)
    assert [image.slice for image in before_the_last] == [0]
    assert [image.slice for image in connection.sent] == [0, 1]
    assert [image.image_index for image in connection.sent] == [1, 2]
    assert [image.position[2] for image in connection.sent] == pytest.approx([0, 5])
    assert_same(connection, of_the_file(tmp_path, head, lines))


def test_averages_of_which_the_header_is_silent_make_one_image(tmp_path) -> None:
    lines = readouts(kspace(0), average=0) + readouts(1.3 * kspace(0), average=1)
    connection = served(header(), lines)
    assert len(connection.sent) == 1
    assert_same(connection, of_the_file(tmp_path, header(), lines))


def test_averages_that_the_header_denies_are_refused() -> None:
    lines = readouts(kspace(0), average=0) + readouts(1.3 * kspace(0), average=1)
    connection = served(header(counted=COUNTED), lines)
    (error,) = connection.errors
    assert error.startswith("Readouts of slice 0, repetition 0 (average 1, segment 0) came after")


def test_averages_of_which_one_encoding_is_silent_make_one_image(tmp_path) -> None:
    """That of the reference lines comes first, and has one average."""
    head = header(counted=COUNTED)
    head.encoding += header().encoding
    lines = readouts(kspace(0), average=0) + readouts(1.3 * kspace(0), average=1)
    for line in lines:
        line.encoding_space_ref = 1
    connection = served(head, lines)
    assert len(connection.sent) == 1
    assert_same(connection, of_the_file(tmp_path, head, lines))


def test_noise_after_the_data_is_used_or_refused(tmp_path) -> None:
    lines = [*two_slices(), noise_readout()]
    assert_same(served(header(), lines), of_the_file(tmp_path, header(), lines))
    (error,) = served(header(counted=COUNTED), lines).errors
    assert error.startswith("A noise measurement came after the first image")


def calibration(data: np.ndarray, **counters: int) -> list:
    found = readouts(data, **counters)[SIZE // 2 - 8 : SIZE // 2 + 8]
    for line in found:
        line.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    found[-1].set_flag(ismrmrd.ACQ_LAST_IN_SLICE)
    return found


def every_other(lines: list) -> list:
    return [line for line in lines if line.idx.kspace_encode_step_1 % 2 == 1]


def test_the_end_of_the_reference_lines_is_not_that_of_the_slice(tmp_path) -> None:
    lines = []
    for i in range(2):
        lines += calibration(kspace(i), slice=i)
    for i in range(2):
        lines += every_other(readouts(kspace(i), slice=i))
    for mode in ("embedded", "separate"):
        head = header(counted=COUNTED)
        head.encoding[0].parallelImaging.calibrationMode = ismrmrd.xsd.calibrationModeType(mode)
        assert_same(served(head, lines), of_the_file(tmp_path, head, lines))
    late = served(head, lines[32:] + lines[:32])
    assert late.errors


def test_reference_lines_serve_all_repetitions(tmp_path) -> None:
    lines = calibration(kspace(0))
    for i in range(2):
        lines += every_other(readouts((i + 1) * kspace(0), repetition=i))
        lines[-1].set_flag(ismrmrd.ACQ_LAST_IN_REPETITION)
    head = header(counted=COUNTED)
    head.encoding[0].encodingLimits.repetition = limit(1)
    head.encoding[0].parallelImaging.calibrationMode = ismrmrd.xsd.calibrationModeType("separate")
    assert_same(served(head, lines), of_the_file(tmp_path, head, lines))


def test_coils_are_compressed_for_all_slices_alike(tmp_path) -> None:
    weights = np.array([0.1, 1, 3], np.float32)[:, None, None]
    first, second = readouts(kspace(0)), readouts(weights * kspace(1), slice=1)
    head, lines = header(counted=COUNTED), first + second
    expected = of_the_file(tmp_path, head, lines, coils=2)
    assert_same(served(head, lines, coils=2), expected)
    alone = of_the_file(tmp_path, head, first, coils=2)[0]
    assert np.abs(alone - expected[0]).max() > 5e-4 * expected.max()


def test_slices_that_are_one_problem_wait_for_each_other(tmp_path) -> None:
    head, lines = header(counted=COUNTED), two_slices()
    wanted = {"joint": "slice", "sparsifier": "undecimated-haar+across-tv"}
    assert_same(served(head, lines, **wanted), of_the_file(tmp_path, head, lines, **wanted))


def test_phases_are_one_problem_and_come_back_with_their_counters_and_stamps(tmp_path) -> None:
    phases = [readouts(kspace(i), phase=i) for i in range(3)]
    lines = list(itertools.chain(*phases))
    for line in lines:
        line.acquisition_time_stamp = 1000 + line.idx.phase
        line.physiology_time_stamp[:] = 16 * line.idx.phase, 7, 8
    head = header()
    wanted = {"joint": "phase", "sparsifier": "undecimated-haar+across-tv"}
    connection = served(head, lines, **wanted)
    assert_same(connection, of_the_file(tmp_path, head, lines, **wanted))
    assert [(one.phase, one.acquisition_time_stamp) for one in connection.sent] == [
        (i, 1000 + i) for i in range(3)
    ]
    assert [list(one.physiology_time_stamp) for one in connection.sent] == [
        [16 * i, 7, 8] for i in range(3)
    ]
    (refused,) = served(head, phases[0], **wanted).errors
    assert "joint 'phase' was requested, but the scan does not have several images" in refused


@pytest.mark.parametrize("are_first", [True, False])
def test_echo_trains_have_the_navigators_of_their_slices(are_first, tmp_path) -> None:
    head = epi_header()
    for counter in COUNTED:
        setattr(head.encoding[0].encodingLimits, counter, limit(0))
    slices = [trains(phantom(i), (1 - 2 * i) * phase(), slice=i) for i in range(2)]
    for i, lines in enumerate(slices):
        lines[-1].setFlag(ismrmrd.ACQ_LAST_IN_SLICE)
        for line in lines:
            line.position[:] = 0, 0, 5 * i
    lines = list(itertools.chain(*slices))
    if are_first:
        lines.sort(key=lambda line: not line.isFlagSet(ismrmrd.ACQ_IS_PHASECORR_DATA))
    connection = served(head, lines)
    assert [image.slice for image in connection.sent] == [0, 1]
    write_acquisitions(tmp_path / "epi.h5", head, lines)
    expected = reconstruct(read(tmp_path / "epi.h5"), **FAST).magnitude.numpy()
    assert_same(connection, np.squeeze(expected))


def test_another_encoding_or_centre_and_slices_that_are_missing_are_refused() -> None:
    head = header(counted=COUNTED)
    head.encoding.append(head.encoding[0])
    first, second = readouts(kspace(0)), readouts(kspace(1), slice=1)
    for line in second:
        line.encoding_space_ref = 1
    assert "encoding 1 came after images of encoding 0" in served(head, first + second).errors[0]
    moved = readouts(np.roll(kspace(1), 7, axis=1), slice=1)
    for line in moved:
        line.idx.user[5] = 19
    (error,) = served(header(counted=COUNTED), first + moved).errors
    assert "(12, 0) (steps 1 and 2) for the first images, and would be (19, 0)" in error
    whole = [readouts(kspace(i), slice=i % 2, repetition=i // 2) for i in range(3)]
    (error,) = served(header(counted=COUNTED), list(itertools.chain(*whole))).errors
    assert error.startswith("Slices [1] of repetition 1, contrast 0 did not come")


def test_a_repetition_and_an_echo_come_back_with_their_counters(tmp_path) -> None:
    lines = []
    for repetition, contrast in itertools.product(range(2), range(2)):
        data = (1 + repetition + 2 * contrast) * kspace(0)
        lines += readouts(data, repetition=repetition, contrast=contrast)
        if contrast == 1:
            lines[-1].set_flag(ismrmrd.ACQ_LAST_IN_REPETITION)
    connection = served(header(), lines)
    assert [(i.repetition, i.contrast) for i in connection.sent] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [i.image_index for i in connection.sent] == [1, 2, 3, 4]
    assert [text for _, text in connection.log if "sent" in text] == ["2 images sent"] * 2
    assert_same(connection, of_the_file(tmp_path, header(), lines))


def test_partitions_of_a_volume_are_its_slices(tmp_path) -> None:
    head, lines = header(counted=COUNTED), []
    for space in (head.encoding[0].encodedSpace, head.encoding[0].reconSpace):
        space.matrixSize.z, space.fieldOfView_mm.z = 8, 40.0
    head.encoding[0].encodingLimits.kspace_encoding_step_2 = limit(7, 4)
    for z in range(8):
        lines += readouts(kspace(0) * (3.0 if z == 4 else 1.0), kspace_encode_step_2=z)
    connection = served(head, lines, maps="lowres")
    assert [image.slice for image in connection.sent] == list(range(8))
    assert [image.image_index for image in connection.sent] == list(range(1, 9))
    assert_same(connection, of_the_file(tmp_path, head, lines))


COUNTS = ("average", "contrast", "repetition", "segment")
FLAGS = (ismrmrd.ACQ_LAST_IN_SLICE, ismrmrd.ACQ_LAST_IN_REPETITION, ismrmrd.ACQ_LAST_IN_MEASUREMENT)


@pytest.mark.parametrize("is_counted", [True, False])
@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("counter", COUNTS)
def test_whatever_comes_twice_gives_the_images_of_the_file_or_an_error(
    tmp_path, counter, flag, is_counted
) -> None:
    head = header(counted=COUNTED if is_counted else ())
    lines = [noise_readout()]
    for i in range(2):
        lines += readouts((1 + 0.3 * i) * kspace(0), **{counter: i})
        lines[-1].set_flag(flag)
    connection = served(head, lines)
    counters = {(i.repetition, i.contrast, i.image_index) for i in connection.sent}
    assert len({key[:2] for key in counters}) == len(connection.sent)
    if connection.errors:
        assert "came after its image was made" in connection.errors[0]
        return
    assert_same(connection, of_the_file(tmp_path, head, lines))


def test_what_the_file_refuses_is_refused(tmp_path) -> None:
    lines = readouts(kspace(0))
    for line in lines:
        line.encoding_space_ref = 3
    with pytest.raises(FirenetError, match="encoding 3"):
        of_the_file(tmp_path, header(), lines)
    assert "encoding 3" in served(header(), lines).errors[0]
