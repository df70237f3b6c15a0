"""Coil compression: fewer virtual coils that contain nearly all of the signal.

With y_k the samples of all coils at point k, the virtual coils are V y_k, where the rows of V are
the leading eigenvectors of sum_k y_k y_k^H [1]. The rows are orthonormal, so white noise stays
white.

Geometric compression [2] has a separate V for every pixel along the readout. Coil sensitivities
differ along the readout, so fewer virtual coils contain the same signal. Each V is rotated as near
as possible to the V of the previous pixel, so that the virtual coils' sensitivities are smooth.

[1] Buehrer et al., Magn Reson Med 57:1131-1139, 2007.
[2] Zhang et al., Magn Reson Med 69:571-582, 2013.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import get_args

import torch
from torch import Tensor

from firenet_mri.calibration.covariance import coil_covariance
from firenet_mri.calibration.methods import Compression
from firenet_mri.calibration.whitening import mixed_reference
from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Part
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.operators.links import COMPRESSION, CoilMixing
from firenet_mri.plurals import counted
from firenet_mri.scan import RawScan, readouts_are_whole

_PART = Part(COMPRESSION, from_data=True)


def compress_coils(scan: RawScan, coils: int | float, method: Compression = "svd") -> RawScan:
    """Return the scan of virtual coils.

    Parameters
    ----------
    scan
        The scan, whitened if it has a noise measurement, so that signal decides, not noise.
    coils
        Number of virtual coils; or, as a float in (0, 1], the share of the signal's energy that
        they must contain.
    method
        "svd": the same matrix for all samples, in decreasing order of signal. "geometric": one
        matrix per pixel along the readout, for Cartesian scans with whole readouts.

    Raises
    ------
    UsageError
        If the number is less than 1 or more than the number of coils, or the share is outside
        (0, 1]; if the method is unknown; or if it is geometric and the scan has no whole readouts
        or is not whitened.
    """
    is_share = isinstance(coils, float)
    if is_share and not 0 < coils <= 1:
        raise UsageError(
            f"{coils} coils requested; give a whole number, or a share of the energy in (0, 1]"
        )
    if not is_share and not 1 <= coils <= scan.coils:
        raise UsageError(
            f"{scan.name}: {counted(coils, 'virtual coil')} requested; the scan has "
            f"{counted(scan.coils, 'coil')}, so use 1 to {scan.coils}"
        )
    if method not in get_args(Compression):
        raise UsageError(f"Unknown compression {method!r}; use svd or geometric")
    operator = _geometric(scan, coils) if method == "geometric" else _svd(scan, coils)
    noise = scan.noise
    if noise is not None:
        noise = (operator.matrix @ noise.to(torch.complex128)).to(noise.dtype)
    return dataclasses.replace(
        scan,
        kspace=operator(scan.kspace),
        noise=noise,
        applied=(*scan.applied, operator),
        reference=mixed_reference(operator, scan),
    )


def _count(energies: Tensor, coils: int | float) -> int:
    """Return the number of coils for a request, given the energies in decreasing order."""
    if not isinstance(coils, float):
        return int(coils)
    held = energies.clamp(min=0).cumsum(0) / energies.clamp(min=0).sum()
    # The last entry is 1 up to rounding.
    return min(int((held < coils).sum()) + 1, len(energies))


def _svd(scan: RawScan, coils: int | float) -> CoilMixing:
    energies, vectors = torch.linalg.eigh(coil_covariance(scan.kspace, scan.sample_ndim))
    matrix = _fixed_phase(vectors.flip(1)[:, : _count(energies.flip(0), coils)]).mH
    return CoilMixing(matrix, tuple(scan.kspace.shape[-scan.sample_ndim :]), _PART)


def _geometric(scan: RawScan, coils: int | float) -> CoilMixing:
    is_cartesian = scan.trajectory is None
    if not is_cartesian or not readouts_are_whole(scan.mask) or scan.noise is not None:
        raise UsageError(
            f"{scan.name}: geometric compression needs a Cartesian scan with whole readouts whose "
            "noise is white; whiten it first, or use svd"
        )
    along_readout = centred_ifft(scan.kspace, [-1])
    axis = -scan.spatial_ndim - 1
    # Order: readout, coils, all other samples.
    samples = along_readout.movedim((-1, axis), (0, 1)).flatten(2).to(torch.complex128)
    energies, vectors = torch.linalg.eigh(samples @ samples.mH)
    count = _count(energies.flip(1).sum(0), coils)
    matrices = vectors.flip(2)[:, :, :count].mH.clone()
    middle = len(matrices) // 2
    _align(matrices, range(middle + 1, len(matrices)), -1)
    _align(matrices, range(middle - 1, -1, -1), 1)
    return CoilMixing(matrices, scan.spatial_shape, _PART, scan.mask)


def _align(matrices: Tensor, order: Iterable[int], neighbour: int) -> None:
    """Rotate each matrix as near as possible to its neighbour, in place."""
    for x in order:
        u, _, v = torch.linalg.svd(matrices[x] @ matrices[x + neighbour].mH)
        matrices[x] = (u @ v).mH @ matrices[x]


def _fixed_phase(vectors: Tensor) -> Tensor:
    """Return the eigenvectors (columns) with their largest entry real and positive."""
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    entry = vectors.gather(0, largest)
    return vectors * (entry.conj() / entry.abs())
