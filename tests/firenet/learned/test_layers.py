"""The layers of a learned network against the same by torch's own convolutions and derivatives."""

from __future__ import annotations

import pytest
import torch

from firenet_mri.firenet.learned import layers
from firenet_mri.firenet.learned.layers import Stage, data_step, shrinkage

SIZES = (1, 1, 4, 2)


def stage(seed: int = 0) -> Stage:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    groups = len(SIZES)
    filters = 0.2 * normal(sum(SIZES), 5, 5)
    parts = normal(2), filters, normal(groups), 0.1 * normal(groups, 3), normal(groups).abs() / 5
    return Stage(*(part.requires_grad_() for part in parts))


def image(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*shape, dtype=torch.complex128, generator=generator).requires_grad_()


CONDITIONS = torch.tensor([[0.5, 1.0, -0.3], [0.0, 0.0, 0.4]], dtype=torch.float64)


def shrunk(x: torch.Tensor, weights: Stage, dilation: int) -> torch.Tensor:
    return shrinkage(x, weights, CONDITIONS, SIZES, dilation)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_shrinkage_and_its_derivatives_are_those_of_torch(monkeypatch, dilation) -> None:
    x, weights = image(2, 9, 11), stage()
    found = shrunk(x, weights, dilation)
    cotangent = torch.randn_like(found)
    inputs = (x, *weights[1:])
    gradients = torch.autograd.grad(found, inputs, cotangent)
    monkeypatch.setattr(layers, "is_looked_at", lambda: True)
    monkeypatch.setattr("firenet_mri.firenet.learned.firm.is_looked_at", lambda: True)
    expected = shrunk(x, weights, dilation)
    torch.testing.assert_close(found, expected)
    others = torch.autograd.grad(expected, inputs, cotangent)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("block", [1, 700, 1 << 20])
def test_rows_in_blocks_give_the_image_that_all_rows_give(monkeypatch, dilation, block) -> None:
    x, weights = image(2, 13, 10), stage()
    expected = shrunk(x, weights, dilation)
    monkeypatch.setattr(layers, "_BLOCK", block)
    with torch.no_grad():
        torch.testing.assert_close(shrunk(x, weights, dilation), expected.detach())


def test_a_data_step_applies_the_polynomial() -> None:
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    normal, y, x = matrix.mT @ matrix, torch.randn(6).double(), torch.randn(4).double()

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return matrix.mT @ y - normal @ x

    a, b = 1.3, 0.4
    found = data_step(x, gradient(x), gradient, torch.tensor([a, b], dtype=torch.float64))
    torch.testing.assert_close(found, x + a * gradient(x) - b * normal @ gradient(x))
