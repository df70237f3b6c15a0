"""The checks of SigPy's own operator tests, on the same arguments, with every Linop sent through.

SigPy 0.1.27 tests linearity, adjoint, unitarity (A^H A = identity) and pickling, at 1e-5.
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from sigpy import linop as L

from firenet_mri.linops.torch_linop import TorchLinop
from firenet_mri.sigpy import from_sigpy

REAL = [np.float32, np.float64]
COMPLEX = [np.complex64, np.complex128]

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")


def randn(shape: tuple[int, ...] | list[int], dtype: type, seed: int = 0) -> np.ndarray:
    """Return seeded numbers, real where the type is."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal(shape) + 1j * random.standard_normal(shape)
    return numbers.astype(dtype) if dtype in COMPLEX else numbers.real.astype(dtype)


def through(linop: L.Linop) -> L.Linop:
    """Return a Linop that is ours inside and that one inside again."""
    return TorchLinop(from_sigpy(linop))


def unitary_cases() -> dict[str, Callable[[], L.Linop]]:
    """Return what SigPy tests to be unitary."""
    cases: dict[str, Callable[[], L.Linop]] = {
        "Identity": lambda: L.Identity([5]),
        "Wavelet 16": lambda: L.Wavelet([16], level=1, wave_name="haar"),
        "Wavelet 129": lambda: L.Wavelet([129]),
        "Wavelet 17": lambda: L.Wavelet([17], level=1),
        "Circshift": lambda: L.Circshift([8], [4]),
        "Transpose": lambda: L.Transpose([3, 4]),
    }
    for ndim, size in itertools.product((1, 2, 3), (3, 4, 5, 6)):
        cases[f"FFT {size}^{ndim}"] = lambda ndim=ndim, size=size: L.FFT([size] * ndim)
    return cases


def other_cases() -> dict[str, Callable[[], L.Linop]]:
    """Return what SigPy tests to be linear with the right adjoint."""
    eye, flat = L.Identity([5]), L.Identity([5, 3])
    square = np.array([[0, 0], [1, 0], [1.5, 0]]) / 4
    cases: dict[str, Callable[[], L.Linop]] = {
        "Conj": lambda: L.Conj(eye),
        "Add": lambda: L.Add([eye, eye]),
        "Compose": lambda: L.Compose([eye, eye]),
        "Hstack": lambda: L.Hstack([eye, eye]),
        "Hstack 1": lambda: L.Hstack([flat, flat], axis=1),
        "Vstack": lambda: L.Vstack([eye, eye]),
        "Vstack 1": lambda: L.Vstack([flat, flat], axis=1),
        "Diag": lambda: L.Diag([eye, eye]),
        "Diag 1": lambda: L.Diag([flat, flat], iaxis=1, oaxis=1),
        "MatMul": lambda: L.MatMul((5, 2, 3), randn((5, 4, 2), np.float64)),
        "RightMatMul": lambda: L.RightMatMul((5, 4, 2), randn((5, 2, 3), np.float64)),
        "Multiply scalar": lambda: L.Multiply([2], 1.1),
        "Multiply": lambda: L.Multiply([2], np.array([1.0, 2.0])),
        "Multiply broadcast": lambda: L.Multiply([2], np.array([[1.0, 2.0], [3.0, 4.0]])),
        "Resize": lambda: L.Resize([5], [3]),
        "Resize oshift": lambda: L.Resize([5], [3], oshift=[1]),
        "Resize down": lambda: L.Resize([3], [5]),
        "Resize ishift": lambda: L.Resize([3], [5], ishift=[1]),
        "Downsample": lambda: L.Downsample([5], [2]),
        "Downsample shift": lambda: L.Downsample([5], [2], shift=[1]),
        "Upsample": lambda: L.Upsample([5], [2]),
        "Upsample shift": lambda: L.Upsample([5], [2], shift=[1]),
        "Interpolate": lambda: L.Interpolate([5], np.array([[0.5], [1.5], [2.5]])),
        "Interpolate 2": lambda: L.Interpolate([2, 2], square),
        "Interpolate batch": lambda: L.Interpolate([2, 2, 2], square),
        "FiniteDifference": lambda: L.FiniteDifference([8]),
        "Sum": lambda: L.Sum([2, 3, 4, 2], [1, 3]),
        "ArrayToBlocks": lambda: L.ArrayToBlocks([4], [2], [2]),
    }
    for ndim in (1, 2, 3):
        coord = np.random.default_rng(0).random((10, ndim))
        cases[f"NUFFT {ndim}"] = lambda ndim=ndim, coord=coord: L.NUFFT([3] * ndim, coord)
    return cases


CONVOLUTIONS = {
    "plain": ((3, 4), (2, 3), None),
    "to one": ((4, 3, 4), (1, 4, 2, 3), None),
    "from one": ((1, 3, 4), (4, 1, 2, 3), None),
    "channels": ((2, 3, 4), (4, 2, 2, 3), None),
    "strides": ((2, 3, 4), (4, 2, 2, 3), [2, 2]),
}


def check(linop: L.Linop, dtype: type) -> None:
    """Check linearity, adjoint and pickling."""
    x, other = (randn(linop.ishape, dtype, seed) for seed in (1, 2))
    y, a = randn(linop.oshape, dtype, 3), dtype(1.7)
    close = {"atol": 1e-5, "rtol": 1e-5}
    np.testing.assert_allclose(linop(a * x + other), a * linop(x) + linop(other), **close)
    np.testing.assert_allclose(np.vdot(linop(x), y), np.vdot(linop.H.H(x), y), **close)
    np.testing.assert_allclose(np.vdot(linop(x), y), np.vdot(x, linop.H(y)), **close)
    assert repr(pickle.loads(pickle.dumps(linop))) == repr(linop)


@pytest.mark.parametrize("dtype", REAL + COMPLEX)
@pytest.mark.parametrize(("name", "make"), list(unitary_cases().items()))
def test_unitary_linops(name, make, dtype) -> None:
    linop = through(make())
    check(linop, dtype)
    x = randn(linop.ishape, dtype)
    np.testing.assert_allclose((linop.H * linop)(x), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", REAL + COMPLEX)
@pytest.mark.parametrize(("name", "make"), list(other_cases().items()))
def test_linear_linops(name, make, dtype) -> None:
    linop = make()
    check(through(linop), dtype)
    x = randn(linop.ishape, dtype)
    np.testing.assert_allclose(through(linop)(x), linop(x.copy()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", REAL + COMPLEX)
@pytest.mark.parametrize("mode", ["full", "valid"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, mode, dtype) -> None:
    data, kernel, strides = CONVOLUTIONS[name]
    options = {"mode": mode, "strides": strides, "multi_channel": len(kernel) > 2}
    check(through(L.ConvolveData(data, randn(kernel, dtype), **options)), dtype)
    check(through(L.ConvolveFilter(kernel, randn(data, dtype), **options)), dtype)


def test_values_that_sigpy_states() -> None:
    interpolate = through(L.Interpolate([5], np.array([[0.5], [1.5], [2.5]])))
    peak = np.array([0.0, 1, 2, 1, 0])
    np.testing.assert_allclose(interpolate(peak), [0.5, 1.5, 1.5])
    blocks = through(L.ArrayToBlocks([4], [2], [2]))
    np.testing.assert_allclose(blocks(np.array([1.0, 2, 3, 4])), [[1, 2], [3, 4]])
    multiply = through(L.Multiply([2], np.array([[1.0, 2], [3, 4]])))
    np.testing.assert_allclose(multiply(np.array([1.0, 2])), [[1, 4], [3, 8]])
