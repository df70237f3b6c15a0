"""Resamples a reference scan, measured for the sensitivity maps, onto the image's k-space grid.

A reference scan may have another matrix, field of view and centre. If only the matrix differs, its
samples lie on the scan's grid. Otherwise the coil images of its fully sampled centre,

    s(p) = sum_k S_k exp(2 pi i k p / L) / sqrt(N),

are evaluated at the scan's pixels, axis by axis, and transformed to its k-space. The part that the
reference covers is kept.
"""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import torch
from torch import Tensor

from firenet_mri.calibration.region import calibration_region
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.geometry import Geometry
from firenet_mri.plurals import counted
from firenet_mri.scan import RawScan, sampled_mask

_log = logging.getLogger(__name__)

# Smallest cosine of the angle between axes that count as parallel.
_PARALLEL = 0.9998
# In pixels: smaller shifts do not affect the maps.
_SHIFT = 0.05
# Relative difference below which fields of view count as equal.
_SAME = 1e-3


def with_reference(scan: RawScan, reference: RawScan) -> RawScan:
    """Return the scan with the samples of another scan of the same coils as its reference.

    If the reference has several images, the first is taken. Slices are matched by position, or by
    order if their positions are not known.

    Raises
    ------
    ShapeError
        If the coils or the dimensions differ.
    DataError
        If the reference runs along a trajectory, lies elsewhere, is rotated, or must be resampled
        but has no fully sampled centre.
    """
    _check(scan, reference)
    kspace = reference.kspace * reference.mask
    kspace = kspace[0] if reference.images else kspace
    shape = (-1, scan.coils, *reference.spatial_shape)
    kspace = kspace.reshape(shape)[_slices(scan, reference)]
    offsets = _offsets_mm(scan, reference)
    wanted, extents = _extents(scan, reference)
    pixels = [extent / n for extent, n in zip(wanted, scan.spatial_shape, strict=True)]
    is_same = [
        abs(one / other - 1) < _SAME and abs(offset) < _SHIFT * pixel
        for one, other, offset, pixel in zip(extents, wanted, offsets, pixels, strict=True)
    ]
    if any(extent < (1 - _SAME) * other for extent, other in zip(extents, wanted, strict=True)):
        _log.warning(
            "%s: its field of view is smaller than the scan's; beyond it there are no maps and, "
            "with espirit, no image",
            reference.name,
        )
    if not all(is_same):
        kspace = _centre_of(kspace, reference.name)
    for axis, size in enumerate(scan.spatial_shape, -scan.spatial_ndim):
        if is_same[axis]:
            kspace = _centred(kspace, axis, size)
        else:
            kspace = _evaluated(kspace, axis, size, extents[axis], wanted[axis], offsets[axis])
    if _slice_count(scan) is None:
        kspace = kspace[0]
    return dataclasses.replace(scan, reference=kspace.contiguous())


def reference_alone(scan: RawScan) -> RawScan:
    """Return a scan's reference as a scan, with the same coils, grid and position."""
    assert scan.reference is not None
    kspace = scan.reference.expand(*scan.batch_shape, scan.coils, *scan.spatial_shape)
    kspace = (kspace[0] if scan.images else kspace).contiguous()
    mask = sampled_mask(kspace, scan.spatial_ndim)
    return dataclasses.replace(
        scan,
        kspace=kspace,
        mask=mask,
        images=(),
        noise=None,
        trajectory=None,
        image_shape=None,
        reference=None,
    )


def _check(scan: RawScan, reference: RawScan) -> None:
    if reference.trajectory is not None:
        raise DataError(
            f"{reference.name}: was sampled along a trajectory; give Cartesian reference lines"
        )
    if reference.coils != scan.coils:
        raise ShapeError(
            f"{reference.name}: has {counted(reference.coils, 'coil')}, but the scan has "
            f"{scan.coils}; give a reference of the same coils"
        )
    if reference.spatial_ndim != scan.spatial_ndim:
        raise ShapeError(
            f"{reference.name}: is {reference.spatial_ndim}D, but the scan is "
            f"{scan.spatial_ndim}D; give a reference of the same dimension"
        )


def _slice_count(scan: RawScan) -> int | None:
    """Return the size of the slice axis; None if there is none."""
    has_axis = scan.spatial_ndim == 2 and len(scan.batch_shape) > bool(scan.images)
    return scan.batch_shape[-1] if has_axis else None


def _placed(scan: RawScan) -> Geometry | None:
    """Return where the scan lies, with one position per slice; None if unknown."""
    geometry = scan.geometry
    if geometry is None or not geometry.is_placed:
        return None
    return geometry if len(geometry.positions_mm) == (_slice_count(scan) or 1) else None


def _slices(scan: RawScan, reference: RawScan) -> list[int]:
    """Return the index of the reference's slice for each slice of the scan."""
    count, found = _slice_count(scan) or 1, _slice_count(reference) or 1
    mine, other = _placed(scan), _placed(reference)
    if mine is None or other is None or scan.spatial_ndim == 3:
        if count != found:
            raise DataError(
                f"{reference.name}: has {counted(found, 'slice')}, but the scan has {count}, and "
                "their positions are not known; give a reference of the same slices"
            )
        return list(range(count))
    normal = np.array(mine.slice_direction)
    heights, others = (np.array(one.positions_mm) @ normal for one in (mine, other))
    distances = np.abs(heights[:, None] - others)
    thickness = max(mine.field_of_view_mm[0], other.field_of_view_mm[0])
    steps = np.diff(np.sort(others))
    reach = max(thickness, float(steps.max(initial=0.0))) / 2
    missing = np.flatnonzero(distances.min(1) > reach * (1 + _SAME))
    if len(missing):
        raise DataError(
            f"{reference.name}: has no slices at the positions of slices {missing.tolist()} of the "
            "scan; give a reference of the same slices"
        )
    return [int(index) for index in distances.argmin(1)]


def _offsets_mm(scan: RawScan, reference: RawScan) -> list[float]:
    """Return how far the scan's centre lies from the reference's along each image axis, in mm."""
    mine, other = _placed(scan), _placed(reference)
    if mine is None or other is None:
        return [0.0] * scan.spatial_ndim
    names = ("slice_direction", "phase_direction", "read_direction")[-scan.spatial_ndim :]
    axes = [np.array(getattr(mine, name)) for name in names]
    cosines = [
        axis @ np.array(getattr(other, name)) for axis, name in zip(axes, names, strict=True)
    ]
    if min(cosines) < _PARALLEL:
        raise DataError(
            f"{reference.name}: its axes differ from those of the scan; give a reference of the "
            "same orientation"
        )
    first = _slices(scan, reference)[0]
    step = np.array(mine.positions_mm[0]) - np.array(other.positions_mm[first])
    return [float(axis @ step) for axis in axes]


def _extents(scan: RawScan, other: RawScan) -> tuple[list[float], list[float]]:
    """Return the fields of view along each image axis in mm; 1 for both if one is unknown."""
    if scan.geometry is None or other.geometry is None:
        return [1.0] * scan.spatial_ndim, [1.0] * scan.spatial_ndim
    both = scan.geometry.field_of_view_mm, other.geometry.field_of_view_mm
    mine, its = (list(extent[-scan.spatial_ndim :]) for extent in both)
    return mine, its


def _centre_of(kspace: Tensor, name: str) -> Tensor:
    """Return the fully sampled centre, in which index N//2 is the zero frequency."""
    ndim = kspace.ndim - 2
    widths = calibration_region(sampled_mask(kspace, ndim), ndim)
    if min(widths) < 2:
        raise DataError(
            f"{name}: its centre of k-space is not fully sampled, but its field of view differs "
            "from the scan's; give a reference of the same field of view"
        )
    for axis, width in enumerate(widths, 2):
        kspace = _centred(kspace, axis, width)
    return kspace


def _centred(kspace: Tensor, axis: int, size: int) -> Tensor:
    """Return k-space cut or zero-padded to a size along an axis, so that N//2 remains N//2."""
    found = kspace.shape[axis]
    kept = min(found, size)
    part = kspace.narrow(axis, found // 2 - kept // 2, kept)
    if kept == size:
        return part
    shape = list(kspace.shape)
    shape[axis] = size
    padded = kspace.new_zeros(shape)
    padded.narrow(axis, size // 2 - kept // 2, kept).copy_(part)
    return padded


def _evaluated(
    kspace: Tensor, axis: int, size: int, extent: float, wanted: float, offset: float
) -> Tensor:
    """Return k-space on the grid of the field of view ``wanted``, its centre at ``offset`` mm."""
    count = kspace.shape[axis]
    k = np.arange(count) - count // 2
    p = (np.arange(size) - size // 2) * wanted / size + offset
    image = np.exp(2j * np.pi * np.outer(p, k) / extent)
    # The reference would repeat beyond its field of view.
    image[np.abs(p) > extent / 2] = 0
    q = np.arange(size) - size // 2
    forward = np.exp(-2j * np.pi * np.outer(q, np.arange(size) - size // 2) / size)
    matrix = forward @ image / size
    reach = q / wanted * extent
    matrix[(reach < k[0]) | (reach > k[-1])] = 0
    mixing = torch.from_numpy(matrix).to(kspace.dtype)
    return torch.tensordot(kspace, mixing, dims=([axis], [1])).movedim(-1, axis)
