"""The sampling pattern of a scan as a picture and in words."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.io.image.png import grey_levels, png_bytes
from firenet_mri.plurals import counted
from firenet_mri.scan import RawScan, readouts_are_whole

# Squares along an edge of the picture of a trajectory, and the brightness of a single point.
_EDGE, _LEAST_EDGE, _FAINTEST = 256, 32, 0.3


class SamplingPicture(NamedTuple):
    """A sampling pattern: a PNG, and its caption."""

    png: bytes
    text: str


def sampling_of(scan: RawScan) -> SamplingPicture:
    """Return where k-space was sampled: white is sampled, the zero frequency is in the middle.

    Of several slices the first is shown. A volume is shown as the plane of its two phase encodings,
    and a trajectory as the density of its points.
    """
    if scan.trajectory is not None:
        return _points(scan)
    mask = scan.mask.numpy(force=True)[..., 0, :, :] if scan.spatial_ndim == 2 else None
    share = f"{100 * scan.sampled_fraction:.3g} % of k-space is sampled"
    if mask is None:
        volumes = scan.mask.numpy(force=True)[..., 0, :, :, :]
        first = volumes.reshape(-1, *volumes.shape[-3:])[0]
        plane = first.any(-1)
        detail = f"{int(plane.sum())} of {counted(plane.size, 'readout')}"
        return _picture(plane, f"{share}: {detail}; the picture shows the plane across them.")
    planes = mask.reshape(-1, *mask.shape[-2:])
    first = planes[0]
    differ = "" if (planes == first).all() else " The slices differ; the picture shows the first."
    if readouts_are_whole(scan.mask):
        lines = int(first.any(-1).sum())
        return _picture(first, f"{share}: {lines} of {counted(len(first), 'line')}.{differ}")
    return _picture(first, f"{share}, point by point.{differ}")


def _picture(mask: NDArray[np.bool_], text: str) -> SamplingPicture:
    return SamplingPicture(png_bytes(255 * mask.astype(np.uint8)), text)


def _points(scan: RawScan) -> SamplingPicture:
    """Return the number of trajectory points in each square; bright squares contain many."""
    each = [one.numpy(force=True).reshape(-1, scan.spatial_ndim) for one in scan.trajectories]
    points = np.concatenate(each)
    extent = float(np.abs(points).max()) or 1.0
    # Not many more squares than points, so that single points are visible.
    squares = min(_EDGE, max(_LEAST_EDGE, math.ceil(2 * math.sqrt(len(points)))))
    edges = np.linspace(-extent, extent, squares + 1)
    counts, _, _ = np.histogram2d(points[:, -2], points[:, -1], bins=(edges, edges))
    levels = np.where(counts > 0, _FAINTEST + np.log1p(counts) / np.log1p(counts.max()), 0)
    differ = " The images differ; the picture shows all." if len(each) > 1 else ""
    text = (
        f"{counted(len(each[0]), 'point')} along a trajectory, {scan.sampled_fraction:.3g} for "
        f"each pixel; bright areas are dense.{differ}"
    )
    return SamplingPicture(png_bytes(grey_levels(levels, float(levels.max()))), text)
