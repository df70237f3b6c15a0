"""Where an image lies in the scanner, its grid, and what its headers state; without torch.

Geometry follows ISMRMRD and DICOM: LPS coordinates in mm. The pixel with index N//2 of every axis
(the centre of the discrete Fourier transform) lies at ``position``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.plurals import counted

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """Where the image lies in the scanner.

    Parameters
    ----------
    field_of_view_mm
        Extent along (slice or second phase, phase, readout), the order of the array axes (z, y, x).
        For 2D scans the first entry is the slice thickness.
    positions_mm
        Centre of each slice (2D) or of the one volume (3D), LPS.
    read_direction, phase_direction, slice_direction
        Unit vectors, LPS. They are not corrected: a left-handed frame stays left-handed.
    is_placed
        False if the sizes are known but position and directions are invented; the image is then
        written without a position in the scanner.
    """

    field_of_view_mm: Vector
    positions_mm: tuple[Vector, ...]
    read_direction: Vector = (1.0, 0.0, 0.0)
    phase_direction: Vector = (0.0, 1.0, 0.0)
    slice_direction: Vector = (0.0, 0.0, 1.0)
    is_placed: bool = True

    def __post_init__(self) -> None:
        if not self.positions_mm:
            raise ShapeError(
                "Geometry has no position; give one for each slice or one for a volume"
            )
        values = np.array(
            [
                self.field_of_view_mm,
                *self.positions_mm,
                self.read_direction,
                self.phase_direction,
                self.slice_direction,
            ],
            dtype=float,
        )
        if not np.isfinite(values).all():
            raise DataError("Geometry has NaN or infinite values; correct the scan's header")
        if min(self.field_of_view_mm) <= 0:
            raise DataError(f"Field of view {self.field_of_view_mm} mm is not positive")
        directions = values[-3:]
        if not np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-3):
            raise DataError("Read, phase and slice direction must be unit vectors")
        if abs(np.linalg.det(directions)) < 1e-3:
            raise DataError("Read, phase and slice direction do not span space")

    @classmethod
    def from_affine(
        cls, affine_lps: np.ndarray, shape: tuple[int, int, int], *, is_placed: bool = True
    ) -> Geometry:
        """Return the geometry of slices (z, y, x) with a known affine.

        Parameters
        ----------
        affine_lps
            (4, 4), index (x, y, z) to LPS mm.
        shape
            Sizes (z, y, x).
        is_placed
            See the class.

        Raises
        ------
        DataError
            If the axes of the slices are not perpendicular, or two axes are parallel.
        """
        nz, ny, nx = shape
        columns = affine_lps[:3, :3].T
        spacing = np.linalg.norm(columns, axis=1)
        if not np.isfinite(affine_lps).all() or spacing.min() <= 0:
            raise DataError("The affine is singular or not finite; correct the image's header")
        read, phase, slice_ = columns / spacing[:, None]
        if abs(read @ phase) > 1e-3:
            raise DataError("The image's rows and columns are not perpendicular; resample it first")
        middle = affine_lps[:3, 3] + columns[0] * (nx // 2) + columns[1] * (ny // 2)
        positions = [middle + columns[2] * i for i in range(nz)]
        return cls(
            (float(spacing[2]), float(spacing[1] * ny), float(spacing[0] * nx)),
            tuple(as_vector(position) for position in positions),
            as_vector(read),
            as_vector(phase),
            as_vector(slice_),
            is_placed,
        )

    def slice_thickness_mm(self, slices: int) -> float:
        """Return the thickness of one of so many slices; for a volume, its share of the extent."""
        return self.field_of_view_mm[0] / (1 if len(self.positions_mm) > 1 else slices)

    def of_slices(self, slices: Sequence[int]) -> Geometry:
        """Return the geometry of some of the slices, in rising order.

        Raises
        ------
        UsageError
            If they are not evenly spaced.
        """
        if len(self.positions_mm) == 1:
            return self
        steps = {after - before for before, after in itertools.pairwise(slices)}
        if len(steps) > 1:
            raise UsageError(
                f"slices {list(slices)} are not evenly spaced, and no single geometry fits them; "
                "choose evenly spaced slices"
            )
        positions = tuple(self.positions_mm[i] for i in slices)
        return dataclasses.replace(self, positions_mm=positions)

    def affine_lps(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the 4x4 matrix from index (x, y, z) to LPS mm for an array of ``shape`` (z, y, x).

        For several positions z counts slices, and the step is the distance between their centres.
        """
        nz, ny, nx = shape
        fov_z, fov_y, fov_x = self.field_of_view_mm
        positions = np.array(self.positions_mm, dtype=float)
        many = len(positions) > 1
        if many and len(positions) != nz:
            raise ShapeError(f"{len(positions)} slice positions for {counted(nz, 'slice')}")
        column_x = np.array(self.read_direction) * fov_x / nx
        column_y = np.array(self.phase_direction) * fov_y / ny
        if many:
            column_z = (positions[-1] - positions[0]) / (nz - 1)
        else:
            column_z = np.array(self.slice_direction) * fov_z / nz
        origin = positions[0] - column_x * (nx // 2) - column_y * (ny // 2)
        if not many:
            origin = origin - column_z * (nz // 2)
        affine = np.eye(4)
        affine[:3] = np.stack([column_x, column_y, column_z, origin], axis=1)
        return affine

    def affine_ras(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the 4x4 matrix from index (x, y, z) to RAS mm, as NIfTI and MONAI use it."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine_lps(shape)


def as_vector(values: np.ndarray) -> Vector:
    """Return three numbers of an array as plain floats."""
    x, y, z = (float(value) for value in values)
    return x, y, z


@dataclass(frozen=True)
class ImageGrid:
    """Pixels (z, y, x) of an image and the extent in mm that they cover, centred at N//2."""

    shape: tuple[int, int, int]
    field_of_view_mm: Vector


@dataclass(frozen=True)
class Moment:
    """The time at which one of several images was taken; never a time of day.

    Parameters
    ----------
    image
        Name of the image, see :class:`firenet_mri.scan.RawScan`.
    from_first_ms
        Milliseconds since the first image of the scan; None if unknown.
    from_trigger_ms
        Milliseconds since the trigger of the heartbeat; None if unknown.
    """

    image: str
    from_first_ms: float | None = None
    from_trigger_ms: float | None = None


@dataclass(frozen=True)
class AcquisitionParameters:
    """What an image's headers state about the sequence, as far as known; nothing about the patient.

    Parameters
    ----------
    field_strength_t
        Tesla.
    repetition_time_ms, inversion_time_ms
        Milliseconds.
    echo_times_ms
        Milliseconds, one per echo.
    flip_angle_deg
        Degrees.
    moments
        When the images were taken; images without a known time are omitted.
    """

    field_strength_t: float | None = None
    repetition_time_ms: float | None = None
    echo_times_ms: tuple[float, ...] = ()
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None
    moments: tuple[Moment, ...] = ()
