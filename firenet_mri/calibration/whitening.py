"""Noise whitening: makes the noise of all coils uncorrelated, with unit variance.

With the noise covariance C = L L^H (Cholesky), k-space and noise are multiplied by L^{-1}. Images
are then in units of the noise standard deviation (SNR units).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.operators.base import Part
from firenet_mri.operators.links import WHITENING, CoilMixing
from firenet_mri.plurals import counted
from firenet_mri.scan import RawScan, sampled_mask


def whiten(scan: RawScan) -> RawScan:
    """Return the scan with noise of unit variance per complex sample, without a noise measurement.

    Raises
    ------
    DataError
        If the scan has no noise measurement (or is already whitened), or if the measurement has
        fewer samples than twice the number of coils, or linearly dependent coils.
    """
    operator = whitening(scan)
    white = operator(scan.kspace)
    return dataclasses.replace(
        scan,
        kspace=white,
        noise=None,
        applied=(*scan.applied, operator),
        reference=mixed_reference(operator, scan),
    )


def mixed_reference(operator: CoilMixing, scan: RawScan) -> Tensor | None:
    """Return the scan's reference with its coils mixed by the same operator as the scan's."""
    reference = scan.reference
    if reference is None:
        return None
    mask = None if operator.mask is None else sampled_mask(reference, scan.spatial_ndim)
    mixing = CoilMixing(operator.matrix, scan.spatial_shape, operator.made_from[0], mask)
    mixed: Tensor = mixing(reference)
    return mixed


def whitening(scan: RawScan) -> CoilMixing:
    """Return the operator L^{-1} that whitens the scan's noise, made from its noise measurement.

    Raises
    ------
    DataError
        See :func:`whiten`.
    """
    if scan.noise is None:
        raise DataError(
            f"{scan.name}: no noise measurement to whiten with; the scan may already be whitened"
        )
    noise = scan.noise.to(torch.complex128)
    coils, samples = noise.shape
    if samples < 2 * coils:
        raise DataError(
            f"{scan.name}: {counted(samples, 'noise sample')} for {counted(coils, 'coil')}; "
            f"whitening needs at least {2 * coils}"
        )
    covariance = noise @ noise.mH / samples
    factor, failed = torch.linalg.cholesky_ex(covariance)
    # A dead or duplicated coil can pass Cholesky because of rounding.
    diagonal = factor.diagonal().abs()
    if bool(failed) or float(diagonal.min()) < 1e-6 * float(diagonal.max()):
        raise DataError(
            f"{scan.name}: the noise of the coils is linearly dependent (a coil may be dead); "
            "remove that coil or read the scan without its noise measurement"
        )
    identity = torch.eye(coils, dtype=factor.dtype, device=factor.device)
    inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
    return CoilMixing(inverse, tuple(scan.kspace.shape[-scan.sample_ndim :]), Part(WHITENING))
