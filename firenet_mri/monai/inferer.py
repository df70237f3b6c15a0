"""What MONAI's evaluators call: a scan in, its image with a certificate out."""

from __future__ import annotations

from typing import Any

import torch
from monai.data import MetaTensor, decollate_batch
from monai.data.utils import collate_meta_tensor
from monai.inferers import Inferer
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.monai.networks import FIRENETModel
from firenet_mri.monai.transforms.reconstruct import FIRENETReconstruct


class ScanInferer(Inferer):
    """Reconstructs whole scans with the options of a :class:`FIRENETModel`; for
    ``SupervisedEvaluator(inferer=...)`` after :class:`LoadKspaced`.

    The network alone takes slices and returns their images. This inferer takes a batch of scans
    with the metadata of :class:`LoadKspace`, whitens those that have a noise measurement, and
    returns images at their position, with their certificates, as :class:`FIRENETReconstruct` does.

    Parameters
    ----------
    certificate, evidence
        See :class:`FIRENETReconstruct`.

    Examples
    --------
    ``PrepareBatchExtraInput("mask")`` passes the mask to it:

    >>> import torch
    >>> from firenet_mri.monai import FIRENETModel, ScanInferer
    >>> inferer = ScanInferer(certificate=False, evidence=False)
    >>> inferer(torch.randn(1, 2, 1, 16, 16) + 0j, FIRENETModel(maps="none", layers=2)).shape
    torch.Size([1, 1, 16, 16, 2])
    """

    def __init__(self, *, certificate: bool = True, evidence: bool = True) -> None:
        super().__init__()
        self.certificate = certificate
        self.evidence = evidence

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> MetaTensor:
        """Return the images (batch, 1, x, y, z), magnitudes.

        Parameters
        ----------
        inputs
            k-space (batch, *slices, coil, *spatial) complex.
        network
            The model of which the options are taken.
        *args, **kwargs
            The mask (batch, *slices, 1, *spatial), not zero where sampled, as the first of them or
            by the name "mask"; without one it is found from the samples.

        Raises
        ------
        UsageError
            If the network is not a FIRENETModel, its maps are not a method's name, or its steps are
            trained.
        """
        transform = self._transform(network, str(inputs.device))
        mask = args[0] if args else kwargs.get("mask")
        masks: list[Any] = [None] * len(inputs) if mask is None else list(mask)
        is_batch = isinstance(inputs, MetaTensor) and inputs.is_batch
        scans = decollate_batch(inputs) if is_batch else list(inputs)
        with torch.no_grad():
            images = [transform(scan, one) for scan, one in zip(scans, masks, strict=True)]
        return collate_meta_tensor(images)  # type: ignore[no-untyped-call]

    def _transform(self, network: Any, device: str) -> FIRENETReconstruct:
        if not isinstance(network, FIRENETModel):
            raise UsageError(
                f"The network is a {type(network).__name__}; certificates exist only for a "
                "FIRENETModel, so use MONAI's SimpleInferer for other networks"
            )
        if network.map_method is None or network.steps is not None:
            raise UsageError(
                "The model has maps of its own or trained steps, which its options do not hold; "
                "use MONAI's SimpleInferer for it"
            )
        return FIRENETReconstruct(
            certificate=self.certificate,
            evidence=self.evidence,
            spatial_dims=network.spatial_dims,
            maps=network.map_method,
            background=network.background,
            device=device,
            **network.options.flat(),
        )
