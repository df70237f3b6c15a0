"""Networks that others published, opened from their weights, each with its own input.

The sizes are read from the weights. All are called as the benchmark's own networks are,
``network(kspace, mask, maps)``, and are told neither widths nor scale:

- "monai-varnet", of MONAI's tutorial, and "fastmri-varnet": multi-coil k-space and its lines. They
  make maps of their own and normalise by themselves, so that they do not depend on the scale; the
  image is a root-sum-of-squares.
- "monai-unet", of MONAI's tutorial: the zero-filled root-sum-of-squares, of mean 0 and standard
  deviation 1 in each slice and cut off at 6, as the tutorial trains it.
- "modl": the zero-filled image of the maps that are given, of largest value 1; names and layers are
  those of the PyTorch version github.com/bo-10000/MoDL_PyTorch, since the authors' own weights are
  TensorFlow's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.checkpoints import (
    below,
    fill,
    named_tensors,
    prefixes,
    read_weights,
)
from firenet_benchmark.stability.choices import PublishedName
from firenet_benchmark.stability.fastmri_varnet import FastMRIVarNet
from firenet_benchmark.stability.networks import (
    ScaledNetwork,
    combine,
    conjugate_gradients,
    from_channels,
    spread,
    to_channels,
)
from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.operators import CartesianFourier

#: A parameter that only one of the networks has, by which its weights are recognised.
_MARKS: dict[PublishedName, str] = {
    "fastmri-varnet": "sens_net.norm_unet.unet.down_sample_layers.0.layers.0.weight",
    "monai-varnet": "coil_sensitivity_model.conv_net.unet.conv_0.conv_0.conv.weight",
    "modl": "dw.nw.0.weight",
    "monai-unet": "conv_0.conv_0.conv.weight",
}
#: Unrolled steps of the published MoDL; they share their weights, which do not tell how many.
MODL_STEPS = 10
_MODL_GRADIENTS = 10
_CUT_OFF = 6.0
# Buffers of the VarNets that hold a zero, in some versions.
_ZEROS = (".zero", ".zeros")
_Opened = tuple[nn.Module, nn.Module]


class OneByOne(nn.Module, ABC):
    """A network that takes one slice and one mask at a time."""

    def forward(self, kspace: Tensor, mask: Tensor, maps: Tensor | None = None) -> Tensor:
        """Return magnitude images (batch, y, x).

        Parameters
        ----------
        kspace, mask
            (batch, coil, y, x) complex, zero where not sampled; (batch or 1, 1, y, x) bool.
        maps
            Ignored.

        Raises
        ------
        ShapeError
            If the network cannot take the mask.
        """
        images = []
        for i, item in enumerate(kspace):
            sampled = mask[min(i, len(mask) - 1)]
            item = item * sampled
            # Normalisation divides an item without signal by zero.
            has_signal = bool(item.detach().abs().any())
            images.append(self.one(item, sampled[0]) if has_signal else 0 * item.real.sum(0))
        return torch.stack(images)

    @abstractmethod
    def one(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Return the image (y, x) of k-space (coil, y, x) and a mask (y, x)."""


class VarNetOfLines(OneByOne):
    """A variational network that makes its maps from the centre of lines along the last axis.

    Lines along the other axis are turned there, and the image back.

    Parameters
    ----------
    network
        Called with k-space (1, coil, y, x) complex and lines (x,) bool.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def one(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Return the image (y, x) of k-space (coil, y, x) and a mask (y, x)."""
        if bool((mask == mask[:1]).all()):
            found: Tensor = self.network(kspace[None], _lines(mask[0]))
            return found[0]
        if bool((mask == mask[:, :1]).all()):
            found = self.network(kspace.mT.contiguous()[None], _lines(mask[:, 0]))
            return found[0].mT
        raise ShapeError(
            "The mask has single points, and this network makes its maps from whole lines; give "
            "it a mask of lines"
        )


def _lines(lines: Tensor) -> Tensor:
    """Return the lines if there is a centre of which the network can find both ends."""
    middle = len(lines) // 2
    if not bool(lines[middle]) or bool(lines[:middle].all()) or bool(lines[middle:].all()):
        raise ShapeError(
            f"{int(lines.sum())} of {len(lines)} lines were sampled; this network makes its maps "
            "from the lines in the middle, which must end before the edges"
        )
    return lines


class _MonaiVarNet(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, kspace: Tensor, lines: Tensor) -> Tensor:
        pairs = torch.view_as_real(kspace)
        image: Tensor = self.network(pairs, lines.reshape(1, 1, 1, -1, 1))
        return image


class MonaiUNet(OneByOne):
    """MONAI's U-Net of a zero-filled image.

    Parameters
    ----------
    network
        ``BasicUNet`` with one channel.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def one(self, kspace: Tensor, mask: Tensor) -> Tensor:
        """Return the image (y, x) of k-space (coil, y, x)."""
        coils = CartesianFourier(None, kspace.shape[-2:]).adjoint(kspace)
        return self.images(torch.linalg.vector_norm(coils, dim=0)[None])[0]

    def images(self, zero_filled: Tensor) -> Tensor:
        """Return images (batch, y, x) of zero-filled root-sums-of-squares of the same shape.

        Crop these, not the result: the tutorial normalises what it has cropped.
        """
        mean = zero_filled.mean((-2, -1), keepdim=True)
        std = zero_filled.std((-2, -1), correction=0, keepdim=True)
        normalised = ((zero_filled - mean) / std).clamp(-_CUT_OFF, _CUT_OFF)
        found: Tensor = self.network(normalised.unsqueeze(1))
        return found[:, 0] * std + mean


class PublishedMoDL(ScaledNetwork):
    """x <- (A^H A + lam)^-1 (A^H y + lam D(x)), D a residual network of convolutions.

    Parameters
    ----------
    widths
        Channels after each convolution.
    steps
        How many; they share D and lam.
    """

    def __init__(self, widths: list[int], steps: int = MODL_STEPS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([2, *widths[:-1]], widths, strict=True):
            convolution = nn.Conv2d(before, after, 3, padding=1)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.dw, self.dc = nn.Module(), nn.Module()
        self.dw.nw = nn.Sequential(*layers[:-1])
        self.dc.lam = nn.Parameter(torch.tensor(0.05))
        self.steps = steps

    def image(self, zero_filled: Tensor, kspace: Tensor, mask: Tensor, maps: Tensor) -> Tensor:
        """Return images (batch, y, x) complex."""
        lam: Any = self.dc.lam
        denoiser: Any = self.dw.nw

        def normal(x: Tensor) -> Tensor:
            return combine(mask * spread(x, maps), maps) + lam * x

        x = zero_filled
        for _ in range(self.steps):
            z = x + from_channels(denoiser(to_channels(x)))
            start = torch.zeros_like(x)
            x = conjugate_gradients(normal, zero_filled + lam * z, start, _MODL_GRADIENTS)
        return x


def open_published(name: PublishedName, weights: Path, *, steps: int = MODL_STEPS) -> nn.Module:
    """Return a published network with its weights, ready for use.

    Parameters
    ----------
    name
        Which one.
    weights
        Its state dict, also inside of a checkpoint and behind prefixes such as "module." or
        Lightning's "varnet.".
    steps
        Unrolled steps of MoDL.

    Raises
    ------
    UsageError
        If there is no network of this name.
    FileError
        If the weights cannot be read or do not fit; the line says what differs.
    """
    if name not in get_args(PublishedName):
        raise UsageError(f"Unknown network {name!r}; use {', '.join(get_args(PublishedName))}")
    state = _own_state(named_tensors(read_weights(weights), weights), weights, name)
    try:
        # Without memory, and without drawing weights that would be discarded.
        with torch.device("meta"):
            called, network = _MAKERS[name](state, steps)
    except KeyError as error:
        raise FileError(f"{weights}: does not fit {name}: missing {error.args[0]}") from None
    # Any shape can stand under a name.
    except (ArithmeticError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise FileError(f"{weights}: does not fit {name}: {str(error).splitlines()[0]}") from None
    own = network.state_dict().items()
    zeros = {key: torch.zeros(one.shape) for key, one in own if key.endswith(_ZEROS)}
    fill(network, {**state, **zeros}, weights, name)
    return called.requires_grad_(False).eval()


def _own_state(state: dict[str, Tensor], path: Path, name: PublishedName) -> dict[str, Tensor]:
    """Return the network's own tensors, by its own names."""
    found = {known: prefixes(state, mark) for known, mark in _MARKS.items()}
    others = [known for known in _MARKS if known != name and found[known]]
    if name == "monai-unet" and others:
        found[name] = []
    if not found[name]:
        advice = f"the first name is {next(iter(state))}"
        if others:
            advice = f"these are weights of {others[0]}, so use --network {others[0]}"
        raise FileError(f"{path}: does not fit {name}: missing {_MARKS[name]}; {advice}")
    if len(found[name]) > 1:
        raise FileError(
            f"{path}: holds several networks, below {' and '.join(map(repr, found[name][:2]))}; "
            "save the state dict of one"
        )
    own = below(state, found[name][0]).items()
    for key, tensor in own:
        if tensor.numel() == 0:
            raise FileError(f"{path}: does not fit {name}: {key} is empty")
    return {key: tensor for key, tensor in own if not key.endswith(_ZEROS)}


def _monai_varnet(state: Mapping[str, Tensor], steps: int) -> _Opened:
    """Return what is called, and the network in it that the weights are of."""
    from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
    from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
    from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel

    network = VariationalNetworkModel(
        CoilSensitivityModel(2, _monai_widths(state, "coil_sensitivity_model.conv_net.unet.")),
        ComplexUnet(2, _monai_widths(state, "cascades.0.model.unet.")),
        _count(state, "cascades."),
    )
    return VarNetOfLines(_MonaiVarNet(network)), network


def _monai_unet(state: Mapping[str, Tensor], steps: int) -> _Opened:
    from monai.networks.nets import BasicUNet

    network = BasicUNet(2, 1, 1, features=_monai_widths(state, ""))
    return MonaiUNet(network), network


def _monai_widths(state: Mapping[str, Tensor], prefix: str) -> tuple[int, ...]:
    """Return the six widths that MONAI calls features."""
    places = ["conv_0", *(f"down_{i}.convs" for i in range(1, 5)), "upcat_1.convs"]
    return tuple(len(state[f"{prefix}{place}.conv_0.conv.weight"]) for place in places)


def _fastmri_varnet(state: Mapping[str, Tensor], steps: int) -> _Opened:
    first = "down_sample_layers.0.layers.0.weight"
    of_maps, of_images = "sens_net.norm_unet.unet.", "cascades.0.model.unet."
    network = FastMRIVarNet(
        _count(state, "cascades."),
        chans=len(state[of_images + first]),
        pools=_count(state, f"{of_images}down_sample_layers."),
        sens_chans=len(state[of_maps + first]),
        sens_pools=_count(state, f"{of_maps}down_sample_layers."),
    )
    return VarNetOfLines(network), network


def _modl(state: Mapping[str, Tensor], steps: int) -> _Opened:
    convolutions = [f"dw.nw.{3 * i}.weight" for i in range(len(state))]
    network = PublishedMoDL([len(state[key]) for key in convolutions if key in state], steps)
    return network, network


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    """Return how many numbers follow a prefix."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})


_MAKERS: dict[PublishedName, Callable[[Mapping[str, Tensor], int], _Opened]] = {
    "monai-varnet": _monai_varnet,
    "monai-unet": _monai_unet,
    "fastmri-varnet": _fastmri_varnet,
    "modl": _modl,
}
