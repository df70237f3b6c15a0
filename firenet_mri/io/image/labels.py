"""Labels of images: echo, repetition, cardiac phase, and time of acquisition.

Scans name their images by counters, such as "repetition 1, contrast 0". A contrast is an echo if
the header states several echo times. Of other contrasts, such as those of several inversion times,
only the number is known.

The time between images is measured, not computed: a sequence's repetition time is the time between
excitations, and an image may need one excitation or hundreds.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from firenet_mri.errors import ShapeError
from firenet_mri.geometry import AcquisitionParameters
from firenet_mri.plurals import counted

_ECHOES = ("echo", "contrast")
_TIMES = ("repetition", "dynamic")
_PHASES = ("phase", "cardiac phase")
# Scanners count time in steps of milliseconds, and heartbeats are not quite regular.
_MOST_IRREGULAR, _MOST_IRREGULAR_MS = 0.1, 5.0

# Entries of a certificate about an image, besides its name.
_TOLD = ("echo", "echo_time_ms", "repetition", "phase", "from_first_ms", "from_trigger_ms")

#: Counters of consecutive images.
TimeAxis = Literal["phase", "repetition"]


@dataclass(frozen=True)
class ImageLabel:
    """Label of one of several images.

    Parameters
    ----------
    name
        Name of the image in the scan; empty for a single image.
    echo
        Number of the echo, from 1; None if the scan has no echoes.
    echo_time_ms
        Echo time; None if unknown.
    repetition
        Number of the repetition, from 1; None if there is only one.
    phase
        Number of the cardiac phase, from 1; None if there is only one.
    from_first_ms, from_trigger_ms
        See :class:`firenet_mri.geometry.Moment`.
    others
        The other counters by name.
    """

    name: str = ""
    echo: int | None = None
    echo_time_ms: float | None = None
    repetition: int | None = None
    phase: int | None = None
    from_first_ms: float | None = None
    from_trigger_ms: float | None = None
    others: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return the known values as plain data."""
        known: dict[str, object] = {"name": self.name}
        for key in _TOLD:
            value = getattr(self, key)
            if value is not None:
                known[key] = value
        return known


def labels_of(
    names: Sequence[str], parameters: AcquisitionParameters | None = None
) -> list[ImageLabel]:
    """Return the label of each image; without names, that of the scan's only image.

    Parameters
    ----------
    names
        Names that tell the images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Parameters whose echo times belong to the echoes in this order.
    """
    times = () if parameters is None else parameters.echo_times_ms
    if not names:
        return [ImageLabel(echo_time_ms=times[0] if len(times) == 1 else None)]
    counters = [_counters(name) for name in names]
    echo = _echo_counter(counters, times)
    time, phase = (
        next((key for key in keys if any(key in one for one in counters)), None)
        for keys in (_TIMES, _PHASES)
    )
    echoes = sorted({one[echo] for one in counters if echo in one}) if echo else []
    # Some converters count from 1.
    first = 1 if times and echoes and len(times) == echoes[-1] == len(echoes) else 0
    moments = {} if parameters is None else {one.image: one for one in parameters.moments}
    labels = []
    for name, one in zip(names, counters, strict=True):
        number = one.get(echo) if echo else None
        moment = moments.get(name)
        labels.append(
            ImageLabel(
                name,
                None if number is None else number - first + 1,
                _echo_time(None if number is None else number - first, times),
                _counted(one, time),
                _counted(one, phase),
                None if moment is None else moment.from_first_ms,
                None if moment is None else moment.from_trigger_ms,
                {key: value for key, value in one.items() if key not in (echo, time, phase)},
            )
        )
    return labels


def labels_of_all(
    names: Sequence[str], parameters: AcquisitionParameters | None, count: int, name: str
) -> list[ImageLabel]:
    """Return the labels of ``count`` images, which are numbered if they have no names.

    Raises
    ------
    ShapeError
        If the numbers of names and images differ; the message names the images ``name``.
    """
    if names and len(names) != count:
        raise ShapeError(
            f"{name}: {counted(len(names), 'name')} for {counted(count, 'image')} given; give one "
            "name per image"
        )
    numbered = [f"image {i}" for i in range(count)] if count > 1 else []
    return labels_of(names or numbered, parameters)


def time_axis(labels: Sequence[ImageLabel]) -> TimeAxis | None:
    """Return the axis along which images are consecutive: cardiac phases, else repetitions."""
    for axis in ("phase", "repetition"):
        if len({getattr(one, axis) for one in labels}) > 1:
            return axis
    return None


def films_of(labels: Sequence[ImageLabel]) -> list[list[int]]:
    """Return the indices of images that differ only in time, film by film, in order.

    Each image without a time is a film of its own.
    """
    axis = time_axis(labels)
    if axis is None:
        return [[index] for index in range(len(labels))]
    found: dict[tuple[object, ...], list[int]] = {}
    for index, one in enumerate(labels):
        rest = one.repetition if axis == "phase" else one.phase
        found.setdefault((one.echo, rest, *one.others.items()), []).append(index)
    return [sorted(film, key=lambda i: getattr(labels[i], axis) or 0) for film in found.values()]


def time_between(labels: Sequence[ImageLabel]) -> float | None:
    """Return the time between images in ms, if they are one film with known and even times.

    Times of phases count from the trigger, those of repetitions from the first image.
    """
    if len(films_of(labels)) != 1 or len(labels) < 2:
        return None
    times = times_of(labels)
    steps = [later - first for first, later in itertools.pairwise(times)]
    if len(times) < len(labels) or min(steps) <= 0:
        return None
    mean = sum(steps) / len(steps)
    allowed = max(_MOST_IRREGULAR * mean, _MOST_IRREGULAR_MS)
    return mean if max(abs(step - mean) for step in steps) <= allowed else None


def times_of(labels: Sequence[ImageLabel]) -> list[float]:
    """Return the times of a film's images in ms; unknown times are left out."""
    is_phase = time_axis(labels) == "phase"
    found = (one.from_trigger_ms if is_phase else one.from_first_ms for one in labels)
    return [time for time in found if time is not None]


def _counted(counters: Mapping[str, int], key: str | None) -> int | None:
    """Return a counter as a number from 1."""
    return counters[key] + 1 if key is not None and key in counters else None


def _counters(name: str) -> dict[str, int]:
    parts = (part.rpartition(" ") for part in name.split(", "))
    return {key: int(value) for key, _, value in parts if value.isdecimal()}


def _echo_counter(counters: Sequence[Mapping[str, int]], times: Sequence[float]) -> str | None:
    """Return the counter that counts echoes."""
    for key in _ECHOES:
        found = {one[key] for one in counters if key in one}
        # A contrast with a single echo time may be anything.
        if found and (key == "echo" or len(set(times)) > 1):
            return key
    return None


def _echo_time(number: int | None, times: Sequence[float]) -> float | None:
    if len(times) == 1:
        return times[0]
    return times[number] if number is not None and number < len(times) else None
