"""Coil compression: fewer virtual coils that hold nearly all of the signal [1].

With y_k the samples of all coils at point k, the virtual coils are V y_k with the rows of V the
leading eigenvectors of sum_k y_k y_k^H. The rows are orthonormal: white noise stays white.

[1] Buehrer et al., Magn Reson Med 57:1131-1139, 2007.
"""

from __future__ import annotations

import dataclasses

import torch

from firenet_mri.calibration.mixing import coil_covariance, mix_coils
from firenet_mri.errors import UsageError
from firenet_mri.scan import RawScan


def compress_coils(scan: RawScan, coils: int | float) -> RawScan:
    """Return the scan of virtual coils, in falling order of their signal.

    Parameters
    ----------
    scan
        The scan, whitened if it has a noise measurement, so that signal and not noise decides.
    coils
        How many virtual coils; or, a float in (0, 1], the share of the signal's energy that they
        must hold together.

    Raises
    ------
    UsageError
        If that number is less than 1, more than there are coils, or a share outside (0, 1].
    """
    is_share = isinstance(coils, float)
    if is_share and not 0 < coils <= 1:
        raise UsageError(
            f"{coils} coils asked for; give a whole number, or a share of the energy in (0, 1]"
        )
    if not is_share and not 1 <= coils <= scan.coils:
        raise UsageError(
            f"{scan.name}: {coils} virtual coils asked for; there are {scan.coils} coils, use 1 to "
            f"{scan.coils}"
        )
    energies, vectors = torch.linalg.eigh(coil_covariance(scan.kspace, scan.sample_ndim))
    energies, vectors = energies.flip(0).clamp(min=0), vectors.flip(1)
    count = int(coils)
    if is_share:
        held = energies.cumsum(0) / energies.sum()
        # The last entry is 1 up to rounding.
        count = min(int((held < coils).sum()) + 1, scan.coils)
    matrix = _fixed_phase(vectors[:, :count]).mH
    kspace = mix_coils(matrix, scan.kspace, scan.sample_ndim)
    noise = scan.noise
    if noise is not None:
        noise = (matrix @ noise.to(torch.complex128)).to(noise.dtype)
    return dataclasses.replace(scan, kspace=kspace, noise=noise)


def _fixed_phase(vectors: torch.Tensor) -> torch.Tensor:
    """Return the eigenvectors, columns, with their largest entry real and positive."""
    largest = vectors.abs().argmax(dim=0, keepdim=True)
    entry = vectors.gather(0, largest)
    return vectors * (entry.conj() / entry.abs())
