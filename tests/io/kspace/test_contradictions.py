"""Fields that contradict others, counts or samples are named; what follows a rule is left alone."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from mrd_scans import make_header, make_readout, make_readouts
from twix_files import BITS, Line, protocol, twix_vb, twix_vd

from firenet_mri.errors import DataError, FileError
from firenet_mri.io import read
from firenet_mri.io.kspace.gaps import check_gaps
from firenet_mri.io.kspace.ismrmrd import assemble
from tests.io.kspace.test_ge import kspace_with_its_centre_in_the_middle, p_file

ROWS, COLUMNS = 24, 16


@pytest.fixture
def readouts() -> list[ismrmrd.Acquisition]:
    rng = np.random.default_rng(0)
    return make_readouts(rng.normal(size=(2, ROWS, COLUMNS, 2)) @ [1, 1j])


def said(caplog, lines, **options) -> str:
    """Return what is logged while readouts become a scan."""
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assemble(make_header((COLUMNS, ROWS, 1)), lines, **options)
    return caplog.text


def test_a_scan_without_faults_says_nothing(readouts, caplog) -> None:
    assert said(caplog, readouts) == ""


@pytest.mark.parametrize(("pre", "post"), [(0, 16), (0, 60000), (16, 0), (9, 7), (65535, 65535)])
@pytest.mark.parametrize("index", [0, 5])
def test_a_readout_that_discards_all_that_it_has_is_refused(readouts, pre, post, index) -> None:
    readouts[index].discard_pre, readouts[index].discard_post = pre, post
    with pytest.raises(DataError, match=rf"\(step 1 {index}, .*has 16 samples and discards {pre} "):
        assemble(make_header((COLUMNS, ROWS, 1)), readouts)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (
            "discard_post",
            3,
            "1 of 24 readouts cover other columns than the others, the first of them that of",
        ),
        ("sample_time_us", 7.0, "1 of 24 readouts have another dwell time"),
        ("flags", 1 << 21, "1 of 24 readouts run in the other direction"),
    ],
)
def test_a_field_of_one_readout_against_all_others_is_named(
    readouts, field, value, words, caplog
) -> None:
    if field == "flags":
        # Between two samples there is no row to fall off.
        readouts[7] = make_readout(readouts[7].data[:, 1:], row=7, flags=[22], center_sample=7)
    else:
        setattr(readouts[7], field, value)
    found = said(caplog, readouts)
    assert words in found
    assert "step 1 7" in found


def test_two_halves_of_every_readout_are_no_exception(readouts, caplog) -> None:
    halves = [
        make_readout(line.data[:, part], row=row, center_sample=centre)
        for row, line in enumerate(readouts)
        for part, centre in ((slice(0, 8), 8), (slice(8, 16), 0))
    ]
    assert said(caplog, halves) == ""


def test_a_row_that_is_missing_though_its_neighbours_are_not_is_named(readouts, caplog) -> None:
    del readouts[9]
    assert "rows 9 were not measured, though their neighbours were" in said(caplog, readouts)


def test_a_row_that_went_elsewhere_is_named_or_refused(readouts, caplog) -> None:
    readouts[9].idx.kspace_encode_step_1 = 10
    with pytest.raises(DataError, match="occur 2 times with the same counters, others 1"):
        assemble(make_header((COLUMNS, ROWS, 1)), readouts)
    readouts[9].idx.average = 1
    assert "rows 9 were not measured" in said(caplog, readouts)


def test_a_slice_that_lacks_a_row_of_the_others_is_named(caplog) -> None:
    rng = np.random.default_rng(0)
    # No rule, so that the slices alone can tell.
    rows = np.sort(rng.choice(ROWS, 14, replace=False))
    lines = [
        make_readout(
            rng.normal(size=(2, COLUMNS)) + 1j,
            row=int(row),
            counters={"slice": number},
            position=(5.0 * number, 0, 0),
        )
        for number in range(3)
        for row in rows
    ]
    assert said(caplog, lines) == ""
    del lines[14 + 6]
    assert f"slice 1: rows {rows[6]} were not measured, though those of other" in said(
        caplog, lines
    )


def mask_of(rows: np.ndarray, columns: int = 16) -> np.ndarray:
    """Return (..., 1, row, column) bool."""
    return np.repeat(rows[..., None, :, None], columns, -1)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("share", [0.2, 0.35, 0.5, 0.8])
def test_random_rows_are_no_gaps(seed, share, caplog) -> None:
    rng = np.random.default_rng(seed)
    check_gaps(mask_of(rng.random((4, 64)) < share), 2, "scan")
    assert caplog.text == "" or share == 0.8


@pytest.mark.parametrize("step", [1, 2, 3, 4])
@pytest.mark.parametrize("centre", [0, 12])
def test_rows_by_a_rule_are_no_gaps_and_one_that_lacks_is(step, centre, caplog) -> None:
    rows = np.zeros(96, bool)
    rows[::step] = True
    rows[48 - centre // 2 : 48 + centre // 2] = True
    # Partial Fourier, too.
    rows[:20] = False
    check_gaps(mask_of(rows), 2, "scan")
    assert caplog.text == ""
    rows[72] = False
    check_gaps(mask_of(rows), 2, "scan")
    assert "rows 72 were not measured" in caplog.text


def test_points_by_chance_and_an_ellipse_are_no_gaps(caplog) -> None:
    rng = np.random.default_rng(0)
    check_gaps(rng.random((3, 1, 60, 50)) < 0.12, 2, "scan")
    z, y = np.ogrid[-8:8, -16:16]
    ellipse = (z / 8) ** 2 + (y / 16) ** 2 < 1
    check_gaps(np.repeat(ellipse[None, ..., None], 24, -1), 3, "scan")
    assert caplog.text == ""


def test_a_matrix_far_larger_than_what_was_measured_is_named(readouts, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        assemble(make_header((COLUMNS, 4 * ROWS, 1), centre=(ROWS // 2, 0)), readouts)
    assert "along axis 0 of (y, x) the measured samples cover 24 of 96" in caplog.text


def test_a_partition_that_is_missing_is_named(caplog) -> None:
    mask = np.ones((1, 16, 32, 24), bool)
    mask[:, 5] = False
    check_gaps(mask, 3, "scan")
    assert "partitions 5 were not measured" in caplog.text


def test_a_slice_without_any_sample_is_refused_until_the_others_are_chosen(tmp_path) -> None:
    rng = np.random.default_rng(0)
    kspace = (rng.normal(size=(3, 2, 12, 12, 2)) @ [1, 1j]).astype(np.complex64)
    kspace[1] = 0
    import h5py

    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file["kspace"] = kspace
    with pytest.raises(DataError, match="no sample of slice 1 of 3 was measured"):
        read(tmp_path / "scan.h5")
    assert read(tmp_path / "scan.h5", slices="0,2").batch_shape == (2,)


@pytest.mark.parametrize("slices", [2, 3])
def test_slices_that_the_header_counts_and_nobody_measured_are_named(
    slices, tmp_path, caplog
) -> None:
    rng = np.random.default_rng(0)
    header = make_header((COLUMNS, ROWS, 1))
    limit = ismrmrd.xsd.limitType(minimum=0, maximum=slices - 1, center=0)
    header.encoding[0].encodingLimits.slice = limit
    header.acquisitionSystemInformation.receiverChannels = 2
    with ismrmrd.File(tmp_path / "scan.h5", "w") as file:
        file["dataset"].header = header
        file["dataset"].acquisitions = [
            line
            for number in range(2)
            for line in make_readouts(
                rng.normal(size=(2, ROWS, COLUMNS)) + 1j, counters={"slice": number}
            )
        ]
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "scan.h5")
    assert ("counts 3 slices, but the readouts belong to 2" in caplog.text) is (slices == 3)
    assert "channels" not in caplog.text


def twix(tmp_path: Path, change, version: str = "vd", **options: str) -> Path:
    """Write a Siemens scan after ``change`` has changed its bytes, block by block."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, ROWS, COLUMNS, 2)) @ [1, 1j]
    lines = [Line(data[:, y], {"Lin": y}, centre=(8, 12, 0)) for y in range(ROWS)]
    head = protocol(COLUMNS // 2, ROWS, **options)
    content = bytearray(twix_vd([(head, lines)]) if version == "vd" else twix_vb(head, lines))
    start = (10_240 if version == "vd" else 0) + len(head)
    size = 192 + 2 * (32 + 8 * COLUMNS) if version == "vd" else 2 * (128 + 8 * COLUMNS)
    # Readout by readout: the evaluation mask lies differently in both.
    at = [start + size * row for row in range(ROWS)]
    content = change(content, at, 40 if version == "vd" else 20)
    path = tmp_path / "scan.dat"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("row", [0, 11, ROWS - 1])
@pytest.mark.parametrize("version", ["vd", "vb"])
def test_a_mark_of_the_end_before_further_readouts_is_refused(version, row, tmp_path) -> None:
    def end(content, at, mask):
        content[at[row] + mask] |= 1 << BITS["ACQEND"]
        return content

    assert read(twix(tmp_path, lambda content, at, mask: content, version)).coils == 2
    with pytest.raises(FileError, match=f"the end mark comes after {row} readouts"):
        read(twix(tmp_path, end, version))


def test_a_readout_that_lies_about_its_length_is_refused(tmp_path) -> None:
    def shorten(content, at, mask):
        struct.pack_into("<I", content, at[3], struct.unpack_from("<I", content, at[3])[0] - 8)
        return content

    with pytest.raises(FileError, match="readout 4 of the Siemens raw file has 2 channels of 16"):
        read(twix(tmp_path, shorten))


def test_a_siemens_readout_that_discards_more_than_it_has_is_refused(tmp_path) -> None:
    def discard(content, at, mask):
        struct.pack_into("<H", content, at[3] + 82, 400)
        return content

    with pytest.raises(
        DataError, match="has 16 samples and discards 0 at its start and 400 at its end"
    ):
        read(twix(tmp_path, discard))


def test_a_jump_of_the_scanners_counter_is_named(tmp_path, caplog) -> None:
    def count(content, at, mask):
        for number, place in enumerate(at):
            struct.pack_into("<I", content, place + 8, number + 1 + (number > 6))
        return content

    with caplog.at_level(logging.WARNING):
        read(twix(tmp_path, count))
    assert "counter jumps at 1 place, first by 2 after readout 7" in caplog.text


def test_slices_of_the_protocol_that_nobody_measured_are_named(tmp_path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        read(twix(tmp_path, lambda content, at, mask: content, extra="sSliceArray.lSize = 3\n"))
    assert "the protocol has 3 slices, but the readouts belong to 1" in caplog.text


@pytest.mark.parametrize("chopped", [True, False])
def test_ges_chopping_bit_is_compared_with_the_samples(chopped, tmp_path, caplog) -> None:
    content = bytearray(p_file(kspace_with_its_centre_in_the_middle()))
    path = tmp_path / "P00001.7"
    if not chopped:
        content[132] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        read(path)
    assert ("puts the image at the edge of the field of view" in caplog.text) is not chopped


def test_a_p_file_of_more_than_its_header_speaks_of_is_refused(tmp_path) -> None:
    path = tmp_path / "P00001.7"
    path.write_bytes(p_file(kspace_with_its_centre_in_the_middle()) + bytes(8))
    with pytest.raises(FileError, match=r"holds \d+ numbers, but its header states"):
        read(path)


def test_an_array_of_fewer_slices_than_its_file_is_refused(tmp_path) -> None:
    path = tmp_path / "scan.npy"
    np.save(path, np.ones((4, 8, 8), np.complex64))
    path.write_bytes(path.read_bytes().replace(b"(4, 8, 8)", b"(3, 8, 8)"))
    with pytest.raises(FileError, match="but its header needs"):
        read(path)
