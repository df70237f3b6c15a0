"""What a layer needs of the data, A^H (A x - y) and ||A x - y||, by any operator's fast way."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.operators import (
    CartesianFourier,
    MatrixOperator,
    Sense,
    encoding_operator,
    residual_passes,
)
from firenet_mri.operators import cartesian_residual as module
from firenet_mri.operators.base import LinearOperator

COILS = 3


def plainly(encoding: LinearOperator, x: torch.Tensor, y: torch.Tensor):
    """Return the same by forward and adjoint."""
    difference = encoding(x) - y
    axes = tuple(range(-len(encoding.codomain_shape), 0))
    return encoding.adjoint(difference), difference.abs().square().sum(axes).sqrt()


def random(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex128, generator=generator)


def mask_of(kind: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Return a mask that depends on all axes, on one of them, or is full."""
    whole = torch.rand(shape, generator=generator) < 0.5
    if kind == "points":
        return whole
    if kind == "full":
        return torch.ones(shape, dtype=torch.bool)
    axis = {"first": 0, "last": -1, "middle": len(shape) // 2}[kind]
    line = whole.movedim(axis, -1).reshape(-1, shape[axis])[0]
    return line.reshape([-1 if size == axis % len(shape) else 1 for size in range(len(shape))])


@pytest.mark.parametrize("recorded", [True, False])
@given(
    shape=st.lists(st.integers(1, 7), min_size=2, max_size=3).map(tuple),
    kind=st.sampled_from(["points", "first", "last", "middle", "full"]),
    batch=st.sampled_from([(), (2,), (2, 1)]),
    own_maps=st.booleans(),
    own_masks=st.booleans(),
    block=st.sampled_from([1, 20, 1 << 18]),
    seed=st.integers(0, 100),
)
def test_multi_coil_residual_is_that_of_forward_and_adjoint(
    recorded, shape, kind, batch, own_maps, own_masks, block, seed
) -> None:
    """Also for data off the mask, maps and masks of every item, and blocks of a single row."""
    generator = torch.Generator().manual_seed(seed)
    maps = random(generator, *(batch if own_maps else ()), COILS, *shape)
    mask = mask_of(kind, shape, generator)
    if own_masks:
        others = torch.rand(*batch, 1, *mask.shape, generator=generator) < 0.5
        mask = others if batch else mask
    encoding = encoding_operator(mask, maps, len(shape))
    x, y = random(generator, *batch, *shape), random(generator, *batch, COILS, *shape)
    before = module._BLOCK, residual_passes._BLOCK
    module._BLOCK = residual_passes._BLOCK = block
    try:
        with torch.set_grad_enabled(recorded):
            gradient, norm = encoding.residual(y)(x)
    finally:
        module._BLOCK, residual_passes._BLOCK = before
    expected = plainly(encoding, x, y)
    assert torch.allclose(gradient, expected[0], atol=1e-12)
    assert torch.allclose(norm, expected[1], atol=1e-12)
    assert gradient.is_contiguous()


def test_inputs_are_left_alone(randn) -> None:
    maps, mask = randn(COILS, 4, 6), torch.rand(4, 6) < 0.5
    encoding = Sense(maps, CartesianFourier(mask, (4, 6)))
    x, y = randn(4, 6), randn(COILS, 4, 6)
    kept = [part.clone() for part in (maps, mask, x, y)]
    with torch.no_grad():
        residual = encoding.residual(y)
        first = residual(x)
        again = residual(x)
    assert all(torch.equal(a, b) for a, b in zip(kept, (maps, mask, x, y), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_residual_serves_with_and_without_gradients(share, randn) -> None:
    """Whether or not zeros off the mask are kept."""
    mask = torch.rand(6, 7, generator=torch.Generator().manual_seed(2)) < share
    encoding = encoding_operator(mask, randn(COILS, 6, 7))
    x, y = randn(6, 7), randn(COILS, 6, 7)
    with torch.no_grad():
        residual = encoding.residual(y)
        expected = residual(x)
    found = residual(x.requires_grad_())
    assert torch.allclose(found[0], expected[0], atol=1e-12)
    found[1].backward()
    assert torch.allclose(x.grad * found[1], found[0], atol=1e-12)


@pytest.mark.parametrize("kind", ["points", "last"])
def test_residual_is_differentiable_twice(kind, randn) -> None:
    mask = mask_of(kind, (3, 4), torch.Generator().manual_seed(1))
    maps = randn(2, 3, 4).requires_grad_()
    x, y = randn(3, 4).requires_grad_(), randn(2, 3, 4).requires_grad_()

    def value(x, y, maps):
        return encoding_operator(mask, maps).residual(y)(x)

    assert torch.autograd.gradcheck(value, (x, y, maps))
    assert torch.autograd.gradgradcheck(lambda x, y: value(x, y, maps.detach()), (x, y))


def test_residual_of_zero_has_a_finite_gradient(randn) -> None:
    encoding = encoding_operator(None, randn(2, 3, 4))
    x = torch.zeros(3, 4, dtype=torch.complex128, requires_grad=True)
    gradient, norm = encoding.residual(torch.zeros(2, 3, 4, dtype=torch.complex128))(x)
    (norm + gradient.abs().sum()).backward()
    assert torch.isfinite(torch.view_as_real(x.grad)).all()


def test_single_precision_stays_single(randn) -> None:
    encoding = encoding_operator(None, randn(2, 3, 4).to(torch.complex64))
    gradient, norm = encoding.residual(randn(2, 3, 4).to(torch.complex64))(
        randn(3, 4).to(torch.complex64)
    )
    assert gradient.dtype == torch.complex64
    assert norm.dtype == torch.float32


def test_any_operator_has_one(randn) -> None:
    encoding = MatrixOperator(randn(5, 4))
    x, y = randn(2, 4), randn(2, 5)
    for found, expected in zip(encoding.residual(y)(x), plainly(encoding, x, y), strict=True):
        assert torch.allclose(found, expected)


@pytest.mark.parametrize("per_coil", [False, True])
def test_adjoint_of_large_data_is_the_same_coil_by_coil(per_coil, monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 7, 10, dtype=torch.complex128, generator=generator)
    mask = torch.rand((3, 7, 10) if per_coil else (7, 10), generator=generator) < 0.5
    encoding = Sense(maps, CartesianFourier(mask, (7, 10)))
    y = torch.randn(2, 3, 7, 10, dtype=torch.complex128, generator=generator)
    at_once = encoding.adjoint(y)
    monkeypatch.setattr("firenet_mri.operators.sense._LARGE", 0)
    torch.testing.assert_close(encoding.adjoint(y), at_once)
