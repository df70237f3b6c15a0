"""PSNR and SSIM of FIRENET beside zero filling and SigPy's apps, on one scan with a reference.

All methods get the same k-space, mask and estimated sensitivity maps, and all images are zero
where the maps are. The regularisation of SigPy's apps is tuned on this scan, against the reference;
FIRENET's parameters are its defaults.

The reference of a fully sampled scan is its coil-combined image, with the maps that all methods
use: a root-sum-of-squares would add the noise floor of all coils, which no combined image has.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import sensitivity_maps, whiten
from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.metrics import psnr, ssim
from firenet_mri.operators import encoding_operator

# For k-space scaled so that the zero-filled image has maximum 1.
_LAMBDAS = tuple(10**exponent for exponent in np.arange(-4.5, -0.9, 0.25).tolist())
_ITERATIONS = 100


@dataclass(frozen=True)
class Row:
    """One method's result: PSNR in dB, SSIM, seconds without calibration, tuned lambda."""

    method: str
    psnr_db: float
    ssim: float
    seconds: float
    tuned_lambda: float | None = None


def undersample(scan: RawScan, acceleration: float, *, calibration: int, seed: int) -> RawScan:
    """Return a fully sampled 2D scan with a variable-density Poisson-disc mask (SigPy's).

    Parameters
    ----------
    acceleration
        Grid points a sample.
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
    scan: RawScan, reference: Tensor | RawScan, *, maps: MapMethod = "espirit"
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
    """
    single = _one_slice(scan)
    if single.noise is not None:
        single = whiten(single)
    coil_maps = sensitivity_maps(single, maps)
    encoding = encoding_operator(single.mask, coil_maps)
    if isinstance(reference, RawScan):
        full = _one_slice(reference)
        kspace = (whiten(full) if full.noise is not None else full).kspace
        target = encoding_operator(None, coil_maps).adjoint(kspace).abs()
    else:
        target = reference.reshape(single.spatial_shape)
    zero_filled = encoding.adjoint(single.kspace).abs()
    yield Row("zero filling", psnr(target, zero_filled), ssim(target, zero_filled), 0.0)
    yield from _sigpy_rows(single, coil_maps, target, float(zero_filled.max()))
    choices: dict[str, dict[str, object]] = {
        "FIRENET paper": {"preset": "paper"},
        "FIRENET stable": {"preset": "stable"},
        "FIRENET accurate": {},
        "accurate, undecimated-haar": {"sparsifier": "undecimated-haar"},
        "accurate, undecimated-dct3": {"sparsifier": "undecimated-dct3"},
        "accurate, undecimated-dct": {"sparsifier": "undecimated-dct"},
        "accurate, undecimated-db2": {"sparsifier": "undecimated-db2"},
        "accurate, dual-tree": {"sparsifier": "dual-tree"},
        "accurate, tv": {"sparsifier": "tv"},
        "accurate, tv+undecimated-haar": {"sparsifier": "tv+undecimated-haar"},
        "accurate, db4 with shifts": {"sparsifier": "db4"},
        "accurate, reweighted once": {"reweighting": 1},
    }
    for name, options in choices.items():
        result = reconstruct(single, maps=coil_maps, **options)  # type: ignore[arg-type]
        image = result.image.abs()
        yield Row(name, psnr(target, image), ssim(target, image), result.timings.network_s)


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


def _sigpy_rows(scan: RawScan, maps: Tensor, reference: Tensor, scale: float) -> Iterator[Row]:
    """Yield SigPy's two apps, each at the lambda with the best PSNR."""
    from sigpy.mri.app import L1WaveletRecon, TotalVariationRecon

    support = torch.linalg.vector_norm(maps, dim=0)
    kspace, sensitivity = scan.kspace.numpy() / scale, maps.numpy()
    apps: dict[str, Callable[..., object]] = {
        "SigPy L1WaveletRecon": L1WaveletRecon,
        "SigPy TotalVariationRecon": TotalVariationRecon,
    }
    for name, app in apps.items():
        best: Row | None = None
        for lamda in _LAMBDAS:
            started = time.perf_counter()
            run = app(kspace, sensitivity, lamda, max_iter=_ITERATIONS, show_pbar=False)
            image = torch.from_numpy(np.abs(run.run())) * scale * support  # type: ignore[attr-defined]
            seconds = time.perf_counter() - started
            row = Row(name, psnr(reference, image), ssim(reference, image), seconds, lamda)
            if best is None or row.psnr_db > best.psnr_db:
                best = row
        assert best is not None
        yield best
