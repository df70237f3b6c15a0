"""Theorem 3 holds where its constants are known: for operators near the identity."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import (
    LevelStructure,
    NullSpaceConstants,
    admissible_lam,
    best_approximation_error,
    data_error,
    error_bound,
    level_weights,
    objective_bound,
    recovery_constants,
    sharpness,
)
from firenet_mri.operators import LinearOperator, MatrixOperator, StationaryWavelet

SPARSITIES, SIZES = (2, 3), (8, 24)
LEVELS = LevelStructure.balanced(SPARSITIES, SIZES)
INDEX = torch.repeat_interleave(torch.arange(2), torch.tensor(SIZES))
WEIGHTS = level_weights(SPARSITIES, INDEX)


def problem(seed: int, noise: float):
    """||A - identity|| = 0.2, so that ||x_D|| <= ||x|| <= ||A x|| / 0.8: rho = 0, gamma = 1.25."""
    generator = torch.Generator().manual_seed(seed)
    error = torch.randn(32, 32, dtype=torch.complex128, generator=generator)
    matrix = torch.eye(32) + 0.2 * error / torch.linalg.matrix_norm(error, 2)
    x = 1e-3 * torch.randn(32, dtype=torch.complex128, generator=generator)
    x[[1, 5, 9, 20, 30]] = torch.tensor([2.0, -1.0, 1j, 3.0, -1.5j], dtype=torch.complex128)
    e = torch.randn(32, dtype=torch.complex128, generator=generator)
    return MatrixOperator(matrix, 1.2), x, matrix @ x + noise * e / e.norm()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_objective_and_error_stay_below_their_bounds(noise, fraction, exact) -> None:
    recovery = recovery_constants(LEVELS, NullSpaceConstants(0.0, 1.25), exact)
    lam = fraction * admissible_lam(LEVELS, recovery)
    for seed in range(4):
        encoding, x, y = problem(seed, noise)
        tail = best_approximation_error(x, INDEX, LEVELS)
        delta = data_error(LEVELS, recovery, lam, tail=tail, misfit=noise)
        chi = sharpness(LEVELS, recovery, lam)
        schedule = PaperSchedule.from_theorem(
            LEVELS,
            recovery,
            lam=lam,
            norm=1.2,
            eps0=float(y.norm()),
            accuracy=chi * (delta + 0.01),
            delta=delta,
        )
        net = FIRENET(None, lam, WEIGHTS, schedule)
        at_x = float(net.problem(encoding).objective(x, y))
        iterates = net.iterates(y, encoding)
        for restart, group in itertools.groupby(iterates, key=lambda item: item[0]):
            *_, (_, _, psi) = group
            gap = float(net.problem(encoding).objective(psi, y)) - at_x
            promised = objective_bound(schedule.eps0, restart, delta=delta)
            assert gap <= promised
            bound = error_bound(
                LEVELS, recovery, lam, tail=tail, misfit=noise, objective_gap=promised
            )
            assert float((psi - x).norm()) <= bound
        assert restart == schedule.restarts
        assert chi * promised <= chi * (delta + 0.01)


def test_too_large_lam_is_refused_with_the_range() -> None:
    recovery = recovery_constants(LEVELS, NullSpaceConstants(0.0, 1.25))
    largest = admissible_lam(LEVELS, recovery)
    with pytest.raises(UsageError, match="0 < lam <="):
        PaperSchedule.from_theorem(
            LEVELS, recovery, lam=1.01 * largest, norm=1.0, eps0=1.0, accuracy=0.1
        )


def test_parameters_are_those_of_the_theorem() -> None:
    recovery = recovery_constants(LEVELS, NullSpaceConstants(0.5, math.sqrt(2)))
    lam = admissible_lam(LEVELS, recovery)
    schedule = PaperSchedule.from_theorem(
        LEVELS, recovery, lam=lam, norm=2.0, eps0=3.0, accuracy=0.01, delta=1e-5
    )
    chi = recovery.c2
    assert schedule.inner == math.ceil(2 * chi * 2.0 * math.e)
    assert schedule.delta == pytest.approx(1e-5 / 3)
    assert chi * objective_bound(3.0, schedule.restarts, delta=1e-5) <= 0.01
    assert chi * objective_bound(3.0, schedule.restarts - 1, delta=1e-5) > 0.01


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("fraction", [1.0, 0.3])
def test_theorem_holds_for_a_parseval_frame(noise, fraction) -> None:
    """||A - identity|| = 0.2: ||(W x)_D|| <= ||x|| <= ||A x|| / 0.8; R bounds the dual."""
    shape, sparsity = (6, 6), 9
    frame = StationaryWavelet(1, shape)
    bands = frame.codomain_shape[0]
    levels = LevelStructure.balanced((sparsity,) * bands, (36,) * bands)
    index = torch.arange(bands).reshape(bands, 1, 1).expand(frame.codomain_shape)
    recovery = recovery_constants(levels, NullSpaceConstants(0.0, 1.25))
    lam = fraction * admissible_lam(levels, recovery)
    chi = sharpness(levels, recovery, lam)
    weights = level_weights((sparsity,) * bands, index)
    reach = math.sqrt(1 + lam**2 * float(weights.square().sum()))
    norm = math.sqrt(1.2**2 + 1)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        error = torch.randn(36, 36, dtype=torch.complex128, generator=generator)
        matrix = torch.eye(36) + 0.2 * error / torch.linalg.matrix_norm(error, 2)
        x = torch.zeros(shape, dtype=torch.complex128)
        x[1:4, 2:5] = torch.randn((), dtype=torch.complex128, generator=generator) + 2
        e = torch.randn(36, dtype=torch.complex128, generator=generator)
        encoding = Reshaped(matrix, shape)
        y = encoding(x) + noise * e / e.norm()
        tail = best_approximation_error(frame(x), index, levels)
        delta = data_error(levels, recovery, lam, tail=tail, misfit=noise)
        eps0 = float(y.norm())
        inner = math.ceil(2 * chi * norm * reach * math.e)
        schedule = PaperSchedule(
            restarts=4,
            inner=inner,
            tau=1 / (norm * reach**2),
            sigma=reach**2 / norm,
            norm=norm,
            eps0=eps0,
            delta=delta / eps0,
        )
        net = FIRENET(frame, lam, weights, schedule)
        objective = net.problem(encoding).objective
        at_x = float(objective(x, y))
        for restart, count, psi in net.iterates(y, encoding):
            if count < inner:
                continue
            promised = objective_bound(eps0, restart, delta=delta)
            assert float(objective(psi, y)) - at_x <= promised
            bound = error_bound(
                levels, recovery, lam, tail=tail, misfit=noise, objective_gap=promised
            )
            assert float((psi - x).norm()) <= bound


class Reshaped(LinearOperator):
    """A matrix on images: (*batch, y, x) to (*batch, rows)."""

    def __init__(self, matrix: torch.Tensor, shape: tuple[int, ...]) -> None:
        super().__init__(shape, (len(matrix),), float(torch.linalg.matrix_norm(matrix, 2)))
        self.matrix = matrix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2) @ self.matrix.mT

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y @ self.matrix.conj()).reshape(*y.shape[:-1], *self.domain_shape)
