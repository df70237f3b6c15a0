"""Locally low rank: tilings, projection, sizes and derivative are those of plain SVDs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from laws import assert_close, check_linear_operator
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.low_rank import LocalLowRank
from firenet_mri.operators.singular_values import clip_singular_values, singular_values
from firenet_mri.operators.slopes import dual_slopes
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.operators.stacked import StackedFrame

SHAPE = (4, 9, 7)
KINDS = ("any", "zero", "rank 1", "equal", "nearly rank 1")


def random(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def matrices(kind: str, rows: int = 4, columns: int = 6) -> Tensor:
    """Matrices over which a projection may stumble."""
    m = random(1, 9, rows, columns)
    if kind == "zero":
        return torch.zeros_like(m)
    if kind == "equal":
        u, _, v = torch.linalg.svd(m, full_matrices=False)
        return 2 * u @ v
    if kind in ("rank 1", "nearly rank 1"):
        one = random(2, 9, rows, 1) @ random(3, 9, 1, columns)
        return one + (1e-6 * m if kind == "nearly rank 1" else 0)
    return m


def by_svd(m: Tensor, radius: float) -> Tensor:
    u, s, v = np.linalg.svd(m.numpy(), full_matrices=False)
    return torch.from_numpy((u * np.minimum(s, radius)[..., None, :]) @ v)


def borders(size: int, patch: int, first: int) -> list[int]:
    return sorted({0, size, *range(first, size, patch)})


def squares_of(frame: LocalLowRank) -> list[tuple[int, slice, slice]]:
    """Tiling, rows and columns of every square, found by counting."""
    found = []
    for tiling, (row, column) in enumerate(frame.offsets):
        y, x = (
            borders(size, frame.patch, first)
            for size, first in zip(frame.domain_shape[1:], (row, column), strict=True)
        )
        for top, bottom in itertools.pairwise(y):
            for left, right in itertools.pairwise(x):
                found.append((tiling, slice(top, bottom), slice(left, right)))
    return found


@pytest.mark.parametrize("size", [(4, 6), (6, 4)])
@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e25])
@pytest.mark.parametrize("kind", KINDS)
def test_clipping_is_that_of_numpys_decomposition(kind, scale, size) -> None:
    m, radius = scale * matrices(kind, *size), 1.3 * scale
    found = clip_singular_values(m, torch.tensor(radius, dtype=torch.float64))
    expected = by_svd(m, radius)
    assert (found - expected).norm() <= 1e-12 * max(float(m.norm()), 1e-300)
    assert float(singular_values(found).amax()) <= radius * (1 + 1e-9)


def test_rounding_moves_the_clipping_as_it_moves_the_matrix() -> None:
    """One singular value is 1e4 times the radius, and others lie next to it."""
    u, _, v = torch.linalg.svd(random(0, 50, 8, 20), full_matrices=False)
    s = torch.tensor([1e4, 1.1, 1.05, 1.0, 0.999, 0.9, 0.5, 0.1]).double()
    m = (u * s) @ v
    single = clip_singular_values(m.to(torch.complex64), torch.tensor(1.0))
    error = (single - by_svd(m, 1.0)).flatten(1).norm(dim=1)
    assert float(error.max()) < 4 * torch.finfo(torch.float32).eps * 1e4


@pytest.mark.parametrize("kind", KINDS)
def test_clipping_is_firmly_nonexpansive(kind) -> None:
    m, radius = matrices(kind), torch.tensor(1.3).double()
    for size in (1e-4, 1e-1, 1.0, 1e3):
        for seed in range(5):
            moved = m + size * random(seed, *m.shape)
            before = moved - m
            after = clip_singular_values(moved, radius) - clip_singular_values(m, radius)
            inner = (after.conj() * before).real.sum((-2, -1))
            square = after.abs().square().sum((-2, -1))
            assert bool((square <= inner + 1e-13 * float(before.norm() * moved.norm())).all())


@pytest.mark.parametrize("size", [(3, 5), (5, 3)])
def test_the_derivative_is_that_of_finite_differences_and_symmetric(size) -> None:
    m = random(4, 2, *size).requires_grad_()
    radius = torch.tensor([0.7, 2.0]).double()
    assert torch.autograd.gradcheck(
        lambda m: clip_singular_values(m, radius), m, check_forward_ad=True
    )


def test_squares_that_are_not_finite_have_no_size() -> None:
    m = matrices("any")
    m[2, 0, 0] = torch.inf
    sizes = singular_values(m).sum(-1)
    assert bool(sizes[2].isnan())
    assert int(sizes.isnan().sum()) == 1


@pytest.mark.parametrize("offsets", [None, [(0, 0)], [(3, 1), (0, 2), (2, 2)]])
def test_squares_are_those_of_each_tiling_also_where_the_border_cuts_them(offsets) -> None:
    frame = LocalLowRank(SHAPE, 4, offsets)
    c = random(5, *frame.codomain_shape)
    expected = torch.empty_like(c)
    nuclear, spectral = torch.empty(c.shape).double(), torch.empty(c.shape).double()
    total = 0.0
    for tiling, rows, columns in squares_of(frame):
        part = c[tiling, :, rows, columns]
        m = part.reshape(len(part), -1)
        expected[tiling, :, rows, columns] = by_svd(m, 1.5).reshape(part.shape)
        nuclear[tiling, :, rows, columns] = np.linalg.norm(m.numpy(), "nuc")
        spectral[tiling, :, rows, columns] = np.linalg.norm(m.numpy(), 2)
        total += np.linalg.norm(m.numpy(), "nuc")
    assert_close(frame.project(c, 1.5), expected)
    assert_close(frame.modulus(c), nuclear)
    assert_close(frame.dual_modulus(c), spectral)
    assert float(frame.shares(c).sum()) == pytest.approx(total)


@pytest.mark.parametrize("offsets", [None, [(0, 0)], [(3, 1), (0, 2), (2, 2)]])
def test_copies_of_the_images_are_a_parseval_frame(offsets) -> None:
    frame = LocalLowRank(SHAPE, 4, offsets)
    check_linear_operator(frame)
    assert frame.is_parseval
    assert not frame.is_unitary


def test_two_tilings_lie_half_a_square_apart() -> None:
    frame = make_sparsifier("across-low-rank6", (3, 12, 12))
    assert frame.offsets == ((0, 0), (3, 3))


@pytest.mark.parametrize("parts", [("across-low-rank4",), ("tv", "across-low-rank4", "across-tv")])
def test_a_sum_counts_each_square_once_and_its_dual_ball_is_that_of_each_part(parts) -> None:
    frame = make_sparsifier("+".join(parts), SHAPE)
    x = random(6, *SHAPE)
    pieces = frame.parts if isinstance(frame, StackedFrame) else [(1.0, frame)]
    expected = sum(scale * float(part.shares(part(x)).sum()) for scale, part in pieces)
    assert float(frame.weighted_sum(x, 1.0)) == pytest.approx(expected)
    projected = frame.project(frame(x), 0.2)
    assert float(frame.dual_modulus(projected).max()) == pytest.approx(0.2)
    assert float(frame.room(projected, 0 * x, 0.2)) == pytest.approx(1)


def test_the_largest_inner_product_with_the_ball_is_the_nuclear_norm() -> None:
    frame = LocalLowRank(SHAPE, 4)
    c = random(7, *frame.codomain_shape)
    norm = float(frame.shares(c).sum())
    for seed in range(20):
        q = frame.project(random(seed, *c.shape), 0.9)
        assert float((q.conj() * c).real.sum()) <= 0.9 * norm
    # Far out along c the projection is the polar factor, which attains it.
    best = frame.project(1e9 * c, 0.9)
    assert float((best.conj() * c).real.sum()) == pytest.approx(0.9 * norm, rel=1e-6)


@pytest.mark.parametrize("name", ["across-low-rank4", "tv+across-low-rank4"])
def test_slopes_of_a_dual_step_are_its_derivative(name) -> None:
    frame = make_sparsifier(name, SHAPE)
    q, x, sigma = random(8, *frame.codomain_shape), random(9, *SHAPE), torch.tensor(0.6).double()
    d, step = random(10, *q.shape), 1e-6
    slopes = dual_slopes(frame, frame.laid_out(q), x, sigma, 0.8)
    found, image = slopes.step(d, torch.zeros_like(x), sigma)

    def after(change: float) -> Tensor:
        z = q + change * d + sigma * frame(x)
        return frame.project(z, 0.8)

    assert_close(found, (after(step) - after(-step)) / (2 * step), 1e-6)
    assert_close(image, frame.adjoint(found))


def test_white_noise_just_reaches_the_size_of_the_bands() -> None:
    frame = LocalLowRank((10, 64, 64), 16)
    noise = random(11, 10, 64, 64)
    sizes = frame.dual_modulus(frame(noise))[0, 0]
    # Of whole squares; those at the border are smaller.
    ratio = float(sizes.max()) / float(frame.band_norms[0])
    assert 0.9 < ratio < 1.15


def test_one_curve_for_a_square_costs_less_than_many() -> None:
    frame = LocalLowRank((6, 8, 8), 4)
    one = random(12, 6, 1, 1) * random(13, 1, 8, 8)
    many = random(14, 6, 8, 8)
    many = many * (one.norm() / many.norm())
    assert float(frame.weighted_sum(one, 1.0)) < 0.6 * float(frame.weighted_sum(many, 1.0))


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("across-low-rank", (1, 32, 32), "across 1 image; it needs at least 2"),
        ("across-low-rank", (4, 32, 12), "16 x 16 pixels requested in images of 32 x 12"),
        ("across-low-rank1", (4, 32, 32), "give a side of 2 to 32 pixels"),
        ("across-low-rank", (32, 32), "give joint"),
        ("across-low-rang", (4, 32, 32), "across-fourier, across-low-rank"),
    ],
)
def test_what_makes_no_squares_is_refused_in_one_line(name, shape, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        make_sparsifier(name, shape)
    assert "\n" not in str(caught.value)


def test_weights_within_a_square_are_refused() -> None:
    frame = LocalLowRank(SHAPE, 4)
    with pytest.raises(UsageError, match="Weights differ within the squares"):
        frame.project(frame(random(15, *SHAPE)), torch.rand(frame.codomain_shape) + 0.1)
