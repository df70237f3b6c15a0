"""What each of several images is: its echo with its time, its repetition, and its other counters.

Scans name their images by counters, such as "repetition 1, contrast 0". A contrast is an echo where
the header states several echo times; of other contrasts, such as those of several inversion times,
nothing is said but their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from firenet_mri.geometry import AcquisitionParameters

_ECHOES = ("echo", "contrast")
_TIMES = ("repetition", "dynamic")


@dataclass(frozen=True)
class ImageLabel:
    """What one of several images is.

    Parameters
    ----------
    name
        As the scan has it; empty for a single image.
    echo
        Number of the echo, from 1; None if there are no echoes.
    echo_time_ms
        Its time; None if it is not known.
    repetition
        Number of the repetition, from 1; None if there is one.
    others
        The other counters by name.
    """

    name: str = ""
    echo: int | None = None
    echo_time_ms: float | None = None
    repetition: int | None = None
    others: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Return what is known, as plain data."""
        known: dict[str, object] = {"name": self.name}
        for key in ("echo", "echo_time_ms", "repetition"):
            value = getattr(self, key)
            if value is not None:
                known[key] = value
        return known


def labels_of(
    names: Sequence[str], parameters: AcquisitionParameters | None = None
) -> list[ImageLabel]:
    """Return the label of each image; of a scan without names that of its one image.

    Parameters
    ----------
    names
        What tells the images apart, see :class:`firenet_mri.scan.RawScan`.
    parameters
        Their echo times belong to the echoes in this order.
    """
    times = () if parameters is None else parameters.echo_times_ms
    if not names:
        return [ImageLabel(echo_time_ms=times[0] if len(times) == 1 else None)]
    counters = [_counters(name) for name in names]
    echo = _echo_counter(counters, times)
    time = next((key for key in _TIMES if any(key in one for one in counters)), None)
    echoes = sorted({one[echo] for one in counters if echo in one}) if echo else []
    # Some converters count from 1.
    first = 1 if times and echoes and len(times) == echoes[-1] == len(echoes) else 0
    labels = []
    for name, one in zip(names, counters, strict=True):
        number = one.get(echo) if echo else None
        moment = one.get(time) if time else None
        labels.append(
            ImageLabel(
                name,
                None if number is None else number - first + 1,
                _echo_time(None if number is None else number - first, times),
                None if moment is None else moment + 1,
                {key: value for key, value in one.items() if key not in (echo, time)},
            )
        )
    return labels


def time_between(names: Sequence[str], parameters: AcquisitionParameters) -> float | None:
    """Return the time between images in ms, the repetition time, if they are repetitions alone."""
    labels = labels_of(names, parameters)
    is_time = all(one.repetition and one.echo is None and not one.others for one in labels)
    return parameters.repetition_time_ms if is_time else None


def _counters(name: str) -> dict[str, int]:
    parts = (part.rpartition(" ") for part in name.split(", "))
    return {key: int(value) for key, _, value in parts if value.isdecimal()}


def _echo_counter(counters: Sequence[Mapping[str, int]], times: Sequence[float]) -> str | None:
    """Return the counter that counts echoes."""
    for key in _ECHOES:
        found = {one[key] for one in counters if key in one}
        # A contrast with one echo time may be anything.
        if found and (key == "echo" or len(set(times)) > 1):
            return key
    return None


def _echo_time(number: int | None, times: Sequence[float]) -> float | None:
    if len(times) == 1:
        return times[0]
    return times[number] if number is not None and number < len(times) else None
