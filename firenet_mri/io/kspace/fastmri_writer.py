"""Writes a scan as a fastMRI file, which the loaders of fastMRI and MONAI read unchanged.

The file holds k-space (slice, coil, readout, phase) and an ISMRMRD header with the sizes. For a
fully sampled scan it also holds the target images, root-sums-of-squares of the coil images, with
their largest value and norm as attributes "max" and "norm". For an undersampled scan it holds the
mask of phase-encoding lines and no target. It contains nothing else: no patient, study, date,
scanner or file name.

Knoll et al., Radiology: Artificial Intelligence 2(1) e190007, 2020.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from firenet_mri.errors import DataError
from firenet_mri.geometry import ImageGrid
from firenet_mri.io.kspace.ismrmrd_writer import header_of

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.scan import RawScan

#: Which of a slice's axes is the phase encoding: rows or columns.
PhaseAxis = Literal[-2, -1]


def write_fastmri(path: Path, scan: RawScan, *, phase_axis: PhaseAxis | None = None) -> None:
    """Write a Cartesian scan of one image; a volume that is fully sampled along z becomes slices.

    Parameters
    ----------
    path
        The file, which is replaced.
    scan
        Slices in which lines were sampled, or a volume in which each line along z was sampled fully
        or not at all; its inverse Fourier transform along z gives slices. A noise measurement is
        not written; whiten the scan with it first.
    phase_axis
        The axis of phase encoding in ``scan.kspace``; None derives it from the missing lines, and
        takes rows if none is missing.

    Raises
    ------
    DataError
        If the scan has a trajectory, several images, or was not sampled in whole lines that are the
        same in all slices.
    """
    import h5py
    import torch

    from firenet_mri.operators.centred import centred_ifft

    _check_fits(scan)
    kspace, sampled = _slices(scan)
    if phase_axis is None:
        phase_axis = -1 if _is_constant(sampled, -2) and not sampled.all() else -2
    lines = _sampled_lines(scan.name, sampled, phase_axis)
    is_full = bool(sampled.all())
    if phase_axis == -2:
        kspace = kspace.transpose(-1, -2).contiguous()
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace.numpy(force=True)
        file["ismrmrd_header"] = _header(scan, kspace, phase_axis)
        if not is_full:
            file["mask"] = lines.numpy(force=True).astype("float32")
            return
        target = torch.linalg.vector_norm(centred_ifft(kspace, (-2, -1)), dim=1)
        file["reconstruction_rss"] = target.numpy(force=True)
        file.attrs["max"] = float(target.max())
        file.attrs["norm"] = float(torch.linalg.vector_norm(target.double()))


def _check_fits(scan: RawScan) -> None:
    if scan.trajectory is not None:
        raise DataError(
            f"{scan.name}: has a trajectory, which fastMRI files cannot store; write mrd, bart or "
            "npy"
        )
    if len(scan.images) > 1:
        raise DataError(
            f"{scan.name}: has {len(scan.images)} images ({scan.images[0]}, ...); a fastMRI file "
            "holds one, so choose one (--repetitions) or write mrd"
        )


def _slices(scan: RawScan) -> tuple[Tensor, Tensor]:
    """Return k-space (slice, coil, y, x), zero where not sampled, and the common mask (y, x) bool.

    Raises
    ------
    DataError
        If the mask differs from slice to slice, or along z in a volume.
    """
    import torch

    from firenet_mri.operators.centred import centred_ifft

    kspace = (scan.kspace * scan.mask).to(torch.complex64)
    axis, what = (-3, "along z") if scan.spatial_ndim == 3 else (0, "from slice to slice")
    rows, columns = scan.spatial_shape[-2:]
    planes = scan.mask.reshape(-1, rows, columns)
    if not bool((planes == planes[:1]).all()):
        raise DataError(
            f"{scan.name}: the sampled lines differ {what}; fastMRI files have one mask for all "
            "slices, so write mrd or bart"
        )
    if scan.spatial_ndim == 3:
        kspace = centred_ifft(kspace, [axis]).reshape(scan.coils, -1, rows, columns).transpose(0, 1)
    return kspace.reshape(-1, scan.coils, rows, columns), planes[0]


def _is_constant(mask: Tensor, axis: int) -> bool:
    return bool((mask == mask.narrow(axis, 0, 1)).all())


def _sampled_lines(name: str, sampled: Tensor, phase_axis: PhaseAxis) -> Tensor:
    """Return which lines along the phase axis were sampled, bool (phase).

    The part of a readout that an asymmetric echo leaves out must be the same in every line.
    """
    readout = -1 if phase_axis == -2 else -2
    lines = sampled.any(readout)
    measured = sampled if phase_axis == -2 else sampled.T
    if not _is_constant(measured[lines], 0):
        raise DataError(
            f"{name}: single points of k-space were sampled; fastMRI's mask describes whole "
            "phase-encoding lines, so write mrd, bart or npy"
        )
    return lines


def _header(scan: RawScan, kspace: Tensor, phase_axis: PhaseAxis) -> bytes:
    """Return the ISMRMRD header; a field of view of 0 mm means unknown."""
    from ismrmrd import xsd

    readout, phase = kspace.shape[-2:]
    extent = (0.0, 0.0, 0.0)
    if scan.geometry is not None:
        z, y, x = scan.geometry.field_of_view_mm
        thickness = z / scan.spatial_shape[0] if scan.spatial_ndim == 3 else z
        extent = (thickness, y, x) if phase_axis == -2 else (thickness, x, y)
    grid = ImageGrid((1, phase, readout), extent)
    header: Any = header_of(scan, grid, grid)
    return bytes(xsd.ToXML(header), "utf-8")
