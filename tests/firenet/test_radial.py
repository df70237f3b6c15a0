"""The radial search: its order and run lengths are the published ones, and it is certified."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.problem import QuadraticallyConstrainedBasisPursuit, SquareRootLasso
from firenet_mri.firenet.radial import RadialBlock, RadialSchedule
from firenet_mri.operators import CartesianFourier, OrthogonalWavelet, StationaryWavelet

SHAPE = (16, 16)
SPARSIFIERS = {
    "identity": lambda: None,
    "unitary": lambda: OrthogonalWavelet("haar", 3, SHAPE),
    "frame": lambda: StationaryWavelet(2, SHAPE),
}


def make(name: str, lam: float = 0.05) -> tuple[SquareRootLasso, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(SHAPE, generator=generator) < 0.5
    mask[8, 8] = True
    encoding = CartesianFourier(mask, SHAPE)
    image = torch.zeros(SHAPE, dtype=torch.complex128)
    image[4:10, 3:12] = 1
    y = encoding(image + 0.02 * torch.randn(SHAPE, dtype=image.dtype, generator=generator))
    return SquareRootLasso(encoding, SPARSIFIERS[name](), lam=lam), y


def published_order(schedule: RadialSchedule, count: int) -> list[tuple[float, float, int]]:
    """Return (alpha, beta, p) of the first runs, by walking over all triples (i, j, k).

    Triples are visited in order of (|i| + 1)^2 (j + 1)^2 k; (i, j) runs if its budget k allows.
    """
    r, a = schedule.decrease, schedule.factor
    width = range(-schedule.half_width, schedule.half_width + 1)
    pairs = list(itertools.product(width, range(len(schedule.exponents))))
    state = dict.fromkeys(pairs, (0, 0))
    triples = sorted(
        (
            (abs(i) + 1) ** 2 * (j + 1) ** 2 * k,
            pairs.index((i, j)),
            k,
        )
        for i, j in pairs
        for k in range(1, 900)
    )
    runs = []
    for _, index, k in triples:
        i, j = pairs[index]
        done, spent = state[i, j]
        eps = r**done
        alpha, beta = schedule.alpha * a**i, schedule.exponents[j]
        delta = (2 * eps / alpha) ** (1.0 if 2 * eps > alpha else 1 / beta)
        p = math.ceil(2 * delta / (r * eps))
        if spent + p <= k:
            state[i, j] = (done + 1, spent + p)
            runs.append((alpha, beta, p))
        if len(runs) == count:
            break
    return runs


@pytest.mark.parametrize("exponents", [(1.0,), (1.0, 2.0, 4.0)])
def test_runs_are_those_of_the_published_search(exponents) -> None:
    schedule = RadialSchedule(half_width=3, exponents=exponents, alpha=0.7)
    runs, found = list(schedule.runs()), []
    for _ in range(25):
        index = min(range(len(runs)), key=lambda entry: runs[entry].due)
        found.append((runs[index].alpha, runs[index].beta, runs[index].iterations))
        runs[index] = runs[index].following()
    expected = published_order(schedule, 25)
    assert [run[2] for run in found] == [run[2] for run in expected]
    for one, other in zip(found, expected, strict=True):
        assert one[:2] == pytest.approx(other[:2])


def test_search_ends_where_eps_is_lost_in_rounding() -> None:
    problem, y = make("unitary")
    schedule = RadialSchedule(1e-15, 10_000, alpha=40.0, half_width=0)
    result = RadialBlock(schedule)(problem, y, torch.zeros_like(y))
    assert result.layers == int(result.restarts) == 37


def test_runs_of_a_sharp_problem_have_one_length_and_others_grow() -> None:
    sharp = RadialSchedule(half_width=0, alpha=0.5).runs()[0]
    blunt = RadialSchedule(half_width=0, alpha=0.5, exponents=(2.0,)).runs()[0]
    lengths = []
    for _ in range(8):
        lengths.append((sharp.iterations, blunt.iterations))
        sharp, blunt = sharp.following(), blunt.following()
    assert {one for one, _ in lengths} == {math.ceil(4 * math.e / 0.5)}
    assert lengths[-1][1] > 5 * lengths[0][1]
    assert sharp.spent == sum(one for one, _ in lengths)


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_certified_gap_is_reached_and_can_be_checked(name) -> None:
    problem, y = make(name)
    result = RadialBlock(RadialSchedule(1e-2))(problem, y, torch.zeros_like(y))
    assert bool(result.converged)
    x, v, q, *_ = result.state
    assert problem.duality_gap(x, y, v, q) <= 1.001e-2 * problem.objective(x, y)
    best = AdaptiveBlock(AdaptiveSchedule(1e-7, 4000))(problem, y, torch.zeros_like(y)).state.x
    objective = problem.objective(x, y)
    assert objective * (1 - result.relative_gap) <= problem.objective(best, y) * (1 + 1e-6)


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_objective_and_gap_never_grow(name) -> None:
    problem, y = make(name)
    block = RadialBlock(RadialSchedule(1e-9, 600, half_width=2, exponents=(1.0, 2.0)))
    looks = list(block.iterates(problem, y, torch.zeros_like(y)))
    values = [float(problem.objective(look.state.x, y)) for look in looks]
    assert len(looks) > 5
    for before, after in itertools.pairwise(values):
        assert after <= before * (1 + 1e-9)
    for before, after in itertools.pairwise(looks):
        assert after.relative_gap <= before.relative_gap + 1e-9
    assert values[-1] < 0.95 * values[0]


@pytest.mark.parametrize("name", SPARSIFIERS)
def test_batch_items_do_not_talk(name) -> None:
    problem, y = make(name)
    flipped = problem.encoding(problem.encoding.adjoint(y).flip(-1) ** 2)
    batch = torch.stack([y, 1e3 * flipped, 0 * y, 1e-3 * y])
    block = RadialBlock(RadialSchedule(1e-2))
    together = block(problem, batch, torch.zeros_like(batch))
    for item in range(4):
        alone = block(problem, batch[item], torch.zeros_like(y))
        scale = float(batch[item].abs().max())
        assert torch.allclose(together.state.x[item], alone.state.x, atol=1e-9 * scale)
        assert together.restarts[item] == alone.restarts
        assert bool(together.converged[item])
    assert not together.state.x[2].any()


def test_layers_are_counted_and_hooked() -> None:
    problem, y = make("unitary")
    block, calls = RadialBlock(RadialSchedule(1e-2)), []
    layers = [module for module in block.modules() if isinstance(module, PrimalDualLayer)]
    assert len(layers) == 1
    layers[0].register_forward_hook(lambda *_: calls.append(1))
    result = block(problem, y, torch.zeros_like(y))
    assert len(calls) == result.layers
    assert not list(block.parameters())


def test_no_more_layers_than_allowed_are_run() -> None:
    problem, y = make("unitary")
    result = RadialBlock(RadialSchedule(1e-9, 100))(problem, y, torch.zeros_like(y))
    assert result.layers <= 100
    assert not bool(result.converged)
    none = RadialBlock(RadialSchedule(1e-9, 1, half_width=0))(problem, y, torch.zeros_like(y))
    assert none.layers == 0
    assert not bool(none.converged)


def test_basis_pursuit_is_refused() -> None:
    problem, y = make("unitary")
    pursuit = QuadraticallyConstrainedBasisPursuit(problem.encoding, eta=0.1)
    with pytest.raises(UsageError, match="basis pursuit"):
        RadialBlock()(pursuit, y, torch.zeros_like(y))


@pytest.mark.parametrize(
    "options",
    [
        {"relative_gap": 0.0},
        {"decrease": 1.0},
        {"alpha": -1.0},
        {"max_layers": 0},
        {"half_width": -1},
        {"factor": 1.0},
        {"exponents": ()},
        {"exponents": (0.5,)},
        {"eps0": 0.0},
    ],
)
def test_schedules_refuse_parameters_that_make_no_sense(options) -> None:
    with pytest.raises(UsageError, match=r"must|give"):
        RadialSchedule(**options)
