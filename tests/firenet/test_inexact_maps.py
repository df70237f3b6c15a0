"""No change of the maps does more than the certificate says, and some do nearly as much."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule, WARPdSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.certificate import certify
from firenet_mri.firenet.certificate.inexact_maps import (
    CHANGE,
    image_change_bound,
    image_with_other_maps,
)
from firenet_mri.firenet.monotonicity import UnrolledIteration
from firenet_mri.firenet.unrolled import FixedSchedule, Steps
from firenet_mri.operators import (
    MatrixOperator,
    OrthogonalWavelet,
    PhaseConstrained,
    Sense,
    StationaryWavelet,
    encoding_operator,
)

SPARSIFIERS = {
    "identity": lambda: None,
    "unitary": lambda: OrthogonalWavelet("haar", 2, (16,)),
    "frame": lambda: StationaryWavelet(2, (16,)),
}


@dataclass(frozen=True)
class Uneven(FixedSchedule):
    """Steps that rise and fall in two blocks, each of which returns its last iterate."""

    taus: tuple[tuple[float, ...], ...] = ((0.5, 0.8, 0.3), (0.4, 0.9, 0.2))
    keeps_dual: bool = True
    returns_average: bool = False
    data_consistency: float = 0.5
    eps0: float | None = None
    geometric = None

    @property
    def depths(self) -> tuple[int, ...]:
        return tuple(map(len, self.taus))

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        return tuple(
            tuple(Steps(tau, 0.9 / (tau * norm_bound**2)) for tau in block) for block in self.taus
        )

    @property
    def iteration(self) -> UnrolledIteration:
        steps = tuple(tuple(map(Fraction, block)) for block in self.taus)
        return UnrolledIteration(steps, self.returns_average, self.keeps_dual)

    def step_length(self, norm_bound: float) -> float:
        return math.sqrt(0.9) / norm_bound


class Shortening(Uneven):
    """The same with dual steps that fall, too: no two layers have one metric."""

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        steps = super().blocks(norm_bound)
        return (steps[0], tuple(Steps(tau, sigma / 2) for tau, sigma in steps[1]))


SCHEDULES = [
    PaperSchedule(restarts=2, inner=4),
    PaperSchedule(restarts=3, inner=3, eps0=1.5, tau=0.5, sigma=0.7),
    NetworkSchedule(12),
    NetworkSchedule(9, tau=0.1, decay=1.0),
    NetworkSchedule(7, eps0=2.0, data_consistency=0.7),
    WARPdSchedule(3, 3),
    Uneven(),
    Uneven(keeps_dual=False),
]


def clipped(matrix: Tensor, bound: float) -> Tensor:
    """Return the nearest matrix of at most that norm."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return (u * s.clamp(max=bound)) @ v


def norm(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def small_problem(seed: int, complex_data: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if complex_data else torch.float64
    matrix = torch.randn(10, 16, dtype=dtype, generator=generator)
    y = matrix[:, :3].sum(1) + 0.1 * torch.randn(10, dtype=dtype, generator=generator)
    return matrix / norm(matrix), y


def network(name: str, schedule: FixedSchedule, lam: float = 0.05) -> FIRENET:
    weights = torch.linspace(0.5, 2, 16, dtype=torch.float64)
    shifts = 3 if name == "unitary" else None
    return FIRENET(SPARSIFIERS[name](), lam, weights, schedule, shifts)


def worst_matrix(net: FIRENET, y: Tensor, matrix: Tensor, size: float, rounds: int = 4) -> Tensor:
    """Return a changed matrix of norm at most 1 that moves the image far, by gradient ascent."""
    image = net(y, MatrixOperator(matrix, 1.0))
    changed = clipped(matrix + size * torch.outer(y, image.conj()) / y.norm() / image.norm(), 1.0)
    for _ in range(rounds):
        point = changed.clone().requires_grad_()
        (net(y, MatrixOperator(point, 1.0)) - image).abs().square().sum().backward()
        gradient = point.grad
        assert gradient is not None
        u, _, v = torch.linalg.svd(gradient, full_matrices=False)
        changed = clipped(matrix + size * u @ v, 1.0)
    return changed.detach()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_change_of_the_encoding_moves_the_image_further(name, schedule, seed) -> None:
    matrix, y = small_problem(seed, complex_data=seed == 0)
    net, encoding = network(name, schedule), MatrixOperator(matrix, 1.0)
    image = net(y, encoding)
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(2, *matrix.shape, dtype=matrix.dtype, generator=generator)
    for size in (0.01, 0.3):
        random = [clipped(matrix + size * draw / norm(draw), 1.0) for draw in draws]
        for changed in (*random, worst_matrix(net, y, matrix, size)):
            moved = float((net(y, MatrixOperator(changed, 1.0)) - image).norm())
            change = norm(changed - matrix)
            bound = float(image_change_bound(net, y, encoding, image, change=change))
            assert 0 < moved < bound
            # Any image may stand for the network's.
            other = float(image_change_bound(net, y, encoding, image.flip(0), change=change))
            assert moved < other


def test_change_of_the_primal_step_is_attained() -> None:
    # From zero, x_1 = 0 and v_1 = -y / ||y||: the second layer's image moves by tau ||E^H v_1||.
    y = torch.tensor([3.0, 4.0], dtype=torch.float64)
    matrix = torch.tensor([[0.9, 0.0], [0.0, 0.9]], dtype=torch.float64)
    net = FIRENET(None, 1e-6, None, NetworkSchedule(2, tau=2.0, decay=1.0, eps0=1.0))
    encoding = MatrixOperator(matrix, 1.0)
    changed = matrix - 0.1 * torch.outer(y, y) / 25
    image = net(y, encoding)
    moved = float((net(y, MatrixOperator(changed, 1.0)) - image).norm())
    bound = float(image_change_bound(net, y, encoding, 0 * image, change=0.1))
    assert 0.999 * bound < moved < (1 + 1e-9) * bound


def test_change_of_the_dual_step_is_attained() -> None:
    # Data that the start image fits: v_1 = 0 but for E, and the image moves by ||A'^H E x_0||.
    x0 = torch.tensor([3.0, 4.0], dtype=torch.float64)
    matrix = torch.eye(2, dtype=torch.float64)
    half = math.asin(0.05)
    turn = [[math.cos(2 * half), -math.sin(2 * half)], [math.sin(2 * half), math.cos(2 * half)]]
    changed = torch.tensor(turn, dtype=torch.float64)
    assert norm(changed - matrix) == pytest.approx(0.1)
    net = FIRENET(None, 1e-9, None, NetworkSchedule(2, tau=2.0, decay=1.0, eps0=1.0))
    encoding = MatrixOperator(matrix, 1.0)
    image = net(x0, encoding, x0)
    moved = float((net(x0, MatrixOperator(changed, 1.0), x0) - image).norm())
    for reference in (image, 0 * image):
        bound = float(image_change_bound(net, x0, encoding, reference, change=0.1, x0=x0))
        assert 0.999 * bound < moved < (1 + 1e-9) * bound


def test_change_of_the_data_consistency_step_is_seen() -> None:
    # One layer from zero returns zero: what is left is (a / ||A||^2) E^H y.
    matrix, y = small_problem(0)
    net = FIRENET(None, 0.05, None, NetworkSchedule(1, data_consistency=1.0))
    encoding = MatrixOperator(matrix, 1.0)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    changed = matrix - 0.1 * torch.outer(u[:, -1], v[-1])
    data = u[:, -1] * y.norm()
    image = net(data, encoding)
    moved = float((net(data, MatrixOperator(changed, 1.0)) - image).norm())
    bound = float(image_change_bound(net, data, encoding, 0 * image, change=0.1))
    assert s[-1] > 0.1
    assert moved == pytest.approx(0.1 * float(data.norm()))
    assert 0.999 * bound < moved < (1 + 1e-9) * bound


def test_a_restart_with_zero_duals_forgets_what_they_felt() -> None:
    # Blocks of one layer from zero duals: the operator never touches the image.
    matrix, y = small_problem(0)
    x0 = torch.ones(16, dtype=y.dtype)
    net = FIRENET(None, 1e-3, None, PaperSchedule(restarts=3, inner=1, eps0=1.0))
    encoding = MatrixOperator(matrix, 1.0)
    assert float(image_change_bound(net, y, encoding, 0 * x0, x0=x0)) == 0


def sense_problem(seed: int) -> tuple[Sense, Tensor]:
    """Return a small multi-coil scan, half sampled, and its data."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(5, 12, 12, dtype=torch.complex128, generator=generator)
    maps = draws[:4] / torch.linalg.vector_norm(draws[:4], dim=0)
    mask = torch.rand(12, generator=generator) < 0.5
    encoding = encoding_operator(mask.expand(12, 12), maps)
    image = torch.zeros(12, 12, dtype=torch.complex128)
    image[3:9, 2:8] = 1
    noise = 0.02 * mask * torch.randn(4, 12, 12, dtype=torch.complex128, generator=generator)
    return encoding, encoding(image) + noise


def of_size(change: Tensor, maps: Tensor, size: float) -> Tensor:
    """Return maps that differ by at most that much at a pixel and are no longer than 1."""
    scaled = size * change / torch.linalg.vector_norm(change, dim=0).clamp(min=1e-300)
    changed = maps + scaled
    changed = changed / torch.linalg.vector_norm(changed, dim=0).clamp(min=1)
    return maps + (changed - maps) * min(1, size / float((changed - maps).norm(dim=0).max()))


def worst_maps(net: FIRENET, y: Tensor, encoding: Sense, start: Tensor, rounds: int) -> Tensor:
    """Return maps one per cent off that move the image far, by gradient ascent."""
    image, maps = net(y, encoding), start
    for _ in range(rounds):
        point = maps.clone().requires_grad_()
        moved = net(y, Sense(point, encoding.fourier, encoding.norm_bound)) - image
        moved.abs().square().sum().backward()
        gradient = point.grad
        assert gradient is not None
        largest = 3 * CHANGE * gradient / torch.linalg.vector_norm(gradient, dim=0)
        maps = of_size(maps - encoding.maps + largest, encoding.maps, CHANGE)
    return maps.detach()


@pytest.mark.parametrize(
    "schedule", [NetworkSchedule(15, 1.0, 0.8), PaperSchedule()], ids=["stable", "paper"]
)
def test_maps_one_per_cent_off_move_the_image_by_less_than_is_stated(schedule, randn) -> None:
    encoding, y = sense_problem(1)
    net = FIRENET(StationaryWavelet(1, (12, 12)), 0.01, None, schedule)
    image = net(y, encoding)
    entry = image_with_other_maps(net, y, encoding, image)
    stated = entry.values["percent_of_image"][0] / 100 * float(image.norm())
    assert entry.status == "proven"
    start = of_size(randn(4, 12, 12), encoding.maps, CHANGE)
    found = []
    for maps in (start, worst_maps(net, y, encoding, start, 12)):
        assert float(torch.linalg.vector_norm(maps - encoding.maps, dim=0).max()) < 1.001 * CHANGE
        changed = Sense(maps, encoding.fourier, encoding.norm_bound)
        found.append(float((net(y, changed) - image).norm()))
    assert found[0] < found[1] < stated
    # The attack is worth something: it does many times what a random change does.
    assert found[1] > 2.5 * found[0]
    assert found[1] > stated / 8


@pytest.mark.parametrize("name", SPARSIFIERS)
@pytest.mark.parametrize("seed", range(3))
def test_no_image_beats_this_one_by_more_for_other_maps(name, seed) -> None:
    matrix, y = small_problem(seed)
    net, encoding = network(name, NetworkSchedule(60), 0.02), MatrixOperator(matrix, 1.0)
    state = net.solve(y, encoding)
    certificate = certify(net, y, encoding, state)
    stated = certificate.lookup("maps_1_percent", "gap_with_other_maps")[0]
    relative = certificate.lookup("maps_1_percent", "relative_gap_with_other_maps")[0]
    assert relative == pytest.approx(stated / certificate.objective[0])
    # The direction that makes this image worst, and any other.
    residual = encoding(state.x) - y
    draw = torch.randn(10, 16, dtype=y.dtype, generator=torch.Generator().manual_seed(seed))
    for direction in (torch.outer(residual, state.x.conj()), draw):
        changed = MatrixOperator(matrix + CHANGE * direction / norm(direction), 1.02)
        problem = net.problem(changed)
        optimum = network(name, NetworkSchedule(400, decay=0.99), 0.02)(y, changed)
        rivals = [scale * optimum for scale in (0.9, 1.0, 1.1)]
        assert max(float(rival.norm()) for rival in rivals) < 2 * float(state.x.norm())
        best = min(float(problem.objective(rival, y)) for rival in rivals)
        assert certificate.duality_gap[0] < stated
        assert 0 < float(problem.objective(state.x, y)) - best < stated


def test_a_rival_twice_as_long_attains_the_gap_for_other_maps() -> None:
    # The scan does not see the first pixel as it is, and with the changed operator it does.
    y = torch.tensor([1.0, 0.0], dtype=torch.float64)
    encoding = MatrixOperator(torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=torch.float64), 1.0)
    net = FIRENET(None, 1e-9, None, NetworkSchedule(2))
    x = torch.tensor([1.0, 0.0], dtype=torch.float64)
    state = net.solve(y, encoding)._replace(x=x)
    stated = certify(net, y, encoding, state).lookup("maps_1_percent", "gap_with_other_maps")[0]
    changed = MatrixOperator(torch.tensor([[-0.01, 0.0], [0.0, 1.0]], dtype=torch.float64), 1.0)
    problem = net.problem(changed)
    better = float(problem.objective(x, y) - problem.objective(-2 * x, y))
    assert 0.999 * stated < better < (1 + 1e-9) * stated


def test_items_and_sizes_of_data_do_not_matter() -> None:
    matrix, y = small_problem(0)
    net, encoding = network("frame", NetworkSchedule(9)), MatrixOperator(matrix, 1.0)
    batch = torch.stack([y, 2.0**500 * y, y.flip(0), 0 * y])
    images = net(batch, encoding)
    together = image_change_bound(net, batch, encoding, images)
    apart = [image_change_bound(net, one, encoding, net(one, encoding)) for one in batch]
    torch.testing.assert_close(together, torch.stack(apart))
    assert float(together[1]) == pytest.approx(2.0**500 * float(together[0]))
    entry = image_with_other_maps(net, batch, encoding, images)
    assert entry.items == (0, 1, 2)
    assert (
        len(
            certify(net, batch, encoding, net.solve(batch, encoding)).lookup(
                "maps_1_percent", "gap_with_other_maps"
            )
        )
        == 3
    )


def test_where_nothing_is_proven_that_is_said() -> None:
    encoding, y = sense_problem(1)
    schedules = [NetworkSchedule(3), AdaptiveSchedule(1e-3), Shortening()]
    net, adaptive, shortening = (FIRENET(None, 0.01, None, schedule) for schedule in schedules)
    phase = torch.ones(12, 12, dtype=torch.complex128)
    constrained = PhaseConstrained(encoding, phase, 0.3, phase_from_data=True)
    reweighted = FIRENET(None, 0.01, None, NetworkSchedule(3), weights_depend_on_data=True)
    image = torch.ones(12, 12, dtype=torch.complex128)
    for network_, operator, said in (
        (adaptive, encoding, "depend on the data"),
        (reweighted, encoding, "reweighting"),
        (shortening, encoding, "product of primal and dual step"),
        (net, constrained, "image phase was made with the help of the maps"),
    ):
        entry = image_with_other_maps(network_, y, operator, image)
        assert entry.status == "not verified"
        assert said in entry.statement
        assert not entry.values
    with pytest.raises(UsageError, match="depend on the data"):
        image_change_bound(adaptive, y, encoding, image)
    entry = image_with_other_maps(net, y, encoding, image)
    assert "Kept fixed: data, sampling mask" in entry.statement


def test_a_statement_that_says_nothing_is_called_so() -> None:
    matrix, y = small_problem(0)
    encoding = MatrixOperator(matrix, 1.0)
    for layers, is_empty in ((9, False), (300, True)):
        net = network("identity", NetworkSchedule(layers, decay=1.0))
        entry = image_with_other_maps(net, y, encoding, net(y, encoding))
        assert (entry.values["percent_of_image"][0] > 100) == is_empty
        assert ("says nothing about the image" in entry.limits) == is_empty
    # Noiseless data: the objective is smaller than what the maps can add to it.
    for lam, is_empty in ((1e-4, True), (0.5, False)):
        net = network("identity", NetworkSchedule(200), lam)
        entries = certify(net, y, encoding, net.solve(y, encoding)).entries
        (entry,) = (entry for entry in entries if entry.name == "maps_1_percent")
        assert (entry.values["relative_gap_with_other_maps"][0] > 1) == is_empty
        assert ("says nothing" in entry.limits) == is_empty
