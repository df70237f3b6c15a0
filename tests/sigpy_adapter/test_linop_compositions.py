"""Random compositions, sums and stacks of random Linops keep their meaning through the adapter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close
from sigpy import linop as L
from sigpy_linops import as_tensor, coordinates, dense
from sigpy_linops import draw as numbers

from firenet_mri.sigpy import from_sigpy, to_sigpy

# SciPy's convolution casts memory that it has not written: NumPy warns of that at random.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")

LARGEST = 48


@st.composite
def leaves(draw: st.DrawFn, shape: tuple[int, ...]) -> L.Linop:
    """Draw one operator on arrays of a shape."""
    seed = draw(st.integers(0, 1000))
    axis = draw(st.integers(0, len(shape) - 1))
    choices = [
        lambda: L.Identity(shape),
        lambda: L.FFT(shape),
        lambda: L.IFFT(shape, axes=(axis,)),
        lambda: L.Flip(shape, axes=(axis,)),
        lambda: L.Circshift(shape, [seed % 5], axes=[axis]),
        lambda: L.Multiply(shape, numbers(*shape, seed=seed)),
        lambda: L.Multiply(shape, numbers(2, *shape, seed=seed)),
        lambda: L.Multiply(shape, complex(numbers(1, seed=seed)[0])),
        lambda: L.Reshape((int(np.prod(shape)),), shape),
        lambda: L.Transpose(shape),
        lambda: L.Resize([size + seed % 3 for size in shape], shape),
        lambda: L.Resize([max(1, size - seed % 3) for size in shape], shape),
        lambda: L.Downsample(shape, [1 + seed % 2] * len(shape)),
        lambda: L.Upsample([2 * size for size in shape], [2] * len(shape)),
        lambda: L.Tile((*shape, 2), (-1,)),
        lambda: L.FiniteDifference(shape),
        lambda: L.Wavelet(shape, wave_name="haar"),
        lambda: L.Conj(L.Multiply(shape, numbers(*shape, seed=seed))),
        lambda: L.ConvolveData(shape, numbers(*[2] * len(shape), seed=seed)),
        lambda: L.Slice(shape, (slice(0, 1),)),
    ]
    if len(shape) > 1:
        choices += [
            lambda: L.Sum(shape, (axis,)),
            lambda: L.MatMul(shape, numbers(3, shape[-2], seed=seed)),
            lambda: L.RightMatMul(shape, numbers(shape[-1], 2, seed=seed)),
            lambda: L.NUFFT(shape, coordinates(5, largest=min(shape[-2:]) / 2, seed=seed)),
            lambda: L.Interpolate(shape, coordinates(5, largest=1, seed=seed)),
        ]
        if min(shape[-2:]) > 1:
            choices.append(lambda: L.ArrayToBlocks(shape, (2, 2), (1, 1)))
    linop = draw(st.sampled_from(choices))()
    fits = np.prod(linop.oshape) <= LARGEST and 0 < len(linop.oshape) <= 4
    return linop if fits else L.Identity(shape)


@st.composite
def compositions(draw: st.DrawFn, shape: tuple[int, ...], depth: int) -> L.Linop:
    """Draw an operator on arrays of a shape, put together from others."""
    if depth == 0:
        return draw(leaves(shape))
    first = draw(compositions(shape, depth - 1))
    onward = tuple(first.oshape)
    kind = draw(
        st.sampled_from(["compose", "add", "subtract", "hstack", "vstack", "diag", "scale"])
    )
    if kind == "scale":
        return complex(numbers(1, seed=draw(st.integers(0, 99)))[0]) * first
    if kind == "compose":
        return draw(compositions(onward, depth - 1)) * first
    twin = L.Multiply(onward, numbers(*onward, seed=draw(st.integers(0, 99)))) * first
    if kind == "add":
        return first + twin
    if kind == "subtract":
        return first - twin
    if kind == "hstack":
        # Not -1: SigPy counts the sizes of such stacks wrong.
        axis = draw(st.sampled_from([None, 0, 1])) if len(shape) > 1 else None
        return L.Hstack([first, twin], axis=axis) * _copied(shape, axis)
    if kind == "vstack":
        return L.Vstack([first, draw(compositions(shape, depth - 1))])
    both = L.Diag([first, draw(compositions(shape, depth - 1))])
    return both * _copied(shape, None)


def _copied(shape: tuple[int, ...], axis: int | None) -> L.Linop:
    """Return x -> (x, 2 x), stacked along an axis."""
    return L.Vstack([L.Identity(shape), 2 * L.Identity(shape)], axis=axis)


def random_linops() -> st.SearchStrategy[L.Linop]:
    """Draw an operator on small images, sometimes its adjoint."""
    size = st.integers(1, 5)
    shapes = st.tuples(size, size)
    forward = shapes.flatmap(lambda shape: compositions(shape, 2))
    return st.tuples(forward, st.booleans()).map(lambda pair: pair[0].H if pair[1] else pair[0])


@settings(max_examples=150)
@given(random_linops())
def test_forward_and_adjoint_are_those_of_sigpy(linop) -> None:
    operator = from_sigpy(linop, check=True)
    x, y = numbers(2, *linop.ishape, seed=1), numbers(2, *linop.oshape, seed=2)
    ahead, back = operator(torch.from_numpy(x)), operator.adjoint(torch.from_numpy(y))
    for item in range(2):
        assert_close(ahead[item], as_tensor(linop(x[item].copy())), 1e-14)
        assert_close(back[item], as_tensor(linop.H(y[item].copy())), 1e-14)
    assert to_sigpy(operator) is linop


@settings(max_examples=150)
@given(random_linops())
def test_norm_bound_is_not_below_the_dense_norm(linop) -> None:
    norm = np.linalg.norm(dense(linop), 2)
    assert from_sigpy(linop).norm_bound >= norm * (1 - 1e-10)


@settings(max_examples=50)
@given(random_linops())
def test_gradient_is_the_adjoint_matrix(linop) -> None:
    operator = from_sigpy(linop)
    matrix = torch.from_numpy(dense(linop))
    x = torch.from_numpy(numbers(*linop.ishape)).requires_grad_()
    y = torch.from_numpy(numbers(*linop.oshape, seed=1))
    (gradient,) = torch.autograd.grad(operator(x), x, y)
    assert_close(gradient.reshape(-1), matrix.mH @ y.reshape(-1), 1e-10)
