"""The measured gain is that of the network's Jacobian: never above it, near it after a while."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule, WARPdSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.jacobian import Jacobian, jacobian_norm_estimate
from firenet_mri.operators import (
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
    encoding_operator,
)


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


def automatic_jacobian(net: FIRENET, encoding: MatrixOperator, y: Tensor) -> Tensor:
    """Return the real Jacobian, (image, data), by automatic differentiation of the network."""

    def real_map(data: Tensor) -> Tensor:
        image = net(torch.view_as_complex(data) if y.is_complex() else data, encoding)
        return torch.view_as_real(image) if image.is_complex() else image

    point = torch.view_as_real(y) if y.is_complex() else y
    return torch.autograd.functional.jacobian(real_map, point).reshape(-1, point.numel())


def as_real(values: Tensor) -> Tensor:
    return torch.view_as_real(values).flatten() if values.is_complex() else values.flatten()


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
    expected = automatic_jacobian(net, encoding, y)
    jacobian = Jacobian(net, y, encoding)
    for _ in range(2):
        u, image = randn(10, dtype=y.dtype), randn(16, dtype=y.dtype)
        torch.testing.assert_close(as_real(jacobian.forward(u)), expected @ as_real(u))
        torch.testing.assert_close(as_real(jacobian.transpose(image)), expected.T @ as_real(image))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_measured_gain_grows_to_the_norm_and_never_beyond(name, schedule) -> None:
    for seed in range(3):
        encoding, y = small_problem(seed, complex_data=seed > 0)
        net = FIRENET(SPARSIFIERS[name](), 0.05, schedule=schedule)
        norm = float(torch.linalg.matrix_norm(automatic_jacobian(net, encoding, y), 2))
        gains = [float(jacobian_norm_estimate(net, y, encoding, steps=k)) for k in (1, 3, 8)]
        assert gains == sorted(gains)
        assert gains[-1] <= norm * (1 + 1e-12)
        assert gains[-1] > 0.99 * norm


def test_items_of_a_batch_are_measured_alone() -> None:
    encoding, y = small_problem(2, complex_data=True)
    _, other = small_problem(5, complex_data=True)
    net = FIRENET(StationaryWavelet(2, (16,)), 0.05, schedule=NetworkSchedule(8))
    batch = torch.stack([y, 1e3 * other])
    together = Jacobian(net, batch, encoding)
    u = torch.stack([other, y])
    for index, item in enumerate(batch):
        alone = Jacobian(net, item, encoding)
        torch.testing.assert_close(together.forward(u)[index], alone.forward(u[index]))
    gains = jacobian_norm_estimate(net, batch, encoding, steps=8)
    assert gains.shape == (2,)
    expected = jacobian_norm_estimate(net, other, encoding, steps=8)
    assert gains[1] == pytest.approx(float(expected), rel=0.02)


def test_gain_lies_below_the_bound_on_coils_in_single_precision(randn) -> None:
    maps = randn(3, 16, 16, dtype=torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(16, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    encoding = encoding_operator(mask, maps)
    image = torch.zeros(16, 16, dtype=torch.complex64)
    image[4:9, 5:12] = 1
    y = encoding(image) + 0.01 * randn(3, 16, 16, dtype=torch.complex64) * mask
    net = FIRENET(StationaryWavelet(2, (16, 16)), 0.02, schedule=NetworkSchedule())
    gain = float(jacobian_norm_estimate(net, y, encoding))
    bound = net.lipschitz_bound(encoding)
    assert bound is not None
    assert 0.1 * bound < gain < 2**0.5 * bound
    # The network, run on changed data, confirms the derivative.
    double = y.to(torch.complex128)
    jacobian = Jacobian(net, double, encoding)
    u = encoding(randn(16, 16))
    u = 1e-7 * y.norm() * u / u.norm()
    difference = (net(double + u, encoding) - net(double - u, encoding)) / 2
    assert (difference - jacobian.forward(u)).norm() < 1e-4 * difference.norm()


def test_same_seed_gives_the_same_number() -> None:
    encoding, y = small_problem(4, complex_data=True)
    net = FIRENET(None, 0.05, schedule=NetworkSchedule(8))
    first = jacobian_norm_estimate(net, y, encoding, steps=2, seed=7)
    assert torch.equal(first, jacobian_norm_estimate(net, y, encoding, steps=2, seed=7))
    assert not torch.equal(first, jacobian_norm_estimate(net, y, encoding, steps=2, seed=8))


def test_all_zero_data_have_a_finite_gain() -> None:
    encoding, y = small_problem(4, complex_data=True)
    gain = jacobian_norm_estimate(FIRENET(lam=0.1), 0 * y, encoding)
    assert torch.isfinite(gain)


def test_measuring_leaves_the_network_as_it_was() -> None:
    encoding, y = small_problem(4, complex_data=True)
    net = FIRENET(lam=0.1)
    jacobian_norm_estimate(net, y, encoding, steps=1)
    assert not any(module._forward_hooks for module in net.modules())


def test_what_has_no_jacobian_is_refused() -> None:
    encoding, y = small_problem(4, complex_data=True)
    with pytest.raises(UsageError, match="AdaptiveSchedule decides by the data"):
        jacobian_norm_estimate(FIRENET(schedule=AdaptiveSchedule()), y, encoding)
    with pytest.raises(UsageError, match="start image"):
        jacobian_norm_estimate(FIRENET(), y, encoding, x0=torch.zeros(16, dtype=y.dtype))
    with pytest.raises(UsageError, match="0 steps"):
        jacobian_norm_estimate(FIRENET(), y, encoding, steps=0)
