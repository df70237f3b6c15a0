"""Orients an image as radiologists view it: magnitude, all slices, letters at the four edges."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.errors import ShapeError
from firenet_mri.geometry import Geometry

#: Percentile of an image's magnitude that is shown as white.
WINDOW_PERCENTILE = 99.8


@dataclass(frozen=True, eq=False)
class Display:
    """The slices of an image as displayed.

    Parameters
    ----------
    slices
        (slice, row, column) magnitudes; rows go down and columns right on the screen.
    pixel_aspect
        Height of a pixel divided by its width.
    letters
        Letters of the patient's sides at the left, right, top and bottom edge; None if the position
        of the image is not known.
    """

    slices: NDArray[np.floating]
    pixel_aspect: float = 1.0
    letters: tuple[str, str, str, str] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns of a slice."""
        _, rows, columns = self.slices.shape
        return rows, columns

    @property
    def height_over_width(self) -> float:
        """Height of a displayed slice divided by its width."""
        rows, columns = self.shape
        return rows * self.pixel_aspect / columns

    def white(self) -> float:
        """Return the magnitude, over all slices, that is shown as white; positive."""
        return float(np.percentile(self.slices, WINDOW_PERCENTILE)) or 1.0

    def of(self, indices: list[int]) -> Display:
        """Return some of the slices."""
        return replace(self, slices=self.slices[indices])

    def error_of(self, truth: Display) -> Display:
        """Return the absolute difference from another image of the same shape."""
        return replace(self, slices=np.abs(self.slices - truth.slices))

    def shrunk(self, factor: int) -> Display:
        """Return means over squares of pixels, which may be cut off at the edges."""
        slices = self.slices
        for axis in (1, 2):
            starts = np.arange(0, slices.shape[axis], factor)
            counts = np.diff(starts, append=slices.shape[axis]).astype(slices.dtype)
            shape = [1, 1, 1]
            shape[axis] = -1
            slices = np.add.reduceat(slices, starts, axis=axis) / counts.reshape(shape)
        return replace(self, slices=slices)

    def grid(self) -> tuple[int, int]:
        """Return the rows and columns of a nearly square montage with few empty places."""
        count = len(self.slices)
        square = min(count, math.ceil(math.sqrt(count * self.height_over_width)))
        columns = min(square, count), min(square + 1, count)
        grids = [(math.ceil(count / number), number) for number in columns]
        return min(grids, key=lambda grid: grid[0] * grid[1])

    def montage(self) -> NDArray[np.floating]:
        """Return all slices side by side, row by row; NaN in empty places of the grid."""
        rows, columns = self.grid()
        height, width = self.shape
        whole = np.full((rows * height, columns * width), np.nan, np.float32)
        for (top, left), pixels in zip(self.corners(), self.slices, strict=False):
            whole[top : top + height, left : left + width] = pixels
        return whole

    def corners(self) -> Iterator[tuple[int, int]]:
        """Yield the row and column of each slice's upper left pixel in the montage."""
        _, columns = self.grid()
        height, width = self.shape
        for index in range(len(self.slices)):
            yield index // columns * height, index % columns * width


def displayed(image: Tensor | NDArray[np.generic], geometry: Geometry | None) -> Display:
    """Return the slices of an image, oriented for display if their position is known.

    The patient's right is then at the left, and anterior or superior at the top. Otherwise rows go
    down and columns right, as stored.

    Parameters
    ----------
    image
        (..., y, x) real or complex; the leading axes are counted as slices.
    geometry
        Where the image lies.

    Raises
    ------
    ShapeError
        If the image has fewer than two axes.
    """
    array = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    if array.ndim < 2:
        raise ShapeError(f"An image of shape {array.shape} cannot be shown; it needs (..., y, x)")
    slices = np.abs(array.reshape(-1, *array.shape[-2:]))
    if geometry is None:
        return Display(slices)
    _, rows, columns = slices.shape
    _, fov_y, fov_x = geometry.field_of_view_mm
    down, right = np.array(geometry.phase_direction), np.array(geometry.read_direction)
    aspect = (fov_y / rows) / (fov_x / columns)
    if not geometry.is_placed:
        return Display(slices, aspect)
    want_right, want_down = _display_axes(np.array(geometry.slice_direction))
    if abs(right @ want_right) < abs(down @ want_right):
        slices, aspect, down, right = slices.swapaxes(1, 2), 1 / aspect, right, down
    if right @ want_right < 0:
        slices, right = slices[:, :, ::-1], -right
    if down @ want_down < 0:
        slices, down = slices[:, ::-1], -down
    letters = (_letter(-right), _letter(right), _letter(-down), _letter(down))
    return Display(slices, aspect, letters)


def _display_axes(
    normal: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the LPS directions that go right and down on a radiologist's screen."""
    left, posterior, superior = np.eye(3)
    plane = int(np.argmax(np.abs(normal)))
    if plane == 0:
        return posterior, -superior
    return left, -superior if plane == 1 else posterior


def _letter(direction: NDArray[np.floating]) -> str:
    """Return the letter of the patient's side towards which an LPS direction mostly points."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LPS" if direction[axis] > 0 else "RAI")[axis]
