"""Pulseq scans without their .seq file: what the readouts alone say, and what they cannot.

The matrix is what the readouts fill, its centre the strongest line. That holds for the lines of one
image alone: echo trains, radii and images that no counter tells apart are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd_centre import CLEAR, energies_of_steps
from firenet_mri.io.kspace.navigators import is_backward, looks_mirrored

_log = logging.getLogger(__name__)

#: What the header's trajectoryDescription is called where the readouts alone describe the scan.
PULSEQ = "Pulseq"

# Lines with this share of the strongest one's energy lie within this share of all lines, or so
# many; those of real scans within half of that. Of fewer lines than the last nothing is said.
_STRONG, _APART, _APART_LINES, _FEW_LINES = 0.05, 0.25, 16, 8


def smallest_size(first: int, last: int) -> int:
    """Return the smallest matrix with the steps from ``first`` to ``last``, its N//2 being 0."""
    return max(-2 * first, 2 * last + 1, 1)


def describes_nothing(encoding: Any) -> bool:
    """Return whether an encoding was made from the readouts of a Pulseq scan alone."""
    return getattr(encoding.trajectoryDescription, "identifier", None) == PULSEQ


def check_readouts_alone(encoding: Any, lines: Sequence[Any], name: str) -> None:
    """Say what is taken from the readouts; refuse echo trains, whose directions they do not tell.

    Parameters
    ----------
    encoding
        An encoding of which :func:`describes_nothing` is true.
    lines
        Its imaging readouts.
    name
        What messages call the scan.

    Raises
    ------
    DataError
        If every other readout looks as if it ran backward, no line is stronger than others, as
        along radii, or strong ones lie far apart, as those of several images.
    """
    _check_strong_lines(lines, name)
    if any(map(is_backward, lines)) or looks_mirrored(lines):
        raise DataError(
            f"{name}: was written by a Pulseq sequence, and every other readout seems to run "
            "backward, as in echo trains, which would ghost; give the sequence with --pulseq SEQ "
            "(pulseq_file= in Python)"
        )
    size, limits = encoding.encodedSpace.matrixSize, encoding.encodingLimits
    centre = limits.kspace_encoding_step_1.center
    partitions = f" x {size.z}" if size.z > 1 else ""
    _log.warning(
        "%s: was written by a Pulseq sequence, whose protocol describes nothing; the readouts give "
        "a matrix of %d x %d%s and the centre of k-space at line %d; field of view and place are "
        "not known (--pulseq SEQ gives the field of view)",
        name,
        size.x,
        size.y,
        partitions,
        centre,
    )


def _check_strong_lines(lines: Sequence[Any], name: str) -> None:
    """Refuse readouts whose energies are not those of the lines of one image."""
    energies = energies_of_steps(lines, "kspace_encode_step_1")
    if len(energies) < _FEW_LINES:
        return
    values = np.array(list(energies.values()))
    if values.max() < CLEAR * np.median(values):
        raise DataError(
            f"{name}: was written by a Pulseq sequence, and none of its {len(energies)} lines is "
            "much stronger than the others, as the centre of Cartesian k-space is; give the "
            "sequence with --pulseq SEQ (pulseq_file= in Python)"
        )
    strong = [step for step, energy in energies.items() if energy > _STRONG * values.max()]
    if max(strong) - min(strong) > max(_APART * len(energies), _APART_LINES):
        raise DataError(
            f"{name}: was written by a Pulseq sequence that does not count the lines of one image; "
            f"strong ones lie from {min(strong)} to {max(strong)}, as centres of several images or "
            "lines in another order do; give the sequence with --pulseq SEQ (pulseq_file= in "
            "Python)"
        )
