"""Proximal maps solve the problems that define them, and keep phases and zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.prox import project_modulus, soft_threshold

finite = st.floats(-1e3, 1e3)


@given(real=finite, imaginary=finite, threshold=st.floats(1e-3, 1e3))
def test_soft_threshold_minimises_its_definition(real, imaginary, threshold) -> None:
    z = complex(real, imaginary)
    x = complex(soft_threshold(torch.tensor([z], dtype=torch.complex128), threshold)[0])

    def value(candidate: complex) -> float:
        return threshold * abs(candidate) + 0.5 * abs(candidate - z) ** 2

    for step in (1e-3, -1e-3, 1e-3j, -1e-3j):
        assert value(x) <= value(x + step * max(1.0, abs(z))) + 1e-9 * value(x)
    assert value(x) <= value(0) + 1e-9 * value(0)


@given(real=finite, imaginary=finite, radius=st.floats(1e-3, 1e3))
def test_projection_on_the_modulus_is_the_nearest_point(real, imaginary, radius) -> None:
    z = complex(real, imaginary)
    p = complex(project_modulus(torch.tensor([z], dtype=torch.complex128), radius)[0])
    expected = z if abs(z) <= radius else z / abs(z) * radius
    assert np.isclose(p, expected, rtol=1e-12)


def test_real_numbers_keep_their_sign() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])
    assert torch.allclose(soft_threshold(x, 1.0), torch.tensor([-2.0, 0.0, 0.0, 0.0, 2.0]))


def test_gradients_are_finite_at_zero() -> None:
    for function in (
        lambda z: soft_threshold(z, 0.5),
        lambda z: project_modulus(z, 0.5),
    ):
        z = torch.zeros(3, dtype=torch.complex128, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(z).abs().sum(), z)
        assert torch.isfinite(torch.view_as_real(gradient)).all()


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float32, torch.complex128])
@pytest.mark.parametrize("function", [soft_threshold, project_modulus])
@pytest.mark.parametrize("length", [0.1, 1e-6])
def test_gradients_of_small_numbers_are_finite_and_right(function, length, dtype) -> None:
    """|x|^-3 overflows in single precision long before |x| does."""
    sizes = torch.tensor([0.0, 1e-30, 3e-19, 1e-15, 1e-14, 1e-12, 1e-9]).to(dtype)
    x = (sizes * (0.6 + 0.8j) if dtype.is_complex else sizes).requires_grad_()
    weight = torch.ones_like(x)
    (gradient,) = torch.autograd.grad(function(x, length), x, weight, create_graph=True)
    expected = torch.zeros_like(x) if function is soft_threshold else weight
    assert torch.equal(gradient, expected)
    (second,) = torch.autograd.grad(gradient, x, weight, allow_unused=True)
    assert second is None or torch.equal(second, torch.zeros_like(x))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float64])
def test_gradients_are_finite_for_a_threshold_of_zero(dtype) -> None:
    """Learned thresholds may come to zero; so may what they shrink."""
    z = torch.zeros(3, dtype=dtype, requires_grad=True)
    threshold = torch.zeros((), dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad(soft_threshold(z, threshold).abs().sum(), (z, threshold))
    assert all(bool(torch.isfinite(gradient.abs()).all()) for gradient in gradients)
