"""The Fourier transform at any points: the exact sum, its adjoint, norm, and normal operator."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from firenet_mri.errors import DataError, FirenetError, ShapeError
from firenet_mri.operators import (
    CartesianFourier,
    NonuniformFourier,
    Sense,
    ToeplitzNormal,
    encoding_operator,
)
from firenet_mri.operators.density import compensated, geometric, pipe_menon
from firenet_mri.operators.trajectories import radial, spiral, stack_of_stars

SHAPES = [(8,), (8, 9), (7, 6), (4, 5, 6)]


def points_in(shape: tuple[int, ...], count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(count, len(shape), dtype=torch.float64, generator=generator) - 0.5
    return share * torch.tensor(shape)


def exact(points: torch.Tensor, shape: tuple[int, ...], weights=None) -> torch.Tensor:
    """Return the matrix of the sum, written out."""
    axes = [torch.arange(size) - size // 2 for size in shape]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape)).double()
    turns = (points.reshape(-1, len(shape)) / torch.tensor(shape)) @ places.T
    matrix = torch.exp(-2j * np.pi * turns) / np.prod(shape) ** 0.5
    return matrix if weights is None else weights.reshape(-1, 1).sqrt() * matrix


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_directions_are_the_exact_sums(shape, dtype, randn) -> None:
    points = points_in(shape, 20)
    operator, matrix = NonuniformFourier(points, shape), exact(points, shape)
    x, y = randn(3, 2, *shape), randn(3, 2, 20)
    forward, adjoint = operator(x.to(dtype)), operator.adjoint(y.to(dtype))
    assert forward.dtype == adjoint.dtype == dtype
    expected = x.flatten(2) @ matrix.T
    assert (forward - expected).norm() <= 1e-6 * expected.norm()
    expected = (y @ matrix.conj()).reshape(x.shape)
    assert (adjoint - expected).norm() <= 1e-6 * expected.norm()


@given(
    shape=st.lists(st.integers(2, 8), min_size=1, max_size=3).map(tuple),
    count=st.integers(1, 15),
    is_weighted=st.booleans(),
    seed=st.integers(0, 100),
)
def test_bound_is_at_least_the_norm_and_the_normal_operator_is_right(
    shape, count, is_weighted, seed
) -> None:
    points = points_in(shape, count, seed)
    generator = torch.Generator().manual_seed(seed)
    weights = 3 * torch.rand(count, generator=generator).double() if is_weighted else None
    operator = NonuniformFourier(points, shape, weights=weights)
    matrix = exact(points, shape, weights)
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    assert norm <= operator.norm_bound <= 4 * norm + 1e-9
    x = torch.randn(2, *shape, dtype=torch.complex128, generator=generator)
    normal = ToeplitzNormal(operator)
    expected = (x.flatten(1) @ (matrix.mH @ matrix).T).reshape(x.shape)
    assert torch.allclose(normal(x), expected, atol=1e-9 * (1 + norm**2))
    assert normal.norm_bound >= norm**2
    y = torch.randn(2, count, dtype=torch.complex128, generator=generator)
    left = torch.vdot(operator(x).flatten(), y.flatten())
    right = torch.vdot(x.flatten(), operator.adjoint(y).flatten())
    assert abs(left - right) <= 1e-6 * float(x.norm() * y.norm())


def test_integer_points_are_the_cartesian_transform(randn) -> None:
    shape = (8, 9)
    grid = torch.cartesian_prod(*[torch.arange(size) - size // 2 for size in shape])
    operator = NonuniformFourier(grid.reshape(*shape, 2).double(), shape)
    x = randn(*shape)
    assert torch.allclose(operator(x), CartesianFourier(None, shape)(x), atol=1e-6)
    assert operator.norm_bound == pytest.approx(1, abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_derivatives_are_the_adjoint_to_second_order(randn) -> None:
    operator = NonuniformFourier(points_in((4, 5), 7), (4, 5))
    x = randn(4, 5).requires_grad_()
    y = randn(7).requires_grad_()
    assert torch.autograd.gradcheck(operator, (x,))
    assert torch.autograd.gradgradcheck(operator.adjoint, (y,))
    batch = torch.func.vmap(operator)(randn(3, 4, 5))
    assert batch.shape == (3, 7)
    tangent = torch.func.jvp(operator, (x.detach(),), (x.detach(),))[1]
    assert torch.allclose(tangent, operator(x.detach()))


def test_copies_and_threads_give_the_same(randn) -> None:
    operator = NonuniformFourier(points_in((6, 6), 9), (6, 6))
    x = randn(2, 6, 6)
    expected = operator(x)
    assert torch.equal(pickle.loads(pickle.dumps(operator))(x), expected)
    assert torch.equal(copy.deepcopy(operator)(x), expected)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(operator, [x] * 12))
    assert all(torch.allclose(result, expected) for result in results)
    assert not operator.state_dict()


@pytest.mark.parametrize("weighted", [False, True])
def test_residual_of_coils_is_that_of_forward_and_adjoint(weighted, randn) -> None:
    points = points_in((6, 7), 30)
    weights = torch.rand(30).double() if weighted else None
    encoding = Sense(randn(3, 6, 7), NonuniformFourier(points, (6, 7), weights=weights))
    x, y = randn(2, 6, 7), randn(2, 3, 30)
    gradient, norm = encoding.residual(y)(x)
    difference = encoding(x) - y
    assert torch.allclose(gradient, encoding.adjoint(difference), atol=1e-5)
    assert torch.allclose(norm, difference.flatten(1).norm(dim=1), rtol=1e-6)


def test_a_trajectory_or_a_mask_makes_the_encoding(randn) -> None:
    maps = randn(2, 6, 7)
    points = points_in((6, 7), 5)
    assert isinstance(encoding_operator(points, maps).fourier, NonuniformFourier)
    assert isinstance(encoding_operator(torch.ones(6, 7), maps).fourier, CartesianFourier)
    assert isinstance(encoding_operator(None, maps).fourier, CartesianFourier)


@pytest.mark.parametrize(
    ("points", "weights", "kind", "said"),
    [
        (torch.tensor([[5.0, 0.0]]), None, DataError, r"-4, 4\).*rescale"),
        (torch.tensor([[0.0, -4.5]]), None, DataError, "axis 1"),
        (torch.tensor([[0.0, float("nan")]]), None, DataError, "NaN"),
        (torch.zeros(3, 3), None, ShapeError, r"\(\*samples, 2\)"),
        (torch.zeros(2), None, ShapeError, "trajectory has shape"),
        (torch.zeros(3, 2, dtype=torch.complex64), None, DataError, "complex"),
        (torch.zeros(3, 2), torch.ones(4), ShapeError, "sample weights"),
        (torch.zeros(3, 2), -torch.ones(3), DataError, "negative"),
    ],
)
def test_bad_input_is_named(points, weights, kind, said) -> None:
    with pytest.raises(kind, match=said):
        NonuniformFourier(points, (8, 8), weights=weights)


def test_accuracy_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(FirenetError, match="eps"):
        NonuniformFourier(torch.zeros(3, 2), (8, 8), eps=0)


@pytest.mark.parametrize("density", [pipe_menon, geometric])
def test_density_weights_follow_the_radius_of_spokes(density) -> None:
    points = radial(40, 64, 32, golden_angle=False)
    weights = density(points, (32, 32))
    radius = points.norm(dim=-1)
    # Away from centre and rim the area of a sample of a spoke goes with its radius.
    inside = (radius > 3) & (radius < 12)
    ratio = (weights / radius.clamp(min=1e-9))[inside]
    assert float(ratio.std() / ratio.mean()) < 0.1
    assert float(weights.sum()) == pytest.approx(32 * 32)
    assert weights.min() > 0


def test_compensated_transform_keeps_the_level_of_white_noise() -> None:
    """As on a Cartesian scan: |A^H r| of a pixel beside ||r|| is 1 / sqrt(pixels) on average."""
    shape = (32, 32)
    fourier = compensated(radial(40, 64, 32), shape)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(50, 40, 64, dtype=torch.complex128, generator=generator)
    weighted = noise * fourier.root_weights
    pixels = fourier.adjoint(weighted).abs().square().mean()
    assert float(pixels * 1024 / weighted.abs().square().sum((1, 2)).mean()) == pytest.approx(
        1, abs=0.05
    )


def test_density_compensation_brings_the_image_back() -> None:
    shape = (32, 32)
    points = radial(64, 64, 32)
    fourier = NonuniformFourier(points, shape, weights=pipe_menon(points, shape))
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    image = torch.exp(-((y - 14.0) ** 2 + (x - 18.0) ** 2) / 40).to(torch.complex64)
    gridded = fourier.adjoint(fourier(image))
    scale = torch.vdot(gridded.flatten(), image.flatten()) / gridded.norm() ** 2
    assert float((scale * gridded - image).norm() / image.norm()) < 0.1


def test_trajectories_stay_inside_and_are_what_they_are_called() -> None:
    spokes = radial(5, 16, 16)
    assert spokes.shape == (5, 16, 2)
    assert torch.allclose(spokes[:, 8], torch.zeros(2).double())
    turn = torch.atan2(spokes[1, -1, 0], spokes[1, -1, 1])
    assert float(torch.rad2deg(turn)) % 360 == pytest.approx(111.246, abs=1e-3)
    spirals = spiral(4, 200, 32, turns=4)
    assert spirals.shape == (4, 200, 2)
    assert torch.all(spirals.norm(dim=-1).diff(dim=1) > 0)
    stars = stack_of_stars(6, 5, 16, 16)
    assert stars.shape == (6, 5, 16, 3)
    assert stars[:, 0, 0, 0].tolist() == [-3, -2, -1, 0, 1, 2]
    for points, shape in ((spokes, (16, 16)), (spirals, (32, 32)), (stars, (6, 16, 16))):
        NonuniformFourier(points, shape)
    with pytest.raises(FirenetError, match="0 spokes"):
        radial(0, 16, 16)
