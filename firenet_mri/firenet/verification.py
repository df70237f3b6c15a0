"""The entries of a certificate that take longer than the network, and are made on request.

What can be verified about this scan: where the optimum and the true image can lie (see
``recovery``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.firenet.adaptive import AdaptiveBlock, AdaptiveSchedule
from firenet_mri.firenet.certificate import Entry
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.recovery import (
    FAILURE,
    NotVerified,
    local_recovery,
    localise,
    minimiser_stability,
)
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.sparsifier import Sparsifier

# The optimum is approached to this gap, or with so many layers.
_RELATIVE_GAP = 1e-9
_LAYERS = 400

# Data change for which the certificate says how far the optimum can move.
_CHANGE = 0.01

_ODDS = (
    f"Checked in double precision; the smallest singular value behind it is bounded with the help "
    f"of random numbers, which fails with probability {FAILURE:g}."
)
_EMPTY = " The radius is larger than the image itself, so that this says nothing about the image."


class DataChange(NamedTuple):
    """What a change of the samples is to the data of a network.

    ``factor``: at most so many times as large is that of the data, which differs from 1 where
    density weights stand between them. ``norm``: of the samples.
    """

    factor: float
    norm: float


def verify_on_scan(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    state: State,
    *,
    change: DataChange | None = None,
    seed: int = 0,
) -> tuple[Entry, ...]:
    """Return the entries "localisation", "recovery" and "stability_of_the_optimum" of one item.

    The optimum is approached further first, in double precision, which takes up to 400 layers.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*codomain_shape) and its encoding operator.
    state
        What ``net.solve(y, encoding)`` returned.
    change
        What a change of the samples is to y; None if y are the samples. What is said of a change
        of the data is said of the samples.
    seed
        Of the random numbers that bound singular values.
    """
    change = DataChange(1.0, _norm(y)) if change is None else change
    problem = net.problem(encoding)
    if not _has_theory(problem.transform):
        reason = "What is known here covers Parseval frames of single coefficients only."
        names = ("localisation", "recovery", "stability_of_the_optimum")
        return tuple(Entry(name, "not verified", reason) for name in names)
    with torch.no_grad():
        data = y.to(torch.promote_types(y.dtype, torch.float64))
        x = state.x.to(data.dtype)
        solver = AdaptiveBlock(AdaptiveSchedule(_RELATIVE_GAP, _LAYERS))
        optimum = solver(problem, data, x)
        gap = float(optimum.relative_gap * problem.objective(optimum.state.x, data))
        return (
            _localisation(problem, data, x, optimum.state, seed, change),
            _recovery(problem, data, x, seed),
            _stability(problem, data, optimum.state.x, gap, seed, change),
        )


def _localisation(
    problem: SquareRootLasso,
    y: Tensor,
    x: Tensor,
    optimum: State,
    seed: int,
    change: DataChange,
) -> Entry:
    found = localise(problem, y, x, optimum.v, optimum.q, seed=seed)
    if isinstance(found, NotVerified):
        return _nothing(
            "localisation",
            "How far from this image the optimum can lie could not be verified",
            found,
        )
    size, radius = _norm(x), found.radius()
    moved = found.radius(2 * _CHANGE * change.factor * change.norm)
    return Entry(
        "localisation",
        "verified on this scan",
        "Every image with an objective no larger than this one's, the optimum included, lies "
        "within radius of it. If the data change by 1 %, the new optimum lies within "
        "radius_at_1_percent of this image." + (_EMPTY if radius >= size else ""),
        f"The true image need not have such an objective. {_ODDS}",
        _values(
            radius=radius,
            radius_of_image=radius / size if size > 0 else 0.0,
            radius_at_1_percent=moved,
            support=found.support,
            eta=found.eta,
            mu=found.mu,
        ),
    )


def _recovery(problem: SquareRootLasso, y: Tensor, x: Tensor, seed: int) -> Entry:
    found = local_recovery(problem, y, x, seed=seed)
    if isinstance(found, NotVerified):
        return _nothing(
            "recovery", "That these data determine the image could not be verified", found
        )
    size = _norm(x)
    return Entry(
        "recovery",
        "verified on this scan",
        "Every image that is at least as sparse as this one and fits the data at least as well "
        "lies within radius of it. In general its distance is at most "
        "k1 (its sparsity term - this one's + 2 tail) + k2 ||A (difference)||."
        + (_EMPTY if found.radius >= size else ""),
        f"The true image need not be as sparse. {_ODDS}",
        _values(
            radius=found.radius,
            radius_of_image=found.radius / size if size > 0 else 0.0,
            k1=found.k1,
            k2=found.k2,
            tail=found.tail,
            support=found.support,
            eta=found.eta,
            theta=found.theta,
            mu=found.mu,
        ),
    )


def _stability(
    problem: SquareRootLasso,
    y: Tensor,
    x: Tensor,
    gap: float,
    seed: int,
    change: DataChange,
) -> Entry:
    name = "stability_of_the_optimum"
    found = minimiser_stability(problem, y, x, gap, seed=seed)
    if isinstance(found, NotVerified):
        return _nothing(
            name, "How the exact optimum depends on the data could not be verified", found
        )
    return Entry(
        name,
        "verified on this scan",
        "A change of the data below largest_change moves the exact optimum by at most "
        "lipschitz_of_optimum times its size.",
        "It says nothing about larger changes, nor about the network's image, for which the "
        f"Lipschitz bound stands. {_ODDS}",
        _values(
            lipschitz_of_optimum=found.lipschitz * change.factor,
            largest_change=found.largest_change / change.factor,
            largest_change_of_data=found.largest_change / change.factor / change.norm,
            support=found.support,
            eta=found.eta,
            mu=found.mu,
        ),
    )


def _has_theory(sparsifier: Sparsifier) -> bool:
    is_single = sparsifier.groups is None and not sparsifier.is_coherent
    return sparsifier.is_parseval and is_single


def _nothing(name: str, what: str, found: NotVerified) -> Entry:
    return Entry(name, "not verified", f"{what}. {found.reason}")


def _values(**numbers: float) -> dict[str, tuple[float, ...]]:
    return {name: (float(number),) for name, number in numbers.items()}


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))
