"""The loop stays on the device: no number goes to the host, and a layer is one graph."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from firenet_mri import FIRENET, NetworkSchedule
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.operators import encoding_operator

SHAPE = (16, 20)
NAMES = ["undecimated-haar", "haar", "db4"]


def case(name: str):
    """Return network, data and encoding of a small scan in single precision."""
    generator = torch.Generator().manual_seed(0)
    draw = {"dtype": torch.complex64, "generator": generator}
    mask = torch.rand(SHAPE, generator=generator) < 0.5
    maps = torch.randn(3, *SHAPE, **draw)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    net = make_network(3, SHAPE, sparsifier=name, levels=2, layers=4)
    return net, torch.randn(3, *SHAPE, **draw) * mask, encoding_operator(mask, maps)


class NoNumberToTheHost(TorchDispatchMode):
    """Fails where a tensor is turned into a Python number."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number goes to the host"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_layers_send_no_number_to_the_host(name, recorded) -> None:
    net, y, encoding = case(name)
    problem, residual = net.problem(encoding), encoding.residual(y)
    tau = torch.tensor(0.5)
    with torch.set_grad_enabled(recorded), NoNumberToTheHost():
        state = start(problem, torch.zeros(SHAPE, dtype=torch.complex64))
        for _ in range(2):
            state = step(problem, residual, state, tau, 1 / (problem.norm_bound**2 * tau))
    with pytest.raises(AssertionError, match="host"), NoNumberToTheHost():
        float(state.x.abs().max())


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_is_one_graph(name) -> None:
    """torch.compile meets no break; the eager backend leaves the arithmetic alone."""
    net, y, encoding = case(name)
    problem, residual = net.problem(encoding), encoding.residual(y)
    tau = torch.tensor(0.5)
    sigma = 1 / (problem.norm_bound**2 * tau)

    def layer(state):
        return step(problem, residual, state, tau, sigma)

    with torch.no_grad():
        after = layer(start(problem, encoding.adjoint(y)))
        # Clones, since tracing trips over inputs that are views of real numbers.
        state = type(after)(*(None if part is None else part.clone() for part in after))
        compiled = torch.compile(layer, backend="eager", fullgraph=True)(state)
        assert torch.allclose(compiled.x, layer(state).x)


@pytest.mark.cuda
@pytest.mark.parametrize("name", NAMES)
def test_images_of_both_devices_agree_and_repeat(name) -> None:
    net, y, encoding = case(name)
    expected = net(y, encoding)
    found = [net.cuda()(y.cuda(), encoding.cuda()) for _ in range(2)]
    assert torch.equal(*found)
    assert torch.allclose(found[0].cpu(), expected, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.cuda
@pytest.mark.parametrize("name", NAMES)
def test_a_network_can_be_captured_in_a_cuda_graph(name) -> None:
    net, y, encoding = case(name)
    net, y, encoding = net.cuda(), y.cuda(), encoding.cuda()
    problem, residual = net.problem(encoding), encoding.residual(y)
    tau = torch.tensor(0.5, device="cuda")
    sigma = 1 / (problem.norm_bound**2 * tau)
    with torch.no_grad():
        state = start(problem, encoding.adjoint(y))
        expected = step(problem, residual, state, tau, sigma).x
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = step(problem, residual, state, tau, sigma).x
        graph.replay()
    assert torch.equal(captured, expected)


def test_same_input_same_bits() -> None:
    net, y, encoding = case("undecimated-haar")
    assert torch.equal(net(y, encoding), net(y, encoding))
    assert isinstance(net, FIRENET)
    assert isinstance(net.schedule, NetworkSchedule)
