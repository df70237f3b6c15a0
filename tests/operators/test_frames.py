"""Redundant frames: exact reconstruction, the dual step, and what each computes, against others."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import pywt
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import assert_close, check_linear_operator

import firenet_mri.operators.frame as frame_module
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import (
    DualTreeWavelet,
    FiniteDifference,
    Frame,
    OrthogonalWavelet,
    StackedFrame,
    StationaryCosine,
    StationaryWavelet,
    UndecimatedWavelet,
    make_sparsifier,
)
from firenet_mri.operators.sparsifier import as_sparsifier
from firenet_mri.prox import project_modulus

NAMES = (
    "undecimated-haar",
    "undecimated-db2",
    "undecimated-db3",
    "undecimated-dct",
    "undecimated-dct3",
    "dual-tree",
    "tv",
    "tv+undecimated-haar",
    "undecimated-dct2+dual-tree",
)
SHAPES = ((9,), (16, 7), (8, 11), (4, 5, 6))


def make(name: str, shape: tuple[int, ...]) -> Frame:
    frame = make_sparsifier(name, shape)
    assert isinstance(frame, Frame)
    return frame


def projected(frame: Frame, z: torch.Tensor, radius: float) -> torch.Tensor:
    """Return the projection of coefficients, one group after the other, by the formula."""
    parts = []
    for group in z.split(
        frame.groups or (1,) * frame.codomain_shape[0], -len(frame.codomain_shape)
    ):
        length = group.abs().square().sum(-len(frame.codomain_shape), keepdim=True).sqrt()
        parts.append(torch.where(length > radius, radius * group / length, group))
    return torch.cat(parts, -len(frame.codomain_shape))


@pytest.mark.parametrize("name", NAMES)
@given(
    shape=st.lists(st.integers(4, 11), min_size=1, max_size=3).map(tuple),
    batch=st.lists(st.integers(1, 3), max_size=2).map(tuple),
)
def test_frames_obey_the_laws(name: str, shape, batch) -> None:
    check_linear_operator(make(name, shape), batch=batch)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_of_frames_exist_to_second_order(name: str, randn) -> None:
    frame = make(name, (4, 5))
    x = randn(*frame.domain_shape).requires_grad_()
    y = randn(*frame.codomain_shape).requires_grad_()
    assert torch.autograd.gradcheck(frame, x)
    assert torch.autograd.gradgradcheck(frame, x, fast_mode=True)
    assert torch.autograd.gradcheck(frame.adjoint, y)


@pytest.mark.parametrize(("slab", "relaxation"), [(1, 1.8), (400, 1.0), (400, 1.8), (1 << 20, 1.0)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_dual_step_is_the_formula_whatever_the_slabs(
    name: str, shape, slab, relaxation, randn, monkeypatch
) -> None:
    monkeypatch.setattr(frame_module, "_SLAB", slab)
    frame = make(name, shape)
    x, c = randn(2, *shape), randn(2, *frame.codomain_shape)
    sigma = torch.tensor([0.5, 1.5], dtype=torch.float64)
    steps = sigma.reshape(2, *[1] * len(frame.codomain_shape))
    expected = c + relaxation * (projected(frame, c + steps * frame(x), 0.4) - c)
    with torch.no_grad():
        q, image = frame.dual_step(frame.laid_out(c), x, sigma, 0.4, relaxation)
        single = frame.dual_step(
            frame.laid_out(c.to(torch.complex64)),
            x.to(torch.complex64),
            sigma.float(),
            0.4,
            relaxation,
        )
    assert_close(frame.coefficients(q), expected)
    assert_close(image, frame.adjoint(expected))
    assert single[1].dtype == torch.complex64
    assert_close(single[1].to(image.dtype), image, 1e-5)


@pytest.mark.parametrize("relaxation", [1.0, 1.9])
@pytest.mark.parametrize("name", NAMES)
def test_dual_step_leaves_its_image_alone_and_its_dual_where_gradients_are_recorded(
    name: str, relaxation, randn
) -> None:
    frame = make(name, (8, 6))
    x, q = randn(8, 6), frame.laid_out(randn(*frame.codomain_shape))
    x_before, q_before = x.clone(), q.clone()
    sigma = torch.tensor(0.7, dtype=torch.float64)
    recorded = frame.dual_step(q, x, sigma, 0.3, relaxation)
    assert torch.equal(q, q_before)
    with torch.no_grad():
        fast = frame.dual_step(q, x, sigma, 0.3, relaxation)
    assert torch.equal(x, x_before)
    assert_close(fast[0], recorded[0])
    assert_close(fast[1], recorded[1])


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "name",
    [
        "undecimated-dct2",
        "tv",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("undecimated-db2", "dual-tree")),
    ],
)
def test_dual_step_is_differentiable_twice(name: str, randn) -> None:
    frame = make(name, (4, 4))
    q = frame.laid_out(randn(*frame.codomain_shape)).requires_grad_()
    x = randn(4, 4).requires_grad_()
    sigma = torch.tensor(0.7, dtype=torch.float64)

    def step(q: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return frame.dual_step(q, x, sigma, 0.6)

    assert torch.autograd.gradcheck(step, (q, x), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(step, (q, x), fast_mode=True)

    def energy(q: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return step(q, x)[1].abs().square().sum()

    items = torch.stack([q.detach(), 2 * q.detach()]), torch.stack([x.detach(), -x.detach()])
    found = torch.func.vmap(torch.func.grad(energy, argnums=(0, 1)))(*items)
    for i in range(2):
        single = torch.func.grad(energy, argnums=(0, 1))(items[0][i], items[1][i])
        for one, expected in zip(found, single, strict=True):
            assert_close(one[i], expected)


@pytest.mark.parametrize("radius_shape", [(), (1, 1), (8, 6)])
def test_dual_step_takes_a_radius_of_its_own_for_every_band(
    radius_shape, randn, monkeypatch
) -> None:
    monkeypatch.setattr(frame_module, "_SLAB", 1)
    frame = make("undecimated-dct2", (8, 6))
    c, x = randn(4, 8, 6), randn(8, 6)
    radius = randn(4, *radius_shape).abs() + 0.1 if radius_shape else torch.tensor(0.3)
    expected = project_modulus(c + 0.5 * frame(x), radius)
    with torch.no_grad():
        q, _ = frame.dual_step(frame.laid_out(c), x, torch.tensor(0.5, dtype=torch.float64), radius)
    assert_close(frame.coefficients(q), expected)


@pytest.mark.parametrize("name", NAMES)
def test_solve_gram_inverts_the_gram_operator_on_all_it_sees(name: str, randn) -> None:
    frame = make(name, (8, 7))
    x = randn(3, 8, 7)
    if frame.annihilates_constants:
        assert frame(torch.ones(8, 7, dtype=torch.float64)).abs().max() < 1e-15
        x = x - x.mean((-2, -1), keepdim=True)
    assert_close(frame.solve_gram(frame.adjoint(frame(x))), x)
    real = frame.solve_gram(x.real)
    assert not real.is_complex()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(32, 40), (16, 16, 18)])
def test_band_norms_of_frames_are_the_deviation_of_white_noise(name: str, shape) -> None:
    frame = make(name, shape)
    if name.endswith("db3") or name == "dual-tree" or (name.endswith("db2") and len(shape) == 3):
        frame = make_sparsifier(name, shape, 1)
    noise = torch.randn(4, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    axes = (0, *range(2, 2 + len(shape)))
    found = frame(noise).square().mean(axes).sqrt()
    torch.testing.assert_close(found, frame.band_norms.flatten(), rtol=0.12, atol=0.0)


@pytest.mark.parametrize("name", ["haar", "db2", "db4", "sym3"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_undecimated_wavelets_equal_pywt_up_to_the_documented_shift(name, ndim, randn) -> None:
    shape, levels = (16, 8, 16)[:ndim], 3
    x = randn(*shape, dtype=torch.float64)
    averages, *details = pywt.swtn(x.numpy(), name, levels, norm=True, trim_approx=True)
    operator = UndecimatedWavelet(name, levels, shape)
    ours = list(operator(x))
    reach = pywt.Wavelet(name).dec_len // 2 - 1
    axes = tuple(range(ndim))

    def moved(band: np.ndarray, level: int) -> torch.Tensor:
        return torch.from_numpy(np.roll(band, [-reach * (2**level - 1)] * ndim, axes))

    assert_close(ours.pop(0), moved(averages, levels), 1e-11)
    for level, bands in zip(range(levels, 0, -1), details, strict=True):
        for band in range(1, 2**ndim):
            key = "".join("ad"[band >> axis & 1] for axis in range(ndim))
            assert_close(ours.pop(0), moved(bands[key], level), 1e-11)
    assert not ours


def test_undecimated_haar_has_one_meaning() -> None:
    x = torch.randn(9, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(UndecimatedWavelet("haar", 2, (9, 14))(x), StationaryWavelet(2, (9, 14))(x))


@pytest.mark.parametrize(("block", "shape"), [(4, (9,)), (3, (8, 7)), (4, (6, 9)), (2, (4, 3, 5))])
def test_cosines_of_a_pixel_are_those_of_its_block(block, shape, randn) -> None:
    x = randn(*shape, dtype=torch.float64)
    ndim = len(shape)
    coefficients = StationaryCosine(block, shape)(x)
    for start in itertools.product(*(range(size) for size in shape)):
        patch = np.roll(x.numpy(), [-s for s in start], range(ndim))[(slice(block),) * ndim]
        # The first axis is the fastest in the order of the bands.
        expected = scipy.fft.dctn(patch, norm="ortho").T.ravel() / block ** (ndim / 2)
        assert_close(coefficients[(slice(None), *start)], torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(6,), (5, 8), (4, 3, 6)])
def test_total_variation_is_that_of_numpy(shape, randn) -> None:
    frame, x = FiniteDifference(shape), randn(*shape)
    ndim = len(shape)
    differences = [np.roll(x.numpy(), -1, axis) - x.numpy() for axis in range(ndim)]
    stacked = torch.from_numpy(np.stack(differences)) / (2 * ndim**0.5)
    assert_close(frame(x), stacked)
    expected = np.sqrt(sum(np.abs(d) ** 2 for d in differences)) / (2 * ndim**0.5)
    assert_close(frame.modulus(frame(x))[0], torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(6,), (4, 8), (4, 6, 2)])
def test_norm_bound_of_differences_is_attained_on_even_sizes(shape) -> None:
    frame = FiniteDifference(shape)
    checkerboard = torch.ones(shape, dtype=torch.float64)
    for axis, size in enumerate(shape):
        signs = (-1.0) ** torch.arange(size, dtype=torch.float64)
        checkerboard = checkerboard * signs.reshape(-1, *[1] * (len(shape) - 1 - axis))
    assert frame(checkerboard).norm() == pytest.approx(float(checkerboard.norm()))


def shift_variation(operator, level: int) -> float:
    """Return the relative deviation of a level's energy while a box moves."""
    box = torch.zeros(128, dtype=torch.float64)
    box[40:90] = 1
    levels = OrthogonalWavelet("haar", 4, (128,)).band_levels
    energies = [
        operator(box.roll(shift))[..., levels == level].square().sum() for shift in range(16)
    ]
    energy = torch.stack(energies)
    return float(energy.std() / energy.mean())


@pytest.mark.parametrize("level", [1, 2, 3, 4])
def test_dual_tree_hardly_sees_shifts_where_an_orthogonal_wavelet_does(level) -> None:
    assert shift_variation(DualTreeWavelet(4, (128,)), level) < 0.03
    assert shift_variation(OrthogonalWavelet("sym5", 4, (128,)), level) > 0.3


def test_dual_tree_tells_the_two_diagonals_apart() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    window = torch.exp(-((x - 32) ** 2 + (y - 32) ** 2) / 128)
    frame = DualTreeWavelet(3, (64, 64))

    def shares(wave: torch.Tensor) -> torch.Tensor:
        diagonal = frame(wave * window)[:, 16:32, 16:32].square().sum((1, 2))
        return diagonal.reshape(2, 2).sum(1) / diagonal.sum()

    rising, falling = shares(torch.cos(1.1 * (x + y))), shares(torch.cos(1.1 * (x - y)))
    assert rising.max() > 0.95
    assert falling.max() > 0.95
    assert rising.argmax() != falling.argmax()


def test_a_sum_is_its_parts_with_their_factors(randn) -> None:
    tv, haar = FiniteDifference((8, 6)), StationaryWavelet(1, (8, 6))
    frame, x = StackedFrame([(0.5, tv), (2.0, haar)]), randn(8, 6)
    assert_close(frame(x), torch.cat([0.5 * tv(x), 2 * haar(x)]))
    assert frame.norm_bound == pytest.approx(np.sqrt(4.25))
    sizes = torch.cat([tv.modulus(0.5 * tv(x)), (2 * haar(x)).abs()])
    assert_close(frame.modulus(frame(x)), sizes)
    assert not frame.is_parseval
    assert not frame.annihilates_constants
    assert StackedFrame([(0.6, haar), (0.8, haar)]).is_parseval


@pytest.mark.parametrize("name", NAMES)
def test_modulus_of_zero_has_a_finite_gradient(name: str) -> None:
    frame = make(name, (8, 6))
    x = torch.zeros(8, 6, dtype=torch.complex128, requires_grad=True)
    (gradient,) = torch.autograd.grad(frame.modulus(frame(x)).sum(), x)
    assert bool(torch.isfinite(torch.view_as_real(gradient)).all())


def test_sparsifiers_have_names() -> None:
    shape = (32, 24)
    assert isinstance(make_sparsifier("undecimated-sym4", shape, 2), UndecimatedWavelet)
    assert make_sparsifier("undecimated-dct6", shape).codomain_shape == (36, *shape)
    assert make_sparsifier("undecimated-dct", shape).codomain_shape == (16, *shape)
    assert isinstance(make_sparsifier("dual-tree", shape), DualTreeWavelet)
    assert isinstance(make_sparsifier("tv", shape), FiniteDifference)
    total = make_sparsifier("tv+undecimated-haar", shape, 1)
    assert isinstance(total, StackedFrame)
    assert total.codomain_shape == (6, *shape)
    assert total.norm_bound == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", "undecimated-dct4.*dual-tree.*tv"),
        ("undecimated-nonsense", "nonsense"),
        ("undecimated-bior2.2", "not orthogonal"),
        ("tv+db4", "not a sum of frames"),
        ("tv+", "not a sum of frames"),
        ("undecimated-dct1", "blocks of size 1"),
        ("undecimated-dct9", "blocks of size 9"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message) -> None:
    with pytest.raises(UsageError, match=message):
        make_sparsifier(name, (8, 9))


@pytest.mark.parametrize("name", ["tv", "undecimated-dct", "tv+undecimated-dct3"])
def test_levels_of_what_has_none_are_refused(name) -> None:
    with pytest.raises(UsageError, match="has none"):
        make_sparsifier(name, (8, 9), 2)


@pytest.mark.parametrize("name", ["haar", "undecimated-haar", "undecimated-db2", "dual-tree"])
def test_no_levels_at_all_are_refused(name) -> None:
    with pytest.raises(UsageError, match="0 wavelet levels"):
        make_sparsifier(name, (8, 9), 0)


@pytest.mark.parametrize("make_frame", [UndecimatedWavelet, DualTreeWavelet])
@pytest.mark.parametrize("levels", [0, 5, 9])
def test_frames_refuse_more_levels_than_the_size_allows(make_frame, levels) -> None:
    arguments = ("db2",) if make_frame is UndecimatedWavelet else ()
    with pytest.raises(UsageError, match="levels requested"):
        make_frame(*arguments, levels, (8, 9))


def test_sums_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="different sizes"):
        StackedFrame([(1.0, FiniteDifference((4, 4))), (1.0, FiniteDifference((4, 5)))])
    with pytest.raises(UsageError, match="at least one frame"):
        StackedFrame([])
    with pytest.raises(UsageError, match="positive"):
        StackedFrame([(0.0, FiniteDifference((4, 4)))])
    with pytest.raises(UsageError, match="at least 2 pixels"):
        FiniteDifference((1, 4))


@pytest.mark.parametrize("relaxation", [1.0, 1.8])
@pytest.mark.parametrize("operator", [None, OrthogonalWavelet("haar", 2, (8, 8))])
def test_dual_step_of_plain_sparsifiers_is_the_formula(operator, relaxation, randn) -> None:
    sparsifier = as_sparsifier(operator, (8, 8))
    x, q = randn(2, 8, 8), randn(2, 8, 8)
    sigma = torch.tensor([0.5, 1.5], dtype=torch.float64)
    z = q + sigma[:, None, None] * sparsifier(x)
    expected = q + relaxation * (project_modulus(z, 0.4) - q)
    found, image = sparsifier.dual_step(q, x, sigma, 0.4, relaxation)
    assert_close(found, expected)
    assert_close(image, sparsifier.adjoint(expected))
