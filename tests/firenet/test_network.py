"""The network is batched, differentiable, scale-equivariant, without parameters, made of layers."""

from __future__ import annotations

import itertools
import weakref

import pytest
import torch
from laws import assert_close
from torch import Tensor

from firenet_mri import (
    FIRENET,
    AdaptiveSchedule,
    NetworkSchedule,
    PaperSchedule,
    PrimalDualLayer,
    RadialSchedule,
    RestartBlock,
)
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators import (
    MatrixOperator,
    OrthogonalWavelet,
    Sense,
    StationaryWavelet,
    encoding_operator,
)

SHAPE = (12, 9)
NETWORKS = {
    "paper": lambda: FIRENET(OrthogonalWavelet("haar", 2, SHAPE), 0.01),
    "network": lambda: FIRENET(StationaryWavelet(2, SHAPE), 0.01, schedule=NetworkSchedule(8)),
    "paper, analysis": lambda: FIRENET(StationaryWavelet(2, SHAPE), 0.01),
    "network, no sparsifier": lambda: FIRENET(None, 0.01, schedule=NetworkSchedule(8)),
}


@pytest.fixture
def encoding(randn) -> Sense:
    maps = randn(3, *SHAPE)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(5)) < 0.5
    return encoding_operator(mask, maps)


@pytest.fixture
def data(randn, encoding) -> Tensor:
    return encoding(randn(3, *SHAPE)) * torch.tensor([1e-2, 1, 1e3]).reshape(3, 1, 1, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_batch_items_do_not_talk(name, encoding, data) -> None:
    net = NETWORKS[name]()
    together = net(data, encoding)
    for item in range(3):
        assert_close(together[item], net(data[item], encoding))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 7.0, 1e8])
def test_image_scales_with_the_data(name, scale, encoding, data) -> None:
    net = NETWORKS[name]()
    assert_close(net(scale * data, encoding), scale * net(data, encoding), 1e-11)
    single = data.to(torch.complex64)
    assert_close(net(scale * single, encoding), (scale * net(single, encoding)), tolerance=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_of_the_whole_network_is_right(name, encoding, data) -> None:
    net = NETWORKS[name]()
    y = data[1].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: net(z, encoding), y, fast_mode=True)


@pytest.mark.parametrize("name", NETWORKS)
def test_last_iterate_is_the_output(name, encoding, data) -> None:
    net = NETWORKS[name]()
    *_, (restart, inner, last) = net.iterates(data, encoding)
    assert (restart, inner) == (len(net.schedule.depths), net.schedule.depths[-1])
    assert_close(last, net(data, encoding), 1e-15)


def test_all_zero_item_gives_a_zero_image_and_leaves_the_others_alone(encoding, data) -> None:
    net = NETWORKS["network"]()
    with_zero = data.clone()
    with_zero[1] = 0
    image = net(with_zero, encoding)
    assert not image[1].any()
    assert_close(image[0], net(data, encoding)[0])


def test_network_has_layers_and_no_parameters() -> None:
    net = FIRENET(schedule=PaperSchedule(restarts=3, inner=4))
    assert net.depth == 12
    assert not list(net.parameters())
    assert not net.state_dict()
    assert sum(isinstance(module, PrimalDualLayer) for module in net.modules()) == 12
    assert sum(isinstance(module, RestartBlock) for module in net.modules()) == 3
    assert "PaperSchedule(restarts=3" in repr(net)


@pytest.mark.parametrize("name", NETWORKS)
def test_states_of_past_layers_are_let_go(name, encoding, data) -> None:
    """Without gradients the memory of a network does not grow with its depth."""
    net, states = NETWORKS[name](), []
    with torch.no_grad():
        net(data, encoding)  # What compiles at the first run holds on to the arrays it saw.

    def watch(_module, _inputs, state) -> None:
        states.append(weakref.ref(state.mean))
        assert sum(state() is not None for state in states) <= 3

    for module in net.modules():
        if isinstance(module, PrimalDualLayer):
            module.register_forward_hook(watch)
    with torch.no_grad():
        net(data, encoding)
    assert len(states) == net.depth


def test_layers_can_be_hooked(encoding, data) -> None:
    net = NETWORKS["network"]()
    calls = []
    for module in net.modules():
        if isinstance(module, PrimalDualLayer):
            module.register_forward_hook(lambda *_: calls.append(1))
    net(data, encoding)
    assert len(calls) == net.depth == 8


@pytest.mark.parametrize("sparsifier", [None, StationaryWavelet(2, (20,))])
def test_width_is_what_a_layer_hands_on(sparsifier, randn) -> None:
    encoding = MatrixOperator(randn(7, 20))
    net = FIRENET(sparsifier, schedule=NetworkSchedule(3))
    handed = []
    for module in net.modules():
        if isinstance(module, PrimalDualLayer):
            module.register_forward_hook(lambda _, __, state: handed.append(state))
    net(randn(7), encoding)
    tensors = [part for part in handed[-1] if part is not None and part.ndim > 0]
    reals = sum(part.numel() * (2 if part.is_complex() else 1) for part in tensors)
    assert net.width(encoding) == reals // 2


def test_start_image_is_used_and_checked(encoding, data, randn) -> None:
    net = FIRENET(StationaryWavelet(2, SHAPE), 0.01, schedule=NetworkSchedule(1))
    x0 = randn(3, *SHAPE)
    assert_close(net(data, encoding, x0), x0)
    with pytest.raises(ShapeError, match="x0"):
        net(data, encoding, x0[:2])


def test_inputs_are_not_changed(encoding, data) -> None:
    before = data.clone()
    NETWORKS["network"]()(data, encoding)
    assert torch.equal(before, data)


def test_zero_operator_is_refused() -> None:
    with pytest.raises(DataError, match="zero"):
        FIRENET()(torch.ones(3), MatrixOperator(torch.zeros(3, 4)))


def test_data_of_another_shape_are_refused(encoding, randn) -> None:
    with pytest.raises(ShapeError, match="it takes"):
        FIRENET()(randn(2, *SHAPE), encoding)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PaperSchedule(restarts=0),
        lambda: PaperSchedule(inner=-1),
        lambda: PaperSchedule(tau=0.0),
        lambda: PaperSchedule(nu=1.0),
        lambda: PaperSchedule(delta=-1.0),
        lambda: NetworkSchedule(layers=0),
        lambda: NetworkSchedule(tau=float("nan")),
        lambda: NetworkSchedule(decay=1.5),
        lambda: NetworkSchedule(eps0=0.0),
    ],
)
def test_schedules_refuse_parameters_that_make_no_sense(make) -> None:
    with pytest.raises(UsageError, match="is"):
        make()


def test_primal_steps_shrink_by_e_a_restart() -> None:
    blocks = PaperSchedule(delta=0.0).blocks(1.0)
    ratios = [a[0].tau / b[0].tau for a, b in itertools.pairwise(blocks)]
    assert ratios == pytest.approx([2.718281828] * 4)
    assert all(step.tau * step.sigma == pytest.approx(1) for block in blocks for step in block)


@pytest.mark.parametrize("schedule", [AdaptiveSchedule(1e-2), RadialSchedule(0.3)])
def test_solvers_run_behind_the_same_network(schedule, encoding, data) -> None:
    net = FIRENET(StationaryWavelet(2, SHAPE), 0.05, schedule=schedule)
    result = net.converge(data, encoding)
    assert bool(result.converged.all())
    assert result.layers < net.depth == schedule.max_layers
    state = net.solve(data, encoding)
    assert torch.equal(state.x, result.state.x)
    assert net.lipschitz_bound(encoding) is None
    gap = net.problem(encoding).duality_gap(state.x, data, state.v, state.q)
    objective = net.problem(encoding).objective(state.x, data)
    assert bool((gap / objective <= schedule.relative_gap * (1 + 1e-6)).all())
    assert len(net.state_dict()) == 0


@pytest.mark.parametrize(
    "schedule",
    [
        PaperSchedule(3, 4),
        NetworkSchedule(5, data_consistency=0.5),
        AdaptiveSchedule(1e-9, max_layers=10),
        AdaptiveSchedule(1e-1),
        RadialSchedule(1e-9, max_layers=100),
        RadialSchedule(0.3),
    ],
)
@torch.no_grad()
def test_progress_of_every_solver_ends_at_its_image(schedule, encoding, data) -> None:
    net = FIRENET(StationaryWavelet(2, SHAPE), 0.05, schedule=schedule)
    looks = [(look, look.state()) for look in net.progress_iterates(data, encoding)]
    (last, state), expected = looks[-1], net.solve(data, encoding)
    assert torch.equal(last.x, net(data, encoding))
    for found, wanted in zip(state, expected, strict=True):
        assert torch.equal(found, wanted)
    if last.converged:
        assert len(looks) <= net.solver.updates
    else:
        assert len(looks) == net.solver.updates
    assert not any(look.converged for look, _ in looks[:-1])
    assert last.converged is (not net.solver.is_fixed and schedule.relative_gap > 1e-3)


def test_obstacle_is_said_exactly_where_no_constant_is_certified(encoding) -> None:
    fixed = FIRENET(schedule=NetworkSchedule(3))
    assert fixed.obstacle() is None
    assert fixed.obstacle(has_start=True).endswith("the scale eps0 must be fixed.")
    assert FIRENET(schedule=NetworkSchedule(3, eps0=1.0)).obstacle(has_start=True) is None
    reweighted = FIRENET(schedule=NetworkSchedule(3), weights_depend_on_data=True)
    assert "reweighting" in reweighted.obstacle()
    assert reweighted.lipschitz_bound(encoding) is None
    assert "AdaptiveSchedule uses the data" in FIRENET(schedule=AdaptiveSchedule()).obstacle()
    long = FIRENET(schedule=PaperSchedule(norm=0.1))
    assert long.obstacle() is None
    assert long.obstacle(encoding=encoding).endswith("for PaperSchedule with these steps.")


def test_what_a_solver_or_a_fixed_network_cannot_do_is_refused(encoding, data) -> None:
    solver = FIRENET(OrthogonalWavelet("haar", 2, SHAPE), 0.05, schedule=AdaptiveSchedule())
    with pytest.raises(UsageError, match="no fixed layers"):
        next(solver.iterates(data, encoding))
    with pytest.raises(UsageError, match="fixed depth"):
        FIRENET(None, 0.05).converge(data, encoding)
    with pytest.raises(UsageError, match="shift_seed"):
        FIRENET(solver.sparsifier, 0.05, schedule=AdaptiveSchedule(), shift_seed=0)
