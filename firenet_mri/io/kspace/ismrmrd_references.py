"""Reference lines of parallel imaging: part of the image, or measured separately for the maps.

The header's ``calibrationMode`` states which. Without it, lines count as measured separately if
their encoding, samples, dwell time or counters differ from those of the image, or if they repeat
one of its points. Such lines have another time or contrast and would be wrong data in the image.
"""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from firenet_mri.io.kspace.ismrmrd_images import Images
from firenet_mri.plurals import by_number, counted

_log = logging.getLogger(__name__)

_SEPARATE = ("separate", "external")
_IN_PLACE = ("embedded", "interleaved")
_NOISE, _CALIBRATION = 19, 20
# Dwell times that differ by less count as equal.
_SAME_DWELL = 1e-3


class References(NamedTuple):
    """Calibration readouts by their purpose.

    Parameters
    ----------
    in_place
        Readouts that fill points of the image that no imaging readout covers.
    apart
        Readouts that are used only for the maps, all of one encoding.
    """

    in_place: list[Any]
    apart: list[Any]


def sorted_references(
    calibration: Sequence[Any],
    imaging: Sequence[Any],
    images: Images,
    encoding: Any,
    name: str,
) -> References:
    """Return which calibration readouts fill the image and which are used only for the maps.

    Parameters
    ----------
    calibration, imaging
        Readouts, ``ismrmrd.Acquisition``.
    images
        The rule that tells which image a readout belongs to.
    encoding
        The encoding of the imaging readouts.
    name
        Name of the scan in messages.
    """
    reference = imaging[0].encoding_space_ref
    own = [line for line in calibration if line.encoding_space_ref == reference]
    others = [line for line in calibration if line.encoding_space_ref != reference]
    if not own:
        apart = _of_first_encoding(others)
        if apart:
            _log.warning(
                "%s: %s of encoding %d %s used only for the sensitivity maps",
                name,
                counted(len(apart), "calibration readout"),
                apart[0].encoding_space_ref,
                by_number(len(apart), "is", "are"),
            )
        return References([], apart)
    mode = getattr(encoding.parallelImaging, "calibrationMode", None)
    mode = getattr(mode, "value", mode)
    known = {*map(images.of, imaging)}
    why = f"the header says {mode}"
    is_apart = mode in _SEPARATE
    if mode not in (*_SEPARATE, *_IN_PLACE):
        difference = _difference(own, imaging, images)
        is_apart, why = difference is not None, f"the header does not say, but {difference}"
    if is_apart:
        _log.warning(
            "%s: %s %s measured separately (%s) and used only for the maps, not for the image",
            name,
            counted(len(own), "calibration readout"),
            by_number(len(own), "was", "were"),
            why,
        )
        return References([], own)
    taken = {_row(line, images) for line in imaging}
    return References(
        [line for line in own if _row(line, images) not in taken and images.of(line) in known], []
    )


def as_imaging(acquisitions: Iterable[Any], encoding: int | None = None) -> list[Any]:
    """Return the imaging readouts of a reference scan, or of one of its encodings.

    If there are only calibration readouts, these count as imaging ones.
    """
    lines = [
        line
        for line in acquisitions
        if not line.flags >> (_NOISE - 1) & 1 and encoding in (None, line.encoding_space_ref)
    ]
    if any(not line.flags >> (_CALIBRATION - 1) & 1 for line in lines):
        return lines
    found = []
    for line in lines:
        alone = copy.deepcopy(line)
        alone.clearFlag(_CALIBRATION)
        found.append(alone)
    return found


def _of_first_encoding(lines: Sequence[Any]) -> list[Any]:
    first = min((line.encoding_space_ref for line in lines), default=None)
    return [line for line in lines if line.encoding_space_ref == first]


def _difference(calibration: Sequence[Any], imaging: Sequence[Any], images: Images) -> str | None:
    """Return how calibration readouts differ from those of the image; None if they do not."""
    taken = {_row(line, images) for line in imaging}
    known = {*map(images.of, imaging)}
    samples = {(line.number_of_samples, line.center_sample) for line in imaging}
    dwells = np.array([line.sample_time_us for line in imaging])
    coils = {line.active_channels for line in imaging}
    if any(line.active_channels not in coils for line in calibration):
        return "their coils differ"
    if any(images.of(line) not in known for line in calibration):
        return "their counters match no image"
    if any((line.number_of_samples, line.center_sample) not in samples for line in calibration):
        return "the number or centre of their samples differs"
    if any(
        np.abs(dwells - line.sample_time_us).min() > _SAME_DWELL * dwells.max()
        for line in calibration
    ):
        return "their dwell time differs"
    if any(_row(line, images) in taken for line in calibration):
        return "they repeat points of the image"
    return None


def _row(line: Any, images: Images) -> tuple[int, ...]:
    steps = line.idx.kspace_encode_step_2, line.idx.kspace_encode_step_1
    return (*images.of(line), line.idx.slice, *steps)


def one_of_each(lines: Sequence[Any]) -> list[Any]:
    """Return the readouts of one separately measured image: maps do not depend on contrast.

    The image with the most readouts is taken, the first if there are several.
    """
    groups: dict[tuple[int, ...], list[Any]] = defaultdict(list)
    for line in lines:
        idx = line.idx
        groups[(idx.contrast, idx.set, idx.phase, idx.repetition)].append(line)
    most = max(len(group) for group in groups.values())
    return next(groups[key] for key in sorted(groups) if len(groups[key]) == most)
