"""The paper's convergence on a scan: objective gap after every layer, beside the schedule's eps_k.

The theorem's bound F(psi_k) - F(x) <= eps_k needs p >= 2 chi L / nu. For p = 5 that asks
chi <= 0.92, which real scans do not fulfil: the gap falls geometrically, then stays on a plateau.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule
from firenet_mri.operators.base import LinearOperator


@dataclass(frozen=True)
class Convergence:
    """Objective gaps relative to ||y||, one number an inner iteration.

    Parameters
    ----------
    restart, inner
        Where the number was taken, counted from 1.
    gap
        (F(x) - F_best) / ||y||.
    eps
        eps_k / ||y|| of the schedule.
    """

    restart: tuple[int, ...]
    inner: tuple[int, ...]
    gap: tuple[float, ...]
    eps: tuple[float, ...]
    best_objective: float
    best_objective_gap: float


def convergence(
    net: FIRENET, y: Tensor, encoding: LinearOperator, *, long_run: int = 3000
) -> Convergence:
    """Return the objective gaps of a network with ``PaperSchedule`` on data y (one item).

    Parameters
    ----------
    net, y, encoding
        Network, data (*codomain_shape) and encoding operator.
    long_run
        Layers of the run in double precision that finds the best objective; its own certified gap
        is part of the result.
    """
    schedule = net.schedule
    assert isinstance(schedule, PaperSchedule)
    problem = net.problem(encoding)
    data = y.to(torch.complex128)
    size = float(torch.linalg.vector_norm(data))
    with torch.no_grad():
        steps = [
            (k, j, float(problem.objective(x, data))) for k, j, x in net.iterates(data, encoding)
        ]
        accurate = FIRENET(
            net.sparsifier, net.lam, problem.weights, NetworkSchedule(long_run, 0.3, 0.999)
        )
        x, v, q = accurate.solve(data, encoding)
        best = float(problem.objective(x, data))
        certified = float(problem.duality_gap(x, data, v, q))
    eps, scale = {}, 1.0
    for restart in range(1, schedule.restarts + 1):
        scale = schedule.nu * (schedule.delta + scale)
        eps[restart] = scale
    return Convergence(
        restart=tuple(k for k, _, _ in steps),
        inner=tuple(j for _, j, _ in steps),
        gap=tuple((value - best) / size for _, _, value in steps),
        eps=tuple(eps[k] for k, _, _ in steps),
        best_objective=best,
        best_objective_gap=certified,
    )
