"""The names of a scan's slices in messages, numbered as by ``--slices`` and ``--repetitions``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from firenet_mri.reconstruction.joint import counters_of, groups_along
from firenet_mri.scan import RawScan


def places_of(scan: RawScan, count: int | None = None, axis: str | None = None) -> list[str]:
    """Return the name of every item of a scan, such as "slice 3 of repetition 1".

    Slices count from 0, as ``--slices`` does, and have the numbers of the file, even if some were
    omitted.

    Parameters
    ----------
    scan
        The scan.
    count
        Number of items, if the scan was split into planes; None is one per slice.
    axis
        The axis whose images are frames of one item; None if there is none.
    """
    if axis is not None:
        return _places_of_frames(scan, axis)
    shape = scan.batch_shape
    items = int(np.prod(shape, dtype=int))
    if count is not None and count != items:
        return [f"plane {index} along the readout" for index in range(count)]
    if not scan.images:
        flat = slices_of(scan, items) if len(shape) == 1 else range(items)
        return [f"slice {number}" for number in flat]
    rest = items // len(scan.images)
    numbers = slices_of(scan, rest) if len(shape) == 2 else range(rest)
    if rest == 1 and scan.record.get("slices") is None:
        return list(scan.images)
    return [f"slice {number} of {image}" for image in scan.images for number in numbers]


def _places_of_frames(scan: RawScan, axis: str) -> list[str]:
    """Return the name of every item of frames, such as "slice 3, all of phase"."""
    counters = counters_of(scan)
    first = [counters[group[0]] for group in groups_along(scan, axis)]
    others = [n for n in first[0] if n != axis and len({one.get(n) for one in first}) > 1]
    return [
        ", ".join([*(f"{name} {one[name]}" for name in others), f"all of {axis}"]) for one in first
    ]


def slices_of(scan: RawScan, count: int) -> list[int]:
    """Return the numbers of the slices in the file, some of which may have been omitted."""
    record: Mapping[str, object] = scan.record
    chosen = record.get("slices")
    if isinstance(chosen, list | tuple) and len(set(chosen)) == count:
        return sorted(set(chosen))
    return list(range(count))
