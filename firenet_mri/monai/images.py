"""Images as MONAI's readers give them, (1, x, y, z) with an affine, as slices with a position.

(1, x, y) is one slice; ``spatial_shape`` of two sizes in the metadata of k-space makes
:class:`FIRENETReconstruct` return (1, x, y) again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from torch import Tensor

from firenet_mri.domain import DOMAIN, IMAGE, check_is_image
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.monai.scans import metadata_of
from firenet_mri.monai.tensors import plain
from firenet_mri.scan import Geometry, RawScan
from firenet_mri.simulation.scan import as_volume

# The DICOM attribute of several frames, as MONAI's PydicomReader names it.
_FRAMES = "52009230"


@dataclass(frozen=True, eq=False)
class PlacedImage:
    """An image of one channel and its position.

    Parameters
    ----------
    planes
        (z, y, x) real or complex.
    affine
        (4, 4) float64, index (x, y, z) to RAS mm.
    geometry
        The same for a scan; None if there is no position, or one that slices cannot have.
    ndim
        Number of spatial axes that it came with, 2 or 3.
    name
        Its file's name.
    is_simulated
        Whether the image itself was computed.
    """

    planes: Tensor
    affine: Tensor
    geometry: Geometry | None
    ndim: int
    name: str
    is_simulated: bool

    @classmethod
    def of(cls, image: NdarrayOrTensor) -> PlacedImage:
        """Return the image of an array, channel first: (1, x, y) or (1, x, y, z).

        Raises
        ------
        ShapeError
            If it has other axes, or several channels.
        DataError
            If it is k-space or a batch.
        """
        given = plain(image, "the image")
        if isinstance(image, MetaTensor) and image.is_batch:
            raise DataError(
                f"The image of shape {tuple(given.shape)} is a batch, whose items have metadata of "
                "their own; transform them before they are collated"
            )
        if given.ndim not in (3, 4) or given.shape[0] != 1:
            raise ShapeError(
                f"The image has shape {tuple(given.shape)}; give one channel, (1, x, y) or "
                "(1, x, y, z): use EnsureChannelFirst after LoadImage, and take one channel of "
                "several"
            )
        meta = image.meta if isinstance(image, MetaTensor) else {}
        check_is_image(given, given.ndim - 1, name="The image", metadata=meta)
        _check_axes(given, meta)
        ndim = given.ndim - 1
        voxels = given.detach().cpu().reshape((*given.shape[1:], 1)[:3])
        slices = voxels.permute(2, 1, 0).contiguous()
        affine = _affine(image)
        return cls(
            slices if slices.is_complex() else slices.float(),
            affine,
            _geometry(affine, slices.shape),
            ndim,
            _name(meta.get("filename_or_obj", "image")),
            bool(meta.get("simulated", False)),
        )

    def geometry_of(self, *, volume: bool) -> Geometry | None:
        """Return the geometry of the slices, or of them as one volume."""
        if self.geometry is None or not volume:
            return self.geometry
        return as_volume(self.geometry, self.planes.shape[0])

    def kspace_of(self, scan: RawScan, *, volume: bool) -> MetaTensor:
        """Return the k-space of a scan of this image, which says where the image lies.

        It has no slice axis for an image of two axes.
        """
        meta = metadata_of(scan)
        meta["affine"] = self.affine
        meta["original_affine"] = self.affine.clone()
        samples = scan.kspace
        if self.ndim == 2:
            meta["spatial_shape"] = torch.tensor(scan.spatial_shape[::-1])
            samples = samples if volume else samples[0]
        return MetaTensor(samples, meta=meta)

    def mask_of(self, scan: RawScan) -> Tensor:
        """Return the mask, (*slices, 1, *spatial) bool, with the axes of :meth:`kspace_of`."""
        mask = scan.mask
        if self.ndim == 2 and scan.batch_shape:
            mask = mask[0]
        return mask.contiguous()

    def truth(self, slices: Tensor) -> MetaTensor:
        """Return slices (z, y, x) in the axes of the original image, with its position."""
        voxels = slices.permute(2, 1, 0)
        voxels = voxels[..., 0] if self.ndim == 2 else voxels
        meta: dict[str, Any] = {
            "affine": self.affine,
            "original_affine": self.affine.clone(),
            "space": "RAS",
            "spatial_shape": torch.tensor(voxels.shape),
            "original_channel_dim": float("nan"),
            "filename_or_obj": self.name,
            DOMAIN: IMAGE,
        }
        return MetaTensor(voxels.unsqueeze(0).contiguous(), meta=meta)


def check_volume(image: PlacedImage, *, volume: bool) -> None:
    """Raise UsageError if a single slice is to be encoded as a volume."""
    if volume and image.planes.shape[0] < 2:
        raise UsageError(
            f"{image.name}: has one slice, and volume=True encodes several; leave it out"
        )


def _check_axes(image: Tensor, meta: dict[str, Any]) -> None:
    """Refuse what MONAI's PydicomReader makes of several frames, (y, frame, x) without a place."""
    if image.ndim == 4 and _FRAMES in meta:
        raise DataError(
            f"{_name(meta.get('filename_or_obj', 'image'))}: MONAI's PydicomReader puts the frames "
            "of an enhanced DICOM file between rows and columns, and does not find their position; "
            "read it with firenet_mri.monai.ComplexDicomReader(magnitude=True) and "
            "dtype=numpy.complex64"
        )


def _name(source: Any) -> str:
    # Folders may have patients' names, and a series has many files.
    first = source[0] if isinstance(source, list | tuple) and source else source
    return Path(str(first)).name or "image"


def _affine(image: NdarrayOrTensor) -> Tensor:
    """Return the affine of (x, y, z), (4, 4) float64; that of two axes is completed."""
    affine = torch.eye(4, dtype=torch.float64)
    if isinstance(image, MetaTensor):
        found = torch.as_tensor(np.asarray(image.affine.cpu(), float))
        size = found.shape[-1] - 1
        affine[:size, :size] = found[:size, :size]
        affine[:size, 3] = found[:size, size]
    return affine


def _geometry(affine: Tensor, shape: torch.Size) -> Geometry | None:
    """Return where slices (z, y, x) lie; None if it is unknown, or where slices cannot lie."""
    ras = affine.numpy()
    if np.allclose(ras, np.eye(4)):
        return None
    nz, ny, nx = shape
    try:
        return Geometry.from_affine(np.diag([-1.0, -1.0, 1.0, 1.0]) @ ras, (nz, ny, nx))
    except DataError:
        # Sheared, as after a random affine: the image still gets its affine back.
        return None
