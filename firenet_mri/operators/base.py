"""The interface of all linear operators: shapes, forward, adjoint, a proven bound of the norm."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from firenet_mri.errors import ShapeError
from firenet_mri.prox import item_norm

Shape = tuple[int, ...]


def records_graph() -> bool:
    """Return whether a graph is traced, exported or compiled, so that tensors have no values."""
    return torch._C._get_tracing_state() is not None or torch.compiler.is_compiling()


class Part(NamedTuple):
    """Something that an operator was made from, such as sensitivity maps; a bound keeps it fixed.

    ``from_data`` is True if it was made from the very samples to which the operator is applied, so
    that a change of the samples would also change the operator.
    """

    name: str
    from_data: bool = False


class Residual(ABC):
    """What a primal-dual layer computes from the data y: x -> (A^H (A x - y), ||A x - y||)."""

    @abstractmethod
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return A^H (A x - y), (*batch, *domain_shape), and ||A x - y||, (*batch)."""


class LinearOperator(nn.Module, ABC):
    """A linear map between tensors, with any number of leading batch axes before its shapes.

    Operators are modules, so that ``.to()`` moves maps, masks and filters; they have no parameters
    and an empty ``state_dict``. ``forward`` and ``adjoint`` are differentiable to any order, also
    with respect to the tensors from which the operator was made.

    Parameters
    ----------
    domain_shape, codomain_shape
        Shapes of one item, without batch axes.
    norm_bound
        A proven upper bound of the spectral norm.
    """

    #: A^H A = A A^H = identity.
    is_unitary = False
    #: A^H A = identity, as for unitary operators and Parseval frames.
    is_parseval = False
    #: The norm bound was stated by a caller or author, not derived from the operator's structure.
    norm_is_stated = False
    #: What the operator was made from, beyond what its name states.
    made_from: tuple[Part, ...] = ()

    def __init__(self, domain_shape: Shape, codomain_shape: Shape, norm_bound: float) -> None:
        super().__init__()
        self.domain_shape = tuple(domain_shape)
        self.codomain_shape = tuple(codomain_shape)
        self.norm_bound = float(norm_bound)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return A x, (*batch, *codomain_shape), for x of shape (*batch, *domain_shape)."""

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """Return A^H y, (*batch, *domain_shape), for y of shape (*batch, *codomain_shape)."""

    def image(self, x: Tensor) -> Tensor:
        """Return the image that x represents, (*batch, *domain_shape): usually x itself."""
        return x

    def residual(self, y: Tensor) -> Residual:
        """Return the function x -> (A^H (A x - y), ||A x - y||) for data y.

        Call this once before a loop: an operator may have a faster way than forward and adjoint.

        Parameters
        ----------
        y
            Data, (*batch, *codomain_shape).
        """
        self.check_codomain(y)
        return _PlainResidual(self, y)

    def data_parts(self) -> Iterator[tuple[int, LinearOperator]]:
        """Yield operators to successive parts of the data, with the first index of each part.

        Parts are counted along the first axis of ``codomain_shape``. A large operator has several
        parts, which together equal it but need less memory; others are their only part.
        """
        yield 0, self

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator."""
        return Adjoint(self)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Return the operator that applies ``other`` first and then ``self``."""
        return Composition(self, other)

    def extra_repr(self) -> str:
        """Return the shapes, for printing."""
        return f"{self.domain_shape} -> {self.codomain_shape}"

    def __repr__(self) -> str:
        """Return one line, without the operator's submodules."""
        return f"{type(self).__name__}({self.extra_repr()})"

    def check_domain(self, x: Tensor) -> None:
        """Raise ShapeError unless x has shape (*batch, *domain_shape)."""
        _check(x, self.domain_shape, f"{type(self).__name__}.forward")

    def check_codomain(self, y: Tensor) -> None:
        """Raise ShapeError unless y has shape (*batch, *codomain_shape)."""
        _check(y, self.codomain_shape, f"{type(self).__name__}.adjoint")


def _check(x: Tensor, shape: Shape, where: str) -> None:
    if x.ndim < len(shape) or tuple(x.shape[x.ndim - len(shape) :]) != shape:
        raise ShapeError(f"{where} got shape {tuple(x.shape)}; it takes (*batch, *{shape})")


class _PlainResidual(Residual):
    """The residual by forward and adjoint."""

    def __init__(self, operator: LinearOperator, y: Tensor) -> None:
        self.operator = operator
        self.y = y

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ndim = len(self.operator.codomain_shape)
        difference = self.operator(x) - self.y
        norm = item_norm(difference, tuple(range(-ndim, 0)))
        return self.operator.adjoint(difference), norm.reshape(norm.shape[: norm.ndim - ndim])


class Adjoint(LinearOperator):
    """A^H of an operator A."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.codomain_shape, operator.domain_shape, operator.norm_bound)
        self.operator = operator
        self.made_from = operator.made_from
        self.is_unitary = operator.is_unitary
        self.is_parseval = operator.is_unitary

    def forward(self, x: Tensor) -> Tensor:
        """Return A^H x."""
        result: Tensor = self.operator.adjoint(x)
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return A y."""
        result: Tensor = self.operator(y)
        return result

    @property
    def H(self) -> LinearOperator:
        """The operator A itself."""
        return self.operator


class Composition(LinearOperator):
    """A B: first B, then A. The norm bounds multiply."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        if inner.codomain_shape != outer.domain_shape:
            raise ShapeError(
                f"Cannot compose: the inner operator gives {inner.codomain_shape}, the outer takes "
                f"{outer.domain_shape}"
            )
        super().__init__(
            inner.domain_shape, outer.codomain_shape, outer.norm_bound * inner.norm_bound
        )
        self.outer = outer
        self.inner = inner
        self.made_from = tuple(dict.fromkeys(outer.made_from + inner.made_from))
        self.is_unitary = outer.is_unitary and inner.is_unitary
        self.is_parseval = outer.is_parseval and inner.is_parseval

    def forward(self, x: Tensor) -> Tensor:
        """Return A B x."""
        result: Tensor = self.outer(self.inner(x))
        return result

    def adjoint(self, y: Tensor) -> Tensor:
        """Return B^H A^H y."""
        result: Tensor = self.inner.adjoint(self.outer.adjoint(y))
        return result
