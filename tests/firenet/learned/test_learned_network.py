"""A learned network keeps its constant, whatever its weights, and its derivative is its own."""

from __future__ import annotations

import math

import pytest
import torch
from learned_networks import SMALL, small_network
from torch import Tensor

from firenet_mri.amplification import jacobian_bounds
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.derivative import Change, inner
from firenet_mri.firenet.learned import network
from firenet_mri.firenet.learned.conditions import conditions_for
from firenet_mri.firenet.learned.network import Architecture, LearnedNetwork
from firenet_mri.operators import CartesianFourier, LinearOperator, SenseSets, encoding_operator

SIZE = 14


class Scaled(LinearOperator):
    """c A, as density weights scale an encoding."""

    def __init__(self, operator: LinearOperator, factor: float) -> None:
        shapes = operator.domain_shape, operator.codomain_shape
        super().__init__(*shapes, factor * operator.norm_bound)
        self.operator, self.factor = operator, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.operator(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.factor * self.operator.adjoint(y)


def encoding_of(kind: str) -> LinearOperator:
    generator = torch.Generator().manual_seed(3)
    maps = torch.randn(2, 3, SIZE, SIZE, dtype=torch.complex128, generator=generator)
    mask = torch.rand(1, SIZE, SIZE, generator=generator) < 0.5
    if kind == "two map sets":
        q, _ = torch.linalg.qr(maps.permute(2, 3, 1, 0))
        sets = q.permute(3, 2, 0, 1).contiguous()
        return SenseSets(sets, CartesianFourier(mask, (SIZE, SIZE)))
    one = maps[0] / torch.linalg.vector_norm(maps[0], dim=0)
    sense = encoding_operator(mask, one, 2)
    return Scaled(sense, {"norm 3": 3.0, "norm 0.3": 0.3}.get(kind, 1.0))


def data_of(encoding: LinearOperator, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (*encoding.domain_shape,)
    x = torch.zeros(shape, dtype=torch.complex128)
    x[3:9, 4:11] = 1 + 0.5j
    y = encoding(x)
    return y + 0.05 * encoding(torch.randn(*shape, dtype=y.dtype, generator=generator))


KINDS = pytest.mark.parametrize("kind", ["norm 1", "norm 3", "norm 0.3", "two map sets"])


@KINDS
@pytest.mark.parametrize("ball", [2.5, 0.2])
def test_the_derivative_is_that_of_finite_differences_and_its_transpose_fits(kind, ball) -> None:
    encoding, net = encoding_of(kind), small_network()
    net.ball = ball
    y = data_of(encoding)
    derivative = net.derivative(y, encoding)
    u = data_of(encoding, 2) * 1j
    # At a fixed ||y|| alone: the scale is another part of the whole.
    u = u - inner(y, u) / inner(y, y) * y
    step = 1e-6
    expected = (net(y + step * u, encoding) - net(y - step * u, encoding)) / (2 * step)
    change = Change(encoding.adjoint(u), inner(y, u))
    found = derivative.forward(change)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(derivative.x, net(y, encoding), rtol=1e-12, atol=1e-12)
    image = encoding.adjoint(data_of(encoding, 3))
    back, start = derivative.transpose(image)
    assert inner(image, found) == pytest.approx(inner(back.back, change.back), rel=1e-10)
    assert not start.any()


@pytest.mark.parametrize(
    ("kind", "seed"),
    [
        ("norm 1", 0),
        ("norm 3", 1),
        ("norm 0.3", 2),
        ("two map sets", 3),
        *(pytest.param("norm 1", seed, marks=pytest.mark.slow) for seed in range(4, 16)),
    ],
)
def test_no_attack_exceeds_the_proven_constant(monkeypatch, kind, seed) -> None:
    encoding = encoding_of(kind)
    net = wild_network(seed)
    y = data_of(encoding, seed)
    hold_levels(monkeypatch, y, encoding)
    bound = net.lipschitz_bound_everywhere(encoding)
    # The least number that the network amplifies vanishing changes by, with its scale.
    found = jacobian_bounds(lambda data: net(data, encoding), y, ratio=1.01, most=8, seed=seed)
    assert found.lower <= bound
    change = largest_change(net, encoding, y, found.change)
    moved = torch.linalg.vector_norm(net(y + change, encoding) - net(y, encoding))
    assert moved <= bound * torch.linalg.vector_norm(change)


def hold_levels(monkeypatch, y: Tensor, encoding: LinearOperator) -> None:
    """Hold the conditions at those of y, as the bound does, whatever the data are."""
    pixels = math.sqrt(math.prod(encoding.domain_shape))
    y = y / torch.linalg.vector_norm(y) * pixels
    held = conditions_for(encoding, y, encoding.residual(y), torch.tensor(pixels**2))
    monkeypatch.setattr(network, "conditions_for", lambda *_: held.expand(1, -1))


def largest_change(net: LearnedNetwork, encoding, y: Tensor, start: Tensor) -> Tensor:
    """Return a change of a tenth of y, climbed from one that vanishing changes are worst along."""
    change = 0.1 * torch.linalg.vector_norm(y) * start
    size = torch.linalg.vector_norm(change)
    image = net(y, encoding)
    for _ in range(5):
        change = change.detach().requires_grad_()
        gain = torch.linalg.vector_norm(net(y + change, encoding) - image)
        (gradient,) = torch.autograd.grad(gain, change)
        change = change + 0.5 * size * gradient / torch.linalg.vector_norm(gradient)
        change = change * size / torch.linalg.vector_norm(change)
    return change.detach()


def wild_network(seed: int) -> LearnedNetwork:
    """Return a network whose weights no training would find: long steps, expanding layers."""
    net = small_network(seed)
    generator = torch.Generator().manual_seed(seed)
    for stage in net.stages:
        stage.firmness.copy_(torch.rand(stage.firmness.shape, generator=generator))
        stage.coefficients.copy_(torch.tensor([1.9, 0.9 * torch.rand((), generator=generator)]))
        stage.filters.copy_(torch.randn(stage.filters.shape, generator=generator) / 5)
        stage.log_radii.sub_(2 * torch.rand(stage.log_radii.shape, generator=generator))
        stage.slopes.copy_(0.2 * torch.randn(stage.slopes.shape, generator=generator))
    return net


def test_the_constant_is_nearly_reached_by_one_stage() -> None:
    # Else the attack could miss a constant that is far too small.
    net = small_network(0, Architecture(stages=1, singles=1, groups=0, kernel=1))
    net.stages[0].filters.fill_(1.4)
    net.stages[0].firmness.fill_(0.5)
    encoding = encoding_of("norm 1")
    y = data_of(encoding)
    net.stages[0].log_radii.fill_(math.log(0.7))
    found = jacobian_bounds(lambda data: net(data, encoding), y, most=20)
    bound = net.lipschitz_bound_everywhere(encoding)
    assert 0.5 * bound < found.lower <= bound


def test_the_constant_follows_weights_that_are_changed() -> None:
    net, encoding = small_network(), encoding_of("norm 1")
    before = net.lipschitz_bound(encoding)
    net.stages[1].firmness.mul_(4)
    assert net.lipschitz_bound(encoding) > 1.05 * before
    net.stages[1].coefficients.mul_(9)
    with pytest.raises(UsageError, match="stage 2"):
        net.lipschitz_bound(encoding)


def test_the_constant_is_that_of_data_divided_by_the_norm() -> None:
    net = small_network()
    one = net.lipschitz_bound(encoding_of("norm 1"))
    assert net.lipschitz_bound(encoding_of("norm 3")) == pytest.approx(one / 3)
    assert net.lipschitz_bound(encoding_of("norm 0.3")) == pytest.approx(one)
    assert net.radius(encoding_of("norm 0.3")) == pytest.approx(2.5 / 0.3)


def test_the_last_of_the_iterates_is_the_image_and_every_stage_is_counted() -> None:
    net, encoding = small_network(), encoding_of("norm 1")
    y = data_of(encoding)
    counted: list[int] = []
    for layer in net.layers:
        layer.register_forward_hook(lambda *_: counted.append(1))
    looks = list(net.progress_iterates(y, encoding))
    assert len(looks) == len(counted) == net.updates == net.depth == SMALL.stages
    assert torch.equal(looks[-1].x, net.solve(y, encoding).x)
    assert torch.equal(looks[-1].state().x, looks[-1].x)


def test_what_it_was_not_made_for_is_refused() -> None:
    net, encoding = small_network(), encoding_of("norm 1")
    y = data_of(encoding)
    with pytest.raises(UsageError, match="begins at zero; leave the start image out"):
        net(y, encoding, torch.zeros(SIZE, SIZE))
    volume = encoding_operator(None, torch.ones(1, 4, 4, 4, dtype=torch.complex64), 3)
    with pytest.raises(ShapeError, match="for 2D images"):
        net(torch.ones(1, 4, 4, 4, dtype=torch.complex64), volume)
    with pytest.raises(UsageError, match="one item"):
        net.derivative(torch.stack([y, y]), encoding)


@pytest.mark.cuda
def test_the_image_and_its_derivative_are_the_same_on_a_gpu() -> None:
    net, encoding = small_network(), encoding_of("norm 1")
    y, image = data_of(encoding), encoding.adjoint(data_of(encoding, 3))
    here = net.derivative(y, encoding)
    net, encoding = net.cuda(), encoding.cuda()
    there = net.derivative(y.cuda(), encoding)
    torch.testing.assert_close(there.x.cpu(), here.x, rtol=1e-9, atol=1e-9)
    found, expected = (one.transpose(image.to(one.x))[0].back for one in (there, here))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-9, atol=1e-9)
