"""Operators to and from SigPy: any ``sigpy.linop.Linop`` in FIRENET, any of ours in a SigPy app.

Arrays are shared without a copy where their layout allows. SigPy has no batch axis: batches loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sigpy import linop as linops
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.linops.arrays import as_array, as_tensor
from firenet_mri.linops.norms import norm_bound as structural_bound
from firenet_mri.linops.torch_linop import TorchLinop
from firenet_mri.operators.base import Adjoint, LinearOperator
from firenet_mri.operators.derivative import linear
from firenet_mri.operators.given import states_norm

# Largest mismatch of an adjoint, relative to the size of the operator: single precision gives 1e-6.
_ADJOINT_TOLERANCE = 1e-5
_DOT_TESTS = 3


def from_sigpy(
    linop: linops.Linop,
    *,
    norm_bound: float | None = None,
    check: bool = False,
    seed: int = 0,
) -> LinearOperator:
    """Return a SigPy linear operator as one of ours, batched and differentiable to any order.

    It accepts tensors of any floating-point type with any number of leading batch axes and returns
    complex ones of the same precision. On the CPU, array and tensor share memory; on a GPU CuPy
    must be installed. Forward-mode differentiation and ``torch.func.vmap`` work; pickling works if
    the Linop can be pickled.

    Parameters
    ----------
    linop
        Any Linop from arrays to arrays. The result of :func:`to_sigpy` is unwrapped.
    norm_bound
        A bound of its norm that the caller has proven; None derives a bound from the structure of
        the Linop, see :mod:`firenet_mri.linops.norms`.
    check
        Test <A x, y> = <x, A^H y> on random complex vectors in double precision, three times.
    seed
        Seed of these vectors.

    Raises
    ------
    UsageError
        If no bound can be derived and none is given, or ``check`` finds a wrong adjoint. SigPy's
        ``MaxEig`` does not replace a bound: a power iteration approaches the norm from below.

    Examples
    --------
    >>> import sigpy
    >>> fourier = from_sigpy(sigpy.linop.FFT((8, 8)), check=True)
    >>> fourier(torch.zeros(5, 8, 8)).shape, fourier.norm_bound
    (torch.Size([5, 8, 8]), 1.0)
    """
    if not isinstance(linop, linops.Linop):
        raise UsageError(f"from_sigpy got a {type(linop).__name__}; it takes a sigpy.linop.Linop")
    if isinstance(linop, TorchLinop):
        return linop.operator
    if check:
        check_adjoint(linop, seed)
    bound = structural_bound(linop) if norm_bound is None else norm_bound
    if not 0 <= bound < math.inf:
        raise UsageError(
            f"The norm bound of {linop!r} is {bound}; it must be a number of at least 0, so check "
            "the Linop for NaN or infinite values"
        )
    return SigpyOperator(linop, bound, norm_is_stated=norm_bound is not None)


def to_sigpy(operator: LinearOperator) -> linops.Linop:
    """Return one of our operators as a ``sigpy.linop.Linop``, without batch axes.

    The result of :func:`from_sigpy`, or its adjoint, is unwrapped to the original Linop.

    Parameters
    ----------
    operator
        Any of our operators. It runs on its own device; move it with ``.to()`` first.

    Raises
    ------
    UsageError
        If ``operator`` is not a LinearOperator.

    Examples
    --------
    >>> from firenet_mri.operators import OrthogonalWavelet
    >>> wavelet = to_sigpy(OrthogonalWavelet("db4", 2, (16, 16)))
    >>> wavelet.H * wavelet
    <[16, 16]x[16, 16]> Adjoint * OrthogonalWavelet Linop>
    """
    if isinstance(operator, SigpyOperator):
        return operator.linop
    if isinstance(operator, Adjoint) and isinstance(operator.operator, SigpyOperator):
        return operator.operator.linop.H
    if not isinstance(operator, LinearOperator):
        raise UsageError(f"to_sigpy got a {type(operator).__name__}; it takes a LinearOperator")
    return TorchLinop(operator)


class SigpyOperator(LinearOperator):
    """A Linop as a LinearOperator, see :func:`from_sigpy`."""

    def __init__(
        self, linop: linops.Linop, norm_bound: float, *, norm_is_stated: bool = False
    ) -> None:
        super().__init__(tuple(linop.ishape), tuple(linop.oshape), norm_bound)
        self.linop = linop
        self.norm_is_stated = norm_is_stated or _holds_stated_norm(linop)

    def forward(self, x: Tensor) -> Tensor:
        """Return A x in complex numbers."""
        self.check_domain(x)
        return _applied(self.linop, _complex(x))

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y in complex numbers."""
        self.check_codomain(y)
        return _applied(self.linop.H, _complex(y))

    def extra_repr(self) -> str:
        """Return SigPy's own name and the shapes, for printing."""
        return repr(self.linop)


def _holds_stated_norm(linop: linops.Linop) -> bool:
    """Return whether a Linop contains one of our operators whose norm bound is only stated."""
    if isinstance(linop, TorchLinop):
        return states_norm(linop.operator)
    parts = [*getattr(linop, "linops", ()), getattr(linop, "A", None)]
    return any(_holds_stated_norm(part) for part in parts if isinstance(part, linops.Linop))


def _applied(linop: linops.Linop, x: Tensor) -> Tensor:
    """Return A x of a batch, differentiably."""
    # linop.H is made only where needed, since a Linop may have no adjoint.
    return linear(x, lambda x: _apply_to_items(linop, x), lambda y: _apply_to_items(linop.H, y))


def _apply_to_items(linop: linops.Linop, x: Tensor) -> Tensor:
    """Return a Linop applied to a batch, (*batch, *oshape)."""
    batch = x.shape[: x.ndim - len(linop.ishape)]
    if not batch:
        return _apply(linop, x)
    items = [_apply(linop, item) for item in x.reshape(-1, *linop.ishape)]
    if not items:
        return x.new_zeros(*batch, *linop.oshape)
    return torch.stack(items).reshape(*batch, *linop.oshape)


def _apply(linop: linops.Linop, x: Tensor) -> Tensor:
    """Return a Linop applied to one item, in the item's precision and on its device."""
    array = as_array(x)
    try:
        output = linop.apply(array)
    except RuntimeError as error:
        cause = _cause(error)
        if not isinstance(cause, TypeError):
            raise UsageError(
                f"{linop!r} cannot be applied to an array of shape {array.shape} and "
                f"{array.dtype}: {type(cause).__name__}: {cause}"
            ) from error
        output = _apply_to_parts(linop, array)
    if tuple(output.shape) != tuple(linop.oshape):
        raise ShapeError(
            f"{linop!r} returned an array of shape {output.shape}; it must return "
            f"{tuple(linop.oshape)}"
        )
    result = as_tensor(output).to(x.device, x.dtype)
    # A result must not share memory with its argument: Identity, Reshape, Slice ... return views.
    shared = result.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()
    return result.clone() if shared else result


def _apply_to_parts(linop: linops.Linop, array: Any) -> Any:
    """Return A Re x + i A Im x, for a Linop that only accepts real arrays.

    One such Linop is SigPy's ConvolveFilter with real data.
    """
    try:
        return linop.apply(array.real.copy()) + 1j * linop.apply(array.imag.copy())
    except RuntimeError as error:
        cause = _cause(error)
        raise UsageError(
            f"{linop!r} accepts neither complex nor real arrays of shape {array.shape}: "
            f"{type(cause).__name__}: {cause}"
        ) from error


def _cause(error: BaseException) -> BaseException:
    """Return the original exception, which SigPy wraps once per level of composition."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _complex(x: Tensor) -> Tensor:
    """Return x as a complex tensor: a stack of Linops would drop imaginary parts of real input."""
    if not (x.is_complex() or x.is_floating_point()):
        raise DataError(
            f"A SigPy operator got a tensor of {x.dtype}; it accepts real or complex "
            "floating-point numbers, so convert with .to(torch.complex64)"
        )
    return x.to(torch.promote_types(x.dtype, torch.complex64))


def check_adjoint(linop: linops.Linop, seed: int = 0) -> None:
    """Raise UsageError unless <A x, y> = <x, A^H y> for seeded random x, y in double precision.

    With Gaussian y of m entries and a wrong adjoint B the two sides differ by about
    ||(A - B^H) x|| ||y|| / sqrt(m); the mismatch is stated in units of ||A x|| ||y|| / sqrt(m).
    """
    if tuple(linop.H.ishape) != tuple(linop.oshape) or tuple(linop.H.oshape) != tuple(linop.ishape):
        raise UsageError(
            f"The adjoint of {linop!r} is {linop.H!r}, which has different shapes; correct its "
            "_adjoint_linop"
        )
    random = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(_DOT_TESTS):
        x, y = (_draw(random, shape) for shape in (linop.ishape, linop.oshape))
        ahead, back = _applied(linop, x), _applied(linop.H, y)
        left, right = (
            torch.vdot(y.flatten(), ahead.flatten()),
            torch.vdot(back.flatten(), x.flatten()),
        )
        size = float(ahead.norm() * y.norm()) / math.sqrt(y.numel())
        difference = float(abs(left - right))
        if not math.isfinite(difference):
            raise UsageError(f"{linop!r} returns NaN or infinite values for finite input")
        worst = max(worst, difference / size if size > 0 else math.copysign(math.inf, difference))
    if worst > _ADJOINT_TOLERANCE:
        raise UsageError(
            f"The adjoint of {linop!r} is wrong: <A x, y> and <x, A^H y> differ by {worst:.1e} of "
            f"their size, but {_ADJOINT_TOLERANCE:.0e} is allowed; correct its _adjoint_linop, as "
            "gradients and certificates would be wrong (SigPy's InverseWavelet is the adjoint for "
            "orthogonal wavelets only)"
        )


def _draw(random: np.random.Generator, shape: list[int]) -> Tensor:
    values = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return torch.as_tensor(values)
