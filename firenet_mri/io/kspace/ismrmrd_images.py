"""Groups readouts into images, by their counters or by whatever else tells repeated points apart.

A point of k-space that is repeated with another ``average`` is averaged. A point that is repeated
with the same average belongs to another image, such as an echo whose counter was not set. The
images are then told apart, in this order, by a counter without a fixed meaning (the segment, or the
user counters, which hold Siemens' Ida to Ide), by all these counters together, or by the order of
measurement if all points were measured equally often. If the header states the same number of echo
times, the images are echoes; if its limits state that number of averages, they are averaged.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from firenet_mri.errors import DataError

_log = logging.getLogger(__name__)

COUNTERS = ("repetition", "contrast", "phase", "set")
_REVERSE = 22
# The other user counters hold the centre of k-space.
_USERS = (0, 1, 2, 3, 4, 7)
_OTHERS = ("segment", *(f"user{i}" for i in _USERS))
# An image has at least this share of the number of readouts of the largest one.
_WHOLE = 0.5

_IF_AVERAGES = (
    "; if they are averages, number the readouts by average, or state this number in the header's "
    "encodingLimits"
)

ImageKey = tuple[int, ...]
Span = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Images:
    """The rule that tells which image a readout belongs to.

    Parameters
    ----------
    what
        What tells images with the same counters apart; empty if nothing needs to.
    number
        Function that returns this number for a readout.
    """

    what: str = ""
    number: Callable[[Any], int] = field(default=lambda line: 0)

    def of(self, line: Any) -> ImageKey:
        """Return the numbers that identify a readout's image."""
        return (*_counters(line), self.number(line))

    def names(self, images: Sequence[ImageKey]) -> tuple[str, ...]:
        """Return names that tell the images apart; none for a single image."""
        labels = (*COUNTERS, self.what)
        varying = [i for i in range(len(labels)) if len({image[i] for image in images}) > 1]
        if not varying:
            return ()
        return tuple(", ".join(f"{labels[i]} {image[i]}" for i in varying) for image in images)


def images_of(
    imaging: Sequence[Any], calibration: Sequence[Any], header: Any, encoding: Any, name: str
) -> Images:
    """Return the rule that tells the images of a Cartesian scan apart.

    Parameters
    ----------
    imaging, calibration
        Readouts, ``ismrmrd.Acquisition``, in the order of measurement.
    header, encoding
        The ISMRMRD header and the encoding of the readouts.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If points are repeated with the same counters, and nothing tells the images apart.
    """
    depths = _depths(imaging)
    if max(depths.values()) == 0:
        return Images()
    for label, value in _candidates(imaging):
        if _tells_apart(imaging, value):
            return _by_value(imaging, label, value, header, encoding, name)
    counts = _times_measured(imaging, depths)
    if len(counts) > 1:
        raise DataError(
            f"{name}: some points of k-space occur {max(counts)} times with the same counters, "
            f"others {min(counts)} times, and nothing tells which belong together; number the "
            "readouts in the file by average, if they are to be averaged, or else by repetition, "
            "contrast, phase or set, or remove the unwanted ones"
        )
    (count,) = counts
    what = _what_header_states(count, imaging, header, encoding)
    if what == "average":
        return Images()
    way_out = "" if what else _IF_AVERAGES
    _say(count, what or "measurement", f"the order of measurement{way_out}", name)
    order = depths | _depths(calibration)
    return Images(what or "measurement", lambda line: order.get(id(line), 0))


def _counters(line: Any) -> ImageKey:
    return tuple(int(getattr(line.idx, counter)) for counter in COUNTERS)


def _point(line: Any) -> tuple[Hashable, ...]:
    """Return where and with which counters a readout was taken."""
    idx = line.idx
    steps = idx.kspace_encode_step_2, idx.kspace_encode_step_1
    return (*_counters(line), int(idx.average), int(idx.slice), *map(int, steps))


def span_of(line: Any) -> Span:
    """Return the columns that a readout covers, relative to the centre."""
    start = line.discard_pre - line.center_sample
    stop = line.number_of_samples - line.discard_post - line.center_sample
    return (1 - stop, 1 - start) if line.flags >> (_REVERSE - 1) & 1 else (start, stop)


def _depths(lines: Iterable[Any], value: Callable[[Any], Any] = lambda line: 0) -> dict[int, int]:
    """Return for every readout, by ``id``, how often its points occurred before it."""
    layers: dict[Hashable, list[list[Span]]] = defaultdict(list)
    found = {}
    for line in lines:
        mine, (start, stop) = layers[_point(line), value(line)], span_of(line)
        # A readout may be stored in pieces, which are not repetitions of each other.
        free = (i for i, spans in enumerate(mine) if all(stop <= a or start >= b for a, b in spans))
        depth = next(free, len(mine))
        if depth == len(mine):
            mine.append([])
        mine[depth].append((start, stop))
        found[id(line)] = depth
    return found


def _candidates(lines: Sequence[Any]) -> Iterable[tuple[str, Callable[[Any], Any]]]:
    """Yield the counters that vary, one by one, then all of them together."""
    varying = [what for what in _OTHERS if len({_other(line, what) for line in lines}) > 1]
    for what in varying:
        yield what, partial(_other, what=what)
    if len(varying) > 1:
        yield "measurement", lambda line: tuple(_other(line, what) for what in varying)


def _other(line: Any, what: str) -> int:
    return int(line.idx.segment if what == "segment" else line.idx.user[int(what[4:])])


def _tells_apart(lines: Sequence[Any], value: Callable[[Any], Any]) -> bool:
    """Return whether no point is repeated with the same value, and each value has a whole image."""
    if max(_depths(lines, value).values()) > 0:
        return False
    sizes: dict[Any, int] = defaultdict(int)
    for line in lines:
        sizes[value(line)] += 1
    return min(sizes.values()) >= _WHOLE * max(sizes.values())


def _by_value(
    lines: Sequence[Any],
    what: str,
    value: Callable[[Any], Any],
    header: Any,
    encoding: Any,
    name: str,
) -> Images:
    ranks = {one: rank for rank, one in enumerate(sorted({value(line) for line in lines}))}
    stated = _what_header_states(len(ranks), lines, header, encoding)
    if stated == "average":
        return Images()
    _say(len(ranks), stated or what, f"the counter {what}", name)
    if stated is None and what != "measurement":
        return Images(what, value)
    # A calibration readout may have a value that no image has.
    return Images(stated or what, lambda line: ranks.get(value(line), 0))


def _times_measured(lines: Sequence[Any], depths: Mapping[int, int]) -> set[int]:
    """Return how often points were measured; a single number if all equally often."""
    most: dict[Hashable, int] = defaultdict(int)
    for line in lines:
        point = _point(line)
        most[point] = max(most[point], depths[id(line)] + 1)
    return set(most.values())


def _what_header_states(count: int, lines: Sequence[Any], header: Any, encoding: Any) -> str | None:
    """Return what the header states this number of, though no readout counts it."""
    times = [time for time in getattr(header.sequenceParameters, "TE", None) or [] if time > 0]
    stated = {"contrast": len(times)}
    for counter in ("average", *COUNTERS):
        limit = getattr(encoding.encodingLimits, counter, None)
        if limit is not None:
            stated[counter] = max(stated.get(counter, 0), limit.maximum + 1)
    return next(
        (
            counter
            for counter, number in stated.items()
            if number == count and len({getattr(line.idx, counter) for line in lines}) == 1
        ),
        None,
    )


def _say(count: int, what: str, by: str, name: str) -> None:
    _log.warning(
        "%s: points of k-space occur %d times with the same counters; they are read as %d images "
        "(%s), told apart by %s",
        name,
        count,
        count,
        what,
        by,
    )
