"""Logs isolated missing samples, and refuses slices without any sample.

Undersampling is not reported: rows that are missing by a rule, or at random, were left out on
purpose. What is reported are single gaps in a regular pattern, and slices without rows that most
other slices have.
"""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.plurals import by_number

_log = logging.getLogger(__name__)

# Up to this share of missing rows, and one in any case, is a gap; more are a pattern.
_RARE = 0.05
# Fewer rows than this show no rule.
_FEWEST = 8
_LISTED = 6
# Number of edges of the centre, which may be sampled by another rule.
_EDGES = 2
# A line of which a smaller share was measured belongs to a pattern of points.
_WHOLE = 0.5
# Partial Fourier at a low resolution still measures more than this share of the matrix.
_LEAST = 0.35


def check_gaps(mask: NDArray[np.bool_], spatial_ndim: int, name: str) -> None:
    """Log samples that a mask lacks, judged by its own pattern or that of the other slices.

    Parameters
    ----------
    mask
        (..., 1, *spatial) bool; True where k-space of the Cartesian scan was measured.
    spatial_ndim
        2 or 3.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If a slice or an image has no sample at all.
    """
    slices = mask.reshape(-1, *mask.shape[-spatial_ndim:])
    empty = np.flatnonzero(~slices.any(axis=tuple(range(1, slices.ndim))))
    if len(empty):
        raise DataError(
            f"{name}: no sample of {by_number(len(empty), 'slice')} {_listed(empty)} of "
            f"{len(slices)} was measured, so part of the file is missing; copy it again, or choose "
            "the others (--slices)"
        )
    for axis, what in ((-1, "rows"), (-2, "columns")):
        lines = _lines(slices, axis)
        if lines is not None:
            _say_gaps(lines, what, name)
    # In a volume whole planes may be missing, too.
    if spatial_ndim == 3:
        _say_gaps(np.asarray(slices.any(axis=(-1, -2))), "partitions", name)
    _say_emptiness(np.asarray(slices.any(axis=0)), name)


def _say_emptiness(mask: NDArray[np.bool_], name: str) -> None:
    """Log if the measured part of k-space, (*spatial) bool, is far smaller than its matrix."""
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        extent, size = int(places[-1] - places[0]) + 1, mask.shape[axis]
        if extent < _LEAST * size:
            _log.warning(
                "%s: along axis %d of %s the measured samples cover %d of %d; the matrix in the "
                "header may be wrong",
                name,
                axis,
                "(z, y, x)" if mask.ndim == 3 else "(y, x)",
                extent,
                size,
            )


def _lines(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_] | None:
    """Return which lines along an axis were measured; None if some lines are mostly unmeasured."""
    counts = mask.sum(axis=axis)
    found = counts > 0
    is_whole = bool((counts[found] >= _WHOLE * mask.shape[axis]).all())
    return found if is_whole else None


def _say_gaps(lines: NDArray[np.bool_], what: str, name: str) -> None:
    """Log the missing lines of (slice, ..., line) bool."""
    for index, found in enumerate(lines):
        gaps = [_gaps(one) for one in found.reshape(-1, found.shape[-1])]
        missing = np.unique(np.concatenate(gaps))
        if len(missing):
            _say(name, index, len(lines), what, missing, "though their neighbours were")
    for index, missing in _lacking(lines.reshape(len(lines), -1)):
        places = np.unique(missing % lines.shape[-1])
        _say(name, index, len(lines), what, places, "though those of other slices were")


def _gaps(found: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows, of (row) bool, that are missing from a regular pattern: every n-th row.

    (row) bool.
    """
    places = np.flatnonzero(found)
    steps = np.diff(places)
    if len(places) < _FEWEST:
        return places[:0]
    counts = Counter(steps.tolist())
    # Every n-th row, and every one at the centre.
    rule = max((step for step, count in counts.items() if count > _few(len(steps))), default=1)
    odd = [i for i, step in enumerate(steps) if step > rule]
    # A step may be shorter where the rule meets the centre.
    between = sum(count for step, count in counts.items() if 1 < step < rule)
    if not 0 < len(odd) <= _few(len(steps)) or between > _EDGES:
        return places[:0]
    start = [np.arange(places[i] + rule, places[i + 1], rule) for i in odd]
    return np.concatenate(start).astype(np.intp)


def _lacking(rows: NDArray[np.bool_]) -> list[tuple[int, NDArray[np.intp]]]:
    """Return the slices that lack a few of the rows that most slices have, and those rows.

    (slice, row) bool.
    """
    if len(rows) < 2:
        return []
    usual = rows.mean(axis=0) > 0.5 if len(rows) > 2 else rows.any(axis=0)
    found = []
    for index, own in enumerate(rows):
        missing, more = np.flatnonzero(usual & ~own), int((own & ~usual).sum())
        few = _few(int(usual.sum()))
        # Slices with patterns of their own differ in many rows.
        if 0 < len(missing) <= few and more <= few:
            found.append((index, missing))
    return found


def _few(count: int) -> int:
    return max(1, int(_RARE * count))


def _say(
    name: str, index: int, slices: int, what: str, missing: NDArray[np.intp], why: str
) -> None:
    where = f"slice {index}: " if slices > 1 else ""
    _log.warning(
        "%s: %s%s %s were not measured, %s; readouts may be missing",
        name,
        where,
        what,
        _listed(missing),
        why,
    )


def _listed(numbers: NDArray[np.intp]) -> str:
    shown = ", ".join(map(str, numbers[:_LISTED]))
    return shown + (f" and {len(numbers) - _LISTED} more" if len(numbers) > _LISTED else "")
