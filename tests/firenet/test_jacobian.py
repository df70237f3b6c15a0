"""The derivative layer by layer is that of automatic differentiation, and its norm is enclosed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from jacobians import as_real, jacobian_of, jacobian_of_batches, norm_of, solution_of
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule, WARPdSchedule
from firenet_mri.amplification import jacobian_bounds
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.operators import (
    CartesianFourier,
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
    encoding_operator,
)
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.reconstruction.amplification import measure_amplification


def small_problem(seed: int, complex_data: bool) -> tuple[MatrixOperator, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if complex_data else torch.float64
    matrix = torch.randn(10, 16, dtype=dtype, generator=generator) / 3
    y = matrix[:, :3].sum(1) + 0.1 * torch.randn(10, dtype=dtype, generator=generator)
    return MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2))), y


SPARSIFIERS = {
    "identity": lambda: None,
    "unitary": lambda: OrthogonalWavelet("haar", 2, (16,)),
    "frame": lambda: StationaryWavelet(2, (16,)),
}
SCHEDULES = [
    PaperSchedule(restarts=2, inner=4),
    PaperSchedule(restarts=3, inner=3, eps0=1.5),
    NetworkSchedule(12),
    NetworkSchedule(7, eps0=2.0, data_consistency=0.7),
    WARPdSchedule(3, 3),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("complex_data", [False, True])
def test_derivative_and_its_transpose_are_those_of_automatic_differentiation(
    name, schedule, complex_data, randn
) -> None:
    encoding, y = small_problem(1, complex_data)
    weights = torch.linspace(0.5, 2, 16, dtype=torch.float64)
    seed = 3 if name == "unitary" else None
    net = FIRENET(SPARSIFIERS[name](), 0.05, weights, schedule, seed)
    expected = jacobian_of_batches(lambda data: net(data, encoding), y)
    jacobian = jacobian_of(net, y, encoding)
    for _ in range(2):
        u, image = randn(10, dtype=y.dtype), randn(16, dtype=y.dtype)
        torch.testing.assert_close(as_real(jacobian.forward(u)), expected @ as_real(u))
        torch.testing.assert_close(as_real(jacobian.transpose(image)), expected.T @ as_real(image))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_both_sides_enclose_the_norm(name, schedule) -> None:
    for seed in range(2):
        encoding, y = small_problem(seed, complex_data=seed > 0)
        net = FIRENET(SPARSIFIERS[name](), 0.05, schedule=schedule)
        norm = norm_of(jacobian_of_batches(lambda data: net(data, encoding), y))  # noqa: B023
        bounds = jacobian_bounds(jacobian_of(net, y, encoding), y)
        assert bounds.lower <= norm * (1 + 1e-12)
        assert norm <= bounds.upper * (1 + 1e-12) <= 1.15 * bounds.lower * (1 + 1e-9)


def test_a_batch_is_refused() -> None:
    encoding, y = small_problem(2, complex_data=True)
    with pytest.raises(UsageError, match="one item"):
        jacobian_of(FIRENET(lam=0.05), torch.stack([y, y]), encoding)


def test_coils_in_single_precision_are_enclosed_below_the_proven_bound(randn) -> None:
    maps = randn(3, 16, 16, dtype=torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    encoding = encoding_operator(mask, maps)
    image = torch.zeros(16, 16, dtype=torch.complex64)
    image[4:9, 5:12] = 1
    y = encoding(image) + 0.01 * randn(3, 16, 16, dtype=torch.complex64) * mask
    net = FIRENET(StationaryWavelet(2, (16, 16)), 0.02, schedule=NetworkSchedule())
    bounds = jacobian_bounds(jacobian_of(net, y, encoding), y, sampled=mask)
    proven = net.lipschitz_bound(encoding)
    assert proven is not None
    assert 0.1 * proven < bounds.lower < 2**0.5 * proven
    # The network, run on changed data, confirms the derivative.
    double = y.to(torch.complex128)
    u = 1e-7 * y.norm() * bounds.change
    difference = (net(double + u, encoding) - net(double - u, encoding)) / 2
    expected = 1e-7 * y.norm() * bounds.image
    assert (difference - expected).norm() < 1e-4 * difference.norm()


@pytest.mark.parametrize("sparsifier", ["undecimated-haar+undecimated-dct3", "tv", "dual-tree"])
def test_compiled_and_grouped_frames_are_those_of_automatic_differentiation(
    sparsifier, randn
) -> None:
    shape = (8, 9) if sparsifier != "dual-tree" else (8, 12)
    encoding = CartesianFourier(torch.rand(shape) < 0.7, shape)
    y = encoding(randn(*shape))
    net = FIRENET(make_sparsifier(sparsifier, shape), 0.05, schedule=NetworkSchedule(6))
    jacobian = jacobian_of(net, y, encoding)
    u = randn(*shape)
    expected = torch.autograd.functional.jvp(lambda data: net(data, encoding), y, u)[1]
    # The compiled passes keep their slopes in single precision.
    torch.testing.assert_close(jacobian.forward(u), expected, rtol=1e-5, atol=1e-6)
    image = randn(*shape)
    back = torch.autograd.functional.vjp(lambda data: net(data, encoding), y, image)[1]
    torch.testing.assert_close(jacobian.transpose(image), back, rtol=1e-5, atol=1e-6)
    # But one is the transpose of the other.
    inner = float((jacobian.forward(u).conj() * image).real.sum())
    assert float((u.conj() * jacobian.transpose(image)).real.sum()) == pytest.approx(inner, 1e-12)


def test_same_seed_gives_the_same_numbers() -> None:
    encoding, y = small_problem(4, complex_data=True)
    solution = solution_of(FIRENET(None, 0.05, schedule=NetworkSchedule(8)), y, encoding)
    entries = [measure_amplification(solution, seed=seed).entries for seed in (7, 7, 8)]
    assert entries[0] == entries[1]
    assert entries[0] != entries[2]


def test_measuring_leaves_the_network_as_it_was() -> None:
    encoding, y = small_problem(4, complex_data=True)
    net = FIRENET(lam=0.1)
    jacobian_of(net, y, encoding)
    assert not any(module._forward_hooks for module in net.modules())


def test_what_has_no_jacobian_is_named() -> None:
    encoding, y = small_problem(4, complex_data=True)
    adaptive = FIRENET(lam=0.05, schedule=AdaptiveSchedule(1e-2))
    with pytest.raises(UsageError, match="AdaptiveSchedule lets the data decide"):
        jacobian_of(adaptive, y, encoding)
    started = replace(solution_of(FIRENET(), y, encoding), x0=torch.zeros(16, dtype=y.dtype))
    cases = {
        "depending on the data": solution_of(adaptive, y, encoding),
        "no signal": solution_of(FIRENET(), 0 * y, encoding),
        "start image": started,
    }
    for said, solution in cases.items():
        (entry,) = measure_amplification(solution).entries
        assert entry.status == "not verified"
        assert said in entry.statement
