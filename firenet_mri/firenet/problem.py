"""The problem that the network solves: the weighted square-root LASSO (P3 of [1]).

    F(x) = lam ||W x||_{1,w} + ||A x - y||,        ||c||_{1,w} = sum_i w_i |c_i|.

A is the encoding operator, W the sparsifier. With W unitary (or none) the iteration takes the
synthesis form, on the coefficients c = W x; with W a Parseval frame, W^H W = identity, it takes the
analysis form, with a second dual variable q for the coefficients.

Dual. For any v with ||v|| <= 1 and q with |q_i| <= lam w_i and A^H v + W^H q = 0,

    F(x) >= -Re <v, y>  for all x.

Any (v, q) is made feasible: synthesis has q = -W A^H v and scales both; analysis first repairs
the equality by q <- q - W (W^H q + A^H v), then scales both. Alternating this repair with the
projection on |q_i| <= lam w_i lets less be lost in the scaling; any number of rounds gives a valid
bound.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators.base import LinearOperator, Shape
from firenet_mri.prox import item_norm, project_modulus, soft_threshold


@dataclass(frozen=True, eq=False)
class SquareRootLasso:
    """P3: min over x of lam ||W x||_{1,w} + ||A x - y||.

    Parameters
    ----------
    encoding
        A, from images (domain_shape) to data (codomain_shape).
    sparsifier
        W, unitary or a Parseval frame on the images; None is the identity.
    weights
        w, positive, broadcasts against the coefficients; None is 1.
    lam
        lam > 0. It has no scale: (x, y) times a number only multiplies F by it.

    Raises
    ------
    UsageError
        If lam or a weight is not positive, or W is neither unitary nor a Parseval frame.
    ShapeError
        If W does not act on the images of A.
    """

    encoding: LinearOperator
    sparsifier: LinearOperator | None = None
    weights: Tensor | None = None
    lam: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.lam < float("inf"):
            raise UsageError(f"lam is {self.lam}; it must be a positive number")
        if self.weights is not None and not bool((self.weights > 0).all()):
            raise UsageError("A weight is not positive; use a small one where little is penalised")
        sparsifier = self.sparsifier
        if sparsifier is None:
            return
        if not (sparsifier.is_unitary or sparsifier.is_parseval):
            raise UsageError(
                "The sparsifier must be unitary or a Parseval frame (W^H W = identity)"
            )
        if sparsifier.domain_shape != self.encoding.domain_shape:
            raise ShapeError(
                f"The sparsifier takes images of shape {sparsifier.domain_shape}, the encoding "
                f"operator {self.encoding.domain_shape}"
            )

    @property
    def is_synthesis(self) -> bool:
        """True where the iteration thresholds coefficients, False where it has a dual for them."""
        return self.sparsifier is None or self.sparsifier.is_unitary

    @property
    def norm_bound(self) -> float:
        """Proven bound of the norm of the operator that the iteration inverts: A, or (A, W)."""
        bound = self.encoding.norm_bound
        if self.sparsifier is None or self.is_synthesis:
            return bound
        return float((bound**2 + self.sparsifier.norm_bound**2) ** 0.5)

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
        return (
            self.image_axes
            if self.sparsifier is None
            else _trailing(self.sparsifier.codomain_shape)
        )

    def analyse(self, x: Tensor) -> Tensor:
        """Return the coefficients W x."""
        return x if self.sparsifier is None else self.sparsifier(x)

    def synthesise(self, c: Tensor) -> Tensor:
        """Return W^H c."""
        return c if self.sparsifier is None else self.sparsifier.adjoint(c)

    def threshold(self, like: Tensor) -> Tensor | float:
        """Return lam w, on the device and in the precision of ``like``."""
        if self.weights is None:
            return self.lam
        return self.lam * self.weights.to(like.device, like.real.dtype)

    def prox(self, x: Tensor, tau: Tensor) -> Tensor:
        """Return the prox of tau lam ||W .||_{1,w} for unitary W: W^H soft(W x, tau lam w)."""
        tau = tau.reshape(
            tau.shape[: tau.ndim - len(self.image_axes)] + (1,) * len(self.image_axes)
        )
        return self.synthesise(soft_threshold(self.analyse(x), tau * self.threshold(x)))

    def project_coefficient_dual(self, q: Tensor) -> Tensor:
        """Return the projection of q on |q_i| <= lam w_i."""
        return project_modulus(q, self.threshold(q))

    def objective(self, x: Tensor, y: Tensor) -> Tensor:
        """Return F(x), one real number an item, shape (*batch)."""
        penalty = (self.threshold(x) * self.analyse(x).abs()).sum(self.coefficient_axes)
        return penalty + item_norm(self.encoding(x) - y, self.data_axes).reshape(penalty.shape)

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
        image = self.encoding.adjoint(v)
        if self.is_synthesis:
            q = -self.analyse(image)
        else:
            q = self._repair(image, torch.zeros_like(self.analyse(image)) if q is None else q)
        batch = y.shape[: y.ndim - len(self.data_axes)]
        tiny = torch.finfo(y.real.dtype).tiny
        from_q = (self.threshold(q) / q.abs().clamp(min=tiny)).amin(self.coefficient_axes)
        from_v = 1 / item_norm(v, self.data_axes).reshape(batch).clamp(min=tiny)
        inner = (v.conj() * y).real.sum(self.data_axes)
        return (-inner * torch.minimum(from_q, from_v)).clamp(min=0)

    def tighten_dual(self, v: Tensor, q: Tensor, rounds: int) -> Tensor:
        """Return a q that gives a better :meth:`dual_value` with v: nearer to feasible.

        Analysis form only. A round is the repair of the equality and the projection on
        |q_i| <= lam w_i; it costs one application of W and of W^H, none of A. Whatever comes out,
        ``dual_value`` makes it feasible, so single precision does.
        """
        image = self.encoding.adjoint(v)
        for _ in range(rounds):
            q = self.project_coefficient_dual(self._repair(image, q))
        return q

    def _repair(self, image: Tensor, q: Tensor) -> Tensor:
        """Return the q nearest to the given one with A^H v + W^H q = 0, for image = A^H v."""
        return q - self.analyse(image + self.synthesise(q))

    def duality_gap(
        self, x: Tensor, y: Tensor, v: Tensor | None = None, q: Tensor | None = None
    ) -> Tensor:
        """Return an upper bound of F(x) - min F, (*batch), valid for any x, v and q.

        The bound is the better one of two candidates: the normalised residual of x, and v where
        given.
        """
        residual = self.encoding(x) - y
        tiny = torch.finfo(residual.real.dtype).tiny
        direction = residual / item_norm(residual, self.data_axes).clamp(min=tiny)
        bound = self.dual_value(direction, y, q)
        if v is not None:
            bound = torch.maximum(bound, self.dual_value(v, y, q))
        return self.objective(x, y) - bound


def _trailing(shape: Shape) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))
