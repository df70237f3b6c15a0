"""SHA-256 of everything that numbers depend on: code, weights, data, options.

A measurement is kept under a hash of all of these, so that nothing that was edited keeps its old
number; the report names them, so that others can tell what was measured.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.evaluation_data import EvaluationData
from firenet_benchmark.stability.methods import Batch
from firenet_mri.operators.given import GivenEncoding

# Readers, writers and faces do not compute an image from samples.
_NOT_MEASURING = ("cli", "io", "monai", "server")
_MEASURING = (
    "acquisition",
    "checkpoints",
    "criteria",
    "custom_networks",
    "data",
    "evaluation_data",
    "fastmri_varnet",
    "hard_attacks",
    "jacobian",
    "learned_methods",
    "methods",
    "networks",
    "published",
    "run",
    "wide",
)


def of_json(content: object) -> str:
    """Return the hash of JSON data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def of_files(paths: Iterable[Path], root: Path | None = None) -> str:
    """Return the hash of files' contents, in the given order.

    Below a root their paths count, too; without one only contents do, and the hash of one file is
    that of its content.
    """
    paths = list(paths)
    if root is None and len(paths) == 1:
        return hashlib.sha256(paths[0].read_bytes()).hexdigest()
    content = hashlib.sha256()
    for path in paths:
        if root is not None:
            content.update(path.relative_to(root).as_posix().encode() + b"\0")
        content.update(hashlib.sha256(path.read_bytes()).digest())
    return content.hexdigest()


def of_tensors(tensors: Mapping[str, Tensor | None]) -> str:
    """Return the hash of tensors with their names, types and shapes."""
    content = hashlib.sha256()
    for name, tensor in tensors.items():
        content.update(f"{name}\0".encode())
        if tensor is None:
            continue
        plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        content.update(f"{plain.dtype} {tuple(plain.shape)}\0".encode())
        parts = torch.view_as_real(plain) if plain.is_complex() else plain
        content.update(parts.reshape(-1).view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def of_network(network: nn.Module) -> str:
    """Return the hash of a network's parameters and buffers, kept in its state dict or not."""
    return of_tensors({**dict(network.named_parameters()), **dict(network.named_buffers())})


def of_data(data: EvaluationData) -> dict[str, str]:
    """Return the hashes of all that methods see and are judged by: of test slices and so on."""
    shifts = {f"{test}/{variant}": batch for (test, variant), batch in data.shifts.items()}
    pairs: dict[str, Batch] = {}
    inserted: dict[str, Tensor | None] = {}
    for pair in data.details:
        pairs |= {f"before {pair.name}": pair.before, f"after {pair.name}": pair.after}
        inserted[pair.name] = pair.detail
    return {
        "test": _of_batches({"": data.test}),
        "attacked": _of_batches({"": data.attacked}),
        "shifts": _of_batches(shifts),
        "details": of_json([_of_batches(pairs), of_tensors(inserted)]),
    }


def _of_batches(batches: Mapping[str, Batch]) -> str:
    tensors = {
        f"{name}/{'/'.join(batch.names)}/{part}": getattr(batch, part)
        for name, batch in batches.items()
        for part in ("kspace", "mask", "maps", "reference", "truth")
    }
    return of_tensors(
        tensors
        | {
            f"{name}/encoding": _samples_of_noise(batch.encoding)
            for name, batch in batches.items()
            if batch.encoding is not None
        }
    )


def _samples_of_noise(encoding: GivenEncoding) -> Tensor:
    """Return what an operator makes of one random image, by which two of them are told apart."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(encoding.domain_shape, dtype=torch.complex64, generator=generator)
    with torch.no_grad():
        samples: Tensor = encoding(noise)
    return samples


@cache
def of_library() -> str:
    """Return the hash of this library's code that computes the numbers."""
    ours, root = files("firenet_benchmark"), files("firenet_mri")
    assert isinstance(ours, Path)
    assert isinstance(root, Path)
    library = [
        path
        for path in sorted(root.rglob("*.py"))
        if path.relative_to(root).parts[0] not in _NOT_MEASURING
    ]
    mine = [ours / "stability" / f"{name}.py" for name in _MEASURING]
    return of_json([of_files(library, root), of_files(mine, ours)])


def of_code(module: ModuleType) -> str:
    """Return the hash of a module's file and the files that it imports; not of installed ones.

    Imports are found in the namespace of a module that has run, and in its text: a number that
    comes from another file does not tell its file.
    """
    return of_files(sorted(set(_sources(module, set())), key=lambda path: (path.name, str(path))))


def own_file(module: ModuleType | None) -> Path | None:
    """Return the file of a module that is neither installed nor this library's; else None."""
    origin = getattr(module, "__file__", None)
    if not isinstance(origin, str):
        return None
    path = Path(origin)
    # torch.ops, for one, has a file that is nowhere.
    return path if path.is_file() and not _is_installed(path) else None


def _sources(module: ModuleType, seen: set[Path]) -> Iterator[Path]:
    origin = own_file(module)
    if origin is None or origin in seen:
        return
    seen.add(origin)
    yield origin
    values = list(vars(module).values())
    shown = [v.__name__ if isinstance(v, ModuleType) else _module_of(v) for v in values]
    for name in (*shown, *_imports(module, origin)):
        other = sys.modules.get(name)
        if other is not None:
            yield from _sources(other, seen)


def _imports(module: ModuleType, path: Path) -> Iterator[str]:
    """Yield the names in a file's import statements; of ``from a import b`` a and a.b."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = (module.__package__ or "").split(".")
            above = package[: len(package) + 1 - node.level] if node.level else []
            start = ".".join([*above, *([node.module] if node.module else [])])
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)


def _module_of(value: object) -> str:
    found = getattr(value, "__module__", None)
    return found if isinstance(found, str) else ""


def _is_installed(path: Path) -> bool:
    """Return whether a file belongs to Python, a package, or to this library."""
    paths = sysconfig.get_paths()
    roots = [Path(paths[key]) for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    for package in ("firenet_mri", "firenet_benchmark"):
        root = files(package)
        assert isinstance(root, Path)
        roots.append(root)
    resolved = path.resolve()
    return path.suffix != ".py" or any(resolved.is_relative_to(root.resolve()) for root in roots)


def facts_of(image: object) -> Any:
    """Return what an image's numbers depend on as JSON data: options, and hashes of networks."""
    if image is None or isinstance(image, str | int | float | bool):
        return image
    if isinstance(image, nn.Module):
        return of_network(image)
    if isinstance(image, Tensor):
        return of_tensors({"": image})
    if is_dataclass(image) and not isinstance(image, type):
        own = {field.name: facts_of(getattr(image, field.name)) for field in fields(image)}
        return {"kind": type(image).__qualname__, **own}
    return getattr(image, "__qualname__", type(image).__qualname__)
