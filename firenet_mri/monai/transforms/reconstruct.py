"""From k-space to the image, with its certificate in the metadata if that is wanted."""

from __future__ import annotations

import copy
import json
from typing import Any, Literal, get_args

import torch
from monai.config import NdarrayOrTensor
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import TransformBackends
from torch import Tensor

from firenet_mri.calibration import whiten
from firenet_mri.calibration.methods import MapMethod
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.options import Preset
from firenet_mri.monai.maps import estimated_maps, given_maps
from firenet_mri.monai.networks import FIRENETModel, Output
from firenet_mri.monai.scans import metadata_of, scan_of
from firenet_mri.monai.tensors import plain
from firenet_mri.monai.transforms.configuration import Configured
from firenet_mri.reconstruction import reconstruct
from firenet_mri.scan import RawScan

ImageAxes = Literal["xyz", "kspace"]

# Two runs of the network on the same data agree to rounding.
_SAME_IMAGE = 1e-3


class FIRENETReconstruct(Configured, Transform):
    """Reconstructs a multi-coil scan to an image, channel first.

    Parameters
    ----------
    preset, lam, sparsifier, levels, layers, relative_gap
        The network, see :func:`firenet_mri.firenet.presets.make_network`.
    maps
        How sensitivity maps are found where none are given: "espirit", "jsense", "lowres" or
        "none"; "lowres" with a warning where a slice's calibration region is too small.
    output
        "magnitude" float32, or "complex" complex64.
    image_axes
        "xyz": (1, x, y, z), with the affine in RAS mm, as MONAI's readers give images. "kspace":
        the axes of k-space without the coil, (slices, y, x) for several slices, else (1, *spatial),
        as MONAI's ``kspace_masked_ifft`` and fastMRI's targets have them; the affine belongs to
        the spatial axes in that order.
    certificate
        Put the certificate into the metadata, ``meta["certificate"]``, as JSON (for
        :meth:`firenet_mri.Certificate.from_dict`); takes two to three times longer.
    device
        Where the network runs. Not "cuda" in workers that are forked: run :class:`FIRENETModel` in
        the loop then.
    spatial_dims
        2 or 3, where the metadata do not say.

    Notes
    -----
    Deterministic and not random: what stands behind it is cached by MONAI's datasets, unless a
    random transform stands before it. It does not keep anything from call to call. Operations that
    were applied to k-space are not the image's: ``applied_operations`` is empty.
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
        output: Output = "magnitude",
        image_axes: ImageAxes = "xyz",
        certificate: bool = False,
        device: str = "cpu",
        spatial_dims: int = 2,
    ) -> None:
        if image_axes not in get_args(ImageAxes):
            raise UsageError(f"Unknown image_axes {image_axes!r}; use xyz or kspace")
        self.preset = preset
        self.lam = lam
        self.sparsifier = sparsifier
        self.levels = levels
        self.layers = layers
        self.relative_gap = relative_gap
        self.maps = maps
        self.output = output
        self.image_axes = image_axes
        self.certificate = certificate
        self.device = device
        self.spatial_dims = spatial_dims
        self._model(spatial_dims)  # Checks the options.

    def __call__(
        self,
        kspace: RawScan | NdarrayOrTensor,
        mask: NdarrayOrTensor | None = None,
        sens_maps: NdarrayOrTensor | None = None,
        x0: NdarrayOrTensor | None = None,
    ) -> MetaTensor:
        """Return the image, see ``output`` and ``image_axes``.

        Parameters
        ----------
        kspace
            (*slices, coil, *spatial) complex, or (..., 2) real, with the metadata of
            :class:`LoadKspace` or without; it is whitened first if they hold a noise measurement.
            Or what :func:`firenet_mri.read` returns.
        mask
            Sampling mask, see :func:`firenet_mri.monai.masks.sampling_mask`; None finds it.
        sens_maps
            Sensitivity maps (slices or 1, coil, *spatial) complex, or (..., 2) real.
        x0
            Image to start from, in the axes of k-space without the coil, see
            :class:`FIRENETModel`; not with a certificate.

        Raises
        ------
        ShapeError
            If the arguments do not have these shapes.
        DataError
            If k-space is zero everywhere or has NaN.
        """
        scan = kspace if isinstance(kspace, RawScan) else self._scan_of(kspace, mask)
        meta = _image_metadata(scan, kspace)
        if scan.noise is not None:
            scan = whiten(scan)
        items = scan.kspace.reshape(-1, *scan.kspace.shape[-scan.spatial_ndim - 1 :])
        masks = scan.mask.reshape(-1, 1, *scan.spatial_shape)
        if sens_maps is None:
            maps = estimated_maps(items, masks, self.maps)
        else:
            maps = given_maps(sens_maps, items, "sens_maps").expand_as(items)
        if self.certificate:
            if x0 is not None:
                raise UsageError("The certificate is for a start at zero; leave x0 out")
            image, meta["certificate"] = self._certified(scan, maps)
        else:
            image = self._run(scan, (items, masks, maps), x0)
        if self.output == "magnitude":
            image = image.abs()
        return self._metatensor(image.reshape(-1, *scan.spatial_shape), scan.spatial_ndim, meta)

    def _scan_of(self, kspace: NdarrayOrTensor, mask: NdarrayOrTensor | None) -> RawScan:
        return scan_of(kspace, mask, spatial_dims=self.spatial_dims)

    def _model(self, spatial_dims: int) -> FIRENETModel:
        return FIRENETModel(
            spatial_dims,
            preset=self.preset,
            lam=self.lam,
            sparsifier=self.sparsifier,
            levels=self.levels,
            layers=self.layers,
            relative_gap=self.relative_gap,
            maps=self.maps,
            output="complex",
        )

    def _run(
        self,
        scan: RawScan,
        items: tuple[Tensor, Tensor, Tensor],
        x0: NdarrayOrTensor | None,
    ) -> Tensor:
        """Return the images (slices, *spatial) of k-space, masks and maps, one after another."""
        model = self._model(scan.spatial_ndim)
        slices = len(items[0])
        starts: list[Tensor | None] = [None] * slices
        if x0 is not None:
            starts = list(plain(x0, "x0").split(1))
        if len(starts) != slices:
            raise ShapeError(f"x0 has {len(starts)} slices, k-space {slices}; give one for each")
        images = []
        with torch.no_grad():
            for parts, start in zip(zip(*items, strict=True), starts, strict=True):
                y, mask, maps = (part.unsqueeze(0).to(self.device) for part in parts)
                images.append(model(y, mask, sens_maps=maps, x0=start).cpu())
        return torch.cat(images)

    def _certified(self, scan: RawScan, maps: Tensor) -> tuple[Tensor, str]:
        """Return the image and its certificate as JSON."""
        result = reconstruct(
            scan,
            preset=self.preset,
            lam=self.lam,
            sparsifier=self.sparsifier,
            levels=self.levels,
            layers=self.layers,
            relative_gap=self.relative_gap,
            maps=maps.reshape(scan.kspace.shape),
            device=self.device,
        )
        # MONAI's collate functions know strings, but not None.
        return result.image, json.dumps(result.certificate.to_dict())

    def _metatensor(self, image: Tensor, ndim: int, meta: dict[str, Any]) -> MetaTensor:
        """Return images (slices, *spatial), channel first, with their metadata."""
        affine = torch.as_tensor(meta.pop("affine"), dtype=torch.float64)
        if self.image_axes == "xyz":
            volume = image.reshape(-1, *image.shape[-2:])
            image = volume.permute(2, 1, 0).unsqueeze(0)
        else:
            order = [2, 1, 0, 3] if ndim == 3 else [1, 0, 2, 3]
            affine = affine[:, order]
        meta["original_affine"] = affine.clone()
        meta["spatial_shape"] = torch.tensor(image.shape[1:])
        return MetaTensor(image.contiguous(), affine=affine, meta=meta)


class StabilityCertificate(Configured, Transform):
    """Puts the certificate of an image into its metadata, after checking that it is this image's.

    The network runs once more, and the image must be the one that comes out: a certificate never
    stands with an image that was changed. Where the image is not needed before, ask
    :class:`FIRENETReconstruct` for it with ``certificate=True``: that takes one run.

    Parameters
    ----------
    reconstruct
        The transform that made the image; None is ``FIRENETReconstruct()``.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012

    def __init__(self, reconstruct: FIRENETReconstruct | None = None) -> None:
        self.reconstruct = FIRENETReconstruct() if reconstruct is None else reconstruct

    def __call__(  # type: ignore[override]
        self,
        image: NdarrayOrTensor,
        kspace: RawScan | NdarrayOrTensor,
        mask: NdarrayOrTensor | None = None,
        sens_maps: NdarrayOrTensor | None = None,
    ) -> MetaTensor:
        """Return the image with ``meta["certificate"]``, JSON.

        Parameters
        ----------
        image
            What ``reconstruct`` made of the other arguments, see :class:`FIRENETReconstruct`.
        kspace, mask, sens_maps
            Its arguments.

        Raises
        ------
        DataError
            If the image is another one.
        """
        again = copy.copy(self.reconstruct)
        again.certificate = True
        made = again(kspace, mask, sens_maps)
        found, expected = plain(image, "the image").cpu(), made.as_tensor()
        is_same = found.shape == expected.shape and bool(
            (found - expected).norm() <= _SAME_IMAGE * expected.norm()
        )
        if not is_same:
            raise DataError(
                f"The image of shape {tuple(found.shape)} is not the one that this network makes "
                "of this k-space; certify it before anything changes it, with the transform that "
                "made it"
            )
        meta = dict(image.meta) if isinstance(image, MetaTensor) else dict(made.meta)
        return MetaTensor(found, meta={**meta, "certificate": made.meta["certificate"]})


def _image_metadata(scan: RawScan, kspace: RawScan | NdarrayOrTensor) -> dict[str, Any]:
    """Return what of the metadata of k-space is the image's too, with the affine of (x, y, z)."""
    meta = metadata_of(scan)
    if scan.geometry is None and isinstance(kspace, MetaTensor):
        meta["affine"] = kspace.affine
    kept = ("affine", "space", "original_channel_dim", "filename_or_obj", "simulated")
    return {name: meta[name] for name in kept}
