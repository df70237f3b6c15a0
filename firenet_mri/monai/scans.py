"""A raw scan as k-space with metadata, as MONAI passes it on, and back.

The metadata hold plain Python values and tensors only, as MONAI's collate functions and
``torch.load(weights_only=True)`` require, and nothing else of the file's header. What may differ in
size from scan to scan is text, so that all scans can be in one batch.

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
is_placed            True if the file says where the image lies, which the affine then does
geometry             the fields of :class:`Geometry` as text; empty if they are unknown
noise                (coil, samples) complex64 as text, see :mod:`firenet_mri.monai.text`; empty if
                     there is no measurement or it is used
images               what the images along the first axis are, where there are several, as text
image_shape          sizes of the image that k-space is of, (y, x) or (z, y, x)
trajectory           (*samples, ndim) float64 in cycles per field of view, as
                     :class:`~firenet_mri.RawScan` has it; (0,) if Cartesian
density_weights      (*samples) float64, what the samples stand for, see
                     :func:`firenet_mri.operators.density.density_weights`; (0,) if Cartesian
applied              what mixed the coils since the file was read, such as whitening, as text; see
                     :mod:`firenet_mri.monai.links`. A certificate's bounds go through it
record               how the file was read, as JSON, for the certificate
===================  ===============================================================================
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
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
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.monai.links import links_of_text, text_of_links
from firenet_mri.monai.masks import sampling_mask
from firenet_mri.monai.tensors import native_complex, native_kspace, plain
from firenet_mri.monai.text import tensor_of_text, text_of_tensor
from firenet_mri.operators.density import density_weights
from firenet_mri.scan import Geometry, RawScan, sampled_mask

_log = logging.getLogger(__name__)

#: Options of reading whose results a tensor cannot hold.
WITHOUT_A_PLACE = ("maps_file", "calibration_file", "calibration_encoding")


def metadata_of(scan: RawScan, weights: Tensor | None = None) -> dict[str, Any]:
    """Return what the table above lists.

    Parameters
    ----------
    scan
        The scan.
    weights
        Density weights of its trajectory, where they are known; None computes them.
    """
    trajectory, none = scan.trajectory, torch.zeros(0, dtype=torch.float64)
    if isinstance(trajectory, Sequence):
        raise UsageError(
            f"{scan.name}: its images have trajectories of their own, and the metadata of a tensor "
            "hold only one; give FIRENETReconstruct what firenet_mri.read returns"
        )
    if trajectory is not None and weights is None:
        weights = density_weights(trajectory, scan.spatial_shape)
    return {
        **place_of(scan),
        "geometry": "" if scan.geometry is None else json.dumps(asdict(scan.geometry)),
        "noise": text_of_tensor(scan.noise),
        "image_shape": torch.tensor(scan.spatial_shape),
        "trajectory": none if trajectory is None else trajectory.double(),
        "density_weights": none if weights is None or trajectory is None else weights,
        "applied": text_of_links(scan.applied),
    }


def place_of(scan: RawScan) -> dict[str, Any]:
    """Return the entries of the table above that an image has, too."""
    *_, ny, nx = scan.spatial_shape
    slices = scan.batch_shape[1 if scan.images else 0 :]
    shape = (math.prod(slices) if scan.spatial_ndim == 2 else scan.spatial_shape[0], ny, nx)
    geometry = scan.geometry
    affine = torch.from_numpy(np.eye(4) if geometry is None else geometry.affine_ras(shape))
    return {
        "affine": affine,
        "original_affine": affine.clone(),
        "space": "RAS",
        "spatial_shape": torch.tensor(shape[::-1]),
        "original_channel_dim": float("nan"),
        "filename_or_obj": scan.name,
        "simulated": scan.simulated,
        "spatial_ndim": scan.spatial_ndim,
        "is_placed": geometry is not None and geometry.is_placed,
        "images": json.dumps(scan.images) if scan.images else "",
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
    """
    if scan.reference is not None:
        _log.warning(
            "%s: its reference lines are not part of the tensor; without them give maps, which "
            "firenet_mri.calibration.sensitivity_maps makes of a scan that was read",
            scan.name,
        )
    meta = metadata_of(scan, weights_of(before))
    if scan.geometry is None and isinstance(before, MetaTensor):
        meta["affine"] = meta["original_affine"] = before.affine
    if is_of_plane(before):
        meta["spatial_shape"] = meta["spatial_shape"][:2]
    return MetaTensor(scan.kspace, meta=meta)


def is_of_plane(kspace: object) -> bool:
    """Return whether k-space, or that of a batch, is of images (x, y); SimulateKspace says so."""
    meta = kspace.meta if isinstance(kspace, MetaTensor) else {}
    sizes = torch.as_tensor(meta.get("spatial_shape", ()))
    return "spatial_ndim" in meta and sizes.shape[-1:] == (2,)


def scan_of(
    kspace: NdarrayOrTensor,
    mask: NdarrayOrTensor | None = None,
    *,
    spatial_dims: int = 2,
    looks: bool = True,
) -> RawScan:
    """Return the scan of k-space as MONAI's transforms pass it on.

    Parameters
    ----------
    kspace
        (*slices, coil, *spatial) complex, or the same with a last axis of 2, real; (*slices, coil,
        *samples) along the trajectory of its metadata. A MetaTensor's metadata are examined.
    mask
        See :func:`firenet_mri.monai.masks.sampling_mask`, slices for batch; None finds it.
    spatial_dims
        2 or 3, where the metadata do not say.
    looks
        Examine the numbers, too, to recognise an image; False for samples of a user's own operator,
        which may look like anything.

    Raises
    ------
    ShapeError
        If k-space or mask do not have these shapes.
    DataError
        If it is an image or a batch of several scans; or if k-space was flipped or turned and its
        geometry is known, which would then be wrong.
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
    if has_trajectory(meta):
        check_all_sampled(mask)
        y = native_complex(plain(kspace))
        return scan_from(y, meta, torch.ones((), dtype=torch.bool))
    y = native_kspace(kspace, ndim, looks=looks and mask is None)
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
    check_is_kspace(y, ndim, metadata=meta, looks=looks)
    return scan_from(y, {"spatial_ndim": ndim, **meta}, sampled)


def _check_geometry(kspace: MetaTensor) -> None:
    """Raise an error if something was done to k-space that its geometry does not follow.

    Cropping and padding change the resolution, the field of view stays.
    """
    is_free = has_trajectory(kspace.meta)
    if not kspace.meta.get("geometry") and not is_free:
        return
    done = [
        str(operation[TraceKeys.CLASS_NAME])
        for operation in kspace.applied_operations
        if operation.get(TraceKeys.DO_TRANSFORM, True)
    ]
    if is_free and done:
        raise DataError(
            f"k-space of shape {tuple(kspace.shape)} went through {', '.join(done)}, and its "
            "samples would no longer be those of the points of its trajectory; do that to the image"
        )
    moved = [name for name in done if not any(kind in name for kind in ("Crop", "Pad"))]
    if moved:
        raise DataError(
            f"k-space of shape {tuple(kspace.shape)} went through {', '.join(moved)}, and its "
            "geometry would be wrong for the image; do that to the image instead"
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
    trajectory, shape = None, None
    if has_trajectory(meta):
        trajectory = plain(meta["trajectory"], "trajectory")
        shape = tuple(int(size) for size in meta["image_shape"])
    return RawScan(
        kspace,
        sampled_mask(kspace, ndim) if mask is None else mask != 0,
        ndim,
        noise=_noise(meta.get("noise", "")),
        geometry=_geometry(meta["geometry"]) if meta.get("geometry") else None,
        # LoadImage has the whole path there, and folders may have patients' names.
        name=Path(str(meta.get("filename_or_obj", "k-space"))).name,
        simulated=bool(meta.get("simulated", False)),
        trajectory=trajectory,
        image_shape=shape,
        images=tuple(json.loads(meta["images"])) if meta.get("images") else (),
        applied=links_of_text(str(meta.get("applied", ""))),
        record=json.loads(str(meta.get("record", "{}"))),
    )


def has_trajectory(meta: Mapping[str, Any]) -> bool:
    """Return whether metadata hold the points of a trajectory."""
    points = meta.get("trajectory")
    # Of a batch of Cartesian scans there is an empty row for each.
    return points is not None and plain(points, "trajectory").numel() > 0


def weights_of(kspace: Any) -> Tensor | None:
    """Return the density weights in the metadata of k-space; None if there are none."""
    meta = kspace.meta if isinstance(kspace, MetaTensor) else {}
    found = meta.get("density_weights")
    if not has_trajectory(meta) or found is None:
        return None
    weights = plain(found, "density_weights")
    return weights if weights.numel() else None


def check_all_sampled(mask: NdarrayOrTensor | None) -> None:
    """Raise DataError if a mask leaves out samples of a trajectory, all of which are data."""
    if mask is not None and not bool((plain(mask, "mask") != 0).all()):
        raise DataError(
            f"A mask of shape {tuple(mask.shape)} leaves out samples along a trajectory; leave out "
            "their points, and the samples with them, before"
        )


def _noise(found: Any) -> Tensor | None:
    """Return a noise measurement, also from a tensor, as earlier versions and users have it."""
    noise = tensor_of_text(found) if isinstance(found, str) else plain(found, "noise")
    return noise if noise is not None and noise.numel() else None


def _geometry(found: str | Mapping[str, Any]) -> Geometry:
    """Return a geometry, also from a dictionary of tensors, as earlier versions have it."""
    values = json.loads(found) if isinstance(found, str) else found
    numbers = {name: np.asarray(value, dtype=float).tolist() for name, value in values.items()}
    return Geometry(
        field_of_view_mm=tuple(numbers["field_of_view_mm"]),
        positions_mm=tuple(tuple(position) for position in numbers["positions_mm"]),
        read_direction=tuple(numbers["read_direction"]),
        phase_direction=tuple(numbers["phase_direction"]),
        slice_direction=tuple(numbers["slice_direction"]),
        is_placed=bool(numbers["is_placed"]),
    )
