"""Related images as one problem: which images they are, and what the problem is made from.

Along an axis that images share, such as the repetitions or the phases of a heartbeat, the images
are frames of one image (frame, y, x). Every frame keeps its own mask or trajectory. All frames
share the maps, which are made from the mean over the frames or, along trajectories, from the
samples of all frames together. The sparsifier also connects neighbouring frames.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.certificate import Entry
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import NonuniformFourier, Sense, encoding_operator
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.frame_wise import FramesApart, FrameWise
from firenet_mri.operators.links import Chain, SampleWeighting
from firenet_mri.operators.low_rank import LocalLowRank
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.solve import Encoded
from firenet_mri.scan import RawScan

#: The axis of slices, which every scan with several slices has.
SLICE = "slice"

#: Default sparsifier of frames.
SPARSIFIER = "undecimated-dct3+across-haar+across-fourier"

#: Factor on the automatic lam of frames along trajectories, chosen on simulated hearts (seeds 0 and
#: 1, 64 pixels, a fourth and an eighth of the spokes), where it gains 1 to 1.7 dB.
ALONG_TRAJECTORIES = 2.0

_PRESETS = ("accurate", "sharp", "stable", "adaptive")
_COUNTER = re.compile(r"([a-z]\w*) (\d+)")


def groups_along(scan: RawScan, axis: str) -> tuple[tuple[int, ...], ...]:
    """Return which slices of which images are frames of one problem, in order.

    Parameters
    ----------
    scan
        A scan of slices.
    axis
        A counter that distinguishes its images, such as "repetition" or "phase", or "slice".

    Returns
    -------
    tuple of tuples
        Indices among all slices of all images, in the order of k-space, one tuple per problem.

    Raises
    ------
    UsageError
        If the scan has no such axis, or is a volume.
    DataError
        If frames are missing or repeated.
    """
    if scan.spatial_ndim != 2:
        way_out = "omit joint"
        if scan.trajectory is None:
            way_out = "also give by_readout, which splits volumes with whole readouts"
        raise UsageError(f"{scan.name}: is a volume, but joint is for slices; {way_out}")
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
            f"{scan.name}: joint {axis!r} was requested, but the scan does not have several images "
            f"along such an axis; axes of this scan: {known}"
        )
    if len(sizes) > 1:
        raise DataError(
            f"{scan.name}: along {axis} some images have {counted(min(sizes), 'frame')}, others "
            f"{max(sizes)}; choose images with the same number, or omit joint"
        )
    for members in found.values():
        _check_numbers(sorted(number for number, _ in members), axis, scan.name)
    return tuple(tuple(index for _, index in sorted(members)) for members in found.values())


def _check_numbers(numbers: list[int], axis: str, name: str) -> None:
    """Refuse repeated or missing frames, whose neighbours in the stack would not be neighbours."""
    steps = [later - first for first, later in itertools.pairwise(numbers)]
    if min(steps) == 0:
        again = numbers[steps.index(0)]
        raise DataError(
            f"{name}: {axis} {again} occurs {numbers.count(again)} times; leave out the repeated "
            "frames, or omit joint"
        )
    step = min(steps)
    gap = next((i for i, found in enumerate(steps) if found != step), None)
    if gap is not None:
        raise DataError(
            f"{name}: {axis} {numbers[gap]} is followed by {axis} {numbers[gap + 1]}; frames "
            "between them are missing, so choose images at an even interval, or omit joint"
        )


def counters_of(scan: RawScan) -> list[dict[str, int]]:
    """Return the counters of every slice of every image, by name."""
    count = math.prod(scan.batch_shape)
    if not scan.images:
        return [{SLICE: index} for index in range(count)]
    slices = count // len(scan.images)
    images = [{m[1]: int(m[2]) for m in _COUNTER.finditer(name)} for name in scan.images]
    return [{**image, SLICE: number} for image in images for number in range(slices)]


def _axes_of(scan: RawScan) -> list[str]:
    """Return the axes along which a scan has several images."""
    counters = counters_of(scan)
    names = {name for one in counters for name in one}
    return sorted(n for n in names if len({one.get(n) for one in counters}) > 1)


def joint_network(options: NetworkOptions) -> NetworkOptions:
    """Return the options of the network for frames, which have another default sparsifier.

    Raises
    ------
    UsageError
        If the network is for single images.
    """
    if options.weights is not None or options.preset not in _PRESETS:
        is_trained = options.weights is not None
        what = "trained networks are" if is_trained else f"the preset {options.preset} is"
        raise UsageError(
            f"joint: {what} for single images; use one of the presets {', '.join(_PRESETS)}"
        )
    return options if options.sparsifier else options.replace(sparsifier=SPARSIFIER)


def frames_of(planes: Tensor, group: tuple[int, ...]) -> Tensor:
    """Return frames (coil, frame, y, x) of planes (index, coil, y, x), without a copy if possible.

    Parameters
    ----------
    planes
        All slices of all images.
    group
        The indices of the frames.
    """
    steps = {later - first for first, later in itertools.pairwise(group)}
    if len(steps) == 1 and min(steps) > 0:
        chosen = planes[group[0] : group[-1] + 1 : steps.pop()]
    else:
        chosen = planes[list(group)]
    return chosen.transpose(0, 1)


def mean_of_frames(kspace: Tensor, mask: Tensor) -> Tensor:
    """Return the mean, at every point, over the frames that measured it, (coil, y, x).

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


def frames_entry(
    encoding: FrameWise | FramesApart, sparsifier: LinearOperator | None, count: int
) -> Entry:
    """Return a certificate's entry on frames that were reconstructed as one image.

    Parameters
    ----------
    encoding
        The operator of the frames.
    sparsifier
        The frames' sparsifier.
    count
        Number of items.
    """
    return Entry(
        "frames",
        "assumed",
        "The value of frames is the number of images that were reconstructed as one. The gap, the "
        "constants and the norms are those of all frames together: a change of the samples of one "
        f"frame may change the image of another.{_tilings(sparsifier)}",
        "It does not state how sharply a change from frame to frame is preserved.",
        {"frames": (float(encoding.domain_shape[0]),) * count},
        tuple(range(count)),
    )


def _tilings(sparsifier: LinearOperator | None) -> str:
    """Return a sentence per size of low-rank squares; nothing if there are none."""
    modules = () if sparsifier is None else sparsifier.modules()
    return "".join(
        f" The gap refers to the mean of {len(part.offsets)} fixed tilings by squares of "
        f"{part.patch} x {part.patch} pixels, which begin at the rows and columns "
        f"{', '.join(map(str, part.offsets))}."
        for part in modules
        if isinstance(part, LocalLowRank)
    )


def encode_frames(
    kspace: Tensor,
    sampling: Tensor | Sequence[NonuniformFourier],
    maps: Tensor,
    *,
    chain: Chain,
    maps_from_data: bool,
) -> Encoded:
    """Return a network's input for frames.

    Samples along trajectories are multiplied by the roots of their density weights, frame by frame.

    Parameters
    ----------
    kspace
        (coil, frame, *samples) complex, zero where not sampled.
    sampling
        Mask (1, frame, y, x) bool; or the transforms of trajectories, one per frame or one for
        all.
    maps
        (coil, y, x), or (frame, coil, y, x).
    chain, maps_from_data
        See :func:`firenet_mri.reconstruction.solve.encode`.
    """
    if isinstance(sampling, Tensor):
        sense = encoding_operator(sampling.transpose(0, 1), maps, 2, maps_from_data=maps_from_data)
        encoding = FrameWise(kspace.shape[1], sense)
        return Encoded(kspace, encoding, encoding.root_sum_of_squares, chain, kspace)
    along = _along(kspace.shape[1], sampling, maps, maps_from_data)
    weighted = kspace
    roots = [one.root_weights for one in sampling if one.root_weights is not None]
    if roots:
        link = SampleWeighting(torch.stack(roots), along.codomain_shape, Part("density weights"))
        weighted, chain = link(kspace), chain.then(link)
    return Encoded(weighted, along, along.root_sum_of_squares, chain, kspace)


def _along(
    frames: int, fouriers: Sequence[NonuniformFourier], maps: Tensor, maps_from_data: bool
) -> FrameWise | FramesApart:
    """Return the operator of frames along one trajectory, or along their own."""
    if len(fouriers) == 1:
        return FrameWise(frames, Sense(maps, fouriers[0], maps_from_data=maps_from_data))
    own = maps if maps.ndim == 4 else [maps] * frames
    pairs = zip(own, fouriers, strict=True)
    return FramesApart([Sense(*pair, maps_from_data=maps_from_data) for pair in pairs])
