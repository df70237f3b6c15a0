"""What is known about a reconstruction, entry by entry, each marked with how it is known.

"proven" follows from a proof (docs/theory.md, section 3) for every scan; "verified on this scan":
the hypotheses of a theorem were checked numerically for these data (section 6); "measured": a
number that was seen; "assumed": taken as given; "not verified": nothing is claimed, and why.

Duality gap: F(x) - min F <= F(x) - D for any feasible dual point, whatever the network did. It is
computed in double precision.

Lipschitz bound: with eps_0 fixed the schedule's L1. With eps_0 = ||y|| the network is positively
homogeneous, phi(y) = ||y|| phi_1(y / ||y||), so that its Jacobian at y is at most
sqrt(L1^2 + B1^2), B1 = ||phi(y)|| / ||y|| <= L1; hence sqrt(2) L1 everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from firenet_mri.errors import DataError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.digests import Digests
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.problem import Problem
from firenet_mri.operators.base import LinearOperator
from firenet_mri.prox import item_norm

VERSION = 1

SCOPE = (
    "This certificate is about the stated optimisation problem: how near the image is to its "
    "optimum and how strongly the network can amplify a change of the k-space data. It does not "
    "say that the image is true to the anatomy."
)

# Rounds that tighten the dual bound; 20 bring the gap from 14 % to 2.6 % on the sample.
_ROUNDS = 20

# Single precision does not reach a smaller relative gap.
_SMALLEST_GAP = 1e-5

Status = Literal["proven", "verified on this scan", "measured", "assumed", "not verified"]


@dataclass(frozen=True)
class Entry:
    """One thing that is said about some items of a reconstruction.

    Parameters
    ----------
    name
        What it is about, in snake case.
    status
        How it is known.
    statement
        What is said, in plain words.
    limits
        What is not said.
    values
        Numbers by name, each with one value an item.
    items
        Which items it is about, counted from 0.
    """

    name: str
    status: Status
    statement: str
    limits: str = ""
    values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    items: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.status not in get_args(Status):
            raise DataError(f"Entry {self.name!r} is marked {self.status!r}, which is no status")
        for key, numbers in self.values.items():
            if len(numbers) != len(self.items) or not all(map(math.isfinite, numbers)):
                raise DataError(
                    f"Entry {self.name!r} has {key} = {numbers}; it needs one finite number for "
                    f"each of {len(self.items)} items"
                )

    @property
    def claim(self) -> tuple[object, ...]:
        """Everything but numbers and items: entries with the same claim can be joined."""
        return self.name, self.status, self.statement, self.limits, tuple(self.values)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Entry:
        """Return the entry that ``dataclasses.asdict`` has turned into plain data."""
        values = {str(key): tuple(map(float, numbers)) for key, numbers in data["values"].items()}
        items = tuple(int(item) for item in data["items"])
        return cls(**{**data, "values": values, "items": items})


@dataclass(frozen=True)
class Certificate:
    """What is known about one reconstruction of one or several items (slices).

    Parameters
    ----------
    entries
        What is said, see :class:`Entry`; every item has an entry "duality_gap".
    items
        Number of items.
    digests
        What it belongs to; None before that is known.
    scope
        What the certificate says and what it does not.
    """

    entries: tuple[Entry, ...]
    items: int = 1
    digests: Digests | None = None
    scope: str = SCOPE

    @classmethod
    def join(cls, certificates: Sequence[Certificate]) -> Certificate:
        """Return one certificate for the items of several, in their order."""
        merged: dict[tuple[object, ...], Entry] = {}
        first = 0
        for certificate in certificates:
            for entry in certificate.entries:
                moved = replace(entry, items=tuple(first + item for item in entry.items))
                before = merged.get(entry.claim)
                merged[entry.claim] = moved if before is None else _append(before, moved)
            first += certificate.items
        return cls(tuple(merged.values()), first)

    def with_entries(self, *entries: Entry) -> Certificate:
        """Return the certificate with more entries, before the assumptions."""
        known = tuple(entry for entry in self.entries if entry.status != "assumed")
        assumed = tuple(entry for entry in self.entries if entry.status == "assumed")
        return replace(self, entries=(*known, *entries, *assumed))

    def for_data_times(self, factor: float) -> Certificate:
        """Return the certificate for samples that were multiplied by at most ``factor`` each.

        The Lipschitz bounds become those with respect to the samples themselves; objective and gap
        stay those of the problem with the products.
        """
        entries = []
        for entry in self.entries:
            if entry.name == "lipschitz_bound" and entry.status == "proven":
                known = entry.values.items()
                values = {key: tuple(factor * value for value in each) for key, each in known}
                entry = replace(entry, values=values)
            entries.append(entry)
        return replace(self, entries=tuple(entries))

    @property
    def objective(self) -> tuple[float, ...]:
        """F(x) of each item, in the units of the data."""
        return self._of_all("duality_gap", "objective")

    @property
    def lower_bound(self) -> tuple[float, ...]:
        """Proven lower bound of min F of each item."""
        return self._of_all("duality_gap", "lower_bound")

    @property
    def duality_gap(self) -> tuple[float, ...]:
        """objective - lower_bound: x is at most this far from optimal."""
        return self._of_all("duality_gap", "duality_gap")

    @property
    def relative_gap(self) -> tuple[float, ...]:
        """duality_gap / objective; 0 where the objective is 0."""
        return self._of_all("duality_gap", "relative_gap")

    @property
    def lipschitz_bound(self) -> float | None:
        """Proven bound of ||phi(y') - phi(y)|| / ||y' - y|| over all data; None if there is none.

        It is the largest of all items, and None if one of them has none.
        """
        bounds = self.lookup("lipschitz_bound", "lipschitz_bound")
        return max(bounds.values()) if len(bounds) == self.items else None

    @property
    def lipschitz_bound_at_data(self) -> tuple[float, ...] | None:
        """Proven bound of the Jacobian's norm at the data of each item; None if one has none."""
        bounds = self.lookup("lipschitz_bound", "lipschitz_bound_at_data")
        return tuple(bounds[i] for i in range(self.items)) if len(bounds) == self.items else None

    @property
    def measured_gain(self) -> tuple[float, ...] | None:
        """Measured lower bound of the Jacobian's norm at the data; None if it was not measured."""
        gains = self.lookup("measured_gain", "measured_gain")
        return tuple(gains[i] for i in range(self.items)) if len(gains) == self.items else None

    @property
    def lipschitz_statement(self) -> str:
        """The Lipschitz bound, or why there is none, as a sentence."""
        bound = self.lipschitz_bound
        if bound is not None:
            return (
                f"A change of the data changes the image by at most {bound:.4g} times its size "
                "(proven Lipschitz bound of the network)."
            )
        entries = [entry for entry in self.entries if entry.name == "lipschitz_bound"]
        return next((e.statement for e in entries if not e.values), "")

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the statements rest on."""
        return tuple(entry.statement for entry in self.entries if entry.status == "assumed")

    def lookup(self, name: str, key: str) -> dict[int, float]:
        """Return the values of one number by item; items without it are left out."""
        found: dict[int, float] = {}
        for entry in self.entries:
            if entry.name == name and key in entry.values:
                found.update(zip(entry.items, entry.values[key], strict=True))
        return found

    def sentence(self) -> str:
        """Return the certificate as a sentence for people."""
        worst = max(self.relative_gap)
        return (
            f"The objective is proven to be within {100 * worst:.2g} % of its own value from the "
            f"optimum. {self.lipschitz_statement}"
        )

    def to_dict(self) -> dict[str, object]:
        """Return the certificate as plain data for JSON.

        The numbers that most ask for stand at the top once more, besides the entries.
        """
        at_data = self.lipschitz_bound_at_data
        gain = self.measured_gain
        return {
            "version": VERSION,
            "scope": self.scope,
            "sentence": self.sentence(),
            "items": self.items,
            "objective": list(self.objective),
            "lower_bound": list(self.lower_bound),
            "duality_gap": list(self.duality_gap),
            "relative_gap": list(self.relative_gap),
            "lipschitz_bound": self.lipschitz_bound,
            "lipschitz_bound_at_data": None if at_data is None else list(at_data),
            "measured_gain": None if gain is None else list(gain),
            "entries": [_plain(entry) for entry in self.entries],
            "digests": None if self.digests is None else asdict(self.digests),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Certificate:
        """Return the certificate that :meth:`to_dict` has turned into plain data.

        Raises
        ------
        DataError
            If the data are not a certificate, have another version, or contradict themselves.
        """
        version = data.get("version")
        if version != VERSION:
            raise DataError(
                f"The certificate has version {version!r}; this version of firenet_mri reads "
                f"version {VERSION}"
            )
        try:
            digests = data["digests"]
            certificate = cls(
                entries=tuple(Entry.from_dict(entry) for entry in data["entries"]),
                items=int(data["items"]),
                digests=None if digests is None else Digests(**digests),
                scope=str(data["scope"]),
            )
            again = certificate.to_dict()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The certificate is damaged ({type(error).__name__}: {error}); use the file as "
                "firenet wrote it"
            ) from None
        if again != dict(data):
            raise DataError(
                "The certificate contradicts itself: its numbers are not those of its entries; "
                "use the file as firenet wrote it"
            )
        return certificate

    def _of_all(self, name: str, key: str) -> tuple[float, ...]:
        """Return a number that every item has."""
        found = self.lookup(name, key)
        return tuple(found[item] for item in range(self.items))


def certify(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    state: State,
    *,
    x0: Tensor | None = None,
    dual_layers: int = 0,
) -> Certificate:
    """Return the certificate of a reconstruction: duality gap, Lipschitz bound, assumptions.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    state
        What ``net.solve(y, encoding, x0)`` returned.
    x0
        Start image that was used; None is zero.
    dual_layers
        So many layers of the adaptive solver look for a better dual vector, which tightens the gap;
        the image stays as it is.
    """
    problem = net.problem(encoding)
    double = torch.promote_types(y.dtype, torch.float64)
    with torch.no_grad():
        data, x = y.to(double), state.x.to(double)
        objective = problem.objective(x, data)
        gap = problem.duality_gap(x, data, *_dual_in_double(problem, state))
        if dual_layers and net.solver.is_fixed:
            schedule = AdaptiveSchedule(_SMALLEST_GAP, dual_layers)
            follower = FIRENET(net.sparsifier, net.lam, net.weights, schedule)
            v, q = _dual_in_double(problem, follower.solve(y, encoding, state.x))
            gap = torch.minimum(gap, objective - problem.dual_value(v, data, q))
        gain = item_norm(x, problem.image_axes).reshape(objective.shape) / item_norm(
            data, problem.data_axes
        ).reshape(objective.shape)
    entries = (
        _gap_entry(objective, gap),
        _lipschitz_entry(net, encoding, _floats(gain.nan_to_num(nan=0.0)), x0),
        *_assumptions(objective.numel()),
    )
    return Certificate(entries, objective.numel())


def _dual_in_double(problem: Problem, state: State) -> tuple[Tensor, Tensor | None]:
    """Return the dual vectors of a state, tightened, in double precision."""
    q = None if state.q is None else problem.tighten_dual(state.v, state.q, _ROUNDS)
    double = torch.promote_types(state.v.dtype, torch.float64)
    return state.v.to(double), None if q is None else q.to(double)


def _gap_entry(objective: Tensor, gap: Tensor) -> Entry:
    relative = torch.where(objective > 0, gap / objective, torch.zeros_like(gap))
    return Entry(
        "duality_gap",
        "proven",
        "No image has an objective that is smaller than this one's by more than the gap. Weak "
        "duality shows it after the fact, whatever has computed the image.",
        "The image that is optimal for the objective need not be the true one. Computed in double "
        "precision; rounding errors are not bounded.",
        {
            "objective": _floats(objective),
            "lower_bound": _floats(objective - gap),
            "duality_gap": _floats(gap),
            "relative_gap": _floats(relative),
        },
        tuple(range(objective.numel())),
    )


def _lipschitz_entry(
    net: FIRENET, encoding: LinearOperator, gains: tuple[float, ...], x0: Tensor | None
) -> Entry:
    items = tuple(range(len(gains)))
    free = net.schedule.eps0 is None
    obstacle = net.obstacle(x0 is not None, encoding)
    fixed = net.lipschitz_bound(encoding)
    if obstacle is not None or fixed is None:
        return Entry("lipschitz_bound", "not verified", obstacle or "", items=items)
    everywhere = math.sqrt(2) * fixed if free else fixed
    at_data = tuple(math.hypot(fixed, gain) if free else fixed for gain in gains)
    return Entry(
        "lipschitz_bound",
        "proven",
        "Whatever the data and whatever their change, the image changes by at most "
        "lipschitz_bound times the size of the change (Euclidean norms); for small changes of "
        "these data by at most lipschitz_bound_at_data times. It follows from the step sizes.",
        "The encoding (maps, mask, whitening) is kept fixed. A small constant alone is no merit: "
        "an image that is always zero has the smallest; read it together with the gap.",
        {
            "lipschitz_bound": (everywhere,) * len(items),
            "lipschitz_bound_at_data": at_data,
        },
        items,
    )


def _assumptions(count: int) -> tuple[Entry, ...]:
    items = tuple(range(count))
    return (
        Entry(
            "encoding",
            "assumed",
            "Sensitivity maps, sampling mask and noise whitening are taken as given: what a change "
            "of the data does to the maps that are estimated from it is not covered.",
            items=items,
        ),
        Entry(
            "arithmetic",
            "assumed",
            "Statements about the network hold in exact arithmetic; the duality gap is evaluated "
            "in double precision.",
            items=items,
        ),
    )


def _append(before: Entry, after: Entry) -> Entry:
    values = {key: (*numbers, *after.values[key]) for key, numbers in before.values.items()}
    return replace(before, values=values, items=(*before.items, *after.items))


def _plain(entry: Entry) -> dict[str, object]:
    values = {key: list(numbers) for key, numbers in entry.values.items()}
    return {**asdict(entry), "values": values, "items": list(entry.items)}


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.reshape(-1).tolist())
