"""The Fourier operator follows the field's convention: centred, unitary, right on odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy
import sigpy.mri.linop
import torch
from laws import assert_close

from firenet_mri.errors import ShapeError
from firenet_mri.operators import CartesianFourier, Sense, encoding_operator

SHAPES = [(8,), (9,), (8, 6), (7, 9), (8, 9), (5, 8, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_equals_numpy_and_sigpy(shape, randn) -> None:
    x = randn(2, *shape)
    axes = tuple(range(1, len(shape) + 1))
    ours = CartesianFourier(None, shape)(x)
    shifted = np.fft.ifftshift(x.numpy(), axes)
    by_numpy = np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes)
    assert_close(ours, torch.from_numpy(by_numpy))
    assert_close(ours, torch.from_numpy(sigpy.fft(x.numpy(), axes=axes)))


@pytest.mark.parametrize("shape", SHAPES)
def test_delta_at_the_centre_has_flat_spectrum(shape) -> None:
    delta = torch.zeros(shape, dtype=torch.complex128)
    delta[tuple(size // 2 for size in shape)] = 1
    expected = torch.full_like(delta, delta.numel() ** -0.5)
    assert_close(CartesianFourier(None, shape)(delta), expected)


@pytest.mark.parametrize("shape", [(8, 6), (7, 9)])
def test_real_images_are_taken(shape) -> None:
    x = torch.ones(shape, dtype=torch.float64)
    operator = CartesianFourier(None, shape)
    assert_close(operator(x), operator(x.to(torch.complex128)))


@pytest.mark.parametrize("shape", [(8, 10), (9, 7), (6, 7, 8)])
def test_sense_equals_sigpy(shape, randn) -> None:
    maps, x = randn(4, *shape), randn(*shape)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.5
    theirs = sigpy.mri.linop.Sense(maps.numpy(), weights=mask.numpy().astype(float))
    ours = encoding_operator(mask, maps, len(shape))
    assert_close(ours(x), torch.from_numpy(theirs(x.numpy())))
    y = randn(4, *shape)
    assert_close(ours.adjoint(y), torch.from_numpy(theirs.H(y.numpy())))


def test_every_item_can_have_its_own_mask_and_maps(randn) -> None:
    maps, x = randn(3, 4, 6, 8), randn(3, 6, 8)
    mask = torch.rand((3, 1, 6, 8), generator=torch.Generator().manual_seed(3)) < 0.5
    together = encoding_operator(mask, maps)(x)
    for item in range(3):
        assert_close(together[item], encoding_operator(mask[item], maps[item])(x[item]))


def test_gradient_reaches_the_maps(randn) -> None:
    maps, x, y = randn(2, 4, 5).requires_grad_(), randn(4, 5), randn(2, 4, 5)
    fourier = CartesianFourier(None, (4, 5))
    assert torch.autograd.gradcheck(lambda m: Sense(m, fourier)(x), maps)
    assert torch.autograd.gradcheck(lambda m: Sense(m, fourier).adjoint(y), maps)


@pytest.mark.parametrize("mask", [torch.ones(3, 4), torch.full((4, 4), 0.5)])
def test_masks_that_do_not_fit_are_refused(mask) -> None:
    with pytest.raises(ShapeError, match="sampling mask"):
        CartesianFourier(mask, (4, 4))


def test_maps_that_do_not_fit_are_refused(randn) -> None:
    fourier = CartesianFourier(None, (4, 4))
    with pytest.raises(ShapeError, match="Sensitivity maps"):
        Sense(randn(2, 4, 5), fourier)
    with pytest.raises(ShapeError, match="complex"):
        Sense(torch.ones(2, 4, 4), fourier)
