"""What an image is follows from its counters and the header's times, and nothing is guessed."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from firenet_mri.geometry import AcquisitionParameters
from firenet_mri.io.image.labels import labels_of, time_between
from firenet_mri.io.image.nifti import write_nifti


def known(*echo_times_ms: float) -> AcquisitionParameters:
    return AcquisitionParameters(repetition_time_ms=2000.0, echo_times_ms=echo_times_ms)


@pytest.mark.parametrize(
    ("names", "times", "echoes"),
    [
        ([], (4.0,), [(None, 4.0)]),
        ([], (4.0, 8.0), [(None, None)]),
        (["contrast 0", "contrast 1"], (4.0, 8.0), [(1, 4.0), (2, 8.0)]),
        # Chosen from three.
        (["contrast 2"], (4.0, 8.0, 12.0), [(3, 12.0)]),
        # Counted from 1.
        (["contrast 1", "contrast 2"], (4.0, 8.0), [(1, 4.0), (2, 8.0)]),
        # A contrast that the times do not tell is none of echoes.
        (["contrast 0", "contrast 1"], (4.0,), [(None, 4.0)] * 2),
        (["contrast 0", "contrast 1"], (), [(None, None)] * 2),
        (["contrast 0", "contrast 3"], (4.0, 8.0), [(1, 4.0), (4, None)]),
        # An echo is one without times, too.
        (["mix 0, echo 1", "mix 0, echo 0"], (), [(2, None), (1, None)]),
    ],
)
def test_echoes_have_their_times(names, times, echoes) -> None:
    assert [(one.echo, one.echo_time_ms) for one in labels_of(names, known(*times))] == echoes


def test_repetitions_and_others_are_told_apart() -> None:
    names = ["repetition 3, cardiac phase 0", "repetition 4, cardiac phase 0"]
    first, second = labels_of(names)
    assert (first.repetition, second.repetition) == (4, 5)
    assert first.others == {"cardiac phase": 0}
    assert first.to_dict() == {"name": names[0], "repetition": 4}
    (label,) = labels_of(["extra attribute 1 value 3"])
    assert label.others == {"extra attribute 1 value": 3}


@pytest.mark.parametrize(
    ("names", "time"),
    [
        (["repetition 0", "repetition 1"], 2000.0),
        (["dynamic 0", "dynamic 1"], 2000.0),
        (["repetition 0, contrast 0", "repetition 0, contrast 1"], None),
        (["contrast 0", "contrast 1"], None),
        ([], None),
    ],
)
def test_the_fourth_axis_of_nifti_is_time_where_nothing_else_varies(names, time, tmp_path) -> None:
    found = time_between(names, known(4.0))
    assert found == time
    path = tmp_path / "a.nii"
    write_nifti(path, np.ones((2, 3, 4, 5)), repetition_time_ms=found)
    header = nibabel.load(path).header
    assert header.get_zooms()[3] == (1.0 if time is None else 2.0)
    assert header.get_xyzt_units() == ("mm", "unknown" if time is None else "sec")
