"""The gap-adaptive solver: certified, batched, scale-invariant, and quicker than fixed steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveResult, AdaptiveSchedule
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.problem import (
    Lasso,
    Problem,
    QuadraticallyConstrainedBasisPursuit,
    SquareRootLasso,
)
from firenet_mri.firenet.radial import RadialSchedule
from firenet_mri.operators import (
    CartesianFourier,
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
)

SHAPE = (16, 16)
SPARSIFIERS = {
    "identity": lambda: None,
    "unitary": lambda: OrthogonalWavelet("haar", 3, SHAPE),
    "frame": lambda: StationaryWavelet(2, SHAPE),
}


def encoding() -> CartesianFourier:
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[8, 8] = True
    return CartesianFourier(mask, SHAPE)


def noisy_data(noise: float = 0.02) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    image = torch.zeros(SHAPE, dtype=torch.complex128)
    image[4:10, 3:12] = 1
    image[6:8, 5:7] = 2j
    operator = encoding()
    y = operator(image)
    e = operator(torch.randn(SHAPE, dtype=torch.complex128, generator=generator))
    return y + noise * y.norm() * e / e.norm()


def solve(problem: Problem, y: Tensor, **options) -> AdaptiveResult:
    batch = y.shape[: y.ndim - len(problem.data_axes)]
    x0 = torch.zeros(*batch, *problem.encoding.domain_shape, dtype=y.dtype)
    return AdaptiveBlock(AdaptiveSchedule(**options))(problem, y, x0)


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("lam", [1e-3, 0.15])
def test_gap_that_was_asked_for_is_reached_and_can_be_checked(name, lam) -> None:
    """lam = 1e-3 fits the data exactly, 0.15 leaves a residual."""
    problem, y = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=lam), noisy_data()
    result = solve(problem, y, relative_gap=1e-4)
    assert bool(result.converged)
    assert 0 <= float(result.relative_gap) <= 1e-4
    x, v, q, *_ = result.state
    gap, objective = problem.duality_gap(x, y, v, q), problem.objective(x, y)
    assert gap <= 1.001e-4 * objective
    residual = float((problem.encoding(x) - y).norm() / y.norm())
    assert (residual > 1e-3) is (lam == 0.15)


@pytest.mark.parametrize(
    "name", ["identity", pytest.param("unitary", marks=pytest.mark.slow), "frame"]
)
def test_reported_gap_is_at_least_the_true_one(name) -> None:
    problem, y = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.03), noisy_data()
    net = FIRENET(problem.sparsifier, 0.03, schedule=NetworkSchedule(1500, 0.5, 1.0))
    with torch.no_grad():
        best = problem.objective(net(y, problem.encoding), y)
    block = AdaptiveBlock(AdaptiveSchedule(relative_gap=1e-6, max_layers=200))
    looks = list(block.iterates(problem, y, torch.zeros(SHAPE, dtype=y.dtype)))
    for look in looks:
        objective = problem.objective(look.state.x, y)
        assert objective * (1 - look.relative_gap) <= best * (1 + 1e-7)
    assert looks[-1].relative_gap < 1e-2 * looks[0].relative_gap


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("lam", [pytest.param(1e-3, marks=pytest.mark.slow), 0.03])
def test_fewer_layers_than_with_any_constant_step(name, lam) -> None:
    problem, y = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=lam), noisy_data()
    with torch.no_grad():
        layers = solve(problem, y, relative_gap=1e-5, max_layers=3000).layers
        best = problem.objective(solve(problem, y, relative_gap=1e-9, max_layers=4000).state.x, y)
        for tau in (0.1, 1.0, 10.0):
            net = FIRENET(problem.sparsifier, lam, schedule=NetworkSchedule(layers, tau, 1.0))
            true_gap = problem.objective(net(y, problem.encoding), y) / best - 1
            assert true_gap > 1e-5


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_items_do_not_influence_each_other(name) -> None:
    problem = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.03)
    easy = problem.encoding(torch.ones(SHAPE, dtype=torch.complex128))
    y = torch.stack([easy, 1e3 * noisy_data(0.1), 1e-3 * noisy_data(), 0 * easy])
    together = solve(problem, y, relative_gap=1e-3)
    finished = []
    for item in range(4):
        alone = solve(problem, y[item], relative_gap=1e-3)
        scale = float(y[item].abs().max())
        assert torch.allclose(together.state.x[item], alone.state.x, rtol=0, atol=1e-8 * scale)
        assert together.relative_gap[item] == pytest.approx(float(alone.relative_gap), rel=1e-4)
        finished.append(alone.layers)
    assert together.layers == max(finished)
    assert len(set(finished)) > 1
    assert not together.state.x[3].any()


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_image_scales_with_the_data(name, scale) -> None:
    problem, y = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.03), noisy_data()
    one, scaled = solve(problem, y), solve(problem, scale * y)
    assert scaled.layers == one.layers
    assert torch.allclose(scaled.state.x, scale * one.state.x, rtol=1e-9, atol=1e-9 * scale)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_of_the_operator_does_not_matter(scale) -> None:
    """(a A, x / a, a lam) is the same problem."""
    matrix, y = encoding()(torch.eye(256).reshape(256, *SHAPE)).reshape(256, 256).T, noisy_data()
    one, scaled = (
        solve(
            SquareRootLasso(MatrixOperator(a * matrix, a), lam=a * 0.03),
            y.flatten(),
            relative_gap=1e-5,
        )
        for a in (1.0, scale)
    )
    assert scaled.layers == one.layers
    assert torch.allclose(scale * scaled.state.x, one.state.x, atol=1e-4)


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_single_precision_reaches_the_default_gap(name) -> None:
    problem = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.03)
    result = solve(problem, noisy_data().to(torch.complex64))
    assert bool(result.converged)
    assert result.state.x.dtype == torch.complex64


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("wanted", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("solver", [AdaptiveSchedule, RadialSchedule])
def test_gap_of_single_precision_is_certified_in_double_and_never_negative(
    name, wanted, solver
) -> None:
    problem = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.03)
    y = torch.stack([noisy_data(), 0.01 * noisy_data(0.1)]).to(torch.complex64)
    schedule = solver(wanted, max_layers=300)
    looks = list(schedule.solver(None, None).iterates(problem, y, torch.zeros_like(y)))
    assert all(bool((look.relative_gap >= 0).all()) for look in looks)
    (x, v, q, *_), data = looks[-1].state, y.to(torch.complex128)
    objective = problem.objective(x.to(data), data)
    bound = problem.dual_value(v.to(data), data, None if q is None else q.to(data))
    gap = ((objective - bound) / objective).clamp(min=0)
    assert looks[-1].relative_gap.dtype == torch.float64
    assert torch.allclose(looks[-1].relative_gap, gap, rtol=1e-9, atol=0)
    assert torch.equal(looks[-1].converged, gap <= wanted)


def test_lasso_is_solved_too() -> None:
    """The two have the same minimisers where lam of P2 is 2 ||A x - y|| times that of P3."""
    first, y = SquareRootLasso(encoding(), SPARSIFIERS["unitary"](), lam=0.15), noisy_data()
    x = solve(first, y, relative_gap=1e-9, max_layers=4000).state.x
    distance = float((first.encoding(x) - y).norm())
    second = Lasso(first.encoding, first.sparsifier, lam=0.15 * 2 * distance)
    result = solve(second, y, relative_gap=1e-9, max_layers=4000)
    assert bool(result.converged)
    assert second.objective(x, y) == pytest.approx(float(second.objective(result.state.x, y)))


def test_operators_are_applied_once_a_layer() -> None:
    class Counting(CartesianFourier):
        forwards = adjoints = 0

        def forward(self, x: Tensor) -> Tensor:
            self.forwards += 1
            return super().forward(x)

        def adjoint(self, y: Tensor) -> Tensor:
            self.adjoints += 1
            return super().adjoint(y)

    for name in SPARSIFIERS:
        operator = Counting(encoding().kspace_factor.bool(), SHAPE)
        problem = SquareRootLasso(operator, SPARSIFIERS[name](), lam=0.03)
        result = solve(problem, noisy_data(), relative_gap=1e-4)
        assert operator.adjoints == result.layers
        assert operator.forwards == result.layers + 1


def test_one_layer_is_hooked_once_a_step_and_there_are_no_parameters() -> None:
    block, calls = AdaptiveBlock(AdaptiveSchedule(1e-3)), []
    layers = [module for module in block.modules() if isinstance(module, PrimalDualLayer)]
    assert len(layers) == 1
    layers[0].register_forward_hook(lambda *_: calls.append(1))
    problem = SquareRootLasso(encoding(), lam=0.03)
    result = block(problem, noisy_data(), torch.zeros(SHAPE, dtype=torch.complex128))
    assert len(calls) == result.layers
    assert not list(block.parameters())
    assert not block.state_dict()
    assert "relative_gap=0.001" in repr(block)


def test_stop_after_max_layers_is_said() -> None:
    result = solve(SquareRootLasso(encoding(), lam=1e-3), noisy_data(), max_layers=7)
    assert result.layers == 7
    assert not bool(result.converged)
    assert float(result.relative_gap) > 1e-3


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_iteration_starts_at_the_given_image(name, randn) -> None:
    problem, y = SquareRootLasso(encoding(), SPARSIFIERS[name](), lam=0.15), noisy_data()
    block, starts = AdaptiveBlock(AdaptiveSchedule(max_layers=4)), []
    block.layer.register_forward_pre_hook(lambda _, inputs: starts.append(inputs[2].x))
    x0 = randn(*SHAPE)
    result = block(problem, y, x0)
    first = starts[0] if name != "unitary" else problem.synthesise(starts[0])
    assert torch.allclose(first, x0, atol=1e-12)
    assert result.state.x.shape == SHAPE


def test_basis_pursuit_is_refused() -> None:
    problem = QuadraticallyConstrainedBasisPursuit(encoding(), eta=0.1)
    with pytest.raises(UsageError, match="basis pursuit"):
        solve(problem, noisy_data())


@pytest.mark.parametrize(
    "options",
    [
        {"relative_gap": 0.0},
        {"relative_gap": float("nan")},
        {"max_layers": 0},
        {"relaxation": 2.0},
        {"relaxation": -1.0},
        {"check_every": 0},
        {"eps0": 0.0},
    ],
)
def test_schedules_refuse_parameters_that_make_no_sense(options) -> None:
    with pytest.raises(UsageError, match="must"):
        AdaptiveSchedule(**options)
