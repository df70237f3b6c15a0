"""Coil sensitivity maps from a scan's calibration region: by ESPIRiT, by SigPy's JSENSE, or from
its coil images at low resolution.

[1] Uecker et al., ESPIRiT, Magn Reson Med 71:990-1001, 2014.
[2] Ying, Sheng, JSENSE, Magn Reson Med 57:1196-1202, 2007.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

import torch
from torch import Tensor

from firenet_mri.calibration.espirit import Eigenvalues, espirit
from firenet_mri.calibration.gridding import cartesian_centre
from firenet_mri.calibration.methods import Background, MapMethod
from firenet_mri.calibration.region import calibration_region, one_sided_shift
from firenet_mri.calibration.windows import hann_window
from firenet_mri.errors import CalibrationError, UsageError
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.prox import scale_to_one
from firenet_mri.scan import RawScan, sampled_mask

_CALIBRATION_WIDTH = 24
# One side of the centre has less signal: of two simulated objects, 13 samples gave wrong maps for
# one, 15 for none.
_ONE_SIDED_WIDTH = 15
#: Width of the calibration region that each method needs along every axis.
SMALLEST_WIDTH = {"espirit": 12, "jsense": 8, "lowres": 4}


class Sensitivities(NamedTuple):
    """Sensitivity maps, and the eigenvalues that ESPIRiT computes on the way.

    The eigenvalues are None with another method, along a trajectory, or for several slices at once.
    """

    maps: Tensor
    eigenvalues: Eigenvalues | None = None


def sensitivity_maps(
    scan: RawScan,
    method: MapMethod = "espirit",
    sets: int = 1,
    *,
    background: Background = "crop",
) -> Tensor:
    """Return sensitivity maps (..., coil, *spatial) complex64 with root-sum-of-squares 1.

    Parameters
    ----------
    scan
        The scan, whitened if it has a noise measurement. The maps are made from its reference if it
        has a sufficient one, otherwise from its own samples.
    method
        "espirit": ESPIRiT [1], one map set, zero where there is no signal. (With any method, a
        slice whose samples are all zero has the same constant map in all coils.) If the centre was
        sampled on one side only, as by a half echo, that side is used, 15 samples wide.
        "jsense": JSENSE [2], smooth maps everywhere.
        "lowres": the coil images of the calibration region, divided by their root-sum-of-squares.
        "none": all maps are 1, for a single coil.
    sets
        Number of map sets, several with "espirit" only; the maps are then
        (..., set, coil, *spatial), and zero for a slice without signal.
    background
        "crop": "espirit" maps are zero where there is no signal. "keep": the first set is not, see
        :func:`firenet_mri.calibration.espirit_maps`. Other methods ignore this.

    Raises
    ------
    UsageError
        If the method is unknown, or "none" is requested with several coils.
    CalibrationError
        If there is only one coil, or the calibration region is too small for the method.
    """
    return sensitivities(scan, method, sets, background=background).maps


def sensitivities(
    scan: RawScan,
    method: MapMethod = "espirit",
    sets: int = 1,
    *,
    background: Background = "crop",
) -> Sensitivities:
    """Return the maps of :func:`sensitivity_maps`, with ESPIRiT's eigenvalues."""
    _check_choice(scan, method, sets)
    if method == "none":
        shape = (*scan.batch_shape, scan.coils, *scan.spatial_shape)
        return Sensitivities(torch.ones(shape, dtype=scan.kspace.dtype))
    if scan.reference is not None:
        scan = _of_reference(scan, SMALLEST_WIDTH[method])
    if scan.coils == 1:
        raise CalibrationError(
            f"{scan.name}: 1 coil found, but sensitivity maps need at least 2; use --maps none to "
            "reconstruct a single coil"
        )
    is_one = not scan.batch_shape and scan.trajectory is None
    # Squares of samples must fit single precision; the scale does not affect maps.
    scale = scale_to_one(scan.kspace, tuple(range(len(scan.batch_shape) - scan.kspace.ndim, 0)))
    if scale is not None:
        scan = replace(scan, kspace=scan.kspace * scale)
    scan, region = _with_calibration(scan, method)
    if method == "lowres":
        centre = [min(_CALIBRATION_WIDTH, size) for size in region]
        return Sensitivities(low_resolution_maps(scan.kspace, centre))
    maps, eigenvalues = _estimated(scan, method, min(_CALIBRATION_WIDTH, *region), sets, background)
    if eigenvalues is not None and scale is not None:
        eigenvalues = eigenvalues._replace(noise=eigenvalues.noise / float(scale))
    return Sensitivities(maps, eigenvalues if is_one else None)


def _check_choice(scan: RawScan, method: MapMethod, sets: int) -> None:
    """Refuse a method that is unknown or does not suit the number of coils or sets."""
    if method not in get_args(MapMethod):
        raise UsageError(
            f"Unknown map method {method!r}; use one of {', '.join(get_args(MapMethod))}"
        )
    if sets != 1 and method != "espirit":
        raise UsageError(f"{sets} map sets requested; only espirit has several, {method} has one")
    if method == "none" and scan.coils > 1:
        raise UsageError(
            f"{scan.name}: {scan.coils} coils found; unit maps (none) are for a single coil, so "
            "use espirit or jsense"
        )


def _with_calibration(scan: RawScan, method: MapMethod) -> tuple[RawScan, tuple[int, ...]]:
    """Return a Cartesian scan whose centre is sufficient for the method, and the centre's widths.

    Raises
    ------
    CalibrationError
        If the fully sampled centre is too small.
    """
    if scan.trajectory is not None:
        scan = cartesian_centre(scan, _CALIBRATION_WIDTH)
    region = calibration_region(scan.mask, scan.spatial_ndim)
    if method == "espirit" and 0 < min(region) < SMALLEST_WIDTH[method]:
        one_sided = _with_one_sided_centre(scan)
        there = calibration_region(one_sided.mask, scan.spatial_ndim)
        scan, region = (one_sided, there) if min(there) >= _ONE_SIDED_WIDTH else (scan, region)
    width = min(_CALIBRATION_WIDTH, *region)
    if width >= SMALLEST_WIDTH[method]:
        return scan, region
    others = [name for name, least in SMALLEST_WIDTH.items() if width >= least]
    advice = f"use --maps {others[0]} or give maps" if others else "give maps"
    raise CalibrationError(
        f"{scan.name}: the fully sampled centre of k-space is {_times(region)}, but {method} needs "
        f"at least {SMALLEST_WIDTH[method]} along every axis; {advice} "
        "with --maps-file, or a scan to make them from with --calibration"
    )


def _estimated(
    scan: RawScan, method: MapMethod, width: int, sets: int, background: Background
) -> Sensitivities:
    """Return the maps that ESPIRiT or JSENSE estimates, with the eigenvalues of a single slice."""
    kspace = scan.kspace.reshape(-1, scan.coils, *scan.spatial_shape)
    maps = torch.full_like(kspace, scan.coils**-0.5)
    if sets > 1:
        maps = maps.new_zeros((len(kspace), sets, *kspace.shape[1:]))
    # A slice without signal has no maps of its own; any maps are valid for it.
    has_signal = kspace.flatten(1).any(1)
    eigenvalues = None
    try:
        if method == "espirit":
            found = espirit(
                kspace[has_signal],
                width,
                spatial_ndim=scan.spatial_ndim,
                sets=sets,
                background=background,
            )
            maps[has_signal] = found.maps
            if len(kspace) == 1 and bool(has_signal.all()):
                eigenvalues = Eigenvalues(*(part[0] for part in found.eigenvalues))
        else:
            maps[has_signal] = torch.stack([_jsense(item, width) for item in kspace[has_signal]])
    except CalibrationError as error:
        raise CalibrationError(f"{scan.name}: {error}; give maps with --maps-file") from None
    if not bool(torch.isfinite(torch.view_as_real(maps)).all()):
        raise CalibrationError(
            f"{scan.name}: {method} found no signal in the calibration region; try the other "
            "method or give maps with --maps-file"
        )
    maps = maps.reshape(*scan.batch_shape, *maps.shape[1:])
    return Sensitivities(normalise_maps(maps, scan.spatial_ndim), eigenvalues)


def _of_reference(scan: RawScan, width: int) -> RawScan:
    """Return a scan's reference as a scan; the scan itself if its reference is too small."""
    assert scan.reference is not None
    kspace = scan.reference.expand(*scan.batch_shape, scan.coils, *scan.spatial_shape)
    mask = sampled_mask(kspace, scan.spatial_ndim)
    alone = replace(scan, reference=None)
    if min(calibration_region(mask, scan.spatial_ndim)) < width:
        return alone
    return replace(alone, kspace=kspace, mask=mask, trajectory=None, image_shape=None)


def low_resolution_maps(kspace: Tensor, widths: Sequence[int] | Tensor) -> Tensor:
    """Return maps from the centre of k-space: its coil images divided by their root-sum-of-squares.

    A Hann window of the centre keeps ringing low. An item with nothing sampled in the centre gets
    the maps of all its samples. Only torch is used.

    Parameters
    ----------
    kspace
        (..., coil, *spatial) complex, zero where not sampled.
    widths
        Sizes of the centre, one per spatial axis; or a tensor (batch, axis), per item.

    Returns
    -------
    Tensor
        Maps of the same shape, of root-sum-of-squares 1; 0 where there is no signal.
    """
    ndim = widths.shape[-1] if isinstance(widths, Tensor) else len(widths)
    axes = tuple(range(-ndim, 0))
    window = hann_window(kspace.shape[-ndim:], widths)
    if isinstance(widths, Tensor):
        window = window.unsqueeze(-ndim - 1)
    centre = kspace * window.to(kspace.real)
    is_sampled = (centre != 0).any(dim=(-ndim - 1, *axes), keepdim=True)
    centre = torch.where(is_sampled, centre, kspace)
    images = centred_ifft(centre, axes)
    return normalise_maps(images, ndim)


def normalise_maps(maps: Tensor, spatial_ndim: int) -> Tensor:
    """Return the maps (..., coil, *spatial) divided by their root-sum-of-squares; zeros stay."""
    energy = torch.linalg.vector_norm(maps, dim=-spatial_ndim - 1, keepdim=True)
    return maps / torch.where(energy > 0, energy, torch.ones_like(energy))


def _with_one_sided_centre(scan: RawScan) -> RawScan:
    """Return a scan whose centre was sampled on one side, with this side moved to the middle."""
    shifts = one_sided_shift(scan.mask, scan.spatial_ndim, _CALIBRATION_WIDTH)
    axes = list(range(-scan.spatial_ndim, 0))
    kspace, mask = scan.kspace.roll(shifts, axes), scan.mask.roll(shifts, axes)
    return replace(scan, kspace=kspace, mask=mask)


def _jsense(kspace: Tensor, width: int) -> Tensor:
    from sigpy.mri.app import JsenseRecon

    app = JsenseRecon(kspace.numpy(force=True), ksp_calib_width=width, show_pbar=False)
    return torch.from_numpy(app.run()).to(kspace)


def _times(widths: tuple[int, ...]) -> str:
    return " x ".join(str(width) for width in widths)
