"""Compiled passes over memory between the FFTs of a layer: each reads and writes its arrays once.

On a CPU a pass over all coils takes as long as memory access does, and torch needs two passes for
one of these. Numba compiles the functions when they are first called and keeps the result on disk.
They take real arrays in which real and imaginary parts alternate, and record no gradients. The
callers have the same in torch, with which the tests compare.
"""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.operators import (
    band_rows,
    coherent_kernels,
    firm_kernels,
    frame_kernels,
    residual_kernels,
    update_kernels,
    wavelet_kernels,
)
from firenet_mri.operators.base import records_graph

Array = NDArray[np.floating[Any]]


class Kernels(NamedTuple):
    """The compiled functions, see the functions of the same names in the modules of kernels."""

    expand: Callable[..., None]
    subtract_data: Callable[..., float]
    subtract_samples: Callable[..., float]
    combine: Callable[..., None]
    add_up: Callable[..., None]
    shrink: Callable[..., None]
    split: Callable[..., None]
    merge: Callable[..., None]
    split_rows: Callable[..., None]
    merge_rows: Callable[..., None]
    split_planes: Callable[..., None]
    merge_planes: Callable[..., None]
    frame_step: Callable[..., None]
    add_borders: Callable[..., None]
    frame_slopes: Callable[..., None]
    frame_tangent: Callable[..., None]
    coherent_step: Callable[..., None]
    coherent_tangent: Callable[..., None]
    firm_project: Callable[..., None]
    firm_slopes: Callable[..., None]
    descend: Callable[..., None]
    extrapolate: Callable[..., None]


def can_compile(*tensors: Tensor) -> bool:
    """Return whether these tensors can be passed to the compiled functions now.

    They cannot where gradients or tangents are recorded, where a graph is traced, and off the CPU.
    """
    return not torch.is_grad_enabled() and are_plain(*tensors)


def are_plain(*tensors: Tensor) -> bool:
    """Return whether these are CPU tensors that no derivative and no graph records.

    A later use of them may still record gradients with respect to others.
    """
    if records_graph():
        return False
    # Forward-mode derivatives are propagated even without grad mode.
    if torch.autograd.forward_ad._current_level >= 0:
        return False
    recorded = torch.is_grad_enabled()
    return all(
        type(x) is Tensor and x.device.type == "cpu" and not (recorded and x.requires_grad)
        for x in tensors
    ) and not _is_wrapped(tensors)


def _is_wrapped(tensors: tuple[Tensor, ...]) -> bool:
    """Return whether vmap or another function transform wraps one of the tensors."""
    return any(torch._C._functorch.is_functorch_wrapped_tensor(x) for x in tensors)


def real_array(x: Tensor) -> Array:
    """Return the memory of a complex (..., n) or real contiguous tensor as real (..., 2 n or n)."""
    array: np.ndarray = x.detach().numpy()
    return array.view(array.real.dtype)


def shrink_(x: Tensor, lengths: Tensor, weights: Tensor | float) -> None:
    """Overwrite x with its soft threshold at lengths * weights.

    Parameters
    ----------
    x
        Real or complex, contiguous, (*batch, ...).
    lengths
        (*batch), not negative.
    weights
        One number, or an array that broadcasts against x.
    """
    array = real_array(x).reshape(lengths.numel(), -1)
    parts = 2 if x.is_complex() else 1
    one = torch.as_tensor(weights, dtype=x.real.dtype)
    is_single = one.numel() == 1
    shape = (1, 1) if is_single else (lengths.numel(), array.shape[1] // parts)
    spread = one.reshape(shape) if is_single else one.expand(x.shape).reshape(shape)
    for i, length in enumerate(lengths.to(x.real.dtype).reshape(-1).numpy()):
        kernels().shrink(array[i], spread[0 if is_single else i].numpy(), length, parts)


@functools.cache
def kernels() -> Kernels:
    """Return the compiled functions; numba is loaded at the first call."""
    modules = (
        residual_kernels,
        wavelet_kernels,
        frame_kernels,
        coherent_kernels,
        firm_kernels,
        update_kernels,
    )
    functions: dict[str, Callable[..., Any]] = {}
    for module in (band_rows, *modules):
        own = (f for f in vars(module).values() if inspect.isfunction(f))
        functions.update({f.__name__: f for f in own if f.__module__ == module.__name__})
    called = {name: f for name, f in functions.items() if name not in Kernels._fields}
    _register(called)
    return Kernels(*(_compile(functions[name], called) for name in Kernels._fields))


# Sums may be reordered and products fused, but NaN stays NaN. There is no check for division by
# zero, which would prevent vector instructions.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz"},
    "error_model": "numpy",
}


def _register(called: dict[str, Callable[..., Any]]) -> None:
    """Inline these into compiled functions, since a call takes as long as a short row."""
    from numba.extending import register_jitable

    for function in called.values():
        register_jitable(**_OPTIONS, forceinline=True)(function)


def _compile(
    function: Callable[..., Any], called: dict[str, Callable[..., Any]]
) -> Callable[..., Any]:
    """Return a compiled function, which may call registered ones."""
    import numba

    if not called.keys().isdisjoint(function.__code__.co_names):
        # Numba checks only the function's own file for changes, and finds its results by name.
        function.__qualname__ = f"{function.__name__}.{_digest(called)}"
    try:
        compiled: Callable[..., Any] = numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:
        # There is no writable folder for the result.
        compiled = numba.njit(**_OPTIONS)(function)
    return compiled


def _digest(functions: dict[str, Callable[..., Any]]) -> str:
    """Return a digest of what functions do, the same in every process."""
    codes = [functions[name].__code__ for name in sorted(functions)]
    parts = [(code.co_name, code.co_code, code.co_consts, code.co_names) for code in codes]
    return f"{zlib.crc32(repr(parts).encode()):08x}"
