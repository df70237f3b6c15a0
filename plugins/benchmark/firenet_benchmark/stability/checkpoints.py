"""Trained weights that others saved: read without running anything, and fitted to a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.errors import FileError

_WRAPPERS = ("state_dict", "model_state_dict", "model", "network")
_TENSORFLOW = re.compile(r"\.(index|meta|data-\d+-of-\d+)$")


def read_weights(path: Path) -> Any:
    """Return the state dict of a file, also one inside of a checkpoint.

    Nothing is unpickled that could run code.

    Parameters
    ----------
    path
        What ``torch.save`` wrote, or .safetensors.

    Raises
    ------
    FileError
        If the file is missing, or holds anything other than weights and plain data.
    """
    _refuse_tensorflow(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file; check the path")
    try:
        content = _loaded(path)
    except Exception as error:
        raise FileError(f"{path}: {_why(error)}; save a state dict with torch.save") from None
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    return content


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _why(error: Exception) -> str:
    found = re.search(r"(?:GLOBAL|Unsupported class) (?!GLOBAL)([\w.]+)", str(error))
    if found is None:
        return f"cannot be read as weights ({type(error).__name__})"
    return f"cannot be read as weights, since reading the {found[1]} in it could run code"


def _refuse_tensorflow(path: Path) -> None:
    beside = path.with_name(f"{path.name}.index").is_file()
    inside = path.is_dir() and any(path.glob("*.index"))
    if beside or inside or _TENSORFLOW.search(path.name):
        raise FileError(
            f"{path}: is a checkpoint of TensorFlow, which is not read; give PyTorch's weights"
        )


def named_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """Return what :func:`read_weights` found as tensors by their names.

    Those of a mapping inside of a mapping have the key of that one before their names.

    Raises
    ------
    FileError
        If there are none.
    """
    found = dict(_tensors(content, ""))
    if not found:
        raise FileError(f"{path}: holds no named tensors; save a state dict with torch.save")
    return found


def _tensors(content: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if not isinstance(content, Mapping):
        return
    for key, one in content.items():
        if isinstance(one, Tensor) and one.layout == torch.strided:
            yield f"{prefix}{key}", one
        else:
            yield from _tensors(one, f"{prefix}{key}.")


def prefixes(state: Mapping[str, Tensor], name: str) -> list[str]:
    """Return the prefix of a parameter's name: "", "module.", "model.varnet.", ..."""
    return [key[: -len(name)] for key in state if key == name or key.endswith(f".{name}")]


def below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors with one prefix, without it; everything else is left out."""
    return {
        key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)
    }


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Give a network its weights, in single precision.

    Parameters
    ----------
    network
        With other weights, or none, on the device "meta".
    state
        All of its tensors, by its own names.
    path, name
        Of the weights and the network, for messages.

    Raises
    ------
    FileError
        In one line, with the names or shapes that differ, or that of a tensor that is not finite.
    """
    own = network.state_dict()
    shapes = [
        f"{key} is {tuple(state[key].shape)}, must be {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    differences = [
        _some("missing", [key for key in own if key not in state]),
        _some("not known", [key for key in state if key not in own]),
        _some("other shapes", shapes),
        _some("no real numbers", [key for key in own if _is_other_kind(own[key], state.get(key))]),
    ]
    found = [one for one in differences if one]
    if found:
        raise FileError(f"{path}: does not fit {name}: {'; '.join(found)}")
    for key, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise FileError(f"{path}: {key} is not finite; train again, or give other weights")
    single = {key: one.float() if one.is_floating_point() else one for key, one in state.items()}
    network.load_state_dict(single, assign=True)


def _is_other_kind(own: Tensor, given: Tensor | None) -> bool:
    """Return whether real numbers were wanted, and others came."""
    return given is not None and own.is_floating_point() and not given.is_floating_point()


def _some(head: str, items: Sequence[str]) -> str:
    """Return the first of several, and how many more there are."""
    if not items:
        return ""
    more = f" and {len(items) - 2} more" if len(items) > 2 else ""
    return f"{head} {', '.join(items[:2])}{more}"
