"""Pulseq scans without their .seq file: reads what the readouts alone show, and refuses the rest.

The matrix is what the readouts fill, and its centre is the strongest line. That holds only for the
lines of a single image: echo trains, radii and images that no counter tells apart are refused.
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

#: Name of the header's trajectoryDescription if the readouts alone describe the scan.
PULSEQ = "Pulseq"

# Lines with the first share of the strongest one's energy lie within the second share of all lines,
# or within so many; in real scans within half of that. Fewer lines than the last number are not
# checked.
_STRONG, _APART, _APART_LINES, _FEW_LINES = 0.05, 0.25, 16, 8


def smallest_size(first: int, last: int) -> int:
    """Return the smallest matrix with the steps from ``first`` to ``last``, step 0 being N//2."""
    return max(-2 * first, 2 * last + 1, 1)


def describes_nothing(encoding: Any) -> bool:
    """Return whether an encoding was made only from the readouts of a Pulseq scan."""
    return getattr(encoding.trajectoryDescription, "identifier", None) == PULSEQ


def check_readouts_alone(encoding: Any, lines: Sequence[Any], name: str) -> None:
    """Log what is taken from the readouts; refuse echo trains, whose directions are not known.

    Parameters
    ----------
    encoding
        An encoding for which :func:`describes_nothing` is true.
    lines
        Its imaging readouts.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If every other readout seems to run backward, no line is stronger than others (as along
        radii), or strong lines lie far apart (as with several images).
    """
    _check_strong_lines(lines, name)
    if any(map(is_backward, lines)) or looks_mirrored(lines):
        raise DataError(
            f"{name}: was written by a Pulseq sequence, and every other readout seems to run "
            "backward, as in echo trains, so its image would ghost; give the sequence with "
            "--pulseq SEQ (pulseq_file= in Python)"
        )
    size, limits = encoding.encodedSpace.matrixSize, encoding.encodingLimits
    centre = limits.kspace_encoding_step_1.center
    partitions = f" x {size.z}" if size.z > 1 else ""
    _log.warning(
        "%s: was written by a Pulseq sequence, whose protocol does not describe the scan; the "
        "readouts give a matrix of %d x %d%s with the centre of k-space at line %d; field of view "
        "and position are not known (--pulseq SEQ gives the field of view)",
        name,
        size.x,
        size.y,
        partitions,
        centre,
    )


def _check_strong_lines(lines: Sequence[Any], name: str) -> None:
    """Refuse readouts whose energies do not fit the lines of one image."""
    energies = energies_of_steps(lines, "kspace_encode_step_1")
    if len(energies) < _FEW_LINES:
        return
    values = np.array(list(energies.values()))
    if values.max() < CLEAR * np.median(values):
        raise DataError(
            f"{name}: was written by a Pulseq sequence, and none of its {len(energies)} lines is "
            "much stronger than the others, unlike the centre of Cartesian k-space; give the "
            "sequence with --pulseq SEQ (pulseq_file= in Python)"
        )
    strong = [step for step, energy in energies.items() if energy > _STRONG * values.max()]
    if max(strong) - min(strong) > max(_APART * len(energies), _APART_LINES):
        raise DataError(
            f"{name}: was written by a Pulseq sequence that does not count the lines of one image; "
            f"strong lines lie from {min(strong)} to {max(strong)}, as with several images or "
            "another order of lines; give the sequence with --pulseq SEQ (pulseq_file= in Python)"
        )
