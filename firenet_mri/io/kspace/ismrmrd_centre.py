"""Finds the phase-encoding step at the centre of k-space from three sources.

The sources are the limits in the header, the readouts' own counters (``idx.user[5]`` and ``[6]``,
where Siemens and its converters put the centre line and partition), and the step of most energy.
None of them overrules the other two: the centre that the energy confirms is taken, and if no two
agree, the scan is refused, since a wrong centre may cut away half of the object.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from firenet_mri.errors import DataError

_log = logging.getLogger(__name__)

#: Steps by name, with the index of their centre in the user counters.
STEPS = {"kspace_encode_step_1": 5, "kspace_encode_step_2": 6}

#: The strongest step counts if it has this many times the median's energy; noise has 1.5.
CLEAR = 8.0
# The image's phase may move the strongest step off the centre by 2 steps, or 1/8 of the size.
_STEPS, _SHARE = 2, 8
# The same divisor of the size, if only the middle of the steps is available for comparison.
_NARROW = 32
# More than this share of the readouts must state the same centre.
_MOST = 0.5


def centre_step(
    lines: Sequence[Any],
    step: str,
    stated: int | None,
    size: int,
    name: str,
    *,
    is_reference: bool = False,
) -> int:
    """Return the centre in units of the counter ``step``.

    Parameters
    ----------
    lines
        Imaging readouts of one encoding, ``ismrmrd.Acquisition``.
    step
        "kspace_encode_step_1" or "kspace_encode_step_2".
    stated
        The centre that the header states; None if it states none.
    size
        Size of the encoded matrix along the step's axis.
    name
        Name of the scan in messages.
    is_reference
        True for lines that are used only for maps. Then no two sources have to agree, because
        another centre adds the same phase to all coils.

    Raises
    ------
    DataError
        If no two of the header, the readouts and the energy agree.
    """
    if size == 1:
        return 0 if stated is None else stated
    own, strongest = own_centre(lines, step), _strongest(lines, step)
    centre = _agreed(stated, own, strongest, size)
    if centre is None and is_reference:
        centre = strongest if strongest is not None else stated
    if centre is None:
        raise DataError(_disagreement(stated, own, strongest, step, size, name))
    if centre == own and stated is not None and own != stated and not is_reference:
        _log.warning(
            "%s: the header puts the centre of k-space at %s %d, the readouts themselves at %d, "
            "and the samples are strongest there; %d is used",
            name,
            step,
            stated,
            own,
            own,
        )
    return centre


def own_centre(lines: Sequence[Any], step: str) -> int | None:
    """Return the centre that the readouts themselves state; None where they state none."""
    counts = Counter(int(line.idx.user[STEPS[step]]) for line in lines)
    value, count = counts.most_common(1)[0]
    highest = max(int(getattr(line.idx, step)) for line in lines)
    # Other vendors store other values there.
    return value if count > _MOST * len(lines) and value <= 2 * highest + 1 else None


def centre_of_readouts(lines: Sequence[Any], step: str) -> int:
    """Return the centre of steps if no header gives it.

    It is the centre that the readouts themselves state, or the middle of their steps, if the
    samples are strongest there. Otherwise it is the strongest step, as with partial Fourier.

    Parameters
    ----------
    lines, step
        See :func:`centre_step`.
    """
    steps = [int(getattr(line.idx, step)) for line in lines]
    first, size = min(steps), max(steps) - min(steps) + 1
    # An unset counter is 0.
    own = own_centre(lines, step) or None
    strongest = _strongest(lines, step)
    near = max(_STEPS, size // _NARROW)
    for one in (own, first + size // 2):
        if one is not None and (strongest is None or abs(one - strongest) <= near):
            return one
    assert strongest is not None
    return strongest


def _agreed(stated: int | None, own: int | None, strongest: int | None, size: int) -> int | None:
    """Return the centre on which two sources agree or that none contradicts; else None."""
    middle = size // 2
    header = middle if stated is None else stated
    # An unset counter is 0, so 0 alone means nothing.
    if own == 0 and header != 0 and (stated is not None or strongest != 0):
        own = None
    if own is None or own == header:
        two = own is not None and own != 0
        contradicted = strongest is not None and not _is_near(strongest, header, size)
        return header if two or not contradicted else None
    if strongest is None:
        if stated is None:
            return own
        return next((one for one in (header, own) if one == middle), None)
    near = [one for one in (own, header) if _is_near(strongest, one, size)]
    return min(near, key=lambda one: abs(one - strongest), default=None)


def _is_near(strongest: int, centre: int, size: int) -> bool:
    return abs(strongest - centre) <= max(_STEPS, size // _SHARE)


def energies_of_steps(lines: Sequence[Any], step: str) -> dict[int, float]:
    """Return the mean energy of the readouts of each step."""
    energies: dict[int, float] = defaultdict(float)
    counts: Counter[int] = Counter()
    for line in lines:
        samples = line.data[:, line.discard_pre : line.number_of_samples - line.discard_post]
        part = np.ascontiguousarray(samples).view(np.float32).reshape(-1)
        number = int(getattr(line.idx, step))
        energies[number] += float(np.vdot(part, part))
        counts[number] += 1
    return {number: energy / counts[number] for number, energy in energies.items()}


def _strongest(lines: Sequence[Any], step: str) -> int | None:
    """Return the step of most energy; None if none stands out, as in noise."""
    means = energies_of_steps(lines, step)
    values = np.array(list(means.values()))
    # Samples that are not finite are refused elsewhere.
    if len(values) < 3 or not np.isfinite(values).all() or values.max() < CLEAR * np.median(values):
        return None
    return max(means, key=means.__getitem__)


def _disagreement(
    stated: int | None, own: int | None, strongest: int | None, step: str, size: int, name: str
) -> str:
    header = (
        f"states {stated}" if stated is not None else f"states none (the middle is {size // 2})"
    )
    readouts = "state none" if own in (None, 0) else f"state {own}"
    energy = (
        "no step stands out by its energy"
        if strongest is None
        else f"step {strongest} is the strongest"
    )
    return (
        f"{name}: the centre of k-space along {step} is not known (the header {header}, the "
        f"readouts themselves {readouts}, and {energy}); correct the header's encodingLimits"
    )
