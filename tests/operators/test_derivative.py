"""Derivatives of linear maps by their adjoints, against those of a plain product."""

from __future__ import annotations

import pytest
import torch

from firenet_mri.operators.derivative import linear

MATRIX = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=torch.float64)


def apply(x: torch.Tensor) -> torch.Tensor:
    return linear(x, lambda x: x @ MATRIX.T, lambda y: y @ MATRIX)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_derivatives_of_all_kinds_are_those_of_the_matrix(randn) -> None:
    x = randn(4, 3, dtype=torch.float64).requires_grad_()
    ways = {
        "check_forward_ad": True,
        "check_batched_grad": True,
        "check_batched_forward_grad": True,
    }
    assert torch.autograd.gradcheck(lambda x: apply(x).square(), (x,), **ways)
    assert torch.autograd.gradgradcheck(lambda x: apply(x) ** 3, (x,))
    torch.testing.assert_close(torch.func.jacrev(apply)(x[0].detach()), MATRIX)
    torch.testing.assert_close(torch.func.jacfwd(apply)(x[0].detach()), MATRIX)
    torch.testing.assert_close(torch.func.vmap(apply, 1)(x.detach().T), x.detach() @ MATRIX.T)


def test_nothing_is_recorded_inside(randn) -> None:
    seen = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        return 2 * x

    linear(randn(3).requires_grad_(), forward, forward)
    assert seen == [False]
