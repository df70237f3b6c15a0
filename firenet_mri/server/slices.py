"""Groups the readouts of a stream into complete images, which need not wait for the whole scan.

An image that is sent early must equal the image from the whole scan. A slice or a repetition
therefore counts as complete only if no later readout could change it. A readout that arrives
nevertheless is refused by name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from firenet_mri.errors import DataError


def _bits(*flags: int) -> int:
    """Return the bits of flags, which the standard numbers from 1."""
    return sum(1 << (flag - 1) for flag in flags)


_NOISE, _CALIBRATION = _bits(19), _bits(20)
# Navigators, phase correction, dummies and the like.
_OTHERS = _bits(23, 24, 26, 27, 28, 29, 30, 31)
_LAST_IN_SLICE, _LAST_IN_REPETITION, _LAST_IN_MEASUREMENT = _bits(8), _bits(14), _bits(25)

# Counters that may have several values within one slice.
_WITHIN_A_SLICE = ("average", "contrast", "phase", "set")


def is_image_data(line: Any) -> bool:
    """Return whether a readout belongs to an image and is not noise, reference or navigator."""
    return not line.flags & (_NOISE | _CALIBRATION | _OTHERS)


def sends_slices(header: Any) -> bool:
    """Return whether the end of a slice ends its data: a 2D scan without averages or contrasts.

    If a slice has several averages or contrasts, its flag may be set at the end of each. The same
    holds if the header does not state their number.
    """
    if any((encoding.encodedSpace.matrixSize.z or 1) > 1 for encoding in header.encoding):
        return False
    return all(_has_one(header, counter) for counter in _WITHIN_A_SLICE)


def _has_one(header: Any, counter: str) -> bool:
    """Return whether the header states that a counter has a single value in all encodings."""
    limits = [getattr(encoding.encodingLimits, counter, None) for encoding in header.encoding]
    return all(limit is not None and not limit.maximum for limit in limits)


class Groups:
    """Readouts of a stream, grouped into complete images.

    Parameters
    ----------
    header
        The ISMRMRD header.
    as_a_whole
        The images depend on each other, so that all wait for the end.
    """

    def __init__(self, header: Any, *, as_a_whole: bool = False) -> None:
        self._by_slice = not as_a_whole and sends_slices(header)
        self._as_a_whole = as_a_whole
        self._has_one_repetition = _has_one(header, "repetition")
        self._noise: list[Any] = []
        self._lines: dict[int, list[Any]] = {}
        #: The slices of every image that was returned.
        self._given: dict[tuple[int, ...], set[int]] = defaultdict(set)
        self._encodings: set[int] = set()
        self._has_references = False

    def of(self, connection: Iterable[Any]) -> Iterator[list[Any]]:
        """Yield groups of readouts, the noise readouts first.

        Raises
        ------
        DataError
            If there are none, if a readout comes after its image was made, or if
            an image lacks slices that others have.
        """
        import ismrmrd

        for item in connection:
            if item is None:
                break
            if isinstance(item, ismrmrd.Acquisition):
                self._take(item)
                found = self._complete(item)
                if found:
                    yield self._give(found)
        rest = self._left()
        if any(map(is_image_data, rest)) or (rest and not self._given):
            yield self._give(rest)
        self._check_all_given()

    def _take(self, item: Any) -> None:
        """Keep a readout, or refuse it."""
        if item.flags & _NOISE:
            if self._given:
                raise DataError(
                    "A noise measurement came after the first image, which was made without it; "
                    "send the noise first"
                )
            self._noise.append(item)
            return
        if not item.flags & _OTHERS:
            index = item.idx
            if index.slice in self._given.get(_image(item), ()):
                raise DataError(
                    f"Readouts of slice {index.slice}, repetition {index.repetition} (average "
                    f"{index.average}, segment {index.segment}) came after its image was made; "
                    "state the limits of averages and the like in the header, and count repetitions"
                )
            if self._given and is_image_data(item):
                self._check_encoding(item)
            self._has_references |= not is_image_data(item)
        self._lines.setdefault(item.idx.slice, []).append(item)

    def _check_encoding(self, item: Any) -> None:
        if item.encoding_space_ref not in self._encodings:
            raise DataError(
                f"Readouts of encoding {item.encoding_space_ref} came after images of encoding "
                f"{min(self._encodings)}; send one encoding each"
            )

    def _complete(self, item: Any) -> list[Any]:
        """Return what is complete with a readout."""
        if self._as_a_whole or not is_image_data(item):
            return []
        if item.flags & _LAST_IN_MEASUREMENT:
            return self._left()
        if self._has_references and not self._has_one_repetition:
            # Reference lines may be meant for the maps of all repetitions.
            return []
        if item.flags & _LAST_IN_REPETITION:
            return self._left()
        if self._by_slice and item.flags & _LAST_IN_SLICE:
            return self._lines[item.idx.slice]
        return []

    def _left(self) -> list[Any]:
        return [line for lines in self._lines.values() for line in lines]

    def _give(self, found: list[Any]) -> list[Any]:
        for line in filter(is_image_data, found):
            self._given[_image(line)].add(line.idx.slice)
            self._encodings.add(line.encoding_space_ref)
        slices = {line.idx.slice for line in found}
        self._lines = {one: lines for one, lines in self._lines.items() if one not in slices}
        return self._noise + found

    def _check_all_given(self) -> None:
        if not self._given:
            raise DataError("No readouts arrived; nothing was reconstructed")
        late = {line.idx.slice for line in self._left() if not line.flags & _OTHERS}
        if late:
            raise DataError(
                f"Reference lines of slices {sorted(late)} came after the images, which were made "
                "without them; send them first"
            )
        slices = set().union(*self._given.values())
        for image, found in self._given.items():
            if found != slices:
                raise DataError(
                    f"Slices {sorted(slices - found)} of repetition {image[0]}, contrast "
                    f"{image[1]} did not come; the scan was interrupted"
                )


def _image(line: Any) -> tuple[int, ...]:
    index = line.idx
    return index.repetition, index.contrast, index.phase, index.set
