"""Proximal maps solve the problems that define them, and keep phases and zeros."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.prox import item_norm, project_modulus, project_unit_ball, soft_threshold

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


def test_unit_ball_is_per_item(randn) -> None:
    v = randn(3, 4, 5)
    v[0] *= 0.01
    projected = project_unit_ball(v, (-2, -1))
    assert torch.equal(projected[0], v[0])
    assert torch.allclose(item_norm(projected[1:], (-2, -1)), torch.ones(2, 1, 1).double())


def test_real_numbers_keep_their_sign() -> None:
    x = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0])
    assert torch.allclose(soft_threshold(x, 1.0), torch.tensor([-2.0, 0.0, 0.0, 0.0, 2.0]))


def test_gradients_are_finite_at_zero() -> None:
    for function in (lambda z: soft_threshold(z, 0.5), lambda z: project_modulus(z, 0.5)):
        z = torch.zeros(3, dtype=torch.complex128, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(z).abs().sum(), z)
        assert torch.isfinite(torch.view_as_real(gradient)).all()
