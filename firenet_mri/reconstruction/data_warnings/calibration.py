"""Slices whose maps cannot be estimated: detected before the first slice is reconstructed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration.references import reference_of_items, serves, time_average
from firenet_mri.calibration.region import has_calibration_region
from firenet_mri.calibration.sensitivity import SMALLEST_WIDTH
from firenet_mri.errors import CalibrationError
from firenet_mri.reconstruction.data_warnings.places import places_of, slices_of
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, Kind, listed
from firenet_mri.scan import RawScan

NO_CALIBRATION = Kind(
    "no_calibration",
    0.5,
    "Unlike that of other slices, the centre of k-space is empty or not fully sampled: "
    "sensitivity maps cannot be estimated there. Omit these slices with --slices, "
    "give maps with --maps-file, or a scan to make them from with --calibration.",
)

OTHER_MAPS = Kind(
    "no_calibration",
    0.5,
    "The centre of k-space is empty or not fully sampled, and the sensitivity maps were made "
    "from the samples that exist. Give sens_maps, or omit the slice.",
)


def check_calibration(scan: RawScan, method: str, served: Collection[int] = frozenset()) -> None:
    """Refuse a scan with slices that lack a calibration region, before any work.

    If no slice has one, the method's own message states what it needs. The items ``served`` get
    their maps from elsewhere.

    Raises
    ------
    CalibrationError
        The message names the slices, and those that can be reconstructed.
    """
    lacking = [item for item in _lacking_unlike_others(scan, method) if item not in served]
    if not lacking:
        return
    places = places_of(scan)
    least = SMALLEST_WIDTH[method]
    verb = "have" if len(lacking) > 1 else "has"
    raise CalibrationError(
        f"{scan.name}: {listed([places[item] for item in lacking])} {verb} no fully sampled, "
        f"non-empty centre of k-space of {least} samples along every axis, which {method} needs; "
        f"{_cure(scan, lacking)} or give maps with --maps-file, "
        "or a scan to make them from with --calibration (slices count from 0)"
    )


def slices_without_calibration(scan: RawScan) -> tuple[DataWarning, ...]:
    """Return the warning about slices without a calibration region, if others have one.

    It excludes slices whose maps come from a reference or a mean over time.
    """
    lacking, least = _lacking_unlike_others(scan, "espirit"), SMALLEST_WIDTH["espirit"]
    if lacking and scan.reference is None and time_average(scan, least) is not None:
        return ()
    if lacking and scan.reference is not None:
        references = reference_of_items(scan)
        lacking = [item for item in lacking if not _serves(references[item], least)]
    return _about(NO_CALIBRATION, lacking)


def _serves(reference: Tensor | None, width: int) -> bool:
    return reference is not None and serves(reference, width)


def slices_with_other_maps(scan: RawScan, method: str) -> tuple[DataWarning, ...]:
    """Return the warning about slices without a centre, whose maps were made in another way."""
    return _about(OTHER_MAPS, _lacking(scan, method))


def _about(kind: Kind, lacking: Sequence[int]) -> tuple[DataWarning, ...]:
    if not lacking:
        return ()
    values = (1.0,) * len(lacking)
    return (DataWarning(kind.name, values, kind.threshold, kind.sentence, tuple(lacking)),)


def _lacking_unlike_others(scan: RawScan, method: str) -> list[int]:
    """Return the items that lack a calibration region; none if no item has one."""
    lacking = _lacking(scan, method)
    return [] if len(lacking) == math.prod(scan.batch_shape) else lacking


def _lacking(scan: RawScan, method: str) -> list[int]:
    """Return the items with signal but without the calibration region that a method needs."""
    if scan.trajectory is not None or scan.coils < 2 or method not in SMALLEST_WIDTH:
        return []
    least = SMALLEST_WIDTH[method]
    # Slices without any signal need no maps.
    return [
        item
        for item, at in enumerate(np.ndindex(scan.batch_shape))
        if not _has_centre(scan.kspace[at], scan.mask[at][0], least)
        and bool((scan.kspace[at] * scan.mask[at]).any())
    ]


def _has_centre(kspace: Tensor, mask: Tensor, width: int) -> bool:
    if not has_calibration_region(mask, width):
        return False
    for axis, size in enumerate(mask.shape, 1):
        kspace = kspace.narrow(axis, size // 2 - width // 2, width)
    return bool(torch.view_as_real(kspace.resolve_conj()).any())


def _cure(scan: RawScan, lacking: Sequence[int]) -> str:
    """Return instructions for reconstructing the other items."""
    names, shape = scan.images, scan.batch_shape
    count = int(np.prod(shape, dtype=int)) // max(len(names), 1)
    bad = {item % count for item in lacking}
    numbers = slices_of(scan, count)
    good = [number for index, number in enumerate(numbers) if index not in bad]
    if good and count > 1:
        runs = _runs(good)
        placed = scan.geometry is not None and len(scan.geometry.positions_mm) > 1
        if placed and len(runs) > 1:
            # One geometry fits evenly spaced slices only.
            asked = " and then ".join(f"--slices {run}" for run in runs)
        else:
            asked = f"--slices {','.join(runs)}"
        return f"reconstruct the others with {asked},"
    whole = [i for i in range(len(names)) if not any(item // count == i for item in lacking)]
    others = ", ".join(names[i] for i in whole)
    return f"reconstruct the others ({others}) with --repetitions," if others else "export it again"


def _runs(numbers: Sequence[int]) -> list[str]:
    """Return ascending numbers as ranges: 0, 1, 2, 5 as 0-2 and 5."""
    pairs = enumerate(numbers)
    groups = itertools.groupby(pairs, lambda pair: pair[1] - pair[0])
    runs = [[number for _, number in group] for _, group in groups]
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
