"""Opens published networks for the tutorials beside it; they come with the benchmark's plugin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from firenet_mri import RawScan
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.errors import FirenetError

#: What MONAI's VariationalNetworkModel is called with: k-space (1, coil, y, x, 2) and a mask.
Network = Callable[[Tensor, Tensor], Tensor]


def opened(name: str, weights: Path | None) -> torch.nn.Module:
    """Return a network with its published weights; the program ends if they cannot be used."""
    try:
        from firenet_benchmark.stability.published import open_published
    except ImportError:
        raise SystemExit(f"{name} needs the benchmark: pip install plugins/benchmark") from None
    if weights is None:
        raise SystemExit(f"{name} needs --weights FILE")
    try:
        return open_published(name, weights)
    except FirenetError as error:
        raise SystemExit(str(error)) from None


def network_of_kspace(name: str, weights: Path | None) -> Network:
    """Return a published network as something that takes what MONAI's VarNet takes."""
    network = opened(name, weights)

    def image(kspace: Tensor, mask: Tensor) -> Tensor:
        samples = torch.view_as_complex(torch.as_tensor(kspace).contiguous())
        sampled = torch.as_tensor(mask).reshape(1, 1, 1, -1).expand(1, 1, *samples.shape[-2:])
        maps = None
        if name == "modl":
            # Its maps are estimated outside of it, from the same samples.
            maps = sensitivity_maps(RawScan(samples[0], sampled[0], 2, name="slice"))[None]
        return network(samples, sampled, maps).abs()

    return image
