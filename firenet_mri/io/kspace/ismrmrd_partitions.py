"""Corrects headers of 2D scans that state a matrix of several partitions."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger(__name__)


def without_empty_partitions(encoding: Any, lines: Sequence[Any], name: str) -> Any:
    """Return the encoding as 2D if all readouts belong to one partition, whatever the header says.

    The several partitions of the matrix are then slices, or the oversampling of a single slice. A
    volume of which only one partition was measured stays a volume, because its limits give the
    intended number.

    Parameters
    ----------
    encoding
        An ``ismrmrd.xsd.encodingType``; it is not changed.
    lines
        Its imaging readouts.
    name
        Name of the scan in messages.
    """
    partitions = encoding.encodedSpace.matrixSize.z
    steps = {line.idx.kspace_encode_step_2 for line in lines}
    slices = len({line.idx.slice for line in lines})
    has_points = str(getattr(encoding.trajectory, "value", encoding.trajectory)) != "cartesian"
    is_flat = len(steps) == 1 and not (
        has_points and any(line.trajectory_dimensions > 2 for line in lines)
    )
    limit = encoding.encodingLimits.kspace_encoding_step_2
    was_meant = limit is None or limit.maximum == limit.minimum or partitions in (2, slices)
    if partitions <= 1 or not is_flat or not was_meant:
        return encoding
    flat = copy.deepcopy(encoding)
    space, shown = flat.encodedSpace, flat.reconSpace
    thickness = space.fieldOfView_mm.z
    if shown.matrixSize.z == 1:
        thickness = shown.fieldOfView_mm.z
    elif slices > 1:
        thickness /= partitions
    space.matrixSize.z, space.fieldOfView_mm.z = 1, thickness
    if limit is not None:
        flat.encodingLimits.kspace_encoding_step_2.center = steps.pop()
    _log.warning(
        "%s: header: matrixSize.z is %d, but all readouts belong to one partition; the scan is "
        "read as 2D, with slices of %.4g mm",
        name,
        partitions,
        thickness,
    )
    return flat
