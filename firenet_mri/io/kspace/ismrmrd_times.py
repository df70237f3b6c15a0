"""Acquisition times of the images of an ISMRMRD scan, from the time stamps of their readouts.

Stamps count in the vendor's units, which the standard leaves open. Siemens uses 2.5 ms, and so do
files that this package writes. Other units are treated as unknown, since a wrong time is worse than
none. A header's repetition time is not the time between images, each of which may need many
excitations.
"""

from __future__ import annotations

import logging
import re
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from firenet_mri.geometry import AcquisitionParameters, Moment

_log = logging.getLogger(__name__)

#: Milliseconds per step of Siemens' clocks, and of time stamps that this package writes.
TICK_MS = 2.5
#: The system model in headers that this package writes with time stamps.
OUR_MODEL = "firenet_mri"

_PHASE = re.compile(r"(?:cardiac )?phase (\d+)")


def moments_of(
    header: Any, readouts: Iterable[tuple[Any, int]], names: Sequence[str], name: str
) -> tuple[Moment, ...]:
    """Return when each image was acquired; empty for a single image or an unknown unit.

    Parameters
    ----------
    header
        The ISMRMRD header, which gives vendor and model.
    readouts
        Every imaging readout with the number of its image.
    names
        Names of the images.
    name
        Name of the scan in messages.
    """
    if not names:
        return ()
    clock, heart = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for line, image in readouts:
        clock[image].append(int(line.acquisition_time_stamp))
        heart[image].append(int(line.physiology_time_stamp[0]))
    if not _tells(clock) and not _tells(heart):
        return ()
    tick = tick_ms(header)
    if tick is None:
        _log.info("%s: the unit of the time stamps is not known; the images get no times", name)
        return ()
    # The mean is comparable: all frames of a film have the same number of readouts, in the same
    # order.
    times = {image: tick * statistics.fmean(stamps) for image, stamps in clock.items()}
    first = min(times.values())
    triggers = {image: tick * statistics.fmean(stamps) for image, stamps in heart.items()}
    has_clock, has_trigger = _tells(clock), _rises_with_phase(triggers, names)
    return tuple(
        Moment(
            one,
            times[image] - first if has_clock else None,
            triggers[image] if has_trigger else None,
        )
        for image, one in enumerate(names)
        if image in times
    )


def tick_ms(header: Any) -> float | None:
    """Return the milliseconds per step of a header's time stamps; None if unknown."""
    system = getattr(header, "acquisitionSystemInformation", None)
    vendor = (getattr(system, "systemVendor", None) or "").lower()
    model = getattr(system, "systemModel", None) or ""
    return TICK_MS if vendor.startswith("siemens") or model == OUR_MODEL else None


def stamps_of(name: str, known: AcquisitionParameters) -> dict[str, int]:
    """Return the time stamps of an image by name of the header field; empty if unknown."""
    found = next((one for one in known.moments if one.image == name), None)
    if found is None:
        return {}
    times = {
        "acquisition_time_stamp": found.from_first_ms,
        "physiology_time_stamp": found.from_trigger_ms,
    }
    return {field: round(ms / TICK_MS) for field, ms in times.items() if ms is not None}


def stamp(head: Any, stamps: Mapping[str, int]) -> None:
    """Write time stamps into a readout or an image; the ECG's is the first physiology stamp."""
    for field, value in stamps.items():
        if field == "physiology_time_stamp":
            head.physiology_time_stamp[0] = value
        else:
            setattr(head, field, value)


def _tells(stamps: Mapping[int, Sequence[int]]) -> bool:
    """Return whether stamps tell images apart; an unset clock is 0."""
    return len({statistics.fmean(values) for values in stamps.values()}) > 1


def _rises_with_phase(times: Mapping[int, float], names: Sequence[str]) -> bool:
    """Return whether each cardiac phase is later after the trigger than the previous one."""
    films: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for image, time in times.items():
        found = _PHASE.search(names[image])
        if found is None:
            return False
        films[_PHASE.sub("", names[image])].append((int(found[1]), time))
    in_order = ([time for _, time in sorted(film)] for film in films.values())
    return all(len(film) > 1 and film == sorted(set(film)) for film in in_order)
