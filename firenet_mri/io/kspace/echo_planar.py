"""Echo trains: the matrices that grid their readouts, and the phases of their navigator lines.

The image along the readout of samples s at the points k, in cycles per encoded field of view of N
pixels x = -N//2, ..., is found from s = A z, A = exp(-2 pi i k x / N) / sqrt(N), as

    z = W A^H (A W A^H + mu)^-1 s,

the most likely one for pixels of variance W, 1 inside the field of view that is kept and less
outside of it. Where A A^H = 1, as for even spacing, that is A^H s; the adjoint is the inverse then.

Readouts that run forward and backward differ by a phase phi(x) = a + b x: they are shifted in time
against each other. It is fitted, for each coil, to the product of neighbouring navigator readouts,
D = n_forward conj(n_backward). From one readout to the next the phase also drifts, one way for
(forward, backward), the other way for (backward, forward), so that the mean of both kinds of pairs
is free of it.

Where samples are uneven, such a delay is no mere shift: at the slope b the readouts are late by
delta = -b N / (4 pi v) samples, v cycles each in the middle, and are gridded at k(j + delta).
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
from firenet_mri.io.kspace.trajectory_units import in_cycles_per_fov

_log = logging.getLogger(__name__)

_REVERSE = 22
# Noise, calibration, navigators and phase correction of its own, dummies and the like.
_OTHERS = (19, 20, 23, 24, 26, 27, 28, 29, 30, 31)
# Standard deviation of a pixel outside of the field of view, relative to one inside.
_OUTSIDE = 0.3
# Of the mean eigenvalue of A W A^H.
_MU = 1e-3
# A A^H that is nearer to 1 than this is 1.
_UNITARY = 1e-4
# In cycles per field of view: paths of readouts that differ by more are different.
_SAME_PATH = 0.05
# A coil with less than this share of the strongest one's navigators has the phase of all together.
_WEAK = 1e-3
# Share of the navigators' products that the straight phase explains; lines with phase encoding have
# about 0.65.
_CLEAR = 0.85

# By how much a mirrored readout must look more like its neighbour; by nothing if readouts follow
# each other within this many times their length, which hardly leaves time for an excitation.
_MIRRORED, _TRAIN = 0.02, 2.5
# Fewer readouts tell nothing.
_FEW = 4
# Siemens' time stamps count 2.5 ms.
_STAMP_US = 2500.0

NAVIGATORS, SCAN_WITHOUT_PHASE_ENCODING = "navigator lines", "a scan without phase encoding"


@dataclass(frozen=True, eq=False)
class EchoTrains:
    """How the readouts of echo trains become lines of k-space.

    Parameters
    ----------
    readout
        Matrices from the samples to the image along the readout, of forward and backward readouts,
        (2, columns, samples) complex128.
    navigators
        Readouts without phase encoding, in the order of measurement; none if all readouts run in
        one direction.
    source
        What these are, for messages and certificates.
    name
        What messages call the scan.
    """

    readout: NDArray[np.complex128]
    navigators: tuple[Any, ...]
    source: str
    name: str

    @property
    def samples(self) -> int:
        """Samples of a readout as it was stored."""
        return self.readout.shape[2]

    def takes(self, lines: Sequence[Any]) -> bool:
        """Return whether other readouts are of the same number of samples, and so gridded alike."""
        return all(line.number_of_samples == self.samples for line in lines)

    @property
    def noise_factor(self) -> float:
        """Standard deviation of a gridded sample's noise, that of a stored one being 1."""
        energy = float(np.sum(np.abs(self.readout[0]) ** 2))
        return (energy / self.readout.shape[1]) ** 0.5

    def phases(self, line: Any) -> NDArray[np.float64]:
        """Return phi of the image and slice of a readout, (coil, columns) in radians."""
        coils, columns = line.active_channels, self.readout.shape[1]
        if not self.navigators:
            return np.zeros((coils, columns))
        phases, explained = phase_difference(_of_image(self.navigators, line), self.readout)
        if explained < _CLEAR:
            _log.warning(
                "%s: the phases of %s lie on no straight line (%.0f %% explained), as those of "
                "noise or of lines with phase encoding; ghosts at half a field of view may remain",
                self.name,
                self.source,
                100 * explained,
            )
        return phases


def looks_mirrored(lines: Sequence[Any]) -> bool:
    """Return whether readouts, one after another, look more alike if every other is mirrored.

    The images along the readout are compared, which do not move with the echo's place.
    """
    if len({line.data.shape for line in lines}) > 1 or len(lines) < _FEW:
        return False
    straight = turned = weight = 0.0
    before = np.abs(np.fft.fft(lines[0].data))
    for line in lines[1:]:
        profile = np.abs(np.fft.fft(line.data))
        straight += float(np.vdot(profile, before))
        turned += float(np.vdot(profile, np.roll(before[:, ::-1], 1, axis=1)))
        weight += float(np.linalg.norm(profile) * np.linalg.norm(before))
        before = profile
    span = lines[-1].acquisition_time_stamp - lines[0].acquisition_time_stamp
    length = lines[0].number_of_samples * lines[0].sample_time_us
    is_train = 0 < span * _STAMP_US < _TRAIN * length * (len(lines) - 1)
    return turned - straight > (0.0 if is_train else _MIRRORED) * weight


def is_echo_planar(trajectory: str, lines: Sequence[Any], phase_correction: Sequence[Any]) -> bool:
    """Return whether readouts are of echo trains: the header says so, or both directions do."""
    if trajectory == "epi":
        return True
    has_backward = any(is_backward(line) for line in lines)
    return trajectory == "cartesian" and bool(phase_correction) and has_backward


def is_backward(line: Any) -> bool:
    """Return whether a readout runs backward."""
    return bool(line.flags >> (_REVERSE - 1) & 1)


def without_phase_encoding(acquisitions: Iterable[Any]) -> list[Any]:
    """Return the readouts of a scan without phase encoding that serve as navigator lines."""
    return [one for one in acquisitions if not any(one.flags >> (f - 1) & 1 for f in _OTHERS)]


def echo_trains(
    encoding: Any,
    imaging: Sequence[Any],
    navigators: Sequence[Any],
    source: str,
    columns: int,
    name: str,
) -> EchoTrains:
    """Return how the readouts of echo trains are gridded and corrected.

    Parameters
    ----------
    encoding
        Their encoding; its trajectoryDescription may have the times of a trapezoid, as Siemens'
        converter writes them.
    imaging, navigators
        Readouts, ``ismrmrd.Acquisition``.
    source
        What the navigators are.
    columns
        Columns of the image that are kept of the encoded ones.
    name
        What messages call the scan.

    Raises
    ------
    DataError
        If readouts run both ways and there are no navigators, or they differ in samples or path.
    """
    directions = {is_backward(line) for line in imaging}
    if len(directions) > 1 and not navigators:
        raise DataError(
            f"{name}: an echo-planar scan without navigator lines, which would ghost; give one of "
            "the same sequence without phase encoding with --phase-correction FILE "
            "(phase_correction_file= in Python)"
        )
    if len(directions) > 1 and len({is_backward(line) for line in navigators}) < 2:
        raise DataError(
            f"{name}: the navigator lines of echo trains all run in one direction, from which no "
            "difference is found; export all of them"
        )
    _check_marks(imaging, encoding, name)
    lines = [*imaging, *navigators] if len(directions) > 1 else imaging
    shapes = {(line.active_channels, line.number_of_samples) for line in lines}
    if len(shapes) > 1:
        raise DataError(
            f"{name}: readouts of echo trains have {sorted(shapes)} channels and samples; all, "
            "the navigators' too, must have the same"
        )
    kept = tuple(navigators) if len(directions) > 1 else ()
    paths = {way: _path(encoding, lines, way, name) for way in directions}
    matrices = _matrices(paths, encoding, columns)
    delay = _delay(paths, kept, matrices, encoding)
    if delay:
        _log.info("%s: by %s readouts are gridded %.2f samples late", name, source, delay)
        late = {way: path.delayed(delay) for way, path in paths.items()}
        matrices = _matrices(late, encoding, columns)
    return EchoTrains(matrices, kept, source, name)


def _check_marks(imaging: Sequence[Any], encoding: Any, name: str) -> None:
    """Refuse readouts whose directions were lost; say what is assumed where the file is silent."""
    if not any(line.trajectory_dimensions or is_backward(line) for line in imaging):
        if looks_mirrored(imaging):
            raise DataError(
                f"{name}: an echo-planar scan of which no readout is marked as running backward, "
                "though every other one seems to; export it with these flags"
            )
        _log.warning(
            "%s: no readout of the echo-planar scan is marked as running backward; it is read as "
            "one whose readouts all run forward",
            name,
        )
    is_described = encoding.trajectoryDescription is not None
    if not is_described and not any(line.trajectory_dimensions for line in imaging):
        _log.warning(
            "%s: the header does not say whether the echo-planar readouts were sampled on ramps; "
            "their samples are taken as evenly spaced",
            name,
        )


@dataclass(frozen=True, eq=False)
class _Path:
    """Points of a readout's samples in cycles per encoded field of view, and which are kept."""

    places: NDArray[np.float64]
    kept: slice

    @property
    def step(self) -> float:
        """Cycles per field of view from one sample to the next in the middle."""
        middle = len(self.places) // 2
        return float(abs(self.places[middle] - self.places[middle - 1]))

    @property
    def is_even(self) -> bool:
        """Whether all samples are equally far from each other."""
        steps = np.diff(self.places[self.kept])
        return bool(np.abs(steps - steps.mean()).sum() < _SAME_PATH)

    def delayed(self, delay: float) -> _Path:
        """Return the path at its samples' numbers plus ``delay``, straight beyond its ends."""
        count = len(self.places)
        ends = 2 * self.places[[0, -1]] - self.places[[1, -2]]
        known = np.concatenate([ends[:1], self.places, ends[1:]])
        places = np.interp(np.arange(count) + delay, np.arange(-1, count + 1), known)
        return _Path(places, self.kept)


def _path(encoding: Any, lines: Sequence[Any], is_turned: bool, name: str) -> _Path:
    """Return the path of all readouts of one direction."""
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
            f"{name}: a readout of {stop - start} samples reaches "
            f"{np.abs(first).max():.1f} cycles per field of view, outside of the encoded matrix of "
            f"{size} columns; correct the header's matrix"
        )
    return _Path(first, slice(start, stop))


def _matrices(paths: Mapping[bool, _Path], encoding: Any, columns: int) -> NDArray[np.complex128]:
    """Return the matrices of forward and backward readouts, (2, columns, samples)."""
    size = encoding.encodedSpace.matrixSize.x
    found = {}
    for way, path in paths.items():
        found[way] = np.zeros((columns, len(path.places)), np.complex128)
        found[way][:, path.kept] = readout_matrix(path.places[path.kept], size, columns)
    # A direction that no readout has takes the other's place.
    return np.stack([found.get(way, found[min(found)]) for way in (False, True)])


def _delay(
    paths: Mapping[bool, _Path],
    navigators: Sequence[Any],
    matrices: NDArray[np.complex128],
    encoding: Any,
) -> float:
    """Return by how many samples uneven readouts are to be taken later; 0 for even ones."""
    if not navigators or all(path.is_even for path in paths.values()):
        return 0.0
    _, slope = _straight_phase(_products(navigators, matrices)[0].sum((0, 1)))
    size = encoding.encodedSpace.matrixSize.x
    return -slope * size / (4 * math.pi) / paths[False].step


def _path_key(line: Any) -> tuple[Any, ...]:
    points = line.traj[:, 0].tobytes() if line.trajectory_dimensions else b""
    return (line.center_sample, line.discard_pre, line.discard_post, points)


def readout_matrix(places: NDArray[np.float64], size: int, columns: int) -> NDArray[np.complex128]:
    """Return the matrix from samples to the image along the readout, (columns, samples).

    Parameters
    ----------
    places
        Points of the samples, (samples,), in cycles per field of view of ``size`` pixels.
    size
        Pixels of the encoded field of view.
    columns
        Pixels of its middle that are kept.
    """
    x = np.arange(size) - size // 2
    start = size // 2 - columns // 2
    kept = slice(start, start + columns)
    transform = np.exp(-2j * np.pi * np.outer(places, x) / size) / np.sqrt(size)
    gram = transform @ transform.conj().T
    if np.abs(gram - np.eye(len(places))).max() < _UNITARY:
        return np.ascontiguousarray(transform.conj().T[kept])
    weights = np.full(size, _OUTSIDE**2)
    weights[kept] = 1.0
    gram = (transform * weights) @ transform.conj().T
    gram += _MU * np.trace(gram).real / len(places) * np.eye(len(places))
    found = np.linalg.solve(gram, transform * weights).conj().T
    return np.ascontiguousarray(found[kept])


def _places(encoding: Any, line: Any, name: str) -> NDArray[np.float64]:
    """Return the points of a readout's samples in cycles per encoded field of view."""
    size = encoding.encodedSpace.matrixSize.x
    if line.trajectory_dimensions:
        return in_cycles_per_fov(line.traj[:, :1], (size,), name)[:, 0]
    sign = -1.0 if is_backward(line) else 1.0
    times = _trapezoid(encoding, line.number_of_samples)
    if times is not None:
        return sign * trapezoid_places(*times, line.number_of_samples, size)
    return sign * (np.arange(line.number_of_samples) - float(line.center_sample))


def _trapezoid(encoding: Any, samples: int) -> tuple[float, float, float, float, float] | None:
    """Return the times of the gradient of a readout and of its samples.

    None if none is given, or for readouts with another number of samples, such as reference lines.
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


def trapezoid_places(
    up: float, flat: float, down: float, delay: float, duration: float, samples: int, size: int
) -> NDArray[np.float64]:
    """Return the points of samples that are taken at even times under a trapezoidal gradient.

    Parameters
    ----------
    up, flat, down
        Times of the ramps and of the flat top.
    delay, duration
        Time from the ramp's begin to the first sample's, and of all samples.
    samples
        Their number.
    size
        Cycles per field of view that they cover.
    """

    def area(t: NDArray[np.float64]) -> NDArray[np.float64]:
        rising, rest = np.clip(t, 0, up), np.clip(t - up - flat, 0, down)
        on_ramp = rising**2 / (2 * up) if up > 0 else 0.0 * t
        falling = rest - rest**2 / (2 * down) if down > 0 else 0.0 * t
        return on_ramp + np.clip(t - up, 0, flat) + falling

    ends = area(np.array([delay, delay + duration]))
    found = area(delay + (np.arange(samples) + 0.5) * duration / samples)
    return (found - ends.mean()) / (ends[1] - ends[0]) * size


def _of_image(navigators: Sequence[Any], line: Any) -> list[Any]:
    """Return the navigators of a readout's slice and image, or of what is nearest to these."""

    def counters(one: Any) -> tuple[int, ...]:
        idx = one.idx
        return idx.repetition, idx.contrast, idx.set, idx.phase

    of_slice = [one for one in navigators if one.idx.slice == line.idx.slice]
    of_image = [one for one in of_slice if counters(one) == counters(line)]
    # A train of one direction alone says nothing.
    return next(
        some
        for some in (of_image, of_slice, list(navigators))
        if len({is_backward(one) for one in some}) > 1
    )


def phase_difference(
    navigators: Sequence[Any], readout: NDArray[np.complex128]
) -> tuple[NDArray[np.float64], float]:
    """Return the phase of forward less that of backward readouts, and how straight it is.

    The phase is (coil, columns) in radians; the other number is the share of the products that it
    explains, 1 if it is straight.

    Parameters
    ----------
    navigators
        Readouts without phase encoding, in the order of measurement.
    readout
        See :class:`EchoTrains`.
    """
    columns = readout.shape[1]
    x = np.arange(columns) - columns // 2
    kinds, strengths = _products(navigators, readout)
    products = kinds.sum(0)
    strength = np.abs(products).sum(1)
    together = _straight_phase(products.sum(0))
    found = np.empty((len(products), columns))
    explained = 0.0
    for coil, product in enumerate(products):
        is_weak = strength[coil] <= _WEAK * strength.max()
        a, b = together if is_weak else _straight_phase(product)
        found[coil] = a + b * x
        # The drift turns each kind of pairs by an angle of its own.
        straight = kinds[:, coil] * np.exp(-1j * found[coil])
        explained += float(np.abs(straight.sum(1)).sum())
    return found, explained / max(strengths, 1e-300)


def _products(
    navigators: Sequence[Any], readout: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], float]:
    """Return D of neighbours in opposite directions, (kind, coil, columns): which comes first.

    The other number is what the sum of |D| would be if all pairs had the same phase.
    """
    images = [line.data @ readout[int(is_backward(line))].T for line in navigators]
    kinds: dict[bool, list[NDArray[np.complex128]]] = {False: [], True: []}
    for i in range(len(images) - 1):
        first = is_backward(navigators[i])
        if first != is_backward(navigators[i + 1]):
            forward, backward = images[i + first], images[i + 1 - first]
            kinds[first].append(forward * backward.conj())
    found = [np.array(some) for some in kinds.values() if some]
    means = np.array([some.mean(0) for some in found])
    return means, float(sum(np.abs(some).mean(0).sum() for some in found))


def _straight_phase(product: NDArray[np.complex128]) -> tuple[float, float]:
    """Return a and b of the phase a + b x of (columns,), x = 0 at index N//2."""
    x = np.arange(len(product)) - len(product) // 2
    b = float(np.angle(np.sum(product[1:] * product[:-1].conj())))
    a = float(np.angle(np.sum(product * np.exp(-1j * b * x))))
    weights = np.abs(product)
    moments = np.array([[(weights * x**i * x**j).sum() for i in (0, 1)] for j in (0, 1)])
    if np.linalg.det(moments) <= 0:
        return a, b
    for _ in range(3):
        rest = np.angle(product * np.exp(-1j * (a + b * x)))
        step = np.linalg.solve(moments, [(weights * rest).sum(), (weights * rest * x).sum()])
        a, b = a + float(step[0]), b + float(step[1])
    return a, b
