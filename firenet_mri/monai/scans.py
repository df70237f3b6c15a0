"""A raw scan as MONAI carries it, k-space with metadata, and back.

The metadata hold plain Python values and tensors only, as MONAI's collate functions and
``torch.load(weights_only=True)`` need it, and nothing of the file's header besides.

===================  ===============================================================================
key                  value
===================  ===============================================================================
affine               (4, 4) float64, index (x, y, z) of the image to RAS mm
original_affine      the same
space                "RAS"
spatial_shape        (x, y, z) sizes of the image; (x, y) of k-space that was simulated from one
original_channel_dim NaN: the image that this describes has no channel
filename_or_obj      the file's name
spatial_ndim         2 or 3
simulated            True if the data were computed from an image
geometry             the fields of :class:`Geometry` as tensors; empty if they are unknown
noise                (coil, samples) complex64; (coil, 0) if there is no measurement or it is used
applied              what mixed the coils since the file was read, such as whitening, as text; see
                     :mod:`firenet_mri.monai.links`. A certificate's bounds go through it
record               how the file was read, as JSON, for the certificate
===================  ===============================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.utils import TraceKeys
from torch import Tensor

from firenet_mri.domain import check_is_kspace
from firenet_mri.errors import DataError, ShapeError
from firenet_mri.monai.links import links_of_text, text_of_links
from firenet_mri.monai.masks import sampling_mask
from firenet_mri.monai.tensors import native_kspace, plain
from firenet_mri.scan import Geometry, RawScan, sampled_mask


def metadata_of(scan: RawScan) -> dict[str, Any]:
    """Return what the table above lists.

    Raises
    ------
    DataError
        If the scan has a trajectory, which MONAI's arrays have no place for.
    """
    if scan.trajectory is not None:
        raise DataError(f"{scan.name}: is a non-Cartesian scan; give it to firenet_mri.reconstruct")
    *_, ny, nx = scan.spatial_shape
    nz = math.prod(scan.batch_shape) if scan.spatial_ndim == 2 else scan.spatial_shape[0]
    shape = (nz, ny, nx)
    geometry = scan.geometry
    affine = torch.from_numpy(np.eye(4) if geometry is None else geometry.affine_ras(shape))
    noise = scan.noise
    if noise is None:
        noise = scan.kspace.new_zeros(scan.coils, 0)
    return {
        "affine": affine,
        "original_affine": affine.clone(),
        "space": "RAS",
        "spatial_shape": torch.tensor(shape[::-1]),
        "original_channel_dim": float("nan"),
        "filename_or_obj": scan.name,
        "spatial_ndim": scan.spatial_ndim,
        "simulated": scan.simulated,
        "geometry": {} if geometry is None else _plain_geometry(geometry),
        "noise": noise,
        "applied": text_of_links(scan.applied),
        "record": json.dumps(dict(scan.record)),
    }


def kspace_of(scan: RawScan, before: NdarrayOrTensor | None = None) -> MetaTensor:
    """Return k-space (*slices, coil, *spatial) complex64 with the scan's metadata.

    Parameters
    ----------
    scan
        The scan.
    before
        The k-space that it was made from: where the scan has no geometry, its affine stays.

    Raises
    ------
    DataError
        If the scan has a trajectory.
    """
    meta = metadata_of(scan)
    if scan.geometry is None and isinstance(before, MetaTensor):
        meta["affine"] = meta["original_affine"] = before.affine
    if is_of_plane(before):
        meta["spatial_shape"] = meta["spatial_shape"][:2]
    return MetaTensor(scan.kspace, meta=meta)


def is_of_plane(kspace: object) -> bool:
    """Return whether k-space is that of an image (x, y), which :class:`SimulateKspace` says."""
    meta = kspace.meta if isinstance(kspace, MetaTensor) else {}
    return "spatial_ndim" in meta and len(meta.get("spatial_shape", ())) == 2


def scan_of(
    kspace: NdarrayOrTensor, mask: NdarrayOrTensor | None = None, *, spatial_dims: int = 2
) -> RawScan:
    """Return the scan of k-space as MONAI's transforms hand it on.

    Parameters
    ----------
    kspace
        (*slices, coil, *spatial) complex, or the same with a last axis of 2, real. A MetaTensor's
        metadata are looked at.
    mask
        See :func:`firenet_mri.monai.masks.sampling_mask`, slices for batch; None finds it.
    spatial_dims
        2 or 3, where the metadata do not say.

    Raises
    ------
    ShapeError
        If k-space or mask do not have these shapes.
    DataError
        If it is an image or a batch of several scans; or if k-space was flipped or turned and its
        geometry is known, which is another image's then.
    """
    if isinstance(kspace, MetaTensor):
        if kspace.is_batch:
            raise DataError(
                f"k-space of shape {tuple(kspace.shape)} is a batch, whose items have metadata of "
                "their own; transform them before they are collated, or use FIRENETModel"
            )
        _check_geometry(kspace)
    meta = kspace.meta if isinstance(kspace, MetaTensor) else {}
    ndim = int(meta.get("spatial_ndim", spatial_dims))
    y = native_kspace(kspace, ndim, looks=mask is None)
    if y.ndim < ndim + 1:
        raise ShapeError(
            f"k-space has shape {tuple(kspace.shape)}; it must be (..., coil, *spatial) complex "
            f"with {ndim} spatial axes, or the same with a last axis of 2"
        )
    items = y.reshape(-1, *y.shape[-ndim - 1 :])
    sampled = sampling_mask(None if mask is None else plain(mask, "mask"), items, ndim)
    sampled = sampled.expand(len(items), 1, *y.shape[-ndim:])
    sampled = sampled.reshape(*y.shape[: -ndim - 1], 1, *y.shape[-ndim:])
    y = y * sampled
    check_is_kspace(y, ndim, metadata=meta)
    return scan_from(y, {"spatial_ndim": ndim, **meta}, sampled)


def _check_geometry(kspace: MetaTensor) -> None:
    """Raise an error if something was done to k-space that its geometry does not follow.

    Cropping and padding change the resolution, the field of view stays.
    """
    if not kspace.meta.get("geometry"):
        return
    done = [
        str(operation[TraceKeys.CLASS_NAME])
        for operation in kspace.applied_operations
        if operation.get(TraceKeys.DO_TRANSFORM, True)
    ]
    moved = [name for name in done if not any(kind in name for kind in ("Crop", "Pad"))]
    if moved:
        raise DataError(
            f"k-space of shape {tuple(kspace.shape)} went through {', '.join(moved)}, and its "
            "geometry would be wrong for the image; do that to the image"
        )


def scan_from(kspace: Tensor, meta: Mapping[str, Any], mask: Tensor | None = None) -> RawScan:
    """Return the scan of k-space, (..., coil, *spatial) complex, with metadata as above.

    Parameters
    ----------
    kspace
        Plain, native complex.
    meta
        What :func:`metadata_of` gives; keys that are missing stand for a 2D scan without geometry
        and noise.
    mask
        Broadcasts from the right to (..., 1, *spatial), not zero where sampled; None finds it from
        the samples.
    """
    ndim = int(meta.get("spatial_ndim", 2))
    noise = torch.as_tensor(meta["noise"]) if "noise" in meta else None
    return RawScan(
        kspace,
        sampled_mask(kspace, ndim) if mask is None else mask != 0,
        ndim,
        noise=noise if noise is not None and noise.numel() else None,
        geometry=_geometry(meta["geometry"]) if meta.get("geometry") else None,
        # LoadImage has the whole path there, and folders may have patients' names.
        name=Path(str(meta.get("filename_or_obj", "k-space"))).name,
        simulated=bool(meta.get("simulated", False)),
        applied=links_of_text(str(meta.get("applied", ""))),
        record=json.loads(str(meta.get("record", "{}"))),
    )


def _plain_geometry(geometry: Geometry) -> dict[str, Any]:
    return {
        name: torch.tensor(value, dtype=torch.float64) for name, value in asdict(geometry).items()
    }


def _geometry(values: Mapping[str, Any]) -> Geometry:
    plain = {name: np.asarray(value, dtype=float).tolist() for name, value in values.items()}
    return Geometry(
        field_of_view_mm=tuple(plain["field_of_view_mm"]),
        positions_mm=tuple(tuple(position) for position in plain["positions_mm"]),
        read_direction=tuple(plain["read_direction"]),
        phase_direction=tuple(plain["phase_direction"]),
        slice_direction=tuple(plain["slice_direction"]),
        is_placed=bool(plain["is_placed"]),
    )
