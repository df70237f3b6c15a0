"""A point of k-space that comes again with the same average belongs to another image."""

from __future__ import annotations

from typing import Any

import ismrmrd
import numpy as np
import pytest
from mrd_scans import make_header, make_readout, make_readouts

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd import assemble

NX, NY = 16, 12


@pytest.fixture
def echoes(noisy) -> np.ndarray:
    """Return the k-space of two echoes, (echo, coil, y, x)."""
    return noisy(2, 3, NY, NX).astype(np.complex64)


def header(*, times: tuple[float, ...] = (), averages: int | None = None) -> Any:
    xsd = ismrmrd.xsd
    made = make_header((NX, NY, 1))
    if times:
        made.sequenceParameters = xsd.sequenceParametersType(TE=list(times))
    if averages:
        limit = xsd.limitType(minimum=0, maximum=averages - 1, center=0)
        made.encoding[0].encodingLimits.average = limit
    return made


def lines(echoes: np.ndarray, counters: Any = lambda echo: {}) -> list[Any]:
    """Return the readouts as they are measured: all echoes of a row, then the next row."""
    return [
        make_readout(echo[:, row], row=row, counters=counters(number))
        for row in range(NY)
        for number, echo in enumerate(echoes)
    ]


def test_echoes_that_differ_in_the_segment_alone_are_two_images(
    echoes, caplog: pytest.LogCaptureFixture
) -> None:
    scan = assemble(header(), lines(echoes, lambda echo: {"segment": 3 * echo}))
    assert scan.images == ("segment 0", "segment 3")
    np.testing.assert_array_equal(scan.kspace[:, 0], echoes)
    assert "they are read as 2 images (segment), told apart by the counter segment" in caplog.text


@pytest.mark.parametrize("index", [0, 4, 7])
def test_a_counter_of_the_user_tells_images_apart(index, echoes) -> None:
    readouts = lines(echoes)
    for number, line in enumerate(readouts):
        line.idx.user[index] = number % 2
        # These are the centre of k-space.
        line.idx.user[5], line.idx.user[6] = NY // 2, 0
    scan = assemble(header(), readouts)
    assert scan.images == (f"user{index} 0", f"user{index} 1")
    np.testing.assert_array_equal(scan.kspace[:, 0], echoes)


def test_two_echo_times_in_the_header_make_two_echoes(echoes) -> None:
    for counters in (lambda echo: {}, lambda echo: {"segment": 2 * echo}):
        scan = assemble(header(times=(5.0, 9.0)), lines(echoes, counters))
        assert scan.images == ("contrast 0", "contrast 1")
        np.testing.assert_array_equal(scan.kspace[:, 0], echoes)


def test_repetitions_without_a_counter_are_told_apart_by_their_order(
    echoes, caplog: pytest.LogCaptureFixture
) -> None:
    scan = assemble(header(), [*make_readouts(echoes[0]), *make_readouts(echoes[1])])
    assert scan.images == ("measurement 0", "measurement 1")
    np.testing.assert_array_equal(scan.kspace[:, 0], echoes)
    assert "told apart by the order of measurement; if they are averages, number" in caplog.text


def test_averages_that_the_header_states_or_readouts_count_are_averaged(echoes) -> None:
    expected = echoes.mean(0)
    for made, counters in (
        (header(averages=2), lambda echo: {}),
        (header(), lambda echo: {"average": echo}),
    ):
        scan = assemble(made, lines(echoes, counters))
        assert scan.images == ()
        np.testing.assert_allclose(scan.kspace[0], expected, atol=1e-6)


def test_averages_of_two_echoes_are_averaged_echo_by_echo(echoes) -> None:
    readouts = lines(echoes, lambda echo: {"segment": echo})
    again = lines(3 * echoes, lambda echo: {"segment": echo, "average": 1})
    scan = assemble(header(), [*readouts, *again])
    np.testing.assert_allclose(scan.kspace[:, 0], 2 * echoes, rtol=1e-5)


def test_images_that_nothing_tells_apart_are_refused(echoes) -> None:
    some = [make_readout(echoes[1][:, row], row=row) for row in (2, 5)]
    with pytest.raises(DataError, match=r"occur 2 times .* others 1 times.*number the readouts"):
        assemble(header(), [*make_readouts(echoes[0]), *some])


def test_rows_measured_again_in_another_segment_are_no_image(echoes) -> None:
    again = [make_readout(echoes[1][:, 4], row=4, counters={"segment": 1})]
    with pytest.raises(DataError, match="nothing tells which belong together"):
        assemble(header(), [*make_readouts(echoes[0]), *again])


def test_a_readout_in_pieces_is_no_repetition(echoes) -> None:
    left, right = echoes[0].copy(), echoes[0].copy()
    left[..., 9:], right[..., :9] = 0, 0
    readouts = [
        *make_readouts(left, discard_post=NX - 9),
        *make_readouts(right, discard_pre=9),
    ]
    scan = assemble(header(), readouts)
    assert scan.images == ()
    np.testing.assert_array_equal(scan.kspace[0], echoes[0])


def test_a_reversed_piece_lies_on_the_other_side_of_the_centre(echoes) -> None:
    """Columns 0 to 8 forwards, 9 to 15 backwards: neither comes again."""
    samples = echoes[0]
    backwards = samples[..., ::-1]
    readouts = [
        *make_readouts(samples, discard_post=NX - 9),
        *make_readouts(
            backwards, discard_post=9, center_sample=NX // 2 - 1, flags=[ismrmrd.ACQ_IS_REVERSE]
        ),
    ]
    scan = assemble(header(), readouts)
    assert scan.images == ()
    np.testing.assert_array_equal(scan.kspace[0], samples)


def test_a_segment_that_is_a_share_of_the_rows_tells_nothing_apart(echoes) -> None:
    readouts = [
        make_readout(echo[:, row], row=row, counters={"segment": row % 3})
        for echo in echoes
        for row in range(NY)
    ]
    scan = assemble(header(), readouts)
    assert scan.images == ("measurement 0", "measurement 1")
    np.testing.assert_array_equal(scan.kspace[:, 0], echoes)
