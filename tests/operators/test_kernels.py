"""The compiled passes do what torch does, and stand aside where derivatives are recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close
from torch.autograd import forward_ad

from firenet_mri.firenet import updates
from firenet_mri.firenet.learned.firm import firm_projection, firm_slopes
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.updates import descended, extrapolated
from firenet_mri.operators import (
    OrthogonalWavelet,
    band_rows,
    encoding_operator,
    frame_passes,
    kernels,
    wavelet_passes,
)
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.shift import CyclicShift
from firenet_mri.operators.slopes import dual_slopes
from firenet_mri.operators.sparsifier import TightSparsifier
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.prox import soft_threshold

DTYPES = st.sampled_from([torch.complex128, torch.float64])
KINDS = ("residual", "frame", "coherent", "wavelet")
BATCHES = st.sampled_from([(), (2,), (2, 3)])


def random(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> torch.Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of torch's threads for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def by_torch(function, *tensors):
    """Return what a function gives where gradients are recorded, which is never compiled."""
    with torch.enable_grad():
        return function(*tensors)


@given(
    name=st.sampled_from(["haar", "db2", "db3", "db4", "sym5", "db20"]),
    shape=st.lists(st.integers(2, 21), min_size=1, max_size=3).map(tuple),
    batch=BATCHES,
    dtype=DTYPES,
)
@settings(deadline=None)
@torch.no_grad()
def test_wavelets_are_those_of_torch(name, shape, batch, dtype) -> None:
    wavelet = OrthogonalWavelet(name, 1, shape)
    x = random(0, *batch, *shape, dtype=dtype)
    assert_close(wavelet(x), by_torch(wavelet, x))
    assert_close(wavelet.adjoint(x), by_torch(wavelet.adjoint, x))


@given(batch=BATCHES, dtype=DTYPES, weights=st.sampled_from(["one", "each", "items"]))
@settings(deadline=None)
@torch.no_grad()
def test_shrinking_is_the_soft_threshold(batch, dtype, weights) -> None:
    x = random(1, *batch, 5, 7, dtype=dtype)
    lengths = random(2, *batch, dtype=torch.float64).abs()
    shape = {"one": (), "each": (5, 7), "items": (*batch, 5, 7)}[weights]
    factors = random(3, *shape, dtype=torch.float64).abs()
    expected = soft_threshold(x, lengths[..., None, None] * factors)
    kernels.shrink_(x, lengths, factors)
    assert_close(x, expected)


@given(
    name=st.sampled_from(["haar", "db2", "db3", "db20"]),
    shape=st.lists(st.integers(3, 21), min_size=2, max_size=3).map(tuple),
    levels=st.integers(1, 2),
    batch=BATCHES,
    dtype=DTYPES,
    shift=st.lists(st.integers(-30, 30), min_size=3, max_size=3),
    each=st.booleans(),
    blocks=st.sampled_from([1, 3, 100]),
)
@settings(deadline=None)
@torch.no_grad()
def test_thresholds_of_wavelets_are_those_of_torch(
    name, shape, levels, batch, dtype, shift, each, blocks
) -> None:
    wavelet = OrthogonalWavelet(name, levels, shape)
    sparsifier = TightSparsifier(wavelet @ CyclicShift(tuple(shift[: len(shape)]), shape))
    x = random(11, *batch, *shape, dtype=dtype)
    lengths = random(12, *batch, dtype=torch.float64).abs()
    threshold = random(13, *shape, dtype=torch.float64).abs() if each else 0.7
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("_ROWS", "_PLANES"):
            patch.setattr(wavelet_passes, limit, blocks)
        patch.setattr(wavelet_passes, "_LARGE", 1)
        found = sparsifier.shrink(x, lengths, threshold)
    assert_close(found, by_torch(sparsifier.shrink, x, lengths, threshold))


@given(batch=BATCHES, dtype=DTYPES, both=st.booleans(), block=st.sampled_from([7, 1 << 18]))
@settings(deadline=None)
@torch.no_grad()
def test_updates_are_those_of_torch(batch, dtype, both, block) -> None:
    x, first, second = (random(seed, *batch, 5, 7, dtype=dtype) for seed in (14, 15, 16))
    a, b = (random(seed, *batch, dtype=torch.float64) for seed in (17, 18))
    arguments = (x, first, a, second if both else None, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "_BLOCK", block)
        assert_close(descended(*arguments), by_torch(descended, *arguments))
        point, mean = extrapolated(x, first, second, a, needs_point=both)
    with torch.enable_grad():
        expected_point, expected = extrapolated(x, first, second, a, needs_point=both)
    assert_close(mean, expected)
    assert (point is None) == (not both)
    if point is not None:
        assert_close(point, expected_point)


@pytest.mark.parametrize("name", ["haar", "db4", "undecimated-haar+undecimated-dct3", "coherent"])
@pytest.mark.parametrize("shares", [(0.3, 0.3), (0.3, None), (1.0, 1.0)])
@torch.no_grad()
def test_the_number_of_threads_changes_no_digit(name, shares, threads) -> None:
    """At any sampling: FFTs along both axes, along one, and of full data."""
    shape, generator = (150, 131), torch.Generator().manual_seed(19)
    mask = torch.ones(shape, dtype=torch.bool)
    if shares[0] < 1:
        size = shape if shares[1] is not None else (1, shape[1])
        mask = (torch.rand(size, generator=generator) < shares[0]).expand(shape)
    encoding = encoding_operator(mask, random(20, 8, *shape, dtype=torch.complex64))
    y = encoding(random(21, *shape, dtype=torch.complex64))
    sparsifier, preset = (None, name) if name == "coherent" else (name, "accurate")
    net = make_network(8, shape, preset=preset, sparsifier=sparsifier, layers=3)
    images = []
    for count in (1, 2, 3):
        threads(count)
        images.append(net(y, encoding))
    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0], images[2])


@given(
    name=st.sampled_from(["undecimated-haar", "undecimated-dct3", "undecimated-dct"]),
    joined=st.booleans(),
    shape=st.tuples(st.integers(4, 19), st.integers(4, 19)),
    batch=BATCHES,
    dtype=DTYPES,
    flat=st.booleans(),
    relaxation=st.sampled_from([1.0, 1.8]),
    rows=st.sampled_from([1, 3, 32]),
)
@settings(deadline=None)
@torch.no_grad()
def test_steps_of_frames_are_those_of_torch(
    name, joined, shape, batch, dtype, flat, relaxation, rows
) -> None:
    frame = make_sparsifier(f"{name}+undecimated-dct3" if joined else name, shape, None)
    x, more = (random(seed, *batch, *shape, dtype=dtype) for seed in (4, 5))
    lengths = random(6, *batch, dtype=torch.float64).abs()
    radius = 0.3 if flat else 0.3 * frame.band_norms
    q, expected_q = frame.zero_dual(x), frame.zero_dual(x)
    for image in (x, more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(frame_passes, "_ROWS", rows)
            q, image_of_q = frame.dual_step(q, image, lengths, radius, relaxation)
        expected_q, expected = by_torch(
            frame.dual_step, expected_q, image, lengths, radius, relaxation
        )
        assert_close(q, expected_q)
        assert_close(image_of_q, expected)


@torch.no_grad()
def test_the_compiled_step_is_the_one_that_is_taken(monkeypatch) -> None:
    """Otherwise the tests above would compare torch with torch."""
    calls = []
    real = kernels.kernels()
    counted = real._replace(
        **{name: lambda *a, name=name: calls.append(name) or 1.0 for name in real._fields}
    )
    modules = ("kernels", "wavelets", *(f"{kind}_passes" for kind in KINDS))
    others = "firenet.updates", "firenet.learned.firm"
    for module in (*(f"operators.{name}" for name in modules), *others):
        monkeypatch.setattr(f"firenet_mri.{module}.kernels", lambda: counted)
    # Two groups of coils.
    monkeypatch.setattr("firenet_mri.operators.residual_passes._BLOCK", 1)
    x = random(7, 8, 8)
    frame = make_sparsifier("undecimated-haar+undecimated-dct3", (8, 8), None)
    step = torch.tensor(0.1).double()
    for one in (frame, PhaseCoherent(make_sparsifier("undecimated-haar", (8, 8), 1), (4,))):
        one.dual_step(one.zero_dual(x), x, step, 0.3)
        slopes = dual_slopes(one, one.zero_dual(x), x, step, torch.tensor(0.3).double())
        slopes.step(slopes.zero(x), x, step)
    for mask in (None, torch.eye(8, dtype=torch.bool)):
        encoding_operator(mask, random(8, 2, 8, 8)).residual(random(9, 2, 8, 8))(x)
    for shape in ((8,), (8, 8), (4, 4, 4)):
        wavelet = TightSparsifier(OrthogonalWavelet("haar", 1, shape))
        wavelet.shrink(x.reshape(-1, *shape)[0], step, 0.1)
        wavelet(x.reshape(-1, *shape)[0])
        wavelet.adjoint(x.reshape(-1, *shape)[0])
    c, radii, rho = random(7, 1, 2, 3, 16).real, torch.ones(1, 2), torch.ones(2)
    firm_projection(c, radii, rho, (1, 2))
    firm_slopes(c, radii, rho, (1, 2), c)
    descended(x, x, step, x, step)
    extrapolated(x, x, x, step, needs_point=True)
    assert set(calls) == set(real._fields)


def test_results_on_disk_are_not_those_of_other_shared_loops() -> None:
    """Numba looks for changes in a function's own file only."""

    def changed(row, target):
        for n in range(row.size):
            target[n] = row[n] + 1

    own = {"copy_row": band_rows.copy_row}
    digests = [kernels._digest(functions) for functions in (own, own, {"copy_row": changed})]
    assert digests[0] == digests[1] != digests[2]
    compiled = kernels.kernels()._asdict()
    names = {name: function.py_func.__qualname__ for name, function in compiled.items()}
    digest = names["frame_step"].removeprefix("frame_step.")
    assert len(digest) == 8
    for name in ("frame_slopes", "frame_tangent", "coherent_step", "coherent_tangent", "split"):
        assert names[name] == f"{name}.{digest}"
    assert names["descend"] == "descend"


@pytest.mark.filterwarnings("ignore:.*jit.trace:DeprecationWarning")
def test_derivatives_and_transforms_are_left_to_torch() -> None:
    x = torch.ones(3)
    assert not kernels.can_compile(x)
    with torch.no_grad():
        assert kernels.can_compile(x)
        assert not kernels.can_compile(torch.nn.Parameter(x))
        with forward_ad.dual_level():
            assert not kernels.can_compile(x)
        seen = []
        torch.func.vmap(lambda row: seen.append(kernels.can_compile(row)) or row)(x)
        # Checking the trace would run the function once more, untraced.
        torch.jit.trace(
            lambda row: seen.append(kernels.can_compile(row)) or row * 2, x, check_trace=False
        )
    assert not any(seen)


@pytest.mark.parametrize("name", ["shrink", "frame", "residual"])
@torch.no_grad()
def test_nan_is_not_swallowed(name) -> None:
    x = random(10, 8, 8)
    x[2, 3] = torch.nan
    if name == "shrink":
        kernels.shrink_(x, torch.tensor(0.1).double(), 1.0)
        found = x
    elif name == "frame":
        frame = make_sparsifier("undecimated-haar", (8, 8), 1)
        _, found = frame.dual_step(frame.zero_dual(x), x, torch.tensor(0.1).double(), 0.2)
    else:
        found, norm = encoding_operator(None, random(8, 2, 8, 8)).residual(random(9, 2, 8, 8))(x)
        assert torch.isnan(norm)
    assert torch.isnan(torch.view_as_real(found)).any()


@given(
    name=st.sampled_from(["undecimated-haar", "undecimated-dct3"]),
    shape=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    planes=st.sampled_from([1, 2]),
    rows=st.sampled_from([2, 32]),
)
@settings(deadline=None, max_examples=10)
@torch.no_grad()
def test_slopes_are_the_derivative_of_the_step(name, shape, planes, rows) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_passes, "_ROWS", rows)
        _check_slopes(name, shape, planes)


def _check_slopes(name: str, shape: tuple[int, int], planes: int) -> None:
    frame = make_sparsifier(name, shape)
    bands = frame.codomain_shape[0]
    q, dq = (random(i, 2, planes, bands, *shape, dtype=torch.float64) for i in (1, 2))
    x, dx = (random(i, 2, planes, *shape, dtype=torch.float64) for i in (3, 4))
    lengths = torch.tensor([0.3, 2.0], dtype=torch.float64)
    radii = torch.linspace(0.5, 2, bands, dtype=torch.float64).reshape(-1, 1, 1)
    kept = q.clone()
    slopes = frame_passes.frame_slopes(q, x, lengths, radii, frame.filters)
    assert torch.equal(q, kept)
    moved = []
    for sign in (1, -1):
        # The step has the planes first.
        ahead = (q + sign * 1e-6 * dq).movedim(0, 1).contiguous()
        image = x + sign * 1e-6 * dx
        image = torch.complex(*image.unbind(1)) if planes == 2 else image.squeeze(1)
        part = frame_passes.FramePart(ahead, 1.0, radii, frame.filters)
        frame_passes.frame_steps_([part], image, lengths)
        moved.append(ahead.movedim(1, 0))
    tangent = dq.clone()
    image = frame_passes.frame_tangent_(tangent, dx, lengths, slopes, frame.filters)
    assert_close(tangent, (moved[0] - moved[1]) / 2e-6, 1e-6)
    assert_close(image, frame._synthesise(tangent))
