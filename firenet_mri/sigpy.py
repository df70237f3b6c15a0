"""Operators to and from SigPy: any ``sigpy.linop.Linop`` in a FIRENET, any of ours in a SigPy app.

Arrays are shared without a copy where memory allows; SigPy has no batch axis, so batches loop. Runs
on the CPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sigpy
import torch
from sigpy import linop as linops
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import LinearOperator

# Linops that only move entries, or are unitary, or keep a part: norm at most 1.
_NORM_ONE = (
    linops.Identity,
    linops.Reshape,
    linops.Transpose,
    linops.FFT,
    linops.IFFT,
    linops.Flip,
    linops.Circshift,
    linops.Resize,
    linops.Slice,
    linops.Embed,
)


def from_sigpy(linop: linops.Linop, *, norm_bound: float | None = None) -> LinearOperator:
    """Return a SigPy linear operator as one of ours, batched and differentiable to any order.

    Parameters
    ----------
    linop
        Any Linop from arrays to arrays on the CPU.
    norm_bound
        A bound of its norm that the caller has proven; None derives one from the structure of the
        Linop (compositions, sums and stacks of multiplications, FFTs and rearrangements).

    Raises
    ------
    UsageError
        If no bound can be derived and none is given. SigPy's ``MaxEig`` is no substitute: a power
        iteration approaches the norm from below.
    """
    return _SigpyOperator(linop, _norm_bound(linop) if norm_bound is None else norm_bound)


def to_sigpy(operator: LinearOperator) -> linops.Linop:
    """Return one of our operators as a ``sigpy.linop.Linop``, without batch axes."""
    if isinstance(operator, _SigpyOperator):
        return operator.linop
    return _TorchLinop(operator)


class _Apply(torch.autograd.Function):
    """Applies a Linop to a batch; its derivative is the adjoint Linop."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linop: linops.Linop) -> Tensor:
        ctx.linop = linop
        if x.device.type != "cpu":
            raise UsageError(f"SigPy operators run on the CPU here; got a tensor on {x.device}")
        items = x.detach().resolve_conj().resolve_neg().reshape(-1, *linop.ishape)
        # Stacked Linops take the dtype of their input: a real one would lose imaginary parts.
        arrays = [np.ascontiguousarray(linop(item.numpy())) for item in items]
        batch = x.shape[: x.ndim - len(linop.ishape)]
        if not arrays:
            return torch.zeros(*batch, *linop.oshape, dtype=x.dtype)
        result = torch.stack([torch.from_numpy(array) for array in arrays])
        return result.reshape(*batch, *linop.oshape).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Apply.apply(gradients[0], ctx.linop.H), None


class _SigpyOperator(LinearOperator):
    """A Linop as a LinearOperator."""

    def __init__(self, linop: linops.Linop, norm_bound: float) -> None:
        super().__init__(tuple(linop.ishape), tuple(linop.oshape), norm_bound)
        self.linop = linop

    def forward(self, x: Tensor) -> Tensor:
        """Return A x in complex numbers."""
        self.check_domain(x)
        result: Tensor = _Apply.apply(_complex(x), self.linop)
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y in complex numbers."""
        self.check_codomain(y)
        result: Tensor = _Apply.apply(_complex(y), self.linop.H)
        return result

    def extra_repr(self) -> str:
        """Return SigPy's own name and the shapes, for printing."""
        return repr(self.linop)


class _TorchLinop(linops.Linop):  # type: ignore[misc]
    """A LinearOperator as a Linop."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(
            operator.codomain_shape, operator.domain_shape, repr_str=type(operator).__name__
        )
        self.operator = operator

    def _apply(self, input: np.ndarray) -> np.ndarray:
        if tuple(input.shape) != self.operator.domain_shape:
            raise ValueError(f"got shape {input.shape}; it takes {self.operator.domain_shape}")
        array = np.require(input, requirements=["C", "W"])
        with torch.no_grad():
            result: Tensor = self.operator(torch.from_numpy(array))
        return result.resolve_conj().numpy()

    def _adjoint_linop(self) -> linops.Linop:
        return _TorchLinop(self.operator.H)


def _complex(x: Tensor) -> Tensor:
    return x if x.is_complex() else x.to(torch.promote_types(x.dtype, torch.complex64))


def _norm_bound(linop: linops.Linop) -> float:
    """Return a bound of the norm that follows from how the Linop is put together."""
    if isinstance(linop, _TorchLinop):
        return linop.operator.norm_bound
    if isinstance(linop, _NORM_ONE):
        return 1.0
    if isinstance(linop, linops.Multiply):
        return _multiply_bound(linop)
    if isinstance(linop, linops.Sum | linops.Tile):
        sizes = linop.ishape if isinstance(linop, linops.Sum) else linop.oshape
        return math.sqrt(math.prod(sizes[axis] for axis in linop.axes))
    if isinstance(linop, linops.Compose):
        return math.prod(_norm_bound(part) for part in linop.linops)
    if isinstance(linop, linops.Add):
        return sum(_norm_bound(part) for part in linop.linops)
    if isinstance(linop, linops.Vstack | linops.Hstack):
        return math.hypot(*(_norm_bound(part) for part in linop.linops))
    if isinstance(linop, linops.Diag):
        return max(_norm_bound(part) for part in linop.linops)
    raise UsageError(
        f"No norm bound is known for {linop!r}; give a proven one, "
        "from_sigpy(linop, norm_bound=...)"
    )


def _multiply_bound(linop: linops.Multiply) -> float:
    """Return the norm of x -> mult * x, where broadcasting sends one x to several outputs."""
    size = np.abs(sigpy.to_device(np.asarray(linop.mult))).astype(float) ** 2
    outputs = np.broadcast_to(size, linop.oshape)
    shape = [1] * (len(linop.oshape) - len(linop.ishape)) + list(linop.ishape)
    repeated = tuple(
        axis
        for axis, (inner, outer) in enumerate(zip(shape, linop.oshape, strict=True))
        if inner != outer or axis < len(linop.oshape) - len(linop.ishape)
    )
    return float(np.sqrt(outputs.sum(axis=repeated).max()))
