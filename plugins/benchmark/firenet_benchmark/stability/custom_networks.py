"""Networks of users as methods: a Python file's, a MONAI Bundle's, or one that others published."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from firenet_benchmark import user_code
from firenet_benchmark.stability import hashes
from firenet_benchmark.stability.checkpoints import read_weights
from firenet_benchmark.stability.choices import PUBLISHED, PublishedName, Takes
from firenet_benchmark.stability.methods import Batch, Method, NetworkImage, trained_firenet
from firenet_benchmark.stability.networks import from_channels, to_channels
from firenet_benchmark.stability.published import open_published
from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.firenet.learned.formats import SHIPPED


@dataclass(frozen=True)
class NetworkChoice:
    """A user's network, see :func:`custom_method`."""

    network: str
    weights: Path | None = None
    takes: Takes = "kspace"
    scale: float | None = 1.0

    def names(self) -> list[str]:
        """Return names for tables, each more specific than the one before."""
        if self.network in PUBLISHED:
            weights = "" if self.weights is None else self.weights.name
            return [self.network, f"{self.network}, {weights}"]
        if Path(self.network).is_dir():
            parts = Path(self.network).resolve().parts
            found = [parts[-1], "/".join(parts[-2:])]
        elif is_trained_file(self.network):
            parts = Path(self.network).resolve().parts
            return [Path(self.network).stem, parts[-1], "/".join(parts[-2:])]
        else:
            path, _, factory = self.network.rpartition(":")
            parts = Path(path).resolve().parts
            found = [factory, f"{parts[-1]}:{factory}", f"{'/'.join(parts[-2:])}:{factory}"]
        if self.weights is not None:
            found.append(f"{found[-1]}, {self.weights.name}")
        return [*found, f"{found[-1]}, {self.takes}, {_scale_words(self.scale)}"]


def is_trained_file(network: str) -> bool:
    """Return whether a network is named by the weights that ``firenet train`` wrote."""
    return network in SHIPPED or Path(network).suffix == ".safetensors"


def custom_methods(choices: Sequence[NetworkChoice], taken: Sequence[str] = ()) -> list[Method]:
    """Return users' networks as methods whose names differ, also from those that are taken.

    A function's name is the method's. Where two are the same, both say their files; then folders,
    weights, how they are called; and then a number.
    """
    methods = [
        custom_method(one.network, weights=one.weights, takes=one.takes, scale=one.scale)
        for one in choices
    ]
    names = _apart([one.names() for one in choices], taken)
    return [replace(method, name=name) for method, name in zip(methods, names, strict=True)]


def _apart(candidates: Sequence[Sequence[str]], taken: Sequence[str]) -> list[str]:
    """Return one name of each, the shortest that differ."""
    levels = [0] * len(candidates)
    while True:
        names = [own[level] for own, level in zip(candidates, levels, strict=True)]
        all_names = [*names, *taken]
        same = [i for i, name in enumerate(names) if all_names.count(name) > 1]
        longer = [i for i in same if levels[i] + 1 < len(candidates[i])]
        if not longer:
            break
        for i in longer:
            levels[i] += 1
    for i in same:
        names[i] = f"{names[i]}, number {i + 1}"
    return names


def custom_method(
    network: str,
    *,
    weights: Path | None = None,
    takes: Takes = "kspace",
    scale: float | None = 1.0,
) -> Method:
    """Return a user's network as a method.

    Parameters
    ----------
    network
        "FILE.py:factory", a function without arguments that returns a ``torch.nn.Module``; the
        folder of a MONAI Bundle; or, for which ``takes`` and ``scale`` mean nothing: what
        ``firenet train`` wrote, a .safetensors file or the name of one that ships, or a
        published network, see :mod:`firenet_benchmark.stability.published`.
    weights
        State dict, also inside of a checkpoint; None keeps the factory's own, or takes the
        bundle's models/model.pt. A published network needs it.
    takes
        What the network is called with.
    scale
        Largest value of the zero-filled image that the network is used to: data are multiplied
        accordingly, and its image back. 1 is what the shipped networks get. None leaves the data
        as they are, in units of the scanner, or of the noise where that was measured.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range, or the factory fails.
    FileError
        If a file is missing, or the weights do not fit.
    """
    if takes not in get_args(Takes):
        raise UsageError(f"takes is {takes!r}; use one of {', '.join(get_args(Takes))}")
    if scale is not None and not 0 < scale < math.inf:
        raise UsageError(f"scale is {scale}; give a positive number, or none for the data's own")
    if network in PUBLISHED:
        return _published_method(network, weights)
    folder = Path(network)
    if is_trained_file(network):
        if weights is not None:
            raise UsageError(f"{network}: is a file of weights; leave {weights} out")
        return trained_firenet(folder.stem, folder, source=folder.name)
    if folder.is_dir():
        module, code = _from_bundle(folder)
        weights = folder / "models" / "model.pt" if weights is None else weights
        name, file = folder.resolve().name, folder.resolve().name
    else:
        module, code = _from_file(network)
        name, file = network.rpartition(":")[2], Path(network.rpartition(":")[0]).name
    if weights is not None:
        _load(module, weights)
    module.requires_grad_(False).eval()
    source = "its own weights" if weights is None else weights.name
    origin = {"file": file, "code sha256": code, "parameters sha256": hashes.of_network(module)}
    if weights is not None:
        origin |= {"weights": weights.name, "weights sha256": hashes.of_files([weights])}
    return Method(
        name,
        "trained",
        _UserImage(module, takes, scale),
        f"the user's network of {file}, {source}, called with {takes}, {_scale_words(scale)}",
        sum(parameter.numel() for parameter in module.parameters()),
        is_users=True,
        origin=origin,
        needs_maps=takes == "maps",
    )


def _published_method(network: str, weights: Path | None) -> Method:
    """Return a published network as a method."""
    if weights is None:
        raise UsageError(f"{network}: needs the published weights; name their file with --weights")
    opened = open_published(cast(PublishedName, network), weights)
    return Method(
        network,
        "trained",
        NetworkImage(opened),
        f"published network {network}, weights {weights.name}",
        sum(parameter.numel() for parameter in opened.parameters()),
        is_users=True,
        origin={
            "weights": weights.name,
            "weights sha256": hashes.of_files([weights]),
            "parameters sha256": hashes.of_network(opened),
        },
    )


def _scale_words(scale: float | None) -> str:
    if scale is None:
        return "data in their own units"
    return f"largest value of the zero-filled image {scale:g}"


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
        zero_filled = item.zero_filled(kspace)
        factor = torch.ones(())
        if self.scale is not None:
            factor = self.scale / zero_filled.abs().max().clamp(min=1e-30)
        if self.takes in ("kspace", "maps"):
            data = torch.view_as_real(factor * kspace), _vendor_mask(item.mask)
            maps = (torch.view_as_real(item.maps),) if self.takes == "maps" else ()
            found = self.network(*data, *maps)
        elif self.takes == "magnitude":
            found = self.network((factor * zero_filled).abs()[:, None])
        else:
            found = self.network(to_channels(factor * zero_filled))
        return self._image(found, tuple(zero_filled.shape)) / factor

    def _image(self, found: Any, shape: tuple[int, ...]) -> Tensor:
        if not isinstance(found, Tensor):
            raise ShapeError(f"The network returned {type(found).__name__}; it must be a tensor")
        one, y, x = shape
        allowed = [shape, (one, 1, y, x)]
        if self.takes in ("complex", "maps"):
            allowed.append((one, 2, y, x))
        if self.takes == "maps":
            allowed.append((one, y, x, 2))
        if tuple(found.shape) not in allowed:
            raise ShapeError(
                f"The network returned shape {tuple(found.shape)}; it must be "
                + " or ".join(map(str, allowed))
            )
        if found.numel() == one * y * x:
            return found.reshape(shape)
        return from_channels(found if found.shape[1] == 2 else found.movedim(-1, 1))


def _vendor_mask(mask: Tensor) -> Tensor:
    """Return (1, 1, 1, x, 1) where whole lines were sampled, else (1, 1, y, x, 1)."""
    is_lines = bool((mask == mask[..., :1, :]).all())
    return (mask[..., :1, :] if is_lines else mask)[..., None]


def _from_file(network: str) -> tuple[nn.Module, str]:
    """Return what the factory in a Python file returns, and the hash of its code."""
    made, module = user_code.called(network, example="model.py:make_network")
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{network}: the function returned {type(made).__name__}; it must return a "
            "torch.nn.Module"
        )
    return made, hashes.of_code(module)


def _from_bundle(folder: Path) -> tuple[nn.Module, str]:
    """Return the network that a bundle's inference config defines, and the hash of its code."""
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
        raise UsageError(f"{configs[0]}: network_def is not a torch.nn.Module")
    code = [configs[0], *sorted(folder.rglob("*.py"))]
    # The class may stand in a module of the user's that is not in the bundle.
    own = hashes.of_code(sys.modules[type(made).__module__])
    return made, hashes.of_json([hashes.of_files(code, folder), own])


def _load(module: nn.Module, weights: Path) -> None:
    """Load a state dict, also one inside of a checkpoint."""
    content = read_weights(weights)
    try:
        module.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = str(error).splitlines()
        raise FileError(
            f"{weights}: does not fit the network: {' '.join(line.strip() for line in first[:2])}"
        ) from None
