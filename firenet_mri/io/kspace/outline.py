"""Describes a scan without its samples; for the commonest formats without loading torch.

Loading torch takes longer than reading a small file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError
from firenet_mri.geometry import Geometry
from firenet_mri.io.kspace.gaps import check_gaps

if TYPE_CHECKING:
    from firenet_mri.scan import RawScan


@dataclass(frozen=True, eq=False)
class Outline:
    """Description of a :class:`firenet_mri.RawScan`, without its samples.

    Parameters
    ----------
    coils, spatial_shape, batch_shape, images, geometry, simulated
        As in the scan.
    noise_samples
        Number of noise samples of each coil; 0 without a noise measurement.
    mask
        (*batch, 1, *spatial) bool; None with a trajectory.
    points
        Number of points of the trajectory; 0 without a trajectory.
    reference_lines
        Number of readouts that were measured separately for the sensitivity maps, over all slices.
    """

    coils: int
    spatial_shape: tuple[int, ...]
    batch_shape: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    geometry: Geometry | None = None
    simulated: bool = False
    noise_samples: int = 0
    mask: NDArray[np.bool_] | None = None
    points: int = 0
    reference_lines: int = 0

    @classmethod
    def of(cls, scan: RawScan) -> Outline:
        """Return the outline of a scan."""
        points = scan.trajectories[0] if scan.trajectories else None
        return cls(
            coils=scan.coils,
            spatial_shape=scan.spatial_shape,
            batch_shape=scan.batch_shape,
            images=scan.images,
            geometry=scan.geometry,
            simulated=scan.simulated,
            noise_samples=0 if scan.noise is None else scan.noise.shape[1],
            mask=scan.mask.numpy(force=True) if points is None else None,
            points=0 if points is None else points.shape[:-1].numel(),
            reference_lines=_lines_of_reference(scan),
        )

    @property
    def spatial_ndim(self) -> int:
        """2 or 3."""
        return len(self.spatial_shape)

    @property
    def sampled_fraction(self) -> float:
        """Share of the k-space grid that was sampled; samples per pixel along a trajectory."""
        if self.mask is None:
            return self.points / math.prod(self.spatial_shape)
        return float(self.mask.mean())


def outline_of_file(path: Path, group: str | None = None) -> Outline:
    """Return the outline of the scan in a file, or in one group of a file that holds several.

    Missing rows are logged, as in reading the scan.

    Raises
    ------
    FirenetError
        As raised by :func:`firenet_mri.io.read`.
    """
    from firenet_mri.io.kspace import bart, ismrmrd, npy
    from firenet_mri.io.kspace.formats import SCANNERS, Format, read_readouts, recognise

    format_ = recognise(path)
    found = None
    if format_ is Format.NUMPY:
        kspace = npy.read_coil_array(path)
        found = _of_array(kspace, kspace.ndim - 1, path)
    elif format_ is Format.BART:
        cfl = bart.find_pair(path) or path
        found = _of_array(*bart.read_coil_array(cfl), cfl)
    elif format_ in SCANNERS:
        found = ismrmrd.outline(*read_readouts(path, format_, group), name=path.name)
    if found is None:
        from firenet_mri.io.kspace.reading import read

        return Outline.of(read(path, group=group))
    if found.mask is not None:
        check_gaps(found.mask, found.spatial_ndim, path.name)
    return found


def _lines_of_reference(scan: RawScan) -> int:
    """Return how many readouts have a sample in the scan's reference."""
    if scan.reference is None:
        return 0
    return int((scan.reference != 0).any(-1).any(-scan.spatial_ndim).sum())


def check_samples(kspace: NDArray[np.complex64], name: str) -> None:
    """Raise the errors that a scan with these samples would raise."""
    if not np.isfinite(kspace).all():
        raise DataError(f"{name}: k-space has NaN or infinite samples; export the scan again")
    if not kspace.any():
        raise DataError(f"{name}: all k-space samples are zero; there is nothing to reconstruct")


def _of_array(kspace: NDArray[np.complex64], spatial_ndim: int, path: Path) -> Outline:
    """Return the outline of (..., coil, *spatial), where zero in all coils means not measured."""
    check_samples(kspace, path.name)
    if not _has_a_centre(kspace, spatial_ndim):
        # This loads torch, which only images and arrays that look like one need.
        import torch

        from firenet_mri.domain import check_is_kspace

        check_is_kspace(torch.from_numpy(kspace), spatial_ndim, name=str(path))
    *batch, coils = kspace.shape[:-spatial_ndim]
    sampled = (kspace != 0).any(axis=-spatial_ndim - 1, keepdims=True)
    return Outline(coils, kspace.shape[-spatial_ndim:], tuple(batch), mask=sampled)


def _has_a_centre(kspace: NDArray[np.complex64], spatial_ndim: int) -> bool:
    """Return whether more than half of the energy lies around the centre, as in no image.

    The box and its share are those of :mod:`firenet_mri.domain`, which checks the remaining arrays.
    """
    energy = np.vdot(kspace, kspace).real
    for axis in range(-spatial_ndim, 0):
        size = kspace.shape[axis]
        reach = min(2, size // 16)
        box = kspace.take(range(size // 2 - reach, size // 2 + reach + 1), axis)
        middle = kspace.take(size // 2, axis)
        of_middle = np.vdot(middle, middle).real
        if np.vdot(box, box).real - of_middle > (energy - of_middle) / 2:
            return True
    return False
