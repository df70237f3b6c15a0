"""What a scan is once it is read: k-space, sampling mask, noise measurement and geometry.

Geometry follows ISMRMRD and DICOM: LPS coordinates in mm, the pixel with index N//2 of every axis
(the centre of the discrete Fourier transform) lies at ``position``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firenet_mri.digests import (
    ScanDigests,
    digest_of_data,
    digest_of_parts,
    digest_of_tensor,
)
from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.operators.nonuniform import check_trajectory

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
        Unit vectors, LPS. Taken as they are: a left-handed frame stays left-handed.
    is_placed
        False if the sizes are known but position and directions are made up; an image is then
        written without claiming to lie in the scanner.
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
        """Return the geometry of slices (z, y, x) whose affine is known.

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
        """Return the thickness of one of so many slices: of a volume, its share of the extent."""
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
                f"slices {list(slices)} are not evenly spaced, and no one geometry fits them; "
                "choose evenly spaced ones"
            )
        positions = tuple(self.positions_mm[i] for i in slices)
        return dataclasses.replace(self, positions_mm=positions)

    def affine_lps(self, shape: tuple[int, int, int]) -> np.ndarray:
        """Return the 4x4 matrix from index (x, y, z) to LPS mm for an array of ``shape`` (z, y, x).

        For several positions z counts slices and the step is the one between their centres.
        """
        nz, ny, nx = shape
        fov_z, fov_y, fov_x = self.field_of_view_mm
        positions = np.array(self.positions_mm, dtype=float)
        many = len(positions) > 1
        if many and len(positions) != nz:
            raise ShapeError(f"{len(positions)} slice positions for {nz} slices")
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


def _is_finite(kspace: Tensor) -> bool:
    """Return whether all samples are, plane by plane: large ones leave no room for a mask."""
    planes = kspace.reshape(-1, *kspace.shape[-2:])
    return all(bool(torch.isfinite(torch.view_as_real(plane)).all()) for plane in planes)


def as_vector(values: np.ndarray) -> Vector:
    """Return three numbers of an array as plain ones."""
    x, y, z = (float(value) for value in values)
    return x, y, z


@dataclass(frozen=True)
class ImageGrid:
    """Pixels (z, y, x) of an image and the extent in mm that they cover, centred at N//2."""

    shape: tuple[int, int, int]
    field_of_view_mm: Vector


@dataclass(frozen=True)
class AcquisitionParameters:
    """What an image's headers say of the sequence, as far as it is known; nothing of the patient.

    Parameters
    ----------
    field_strength_t
        Tesla.
    repetition_time_ms, inversion_time_ms
        Milliseconds.
    echo_times_ms
        Milliseconds, one an echo.
    flip_angle_deg
        Degrees.
    """

    field_strength_t: float | None = None
    repetition_time_ms: float | None = None
    echo_times_ms: tuple[float, ...] = ()
    inversion_time_ms: float | None = None
    flip_angle_deg: float | None = None


@dataclass(frozen=True, eq=False)
class RawScan:
    """A multi-coil scan, Cartesian or along a trajectory.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex64, zero frequency at index N//2 of every spatial axis, zero
        where not sampled. Leading axes are slices. Readout oversampling is already removed. With a
        trajectory (..., coil, *samples).
    mask
        bool, True where sampled; broadcasts from the right to (..., 1, *spatial), the shape in
        which it is kept; with a trajectory (..., 1, *samples).
    spatial_ndim
        2 or 3.
    noise
        (coil, samples) complex64, scaled to the noise of one k-space sample; None if there was no
        noise measurement or the scan is already whitened.
    geometry
        None if the file does not say.
    name
        File name for messages; never a patient's.
    simulated
        True if the data were computed from an image.
    trajectory
        (*samples, spatial_ndim) real, in cycles per field of view, the last axis in the order of
        the image's axes; None if Cartesian.
    image_shape
        Sizes of the image where there is a trajectory.
    images
        What the images along the first axis are, such as "repetition 0", "repetition 1", where the
        scan has several; the slices are the second axis then. Empty for one image.
    scanner_grid
        The grid on which the scanner itself shows the image; None if the file does not say.
    parameters
        Field strength and times, for the headers of images.
    applied
        Linear maps that were applied to the samples since they were read, in their order, such as
        whitening; every bound of a certificate goes through them.
    record
        How it was read, as plain data for the certificate: options by name, files and arrays by
        their SHA-256.
    """

    kspace: Tensor
    mask: Tensor
    spatial_ndim: int
    noise: Tensor | None = None
    geometry: Geometry | None = None
    name: str = "scan"
    simulated: bool = False
    trajectory: Tensor | None = None
    image_shape: tuple[int, ...] | None = None
    images: tuple[str, ...] = ()
    scanner_grid: ImageGrid | None = None
    parameters: AcquisitionParameters = AcquisitionParameters()
    applied: tuple[LinearOperator, ...] = ()
    record: Mapping[str, object] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.name
        if self.spatial_ndim not in (2, 3):
            raise ShapeError(
                f"{name}: {self.spatial_ndim} spatial axes; 2 or 3 can be reconstructed"
            )
        if self.trajectory is not None:
            self._check_trajectory(self.trajectory)
        if self.kspace.ndim < self.sample_ndim + 1:
            raise ShapeError(
                f"{name}: k-space has shape {tuple(self.kspace.shape)}; expected (..., coil, "
                f"{'z, ' if self.spatial_ndim == 3 else ''}y, x)"
            )
        if not self.kspace.is_complex():
            raise DataError(f"{name}: k-space is {self.kspace.dtype}; it must be complex")
        if not _is_finite(self.kspace):
            raise DataError(f"{name}: k-space has NaN or infinite samples; export the scan again")
        if not self.kspace.any():
            raise DataError(
                f"{name}: all k-space samples are zero; there is nothing to reconstruct"
            )
        if self.mask.dtype != torch.bool:
            raise DataError(f"{name}: mask is {self.mask.dtype}; it must be bool")
        if self.images and (not self.batch_shape or self.batch_shape[0] != len(self.images)):
            raise ShapeError(
                f"{name}: {len(self.images)} images are named, k-space has shape "
                f"{tuple(self.kspace.shape)}; its first axis must count them"
            )
        shape = (*self.batch_shape, 1, *self.kspace.shape[-self.sample_ndim :])
        try:
            full_mask = self.mask.expand(shape)
        except RuntimeError:
            raise ShapeError(
                f"{name}: mask of shape {tuple(self.mask.shape)} does not fit k-space of shape "
                f"{tuple(self.kspace.shape)}; give one that broadcasts to {shape}"
            ) from None
        object.__setattr__(self, "mask", full_mask)
        if self.noise is not None and self.noise.shape[0] != self.coils:
            raise ShapeError(
                f"{name}: noise measurement has {self.noise.shape[0]} coils, k-space has "
                f"{self.coils}"
            )

    def _check_trajectory(self, trajectory: Tensor) -> None:
        """Raise a named error unless trajectory, image size and data belong together."""
        if self.image_shape is None or len(self.image_shape) != self.spatial_ndim:
            raise ShapeError(
                f"{self.name}: the image size is {self.image_shape}; with a trajectory give one of "
                f"{self.spatial_ndim} numbers"
            )
        try:
            check_trajectory(trajectory, self.image_shape)
        except FirenetError as error:
            raise type(error)(f"{self.name}: {error}") from None
        samples = tuple(trajectory.shape[:-1])
        found = tuple(self.kspace.shape[-len(samples) :])
        if found != samples or self.kspace.ndim <= len(samples):
            raise ShapeError(
                f"{self.name}: the data have shape {tuple(self.kspace.shape)}, the trajectory "
                f"{tuple(trajectory.shape)}; the data must be (..., coil, "
                f"{', '.join(map(str, samples))})"
            )

    @property
    def sample_ndim(self) -> int:
        """Number of k-space axes after the coil axis."""
        return self.spatial_ndim if self.trajectory is None else self.trajectory.ndim - 1

    @property
    def coils(self) -> int:
        """Number of receive coils."""
        return self.kspace.shape[-self.sample_ndim - 1]

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Sizes of the image, (y, x) or (z, y, x)."""
        if self.image_shape is not None:
            return tuple(self.image_shape)
        return tuple(self.kspace.shape[-self.spatial_ndim :])

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Sizes of the axes before the coil axis: slices."""
        return tuple(self.kspace.shape[: -self.sample_ndim - 1])

    @property
    def sampled_fraction(self) -> float:
        """Share of the k-space grid that was sampled; samples a pixel where it has a trajectory."""
        if self.trajectory is not None:
            return self.trajectory.shape[:-1].numel() / math.prod(self.spatial_shape)
        return float(self.mask.float().mean())


def digest_of_scan(scan: RawScan) -> ScanDigests:
    """Return the digests of a scan: what was sampled, and where."""
    full = scan.mask.expand(scan.kspace.shape)
    zero = torch.zeros((), dtype=scan.kspace.dtype, device=scan.kspace.device)
    # Not a product: it would keep the sign of the zeros.
    leading = np.ndindex(scan.kspace.shape[:-2])
    planes = (torch.where(full[i], scan.kspace[i], zero) for i in leading)
    trajectory = None
    if scan.trajectory is not None:
        where = digest_of_tensor(scan.trajectory)
        trajectory = digest_of_data([where, list(scan.spatial_shape)])
    return ScanDigests(
        digest_of_parts(scan.kspace.dtype, scan.kspace.shape, planes),
        digest_of_tensor(scan.mask),
        None if scan.noise is None else digest_of_tensor(scan.noise),
        trajectory,
    )


def sampled_mask(kspace: Tensor, spatial_ndim: int) -> Tensor:
    """Return (..., 1, *spatial) bool: True where any coil of (..., coil, *spatial) is not zero."""
    return (kspace != 0).any(dim=-spatial_ndim - 1, keepdim=True)


def readouts_are_whole(mask: Tensor, axis: int = -1) -> bool:
    """Return whether along an axis, the readout, either all or nothing was sampled."""
    return bool((mask.all(axis) == mask.any(axis)).all())


def with_reversed_kspace(scan: RawScan) -> RawScan:
    """Return the scan with k-space reversed about its centre.

    Its inverse Fourier transform is the forward transform of the scan as it was: the image turned
    about pixel N//2. Scanners differ in which of the two shows the image along their directions.
    """
    if scan.trajectory is not None:
        return dataclasses.replace(scan, trajectory=-scan.trajectory)
    axes = range(-scan.spatial_ndim, 0)
    return dataclasses.replace(
        scan, kspace=_reversed(scan.kspace, axes), mask=_reversed(scan.mask, axes)
    )


def split_readout(scan: RawScan) -> RawScan:
    """Return a volume with whole readouts as slices across the readout, each a 2D scan.

    The inverse Fourier transform along the readout, which is unitary, takes the volume apart: what
    was measured of the plane at pixel x is k-space (z, y), with the same mask for every x and noise
    of the same variance. There is no geometry: the planes' place is the volume's.

    Raises
    ------
    UsageError
        If it is no Cartesian volume of one image, or has readouts of which not all was measured.
    """
    has_planes = scan.spatial_ndim == 3 and not scan.batch_shape and scan.trajectory is None
    if not has_planes or not readouts_are_whole(scan.mask):
        raise UsageError(
            f"{scan.name}: only a Cartesian volume of one image with whole readouts can be taken "
            "apart along the readout; reconstruct it as a whole"
        )
    hybrid = torch.empty_like(scan.kspace)
    for coil, kspace in enumerate(scan.kspace):
        hybrid[coil] = centred_ifft(kspace, [-1])
    return dataclasses.replace(
        scan,
        kspace=hybrid.movedim(-1, 0),
        mask=scan.mask[..., 0],
        spatial_ndim=2,
        geometry=None,
        scanner_grid=None,
    )


def _reversed(x: Tensor, axes: Iterable[int]) -> Tensor:
    """Return x with index n of each axis at (2 (N//2) - n) mod N."""
    for axis in axes:
        size = x.shape[axis]
        # For even N the first sample, -N/2, is its own opposite.
        x = x.flip(axis).roll(1 - size % 2, axis)
    return x.contiguous()


def select(
    scan: RawScan, *, images: Sequence[int] | None = None, slices: Sequence[int] | None = None
) -> RawScan:
    """Return some of the images and slices of a scan, in the order of the scan.

    Parameters
    ----------
    scan
        The scan.
    images
        Indices along the axis of images; None keeps all.
    slices
        Indices along the axis of slices of a 2D scan, evenly spaced where its place is known; None
        keeps all.

    Raises
    ------
    UsageError
        If there is no such axis or index, or slices are not evenly spaced.
    """
    kspace, mask, geometry, names = scan.kspace, scan.mask, scan.geometry, scan.images
    if images is not None:
        chosen = _indices(images, len(names), f"{scan.name}: image")
        kspace, mask = kspace[chosen], mask[chosen]
        names = tuple(names[i] for i in chosen)
    if slices is not None:
        axis = 1 if scan.images else 0
        count = scan.batch_shape[axis] if len(scan.batch_shape) == axis + 1 else 0
        chosen = _indices(slices, count, f"{scan.name}: slice")
        kspace, mask = (x.index_select(axis, torch.tensor(chosen)) for x in (kspace, mask))
        try:
            geometry = None if geometry is None else geometry.of_slices(chosen)
        except UsageError as error:
            raise UsageError(f"{scan.name}: {error}") from None
    return dataclasses.replace(scan, kspace=kspace, mask=mask, geometry=geometry, images=names)


def _indices(wanted: Sequence[int], count: int, what: str) -> list[int]:
    if count == 0:
        raise UsageError(f"{what}s were chosen, but the scan has one only; leave that out")
    missing = sorted(set(wanted) - set(range(count)))
    if missing or not wanted:
        raise UsageError(f"{what} {missing} asked for; there are 0 to {count - 1}")
    return sorted(set(wanted))
