"""The Walsh-Hadamard operator is scipy's Hadamard matrix in the order of sign changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import assert_close
from scipy.linalg import hadamard

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import WalshHadamard


def by_sequency(size: int) -> torch.Tensor:
    """Scipy's unitary matrix with its rows sorted by their number of sign changes."""
    matrix = hadamard(size)
    changes = (np.diff(matrix, axis=1) != 0).sum(1)
    assert sorted(changes) == list(range(size))
    return torch.from_numpy(matrix[np.argsort(changes)]).double() / size**0.5


@pytest.mark.parametrize("size", [1, 2, 8, 16, 32, 128, 1024])
def test_one_axis_equals_scipy(size, randn) -> None:
    x = randn(3, size)
    expected = x @ by_sequency(size).to(x.dtype).mT
    assert_close(WalshHadamard(None, (size,))(x), expected)


@pytest.mark.parametrize("shape", [(8, 4), (2, 64), (4, 2, 16)])
def test_several_axes_equal_the_kronecker_product(shape, randn) -> None:
    x = randn(*shape)
    matrix = torch.ones(1, 1, dtype=torch.float64)
    for size in shape:
        matrix = torch.kron(matrix, by_sequency(size))
    expected = (matrix.to(x.dtype) @ x.flatten()).reshape(shape)
    operator = WalshHadamard(None, shape)
    assert_close(operator(x), expected)
    assert_close(operator.adjoint(expected), x)


def test_mask_keeps_what_is_sampled_and_zeroes_the_rest(randn) -> None:
    x, shape = randn(2, 8, 8), (8, 8)
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    full = WalshHadamard(None, shape)
    masked = WalshHadamard(mask, shape)
    assert_close(masked(x), torch.where(mask, full(x), 0))
    assert_close(masked.adjoint(x), full.adjoint(torch.where(mask, x, 0)))
    assert full.is_unitary
    assert not masked.is_unitary


def test_real_images_stay_real(randn) -> None:
    x = randn(4, 8, dtype=torch.float32)
    operator = WalshHadamard(None, (4, 8))
    assert operator(x).dtype == torch.float32
    assert_close(operator(x).double(), operator(x.double()), 1e-6)


@pytest.mark.parametrize("shape", [(6,), (8, 12), (0, 4)])
def test_other_sizes_are_refused(shape) -> None:
    with pytest.raises(UsageError, match="powers of two"):
        WalshHadamard(None, shape)


def test_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="sampling mask"):
        WalshHadamard(torch.ones(3, 4), (4, 4))
