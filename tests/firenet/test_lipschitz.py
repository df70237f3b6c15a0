"""Lipschitz bounds: the proofs are proofs, of the iteration that the network runs."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jacobians import jacobian_of_batches, norm_of
from torch import Tensor

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule, certify
from firenet_mri.errors import UsageError
from firenet_mri.firenet import lipschitz, rational
from firenet_mri.firenet.lipschitz import (
    CLOSED_FORM,
    MOST_LAYERS,
    RUN_TIME,
    TABLE,
    closed_form,
    proof_of,
    share_of_data,
    table,
)
from firenet_mri.firenet.monotonicity import UnrolledIteration, forms
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.primal_dual import start, step
from firenet_mri.firenet.rational import (
    is_proven_semidefinite,
    length_above,
    proven_square,
    proves,
)
from firenet_mri.firenet.schedules import WARPdSchedule
from firenet_mri.firenet.trainable import LearnedSchedule, TrainableSteps
from firenet_mri.operators import MatrixOperator, OrthogonalWavelet, StationaryWavelet

ENTRIES = list(table().values())
HALF = (Fraction(1, 2), Fraction(1, 2))
NORMALISED = share_of_data(1.0, 1.0)
DEFAULTS = (
    UnrolledIteration.geometric(Fraction(str(NetworkSchedule().decay)), NetworkSchedule().layers),
    UnrolledIteration.restarted(PaperSchedule().restarts, PaperSchedule().inner),
)


def lipschitz_bound(iteration: UnrolledIteration) -> float:
    """Return the best proven bound, which there must be."""
    proof = proof_of(iteration)
    assert proof is not None
    return proof.value


def learned(layers: int, mean: float, seed: int = 0) -> LearnedSchedule:
    """Return steps with random ratios, as training may leave them."""
    generator = torch.Generator().manual_seed(seed)
    ratios = torch.sigmoid(0.7 * torch.randn(layers - 1, generator=generator) + mean)
    return LearnedSchedule(torch.cumprod(torch.cat([torch.ones(1), ratios]), 0))


def test_all_shipped_multipliers_prove_their_bounds() -> None:
    for entry in ENTRIES:
        assert entry.multipliers is not None
        assert proves(entry.iteration, entry.multipliers, entry.bound)


@pytest.mark.parametrize("entry", ENTRIES[::8], ids=lambda entry: str(float(entry.bound)))
def test_exact_elimination_finds_the_shipped_bound_and_no_smaller_one_is_proven(entry) -> None:
    square = proven_square(entry.iteration, entry.multipliers)
    assert (entry.bound - Fraction(1, 10**4)) ** 2 < square <= entry.bound**2
    too_small = Fraction(math.sqrt(square) * (1 - 1e-9))
    assert not proves(entry.iteration, entry.multipliers, too_small)


@given(seed=st.integers(0, 10**6), size=st.integers(1, 7), rank=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_only_semidefinite_matrices_are_proven_to_be_so(seed, size, rank) -> None:
    """With eigenvalues of both signs, at zero, and of different sizes; exact in numbers of 1/8."""
    rng = np.random.default_rng(seed)
    root = rng.integers(-20, 21, (size, rank)) / 8
    units = 2.0 ** rng.integers(-30, 31, size)
    matrix = root @ root.T + rng.choice([0, 1e-9, 1, -1e-6]) * np.eye(size)
    whole = matrix * np.outer(units, units)
    rows = [{j: Fraction(value) for j, value in enumerate(row) if value} for row in whole.tolist()]
    least = np.linalg.eigvalsh(matrix)[0]
    if is_proven_semidefinite(rows):
        assert least >= -1e-12 * np.abs(matrix).max()
    else:
        assert least <= 1e-7 * np.abs(matrix).max()


@pytest.mark.parametrize("factor", [0, 1, 3])
def test_proof_does_not_trust_the_factor_that_it_is_given(monkeypatch, factor) -> None:
    """Whatever C is, an indefinite matrix is never proven, and a wrong C proves nothing."""
    columns = [[(1, factor << 63), (0, factor << 62)], [(0, factor << 63)]]
    monkeypatch.setattr(rational, "_rounded_factor", lambda rows: columns)
    one, off = Fraction(1), Fraction(1, 2)
    assert not is_proven_semidefinite([{0: one, 1: 2 * one}, {0: 2 * one, 1: one}])
    assert is_proven_semidefinite([{0: one, 1: off}, {0: off, 1: one}]) == (factor < 3)


def test_table_covers_presets_and_default_schedules() -> None:
    for iteration in DEFAULTS:
        assert iteration in table()
    for restarts in range(1, 13):
        assert UnrolledIteration.restarted(restarts, PaperSchedule().inner) in table()
    for preset in ("accurate", "stable", "coherent"):
        iteration = make_network(1, (16, 16), preset=preset).schedule.iteration
        assert iteration in table()
        assert replace(iteration, data_share=NORMALISED) in table()


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
    assert lipschitz_bound(iteration) == pytest.approx(value, rel=2e-3)


def gram_program(iteration: UnrolledIteration) -> float:
    """Return the worst case over Gram matrices, for K = 1, from a program written anew."""
    size = 1 + 2 * iteration.layers
    gram = cvxpy.Variable((size, size), PSD=True)
    one = np.eye(size)
    data, zero, free = one[0], np.zeros(size), iter(one[1:])
    limits = [gram[0, 0] <= 1]

    def is_monotone(p, r) -> None:
        limits.append(cvxpy.trace(np.outer(p, r) @ gram) >= 0)

    x = v = zero
    for steps in iteration.primal_steps:
        v = v if iteration.keeps_dual else zero
        total = zero
        for tau in map(float, steps):
            before, x = x, next(free)
            is_monotone(x, before - tau * v - x)
            v_before, v = v, next(free)
            is_monotone(v, tau * (v_before - v) + 2 * x - before - data)
            total = total + x
        x = total / len(steps) if iteration.returns_average else x
    program = cvxpy.Problem(cvxpy.Maximize(x @ gram @ x), limits)
    return math.sqrt(program.solve(solver="CLARABEL"))


def analysis_program(iteration: UnrolledIteration) -> float:
    """Return the worst case of the analysis form for ||A||, ||W|| <= 1, in multiples of sqrt(2).

    Gram matrices of the duals v with the data, of the duals q, and of A^H v and W^H q.
    """
    n = iteration.layers
    of_data = cvxpy.Variable((n + 1, n + 1), PSD=True)
    of_frame = cvxpy.Variable((n, n), PSD=True)
    images = cvxpy.Variable((2 * n, 2 * n), PSD=True)
    one = np.eye(2 * n)
    limits = [
        of_data[n, n] <= 1,
        of_data[:n, :n] - images[:n, :n] >> 0,
        of_frame - images[n:, n:] >> 0,
    ]
    x, last, k = np.zeros(2 * n), None, 0
    for steps in iteration.primal_steps:
        last = last if iteration.keeps_dual else None
        total = np.zeros(2 * n)
        for tau in map(float, steps):
            before = x
            if last is not None:
                x = x - tau * (one[last] + one[n + last])
            v_before = 0 if last is None else of_data[k, last]
            q_before = 0 if last is None else of_frame[k, last]
            ahead = 2 * x - before
            v_change, q_change = v_before - of_data[k, k], q_before - of_frame[k, k]
            limits.append(2 * tau * v_change - of_data[k, n] + images[k] @ ahead >= 0)
            limits.append(2 * tau * q_change + images[n + k] @ ahead >= 0)
            last, k, total = k, k + 1, total + x
        x = total / len(steps) if iteration.returns_average else x
    program = cvxpy.Problem(cvxpy.Maximize(x @ images @ x), limits)
    return math.sqrt(2 * program.solve(solver="CLARABEL"))


@pytest.mark.parametrize(
    "iteration",
    [
        UnrolledIteration.geometric(Fraction("0.9"), 10),
        UnrolledIteration.geometric(Fraction("0.77"), 8),
        UnrolledIteration.restarted(3, 4),
        UnrolledIteration(((Fraction(1), Fraction(2), Fraction(1, 3)),) * 3, False, True),
        UnrolledIteration(((Fraction(1), Fraction(1, 2), Fraction(1, 4)),) * 2, True, True),
        learned(9, 1.4).iteration,
    ],
    ids=["table", "decay", "restarts", "zigzag", "averages, dual kept", "learned"],
)
def test_bound_is_the_optimum_of_the_program(iteration) -> None:
    assert lipschitz_bound(iteration) == pytest.approx(gram_program(iteration), rel=5e-4)


@pytest.mark.parametrize(
    "iteration",
    [
        UnrolledIteration.geometric(Fraction("0.8"), 7),
        UnrolledIteration.restarted(2, 4),
        UnrolledIteration(((Fraction(1), Fraction(1)),) * 3, True, True),
        UnrolledIteration(((Fraction(1), Fraction(2), Fraction(1, 3)),) * 2, False, True),
    ],
    ids=["geometric", "restarts", "averages, dual kept", "zigzag"],
)
def test_bound_of_the_analysis_form_is_the_optimum_of_its_program(iteration) -> None:
    found = lipschitz_bound(replace(iteration, data_share=HALF))
    assert found == pytest.approx(analysis_program(iteration), rel=2e-4)
    assert found < 0.99 * lipschitz_bound(iteration)


@pytest.mark.parametrize(
    ("iteration", "value"),
    [
        (UnrolledIteration.geometric(Fraction("0.97"), 61), 29.19),
        (UnrolledIteration.geometric(Fraction("0.92"), 30), 12.16),
        (UnrolledIteration.restarted(13, 5), 7.481),
        (UnrolledIteration.restarted(3, 15), 9.87),
        (UnrolledIteration.geometric(Fraction("0.8"), 15, HALF), math.sqrt(2) * 3.34),
        (UnrolledIteration.geometric(Fraction("0.97"), 25, HALF), math.sqrt(2) * 10.32),
        (UnrolledIteration.geometric(Fraction("0.97"), 40, HALF), math.sqrt(2) * 14.98),
    ],
)
def test_bounds_of_other_steps_are_those_of_a_trial_with_a_convex_solver(iteration, value) -> None:
    proof = proof_of(iteration)
    assert proof.method == RUN_TIME
    assert float(proof.bound) == pytest.approx(value, rel=1e-3)
    assert proves(proof.iteration, proof.multipliers, proof.bound)
    assert proof_of(iteration) is proof


def test_there_is_no_cliff_behind_the_table() -> None:
    last, next_one = (UnrolledIteration.geometric(Fraction("0.97"), n) for n in (60, 61))
    assert (proof_of(last).method, proof_of(next_one).method) == (TABLE, RUN_TIME)
    assert lipschitz_bound(next_one) < 1.02 * lipschitz_bound(last)


def test_the_shipped_bounds_are_those_that_are_found_without_them(monkeypatch) -> None:
    iteration = UnrolledIteration.geometric(Fraction("0.8"), 15, NORMALISED)
    shipped = proof_of(iteration)
    monkeypatch.setattr(lipschitz, "_raw_entries", tuple)
    found = lipschitz.proof_of.__wrapped__(iteration)
    assert (shipped.method, found.method) == (TABLE, RUN_TIME)
    assert shipped.value <= found.value < shipped.value * (1 + 2e-5)


def test_there_is_no_cliff_where_steps_become_trainable() -> None:
    net = make_network(1, (16, 16), preset="stable")
    trained = TrainableSteps(net).schedule
    for share in (None, NORMALISED):
        before = net.schedule.proven_bound(math.sqrt(2), share)
        after = trained.proven_bound(math.sqrt(2), share)
        assert (before.proof.method, after.proof.method) == (TABLE, RUN_TIME)
        assert after.value == pytest.approx(before.value, rel=1e-4)


def test_proof_is_of_the_very_steps_of_a_trained_network() -> None:
    schedule = learned(15, 1.4)
    (steps,) = schedule.iteration.primal_steps
    assert list(map(float, steps)) == schedule.taus.tolist()
    assert lipschitz_bound(schedule.iteration) < 0.5 * closed_form(schedule.iteration)


def test_beyond_the_largest_depth_the_closed_form_stands() -> None:
    iteration = UnrolledIteration.geometric(Fraction("0.97"), MOST_LAYERS + 1)
    proof = proof_of(iteration)
    assert (proof.method, proof.multipliers) == (CLOSED_FORM, None)
    assert float(proof.bound) == pytest.approx(0.97 * MOST_LAYERS)


@pytest.mark.parametrize(
    ("schedule", "method"),
    [
        (NetworkSchedule(), TABLE),
        (NetworkSchedule(12, decay=0.77), RUN_TIME),
        (WARPdSchedule(3, 2), RUN_TIME),
        (PaperSchedule(2, 3), RUN_TIME),
        (learned(12, 1.0), RUN_TIME),
        (NetworkSchedule(MOST_LAYERS + 1, decay=0.99), CLOSED_FORM),
        (NetworkSchedule(12, decay=1.0), CLOSED_FORM),
    ],
    ids=["table", "decay", "WARPd", "paper", "learned", "too deep", "constant"],
)
def test_certificate_names_the_proof_of_its_bound(schedule, method) -> None:
    encoding = MatrixOperator(torch.eye(4, dtype=torch.float64), 1.0)
    net, y = FIRENET(lam=0.01, schedule=schedule), torch.ones(4, dtype=torch.float64)
    with torch.no_grad():
        certificate = certify(net, y, encoding, net.solve(y, encoding))
    (entry,) = (one for one in certificate.entries if one.name == "lipschitz_bound")
    assert f"Proof: {method}. Kept fixed:" in entry.statement
    assert f"Proof: {method}." in certificate.lipschitz_statement


@pytest.mark.slow
@pytest.mark.parametrize("decay", ["0.8", "0.97", "0.99"])
def test_proofs_for_300_layers_take_seconds(decay) -> None:
    start = time.process_time()
    proof = proof_of(UnrolledIteration.geometric(Fraction(decay), MOST_LAYERS))
    assert time.process_time() - start < 60
    assert proof.method == RUN_TIME
    assert proof.bound < closed_form(proof.iteration) * Fraction(1, 2)


def test_shares_between_the_ends_of_an_interval_are_proven_with_it() -> None:
    low, high = share_of_data(0.97, 1.0)
    iteration = UnrolledIteration.geometric(Fraction("0.8"), 8, (low, high))
    proof = proof_of(iteration)
    for part in (0, Fraction(1, 3), 1):
        share = low + part * (high - low)
        point = replace(iteration, data_share=(share, share))
        # The weight of t^2 is the share itself: what is left of the bound is smaller.
        assert proves(point, proof.multipliers, proof.bound)
    beyond = replace(iteration, data_share=(high + Fraction(1, 8), high + Fraction(1, 8)))
    assert not proves(beyond, proof.multipliers, proof.bound)
    assert share_of_data(1e-3, 1.0) is None
    assert share_of_data(1.0 + 1e-7, 1.0) == NORMALISED


def analysis_changes(iteration: UnrolledIteration, share: float, seed: int):
    """Return the changes of data, duals and images of the network's own step in analysis form."""
    generator = torch.Generator().manual_seed(seed)
    frame = StationaryWavelet(1, (8,))
    matrix = torch.randn(6, 8, dtype=torch.complex128, generator=generator)
    size = math.sqrt(share / (1 - share)) * frame.norm_bound
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2) * size
    encoding = MatrixOperator(matrix, size)
    problem = FIRENET(frame, 0.05, schedule=NetworkSchedule(1)).problem(encoding)
    norm = problem.norm_bound
    runs = []
    for y in torch.randn(2, 6, dtype=torch.complex128, generator=generator):
        residual, state = problem.encoding.residual(y), start(problem, torch.zeros_like(matrix[0]))
        states = []
        for tau in iteration.primal_steps[0]:
            t = torch.tensor(float(tau) / norm, dtype=torch.float64)
            state = step(problem, residual, state, t, 1 / (norm**2 * t))
            states.append(state.bare(problem, y))
        runs.append((y, states))
    (y, one), (other, two) = runs
    states = [
        tuple(a - b for a, b in zip(*pair, strict=True)) for pair in zip(one, two, strict=True)
    ]
    return problem, norm, y - other, states


@pytest.mark.parametrize("share", [0.5, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_conditions_of_the_analysis_form_hold_for_what_the_network_does(share, seed) -> None:
    exact = (Fraction(share), Fraction(share))
    iteration = UnrolledIteration.geometric(Fraction("0.8"), 6, exact)
    problem, norm, data, states = analysis_changes(iteration, share, seed)
    whole, of_data, of_frame = forms(iteration)
    x = [one[0] for one in states]
    v, q = ([one[i] for one in states[:-1]] for i in (1, 2))
    a = [problem.encoding.adjoint(one) / norm for one in v]
    b = [problem.synthesise(one) / norm for one in q]
    # x_1 and q_1 are zero, and x_2 is a multiple of a_1; then x and a alternate.
    later = (one for pair in zip(x[2:], a[2:], strict=False) for one in pair)
    zero = torch.zeros_like(x[0])
    images = [zero, a[0], a[1], *later, x[-1]]
    assert len(images) == whole.size
    assert torch.allclose(combine(whole.output, images), x[-1])
    # Contractions, and the data in the unit of theirs.
    alpha, omega = math.sqrt(share), math.sqrt(1 - share)
    own_data = [data / (alpha * norm), *(alpha * one for one in v)]
    own_frame = [zero, *(omega * one for one in q[1:])]
    for i, pair in enumerate(whole.pairs):
        kind, own, mapped = (
            (of_data, own_data, a) if of_data.pairs[i][0] else (of_frame, own_frame, b[1:])
        )
        held = (
            value(kind.pairs[i], own) + value(pair, images) - value(kind.pairs[i], [zero, *mapped])
        )
        assert held >= -1e-12


def value(pair, vectors: list[Tensor]) -> float:
    p, r = (combine(one, vectors) for one in pair)
    return float((p.conj() * r).real.sum())


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
        (stated,) = forms(iteration)
        assert len(changes) == stated.size + 1

        for pair in stated.pairs:
            p, r = (combine(one, changes) for one in pair)
            assert (p.conj() * r).real.sum() >= -1e-12 * (p.norm() * r.norm() + 1)
        assert torch.allclose(combine(stated.output, changes), changes[-1])


def combine(coefficients, basis: list[Tensor]) -> Tensor:
    return sum(float(value) * basis[index] for index, value in coefficients.items())


def test_wrong_multipliers_prove_nothing_or_less() -> None:
    entry = table()[DEFAULTS[0]]
    for wrong in (-1, 0, Fraction(1, 2)):
        multipliers = [wrong * m for m in entry.multipliers]
        assert proven_square(entry.iteration, multipliers) is None
        assert not proves(entry.iteration, multipliers, 100 * entry.bound)
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
        assert entry.bound <= simple + Fraction(2, 10**4)
        assert proof_of(entry.iteration).bound <= simple


SCHEDULES = {
    "network": NetworkSchedule(25, tau=1.5, eps0=1.0),
    "network, constant steps": NetworkSchedule(12, tau=0.5, decay=1.0, eps0=1.0),
    "network, untabulated decay": NetworkSchedule(12, tau=0.5, decay=0.77, eps0=1.0),
    "learned": replace(learned(10, 1.0), eps0=1.0),
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
    for seed in range(4):
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
        jacobian = jacobian_of_batches(partial(net, encoding=encoding), y)
        bound = net.lipschitz_bound(encoding)
        assert bound is not None
        ratio = norm_of(jacobian) / bound
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


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=3))
def test_a_root_of_squares_is_not_rounded_below_itself(numbers: list[float]) -> None:
    found = length_above(*numbers)
    assert Fraction(found) ** 2 >= sum(Fraction(number) ** 2 for number in numbers)
    assert found == pytest.approx(math.hypot(*numbers), rel=1e-15)
    assert length_above(*numbers, math.inf) == math.inf


def test_the_constant_at_the_scale_of_the_data_is_not_rounded_down() -> None:
    for layers in range(2, 9):
        net = FIRENET(schedule=NetworkSchedule(layers), ball=2.5)
        encoding = MatrixOperator(torch.eye(4), 1.0)
        fixed = net.lipschitz_bound(encoding)
        exact = Fraction(fixed) ** 2 + Fraction(min(fixed, net.radius(encoding))) ** 2
        assert Fraction(net.lipschitz_bound_everywhere(encoding)) ** 2 >= exact
