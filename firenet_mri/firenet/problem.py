"""The problems that the method solves: weighted l1 minimisation under three data terms [1].

    P1  min ||W x||_{1,w}  subject to  ||A x - y|| <= eta   quadratically constrained basis pursuit
    P2  min lam ||W x||_{1,w} + ||A x - y||^2               LASSO
    P3  min lam ||W x||_{1,w} + ||A x - y||                 square-root LASSO

with ||c||_{1,w} = sum_i w_i |c_i|: F(x) = lam ||W x||_{1,w} + f(A x - y), lam = 1 in P1.

A is the encoding operator, W the sparsifier. With W unitary (or none) the iteration takes the
synthesis form, on the coefficients c = W x; with W a frame it takes the analysis form, with a
second dual variable q for the coefficients. For total variation |c_i| is the norm of all
differences of a pixel.

Dual. For any v and q with |q_i| <= lam w_i and A^H v + W^H q = 0,

    F(x) >= D(v) = -Re <v, y> - f*(v)  for all x,
    f*(v) = eta ||v|| (P1), ||v||^2 / 4 (P2), 0 where ||v|| <= 1 (P3).

Any (v, q) is made feasible: synthesis has q = -W A^H v; analysis first repairs the equality by
q <- q - W (W^H W)^+ (W^H q + A^H v), after taking from v what gives A^H v a constant part where W
of a constant is 0; then both are scaled by the s >= 0 that gives the largest D. Alternating this
repair with the projection onto |q_i| <= lam w_i loses less in the scaling; any number of rounds
gives a valid bound.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError, check_positive
from firenet_mri.operators.base import LinearOperator, Shape, records_graph
from firenet_mri.operators.sparsifier import Sparsifier, as_sparsifier
from firenet_mri.prox import item_norm

# Conjugate gradient steps that may look for a feasible image of P1.
_RESTORE_STEPS = 300

# Range of lam times the largest weight; values near its ends suit no image.
_SMALLEST_RADIUS, _LARGEST_RADIUS = 1e-30, 1e15

# How near to 1 the norm of a projected dual is, whatever the precision.
_ON_SPHERE = 1e-5


@dataclass(frozen=True, eq=False)
class Problem(ABC):
    """What P1, P2 and P3 share: min over x of lam ||W x||_{1,w} + f(A x - y).

    Parameters
    ----------
    encoding
        A, from images (domain_shape) to data (codomain_shape).
    sparsifier
        W, unitary or a :class:`~firenet_mri.operators.frame.Frame` on the images; None is the
        identity.
    weights
        w, positive, broadcasts against the coefficients; None is 1.

    Raises
    ------
    UsageError
        If a weight or the problem's own number lies outside its range, or W is neither unitary nor
        a frame.
    ShapeError
        If W does not act on the images of A, or the weights do not fit the coefficients.
    """

    #: Iterates are feasible, so that they have a finite duality gap.
    has_gap: ClassVar[bool] = True

    encoding: LinearOperator
    sparsifier: LinearOperator | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        if not records_graph():
            if self.weights is not None:
                _check_weights(self.weights)
            self._check_number()
        if self.transform.domain_shape != self.encoding.domain_shape:
            raise ShapeError(
                f"The sparsifier takes images of shape {self.transform.domain_shape}, the encoding "
                f"operator {self.encoding.domain_shape}"
            )
        shape = self.transform.codomain_shape
        if self.weights is not None:
            _check_weights_fit(self.weights, shape)
            if not records_graph():
                _check_groups(self.weights, shape, self.transform.groups)

    @cached_property
    def transform(self) -> Sparsifier:
        """W, also where it is the identity."""
        return as_sparsifier(self.sparsifier, self.encoding.domain_shape)

    @property
    @abstractmethod
    def penalty(self) -> float:
        """The factor lam of the sparsity."""

    @abstractmethod
    def data_factor(self, norm: Tensor, sigma: Tensor) -> Tensor:
        """Return s such that the prox of sigma f* at any z of that norm is s z.

        Parameters
        ----------
        norm, sigma
            ||z|| and the step size, (*batch).
        """

    @abstractmethod
    def data_value(self, distance: Tensor, y: Tensor) -> Tensor:
        """Return f for ||A x - y||, (*batch)."""

    @abstractmethod
    def best_scaled(self, slope: Tensor, norm: Tensor, limit: Tensor) -> Tensor:
        """Return the largest D(s v) over 0 <= s <= limit, for -Re <v, y> and ||v||, (*batch)."""

    @abstractmethod
    def dual_curvature(self, distance: Tensor, norm: Tensor) -> Tensor:
        """Return the strong convexity of f* on its domain near the dual, (*batch); 0 is none.

        Parameters
        ----------
        distance, norm
            ||A x - y|| and ||v||, (*batch), of neighbouring primal and dual points.
        """

    @abstractmethod
    def _check_number(self) -> None:
        """Raise UsageError if lam or eta lies outside its range."""

    @property
    def is_synthesis(self) -> bool:
        """True where the iteration thresholds coefficients, False where it has a dual for them."""
        return self.transform.is_unitary

    @property
    def norm_bound(self) -> float:
        """Proven bound of the norm of the operator that the iteration inverts: A, or (A, W)."""
        bound = self.encoding.norm_bound
        if self.is_synthesis:
            return bound
        return float((bound**2 + self.transform.norm_bound**2) ** 0.5)

    @property
    def image_axes(self) -> tuple[int, ...]:
        """The image's axes, counted from the end."""
        return _trailing(self.encoding.domain_shape)

    @property
    def data_axes(self) -> tuple[int, ...]:
        """The data's axes, counted from the end."""
        return _trailing(self.encoding.codomain_shape)

    @property
    def coefficient_axes(self) -> tuple[int, ...]:
        """The coefficients' axes, counted from the end."""
        return _trailing(self.transform.codomain_shape)

    def analyse(self, x: Tensor) -> Tensor:
        """Return the coefficients W x."""
        coefficients: Tensor = self.transform(x)
        return coefficients

    def synthesise(self, c: Tensor) -> Tensor:
        """Return W^H c."""
        return self.transform.adjoint(c)

    def threshold(self, like: Tensor) -> Tensor | float:
        """Return lam w, on the device and in the precision of ``like``."""
        if self.weights is None:
            return self.penalty
        return self.penalty * self.weights.to(like.device, like.real.dtype)

    def prox(self, x: Tensor, tau: Tensor) -> Tensor:
        """Return the prox of tau lam ||W .||_{1,w} for unitary W: W^H soft(W x, tau lam w).

        Parameters
        ----------
        x
            Images, (*batch, *domain_shape).
        tau
            Step size, one per item, (*batch).
        """
        return self.transform.shrink(x, tau, self.threshold(x))

    def zero_coefficient_dual(self, x: Tensor) -> Tensor:
        """Return q = 0 for images like x, laid out as :meth:`coefficient_step` takes it."""
        return self.transform.zero_dual(x)

    def coefficient_step(
        self, q: Tensor, x: Tensor, sigma: Tensor, relaxation: float = 1.0
    ) -> tuple[Tensor, Tensor]:
        """Return q+ = Q(q + sigma W x) and W^H q+, for one sigma per item, (*batch).

        With a relaxation r it is q+ = q + r (Q(q + sigma W x) - q).
        """
        return self.transform.dual_step(q, x, sigma, self.threshold(x), relaxation)

    def coefficients(self, q: Tensor) -> Tensor:
        """Return q, laid out as :meth:`coefficient_step` takes it, of the shape of W x."""
        return self.transform.coefficients(q)

    def project_coefficient_dual(self, q: Tensor) -> Tensor:
        """Return the projection of q onto |q_i| <= lam w_i."""
        return self.transform.project(q, self.threshold(q))

    def over_groups(self, values: Tensor) -> Tensor:
        """Return for every coefficient the sum over those that are penalised with it; real."""
        return self.transform.over_groups(values)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return the size |c_i| that is penalised, for every coefficient that of its group."""
        return self.transform.modulus(coefficients)

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return F(x), one real number per item, shape (*batch)."""
        return self.objective_of(self.analyse(x), self.encoding(x), y)

    def objective_of(self, coefficients: Tensor, data: Tensor, y: Tensor) -> Tensor:
        """Return F(x), (*batch), from W x and A x; no operator is applied."""
        shares = self.transform.shares(coefficients)
        sparsity = (self.threshold(coefficients) * shares).sum(self.coefficient_axes)
        distance = item_norm(data - y, self.data_axes).reshape(sparsity.shape)
        return sparsity + self.data_value(distance, y)

    def dual_value(self, v: Tensor, y: Tensor, q: Tensor | None = None) -> Tensor:
        """Return a lower bound of F for any v (and q), made feasible first; (*batch), at least 0.

        Parameters
        ----------
        v
            Candidate for the dual of the data, any tensor of y's shape.
        y
            Data.
        q
            Analysis form: candidate for the dual of the coefficients; None is 0.
        """
        v, image = self.without_constants(v, self.encoding.adjoint(v))
        if self.is_synthesis:
            q = -self.analyse(image)
        else:
            q = self._repair(image, torch.zeros_like(self.analyse(image)) if q is None else q)
        return self.dual_value_of(v, q, y)

    def dual_value_of(self, v: Tensor, q: Tensor, y: Tensor) -> Tensor:
        """Return the lower bound, (*batch), of a v and q with A^H v + W^H q = 0; no operator."""
        batch = y.shape[: y.ndim - len(self.data_axes)]
        tiny = torch.finfo(y.real.dtype).tiny
        sizes = self.transform.dual_modulus(q).clamp(min=tiny)
        limit = (self.threshold(q) / sizes).amin(self.coefficient_axes)
        slope = -(v.conj() * y).real.sum(self.data_axes)
        return self.best_scaled(slope, item_norm(v, self.data_axes).reshape(batch), limit)

    def tighten_dual(self, v: Tensor, q: Tensor, rounds: int) -> Tensor:
        """Return a q that gives a better :meth:`dual_value` with v: nearer to feasible.

        Analysis form only. A round is the projection onto |q_i| <= lam w_i and the repair of the
        equality, with Nesterov's momentum; it costs one application of W and of W^H, none of A.
        ``dual_value`` makes any result feasible, so single precision suffices.
        """
        _, image = self.without_constants(v, self.encoding.adjoint(v))
        return self.tighten_dual_of(image, q, rounds)

    def tighten_dual_of(self, image: Tensor, q: Tensor, rounds: int) -> Tensor:
        """Return what :meth:`tighten_dual` returns, for image = A^H v, without applying A."""
        q = self._repair(image, q)
        ahead, momentum = q, 1.0
        for _ in range(rounds):
            previous, q = q, self._repair(image, self.project_coefficient_dual(ahead))
            following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
            ahead = q + (momentum - 1) / following * (q - previous)
            momentum = following
        return q

    def without_constants(self, v: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the v nearest to the given one with A^H v in the range of W^H, and A^H v.

        Where W of a constant image is 0, as for total variation, W^H q + A^H v = 0 needs an A^H v
        without a constant part: v loses its part along A 1 and A i. These are two directions over
        the real numbers, since A need not be linear over the complex ones. Otherwise v is returned
        unchanged.
        """
        if not self.transform.annihilates_constants:
            return v, image
        size = item_norm(v, self.data_axes)
        batch = size.shape[: size.ndim - len(self.data_axes)]
        on_image = (*batch, *[1] * len(self.image_axes))
        for direction, back in self._constants(image):
            part = (direction.conj() * v).real.sum(self.data_axes, keepdim=True)
            v = v - part * direction
            image = image - part.reshape(on_image) * back
        # Of a dual that was constant the rounding errors are left; 0 is a valid one.
        is_left = item_norm(v, self.data_axes) > torch.finfo(size.dtype).eps ** 0.5 * size
        return v * is_left, image * is_left.reshape(on_image)

    def _constants(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return d and A^H d for an orthonormal basis d of A's values on constant images."""
        key = like.dtype, like.device
        if torch.is_grad_enabled():
            return self._find_constants(like)
        if key not in self._known_constants:
            self._known_constants[key] = self._find_constants(like)
        return self._known_constants[key]

    @cached_property
    def _known_constants(self) -> dict[tuple[object, ...], list[tuple[Tensor, Tensor]]]:
        """The same for every precision and device requested so far."""
        return {}

    def _find_constants(self, like: Tensor) -> list[tuple[Tensor, Tensor]]:
        one = torch.ones(self.encoding.domain_shape, dtype=like.dtype, device=like.device)
        basis: list[Tensor] = []
        for constant in (one, 1j * one) if like.is_complex() else (one,):
            direction = self.encoding(constant)
            size = item_norm(direction, self.data_axes)
            # Twice: once leaves rounding errors of the size of what is taken off.
            for other in basis * 2:
                part = (other.conj() * direction).real.sum(self.data_axes, keepdim=True)
                direction = direction - part * other
            norm = item_norm(direction, self.data_axes)
            is_new = norm > 100 * torch.finfo(norm.dtype).eps * size
            basis.append(direction / torch.where(is_new, norm, torch.ones_like(norm)) * is_new)
        return [(direction, self.encoding.adjoint(direction)) for direction in basis]

    def _repair(self, image: Tensor, q: Tensor) -> Tensor:
        """Return the q nearest to the given one with A^H v + W^H q = 0, for image = A^H v."""
        excess = self.transform.solve_gram(image + self.synthesise(q))
        return q - self.analyse(excess)

    def duality_gap(
        self, x: Tensor, y: Tensor, v: Tensor | None = None, q: Tensor | None = None
    ) -> Tensor:
        """Return an upper bound of F(x) - min F, (*batch), valid for any x, v and q.

        The bound is the better one of two candidates: the residual of x, and v where given. It is
        infinite where x is not feasible, see
        :meth:`QuadraticallyConstrainedBasisPursuit.restore`.
        """
        data = self.encoding(x)
        residual = data - y
        tiny = torch.finfo(residual.real.dtype).tiny
        direction = residual / item_norm(residual, self.data_axes).clamp(min=tiny)
        bound = self.dual_value(direction, y, q)
        if v is not None:
            bound = torch.maximum(bound, self.dual_value(v, y, q))
        return self.objective_of(self.analyse(x), data, y) - bound


@dataclass(frozen=True, eq=False)
class SquareRootLasso(Problem):
    """P3: min over x of lam ||W x||_{1,w} + ||A x - y||.

    lam > 0 has no scale: (x, y) times a number only multiplies F by it. The other parameters are
    those of :class:`Problem`.

    Examples
    --------
    >>> from firenet_mri.operators import MatrixOperator
    >>> problem = SquareRootLasso(MatrixOperator(torch.eye(2)), lam=0.5)
    >>> problem.objective(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0])).item()
    2.5
    """

    lam: float = 1e-3

    @property
    def penalty(self) -> float:
        """The factor of the sparsity, lam."""
        return self.lam

    def data_factor(self, norm: Tensor, sigma: Tensor) -> Tensor:
        """Return 1 / max(||z||, 1): the projection on the unit ball."""
        return 1 / norm.clamp(min=1)

    def data_value(self, distance: Tensor, y: Tensor) -> Tensor:
        """Return ||A x - y||."""
        return distance

    def best_scaled(self, slope: Tensor, norm: Tensor, limit: Tensor) -> Tensor:
        """Return max s slope over 0 <= s <= min(limit, 1 / ||v||)."""
        tiny = torch.finfo(norm.dtype).tiny
        return (slope * torch.minimum(limit, 1 / norm.clamp(min=tiny))).clamp(min=0)

    def dual_curvature(self, distance: Tensor, norm: Tensor) -> Tensor:
        """Return ||A x - y|| on the unit sphere, 0 inside."""
        return torch.where(norm > 1 - _ON_SPHERE, distance, torch.zeros_like(distance))

    def _check_number(self) -> None:
        check_positive("lam", self.lam)
        _check_fits_single(self.lam, self.weights)


@dataclass(frozen=True, eq=False)
class Lasso(Problem):
    """P2: min over x of lam ||W x||_{1,w} + ||A x - y||^2.

    lam > 0 has the unit of the data. The other parameters are those of :class:`Problem`.

    Examples
    --------
    >>> from firenet_mri.operators import MatrixOperator
    >>> problem = Lasso(MatrixOperator(torch.eye(2)), lam=0.5)
    >>> problem.objective(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 2.0])).item()
    4.5
    """

    lam: float = 1e-3

    @property
    def penalty(self) -> float:
        """The factor of the sparsity, lam."""
        return self.lam

    def data_factor(self, norm: Tensor, sigma: Tensor) -> Tensor:
        """Return 1 / (1 + sigma / 2)."""
        return 1 / (1 + sigma / 2)

    def data_value(self, distance: Tensor, y: Tensor) -> Tensor:
        """Return ||A x - y||^2."""
        return distance**2

    def best_scaled(self, slope: Tensor, norm: Tensor, limit: Tensor) -> Tensor:
        """Return max s slope - s^2 ||v||^2 / 4 over 0 <= s <= limit, at the clipped vertex."""
        tiny = torch.finfo(norm.dtype).tiny
        # Divided twice: the square of a small norm may be zero.
        vertex = (2 * slope / norm.clamp(min=tiny) / norm.clamp(min=tiny)).clamp(min=0)
        s = torch.minimum(vertex, limit)
        return (s * slope - (s * norm) ** 2 / 4).clamp(min=0)

    def dual_curvature(self, distance: Tensor, norm: Tensor) -> Tensor:
        """Return 1/2."""
        return torch.full_like(distance, 0.5)

    def _check_number(self) -> None:
        check_positive("lam", self.lam)


@dataclass(frozen=True, eq=False)
class QuadraticallyConstrainedBasisPursuit(Problem):
    """P1: min over x of ||W x||_{1,w} subject to ||A x - y|| <= eta.

    eta >= 0 has the unit of the data. The other parameters are those of :class:`Problem`. F is
    infinite where the constraint is violated by more than 64 rounding units of ||y||.

    Examples
    --------
    >>> from firenet_mri.operators import MatrixOperator
    >>> problem = QuadraticallyConstrainedBasisPursuit(MatrixOperator(torch.eye(2)), eta=1.0)
    >>> y = torch.tensor([3.0, 0.0])
    >>> problem.objective(torch.zeros(2), y).item()
    inf
    >>> problem.objective(problem.restore(torch.zeros(2), y), y).round().item()
    2.0
    """

    has_gap: ClassVar[bool] = False

    eta: float = field(kw_only=True)

    @property
    def penalty(self) -> float:
        """The factor of the sparsity, 1."""
        return 1.0

    def data_factor(self, norm: Tensor, sigma: Tensor) -> Tensor:
        """Return max(1 - sigma eta / ||z||, 0): z made shorter by sigma eta."""
        length = sigma * self.eta
        floor = length / 2 + torch.finfo(norm.dtype).tiny
        return (1 - length / torch.maximum(norm, floor)).clamp(min=0)

    def data_value(self, distance: Tensor, y: Tensor) -> Tensor:
        """Return 0 where ||A x - y|| <= eta, else infinity."""
        is_feasible = distance <= self._largest_distance(y).reshape(distance.shape)
        return torch.zeros_like(distance).masked_fill(~is_feasible, math.inf)

    def best_scaled(self, slope: Tensor, norm: Tensor, limit: Tensor) -> Tensor:
        """Return max s (slope - eta ||v||) over 0 <= s <= limit."""
        slope = slope - self.eta * norm
        # Not a product with clamp: 0 times an infinite limit.
        return torch.where(slope > 0, slope * limit, torch.zeros_like(slope))

    def dual_curvature(self, distance: Tensor, norm: Tensor) -> Tensor:
        """Return eta / ||v||, across the direction of v."""
        return self.eta / norm.clamp(min=torch.finfo(norm.dtype).tiny)

    def restore(self, x: Tensor, y: Tensor) -> Tensor:
        """Return a feasible image near x, (*batch, *domain_shape).

        Conjugate gradients for A A^H z = y - A x, in the form that lowers ||A (x + A^H z) - y|| at
        every step (CGLS), stopped where it reaches eta. An item that is feasible is not changed.
        With A A^H = identity it is the nearest feasible image.

        Parameters
        ----------
        x
            Any image, (*batch, *domain_shape).
        y
            Data, (*batch, *codomain_shape).

        Raises
        ------
        DataError
            If no feasible image was found: eta may be less than the distance of y from what A can
            produce.
        """
        target = torch.as_tensor(self.eta, dtype=y.real.dtype, device=y.device)
        residual = y - self.encoding(x)
        gradient = self.encoding.adjoint(residual)
        direction, square = gradient, item_norm(gradient, self.image_axes) ** 2
        for _ in range(_RESTORE_STEPS):
            distance = item_norm(residual, self.data_axes)
            if bool((distance <= self._largest_distance(y)).all()):
                return x
            ahead = self.encoding(direction)
            length = self._length(distance, square, item_norm(ahead, self.data_axes), target)
            x = x + self._on_image(length) * direction
            residual = residual - length * ahead
            gradient = self.encoding.adjoint(residual)
            previous, square = square, item_norm(gradient, self.image_axes) ** 2
            tiny = torch.finfo(square.dtype).tiny
            direction = gradient + square / previous.clamp(min=tiny) * direction
        raise DataError(
            f"No image was found with ||A x - y|| <= eta = {self.eta:.6g}; the distance stays at "
            f"{float(distance.max()):.6g}, use a larger eta"
        )

    def _length(self, distance: Tensor, square: Tensor, ahead: Tensor, target: Tensor) -> Tensor:
        """Return the step of each item: to the least distance, but no further than to eta.

        ||r - a A p||^2 = ||r||^2 - 2 a ||A^H r||^2 + a^2 ||A p||^2 along the direction p.
        """
        tiny = torch.finfo(ahead.dtype).tiny
        ahead = ahead.clamp(min=tiny**0.25)
        square = square.reshape(ahead.shape)
        full = square / ahead**2
        least = distance**2 - (square / ahead) ** 2
        back = (target**2 - least).clamp(min=0).sqrt() / ahead
        return torch.where(distance > target, full - back, torch.zeros_like(full))

    def _on_image(self, value: Tensor) -> Tensor:
        batch = value.shape[: value.ndim - len(self.data_axes)]
        return value.reshape(*batch, *[1] * len(self.image_axes))

    def _largest_distance(self, y: Tensor) -> Tensor:
        """Return eta with room for rounding, of the shape of an item norm."""
        slack = 64 * torch.finfo(y.real.dtype).eps
        return self.eta + slack * item_norm(y, self.data_axes)

    def _check_number(self) -> None:
        if not 0 <= self.eta < math.inf:
            raise UsageError(f"eta is {self.eta}; it must be a number of at least 0")


def _check_fits_single(lam: float, weights: Tensor | None) -> None:
    largest = 1.0 if weights is None else float(weights.detach().max())
    if not _SMALLEST_RADIUS <= lam * largest <= _LARGEST_RADIUS:
        raise UsageError(
            f"lam is {lam:g}, with weights of at most {largest:g}; their product must lie between "
            f"{_SMALLEST_RADIUS:g} and {_LARGEST_RADIUS:g}, where single precision holds its square"
            " and its products with the steps"
        )


def _check_weights(weights: Tensor) -> None:
    if weights.is_complex() or not bool(((weights > 0) & (weights < math.inf)).all()):
        found = "complex" if weights.is_complex() else "zero, negative, infinite or NaN"
        raise UsageError(
            f"A weight is {found}; all must lie between 0 and infinity, use a small one where "
            "little is penalised"
        )


def _check_weights_fit(weights: Tensor, shape: Shape) -> None:
    for found, size in zip(reversed(weights.shape), reversed(shape), strict=False):
        if found not in (1, size):
            raise ShapeError(
                f"The weights have shape {tuple(weights.shape)}; they must broadcast against the "
                f"coefficients, (..., *{shape})"
            )


def _check_groups(weights: Tensor, shape: Shape, groups: tuple[int, ...] | None) -> None:
    if groups is None or weights.ndim < len(shape) or weights.shape[-len(shape)] == 1:
        return
    for part in weights.split(groups, dim=-len(shape)):
        if not bool((part == part.narrow(-len(shape), 0, 1)).all()):
            raise UsageError(
                "Bands that are penalised together have different weights; give all bands of a "
                "group the same"
            )


def _trailing(shape: Shape) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))
