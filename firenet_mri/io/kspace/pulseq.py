"""Scans measured with a Pulseq sequence, whose .seq file describes their readouts.

Such scans come from an interpreter that plays a .seq file. Their headers describe nothing, the
sequence's labels, if any, set the counters, and no flag of echo trains marks backward readouts. The
.seq file gives the k-space point of every sample, in 1/m along the gradient axes. The field of view
in its definitions converts these points to cycles per field of view. Then

- straight readouts along one axis, at multiples of one cycle along the others, are Cartesian: these
  multiples are the phase-encoding counters;
- Cartesian readouts of one image in both directions, or with uneven samples, are echo trains, which
  :mod:`firenet_mri.io.kspace.echo_planar` grids and corrects;
- all others are a scan along a trajectory.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.geometry import ImageGrid
from firenet_mri.io.kspace.ismrmrd_writer import encoding_space
from firenet_mri.io.kspace.pulseq_readouts import smallest_size
from firenet_mri.io.kspace.pulseq_sequence import PulseqSequence
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

_NOISE, _CALIBRATION, _CALIBRATION_AND_IMAGING, _REVERSE, _PHASE_CORRECTION = 19, 20, 21, 22, 24
_COUNTERS = {
    "SLC": "slice",
    "SEG": "segment",
    "REP": "repetition",
    "AVG": "average",
    "SET": "set",
    "ECO": "contrast",
    "PHS": "phase",
    "LIN": "kspace_encode_step_1",
    "PAR": "kspace_encode_step_2",
}
_FLAGS = ("REF", "IMA", "NAV", "NOISE")
# In cycles per field of view: largest spread of a single point, smallest extent of a motion.
_SAME, _MOVES = 0.1, 0.5
# Smallest cosine of the angle between readouts of echo trains; radii are further apart.
_PARALLEL = 0.98
_DECIMALS = 5
# Largest deviation, in samples, of evenly spaced ones.
_EVEN = 0.05
# Below this sample spacing, in cycles per field of view, echo trains keep twice the field of view.
_OVERSAMPLED = 0.7


def with_sequence(
    header: Any, acquisitions: Sequence[Any], sequence: PulseqSequence, name: str
) -> tuple[Any, list[Any]]:
    """Return header and readouts completed by the points, directions and labels of a .seq file.

    Parameters
    ----------
    header, acquisitions
        As in the scan's file; they are not changed.
    sequence
        The sequence that was played.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If the sequence does not match because number or lengths of readouts differ, if it excites
        several slices at once, or if its points do not form a two- or three-dimensional scan.
    """
    sequence, lines, noise = _matched(acquisitions, sequence, name)
    if sequence.flag("SMS").any():
        raise DataError(
            f"{name}: {sequence.name} excites several slices at once (SMS); separate the slices "
            "first"
        )
    lines = [_labelled(line, sequence, i) for i, line in enumerate(lines)]
    is_image = np.array([not _has(line, _NOISE, _PHASE_CORRECTION) for line in lines])
    if not is_image.any():
        raise DataError(f"{name}: no readout of {sequence.name} belongs to an image")
    readouts = _Readouts(lines, *_in_cycles(sequence, name), is_image)
    axes = _moving_axes(readouts)
    if not axes:
        raise DataError(
            f"{name}: {sequence.name} measures a single point of k-space, from which no image can "
            "be made; give a scan with several points"
        )
    grid = _straight(readouts)
    if grid is None:
        _check_is_no_train(readouts, f"{name}: {sequence.name}")
        encoding = _along_trajectory(readouts, axes)
    elif len(grid.points) and axes == [grid.axis]:
        raise DataError(
            f"{name}: {sequence.name} has no phase encoding and thus no image; give it as "
            "--phase-correction to the scan that has phase encoding"
        )
    else:
        encoding = _on_grid(readouts, grid)
    header = copy.deepcopy(header)
    header.encoding = [encoding]
    _say(encoding, sequence, name)
    return header, noise + lines


def marked(acquisitions: Sequence[Any], sequence: PulseqSequence, name: str) -> list[Any]:
    """Return the readouts of a scan without phase encoding, marked as phase correction.

    Parameters
    ----------
    acquisitions, name
        The scan, and its name in messages.
    sequence
        The sequence of the scan with phase encoding; directions and points along the readout are
        the same in both scans.

    Raises
    ------
    DataError
        If number or lengths of its readouts differ from the sequence's.
    """
    sequence, lines, _ = _matched(acquisitions, sequence, name)
    lines = [_labelled(line, sequence, i) for i, line in enumerate(lines)]
    is_image = np.array([not _has(line, _NOISE) for line in lines])
    readouts = _Readouts(lines, *_in_cycles(sequence, name), is_image)
    grid = _straight(readouts)
    if grid is None:
        raise DataError(
            f"{name}: {sequence.name} has no echo trains, the only readouts that are corrected"
        )
    _on_grid(readouts, grid)
    return lines


class _Readouts(NamedTuple):
    """Readouts, their points in cycles per field of view, its extent, and which are imaging."""

    lines: list[Any]
    points: list[NDArray[np.float64]]
    extent_mm: tuple[float, float, float]
    is_image: NDArray[np.bool_]

    @property
    def imaging(self) -> list[NDArray[np.float64]]:
        """Points of the imaging readouts."""
        return [one for one, is_image in zip(self.points, self.is_image, strict=True) if is_image]


class _Grid(NamedTuple):
    """Cartesian readouts: their axis, their points on it, and the steps on the two other axes."""

    axis: int
    points: list[NDArray[np.float64]]
    others: tuple[int, int]
    steps: NDArray[np.int64]


def _matched(
    acquisitions: Sequence[Any], sequence: PulseqSequence, name: str
) -> tuple[PulseqSequence, list[Any], list[Any]]:
    """Return the sequence with the played readouts, copies of these, and separate noise."""
    noise = [one for one in acquisitions if _has(one, _NOISE)]
    lines = [one for one in acquisitions if not _has(one, _NOISE)]
    is_noise = sequence.flag("NOISE")
    if len(lines) == int((~is_noise).sum()):
        sequence = sequence.only(~is_noise)
    if len(lines) != len(sequence.points):
        raise DataError(
            f"{name}: has {counted(len(lines), 'readout')}, but {sequence.name} has "
            f"{len(sequence.points)}; give the sequence that was played"
        )
    for number, (line, size) in enumerate(zip(lines, sequence.sizes, strict=True)):
        if line.number_of_samples != size:
            raise DataError(
                f"{name}: readout {number} has {counted(line.number_of_samples, 'sample')}, but in "
                f"{sequence.name} it has {size}; give the sequence that was played"
            )
    return sequence, [copy.deepcopy(line) for line in lines], noise


def _has(line: Any, *flags: int) -> bool:
    return any(line.flags >> (flag - 1) & 1 for flag in flags)


def _labelled(line: Any, sequence: PulseqSequence, number: int) -> Any:
    """Return a readout with the counters and flags of its labels, and without a position."""
    for label, counter in _COUNTERS.items():
        if label in sequence.labels:
            setattr(line.idx, counter, int(sequence.labels[label][number]))
    is_set = {label: bool(sequence.flag(label)[number]) for label in _FLAGS}
    if is_set["REF"]:
        line.set_flag(_CALIBRATION_AND_IMAGING if is_set["IMA"] else _CALIBRATION)
    if is_set["NAV"]:
        line.set_flag(_PHASE_CORRECTION)
    if is_set["NOISE"]:
        line.set_flag(_NOISE)
    line.clear_flag(_REVERSE)
    line.encoding_space_ref = 0
    line.position[:] = line.read_dir[:] = line.phase_dir[:] = line.slice_dir[:] = (0.0, 0.0, 0.0)
    line.discard_pre = line.discard_post = 0
    return line


def _in_cycles(
    sequence: PulseqSequence, name: str
) -> tuple[list[NDArray[np.float64]], tuple[float, float, float]]:
    """Return the points in cycles per field of view, and the field of view in mm."""
    extent = sequence.field_of_view_m
    if extent is None:
        raise DataError(
            f"{name}: {sequence.name} does not define FOV, which gives the grid of its points; add "
            "[DEFINITIONS] FOV x y z in m"
        )
    # A sequence of one slice may define no field of view along z.
    scale = np.array(extent) if extent[2] > 0 else np.array([*extent[:2], 0.0])
    return [one * scale for one in sequence.points], (
        1e3 * extent[0],
        1e3 * extent[1],
        1e3 * extent[2],
    )


def _moving_axes(readouts: _Readouts) -> list[int]:
    """Return the axes along which the imaging readouts extend over several points."""
    every = np.concatenate(readouts.imaging)
    return [axis for axis in range(3) if np.ptp(every[:, axis]) > _MOVES]


def _straight(readouts: _Readouts) -> _Grid | None:
    """Return the grid of straight readouts along one axis; None if there is none."""
    imaging = readouts.imaging
    axis = int(np.argmax(np.mean([np.ptp(one, axis=0) for one in imaging], axis=0)))
    others = [other for other in range(3) if other != axis]
    means = np.array([one.mean(0)[others] for one in readouts.points])
    spread = np.array([np.ptp(one, axis=0)[others].max() for one in readouts.points])
    of_image = means[readouts.is_image]
    # The points may be off by half a cycle, for example, and the slice axis has its own constant.
    offset = _common_offset(of_image)
    steps = np.round(means - offset)
    is_near = np.abs(means - offset - steps).max(1) < _SAME
    along = [one[:, axis] for one in readouts.points]
    is_monotonic = all(
        len(one) > 1 and abs(np.sign(np.diff(one)).sum()) == len(one) - 1 for one in along
    )
    is_on_grid = bool((is_near & (spread < _SAME))[readouts.is_image].all())
    if not (is_monotonic and is_on_grid) or len({len(one) for one in along}) > 1:
        return None
    return _Grid(axis, along, (others[0], others[1]), steps.astype(np.int64))


def _common_offset(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the common fractional part of (points, ...), from -1/4 to 3/4: 1/2 stays positive."""
    rest = points - points[0]
    found: NDArray[np.float64] = points[0] - np.floor(points[0] + 0.25)
    return found + np.median(rest - np.round(rest), axis=0)


def _on_grid(readouts: _Readouts, grid: _Grid) -> Any:
    """Return the encoding of Cartesian readouts, and set the counters and directions of these."""
    from ismrmrd import xsd

    steps = grid.steps[readouts.is_image]
    firsts, lasts = steps.min(0), steps.max(0)
    is_flat = firsts == lasts
    # Counters begin at 0, and not after the centre.
    firsts = np.where(is_flat, firsts, np.minimum(firsts, 0))
    sizes = [
        1 if flat else smallest_size(int(a), int(b))
        for a, b, flat in zip(firsts, lasts, is_flat, strict=True)
    ]
    centres = np.where(is_flat, 0, -firsts)
    # If only one axis is phase-encoded, it is the axis of lines.
    order = [1, 0] if sizes[0] == 1 and sizes[1] > 1 else [0, 1]
    for line, step in zip(readouts.lines, np.clip(grid.steps, firsts, lasts) - firsts, strict=True):
        line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2 = map(int, step[order])
    factor, columns, is_epi = _along_readout(readouts, grid)
    extent = readouts.extent_mm
    (line_axis, slice_axis) = (grid.others[i] for i in order)
    (rows, row), (partitions, partition) = ((sizes[i], int(centres[i])) for i in order)
    thickness = extent[slice_axis] / (1 if partitions > 1 else _slices(readouts))
    shown = (thickness, extent[line_axis], extent[grid.axis])
    encoded = (thickness, extent[line_axis], extent[grid.axis] * factor)
    return xsd.encodingType(
        encodedSpace=encoding_space(ImageGrid((partitions, rows, columns), encoded)),
        reconSpace=encoding_space(
            ImageGrid((partitions, rows, max(1, round(columns / factor))), shown)
        ),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=_limit(rows, row),
            kspace_encoding_step_2=_limit(partitions, partition),
        ),
        trajectory=xsd.trajectoryType("epi" if is_epi else "cartesian"),
    )


def _limit(size: int, centre: int) -> Any:
    from ismrmrd import xsd

    return xsd.limitType(minimum=0, maximum=size - 1, center=centre)


def _slices(readouts: _Readouts) -> int:
    return len({line.idx.slice for line in readouts.lines})


def _along_readout(readouts: _Readouts, grid: _Grid) -> tuple[float, int, bool]:
    """Return how many fields of view are kept, the columns, and whether these are echo trains.

    Readouts get their direction and centre, and echo trains also the places of their samples.
    """
    chosen = zip(grid.points, readouts.is_image, strict=True)
    steps = np.concatenate([np.diff(points) for points, is_image in chosen if is_image])
    gaps = np.abs(steps)
    # Rounding of the gradients must not change the field of view.
    gap = round(float(np.median(gaps)), _DECIMALS)
    starts = np.array([points[0] for points in grid.points]) / gap
    offset = float(_common_offset(starts[readouts.is_image]))
    first = np.round(starts - offset)
    backward = np.array([points[-1] < points[0] for points in grid.points])
    centres = np.where(backward, first, -first).astype(int)
    size = len(grid.points[0])
    is_even = bool(np.abs(gaps / gap - 1).max() * size < _EVEN) and bool(
        np.abs(starts - offset - first)[readouts.is_image].max() < _EVEN
    )
    is_inside = bool(((centres >= 0) & (centres < size)).all())
    for line, is_backward in zip(readouts.lines, backward, strict=True):
        if is_backward:
            line.set_flag(_REVERSE)
    if is_even and is_inside and not _has_both_directions(readouts, backward):
        for line, centre in zip(readouts.lines, centres, strict=True):
            line.center_sample = int(centre)
        ends = [
            (-c, size - 1 - c) if not b else (c - size + 1, c)
            for c, b in zip(centres, backward, strict=True)
        ]
        columns = max(smallest_size(int(low), int(high)) for low, high in ends)
        return 1 / gap, columns, False
    factor = 2.0 if gaps.max() < _OVERSAMPLED else 1.0
    reach = max(float(np.abs(points).max()) for points in grid.points) * factor
    for line, points in zip(readouts.lines, grid.points, strict=True):
        line.resize(line.number_of_samples, line.active_channels, 1)
        line.traj[:, 0] = points * factor
    return factor, 2 * int(np.ceil(reach - _SAME)), True


def _has_both_directions(readouts: _Readouts, backward: NDArray[np.bool_]) -> bool:
    """Return whether an image has readouts in both directions."""
    found: dict[tuple[int, ...], set[bool]] = {}
    for line, is_backward, is_image in zip(
        readouts.lines, backward, readouts.is_image, strict=True
    ):
        idx = line.idx
        key = (idx.slice, idx.contrast, idx.repetition, idx.phase, idx.set)
        if is_image:
            found.setdefault(key, set()).add(bool(is_backward))
    return any(len(directions) > 1 for directions in found.values())


def _check_is_no_train(readouts: _Readouts, name: str) -> None:
    """Refuse echo trains that are rotated, or whose lines lie between those of the grid."""
    ways = np.array([one[-1] - one[0] for one in readouts.imaging])
    lengths = np.linalg.norm(ways, axis=1)
    cosines = (ways @ ways[0]) / np.maximum(lengths * lengths[0], 1e-300)
    if len(ways) > 1 and (np.abs(cosines) > _PARALLEL).all() and (cosines < 0).any():
        raise DataError(
            f"{name} has echo trains whose points are not on a grid of its field of view, so that "
            "they cannot be corrected; measure them along the gradients' axes, on multiples of 1 / "
            "FOV"
        )


def _along_trajectory(readouts: _Readouts, axes: list[int]) -> Any:
    """Return the encoding of readouts that contain their k-space points."""
    from ismrmrd import xsd

    # An image needs at least two axes; a second one is added in the plane.
    axes = axes if len(axes) > 1 else sorted({*axes, 1 if axes == [0] else 0})
    every = np.concatenate(readouts.imaging)[:, axes]
    sizes = [2 * max(1, int(np.ceil(reach - _SAME))) for reach in np.abs(every).max(0)]
    extents = [readouts.extent_mm[axis] for axis in axes]
    if len(axes) == 2:
        (rest,) = {0, 1, 2} - set(axes)
        sizes, extents = [*sizes, 1], [*extents, readouts.extent_mm[rest] / _slices(readouts)]
    (nx, ny, nz), (x, y, z) = sizes, extents
    for line, points in zip(readouts.lines, readouts.points, strict=True):
        line.resize(line.number_of_samples, line.active_channels, len(axes))
        line.traj[:] = points[:, axes]
    space = encoding_space(ImageGrid((nz, ny, nx), (z, y, x)))
    return xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(),
        trajectory=xsd.trajectoryType("other"),
    )


def _say(encoding: Any, sequence: PulseqSequence, name: str) -> None:
    size, extent = encoding.encodedSpace.matrixSize, encoding.encodedSpace.fieldOfView_mm
    kind = {"epi": "echo trains", "cartesian": "Cartesian readouts"}
    trajectory = getattr(encoding.trajectory, "value", encoding.trajectory)
    labels = ", ".join(sorted(sequence.labels)) or "none"
    _log.warning(
        "%s: %s gives %s of %d x %d x %d, %.4g x %.4g x %.4g mm, labels: %s; its position in the "
        "scanner is not known",
        name,
        sequence.name,
        kind.get(str(trajectory), "a trajectory"),
        size.x,
        size.y,
        size.z,
        extent.x,
        extent.y,
        extent.z,
        labels,
    )
