"""Lipschitz bounds: the shipped proofs are proofs, of the iteration that the network runs."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.lipschitz import (
    UnrolledIteration,
    closed_form,
    conditions,
    lipschitz_bound,
    proven_square,
    table,
)
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.firenet.schedules import WARPdSchedule
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet

ENTRIES = list(table().values())
DEFAULTS = (
    UnrolledIteration.geometric(Fraction(str(NetworkSchedule().decay)), NetworkSchedule().layers),
    UnrolledIteration.restarted(PaperSchedule().restarts, PaperSchedule().inner),
)


def check(entry) -> None:
    square = proven_square(entry.iteration, entry.multipliers)
    assert square is not None
    assert square <= entry.bound**2


@pytest.mark.parametrize("entry", [*ENTRIES[::12], *map(table().get, DEFAULTS)], ids=str)
def test_shipped_multipliers_prove_the_shipped_bound(entry) -> None:
    check(entry)


@pytest.mark.slow
def test_all_shipped_multipliers_prove_their_bounds() -> None:
    for entry in ENTRIES:
        check(entry)


def test_table_covers_the_default_schedules_to_60_layers() -> None:
    decay = Fraction(str(NetworkSchedule().decay))
    inner = PaperSchedule().inner
    for layers in range(2, 61):
        assert UnrolledIteration.geometric(decay, layers) in table()
    for restarts in range(1, 60 // inner + 1):
        assert UnrolledIteration.restarted(restarts, inner) in table()


@pytest.mark.parametrize(
    ("iteration", "value"),
    [
        (UnrolledIteration.geometric(Fraction("0.95"), 10), 7.03),
        (UnrolledIteration.geometric(Fraction("0.95"), 25), 13.63),
        (UnrolledIteration.geometric(Fraction("0.9"), 15), 7.18),
        (UnrolledIteration.geometric(Fraction("0.9"), 25), 9.77),
        (UnrolledIteration.restarted(1, 8), 2.247),
        (UnrolledIteration.restarted(5, 5), 4.270),
        (UnrolledIteration.restarted(3, 10), 6.439),
    ],
)
def test_bounds_agree_with_the_values_of_the_full_program(iteration, value) -> None:
    """Values of the program with an unknown operator of norm at most 1, solved independently."""
    assert float(table()[iteration].bound) == pytest.approx(value, rel=2e-3)


@pytest.mark.parametrize("name", ["sequence", "restarts"])
def test_bound_is_the_optimum_of_the_program_to_four_digits(name) -> None:
    sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))
    from make_lipschitz_table import scales, solve

    iteration = {
        "sequence": UnrolledIteration.geometric(Fraction("0.9"), 12),
        "restarts": UnrolledIteration.restarted(3, 5),
    }[name]
    stated = conditions(iteration)
    multipliers = solve(stated, scales(iteration, stated), 0.0)
    quadratic = np.zeros((stated.size, stated.size))
    for factor, (p, r) in [
        *((-2 * m, pair) for m, pair in zip(multipliers, stated.pairs, strict=True)),
        (-1, (stated.output, stated.output)),
    ]:
        for i, a in p.items():
            for j, b in r.items():
                quadratic[i, j] += factor * float(a * b) / 2
                quadratic[j, i] += factor * float(a * b) / 2
    inside = quadratic[1:, 1:] + 1e-9 * np.eye(stated.size - 1)
    optimum = math.sqrt(quadratic[0, 1:] @ np.linalg.solve(inside, quadratic[1:, 0]))
    assert float(table()[iteration].bound) == pytest.approx(optimum, rel=1e-3)


def trajectory(iteration: UnrolledIteration, y: Tensor, sparsifier=None) -> list[Tensor]:
    """Return what the network's own step makes of y with A = identity, in the basis' order."""
    net = FIRENET(sparsifier, 0.1, schedule=NetworkSchedule(1, eps0=1.0))
    problem = net.problem(MatrixOperator(torch.eye(len(y), dtype=y.dtype), 1.0))
    basis = [y]
    x = torch.zeros_like(y)
    residual, state = problem.encoding.residual(y), start(problem, x)
    blocks = iteration.primal_steps
    for block, steps in enumerate(blocks):
        if not iteration.keeps_dual:
            state = start(problem, x)
        total = torch.zeros_like(y)
        for layer, tau in enumerate(steps):
            t = torch.tensor(float(tau), dtype=torch.float64)
            state = step(problem, residual, state, t, 1 / t)
            total = total + state.x
            if not (block == 0 and layer == 0):
                basis.append(state.x)
            if layer < len(steps) - 1 or (iteration.keeps_dual and block < len(blocks) - 1):
                basis.append(state.bare(problem, y).v)
        x = total / len(steps) if iteration.returns_average else state.x
    return [*basis, x]


@given(seed=st.integers(0, 10**6), size=st.floats(0.1, 30))
@settings(max_examples=25, deadline=None)
def test_conditions_hold_for_what_the_network_does(seed, size) -> None:
    generator = torch.Generator().manual_seed(seed)
    y, other = size * torch.randn(2, 6, dtype=torch.complex128, generator=generator)
    for iteration in (
        UnrolledIteration.geometric(Fraction("0.8"), 9),
        UnrolledIteration.restarted(3, 4),
    ):
        changes = [
            a - b for a, b in zip(*(trajectory(iteration, z) for z in (y, other)), strict=True)
        ]
        stated = conditions(iteration)
        assert len(changes) == stated.size + 1

        for pair in stated.pairs:
            p, r = (combine(one, changes) for one in pair)
            assert (p.conj() * r).real.sum() >= -1e-12 * (p.norm() * r.norm() + 1)
        assert torch.allclose(combine(stated.output, changes), changes[-1])


def combine(coefficients, basis: list[Tensor]) -> Tensor:
    return sum(float(value) * basis[index] for index, value in coefficients.items())


def test_wrong_multipliers_prove_nothing_or_less() -> None:
    entry = table()[DEFAULTS[0]]
    assert proven_square(entry.iteration, [-m for m in entry.multipliers]) is None
    assert proven_square(entry.iteration, [0 * m for m in entry.multipliers]) is None
    assert proven_square(entry.iteration, [m / 2 for m in entry.multipliers]) is None
    longer = proven_square(entry.iteration, [2 * m for m in entry.multipliers])
    assert longer is not None
    assert longer > entry.bound**2


def test_closed_form_is_its_formula() -> None:
    assert closed_form(UnrolledIteration.geometric(Fraction(1), 25)) == 24
    assert closed_form(UnrolledIteration.geometric(Fraction(1, 2), 11)) == pytest.approx(5)
    assert closed_form(UnrolledIteration.restarted(5, 5)) == 10
    growing = UnrolledIteration(((Fraction(1), Fraction(2), Fraction(2)),), False, True)
    assert closed_form(growing) == 3
    assert closed_form(UnrolledIteration(growing.primal_steps, True, True)) is None


def test_table_is_never_worse_than_the_closed_form() -> None:
    for entry in ENTRIES:
        simple = closed_form(entry.iteration)
        assert simple is not None
        assert float(entry.bound) <= simple + 2e-4
        assert lipschitz_bound(entry.iteration) <= simple


SCHEDULES = {
    "network": NetworkSchedule(25, tau=1.5, eps0=1.0),
    "network, constant steps": NetworkSchedule(12, tau=0.5, decay=1.0, eps0=1.0),
    "network, untabulated decay": NetworkSchedule(12, tau=0.5, decay=0.77, eps0=1.0),
    "network, data consistency": NetworkSchedule(10, data_consistency=1.0, eps0=1.0),
    "network, half a step": NetworkSchedule(5, tau=0.05, data_consistency=0.5, eps0=1.0),
    "WARPd": WARPdSchedule(4, 6, eps0=1.0),
    "paper": PaperSchedule(eps0=1.0),
    "paper, one long restart": PaperSchedule(1, 10, eps0=1.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("form", ["synthesis", "analysis"])
def test_jacobians_stay_below_the_bound_of_every_schedule(name, form) -> None:
    schedule = SCHEDULES[name]
    sparsifier = {
        "synthesis": OrthogonalWavelet("haar", 2, (16,)),
        "analysis": StationaryWavelet(2, (16,)),
    }[form]
    largest = 0.0
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(10, 16, dtype=torch.float64, generator=generator)
        matrix = matrix / torch.linalg.matrix_norm(matrix, 2) * 2.0 ** (seed % 3 - 1)
        encoding = MatrixOperator(matrix, float(2.0 ** (seed % 3 - 1)))
        y = (
            matrix
            @ torch.randn(16, dtype=torch.float64, generator=generator)
            * 10 ** (seed % 4 / 2 - 0.5)
        )
        net = FIRENET(sparsifier, 0.02, schedule=schedule)
        jacobian = torch.autograd.functional.jacobian(lambda z: net(z, encoding), y)  # noqa: B023
        bound = net.lipschitz_bound(encoding)
        assert bound is not None
        ratio = float(torch.linalg.matrix_norm(jacobian, 2)) / bound
        assert ratio <= 1 + 1e-9
        largest = max(largest, ratio)
    # A bound far from every Jacobian would be a bound of something else.
    assert largest > 0.1


def test_steps_that_are_too_long_are_refused_with_the_admissible_range() -> None:
    encoding = MatrixOperator(torch.eye(4), 1.0)
    net = FIRENET(schedule=PaperSchedule(tau=1.5, sigma=1.0))
    with pytest.raises(UsageError, match=r"tau \* sigma <= 1"):
        net(torch.ones(4), encoding)


def test_bound_scales_with_the_norm_and_the_steps() -> None:
    schedule = NetworkSchedule(10)
    assert schedule.lipschitz_bound(4.0) == pytest.approx(schedule.lipschitz_bound(1.0) / 4)
    shorter = PaperSchedule(tau=0.5, sigma=0.5)
    assert shorter.lipschitz_bound(1.0) == pytest.approx(PaperSchedule().lipschitz_bound(1.0) / 2)
    long = NetworkSchedule(10, tau=100.0)
    assert long.lipschitz_bound(1.0) == schedule.lipschitz_bound(1.0)
