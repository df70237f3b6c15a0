"""Chooses one of the images in DICOM files by series, echo and time.

The first of several images is never taken silently; an error lists the choices. Two series with the
two parts of one complex image count as one image.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.image.complex_image import PARTNERS, Component
from firenet_mri.io.image.dicom_files import POSITION_SLACK_MM
from firenet_mri.io.image.dicom_frames import Frame, frames_of, series_of
from firenet_mri.io.image.options import ImageReadOptions, names
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)
_LISTED = 12


@dataclass(frozen=True, eq=False)
class _Series:
    """A series: number and identifier from the files, and the files with their headers."""

    number: str
    uid: str
    images: tuple[tuple[Path, Any], ...]

    @functools.cached_property
    def frames(self) -> tuple[Frame, ...]:
        """Slices of the series; DataError if the files are not slices."""
        return tuple(frame for file, header in self.images for frame in frames_of(header, file))

    @property
    def parts(self) -> set[Component | None]:
        """Parts of its frames, except maps; empty if they are not slices."""
        try:
            return {frame.part for frame in self.frames if not frame.is_map}
        except DataError:
            return set()

    def __str__(self) -> str:
        try:
            rows, columns = self.frames[0].shape
        except DataError:
            return f"{counted(len(self.images), 'file')} without slices of an image"
        named: list[str] = [part or "no part named" for part in self.parts]
        named += ["map"] * any(frame.is_map for frame in self.frames)
        parts = ", ".join(sorted(named))
        echoes = "/".join(f"{echo:g}" for echo in _echoes(self.frames) if echo)
        size = f"{counted(len(self.frames), 'image')} of {columns} x {rows}"
        return f"{parts}, {size}" + (f", TE {echoes} ms" * bool(echoes))


def chosen_frames(
    images: Sequence[tuple[Path, Any]], options: ImageReadOptions, name: str
) -> list[Frame]:
    """Return the slices of the chosen image.

    Parameters
    ----------
    images
        Files with their headers.
    options
        Requested series, echo and repetition.
    name
        Name of the file or folder in messages.

    Raises
    ------
    DataError
        If there are several images, and the options do not choose one.
    UsageError
        If the chosen series, echo or repetition does not exist.
    """
    frames = _of_series(_series_of(images), options.series, name)
    maps = Counter(frame.kind for frame in frames if frame.is_map)
    frames = [frame for frame in frames if not frame.is_map]
    said = ", ".join(f"{counted(count, 'frame')} of {kind}" for kind, count in maps.items())
    if not frames:
        raise DataError(
            f"{name}: contains only {said}, which is not part of a complex image; give a series of "
            "images"
        )
    if maps:
        _log.warning("%s: skipped %s, which is not part of a complex image", name, said)
    frames = _of_echo(frames, options.echo, name)
    return _of_repetition(frames, options.repetition, name)


def _series_of(images: Sequence[tuple[Path, Any]]) -> list[_Series]:
    """Return the series of the files, in the order of their numbers."""
    found: dict[tuple[str, str], list[tuple[Path, Any]]] = defaultdict(list)
    for file, header in images:
        found[series_of(header, file)].append((file, header))
    keys = sorted(found, key=lambda key: (key[0].zfill(9), key[1]))
    return [_Series(*key, tuple(found[key])) for key in keys]


def _of_series(found: list[_Series], wanted: str | None, name: str) -> list[Frame]:
    if wanted is None:
        if len(found) > 1 and not _is_pair(found):
            raise DataError(
                f"{name}: holds {len(found)} series ({_listed(found)}); choose one, or the two "
                "parts of a complex image, with --series (series)"
            )
    else:
        found = [_one_series(found, one, name) for one in names(wanted)]
    return [frame for series in found for frame in series.frames]


def _one_series(found: list[_Series], wanted: str, name: str) -> _Series:
    fitting = [one for one in found if wanted in (one.number, one.uid)]
    if not fitting:
        raise UsageError(f"{name}: has no series {wanted}, only {_listed(found)}")
    if len(fitting) > 1:
        raise UsageError(
            f"{name}: {len(fitting)} series have the number {wanted}; choose one by its UID: "
            f"{_listed(fitting)}"
        )
    return fitting[0]


def _is_pair(found: list[_Series]) -> bool:
    """Return whether series are the two parts of one complex image."""
    if len(found) != 2 or any(len(one.parts) != 1 for one in found):
        return False
    first, second = (next(iter(one.parts)) for one in found)
    return (
        first is not None
        and PARTNERS[first] == second
        and _echoes(found[0].frames) == _echoes(found[1].frames)
    )


def _listed(found: list[_Series]) -> str:
    """Return a list of the series by number, and by identifier if numbers coincide."""
    more = len(found) - _LISTED
    numbers = Counter(one.number for one in found)
    lines = [f"{one.number or one.uid}: {one}" for one in found[:_LISTED]]
    for index, one in enumerate(found[:_LISTED]):
        if one.number and numbers[one.number] > 1:
            lines[index] = f"{one.number} ({one.uid}): {one}"
    return "; ".join(lines) + (f"; {more} more" if more > 0 else "")


def _echoes(frames: Sequence[Frame]) -> list[float]:
    return sorted({round(frame.echo, 3) for frame in frames})


def _of_echo(frames: list[Frame], wanted: int | None, name: str) -> list[Frame]:
    echoes = _echoes(frames)
    listed = ", ".join(f"{index} ({echo:g} ms)" for index, echo in enumerate(echoes))
    if wanted is None:
        if len(echoes) > 1:
            raise DataError(
                f"{name}: holds {len(echoes)} echoes: {listed}; choose one with --echo (echo)"
            )
        return frames
    if wanted >= len(echoes):
        raise UsageError(f"{name}: has no echo {wanted}, only {listed}")
    return [frame for frame in frames if round(frame.echo, 3) == echoes[wanted]]


def _of_repetition(frames: list[Frame], wanted: int | None, name: str) -> list[Frame]:
    """Return one frame for each part and position."""
    by_part: dict[Component | None, dict[tuple[int, ...], list[Frame]]] = {}
    for frame in frames:
        places = by_part.setdefault(frame.part, defaultdict(list))
        places[_place(frame)].append(frame)
    counts = {len(found) for places in by_part.values() for found in places.values()}
    if counts == {1} and not wanted:
        return frames
    if len(counts) > 1:
        raise DataError(
            f"{name}: {min(counts)} to {max(counts)} images have the same position, so some are "
            "missing, or images of several kinds are mixed; give the files of one image"
        )
    (count,) = counts
    if wanted is None:
        parts = " and ".join(str(part or "image") for part in by_part)
        raise DataError(
            f"{name}: several {parts} frames have the same position, {count} each (repetitions, "
            "phases or diffusion weightings); choose with --repetition (repetition) 0 to "
            f"{count - 1}"
        )
    if wanted >= count:
        raise UsageError(f"{name}: has no repetition {wanted}, only 0 to {count - 1}")
    return [
        sorted(found, key=lambda frame: frame.order)[wanted]
        for places in by_part.values()
        for found in places.values()
    ]


def _place(frame: Frame) -> tuple[int, ...]:
    """Return a key of position and direction, rounded so that equal ones agree."""
    position = np.rint(frame.position / (2 * POSITION_SLACK_MM))
    directions = np.rint(np.ravel(frame.orientation) * 100)
    return tuple(int(value) for value in (*position, *directions))
