"""One level of an orthogonal filter bank is a product with an orthogonal matrix."""

from __future__ import annotations

import numpy as np
import pytest
import pywt
import torch

from firenet_mri.operators.filter_bank import FilterBank, split_matrix

NAMES = ["haar", "db2", "db3", "db4", "sym5", "coif3", "db10"]


def bank_of(name: str, size: int) -> tuple[FilterBank, torch.Tensor]:
    wavelet = pywt.Wavelet(name)
    filters = np.array(wavelet.dec_lo), np.array(wavelet.dec_hi)
    return FilterBank(size, *filters), torch.from_numpy(split_matrix(size, *filters))


@pytest.mark.parametrize("size", [2, 3, 16, 65, 90, 115, 180, 226, 230, 256])
@pytest.mark.parametrize("name", NAMES)
def test_both_directions_are_those_of_the_matrix(name, size, randn) -> None:
    """Short and long axes, odd ones, and one whose half is a prime."""
    bank, matrix = bank_of(name, size)
    x = randn(2, 3, size).real
    assert torch.allclose(bank(x), torch.einsum("ij,abj->iab", matrix, x), atol=1e-10)
    assert torch.allclose(bank.adjoint(x), torch.einsum("ji,abj->iab", matrix, x), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_one_level_is_that_of_pywt(name, randn) -> None:
    bank, _ = bank_of(name, 128)
    x = randn(128).real
    low, high = pywt.dwt(x.numpy(), name, mode="periodization")
    assert np.allclose(bank(x).numpy(), np.concatenate([low, high]), atol=1e-10)


def test_long_axes_are_not_worked_on_with_the_whole_matrix() -> None:
    assert bank_of("db4", 256)[0].split.numel() < 200
