"""FIRENET's presets and sparsifiers beside zero filling, BART and SigPy, on one scan.

All methods get the same k-space, mask and estimated sensitivity maps, whose phase ours turn by one
from the same data, and all images are zero where the maps are. The others' lambdas are tuned on
this scan, against the reference; FIRENET's parameters are its defaults.

The reference of a fully sampled scan is its coil-combined image, with the maps that all methods
use: a root-sum-of-squares would add the noise floor of all coils, which no combined image has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_benchmark.operators import peers_for
from firenet_benchmark.tuned import Row, row_of, tuned_rows
from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.given import GivenEncoding
from firenet_mri.reconstruction.given import as_operator

#: FIRENET's rows, and the options of each.
_CHOICES: dict[str, dict[str, Any]] = {
    "FIRENET paper": {"preset": "paper"},
    "FIRENET stable": {"preset": "stable"},
    "FIRENET accurate": {},
    "accurate, undecimated-haar": {"sparsifier": "undecimated-haar"},
    "accurate, undecimated-haar+undecimated-dct3": {
        "sparsifier": "undecimated-haar+undecimated-dct3"
    },
    "accurate, undecimated-dct": {"sparsifier": "undecimated-dct"},
    "accurate, undecimated-db2": {"sparsifier": "undecimated-db2"},
    "accurate, dual-tree": {"sparsifier": "dual-tree"},
    "accurate, tv": {"sparsifier": "tv"},
    "accurate, tv+undecimated-haar": {"sparsifier": "tv+undecimated-haar"},
    "accurate, db4 with shifts": {"sparsifier": "db4"},
    "FIRENET sharp": {"preset": "sharp"},
}


def undersample(scan: RawScan, acceleration: float, *, calibration: int, seed: int) -> RawScan:
    """Return a fully sampled 2D scan with a variable-density Poisson-disc mask (SigPy's).

    Parameters
    ----------
    acceleration
        Grid points per sample.
    calibration
        Width of the fully sampled centre.
    seed
        Of the mask.

    Raises
    ------
    DataError
        If the scan is not fully sampled.
    """
    import sigpy.mri

    if not bool(scan.mask.all()) or scan.spatial_ndim != 2:
        raise DataError(
            f"{scan.name}: only a fully sampled 2D scan can be under-sampled afterwards"
        )
    pattern = sigpy.mri.poisson(
        scan.spatial_shape, acceleration, calib=(calibration, calibration), seed=seed
    )
    mask = torch.from_numpy(np.abs(pattern) > 0)
    return dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)


def compare(
    scan: RawScan,
    reference: Tensor | RawScan,
    *,
    maps: MapMethod = "espirit",
    encoding: Any = None,
) -> Iterator[Row]:
    """Yield the rows of the comparison, one method at a time.

    Parameters
    ----------
    scan
        A single-slice 2D scan.
    reference
        Magnitude image (y, x), on the scale of the whitened scan if that has a noise measurement;
        or the fully sampled scan.
    maps
        How sensitivity maps are found.
    encoding
        Your own encoding operator, as :func:`firenet_mri.reconstruct` takes it; all methods then
        get it, SigPy's general solvers among them, and the reference is an image.

    Raises
    ------
    UsageError
        If an operator is given without a reference image.
    """
    single = _one_slice(scan)
    if encoding is not None:
        if isinstance(reference, RawScan):
            raise UsageError(
                f"{scan.name}: an operator was given, and without maps a full scan cannot be "
                "the reference; give a reference image"
            )
        yield from _compare_with(encoding, single, reference)
        return
    if single.noise is not None:
        single = whiten(single)
    coil_maps = sensitivity_maps(single, maps)
    sense = encoding_operator(single.mask, coil_maps)
    if isinstance(reference, RawScan):
        full = _one_slice(reference)
        kspace = (whiten(full) if full.noise is not None else full).kspace
        target = encoding_operator(None, coil_maps).adjoint(kspace).abs()
    else:
        target = reference.reshape(single.spatial_shape)
    zero_filled = sense.adjoint(single.kspace).abs()
    yield row_of("zero filling", target, zero_filled)
    yield from tuned_rows(single.kspace, coil_maps, target)
    for name, options in _CHOICES.items():
        result = reconstruct(single, maps=maps, **options)
        yield row_of(name, target, result.image, result.timings.network_s)


def _compare_with(encoding: Any, scan: RawScan, reference: Tensor) -> Iterator[Row]:
    """Yield the rows of the comparison with a given operator."""
    operator = as_operator(encoding)
    target = reference.reshape(operator.domain_shape)
    kspace = scan.kspace * scan.mask
    ones = torch.ones(1, *operator.domain_shape, dtype=torch.complex64)
    zero_filled = reconstruct(scan, encoding=operator, layers=1, no_gap=True).zero_filled
    yield row_of("zero filling", target, zero_filled)
    masked = GivenEncoding(operator, scan.mask)
    yield from tuned_rows(kspace, ones, target, peers_for(masked))
    for name, options in _CHOICES.items():
        result = reconstruct(scan, encoding=operator, **options)
        yield row_of(name, target, result.image, result.timings.network_s)


def _one_slice(scan: RawScan) -> RawScan:
    """Return the scan without its slice axis."""
    shape = (scan.coils, *scan.spatial_shape)
    if scan.spatial_ndim != 2 or scan.kspace.numel() != torch.Size(shape).numel():
        raise ShapeError(
            f"{scan.name}: k-space of shape {tuple(scan.kspace.shape)} came; the comparison takes "
            "one 2D slice, (coil, y, x)"
        )
    return dataclasses.replace(
        scan, kspace=scan.kspace.reshape(shape), mask=scan.mask.reshape(1, *scan.spatial_shape)
    )
