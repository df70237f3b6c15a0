"""When the images of an ISMRMRD scan were taken: from the time stamps of their readouts.

Stamps count in steps of the vendor, which the standard leaves open. Siemens' are 2.5 ms, and so are
those that we write; of others nothing is said, since a wrong time is worse than none. A header's
repetition time does not tell the time between images, of which each may need many excitations.
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

#: Milliseconds of a step of Siemens' clocks, and of those that we write.
TICK_MS = 2.5
#: The model of the system in headers of files that we write with time stamps.
OUR_MODEL = "firenet_mri"

_PHASE = re.compile(r"(?:cardiac )?phase (\d+)")


def moments_of(
    header: Any, readouts: Iterable[tuple[Any, int]], names: Sequence[str], name: str
) -> tuple[Moment, ...]:
    """Return when each image was taken; nothing of a single one, or where the unit is not known.

    Parameters
    ----------
    header
        The ISMRMRD header, of which vendor and model are looked at.
    readouts
        Every imaging readout with the number of its image.
    names
        Of the images.
    name
        What messages call the scan.
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
        _log.info("%s: the unit of its time stamps is not known; the images get no times", name)
        return ()
    # The mean: frames of one film have as many readouts, in the same order, at other lines.
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
    """Return the milliseconds of a step of a header's time stamps; None if they are not known."""
    system = getattr(header, "acquisitionSystemInformation", None)
    vendor = (getattr(system, "systemVendor", None) or "").lower()
    model = getattr(system, "systemModel", None) or ""
    return TICK_MS if vendor.startswith("siemens") or model == OUR_MODEL else None


def stamps_of(name: str, known: AcquisitionParameters) -> dict[str, int]:
    """Return the time stamps of an image, by the name of a header's field; nothing if unknown."""
    found = next((one for one in known.moments if one.image == name), None)
    if found is None:
        return {}
    times = {
        "acquisition_time_stamp": found.from_first_ms,
        "physiology_time_stamp": found.from_trigger_ms,
    }
    return {field: round(ms / TICK_MS) for field, ms in times.items() if ms is not None}


def stamp(head: Any, stamps: Mapping[str, int]) -> None:
    """Write time stamps into a readout or an image; the heart's is the first of physiology."""
    for field, value in stamps.items():
        if field == "physiology_time_stamp":
            head.physiology_time_stamp[0] = value
        else:
            setattr(head, field, value)


def _tells(stamps: Mapping[int, Sequence[int]]) -> bool:
    """Return whether stamps tell images from each other; a clock that was not set is 0."""
    return len({statistics.fmean(values) for values in stamps.values()}) > 1


def _rises_with_phase(times: Mapping[int, float], names: Sequence[str]) -> bool:
    """Return whether every phase of the heart is later after the trigger than the one before it."""
    films: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for image, time in times.items():
        found = _PHASE.search(names[image])
        if found is None:
            return False
        films[_PHASE.sub("", names[image])].append((int(found[1]), time))
    in_order = ([time for _, time in sorted(film)] for film in films.values())
    return all(len(film) > 1 and film == sorted(set(film)) for film in in_order)
