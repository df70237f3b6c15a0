"""The interface of all sparsifiers W, and the two plain kinds."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Composition, LinearOperator, Shape
from firenet_mri.operators.kernels import can_compile, shrink_
from firenet_mri.operators.shift import CyclicShift
from firenet_mri.operators.wavelet_passes import Wavelet, shrink_coefficients
from firenet_mri.operators.wavelets import OrthogonalWavelet
from firenet_mri.prox import over_axes, project_modulus, relaxed, soft_threshold


class Sparsifier(LinearOperator):
    """A linear map W from images to coefficients, many of which are small, and its dual step.

    Coefficients of a group are penalised together, by the norm of the group. W chooses the memory
    layout of the dual q of the coefficients: :meth:`zero_dual` makes it and :meth:`coefficients`
    reads it.
    """

    #: W of a constant image is zero, so that W^H W has no inverse.
    annihilates_constants = False
    #: Numbers of successive bands (entries of the coefficients' first axis) that are penalised
    #: together, with one radius; None penalises each coefficient by itself.
    groups: tuple[int, ...] | None = None
    #: Some coefficients are penalised together in a way that ``groups`` alone does not describe, by
    #: a nuclear norm, see :class:`~firenet_mri.operators.phase_coherent.PhaseCoherent` and
    #: :class:`~firenet_mri.operators.low_rank.LocalLowRank`.
    is_coherent = False
    #: Bands that hold averages of the image, not details.
    average_bands: tuple[int, ...] = ()

    @property
    @abstractmethod
    def band_norms(self) -> Tensor:
        """Norms of W's functions, float64, broadcast against the coefficients."""

    @abstractmethod
    def shrink(self, x: Tensor, tau: Tensor, threshold: Tensor | float) -> Tensor:
        """Return W^H soft(W x, tau threshold) for unitary W.

        Parameters
        ----------
        x
            Images, (*batch, *domain_shape).
        tau
            Step size, one per item, (*batch).
        threshold
            Not negative, broadcasts against the coefficients.
        """

    @abstractmethod
    def solve_gram(self, x: Tensor) -> Tensor:
        """Return the pseudo-inverse of W^H W applied to images x."""

    @abstractmethod
    def zero_dual(self, x: Tensor) -> Tensor:
        """Return a zero dual of the coefficients of images like x."""

    @abstractmethod
    def coefficients(self, q: Tensor) -> Tensor:
        """Return the dual as coefficients, (*batch, *codomain_shape)."""

    def laid_out(self, coefficients: Tensor) -> Tensor:
        """Return coefficients in the layout of :meth:`dual_step`'s dual, a new tensor."""
        return coefficients.clone()

    @abstractmethod
    def dual_step(
        self,
        q: Tensor,
        x: Tensor,
        sigma: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return q+, the projection of q + sigma W x on |q_i| <= radius_i, and W^H q+.

        Where no gradients are recorded q+ may overwrite q.

        Parameters
        ----------
        q
            Dual of the coefficients, see :meth:`zero_dual`.
        x
            Images, (*batch, *domain_shape).
        sigma
            Step size, one per item, (*batch).
        radius
            Positive, broadcasts against the coefficients; one number per group.
        relaxation
            Relaxation factor; 1 moves q exactly to the projection.
        """

    def over_groups(self, values: Tensor) -> Tensor:
        """Return for every coefficient the sum over its group; real.

        Without groups this is the value itself.
        """
        if self.groups is None:
            return values
        axis = -len(self.codomain_shape)
        parts = values.split(self.groups, dim=axis)
        return torch.cat([p.sum(axis, keepdim=True).expand_as(p) for p in parts], dim=axis)

    def modulus(self, coefficients: Tensor) -> Tensor:
        """Return the penalised size: |c_i|, or for each coefficient of a group the group's norm.

        Parameters
        ----------
        coefficients
            (..., *codomain_shape).
        """
        if self.groups is None:
            return coefficients.abs()
        axis = -len(self.codomain_shape)
        parts = coefficients.split(self.groups, dim=axis)
        norms = [torch.linalg.vector_norm(part, dim=axis, keepdim=True) for part in parts]
        sizes = [norm.expand(part.shape) for norm, part in zip(norms, parts, strict=True)]
        return torch.cat(sizes, dim=axis)

    def dual_modulus(self, coefficients: Tensor) -> Tensor:
        """Return the size that the dual step limits: |q_i|, or the dual norm of the group.

        Each coefficient has its group's value: that of :meth:`modulus` if the norm is self-dual.
        """
        return self.modulus(coefficients)

    def shares(self, coefficients: Tensor) -> Tensor:
        """Return the penalised size, shared equally within a group, which thus counts once."""
        sizes = self.modulus(coefficients)
        return sizes if self.groups is None else sizes / self.over_groups(torch.ones_like(sizes))

    def weighted_sum(self, x: Tensor, weights: Tensor | float) -> Tensor:
        """Return sum_i w_i |(W x)_i|, (*batch), each group counted once.

        Parameters
        ----------
        x
            Images, (*batch, *domain_shape).
        weights
            Broadcast against the coefficients; one number per group.
        """
        axes = tuple(range(-len(self.codomain_shape), 0))
        return (weights * self.shares(self(x))).sum(axes)

    def synthesised(self, q: Tensor, dtype: torch.dtype) -> Tensor:
        """Return W^H q, (*batch, *domain_shape), computed in ``dtype``, not in q's precision."""
        return self.adjoint(q.to(dtype))

    def room(self, q: Tensor | None, x: Tensor, radius: Tensor | float) -> Tensor:
        """Return the largest s with |s (q + W x)_i| <= radius_i for all i, (*batch).

        Parameters
        ----------
        q
            Dual of the coefficients, (*batch, *codomain_shape), possibly in a lower precision than
            x; None is 0.
        x
            Images, (*batch, *domain_shape).
        radius
            Positive, broadcasts against the coefficients; one number per group.
        """
        moved = self(x) if q is None else q.to(x.dtype) + self(x)
        return self._room(moved, radius)

    def _room(self, moved: Tensor, radius: Tensor | float) -> Tensor:
        axes = tuple(range(-len(self.codomain_shape), 0))
        tiny = torch.finfo(moved.real.dtype).tiny
        return (radius / self.dual_modulus(moved).clamp(min=tiny)).amin(axes)

    def project(self, coefficients: Tensor, radius: Tensor | float) -> Tensor:
        """Return the projection of coefficients on |c_i| <= radius_i."""
        if self.groups is None:
            return project_modulus(coefficients, radius)
        square = self.over_groups(coefficients.abs().square())
        least = torch.as_tensor(radius, dtype=square.dtype, device=square.device) ** 2 / 4
        return coefficients * (radius / torch.maximum(square, least).sqrt()).clamp(max=1)

    @property
    def group_of_band(self) -> Tensor | None:
        """(band) int64: the group number of each band; None if there are no groups."""
        if self.groups is None:
            return None
        return torch.arange(len(self.groups)).repeat_interleave(torch.tensor(self.groups))


class TightSparsifier(Sparsifier):
    """Any operator with W^H W = identity: an orthogonal wavelet, shifted or not, or SigPy's.

    Parameters
    ----------
    operator
        W.

    Raises
    ------
    UsageError
        If the operator is neither unitary nor a Parseval frame.
    """

    def __init__(self, operator: LinearOperator) -> None:
        if not operator.is_parseval:
            raise UsageError(
                "The sparsifier must be unitary, a Parseval frame (W^H W = identity) or "
                "another Frame, such as FiniteDifference"
            )
        super().__init__(operator.domain_shape, operator.codomain_shape, operator.norm_bound)
        self.operator = operator
        self.is_unitary = operator.is_unitary
        self.is_parseval = True

    @property
    def band_norms(self) -> Tensor:
        """1: rows of a unitary map have norm 1, those of a frame at most 1."""
        return torch.ones((), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Return W x."""
        result: Tensor = self.operator(x)
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return W^H y."""
        return self.operator.adjoint(y)

    def shrink(self, x: Tensor, tau: Tensor, threshold: Tensor | float) -> Tensor:
        """Return W^H soft(W x, tau threshold)."""
        wavelet = _wavelet(self.operator)
        if wavelet is not None and can_compile(x, tau):
            return shrink_coefficients(x, wavelet, tau, threshold)
        c = self.operator(x)
        if can_compile(c, tau):
            shrink_(c, tau, threshold)
        else:
            c = soft_threshold(c, over_axes(tau, self.codomain_shape) * threshold)
        return self.operator.adjoint(c)

    def solve_gram(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def zero_dual(self, x: Tensor) -> Tensor:
        """Return zeros like W x."""
        return torch.zeros_like(self.operator(x))

    def coefficients(self, q: Tensor) -> Tensor:
        """Return q."""
        return q

    def dual_step(
        self,
        q: Tensor,
        x: Tensor,
        sigma: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return q+, the projection of q + sigma W x on |q_i| <= radius_i, and W^H q+."""
        step = over_axes(sigma, self.codomain_shape) * self.operator(x)
        q = relaxed(q, self.project(q + step, radius), relaxation)
        return q, self.operator.adjoint(q)


class NoSparsifier(Sparsifier):
    """The identity: the pixels themselves are sparse.

    Parameters
    ----------
    shape
        The image's shape.
    """

    is_unitary = True
    is_parseval = True

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, shape, 1.0)

    @property
    def band_norms(self) -> Tensor:
        """1."""
        return torch.ones((), dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """Return x itself."""
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        """Return y itself."""
        return y

    def shrink(self, x: Tensor, tau: Tensor, threshold: Tensor | float) -> Tensor:
        """Return soft(x, tau threshold)."""
        return soft_threshold(x, over_axes(tau, self.codomain_shape) * threshold)

    def solve_gram(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def zero_dual(self, x: Tensor) -> Tensor:
        """Return zeros like x."""
        return torch.zeros_like(x)

    def coefficients(self, q: Tensor) -> Tensor:
        """Return q."""
        return q

    def dual_step(
        self,
        q: Tensor,
        x: Tensor,
        sigma: Tensor,
        radius: Tensor | float,
        relaxation: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Return q+, the projection of q + sigma x on |q_i| <= radius_i, twice."""
        step = over_axes(sigma, self.codomain_shape) * x
        q = relaxed(q, self.project(q + step, radius), relaxation)
        return q, q


def as_sparsifier(operator: LinearOperator | None, shape: Shape) -> Sparsifier:
    """Return an operator as a sparsifier of images of a shape.

    Raises
    ------
    UsageError
        If the operator is neither unitary, nor a Parseval frame, nor a sparsifier.
    """
    if operator is None:
        return NoSparsifier(shape)
    return operator if isinstance(operator, Sparsifier) else TightSparsifier(operator)


def _wavelet(operator: LinearOperator) -> Wavelet | None:
    """Return an orthogonal wavelet, shifted or not, in the form for compiled passes, or None."""
    if isinstance(operator, OrthogonalWavelet):
        return operator.behind_shift()
    if isinstance(operator, Composition) and isinstance(operator.inner, CyclicShift):
        outer = operator.outer
        return (
            outer.behind_shift(operator.inner.shift)
            if isinstance(outer, OrthogonalWavelet)
            else None
        )
    return None
