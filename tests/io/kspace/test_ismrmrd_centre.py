"""The centre of k-space is where two of header, readouts and energy agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made_scans import SIZE, kspace_of, made_image
from mrd_scans import make_header, make_readout

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd import assemble


@pytest.fixture(scope="module")
def kspace() -> np.ndarray:
    """Return k-space (coil, y, x), of which the centre is row 32."""
    return kspace_of(made_image())


def readouts(kspace: np.ndarray, own: int | None, rows: Any = range(SIZE)) -> list[Any]:
    lines = [make_readout(kspace[:, row], row=row) for row in rows]
    for line in lines:
        if own is not None:
            line.idx.user[5] = own
    return lines


def test_a_wrong_header_is_corrected_by_the_readouts(
    kspace, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that a wrong centre pushes out of the matrix are not there to be seen."""
    rows = range(8, SIZE)
    header = make_header((SIZE, SIZE, 1), centre=(8, 0))
    lines = [make_readout(kspace[:, row], row=row - 8) for row in rows]
    for line in lines:
        line.idx.user[5] = 24
    scan = assemble(header, lines)
    np.testing.assert_array_equal(scan.kspace[0][:, 8:], kspace[:, 8:])
    assert "the header puts the centre of k-space at kspace_encode_step_1 8" in caplog.text
    assert "24 is used" in caplog.text
    right = assemble(make_header((SIZE, SIZE, 1), centre=(24, 0)), lines)
    assert torch.equal(scan.kspace, right.kspace)


@pytest.mark.parametrize(("centre", "own"), [(32, None), (32, 32), (32, 3), (20, 32), (32, 35)])
def test_the_field_that_the_energy_confirms_is_taken(centre, own, kspace) -> None:
    rows = range(12, 52)
    scan = assemble(make_header((SIZE, SIZE, 1), centre=(centre, 0)), readouts(kspace, own, rows))
    np.testing.assert_array_equal(scan.kspace[0][:, 12:52], kspace[:, 12:52])


@pytest.mark.parametrize("own", [None, 0, 50])
def test_a_scan_of_which_no_two_agree_is_refused(own, kspace) -> None:
    header = make_header((2 * SIZE, 2 * SIZE, 1), centre=(64, 0))
    wide = np.pad(kspace, ((0, 0), (0, 0), (SIZE // 2, SIZE // 2)))
    with pytest.raises(DataError, match="step 32 is the strongest"):
        assemble(header, readouts(wide, own))


def test_samples_without_a_peak_contradict_nothing() -> None:
    noise = np.random.default_rng(0).normal(size=(2, 12, 16, 2)).view(complex)[..., 0]
    header = make_header((16, 12, 1), centre=(2, 0))
    lines = [make_readout(noise[:, row], row=row) for row in range(8)]
    np.testing.assert_array_equal(
        assemble(header, lines).kspace[0][:, 4:], noise[:, :8].astype(np.complex64)
    )
    for line in lines:
        line.idx.user[5] = 3
    with pytest.raises(DataError, match=r"the header states 2, the readouts themselves state 3"):
        assemble(header, lines)
