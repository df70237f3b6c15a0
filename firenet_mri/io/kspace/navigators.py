"""Navigator lines of echo trains: directions of readouts, and the phase difference between them.

Forward and backward readouts are shifted in time relative to each other, and so differ by a phase
phi(x) = a + b x. This phase is fitted, for each coil, to the product of neighbouring navigator
readouts, D = n_forward conj(n_backward). The phase also drifts from one readout to the next. The
drift has opposite signs in (forward, backward) and (backward, forward) pairs, so the mean over both
kinds of pairs is free of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_REVERSE = 22
# A coil with less than this share of the strongest coil's signal gets the phase of all coils.
_WEAK = 1e-3
# Margin by which a mirrored readout must be more like its neighbour; no margin is needed if
# readouts follow each other within this many times their length, too soon for an excitation.
_MIRRORED, _TRAIN = 0.02, 2.5
# Fewer readouts are not enough to decide.
_FEW = 4
# Siemens' time stamps count units of 2.5 ms.
_STAMP_US = 2500.0


def is_backward(line: Any) -> bool:
    """Return whether a readout runs backward."""
    return bool(line.flags >> (_REVERSE - 1) & 1)


def looks_mirrored(lines: Sequence[Any]) -> bool:
    """Return whether successive readouts look more alike if every other one is mirrored.

    Images along the readout are compared, because they do not move with the echo's position.
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


def navigators_of(navigators: Sequence[Any], line: Any) -> list[Any]:
    """Return the navigators of a readout's slice and image, or of the nearest ones."""

    def counters(one: Any) -> tuple[int, ...]:
        idx = one.idx
        return idx.repetition, idx.contrast, idx.set, idx.phase

    of_slice = [one for one in navigators if one.idx.slice == line.idx.slice]
    of_image = [one for one in of_slice if counters(one) == counters(line)]
    # A train in one direction only gives no phase difference.
    return next(
        some
        for some in (of_image, of_slice, list(navigators))
        if len({is_backward(one) for one in some}) > 1
    )


def phase_difference(
    navigators: Sequence[Any], readout: NDArray[np.complex128]
) -> tuple[NDArray[np.float64], float]:
    """Return the phase of forward minus that of backward readouts, and how linear it is.

    The phase is (coil, columns) in radians; the other number is the share of the products that it
    explains, 1 if it is exactly linear.

    Parameters
    ----------
    navigators
        Readouts without phase encoding, in the order of measurement.
    readout
        Matrices from the samples to the image along the readout, (2, columns, samples), see
        :mod:`firenet_mri.io.kspace.readout_gridding`.
    """
    columns = readout.shape[1]
    x = np.arange(columns) - columns // 2
    kinds, strengths = products_of(navigators, readout)
    products = kinds.sum(0)
    strength = np.abs(products).sum(1)
    together = straight_phase(products.sum(0))
    found = np.empty((len(products), columns))
    explained = 0.0
    for coil, product in enumerate(products):
        is_weak = strength[coil] <= _WEAK * strength.max()
        a, b = together if is_weak else straight_phase(product)
        found[coil] = a + b * x
        # The drift turns each kind of pair by a different angle.
        straight = kinds[:, coil] * np.exp(-1j * found[coil])
        explained += float(np.abs(straight.sum(1)).sum())
    return found, explained / max(strengths, 1e-300)


def products_of(
    navigators: Sequence[Any], readout: NDArray[np.complex128]
) -> tuple[NDArray[np.complex128], float]:
    """Return D of opposite neighbours, (kind, coil, columns); the kind is which one comes first.

    The other number is the sum of |D| that would result if all pairs had the same phase.
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


def straight_phase(product: NDArray[np.complex128]) -> tuple[float, float]:
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
