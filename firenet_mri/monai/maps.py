"""Sensitivity maps for a batch, whatever its items are like: no item stops the others."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from monai.config import NdarrayOrTensor
from torch import Tensor, nn

from firenet_mri.calibration import calibration_region, normalise_maps
from firenet_mri.calibration.methods import Background, MapMethod
from firenet_mri.calibration.region import calibration_regions
from firenet_mri.calibration.sensitivity import (
    SMALLEST_WIDTH,
    Sensitivities,
    low_resolution_maps,
    sensitivities,
)
from firenet_mri.errors import CalibrationError, DataError, ShapeError, UsageError
from firenet_mri.monai.tensors import native_complex, plain
from firenet_mri.operators.base import records_graph
from firenet_mri.scan import RawScan

# Width of the centre of k-space from which maps are made where no calibration region was found.
_CENTRE = 24


def estimated_maps(
    kspace: Tensor, mask: Tensor, method: MapMethod, background: Background
) -> Tensor:
    """Return maps (batch, coil, *spatial) complex64 of root-sum-of-squares 1 (or 0).

    One coil has the map 1. Where the calibration region of an item does not suffice for the method,
    its maps are made from the centre of k-space as far as it was sampled (if it was not at all,
    from all samples: better than constant maps, under which coils of unlike phase cancel each
    other), and a warning says so. An item without signal has the same constant map in all coils.

    Parameters
    ----------
    kspace
        (batch, coil, *spatial) complex.
    mask
        (batch or 1, 1, *spatial) bool.
    method, background
        See :func:`firenet_mri.calibration.sensitivity_maps`.

    Raises
    ------
    UsageError
        If the method is unknown; if "none" is asked for with several coils; if maps by "espirit" or
        "jsense" are asked for while a graph is recorded.
    """
    kspace = kspace.detach()
    if kspace.shape[1] == 1:
        return torch.ones_like(kspace)
    if records_graph():
        if method != "lowres":
            raise UsageError(
                f"Maps by {method} are made outside of torch and cannot be traced or exported; "
                "give sens_maps, or use maps='lowres'"
            )
        return _recorded_maps(kspace, mask)
    items = estimated_sensitivities(kspace, mask, method, background)
    return torch.stack([item.maps.to(kspace.device) for item in items])


def _recorded_maps(kspace: Tensor, mask: Tensor) -> Tensor:
    """Return maps of low resolution, of the region that each mask has when the graph runs."""
    spatial = kspace.shape[2:]
    masks = mask.expand(len(kspace), 1, *spatial)[:, 0]
    region = calibration_regions(masks, _CENTRE)
    suffices = (region >= SMALLEST_WIDTH["lowres"]).all(1, keepdim=True)
    widths = torch.where(suffices, region, region.new_tensor([min(_CENTRE, n) for n in spatial]))
    # Squares of samples must fit single precision; maps have no scale.
    largest = kspace.abs().amax(dim=tuple(range(1, kspace.ndim)), keepdim=True)
    kspace = kspace / torch.where(largest > 0, largest, torch.ones_like(largest))
    return low_resolution_maps(kspace, widths)


def estimated_sensitivities(
    kspace: Tensor, mask: Tensor, method: MapMethod, background: Background
) -> list[Sensitivities]:
    """Return the maps of :func:`estimated_maps`, item by item, with ESPIRiT's eigenvalues."""
    if kspace.shape[1] == 1:
        return [Sensitivities(torch.ones_like(item)) for item in kspace]
    masks = mask.expand(len(kspace), 1, *kspace.shape[2:])
    return [_of_item(item, masks[i], method, background, i) for i, item in enumerate(kspace)]


def _of_item(
    kspace: Tensor, mask: Tensor, method: MapMethod, background: Background, index: int
) -> Sensitivities:
    """Return the maps of one item, (coil, *spatial)."""
    ndim = kspace.ndim - 1
    sampled = kspace * mask
    if not bool(sampled.any()):
        return Sensitivities(torch.full_like(kspace, len(kspace) ** -0.5))
    scan = RawScan(sampled.cpu(), mask.cpu(), ndim, name=f"item {index} of masked_kspace")
    try:
        return sensitivities(scan, method, background=background)
    except CalibrationError as error:
        warnings.warn(
            f"{error}. Its maps are made from the centre of k-space as far as it was sampled",
            stacklevel=6,
        )
    widths = [min(_CENTRE, size) for size in kspace.shape[1:]]
    return Sensitivities(low_resolution_maps(scan.kspace, widths))


def given_maps(
    maps: NdarrayOrTensor, kspace: Tensor, name: str, image_shape: Sequence[int] | None = None
) -> Tensor:
    """Return a user's maps, (batch or 1, coil, *spatial) complex64, normalised.

    Parameters
    ----------
    maps
        (batch or 1, coil, *spatial) complex or (..., 2) real; without batch, they apply to all
        items.
    kspace
        (batch, coil, *spatial) complex; along a trajectory (batch, coil, *samples).
    name
        What the maps are, for messages.
    image_shape
        Sizes of the image along a trajectory; None takes those of k-space.

    Raises
    ------
    ShapeError
        If the maps do not fit k-space.
    DataError
        If the maps have NaN or infinite values.
    """
    found = native_complex(plain(maps, name), name).to(kspace.device)
    spatial = tuple(kspace.shape[2:]) if image_shape is None else tuple(image_shape)
    wanted = (kspace.shape[1], *spatial)
    if found.ndim == len(wanted):
        found = found.unsqueeze(0)
    if tuple(found.shape[1:]) != wanted or found.shape[0] not in (1, kspace.shape[0]):
        raise ShapeError(
            f"{name} has shape {tuple(maps.shape)}; k-space of shape {tuple(kspace.shape)} needs "
            f"(batch or 1, {', '.join(map(str, wanted))}) complex, or the same with a last axis of "
            "2"
        )
    if not records_graph() and not bool(torch.isfinite(torch.view_as_real(found)).all()):
        raise DataError(
            f"{name} has NaN or infinite values, as a network for maps gives them where the centre "
            "of k-space is not sampled; use maps='lowres' or give others"
        )
    return normalise_maps(found, len(spatial))


def maps_along(scan: RawScan, method: MapMethod, background: Background) -> Tensor:
    """Return maps (coil, *spatial) complex64 of one item along a trajectory, as a scan.

    One coil has the map 1. There is no second method: where the middle of k-space is too sparse,
    the error says so.

    Parameters
    ----------
    scan
        (coil, *samples), not zero everywhere.
    method, background
        See :func:`firenet_mri.calibration.sensitivity_maps`.

    Raises
    ------
    CalibrationError
        If maps cannot be estimated.
    """
    shape = (scan.coils, *scan.spatial_shape)
    if scan.coils == 1:
        return torch.ones(shape, dtype=torch.complex64)
    return sensitivities(scan, method, background=background).maps


def maps_of_module(module: nn.Module, kspace: Tensor, mask: Tensor) -> Tensor:
    """Return the maps that a network such as MONAI's ``CoilSensitivityModel`` gives, normalised.

    It is called with k-space (batch, coil, *spatial, 2) and the mask's lines, (1, ..., W, 1) bool,
    along the last axis, as MONAI's and fastMRI's networks take them. Items with different lines are
    passed to it one by one. Items without signal are not passed to it, since MONAI's network turns
    them into NaN. For a mask of points, the lines are those through its calibration region.

    Parameters
    ----------
    kspace
        (batch, coil, *spatial) complex.
    mask
        (batch or 1, 1, *spatial) bool.

    Raises
    ------
    ShapeError
        If the maps do not fit k-space.
    DataError
        If the maps have NaN or infinite values.
    """
    lines = torch.stack([_lines(item) for item in mask]).expand(len(kspace), -1)
    found = list(range(len(kspace)))
    groups = [found] if len(mask) == 1 else [[i] for i in found]
    if not records_graph():
        found = [i for i in found if bool(kspace[i].any())]
        is_shared = bool((lines == lines[:1]).all())
        groups = [found] if is_shared and found else [[i] for i in found]
    maps = list(torch.full_like(kspace, kspace.shape[1] ** -0.5))
    shape = (1, *[1] * (kspace.ndim - 2), lines.shape[-1], 1)
    for group in groups:
        items = kspace[group]
        made = module(torch.view_as_real(items), lines[group[0]].reshape(shape))
        for i, one in zip(group, given_maps(made, items, type(module).__name__), strict=True):
            maps[i] = one
    return torch.stack(maps)


def _lines(mask: Tensor) -> Tensor:
    """Return the lines (W,) of the mask (1, *spatial) of one item."""
    rows = mask.reshape(-1, mask.shape[-1])
    lines = rows.any(0)
    if records_graph():
        return lines
    if not torch.equal(lines, rows.all(0)):
        width = calibration_region(mask, mask.ndim - 1)[-1]
        distance = torch.arange(len(lines), device=mask.device) - (len(lines) // 2 - width // 2)
        return (distance >= 0) & (distance < width)
    if bool(lines.all()):
        # MONAI's network looks for the end of the region and runs off a mask without one.
        lines[0] = lines[-1] = False
    return lines
