"""Groups of bands under the nuclear norm: projection, duality and derivative are those of SVDs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.operators import frame_passes
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.slopes import FrameSlopes, PlainSlopes, SpectralProjection, dual_slopes
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.operators.spectral_ball import project_spectral
from firenet_mri.operators.stacked import StackedFrame

SHAPE = (9, 7)


def random(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def coherent(
    name: str = "undecimated-dct3", shape: tuple[int, ...] = SHAPE, groups: tuple[int, ...] = (1, 8)
) -> PhaseCoherent:
    """A frame whose bands have unequal scales."""
    frame = make_sparsifier(name, shape)
    return PhaseCoherent(frame, groups, torch.linspace(0.3, 1, sum(groups)))


def stacked() -> StackedFrame:
    """A frame by itself beside coherent ones."""
    haar = make_sparsifier("undecimated-haar", SHAPE)
    parts = [(0.6, haar), (0.5, PhaseCoherent(haar, (4,))), (0.4, coherent())]
    return StackedFrame(parts)


def matrices(kind: str, scale: float) -> Tensor:
    """Matrices (2, K) as (2, 20, K, 1, 1), of the kind that a projection may stumble over."""
    first, second = random(1, 20, 5, dtype=torch.float64), random(2, 20, 5, dtype=torch.float64)
    if kind == "zero":
        first, second = torch.zeros(20, 5).double(), torch.zeros(20, 5).double()
    elif kind == "one phase":
        second = first * torch.linspace(-3, 3, 20).double()[:, None]
    elif kind == "real":
        second = torch.zeros_like(first)
    elif kind == "imaginary":
        first = torch.zeros_like(first)
    elif kind == "equal singular values":
        second = second - (first * second).sum(1, True) / first.square().sum(1, True) * first
        second = second * (first.norm(dim=1) / second.norm(dim=1))[:, None]
    elif kind == "nearly one phase":
        second = first + 1e-7 * second
    return scale * torch.stack([first, second])[..., None, None]


KINDS = (
    "any",
    "zero",
    "one phase",
    "real",
    "imaginary",
    "equal singular values",
    "nearly one phase",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1.0, 1e3, 1e25])
def test_projection_is_the_clipped_singular_value_decomposition(kind, scale) -> None:
    q = matrices(kind, scale)
    radius = 1.3 * max(scale, 1e-3)
    found = project_spectral(q, torch.tensor(radius, dtype=q.dtype), -3)[..., 0, 0].movedim(0, 1)
    u, s, v = np.linalg.svd(q[..., 0, 0].movedim(0, 1).numpy(), full_matrices=False)
    expected = torch.from_numpy((u * np.minimum(s, radius)[:, None]) @ v)
    # A singular value far below the other is known to rounding errors of the other only.
    assert (found - expected).norm() <= 1e-12 * max(float(expected.norm()), 1e-300)
    assert torch.linalg.matrix_norm(found, 2).max() <= radius * (1 + 1e-12)


@pytest.mark.parametrize("ratio", [1.0, 1e3, 1e6, 1e9])
@torch.no_grad()
def test_rounding_moves_the_compiled_projection_as_it_moves_the_matrix(ratio) -> None:
    """One phase, nearly, and far outside of the ball, where one singular value is rounding."""
    frame = coherent(groups=(9,))
    one_phase = random(1, 9, *SHAPE).real * torch.exp(1j * random(2, *SHAPE).real)
    z = (ratio * one_phase + random(3, 9, *SHAPE)).to(torch.complex64)
    zero, step = torch.zeros(SHAPE, dtype=torch.complex64), torch.tensor(1.0)
    q, _ = frame.dual_step(frame.laid_out(z), zero, step, 1.0)
    expected = frame.project(z.to(torch.complex128), 1.0)
    error = torch.linalg.vector_norm(frame.coefficients(q) - expected, dim=0)
    allowed = 4 * torch.finfo(torch.float32).eps * torch.linalg.vector_norm(z, dim=0)
    assert bool((error <= allowed.clamp(min=1e-6)).all())


@pytest.mark.parametrize("kind", KINDS)
def test_projection_brings_no_two_matrices_further_apart(kind) -> None:
    q, radius = matrices(kind, 1.0), torch.tensor(1.3).double()
    for size in (1e-9, 1e-4, 1e-1, 1.0, 1e3):
        for seed in range(20):
            moved = q + size * random(seed, *q.shape, dtype=torch.float64)
            change = project_spectral(moved, radius, -3) - project_spectral(q, radius, -3)
            before = torch.linalg.vector_norm(moved - q, dim=(0, 2))
            # The second term is the rounding of the matrices themselves.
            allowed = before * (1 + 1e-9) + 1e-14 * float(q.abs().max())
            assert bool((torch.linalg.vector_norm(change, dim=(0, 2)) <= allowed).all())


@pytest.mark.parametrize("kind", KINDS)
def test_the_derivative_is_symmetric_and_no_longer_than_one(kind) -> None:
    radius = torch.tensor(1.3).double()
    for matrix in matrices(kind, 1.0).unbind(1)[:5]:
        jacobian = torch.autograd.functional.jacobian(
            lambda q: project_spectral(q, radius, -3), matrix[:, None]
        ).reshape(10, 10)
        assert_close(jacobian, jacobian.T, 1e-9)
        values = torch.linalg.eigvalsh(jacobian)
        assert -1e-9 <= values.min() <= values.max() <= 1 + 1e-9


@pytest.mark.filterwarnings("ignore:.*jit.script:DeprecationWarning")
def test_gradients_by_matrix_and_radius_are_those_of_finite_differences() -> None:
    q = random(3, 2, 2, 4, 2, 1, dtype=torch.float64).requires_grad_()
    radius = torch.full((1, 2, 1), 1.2, dtype=torch.float64).requires_grad_()
    inputs = (q, radius)
    assert torch.autograd.gradcheck(
        lambda q, r: project_spectral(q, r, -3), inputs, check_forward_ad=True
    )
    assert torch.autograd.gradgradcheck(lambda q, r: project_spectral(q, r, -3), inputs)


def test_a_change_of_phase_rotates_the_projection() -> None:
    frame, c = coherent(), random(4, 9, *SHAPE)
    turn = np.exp(0.7j)
    assert_close(frame.project(turn * c, 0.5), turn * frame.project(c, 0.5))
    assert_close(frame.modulus(turn * c), frame.modulus(c))


def test_sizes_are_nuclear_and_spectral_norms() -> None:
    frame, c = coherent(), random(5, 9, *SHAPE)
    nuclear, spectral = frame.modulus(c), frame.dual_modulus(c)
    for first, last in ((0, 1), (1, 9)):
        part = c[first:last, 4, 3].numpy()
        s = np.linalg.svd(np.stack([part.real, part.imag]), compute_uv=False)
        assert nuclear[first:last, 4, 3].numpy() == pytest.approx(s.sum())
        assert spectral[first:last, 4, 3].numpy() == pytest.approx(s.max())
    assert float(frame.shares(c).sum()) == pytest.approx(float(nuclear[0].sum() + nuclear[1].sum()))


def test_bands_of_one_phase_cost_no_more_than_their_vector() -> None:
    frame = coherent(groups=(9,))
    signs = random(6, 9, *SHAPE, dtype=torch.float64)
    one_phase = signs * torch.exp(1j * random(7, *SHAPE, dtype=torch.float64))
    assert_close(frame.modulus(one_phase)[0], torch.linalg.vector_norm(signs, dim=0))
    # Another phase in one band is dearer, and never cheaper.
    one_phase[3] *= 1j
    assert bool((frame.modulus(one_phase)[0] > torch.linalg.vector_norm(signs, dim=0)).all())


@pytest.mark.parametrize("shape", [(9, 7), (4, 5, 6), (3, 3)])
@pytest.mark.parametrize("name", ["undecimated-haar", "undecimated-dct3"])
def test_the_gram_of_scaled_bands_is_inverted_exactly(name, shape) -> None:
    bands = make_sparsifier(name, shape).codomain_shape[0]
    frame = coherent(name, shape, (1, bands - 1))
    x = random(8, 2, *shape)
    assert_close(frame.solve_gram(frame.adjoint(frame(x))), x)
    largest = float(frame.gram_symbol().max())
    assert largest <= frame.norm_bound**2 * (1 + 1e-12)
    assert not frame.is_parseval


@given(
    batch=st.sampled_from([(), (2,), (2, 3)]),
    shape=st.tuples(st.integers(3, 15), st.integers(3, 15)),
    groups=st.sampled_from([(9,), (1, 8), (2, 3, 4)]),
    relaxation=st.sampled_from([1.0, 1.8]),
    zeros=st.booleans(),
    rows=st.sampled_from([1, 3, 32]),
)
@settings(deadline=None, max_examples=25)
@torch.no_grad()
def test_the_compiled_step_is_that_of_torch(batch, shape, groups, relaxation, zeros, rows) -> None:
    frame = coherent("undecimated-dct3", shape, groups)
    lengths = random(9, *batch, dtype=torch.float64).abs()
    radii = torch.repeat_interleave(torch.arange(len(groups)) * 0.4 + 0.2, torch.tensor(groups))
    radii = radii.double().reshape(-1, 1, 1)
    q = expected_q = frame.zero_dual(random(0, *batch, *shape))
    for seed in (10, 11):
        x = random(seed, *batch, *shape) * (not zeros)
        with torch.enable_grad():
            expected_q, expected = frame.dual_step(expected_q, x, lengths, radii, relaxation)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frame_passes, "_ROWS", rows)
            q, image = frame.dual_step(q.clone(), x, lengths, radii, relaxation)
        assert_close(q, expected_q)
        assert_close(image, expected)


@torch.no_grad()
def test_nan_is_not_swallowed() -> None:
    frame, x = coherent(), random(13, *SHAPE)
    x[2, 3] = torch.nan
    q, image = frame.dual_step(frame.zero_dual(x), x, torch.tensor(0.1).double(), 0.2)
    assert q.isnan().any()
    assert image.isnan().any()


@pytest.mark.parametrize("rows", [pytest.param(2, marks=pytest.mark.slow), 32])
@pytest.mark.parametrize("is_stacked", [False, True])
@torch.no_grad()
def test_slopes_are_the_derivative_of_the_step(is_stacked, rows, monkeypatch) -> None:
    monkeypatch.setattr(frame_passes, "_ROWS", rows)
    frame = stacked() if is_stacked else coherent()
    x, dx = random(14, 2, *SHAPE), random(15, 2, *SHAPE)
    shape = 2, *frame.codomain_shape
    q, dq = frame.laid_out(random(16, *shape)), frame.laid_out(random(17, *shape))
    steps, radius = torch.tensor([0.3, 2.0]).double(), torch.tensor(0.8).double()
    ends = [
        frame.dual_step(q + s * 1e-6 * dq, x + s * 1e-6 * dx, steps, radius)[0] for s in (1, -1)
    ]
    expected = frame.coefficients((ends[0] - ends[1]) / 2e-6)
    compiled = dual_slopes(frame, q, x, steps, radius)
    assert isinstance(compiled, FrameSlopes)
    with torch.enable_grad():
        plain = dual_slopes(frame, q, x, steps, radius)
    assert isinstance(plain, PlainSlopes)
    tangent, image = plain.step(frame.coefficients(dq), dx, steps)
    assert_close(tangent, expected, 1e-6)
    # A row for each part: item, planes, bands.
    sizes = [part.codomain_shape[0] for _, part in frame.parts] if is_stacked else [9]
    row = torch.cat([part.movedim(0, 1).flatten() for part in dq.split(sizes, dim=-3)])
    _, found = compiled.step(row, dx, steps)
    assert_close(found, image, 1e-6)


@torch.no_grad()
def test_slopes_of_real_images_are_those_of_the_euclidean_norm() -> None:
    frame, z = coherent(groups=(9,)), random(18, 9, *SHAPE, dtype=torch.float64)
    d = random(19, 9, *SHAPE, dtype=torch.float64)
    found = SpectralProjection.at(frame, z, 0.9)(d)
    ends = [frame.project(z + s * 1e-6 * d, 0.9) for s in (1, -1)]
    assert_close(found, (ends[0] - ends[1]) / 2e-6, 1e-6)


def test_radii_that_move_are_refused() -> None:
    frame, x = coherent(), random(20, *SHAPE)
    with pytest.raises(UsageError, match="with the preset coherent"):
        dual_slopes(frame, frame.zero_dual(x), x, torch.tensor(1.0), 0.3, moves=True)


@pytest.mark.parametrize("name", ["tv", "dual-tree"])
def test_frames_of_other_kinds_are_refused(name) -> None:
    frame = make_sparsifier(name, (16, 16))
    with pytest.raises(UsageError, match="no phase-coherent form"):
        PhaseCoherent(frame, (frame.codomain_shape[0],))
    with pytest.raises(UsageError, match="no phase-coherent form"):
        PhaseCoherent(make_sparsifier("undecimated-haar", (16, 16), 2), (7,))


@pytest.mark.parametrize("scale", [0.0, 1.5, math.nan])
def test_groups_and_scales_must_fit(scale) -> None:
    frame = make_sparsifier("undecimated-haar", SHAPE)
    with pytest.raises(UsageError, match=r"must lie in \(0, 1\]"):
        PhaseCoherent(frame, (4,), torch.full((4,), scale))
    with pytest.raises(ShapeError, match="4 bands"):
        PhaseCoherent(frame, (1, 2))
