"""Images that belong together as one problem: which they are, and what the problem is made from.

Along an axis that images share, such as the repetitions or the phases of a heartbeat, the images
are frames of one image (frame, y, x). Every frame keeps its own mask; the maps are those of all,
made from the mean over the frames. The sparsifier sees neighbouring frames, too.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict

import torch
from torch import Tensor

from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.certificate import Entry
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.frame_wise import FrameWise
from firenet_mri.operators.links import Chain
from firenet_mri.operators.low_rank import LocalLowRank
from firenet_mri.reconstruction.solve import Encoded
from firenet_mri.scan import RawScan

#: The axis of slices, which every scan of several has.
SLICE = "slice"

#: What frames are sparse in, unless something else is asked for.
SPARSIFIER = "undecimated-dct3+across-tv+across-fourier"

_PRESETS = ("accurate", "sharp", "stable", "adaptive")
_COUNTER = re.compile(r"([a-z]\w*) (\d+)")


def groups_along(scan: RawScan, axis: str) -> tuple[tuple[int, ...], ...]:
    """Return which slices of which images are frames of one problem, in their order.

    Parameters
    ----------
    scan
        A Cartesian scan of slices.
    axis
        A counter that tells its images apart, such as "repetition" or "phase", or "slice".

    Returns
    -------
    tuple of tuples
        Indices among all slices of all images, as they lie in k-space, one tuple a problem.

    Raises
    ------
    UsageError
        If the scan has no such axis, is a volume, or has a trajectory.
    DataError
        If frames are missing in some of the problems.
    """
    if scan.spatial_ndim != 2 or scan.trajectory is not None:
        kind = "is a volume" if scan.spatial_ndim != 2 else "has a trajectory"
        raise UsageError(
            f"{scan.name}: {kind}; joint serves Cartesian scans of slices, leave it out"
        )
    found: dict[tuple[object, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, counters in enumerate(counters_of(scan)):
        if axis not in counters:
            continue
        rest = tuple((name, number) for name, number in counters.items() if name != axis)
        found[rest].append((counters[axis], index))
    sizes = {len(members) for members in found.values()}
    if not found or sizes == {1}:
        known = ", ".join(_axes_of(scan)) or "none: it is one image of one slice"
        raise UsageError(
            f"{scan.name}: joint {axis!r} asked for, and the scan has no several images along such "
            f"an axis; axes of this scan: {known}"
        )
    if len(sizes) > 1:
        raise DataError(
            f"{scan.name}: along {axis} some images have {min(sizes)} frames, others "
            f"{max(sizes)}; choose images that have as many, or leave joint out"
        )
    return tuple(tuple(index for _, index in sorted(members)) for members in found.values())


def counters_of(scan: RawScan) -> list[dict[str, int]]:
    """Return the counters of every slice of every image, by name."""
    count = math.prod(scan.batch_shape)
    if not scan.images:
        return [{SLICE: index} for index in range(count)]
    slices = count // len(scan.images)
    images = [{m[1]: int(m[2]) for m in _COUNTER.finditer(name)} for name in scan.images]
    return [{**image, SLICE: number} for image in images for number in range(slices)]


def _axes_of(scan: RawScan) -> list[str]:
    """Return along what a scan has several images."""
    counters = counters_of(scan)
    names = {name for one in counters for name in one}
    return sorted(n for n in names if len({one.get(n) for one in counters}) > 1)


def joint_network(options: NetworkOptions) -> NetworkOptions:
    """Return the options of the network for frames, whose usual sparsifier is another.

    Raises
    ------
    UsageError
        If the network is one for single images.
    """
    if options.weights is not None or options.preset not in _PRESETS:
        what = "trained networks" if options.weights is not None else f"the preset {options.preset}"
        raise UsageError(
            f"joint: {what} serve single images; use one of the presets {', '.join(_PRESETS)}"
        )
    return options if options.sparsifier else options.replace(sparsifier=SPARSIFIER)


def frames_of(planes: Tensor, group: tuple[int, ...]) -> Tensor:
    """Return frames (coil, frame, y, x) of planes (index, coil, y, x), without a copy if it can be.

    Parameters
    ----------
    planes
        Of all slices of all images.
    group
        Which of them.
    """
    steps = {later - first for first, later in itertools.pairwise(group)}
    if len(steps) == 1 and min(steps) > 0:
        chosen = planes[group[0] : group[-1] + 1 : steps.pop()]
    else:
        chosen = planes[list(group)]
    return chosen.transpose(0, 1)


def mean_of_frames(kspace: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of frames at every point over those that measured it, (coil, y, x).

    Parameters
    ----------
    kspace, mask
        (coil, frame, y, x) and (1, frame, y, x).
    """
    total = torch.zeros_like(kspace[:, 0])
    count = torch.zeros_like(mask[:, 0], dtype=torch.int32)
    for frame in range(kspace.shape[1]):
        total += kspace[:, frame] * mask[:, frame]
        count += mask[:, frame]
    return total / count.clamp(min=1)


def frames_entry(encoding: FrameWise, sparsifier: LinearOperator | None, count: int) -> Entry:
    """Return what a certificate says of frames that were reconstructed as one image.

    Parameters
    ----------
    encoding
        The operator of the frames.
    sparsifier
        What they are sparse in.
    count
        Number of items.
    """
    return Entry(
        "frames",
        "assumed",
        "So many frames were reconstructed as one image. The gap, the constants and the norms are "
        "those of all frames together: a change of the samples of one frame may change the image "
        f"of another.{_tilings(sparsifier)}",
        "How sharply a change from frame to frame is kept is not said.",
        {"frames": (float(encoding.domain_shape[0]),) * count},
        tuple(range(count)),
    )


def _tilings(sparsifier: LinearOperator | None) -> str:
    """Return which squares are of low rank, a sentence for each size; nothing where none are."""
    modules = () if sparsifier is None else sparsifier.modules()
    return "".join(
        f" The gap is that of the mean of {len(part.offsets)} fixed tilings by squares of "
        f"{part.patch} x {part.patch} pixels, which begin at the rows and columns "
        f"{', '.join(map(str, part.offsets))}."
        for part in modules
        if isinstance(part, LocalLowRank)
    )


def encode_frames(
    kspace: Tensor, mask: Tensor, maps: Tensor, *, chain: Chain, maps_from_data: bool
) -> Encoded:
    """Return what a network is given of frames.

    Parameters
    ----------
    kspace, mask
        (coil, frame, y, x) complex, zero where not sampled, and (1, frame, y, x) bool.
    maps
        (coil, y, x), or (frame, coil, y, x).
    chain, maps_from_data
        See :func:`firenet_mri.reconstruction.solve.encode`.
    """
    sense = encoding_operator(mask.transpose(0, 1), maps, 2, maps_from_data=maps_from_data)
    encoding = FrameWise(kspace.shape[1], sense)
    return Encoded(kspace, encoding, encoding.root_sum_of_squares, chain, kspace)
