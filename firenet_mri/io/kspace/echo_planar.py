"""Echo trains: turns their readouts into lines of k-space, by gridding and navigator lines.

The image along the readout is found by :mod:`firenet_mri.io.kspace.readout_gridding`, the phase a +
b x by which forward and backward readouts differ, by :mod:`firenet_mri.io.kspace.navigators`.

This difference comes from a delay, which is more than a shift if samples are unevenly spaced. At
the slope b the readouts are late by delta = -b N / (4 pi v) samples, where v is the spacing of
samples in the middle, in cycles per field of view. They are gridded at k(j + delta).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.navigators import (
    is_backward,
    looks_mirrored,
    navigators_of,
    phase_difference,
    products_of,
    straight_phase,
)
from firenet_mri.io.kspace.readout_gridding import readout_matrix, trapezoid_places
from firenet_mri.io.kspace.trajectory_units import in_cycles_per_fov

_log = logging.getLogger(__name__)

# Flags of noise, calibration, navigator and phase-correction readouts, dummies and the like.
_OTHERS = (19, 20, 23, 24, 26, 27, 28, 29, 30, 31)
# Largest difference in cycles per field of view between readout paths that count as the same.
_SAME_PATH = 0.05
# Share of the navigators' products that the straight phase explains; lines with phase encoding have
# about 0.65.
_CLEAR = 0.85

NAVIGATORS, SCAN_WITHOUT_PHASE_ENCODING = "navigator lines", "a scan without phase encoding"


@dataclass(frozen=True, eq=False)
class EchoTrains:
    """The gridding and phase correction that turn readouts of echo trains into lines of k-space.

    Parameters
    ----------
    readout
        Matrices from the samples to the image along the readout, of forward and backward readouts,
        (2, columns, samples) complex128.
    navigators
        Readouts without phase encoding, in the order of measurement; none if all readouts run in
        one direction.
    source
        What the navigators are, for messages and certificates.
    name
        Name of the scan in messages.
    """

    readout: NDArray[np.complex128]
    navigators: tuple[Any, ...]
    source: str
    name: str

    @property
    def samples(self) -> int:
        """Number of samples of a readout as stored."""
        return self.readout.shape[2]

    def takes(self, lines: Sequence[Any]) -> bool:
        """Return whether readouts have the same number of samples, and so are gridded alike."""
        return all(line.number_of_samples == self.samples for line in lines)

    @property
    def noise_factor(self) -> float:
        """Standard deviation of a gridded sample's noise, relative to that of a stored sample."""
        energy = float(np.sum(np.abs(self.readout[0]) ** 2))
        return (energy / self.readout.shape[1]) ** 0.5

    def phases(self, line: Any) -> NDArray[np.float64]:
        """Return phi for the image and slice of a readout, (coil, columns) in radians."""
        coils, columns = line.active_channels, self.readout.shape[1]
        if not self.navigators:
            return np.zeros((coils, columns))
        phases, explained = phase_difference(navigators_of(self.navigators, line), self.readout)
        if explained < _CLEAR:
            _log.warning(
                "%s: the phases of %s do not lie on a straight line (%.0f %% explained), as with "
                "noise or with phase-encoded lines; ghosts at half a field of view may remain",
                self.name,
                self.source,
                100 * explained,
            )
        return phases


def is_echo_planar(trajectory: str, lines: Sequence[Any], phase_correction: Sequence[Any]) -> bool:
    """Return whether readouts are echo trains, by the header or because both directions occur."""
    if trajectory == "epi":
        return True
    has_backward = any(is_backward(line) for line in lines)
    return trajectory == "cartesian" and bool(phase_correction) and has_backward


def without_phase_encoding(acquisitions: Iterable[Any]) -> list[Any]:
    """Return the readouts of a scan without phase encoding that can be used as navigator lines."""
    return [one for one in acquisitions if not any(one.flags >> (f - 1) & 1 for f in _OTHERS)]


def echo_trains(
    encoding: Any,
    imaging: Sequence[Any],
    navigators: Sequence[Any],
    source: str,
    columns: int,
    name: str,
) -> EchoTrains:
    """Return the gridding and phase correction of the readouts of echo trains.

    Parameters
    ----------
    encoding
        Their encoding; its trajectoryDescription may hold the times of a trapezoid, as Siemens'
        converter writes them.
    imaging, navigators
        Readouts, ``ismrmrd.Acquisition``.
    source
        Description of the navigators.
    columns
        Number of columns of the image that are kept of the encoded ones.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If readouts run both ways and there are no navigators, or they differ in samples or path.
    """
    directions = {is_backward(line) for line in imaging}
    if len(directions) > 1 and not navigators:
        raise DataError(
            f"{name}: is an echo-planar scan without navigator lines, and its image would ghost; "
            "give a scan of the same sequence without phase encoding with --phase-correction FILE "
            "(phase_correction_file= in Python)"
        )
    if len(directions) > 1 and len({is_backward(line) for line in navigators}) < 2:
        raise DataError(
            f"{name}: the navigator lines of echo trains all run in one direction, so the phase "
            "difference cannot be found; export all navigator lines"
        )
    _check_marks(imaging, encoding, name)
    lines = [*imaging, *navigators] if len(directions) > 1 else imaging
    shapes = {(line.active_channels, line.number_of_samples) for line in lines}
    if len(shapes) > 1:
        raise DataError(
            f"{name}: readouts of echo trains have {sorted(shapes)} channels and samples; all of "
            "them, including the navigators, must have the same numbers"
        )
    kept = tuple(navigators) if len(directions) > 1 else ()
    paths = {way: _path(encoding, lines, way, name) for way in directions}
    matrices = _matrices(paths, encoding, columns)
    delay = _delay(paths, kept, matrices, encoding)
    if delay:
        _log.info(
            "%s: according to %s, readouts are gridded %.2f samples later", name, source, delay
        )
        late = {way: path.delayed(delay) for way, path in paths.items()}
        matrices = _matrices(late, encoding, columns)
    return EchoTrains(matrices, kept, source, name)


def _check_marks(imaging: Sequence[Any], encoding: Any, name: str) -> None:
    """Refuse readouts whose directions were lost; log what is assumed where the file is silent."""
    if not any(line.trajectory_dimensions or is_backward(line) for line in imaging):
        if looks_mirrored(imaging):
            raise DataError(
                f"{name}: no readout of the echo-planar scan is marked as running backward, though "
                "every other one seems to; export the scan with these flags"
            )
        _log.warning(
            "%s: no readout of the echo-planar scan is marked as running backward; all readouts "
            "are assumed to run forward",
            name,
        )
    is_described = encoding.trajectoryDescription is not None
    if not is_described and not any(line.trajectory_dimensions for line in imaging):
        _log.warning(
            "%s: the header does not say whether the echo-planar readouts were sampled on ramps; "
            "the samples are assumed to be evenly spaced",
            name,
        )


@dataclass(frozen=True, eq=False)
class _Path:
    """k-space points of a readout in cycles per encoded field of view, and which are kept."""

    places: NDArray[np.float64]
    kept: slice

    @property
    def step(self) -> float:
        """Spacing of samples in the middle, in cycles per field of view."""
        middle = len(self.places) // 2
        return float(abs(self.places[middle] - self.places[middle - 1]))

    @property
    def is_even(self) -> bool:
        """Whether all samples are evenly spaced."""
        steps = np.diff(self.places[self.kept])
        return bool(np.abs(steps - steps.mean()).sum() < _SAME_PATH)

    def delayed(self, delay: float) -> _Path:
        """Return the path at sample numbers plus ``delay``, extended linearly beyond its ends."""
        count = len(self.places)
        ends = 2 * self.places[[0, -1]] - self.places[[1, -2]]
        known = np.concatenate([ends[:1], self.places, ends[1:]])
        places = np.interp(np.arange(count) + delay, np.arange(-1, count + 1), known)
        return _Path(places, self.kept)


def _path(encoding: Any, lines: Sequence[Any], is_turned: bool, name: str) -> _Path:
    """Return the path that all readouts of one direction share."""
    lines = [line for line in lines if is_backward(line) == is_turned]
    paths: dict[tuple[Any, ...], NDArray[np.float64]] = {}
    for line in lines:
        key = _path_key(line)
        if key not in paths:
            paths[key] = _places(encoding, line, name)
    first = next(iter(paths.values()))
    if any(np.abs(one - first).max() > _SAME_PATH for one in paths.values()):
        raise DataError(
            f"{name}: readouts of one direction run along different paths; split the scan"
        )
    start, stop = lines[0].discard_pre, lines[0].number_of_samples - lines[0].discard_post
    size = encoding.encodedSpace.matrixSize.x
    if stop - start < 2 or np.abs(first[start:stop]).max() > size / 2 + 1:
        raise DataError(
            f"{name}: a readout of {stop - start} samples reaches {np.abs(first).max():.1f} cycles "
            f"per field of view, outside the encoded matrix of {size} columns; correct the "
            "header's matrix"
        )
    return _Path(first, slice(start, stop))


def _matrices(paths: Mapping[bool, _Path], encoding: Any, columns: int) -> NDArray[np.complex128]:
    """Return the matrices of forward and backward readouts, (2, columns, samples)."""
    size = encoding.encodedSpace.matrixSize.x
    found = {}
    for way, path in paths.items():
        found[way] = np.zeros((columns, len(path.places)), np.complex128)
        found[way][:, path.kept] = readout_matrix(path.places[path.kept], size, columns)
    # A direction that no readout has gets the matrix of the other one.
    return np.stack([found.get(way, found[min(found)]) for way in (False, True)])


def _delay(
    paths: Mapping[bool, _Path],
    navigators: Sequence[Any],
    matrices: NDArray[np.complex128],
    encoding: Any,
) -> float:
    """Return the delay in samples of unevenly sampled readouts; 0 for even ones."""
    if not navigators or all(path.is_even for path in paths.values()):
        return 0.0
    _, slope = straight_phase(products_of(navigators, matrices)[0].sum((0, 1)))
    size = encoding.encodedSpace.matrixSize.x
    return -slope * size / (4 * math.pi) / paths[False].step


def _path_key(line: Any) -> tuple[Any, ...]:
    points = line.traj[:, 0].tobytes() if line.trajectory_dimensions else b""
    return (line.center_sample, line.discard_pre, line.discard_post, points)


def _places(encoding: Any, line: Any, name: str) -> NDArray[np.float64]:
    """Return the k-space points of a readout's samples in cycles per encoded field of view."""
    size = encoding.encodedSpace.matrixSize.x
    if line.trajectory_dimensions:
        return in_cycles_per_fov(line.traj[:, :1], (size,), name)[:, 0]
    sign = -1.0 if is_backward(line) else 1.0
    times = _trapezoid(encoding, line.number_of_samples)
    if times is not None:
        return sign * trapezoid_places(*times, line.number_of_samples, size)
    return sign * (np.arange(line.number_of_samples) - float(line.center_sample))


def _trapezoid(encoding: Any, samples: int) -> tuple[float, float, float, float, float] | None:
    """Return the times of a readout's gradient and of its samples.

    Return None if the header has none, or if the readout has another number of samples, as
    reference lines may.
    """
    description = encoding.trajectoryDescription
    if description is None:
        return None
    listed = [*(description.userParameterLong or []), *(description.userParameterDouble or [])]
    values = {one.name: float(one.value) for one in listed}
    names = ("rampUpTime", "flatTopTime", "rampDownTime", "acqDelayTime")
    if not {*names, "dwellTime"} <= set(values) or values.get("numSamples") != samples:
        return None
    up, flat, down, delay = (values[name] for name in names)
    return up, flat, down, delay, values["dwellTime"] * values["numSamples"]
