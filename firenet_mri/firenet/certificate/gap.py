"""The duality gap of an image: F(x) - min F <= F(x) - D for any dual point, whatever made x.

Objective and bound are evaluated in double precision, from the image and the dual point alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.firenet.certificate.certificate import Entry
from firenet_mri.firenet.certificate.exact import dual_of_data, exact_bound, exact_objective
from firenet_mri.firenet.dual import DualPoint, point_of, search_dual, start_of_q, tightened
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import Problem
from firenet_mri.memory import give_back_freed_memory
from firenet_mri.operators.base import LinearOperator

# Rounds in which the dual of the coefficients must reach the stated bound, between looks at it:
# from the signs of W near, which is nearer at first; then from zero and in double precision, which
# gets further where the residual is rounding or a frame has groups.
_ROUNDS = (100, 100, 200)
_LAST_ROUNDS = (400, 400, 800, 1600, 3200)


class ProvenGap(NamedTuple):
    """F(x) and a lower bound of min F of each item, (*batch) float64, and what proves the bound."""

    objective: Tensor
    lower_bound: Tensor
    point: DualPoint


class DualSearch(NamedTuple):
    """How long to look for a better dual point, see :mod:`firenet_mri.firenet.dual`."""

    layers: int
    rounds: int


# The network's own dual, its part for the coefficients brought nearer to feasible.
NO_SEARCH = DualSearch(0, 20)


def prove_gap(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    state: State,
    search: DualSearch = NO_SEARCH,
) -> ProvenGap:
    """Return the gap of a network's image, with the dual point that proves it.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    state
        What ``net.solve(y, encoding)`` returned.
    search
        How long to look for a better dual point. A network that stops itself has already run layers
        for this, so that only the rounds follow.
    """
    with torch.no_grad():
        point = _better_point(net, y, encoding, state, search)
        give_back_freed_memory(y.nbytes)
        objective, bound = evaluate(net.problem(encoding), y, state.x, point)
    return ProvenGap(objective, bound, point)


def _better_point(
    net: FIRENET, y: Tensor, encoding: LinearOperator, state: State, search: DualSearch
) -> DualPoint:
    """Return the dual point that a search finds from a state on."""
    layers = search.layers if net.solver.is_fixed else 0
    task = net.task(y, encoding)
    start = point_of(task.problem, task.y, task.scaled(state))
    found = search_dual(task.problem, task.y, start, layers=layers, rounds=search.rounds)
    return found._replace(share=task.share(found.share), near=task.image(found.near))


def evaluate(problem: Problem, y: Tensor, x: Tensor, point: DualPoint) -> tuple[Tensor, Tensor]:
    """Return F(x) and the lower bound of min F that a dual point gives, (*batch) float64.

    They are ``problem.objective`` and ``problem.dual_value`` in double precision; only a part of
    large data and coefficients is held in double precision at a time.
    """
    return exact_objective(problem, y, x), exact_bound(
        problem, dual_of_data(problem, y, point), point.q
    )


def bound_without_q(problem: Problem, y: Tensor, point: DualPoint, target: float) -> Tensor:
    """Return the lower bound, float64, of one item whose q has to be recovered.

    It reaches the target if possible: q is not in the evidence.

    Parameters
    ----------
    problem, y
        Analysis form and data, as :func:`evaluate` takes them, without batch axes.
    point
        The dual point; its q is ignored.
    target
        Where the search ends.
    """
    dual = dual_of_data(problem, y, point)
    image, double = dual.image, dual.image.dtype
    first = start_of_q(problem, point.near)
    best = torch.zeros((), dtype=torch.float64, device=y.device)
    for start, counts in ((first, _ROUNDS), (torch.zeros_like(first).to(double), _LAST_ROUNDS)):
        for q in tightened(problem, image.to(start.dtype), start, counts):
            bound = exact_bound(problem, dual, q)
            # What overflowed is NaN, and proves nothing.
            best = torch.fmax(best, bound)
            if float(best) >= target:
                return best
    return best


def gap_entry(gap: ProvenGap | None, items: tuple[int, ...]) -> Entry:
    """Return the entry "duality_gap"; None is a gap that was not computed."""
    if gap is None:
        return Entry(
            "duality_gap",
            "not verified",
            "How near the image is to the optimum was not computed, as requested (--no-gap).",
            items=items,
        )
    objective, bound = gap.objective, gap.lower_bound
    # A bound that exceeds the objective does so by rounding.
    difference = (objective - bound).clamp(min=0)
    relative = torch.where(objective > 0, difference / objective, torch.zeros_like(objective))
    return Entry(
        "duality_gap",
        "proven",
        "No image has an objective that is smaller than this one's by more than the gap. Weak "
        "duality shows it after the fact, whatever has computed the image.",
        "The image that is optimal for the objective need not be the true one. Computed in double "
        "precision; rounding errors are not bounded.",
        {
            "objective": floats(objective),
            "lower_bound": floats(objective - difference),
            "duality_gap": floats(difference),
            "relative_gap": floats(relative),
        },
        items,
    )


def floats(values: Tensor) -> tuple[float, ...]:
    """Return the numbers of a tensor in order."""
    return tuple(values.reshape(-1).tolist())
