"""Siemens raw data written by a Pulseq sequence, whose protocol does not describe the scan.

The sequence that the scanner knows is an interpreter, which plays a .seq file. The protocol's
matrix, field of view, centre line and times are those of whatever was opened before, so they are
ignored. Only the readouts give the numbers of samples and lines, and the strongest line. Position
and field of view are not known without the .seq file.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from firenet_mri.geometry import ImageGrid
from firenet_mri.io.kspace.ismrmrd_centre import centre_of_readouts
from firenet_mri.io.kspace.ismrmrd_writer import encoding_space
from firenet_mri.io.kspace.pulseq_readouts import PULSEQ, smallest_size

_WIP_BLOCKS = ("sWipMemBlock", "sWiPMemBlock")
# Flags of noise, calibration, navigator and phase-correction readouts, dummies and the like.
_NO_IMAGE = (19, 20, 23, 24, 26, 27, 28, 29, 30, 31)


def is_pulseq(parameters: Any) -> bool:
    """Return whether the sequence's parameters are those of a Pulseq interpreter.

    Either its name says so, or its free-text parameter holds the name of a .seq file.

    Parameters
    ----------
    parameters
        The part of the protocol with the sequence's parameters, a nested mapping.
    """
    names = str(parameters.get("tSequenceFileName", "")).replace("/", "\\").lower()
    blocks = (parameters.get(block) for block in _WIP_BLOCKS)
    texts = [block.get("tFree") for block in blocks if hasattr(block, "get")]
    return "pulseq" in names.rpartition("\\")[2] or any(
        str(text).strip().lower().endswith(".seq") for text in texts
    )


def encoding_of(acquisitions: Sequence[Any]) -> Any:
    """Return the ISMRMRD encoding that the readouts themselves describe.

    Parameters
    ----------
    acquisitions
        All readouts of the scan, ``ismrmrd.Acquisition``.

    Returns
    -------
    encodingType
        A matrix that contains all imaging readouts, with its centres; fields of view of 0 mean
        unknown.
    """
    from ismrmrd import xsd

    lines = [one for one in acquisitions if not any(one.flags >> (f - 1) & 1 for f in _NO_IMAGE)]
    columns = max(
        smallest_size(-one.center_sample, one.number_of_samples - 1 - one.center_sample)
        for one in lines
    )
    (rows, row), (partitions, partition) = (
        _size_and_centre(lines, step) for step in ("kspace_encode_step_1", "kspace_encode_step_2")
    )
    space = encoding_space(ImageGrid((partitions, rows, columns), (0.0, 0.0, 0.0)))
    return xsd.encodingType(
        encodedSpace=space,
        reconSpace=space,
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=rows - 1, center=row),
            kspace_encoding_step_2=xsd.limitType(
                minimum=0, maximum=partitions - 1, center=partition
            ),
        ),
        trajectory=xsd.trajectoryType("cartesian"),
        trajectoryDescription=xsd.trajectoryDescriptionType(identifier=PULSEQ),
    )


def _size_and_centre(lines: Sequence[Any], step: str) -> tuple[int, int]:
    """Return the smallest size around the centre that contains all steps, and the centre."""
    steps = [int(getattr(line.idx, step)) for line in lines]
    first, last = min(steps), max(steps)
    centre = centre_of_readouts(lines, step)
    if first == last:
        return 1, first
    return smallest_size(first - centre, last - centre), centre
