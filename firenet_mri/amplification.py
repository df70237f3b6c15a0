"""How strongly a reconstruction can amplify a small change of given data: both sides of ||J||.

J is the Jacobian at the data, which is a real-linear map even for complex data. ||J||^2 is the
largest eigenvalue of J J^T and of J^T J. One Krylov space of one random vector, in the smaller of
the two spaces, gives a lower bound and an upper bound that fails with a known probability (see
``krylov``). This holds for every differentiable reconstruction, trained networks included. The
bounds are about vanishing changes: a change of 1 % may be amplified more.
"""

from __future__ import annotations

import copy
import functools
import importlib
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.krylov import KrylovSpace

#: Called after every application with the number made so far and the largest number allowed.
OnApplication = Callable[[int, int], None]

# The search may stop when the upper bound is at most this many times the lower one.
RATIO = 1.15

# Reached after 20 to 30 applications in most cases.
LARGEST_COUNT = 60

# Probability that the upper bound fails, for one set of data.
FAILURE = 1e-9


@runtime_checkable
class LinearMap(Protocol):
    """A real-linear map and its transpose for the real inner product Re <a, b>."""

    def forward(self, u: Tensor) -> Tensor:
        """Return the change of the image that a change u of the data causes."""

    def transpose(self, image: Tensor) -> Tensor:
        """Return the transpose of :meth:`forward` applied to an image, of the data's shape."""


class JacobianBounds(NamedTuple):
    """Both sides of the Jacobian's norm at given data.

    Parameters
    ----------
    lower
        ||J change|| / ||change||, which was attained.
    upper
        Exceeded by the norm with probability ``failure`` at most.
    applications
        How often J and its transpose were applied, once each.
    failure
        Probability over the random start; it does not cover rounding errors of double precision.
    change
        The most amplified change of the data that was found, of unit norm.
    image
        Effect of this change on the image: J change, of norm ``lower``.
    """

    lower: float
    upper: float
    applications: int
    failure: float
    change: Tensor
    image: Tensor


def jacobian_bounds(
    function: Callable[[Tensor], Tensor] | LinearMap,
    data: Tensor,
    *,
    sampled: Tensor | None = None,
    failure: float = FAILURE,
    seed: int = 0,
    ratio: float = RATIO,
    most: int = LARGEST_COUNT,
    on_application: OnApplication | None = None,
) -> JacobianBounds:
    """Return a lower and an upper bound of the Jacobian's norm of a reconstruction at its data.

    Parameters
    ----------
    function
        Maps data to image, both real or complex, and is differentiable by torch. It is called in
        double precision and must compute in it. A module is copied and its parameters are converted
        to double; the caller sets evaluation mode. The Jacobian itself is accepted, too, as a
        :class:`LinearMap`.
    data
        The data at which the derivative is taken, of any shape.
    sampled
        bool, broadcasts against the data: the samples that were measured and can change. None
        selects all.
    failure
        Probability with which the upper bound may be too small, over the random start.
    seed
        Seed of the random start. Fix it after the data are known, and do not try several seeds:
        each try adds its own ``failure``.
    ratio
        Stop when the upper bound is at most this many times the lower one.
    most
        Largest number of applications of J and its transpose.
    on_application
        Called after each application.

    Raises
    ------
    UsageError
        If an option is out of its range, or the function does not compute in double precision.
    DataError
        If the derivative is NaN or infinite.

    Examples
    --------
    >>> matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    >>> bounds = jacobian_bounds(lambda y: matrix.to(y) @ y, torch.ones(3))
    >>> 2.9 < bounds.lower <= 3 + 1e-12 <= bounds.upper < 3.5
    True
    """
    if not 0 < failure < 1 or not ratio > 1 or most < 2:
        raise UsageError(
            f"failure {failure}, ratio {ratio}, most {most}; give a probability in (0, 1), a ratio "
            "above 1, and at least 2 applications"
        )
    point = data.detach().to(torch.promote_types(data.dtype, torch.float64))
    jacobian = function if isinstance(function, LinearMap) else Linearisation(function, point)
    space = _Coordinates.of(point, sampled)
    search = _Search(jacobian, space, failure, ratio)
    count = search.run(seed, most - 1, on_application)
    change = search.change()
    image = jacobian.forward(change)
    if on_application is not None:
        on_application(count + 1, count + 1)
    lower = _norm(image)
    upper = max(search.krylov.above(failure) ** 0.5, lower)
    return JacobianBounds(lower, upper, count + 1, failure, change, image)


class Linearisation:
    """The Jacobian of a function at data in double precision, by automatic differentiation.

    Forward derivatives are propagated along one run of the function. If it contains an operation
    without a forward derivative, J u is computed as the derivative of <J^T z, u> by z. The graph of
    one run is kept for the transpose.

    Parameters
    ----------
    function, data
        See :func:`jacobian_bounds`.

    Raises
    ------
    UsageError
        If the function's result is not in double precision.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], data: Tensor) -> None:
        if isinstance(function, nn.Module):
            function = copy.deepcopy(function).double()
        self._function = function
        self._has_forward = True
        self._data = data.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            self._image = function(self._data)
        if self._image.real.dtype != torch.float64:
            raise UsageError(
                f"The function made {self._image.dtype} of {data.dtype}; bounds of its Jacobian "
                "need double precision throughout"
            )

    def forward(self, u: Tensor) -> Tensor:
        """Return J u."""
        if self._has_forward:
            try:
                return self._carried(u)
            except RuntimeError:
                # torch raises this for an operation that has no forward rule.
                self._has_forward = False
        return self._by_two_transposes(u)

    def transpose(self, image: Tensor) -> Tensor:
        """Return J^T applied to an image."""
        return self._gradient(image).detach()

    def _carried(self, u: Tensor) -> Tensor:
        _load_forward_rules()
        with torch.enable_grad(), forward_ad.dual_level():
            result = self._function(forward_ad.make_dual(self._data.detach(), u))
            value, tangent = forward_ad.unpack_dual(result)
        return torch.zeros_like(value) if tangent is None else tangent.detach()

    def _by_two_transposes(self, u: Tensor) -> Tensor:
        weights = torch.zeros_like(self._image, requires_grad=True)
        with torch.enable_grad():
            data = self._gradient(weights, create_graph=True)
            if not data.requires_grad:
                return torch.zeros_like(self._image)
            (found,) = torch.autograd.grad(data, weights, u)
        return found.detach()

    def _gradient(self, image: Tensor, *, create_graph: bool = False) -> Tensor:
        if not self._image.requires_grad:
            return torch.zeros_like(self._data)
        (found,) = torch.autograd.grad(
            self._image,
            self._data,
            image,
            retain_graph=True,
            create_graph=create_graph,
            allow_unused=True,
        )
        return torch.zeros_like(self._data) if found is None else found


@functools.cache
def _load_forward_rules() -> None:
    """Load what torch would otherwise load with the first tangent.

    torch 2.13 warns about its own use of torch.jit.script at that point.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")


class _Coordinates(NamedTuple):
    """The real numbers that make up a tensor of one shape and type, or those under a mask."""

    like: Tensor
    kept: Tensor | None

    @classmethod
    def of(cls, like: Tensor, mask: Tensor | None = None) -> _Coordinates:
        if mask is None:
            return cls(like, None)
        try:
            full = mask.to(like.device).bool().expand(like.shape)
        except RuntimeError:
            raise ShapeError(
                f"sampled has shape {tuple(mask.shape)}; it must broadcast against the data, "
                f"{tuple(like.shape)}"
            ) from None
        parts = 2 if like.is_complex() else 1
        kept = full.unsqueeze(-1).expand(*full.shape, parts).reshape(-1)
        if not bool(kept.any()):
            raise DataError("Nothing was sampled; there is no change of the data to examine")
        return cls(like, kept)

    @property
    def numbers(self) -> int:
        whole = self.like.numel() * (2 if self.like.is_complex() else 1)
        return whole if self.kept is None else int(self.kept.sum())

    def row(self, values: Tensor) -> Tensor:
        """Return the numbers, (numbers) float64, on the CPU."""
        flat = torch.view_as_real(values.resolve_conj()) if values.is_complex() else values
        flat = flat.reshape(-1)
        return (flat if self.kept is None else flat[self.kept]).to("cpu", torch.float64)

    def tensor(self, row: Tensor) -> Tensor:
        """Return the tensor that has these numbers, and zeros elsewhere."""
        row = row.to(self.like.device, self.like.real.dtype)
        if self.kept is not None:
            full = torch.zeros(self.kept.numel(), dtype=row.dtype, device=row.device)
            full[self.kept] = row
            row = full
        if not self.like.is_complex():
            return row.reshape(self.like.shape)
        return torch.view_as_complex(row.reshape(*self.like.shape, 2))


class _Search:
    """The Krylov space of J J^T, or of J^T J if the data have fewer numbers than the image."""

    def __init__(
        self, jacobian: LinearMap, data: _Coordinates, failure: float, ratio: float
    ) -> None:
        self.jacobian = jacobian
        self.data = data
        self.failure, self.ratio = failure, ratio
        image = jacobian.forward(torch.zeros_like(data.like))
        self.image = _Coordinates.of(image)
        self.on_image = self.image.numbers < data.numbers

    def run(self, seed: int, most: int, on_application: OnApplication | None) -> int:
        """Apply the map until the ratio is reached; return the number of applications."""
        generator = torch.Generator().manual_seed(seed)
        count = self.image.numbers if self.on_image else self.data.numbers
        start = torch.randn(count, dtype=torch.float64, generator=generator)
        self.krylov = KrylovSpace(start)
        for done in range(1, most + 1):
            found = self._apply(self.krylov.last)
            if not bool(torch.isfinite(found).all()):
                raise DataError("The Jacobian at these data is NaN or infinite")
            self.krylov.extend(found)
            if on_application is not None:
                on_application(done, most + 1)
            low, high = self.krylov.below(), self.krylov.above(self.failure)
            if high <= self.ratio**2 * low or self.krylov.is_invariant:
                break
        return done

    def change(self) -> Tensor:
        """Return the unit change of the data that is amplified most within the space."""
        row = self.krylov.vector()
        if self.on_image:
            row = self.data.row(self.jacobian.transpose(self.image.tensor(row)))
            length = torch.linalg.vector_norm(row)
            row = row / length if length > 0 else row
        return self.data.tensor(row)

    def _apply(self, row: Tensor) -> Tensor:
        if self.on_image:
            back = self.data.row(self.jacobian.transpose(self.image.tensor(row)))
            return self.image.row(self.jacobian.forward(self.data.tensor(back)))
        ahead = self.jacobian.forward(self.data.tensor(row))
        return self.data.row(self.jacobian.transpose(ahead))


def _norm(values: Tensor) -> float:
    found = float(torch.linalg.vector_norm(values))
    if not math.isfinite(found):
        raise DataError("The Jacobian at these data is NaN or infinite")
    return found
