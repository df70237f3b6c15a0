"""Every Linop that SigPy exports, small and with real constructor arguments, by a name."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import sigpy
import sigpy.mri
import torch
from sigpy import linop as L

SHAPE = (5, 6)

Factory = Callable[[], L.Linop]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    """Return seeded complex numbers."""
    random = np.random.default_rng(seed)
    return random.standard_normal(shape) + 1j * random.standard_normal(shape)


def coordinates(points: int = 12, ndim: int = 2, largest: float = 2.4, seed: int = 1) -> np.ndarray:
    """Return seeded k-space positions, (points, ndim)."""
    return np.random.default_rng(seed).uniform(-largest, largest, (points, ndim))


def gradient(shape: tuple[int, ...]) -> L.Linop:
    """Return SigPy's deprecated name for FiniteDifference."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return L.Gradient(shape)


def dense(linop: L.Linop) -> np.ndarray:
    """Return the matrix of a Linop, column by column, by SigPy alone."""
    columns = []
    for index in range(int(np.prod(linop.ishape))):
        unit = np.zeros(int(np.prod(linop.ishape)), dtype=complex)
        unit[index] = 1
        columns.append(np.array(linop(unit.reshape(linop.ishape))).ravel())
    return np.stack(columns, axis=1)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """Return a tensor with its own memory."""
    return torch.tensor(np.array(array))


MAPS = draw(3, *SHAPE, seed=2)
WEIGHTS = np.random.default_rng(3).uniform(0, 2, SHAPE)

# Unitary or isometric: A^H A = identity, as SigPy's own tests claim it.
ISOMETRIES: dict[str, Factory] = {
    "Identity": lambda: L.Identity(SHAPE),
    "ToDevice": lambda: L.ToDevice(SHAPE, sigpy.cpu_device, sigpy.cpu_device),
    "Reshape": lambda: L.Reshape((2, 15), SHAPE),
    "Transpose": lambda: L.Transpose((2, 3, 4)),
    "Transpose axes": lambda: L.Transpose((2, 3, 4), axes=(2, 0, 1)),
    "FFT": lambda: L.FFT(SHAPE),
    "FFT axis": lambda: L.FFT(SHAPE, axes=(1,), center=False),
    "IFFT": lambda: L.IFFT(SHAPE),
    "Resize up": lambda: L.Resize((8, 7), SHAPE),
    "Flip": lambda: L.Flip(SHAPE),
    "Flip axis": lambda: L.Flip(SHAPE, axes=(0,)),
    "Circshift": lambda: L.Circshift(SHAPE, (2, -1)),
    "Circshift axis": lambda: L.Circshift(SHAPE, [1], axes=[1]),
    "Upsample": lambda: L.Upsample(SHAPE, (2, 3), shift=(0, 1)),
    "Wavelet": lambda: L.Wavelet((8, 6), wave_name="haar"),
    "Wavelet odd": lambda: L.Wavelet((9, 7), wave_name="db4"),
    "Wavelet axis": lambda: L.Wavelet((3, 32), axes=(1,), wave_name="sym4", level=2),
    "Embed": lambda: L.Embed((7, 8), (slice(1, 6), slice(0, 8, 2))),
}

OTHERS: dict[str, Factory] = {
    "Conj": lambda: L.Conj(L.FFT(SHAPE) * L.Multiply(SHAPE, draw(*SHAPE))),
    "Add": lambda: L.FFT(SHAPE) + L.IFFT(SHAPE),
    "Subtract": lambda: L.FFT(SHAPE) - L.Identity(SHAPE),
    "Negate": lambda: -L.FFT(SHAPE),
    "Scale": lambda: (2 - 1j) * L.FFT(SHAPE),
    "Compose": lambda: L.Compose([L.FFT(SHAPE), L.Multiply(SHAPE, draw(*SHAPE))]),
    "Hstack": lambda: L.Hstack([L.FFT(SHAPE), L.Multiply(SHAPE, draw(*SHAPE))]),
    "Hstack axis": lambda: L.Hstack([L.FFT(SHAPE), L.Identity(SHAPE)], axis=1),
    "Vstack": lambda: L.Vstack([L.FFT(SHAPE), L.Sum(SHAPE, (0,))]),
    "Vstack axis": lambda: L.Vstack([L.FFT(SHAPE), 3 * L.Identity(SHAPE)], axis=0),
    "Diag": lambda: L.Diag([L.FFT(SHAPE), L.Sum(SHAPE, (0,))]),
    "Diag axes": lambda: L.Diag([L.FFT(SHAPE), 2 * L.IFFT(SHAPE)], oaxis=0, iaxis=1),
    "MatMul": lambda: L.MatMul(SHAPE, draw(4, 5)),
    "MatMul adjoint": lambda: L.MatMul(SHAPE, draw(5, 4), adjoint=True),
    "MatMul copies": lambda: L.MatMul((1, 5, 2), draw(3, 4, 5)),
    "MatMul batch": lambda: L.MatMul((3, 5, 2), draw(3, 4, 5)),
    "RightMatMul": lambda: L.RightMatMul(SHAPE, draw(6, 3)),
    "RightMatMul adjoint": lambda: L.RightMatMul(SHAPE, draw(3, 6), adjoint=True),
    "RightMatMul copies": lambda: L.RightMatMul((1, 2, 5), draw(3, 5, 4)),
    "Multiply": lambda: L.Multiply(SHAPE, draw(*SHAPE)),
    "Multiply conj": lambda: L.Multiply(SHAPE, draw(*SHAPE), conj=True),
    "Multiply copies": lambda: L.Multiply(SHAPE, draw(3, 1, 6)),
    "Interpolate": lambda: L.Interpolate((2, *SHAPE), coordinates(), width=3),
    "Interpolate order 2": lambda: L.Interpolate(SHAPE, coordinates(), width=3, param=2),
    "Interpolate Kaiser-Bessel": lambda: L.Interpolate(
        SHAPE, coordinates(), kernel="kaiser_bessel", width=4, param=6.0
    ),
    "Gridding": lambda: L.Gridding((2, *SHAPE), coordinates(), width=3),
    "Resize down": lambda: L.Resize((3, 9), SHAPE),
    "Resize shifts": lambda: L.Resize((4, 4), SHAPE, ishift=(1, 0), oshift=(0, 2)),
    "Downsample": lambda: L.Downsample(SHAPE, (2, 3), shift=(1, 0)),
    "InverseWavelet": lambda: L.InverseWavelet((9, 7), wave_name="db4"),
    "Wavelet dmey": lambda: L.Wavelet((124,), wave_name="dmey", level=1),
    "Sum": lambda: L.Sum((2, 3, 4), (0, -1)),
    "Tile": lambda: L.Tile((2, 3, 4), (0, 2)),
    "ArrayToBlocks": lambda: L.ArrayToBlocks((2, *SHAPE), (3, 2), (1, 2)),
    "ArrayToBlocks 1": lambda: L.ArrayToBlocks((9,), (4,), (2,)),
    "BlocksToArray": lambda: L.BlocksToArray(SHAPE, (3, 2), (1, 1)),
    "FiniteDifference": lambda: L.FiniteDifference(SHAPE),
    "FiniteDifference axis": lambda: L.FiniteDifference(SHAPE, axes=(1,)),
    "Gradient": lambda: gradient(SHAPE),
    "NUFFT": lambda: L.NUFFT((2, 8, 8), coordinates(20, largest=3.9)),
    "NUFFT accurate": lambda: L.NUFFT((7, 6), coordinates(20), oversamp=2, width=6),
    "NUFFT 1": lambda: L.NUFFT((9,), coordinates(14, 1)),
    "NUFFT 3": lambda: L.NUFFT((4, 5, 3), coordinates(15, 3, largest=1.5)),
    "NUFFTAdjoint": lambda: L.NUFFTAdjoint((8, 8), coordinates(20, largest=3.9)),
    "ConvolveData": lambda: L.ConvolveData(SHAPE, draw(2, 3)),
    # A circular convolution of size 2 would have a norm of 1.41, this one has 1.73.
    "ConvolveData pair": lambda: L.ConvolveData((2,), np.array([1, 1j])),
    "ConvolveData valid": lambda: L.ConvolveData(SHAPE, draw(2, 3), mode="valid"),
    "ConvolveData strides": lambda: L.ConvolveData(SHAPE, draw(2, 3), strides=(2, 1)),
    "ConvolveData channels": lambda: L.ConvolveData(
        (2, *SHAPE), draw(3, 2, 2, 3), multi_channel=True
    ),
    "ConvolveDataAdjoint": lambda: L.ConvolveDataAdjoint(SHAPE, draw(2, 3)),
    "ConvolveFilter": lambda: L.ConvolveFilter((2, 3), draw(*SHAPE)),
    "ConvolveFilter channels": lambda: L.ConvolveFilter(
        (3, 2, 2, 3), draw(4, 2, *SHAPE), multi_channel=True, mode="valid"
    ),
    "ConvolveFilterAdjoint": lambda: L.ConvolveFilterAdjoint((2, 3), draw(*SHAPE)),
    "Slice": lambda: L.Slice((7, 8), (slice(1, 6), slice(0, 8, 2))),
    "Sense": lambda: sigpy.mri.linop.Sense(MAPS, weights=WEIGHTS),
    "Sense batches": lambda: sigpy.mri.linop.Sense(MAPS, weights=WEIGHTS, coil_batch_size=2),
    "Sense coord": lambda: sigpy.mri.linop.Sense(MAPS, coord=coordinates()),
    "ConvSense": lambda: sigpy.mri.linop.ConvSense((7, 8), draw(3, 3, 3)),
    "ConvImage": lambda: sigpy.mri.linop.ConvImage((3, 3, 3), draw(7, 8)),
}

# What has no place in one process: it sums over MPI ranks.
DISTRIBUTED = {"AllReduce", "AllReduceAdjoint"}

ALL = ISOMETRIES | OTHERS
