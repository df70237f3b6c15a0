"""What an image is follows from its counters and the header's times, and nothing is guessed."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from firenet_mri.errors import ShapeError
from firenet_mri.geometry import AcquisitionParameters, Moment
from firenet_mri.io.image.labels import films_of, labels_of, labels_of_all, time_between
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
    assert (first.phase, first.others) == (1, {})
    assert first.to_dict() == {"name": names[0], "repetition": 4, "phase": 1}
    (label,) = labels_of(["extra attribute 1 value 3"])
    assert label.others == {"extra attribute 1 value": 3}


def timed(axis: str, times: list[float | None], more: str = "") -> list:
    """Return the labels of images that were taken at these times, by clock and after a trigger."""
    names = [f"{axis} {i}{more}" for i in range(len(times))]
    moments = tuple(
        Moment(n, t, None if t is None else t + 7) for n, t in zip(names, times, strict=True)
    )
    known_ = AcquisitionParameters(repetition_time_ms=3.0, moments=moments)
    return labels_of(names, known_)


@pytest.mark.parametrize("axis", ["repetition", "dynamic", "phase", "cardiac phase"])
@pytest.mark.parametrize(
    ("times", "time"),
    [
        ([0.0, 40.0, 80.0], 40.0),
        # Clocks have steps of 2.5 ms.
        ([0.0, 37.5, 77.5], 38.75),
        # Missing, uneven, standing still and backward.
        ([0.0, None, 80.0], None),
        ([0.0, 40.0, 120.0], None),
        ([0.0, 0.0, 0.0], None),
        ([80.0, 40.0, 0.0], None),
    ],
)
def test_the_time_between_images_is_measured(axis, times, time, tmp_path) -> None:
    found = time_between(timed(axis, times))
    assert found == time
    path = tmp_path / "a.nii"
    write_nifti(path, np.ones((3, 3, 4, 5)), time_between_ms=found)
    header = nibabel.load(path).header
    expected = (1.0, "unknown") if time is None else (time / 1000, "sec")
    assert header.get_zooms()[3] == pytest.approx(expected[0])
    assert header.get_xyzt_units() == ("mm", expected[1])


def test_the_time_between_excitations_is_not_that_between_images() -> None:
    # A gradient echo of 128 lines with a repetition time of 10 ms makes an image in 1.3 s.
    names = ["repetition 0", "repetition 1"]
    assert time_between(labels_of(names, AcquisitionParameters(repetition_time_ms=10.0))) is None


def test_images_that_differ_in_more_than_time_are_no_one_film() -> None:
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(3)]
    labels = labels_of(names, known(4.0))
    assert films_of(labels) == [[0, 3], [1, 4], [2, 5]]
    assert time_between(labels) is None
    assert films_of(labels_of(["contrast 0", "contrast 1"])) == [[0], [1]]
    assert films_of(labels_of([])) == [[0]]
    # Within a beat, for each of several.
    beats = labels_of(["repetition 0, phase 1", "repetition 0, phase 0", "repetition 1, phase 0"])
    assert films_of(beats) == [[1, 0], [2]]


def test_images_without_names_are_numbered_and_names_must_be_as_many_as_images() -> None:
    assert [label.name for label in labels_of_all([], None, 2, "x")] == ["image 0", "image 1"]
    assert len(labels_of_all([], None, 1, "x")) == 1
    with pytest.raises(ShapeError, match="x: 1 name for 2 images"):
        labels_of_all(["phase 0"], None, 2, "x")
    with pytest.raises(ShapeError, match="x: 3 names for 2 images"):
        labels_of_all(["phase 0", "phase 1", "phase 2"], None, 2, "x")
