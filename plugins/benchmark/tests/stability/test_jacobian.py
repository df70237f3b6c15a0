"""Bounds of the Jacobian's norm hold the exact one; methods without a derivative are named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from firenet_benchmark.stability.criteria import Measurements
from firenet_benchmark.stability.jacobian import gradient_problem, in_double, jacobian
from firenet_benchmark.stability.methods import Batch, Method, zero_filling
from firenet_benchmark.stability.networks import combine, to_channels


@dataclass(frozen=True, eq=False)
class Shown:
    """A network's image of the zero-filled one, as methods have it."""

    network: nn.Module

    def __call__(self, batch: Batch, kspace: Tensor) -> Tensor:
        return self.network(to_channels(combine(kspace * batch.mask, batch.maps)))[:, 0]


def method(network: nn.Module) -> Method:
    return Method("made up", "trained", Shown(network), "for tests")


def nothing(*_: int) -> None:
    return None


@pytest.fixture
def batch(randn) -> Batch:
    """Return a slice of 8 x 6 pixels and two coils, every second line sampled."""
    maps = randn(1, 2, 8, 6, dtype=torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True)
    mask = (torch.arange(6) % 2 == 0).expand(1, 1, 8, 6)
    kspace = 30 * randn(1, 2, 8, 6, dtype=torch.complex64) * mask
    return Batch(("one",), kspace, mask, maps, None, None, True)


def network() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1)
    return nn.Sequential(*layers).requires_grad_(False).eval()


def numbers(measured: Measurements) -> dict[str, float]:
    return {row.metric: row.value for row in measured.rows}


def exact(one: Method, batch: Batch) -> float:
    """Return the largest singular value of the Jacobian by its entries."""
    double = in_double(one)
    wide = Batch(
        batch.names,
        batch.kspace.to(torch.complex128),
        batch.mask,
        batch.maps.to(torch.complex128),
        None,
        None,
        True,
    )

    def image(parts: Tensor) -> Tensor:
        kspace = torch.view_as_complex(parts) * batch.mask
        return double.magnitude(wide, kspace).flatten()

    entries = torch.autograd.functional.jacobian(image, torch.view_as_real(wide.kspace))
    return float(torch.linalg.matrix_norm(entries.flatten(1), ord=2))


@pytest.mark.parametrize("which", ["network", "zero filling"])
def test_both_bounds_hold_the_exact_norm(batch, which) -> None:
    one = zero_filling() if which == "zero filling" else method(network())
    found = numbers(jacobian(one, batch, 0, nothing))
    norm = exact(one, batch)
    assert found["lower"] <= norm * (1 + 1e-9)
    assert norm <= found["upper"] * (1 + 1e-9)
    assert found["upper"] <= 1.16 * found["lower"]


def test_a_method_stays_in_single_precision(batch) -> None:
    one = method(network())
    jacobian(one, batch, 0, nothing)
    assert {p.dtype for p in one.image.network.parameters()} == {torch.float32}
    assert {p.dtype for p in in_double(one).image.network.parameters()} == {torch.float64}


class Curved(nn.Module):
    """Has the derivative 1 at the data, which is smaller not far from them."""

    def __init__(self, at: Tensor) -> None:
        super().__init__()
        self.register_buffer("at", at)

    def forward(self, x: Tensor) -> Tensor:
        return self.at + torch.atan(3e3 * (x - self.at)) / 3e3


def test_a_derivative_that_changes_close_by_is_not_taken_for_a_wrong_one(batch) -> None:
    # So it is with logarithms of samples that are nearly zero, as learned networks take them.
    at = to_channels(combine(batch.kspace.to(torch.complex128), batch.maps.to(torch.complex128)))
    curved = method(Curved(at))
    found = jacobian(curved, batch, 0, nothing)
    assert found.note == ""
    assert numbers(found)["lower"] == pytest.approx(1, rel=0.1)


class CutOff(nn.Module):
    """Multiplies by what is cut off from the graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.detach().abs()


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(2 * x.numpy())


class Single(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


@pytest.mark.parametrize(
    ("kind", "no_jacobian", "no_attack"),
    [
        (CutOff, "the change itself", "predicts a change"),
        (Numpy, "numpy", "numpy"),
        (Constant, "the change itself", "carries no gradient"),
        (Single, "double precision", None),
    ],
)
def test_what_has_no_derivative_is_named(batch, kind, no_jacobian, no_attack) -> None:
    found = jacobian(method(kind()), batch, 0, nothing)
    assert found.rows == []
    assert no_jacobian in found.note
    problem = gradient_problem(method(kind()), batch)
    assert problem is None if no_attack is None else no_attack in problem


def test_what_fails_without_a_gradient_fails(batch) -> None:
    with pytest.raises(RuntimeError):
        gradient_problem(method(nn.Conv2d(3, 1, 1)), batch)
    assert gradient_problem(method(network()), batch) is None
    assert gradient_problem(zero_filling(), batch) is None


def test_an_interruption_is_no_missing_derivative(batch) -> None:
    def stop(*_: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        jacobian(zero_filling(), batch, 0, stop)
