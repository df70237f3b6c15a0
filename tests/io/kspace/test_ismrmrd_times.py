"""Images have the times of their readouts where the clock's unit is known, and none elsewhere."""

from __future__ import annotations

from dataclasses import replace

import ismrmrd
import numpy as np
import pytest
import torch
from ismrmrd import xsd

from firenet_mri.geometry import AcquisitionParameters, Moment
from firenet_mri.io import read, write_scan
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_writer import header_of
from firenet_mri.scan import ImageGrid, RawScan

SIZE, FRAMES = 8, 3
GRID = ImageGrid((1, SIZE, SIZE), (5.0, 80.0, 80.0))


def scan(images: tuple[str, ...], moments: tuple[Moment, ...] = ()) -> RawScan:
    torch.manual_seed(0)
    kspace = torch.randn(len(images), 1, 2, SIZE, SIZE, dtype=torch.complex64)
    known = AcquisitionParameters(repetition_time_ms=3.0, moments=moments)
    mask = torch.ones(len(images), 1, 1, SIZE, SIZE, dtype=torch.bool)
    return RawScan(kspace, mask, 2, images=images, parameters=known)


def readouts(counter: str, *, clock: int = 16, heart: int = 16) -> list[ismrmrd.Acquisition]:
    """Return the lines of frames, each so many steps later."""
    random = np.random.default_rng(0)
    lines = []
    for frame in range(FRAMES):
        for y in range(SIZE):
            samples = random.standard_normal((2, SIZE)).astype(np.complex64)
            line = ismrmrd.Acquisition.from_array(samples, center_sample=SIZE // 2)
            line.idx.kspace_encode_step_1 = y
            setattr(line.idx, counter, frame)
            # A time of day, which must not leave.
            line.acquisition_time_stamp = 14_400_000 + clock * frame + y
            line.physiology_time_stamp[:] = [heart * frame + 4, 999, 999]
            lines.append(line)
    return lines


def header(vendor: str | None) -> xsd.ismrmrdHeader:
    made = header_of(scan(("phase 0", "phase 1")), GRID, GRID)
    made.acquisitionSystemInformation.systemVendor = vendor
    return made


def times(vendor: str | None, lines: list[ismrmrd.Acquisition]) -> list[tuple]:
    found = assemble(header(vendor), lines).parameters.moments
    return [(one.image, one.from_first_ms, one.from_trigger_ms) for one in found]


def test_siemens_clocks_count_in_steps_of_two_and_a_half_milliseconds() -> None:
    found = times("SIEMENS", readouts("phase"))
    assert found == [(f"phase {i}", 40.0 * i, 10.0 + 40.0 * i) for i in range(FRAMES)]


def test_repetitions_have_no_time_after_a_trigger() -> None:
    found = times("SIEMENS", readouts("repetition"))
    assert found == [(f"repetition {i}", 40.0 * i, None) for i in range(FRAMES)]


@pytest.mark.parametrize("vendor", [None, "GE", "Philips", "simulated"])
def test_the_unit_of_other_clocks_is_not_guessed(vendor) -> None:
    assert times(vendor, readouts("phase")) == []


def test_a_clock_that_stands_still_says_nothing() -> None:
    lines = readouts("phase", clock=0, heart=0)
    assert times("SIEMENS", lines) == []


def test_a_trigger_between_the_phases_is_no_time_of_theirs() -> None:
    lines = readouts("phase")
    for line in lines:
        if line.idx.phase == 2:
            line.physiology_time_stamp[0] = 0
    assert [trigger for _, _, trigger in times("SIEMENS", lines)] == [None] * FRAMES


def test_times_are_written_and_read_back(tmp_path) -> None:
    names = tuple(f"phase {i}" for i in range(FRAMES))
    moments = tuple(Moment(name, 2.5 * i, 10.0 + 40 * i) for i, name in enumerate(names))
    path = tmp_path / "cine.h5"
    write_scan(path, scan(names, moments))
    found = read(path)
    assert found.parameters.moments == moments
    # Once more: what was rounded stays.
    write_scan(tmp_path / "again.h5", replace(found, name="again"))
    assert read(tmp_path / "again.h5").parameters == found.parameters


def test_a_scan_without_times_is_written_without_a_clock(tmp_path) -> None:
    write_scan(tmp_path / "a.h5", scan(("phase 0", "phase 1")))
    assert read(tmp_path / "a.h5").parameters.moments == ()
