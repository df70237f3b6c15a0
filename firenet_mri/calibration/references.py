"""Sources for sensitivity maps other than the image's own samples.

A source is a separately measured reference, or the mean of images over time that each sample a
different part of the centre of k-space: the coils do not move.
"""

from __future__ import annotations

import logging
import re

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration.region import has_calibration_region
from firenet_mri.scan import RawScan, sampled_mask

_log = logging.getLogger(__name__)

# The counters of time in an image's name.
_TIME = re.compile(r"(repetition|phase) \d+")


def serves(kspace: Tensor, width: int) -> bool:
    """Return whether the centre of (coil, *spatial) was measured, ``width`` wide on all axes."""
    mask = sampled_mask(kspace, kspace.ndim - 1)[0]
    return has_calibration_region(mask, width)


def reference_of_items(scan: RawScan) -> list[Tensor | None]:
    """Return the reference (coil, *spatial) of every slice of every image, or None."""
    leading = list(np.ndindex(scan.batch_shape))
    if scan.reference is None:
        return [None] * len(leading)
    tail = (scan.coils, *scan.spatial_shape)
    whole = scan.reference.expand(*scan.batch_shape, *tail)
    return [whole[at] for at in leading]


def time_average(scan: RawScan, width: int) -> Tensor | None:
    """Return the mean over time of the images' samples, (image, ..., coil, *spatial).

    Parameters
    ----------
    scan
        A Cartesian scan. Echoes and sets of images differ in phase, so they are not averaged with
        each other.
    width
        Width of the fully sampled centre that is required along every axis.

    Returns
    -------
    Tensor or None
        Of the shape of k-space, or with one image if all have the same mean; zero where nothing was
        measured at any time. None if the mean is not needed, or has no such centre.
    """
    if scan.trajectory is not None or len(scan.images) < 2:
        return None
    masks = scan.mask.reshape(-1, *scan.spatial_shape)
    if all(has_calibration_region(mask, width) for mask in masks):
        return None
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(scan.images):
        groups.setdefault(_TIME.sub("", name), []).append(index)
    means = [_mean(scan, members) for members in groups.values()]
    average = means[0][None]
    if len(groups) > 1:
        average = torch.empty_like(scan.kspace)
        for members, mean in zip(groups.values(), means, strict=True):
            average[members] = mean
    slices = average.reshape(-1, *average.shape[-scan.spatial_ndim - 1 :])
    if not all(serves(one, width) for one in slices if bool(one.any())):
        return None
    _log.warning(
        "%s: no calibration region in each image; the sensitivity maps are made from the mean of "
        "%d images over time",
        scan.name,
        max(len(members) for members in groups.values()),
    )
    return average


def _mean(scan: RawScan, images: list[int]) -> Tensor:
    """Return the mean of some images, at every point over the images that measured it."""
    total = torch.zeros_like(scan.kspace[0])
    count = torch.zeros(scan.mask[0].shape)
    for i in images:
        total += scan.kspace[i] * scan.mask[i]
        count += scan.mask[i]
    return total / count.clamp(min=1)
