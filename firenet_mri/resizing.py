"""Resamples an image to the scanner's pixels: cropped, padded, interpolated."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor
from torch.nn import functional

from firenet_mri.errors import DataError
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.scan import Geometry, ImageGrid, RawScan


def on_scanner_grid(image: Tensor, scan: RawScan) -> tuple[Tensor, RawScan]:
    """Return an image with the scanner's field of view and matrix, and the scan with its geometry.

    The field of view is cropped, or padded with zeros, in the image. The matrix is padded with
    zeros, or cropped, in k-space, which interpolates. Pixel N//2 keeps its place, and the image
    keeps its scale. Slices of a 2D scan are not resampled across slices.

    Parameters
    ----------
    image
        (..., *spatial) complex, the image of the scan.
    scan
        The scan, with geometry and ``scanner_grid``.

    Raises
    ------
    DataError
        If the scan lacks either.
    """
    grid, geometry = scanner_grid_of(scan)
    axes = range(-scan.spatial_ndim, 0)
    extents = list(geometry.field_of_view_mm)
    for axis in axes:
        size, wanted = image.shape[axis], grid.field_of_view_mm[axis]
        kept = max(1, round(size * wanted / extents[axis]))
        image = _resized(image, axis, kept)
        extents[axis] *= kept / size
    kspace = centred_fft(image, axes)
    before = image.shape[-scan.spatial_ndim :]
    for axis in axes:
        kspace = _resized(kspace, axis, grid.shape[axis])
    after = kspace.shape[-scan.spatial_ndim :]
    image = centred_ifft(kspace, axes)
    image = image * math.sqrt(math.prod(after) / math.prod(before))
    return image, dataclasses.replace(scan, geometry=_with_extent(geometry, extents))


def scanner_grid_of(scan: RawScan) -> tuple[ImageGrid, Geometry]:
    """Return the grid on which the scanner shows the image, and where the image lies.

    Raises
    ------
    DataError
        If the scan lacks either.
    """
    grid, geometry = scan.scanner_grid, scan.geometry
    if grid is None or geometry is None:
        raise DataError(
            f"{scan.name}: does not state the grid on which the scanner shows the image; omit this"
        )
    return grid, geometry


def _resized(x: Tensor, axis: int, size: int) -> Tensor:
    """Return x cropped or padded with zeros along an axis, index N//2 in the middle."""
    before = size // 2 - x.shape[axis] // 2
    after = size - x.shape[axis] - before
    padding = [0, 0] * (-axis - 1) + [before, after]
    return functional.pad(x, padding)


def _with_extent(geometry: Geometry, extents: list[float]) -> Geometry:
    z, y, x = extents
    return dataclasses.replace(geometry, field_of_view_mm=(z, y, x))
