"""A network without training in the place of MONAI's and fastMRI's variational networks."""

from __future__ import annotations

from typing import Literal

from monai.data import MetaTensor
from torch import Tensor, nn

from firenet_mri.calibration import normalise_maps, sensitivity_maps
from firenet_mri.calibration.sensitivity import MapMethod
from firenet_mri.errors import ShapeError
from firenet_mri.firenet.presets import Preset, make_network
from firenet_mri.monai.tensors import native_complex, plain
from firenet_mri.operators import encoding_operator
from firenet_mri.scan import RawScan, sampled_mask


class FIRENETModel(nn.Module):
    """Reconstructs under-sampled multi-coil k-space; takes and returns what MONAI's
    ``VariationalNetworkModel`` and fastMRI's ``VarNet`` do.

    Parameters
    ----------
    spatial_dims
        2 or 3.
    preset, lam, sparsifier, levels, layers, relative_gap
        The network, see :func:`firenet_mri.firenet.presets.make_network`.
    maps
        How sensitivity maps are found where ``sens_maps`` is not given: "espirit", "jsense" or
        "none" (single coil).

    Examples
    --------
    >>> import torch
    >>> from firenet_mri.monai import FIRENETModel
    >>> model = FIRENETModel(maps="none", layers=2)
    >>> model(torch.randn(1, 1, 16, 16, 2), torch.ones(1, 1, 1, 16, 1, dtype=torch.bool)).shape
    torch.Size([1, 16, 16])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        *,
        preset: Preset = "accurate",
        lam: float | Literal["auto"] = "auto",
        sparsifier: str | None = None,
        levels: int | None = None,
        layers: int | None = None,
        relative_gap: float | None = None,
        maps: MapMethod = "espirit",
    ) -> None:
        super().__init__()
        self.spatial_dims = spatial_dims
        self.preset = preset
        self.lam = lam
        self.sparsifier = sparsifier
        self.levels = levels
        self.layers = layers
        self.relative_gap = relative_gap
        self.maps = maps

    def forward(
        self,
        masked_kspace: Tensor,
        mask: Tensor | None = None,
        num_low_frequencies: int | None = None,
        *,
        sens_maps: Tensor | None = None,
    ) -> Tensor:
        """Return the magnitude image (batch, *spatial), on the scale of the root-sum-of-squares.

        Parameters
        ----------
        masked_kspace
            (batch, coil, *spatial, 2) real, or (batch, coil, *spatial) complex.
        mask
            Sampling mask that broadcasts against ``masked_kspace``, any dtype; None finds it from
            the samples that are not zero.
        num_low_frequencies
            Taken for fastMRI's signature; the calibration region is found from the mask.
        sens_maps
            Sensitivity maps in the layout of ``masked_kspace``; None estimates them.

        Raises
        ------
        ShapeError
            If k-space, mask or maps do not have these shapes.
        CalibrationError
            If the maps cannot be estimated.
        """
        kspace = native_complex(plain(masked_kspace), "masked_kspace")
        if kspace.ndim != self.spatial_dims + 2:
            raise ShapeError(
                f"masked_kspace has shape {tuple(masked_kspace.shape)}; it must be (batch, coil, "
                f"*spatial, 2) or complex (batch, coil, *spatial) with {self.spatial_dims} "
                "spatial axes"
            )
        sampled = self._mask(kspace, None if mask is None else plain(mask), masked_kspace.ndim)
        scan = RawScan(
            kspace.detach().cpu(), sampled.cpu(), self.spatial_dims, name="masked_kspace"
        )
        if sens_maps is None:
            maps = sensitivity_maps(scan, self.maps).to(kspace.device)
        else:
            maps = normalise_maps(native_complex(plain(sens_maps), "sens_maps"), self.spatial_dims)
        net = make_network(
            scan.coils,
            scan.spatial_shape,
            preset=self.preset,
            lam=self.lam,
            sparsifier=self.sparsifier,
            levels=self.levels,
            layers=self.layers,
            relative_gap=self.relative_gap,
        ).to(kspace.device)
        encoding = encoding_operator(sampled, maps, self.spatial_dims)
        image = net(kspace * sampled, encoding).abs() * encoding.root_sum_of_squares
        return MetaTensor(image) if isinstance(masked_kspace, MetaTensor) else image

    def _mask(self, kspace: Tensor, mask: Tensor | None, given_ndim: int) -> Tensor:
        """Return the mask as (batch or 1, 1, *spatial) bool."""
        if mask is None:
            return sampled_mask(kspace, self.spatial_dims)
        # MONAI's masks have a last axis of 1 for real and imaginary parts.
        if mask.shape[-1] == 1 and (given_ndim > kspace.ndim or mask.ndim > kspace.ndim):
            mask = mask[..., 0]
        mask = mask.to(kspace.device) != 0
        mask = mask.reshape((1,) * (kspace.ndim - mask.ndim) + tuple(mask.shape))
        if mask.ndim != kspace.ndim or mask.shape[1] != 1:
            raise ShapeError(
                f"The mask has shape {tuple(mask.shape)}; it must broadcast against k-space of "
                f"shape {tuple(kspace.shape)} and be the same for all coils"
            )
        return mask.expand(mask.shape[0], 1, *kspace.shape[2:])
