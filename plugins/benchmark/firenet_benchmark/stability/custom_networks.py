"""Networks of users as methods: from a Python file, or from a MONAI Bundle."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.methods import Batch, Method
from firenet_benchmark.stability.networks import combine, from_channels, to_channels
from firenet_mri.errors import FileError, ShapeError, UsageError

#: What a network is called with.
#: "kspace": (1, coil, y, x, 2) and the mask (1, 1, 1 or y, x, 1), as MONAI's and fastMRI's VarNet;
#: "magnitude": the zero-filled image (1, 1, y, x); "complex": its two parts, (1, 2, y, x).
Takes = Literal["kspace", "magnitude", "complex"]

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network")


def custom_method(
    network: str,
    *,
    weights: Path | None = None,
    takes: Takes = "kspace",
    scale: float | None = None,
) -> Method:
    """Return a user's network as a method.

    Parameters
    ----------
    network
        "FILE.py:factory", a function without arguments that returns a ``torch.nn.Module``; or the
        folder of a MONAI Bundle.
    weights
        State dict, also inside of a checkpoint; None keeps the factory's own, or takes the
        bundle's models/model.pt.
    takes
        What the network is called with.
    scale
        Largest value of the zero-filled image that the network is used to: data are multiplied
        accordingly, and its image back. None leaves the data as they are, in units of the noise.

    Raises
    ------
    UsageError
        If an option is unknown, or the factory fails.
    FileError
        If a file is missing, or the weights do not fit.
    """
    if takes not in get_args(Takes):
        raise UsageError(f"takes is {takes!r}; use one of {', '.join(get_args(Takes))}")
    folder = Path(network)
    if folder.is_dir():
        module = _from_bundle(folder)
        weights = folder / "models" / "model.pt" if weights is None else weights
        name = folder.resolve().name
    else:
        module = _from_file(network)
        name = network.rpartition(":")[2]
    if weights is not None:
        _load(module, weights)
    module.requires_grad_(False).eval()
    origin = "its own weights" if weights is None else weights.name
    return Method(
        name,
        "trained",
        _UserImage(module, takes, scale),
        f"the user's network, {origin}, called with {takes}",
        sum(parameter.numel() for parameter in module.parameters()),
    )


@dataclass(frozen=True, eq=False)
class _UserImage:
    network: nn.Module
    takes: Takes
    scale: float | None

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        # One by one: networks take one mask for all of a batch.
        images = [
            self._one(kspace[i : i + 1] * batch.mask[i : i + 1], batch[i : i + 1])
            for i in range(len(kspace))
        ]
        return torch.cat(images)

    def _one(self, kspace: Tensor, item: Batch) -> Tensor:
        zero_filled = combine(kspace, item.maps)
        factor = torch.ones(())
        if self.scale is not None:
            factor = self.scale / zero_filled.abs().max().clamp(min=1e-30)
        if self.takes == "kspace":
            found = self.network(torch.view_as_real(factor * kspace), _vendor_mask(item.mask))
        elif self.takes == "magnitude":
            found = self.network((factor * zero_filled).abs()[:, None])
        else:
            found = self.network(to_channels(factor * zero_filled))
        return self._image(found, tuple(zero_filled.shape)) / factor

    def _image(self, found: Any, shape: tuple[int, ...]) -> Tensor:
        if not isinstance(found, Tensor):
            raise ShapeError(f"The network returned {type(found).__name__}; it must be a tensor")
        one, y, x = shape
        if tuple(found.shape) == (one, 2, y, x) and self.takes == "complex":
            return from_channels(found)
        if tuple(found.shape) in ((one, y, x), (one, 1, y, x)):
            return found.reshape(shape)
        raise ShapeError(
            f"The network returned shape {tuple(found.shape)}; it must be {shape}, {(one, 1, y, x)}"
            + (f" or {(one, 2, y, x)}" if self.takes == "complex" else "")
        )


def _vendor_mask(mask: Tensor) -> Tensor:
    """Return (1, 1, 1, x, 1) where whole lines were sampled, else (1, 1, y, x, 1)."""
    is_lines = bool((mask == mask[..., :1, :]).all())
    return (mask[..., :1, :] if is_lines else mask)[..., None]


def _from_file(network: str) -> nn.Module:
    """Return what the factory in a Python file returns."""
    path, _, factory = network.rpartition(":")
    if not path or not factory:
        raise UsageError(f"{network}: name the file and its function, as model.py:make_network")
    if not Path(path).is_file():
        raise FileError(f"{path}: no such file; check the path")
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, factory)()
    # The file is a user's and can raise anything.
    except Exception as error:
        raise UsageError(f"{network}: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{network}: the function returned {type(made).__name__}; it must return a "
            "torch.nn.Module"
        )
    return made


def _from_bundle(folder: Path) -> nn.Module:
    """Return the network that a bundle's inference config defines."""
    from monai.bundle import ConfigParser

    configs = sorted((folder / "configs").glob("inference.*"))
    if not configs:
        raise FileError(f"{folder}: holds no configs/inference.json or .yaml; give a MONAI Bundle")
    parser = ConfigParser()
    try:
        parser.read_config(str(configs[0]))
        parser["bundle_root"] = str(folder)
        made = parser.get_parsed_content("network_def")
    except Exception as error:
        raise UsageError(f"{configs[0]}: network_def: {type(error).__name__}: {error}") from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"{configs[0]}: network_def is no torch.nn.Module")
    return made


def _load(module: nn.Module, weights: Path) -> None:
    """Load a state dict, also one inside of a checkpoint."""
    if not weights.is_file():
        raise FileError(f"{weights}: no such file; check the path")
    try:
        content = torch.load(weights, map_location="cpu", weights_only=True)
    except Exception as error:
        raise FileError(
            f"{weights}: cannot be read as weights ({type(error).__name__}); save a state dict "
            "with torch.save"
        ) from None
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    try:
        module.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = str(error).splitlines()
        raise FileError(
            f"{weights}: does not fit the network: {' '.join(line.strip() for line in first[:2])}"
        ) from None
