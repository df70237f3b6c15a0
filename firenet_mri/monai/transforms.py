"""Reconstruction as MONAI transforms, for arrays and for dictionaries."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Transform
from monai.utils import TransformBackends
from torch import Tensor

from firenet_mri.calibration.sensitivity import MapMethod
from firenet_mri.errors import ShapeError
from firenet_mri.firenet.presets import Preset
from firenet_mri.monai.networks import FIRENETModel
from firenet_mri.reconstruction import reconstruct
from firenet_mri.scan import RawScan


class FIRENETReconstruct(Transform):
    """Reconstructs one multi-coil scan to a magnitude image, channel first.

    Parameters
    ----------
    preset, lam, sparsifier, levels, layers, relative_gap, maps, device
        As in :func:`firenet_mri.reconstruct`.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's convention

    def __init__(
        self,
        *,
        preset: Preset = "accurate",
        lam: float | Literal["auto"] = "auto",
        sparsifier: str | None = None,
        levels: int | None = None,
        layers: int | None = None,
        relative_gap: float | None = None,
        maps: MapMethod = "espirit",
        device: str = "cpu",
    ) -> None:
        self.preset = preset
        self.lam = lam
        self.sparsifier = sparsifier
        self.levels = levels
        self.layers = layers
        self.relative_gap = relative_gap
        self.maps = maps
        self.device = device

    def __call__(self, scan: RawScan | Tensor, mask: Tensor | None = None) -> MetaTensor:
        """Return the magnitude image as a MetaTensor, float32.

        Parameters
        ----------
        scan
            What :func:`firenet_mri.read` returns, giving (1, x, y, z) with the scan's affine in
            RAS mm; or 2D k-space, (coil, y, x) complex or (coil, y, x, 2) real, giving (1, y, x).
        mask
            Sampling mask of k-space given as a tensor; None finds it from the samples.
        """
        if isinstance(scan, RawScan):
            return self._from_scan(scan)
        ndim = scan.ndim - (0 if scan.is_complex() else 1)
        if ndim != 3:
            raise ShapeError(
                f"k-space has shape {tuple(scan.shape)}; it must be (coil, y, x) complex or "
                "(coil, y, x, 2) real"
            )
        model = FIRENETModel(
            preset=self.preset,
            lam=self.lam,
            sparsifier=self.sparsifier,
            levels=self.levels,
            layers=self.layers,
            relative_gap=self.relative_gap,
            maps=self.maps,
        )
        with torch.no_grad():
            image = model(scan.unsqueeze(0).to(self.device), mask)
        return _image(image.cpu(), scan.affine if isinstance(scan, MetaTensor) else torch.eye(4))

    def _from_scan(self, scan: RawScan) -> MetaTensor:
        result = reconstruct(
            scan,
            preset=self.preset,
            lam=self.lam,
            sparsifier=self.sparsifier,
            levels=self.levels,
            layers=self.layers,
            relative_gap=self.relative_gap,
            maps=self.maps,
            device=self.device,
        )
        volume = result.image.abs().reshape(-1, *result.image.shape[-2:])
        affine = torch.eye(4, dtype=torch.float64)
        if scan.geometry is not None:
            nz, ny, nx = volume.shape
            affine = torch.from_numpy(scan.geometry.affine_ras((nz, ny, nx)))
        return _image(volume.permute(2, 1, 0).unsqueeze(0).contiguous(), affine)


class FIRENETReconstructd(MapTransform):
    """Dictionary form of :class:`FIRENETReconstruct`.

    Parameters
    ----------
    keys
        Keys of the scans or k-space tensors.
    mask_key
        Key of the sampling mask of k-space tensors; where it is missing, the mask is found from
        the samples.
    output_postfix
        The image is stored under ``key_postfix``; None replaces the scan.
    allow_missing_keys
        Leave out keys that are not there.
    preset, lam, sparsifier, levels, layers, relative_gap, maps, device
        As in :func:`firenet_mri.reconstruct`.
    """

    backend = FIRENETReconstruct.backend

    def __init__(
        self,
        keys: KeysCollection,
        *,
        mask_key: str = "mask",
        output_postfix: str | None = None,
        allow_missing_keys: bool = False,
        preset: Preset = "accurate",
        lam: float | Literal["auto"] = "auto",
        sparsifier: str | None = None,
        levels: int | None = None,
        layers: int | None = None,
        relative_gap: float | None = None,
        maps: MapMethod = "espirit",
        device: str = "cpu",
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.mask_key = mask_key
        self.output_postfix = output_postfix
        self.transform = FIRENETReconstruct(
            preset=preset,
            lam=lam,
            sparsifier=sparsifier,
            levels=levels,
            layers=layers,
            relative_gap=relative_gap,
            maps=maps,
            device=device,
        )

    def __call__(self, data: Mapping[Hashable, object]) -> dict[Hashable, object]:
        """Return a copy of the dictionary with the images."""
        result = dict(data)
        for key in self.key_iterator(result):
            image = self.transform(result[key], result.get(self.mask_key))  # type: ignore[arg-type]
            result[key if self.output_postfix is None else f"{key}_{self.output_postfix}"] = image
        return result


FIRENETReconstructD = FIRENETReconstructDict = FIRENETReconstructd


def _image(image: Tensor, affine: Tensor) -> MetaTensor:
    """Return the image with its affine; k-space's applied operations do not belong to it."""
    plain = image.as_tensor() if isinstance(image, MetaTensor) else image
    # MONAI 1.6 mistakes coronal and single-slice volumes for 2D unless told there is no channel.
    meta = {"original_channel_dim": float("nan")}
    return MetaTensor(plain, affine=affine, meta=meta)
