"""Schedules with kept duals and a last data-consistency step are their formulas, in plain NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from laws import assert_close

from firenet_mri import FIRENET, NetworkSchedule, WARPdSchedule
from firenet_mri.errors import UsageError
from firenet_mri.operators import MatrixOperator


def problem() -> tuple[np.ndarray, np.ndarray, float]:
    rng = np.random.default_rng(4)
    matrix = rng.normal(size=(7, 12)) + 1j * rng.normal(size=(7, 12))
    return matrix, rng.normal(size=7) + 1j * rng.normal(size=7), float(np.linalg.norm(matrix, 2))


def chambolle_pock(matrix, y, lam, steps) -> np.ndarray:
    x, v = np.zeros(12, complex), np.zeros(7, complex)
    for tau, sigma in steps:
        z = x - tau * matrix.conj().T @ v
        x_next = z * np.maximum(1 - tau * lam / np.abs(z).clip(1e-300), 0)
        v = v + sigma * (matrix @ (2 * x_next - x) - y)
        v = v / max(1, np.linalg.norm(v))
        x = x_next
    return x


def run(schedule) -> torch.Tensor:
    matrix, y, norm = problem()
    encoding = MatrixOperator(torch.from_numpy(matrix), norm)
    return FIRENET(None, 0.05, schedule=schedule)(torch.from_numpy(y), encoding)


def test_warpd_shrinks_its_steps_at_restarts_and_keeps_the_dual() -> None:
    matrix, y, norm = problem()
    size, steps, om = np.linalg.norm(y), [], 1.0
    for _ in range(3):
        tau = 0.7 * om * size / norm
        steps += [(tau, 1 / (tau * norm**2))] * 4
        om = 0.5 * (0.01 + om)
    expected = chambolle_pock(matrix, y, 0.05, steps)
    image = run(WARPdSchedule(3, 4, tau=0.7, delta=0.01, nu=0.5))
    assert_close(image, torch.from_numpy(expected), 1e-11)


@pytest.mark.parametrize("length", [0.0, 0.3, 1.0])
def test_last_step_is_a_gradient_step_to_the_data(length) -> None:
    matrix, y, norm = problem()
    taus = [0.4 * 0.8**k * np.linalg.norm(y) for k in range(9)]
    x = chambolle_pock(matrix, y, 0.05, [(tau, 1 / (tau * norm**2)) for tau in taus])
    expected = x - length / norm**2 * matrix.conj().T @ (matrix @ x - y)
    image = run(NetworkSchedule(9, tau=0.4, decay=0.8, data_consistency=length))
    assert_close(image, torch.from_numpy(expected), 1e-11)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WARPdSchedule(inner=0), "inner is 0"),
        (lambda: WARPdSchedule(nu=1.0), "nu is 1.0; it must lie between 0 and 1"),
        (lambda: WARPdSchedule(delta=-1.0), "delta is -1.0"),
        (lambda: NetworkSchedule(data_consistency=1.5), r"must lie in \[0, 1\]"),
        (lambda: NetworkSchedule(decay=1.01), r"must lie in \(0, 1\]"),
        (lambda: NetworkSchedule(tau=math.inf), "must be a positive number"),
    ],
)
def test_parameters_outside_their_range_are_refused_with_it(make, message) -> None:
    with pytest.raises(UsageError, match=message):
        make()
