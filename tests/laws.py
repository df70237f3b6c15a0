"""Laws that every linear operator obeys, as one call: ``check_linear_operator``."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.operators import LinearOperator


def check_linear_operator(operator: LinearOperator, *, batch: tuple[int, ...] = (2,)) -> None:
    """Check linearity, adjoint, norm bound, gradient, batches and dtypes on random input."""
    generator = torch.Generator().manual_seed(0)

    def randn(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(*batch, *shape, dtype=torch.complex128, generator=generator)

    x, x2, y = (randn(s) for s in (operator.domain_shape,) * 2 + (operator.codomain_shape,))
    assert operator(x).shape == y.shape
    assert operator.adjoint(y).shape == x.shape
    assert_close(operator(x * (2 - 1j) + x2), operator(x) * (2 - 1j) + operator(x2))
    for scale in (1e-3, 1e3):
        left = torch.vdot(y.flatten(), operator(scale * x).flatten())
        right = torch.vdot(operator.adjoint(y).flatten(), (scale * x).flatten())
        assert abs(left - right) <= 1e-12 * scale * x.norm() * y.norm()
    assert operator(x).norm() <= operator.norm_bound * x.norm() * (1 + 1e-12)
    assert_close(operator.H(y), operator.adjoint(y))
    assert_close(operator.H.H(x), operator(x))
    if batch:
        assert_close(operator(x)[0], operator(x[0]))
        assert_close(operator.adjoint(y)[0], operator.adjoint(y[0]))
    if operator.is_parseval:
        assert_close(operator.adjoint(operator(x)), x)
    if operator.is_unitary:
        assert_close(operator(operator.adjoint(y)), y)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(operator(leaf), leaf, y)
    assert_close(gradient, operator.adjoint(y))
    single = operator(x.to(torch.complex64))
    assert single.dtype in (torch.complex64, torch.complex128)
    assert (single - operator(x)).norm() <= 1e-5 * max(float(operator(x).norm()), 1e-30)


def assert_close(a: Tensor, b: Tensor, tolerance: float = 1e-12) -> None:
    """Fail unless a and b have one shape and differ by at most the tolerance, relative to b."""
    assert a.shape == b.shape
    difference, size = float((a - b).norm()), float(b.norm())
    assert difference <= tolerance * max(size, 1e-30), (
        f"{difference / max(size, 1e-30):.2e} relative"
    )
