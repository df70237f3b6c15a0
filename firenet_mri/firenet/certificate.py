"""What is proven about a reconstruction: its duality gap, and the network's Lipschitz bound.

Duality gap: F(x) - min F <= F(x) - D for any feasible dual point, whatever the network did. It is
computed in double precision.

Lipschitz bound (docs/theory.md, section 3.3): with eps_0 fixed, L1 = n (p-1)/2 sqrt(tau sigma).
With eps_0 = ||y|| the network is positively homogeneous, phi(y) = ||y|| phi_1(y / ||y||), so that
its Jacobian at y is at most sqrt(L1^2 + B1^2), B1 = ||phi(y)|| / ||y|| <= L1; hence sqrt(2) L1
everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.operators.base import LinearOperator
from firenet_mri.prox import item_norm

SCOPE = (
    "This certificate is about the stated optimisation problem: how near the image is to its "
    "optimum and how strongly the network can amplify a change of the k-space data. It does not "
    "say that the image is true to the anatomy."
)

# Rounds that tighten the dual bound; 20 bring it from 8 % to 3 % on an in-vivo brain scan.
_ROUNDS = 20

_ASSUMPTIONS = (
    "Sensitivity maps, sampling mask and noise whitening are taken as given: what a change of the "
    "data does to the maps that are estimated from it is not covered.",
    "Statements about the network hold in exact arithmetic; the duality gap is evaluated in double "
    "precision.",
)


@dataclass(frozen=True)
class Certificate:
    """What is proven about one reconstruction, item by item.

    Parameters
    ----------
    objective
        F(x) of each item, in the units of the data.
    lower_bound
        Proven lower bound of min F.
    duality_gap
        objective - lower_bound: x is at most this far from optimal.
    relative_gap
        duality_gap / objective; 0 where the objective is 0.
    lipschitz_bound
        Proven bound of ||phi(y') - phi(y)|| / ||y' - y|| over all data; None if there is none.
    lipschitz_bound_at_data
        Proven bound of the Jacobian's norm at the data of each item; None if there is none.
    lipschitz_statement
        The two bounds, or why there is none, as a sentence.
    assumptions
        What the statements rest on.
    scope
        What the certificate says and what it does not.
    """

    objective: tuple[float, ...]
    lower_bound: tuple[float, ...]
    duality_gap: tuple[float, ...]
    relative_gap: tuple[float, ...]
    lipschitz_bound: float | None
    lipschitz_bound_at_data: tuple[float, ...] | None
    lipschitz_statement: str
    assumptions: tuple[str, ...] = _ASSUMPTIONS
    scope: str = SCOPE

    @classmethod
    def join(cls, certificates: Sequence[Certificate]) -> Certificate:
        """Return one certificate for the items of several that one network made."""
        first = certificates[0]
        at_data = None
        if first.lipschitz_bound_at_data is not None:
            at_data = tuple(
                bound for one in certificates for bound in one.lipschitz_bound_at_data or ()
            )
        return replace(
            first,
            objective=tuple(value for one in certificates for value in one.objective),
            lower_bound=tuple(value for one in certificates for value in one.lower_bound),
            duality_gap=tuple(value for one in certificates for value in one.duality_gap),
            relative_gap=tuple(value for one in certificates for value in one.relative_gap),
            lipschitz_bound_at_data=at_data,
        )

    def sentence(self) -> str:
        """Return the certificate as a sentence for people."""
        worst = max(self.relative_gap)
        return (
            f"The objective is proven to be within {100 * worst:.2g} % of its own value from the "
            f"optimum. {self.lipschitz_statement}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return the certificate as plain data for JSON."""
        return {**asdict(self), "sentence": self.sentence()}


def certify(
    net: FIRENET, y: Tensor, encoding: LinearOperator, state: State, *, x0: Tensor | None = None
) -> Certificate:
    """Return the certificate of a reconstruction.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    state
        What ``net.solve(y, encoding, x0)`` returned.
    x0
        Start image that was used; None is zero.
    """
    problem = net.problem(encoding)
    double = torch.promote_types(y.dtype, torch.float64)
    with torch.no_grad():
        data = y.to(double)
        x, v = state.x.to(double), state.v.to(double)
        q = None
        if state.q is not None:
            q = problem.tighten_dual(state.v, state.q, _ROUNDS).to(double)
        objective = problem.objective(x, data)
        gap = problem.duality_gap(x, data, v, q)
        gain = item_norm(x, problem.image_axes).reshape(objective.shape) / item_norm(
            data, problem.data_axes
        ).reshape(objective.shape)
    relative = torch.where(objective > 0, gap / objective, torch.zeros_like(gap))
    fixed = _fixed_scale_bound(net, problem.norm_bound, x0)
    return Certificate(
        objective=_floats(objective),
        lower_bound=_floats(objective - gap),
        duality_gap=_floats(gap),
        relative_gap=_floats(relative),
        lipschitz_bound=_everywhere(net, fixed),
        lipschitz_bound_at_data=_at_data(net, fixed, _floats(gain.nan_to_num(nan=0.0))),
        lipschitz_statement=_statement(net, fixed, x0),
    )


def _fixed_scale_bound(net: FIRENET, norm_bound: float, x0: Tensor | None) -> float | None:
    """Return L1; None where nothing is proven."""
    if x0 is not None and net.schedule.eps0 is None:
        return None
    return net.schedule.lipschitz_bound(norm_bound)


def _everywhere(net: FIRENET, fixed: float | None) -> float | None:
    if fixed is None or net.schedule.eps0 is not None:
        return fixed
    return math.sqrt(2) * fixed


def _at_data(
    net: FIRENET, fixed: float | None, gains: tuple[float, ...]
) -> tuple[float, ...] | None:
    if fixed is None:
        return None
    if net.schedule.eps0 is not None:
        return (fixed,) * len(gains)
    return tuple(math.hypot(fixed, gain) for gain in gains)


def _statement(net: FIRENET, fixed: float | None, x0: Tensor | None) -> str:
    bound = _everywhere(net, fixed)
    if bound is not None:
        return (
            f"A change of the data changes the image by at most {bound:.4g} times its size "
            "(proven Lipschitz bound of the network)."
        )
    if x0 is not None and net.schedule.eps0 is None:
        return (
            "The network's Lipschitz constant is not certified: with a start image the scale eps0 "
            "must be fixed."
        )
    return (
        f"The network's Lipschitz constant is not yet certified for "
        f"{type(net.schedule).__name__} with these steps."
    )


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.reshape(-1).tolist())
