"""What is known about a reconstruction, entry by entry, each marked with how it is known.

"proven" follows from a proof (docs/theory.md, section 3) for every scan, for what the sentence says
is kept fixed; "verified on this scan": the hypotheses of a theorem were checked numerically for
these data (section 6); "measured": a number that was seen; "assumed": taken as given; "not
verified": nothing is claimed, and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

from firenet_mri.digests import Digests
from firenet_mri.errors import DataError
from firenet_mri.plurals import counted
from firenet_mri.rounding import above, below

VERSION = 2

_OLD = (
    "Certificates of version 1 know neither the trajectory nor the options of reading, and their "
    "Lipschitz bound may be about other data than the scan's; reconstruct the scan again"
)

# What every statement of a bound ends with: the list of what does not change with the data.
KEPT_FIXED = "Kept fixed:"

# How the statement of the Lipschitz bound begins; its unit and what is kept fixed follow.
CHANGES = (
    "Whatever the data and whatever their change, the image changes by at most lipschitz_bound "
    "times the size of the change (Euclidean norms); for small changes of these data by at most "
    "lipschitz_bound_at_data times."
)

# What the statement of presets also says, which their sentence omits.
_BY_STEPS = " It follows from the step sizes."

SCOPE = (
    "This certificate is about the stated optimisation problem: how near the image is to its "
    "optimum and how strongly the network can amplify a change of the k-space data. It does not "
    "say that the image is true to the anatomy."
)

# The same of a network that minimises nothing.
SCOPE_OF_TRAINED = (
    "This certificate is about a trained network: how strongly it can amplify a change of the "
    "k-space data. The network minimises nothing, so that there is no optimum by which the image "
    "could be judged. It does not say that the image is true to the anatomy."
)

# Why there is no gap then.
NO_OPTIMUM = (
    "There is no duality gap: the network was trained and minimises nothing, so that there is no "
    "optimum to which the image could be near."
)

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
        Numbers by name, each with one value per item.
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
            raise DataError(f"Entry {self.name!r} is marked {self.status!r}, which is not a status")
        for key, numbers in self.values.items():
            if len(numbers) != len(self.items) or not all(map(math.isfinite, numbers)):
                raise DataError(
                    f"Entry {self.name!r} has {key} = {numbers}; it needs "
                    f"{counted(len(self.items), 'finite number')} (one per item)"
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
    not_checkable
        Why it cannot be checked, empty if it can: it was made by an older version.
    """

    entries: tuple[Entry, ...]
    items: int = 1
    digests: Digests | None = None
    scope: str = SCOPE
    not_checkable: str = ""

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
        scope = certificates[0].scope if certificates else SCOPE
        return cls(tuple(merged.values()), first, scope=scope)

    def with_entries(self, *entries: Entry) -> Certificate:
        """Return the certificate with more entries, before the assumptions."""
        known = tuple(entry for entry in self.entries if entry.status != "assumed")
        assumed = tuple(entry for entry in self.entries if entry.status == "assumed")
        return replace(self, entries=(*known, *entries, *assumed))

    @property
    def objective(self) -> tuple[float, ...] | None:
        """F(x) of each item, in the units of the data; None if no gap was computed."""
        return self._of_each("duality_gap", "objective")

    @property
    def lower_bound(self) -> tuple[float, ...] | None:
        """Proven lower bound of min F of each item."""
        return self._of_each("duality_gap", "lower_bound")

    @property
    def duality_gap(self) -> tuple[float, ...] | None:
        """objective - lower_bound: x is at most this far from optimal."""
        return self._of_each("duality_gap", "duality_gap")

    @property
    def relative_gap(self) -> tuple[float, ...] | None:
        """duality_gap / objective; 0 where the objective is 0."""
        return self._of_each("duality_gap", "relative_gap")

    @property
    def lipschitz_bound(self) -> float | None:
        """Proven bound of ||change of the image|| / ||change of the data||, both in noise units.

        Over all data, for what the entry's statement keeps fixed. It is the largest of all items,
        and None if one of them has none. Without a noise measurement, image and data have one unit,
        that of the file, and it cancels.
        """
        bounds = self.lookup("lipschitz_bound", "lipschitz_bound")
        return max(bounds.values()) if len(bounds) == self.items else None

    @property
    def lipschitz_bound_at_data(self) -> tuple[float, ...] | None:
        """Proven bound of the Jacobian's norm at the data of each item; None if one has none."""
        return self._of_each("lipschitz_bound", "lipschitz_bound_at_data")

    @property
    def lipschitz_bound_of_samples(self) -> float | None:
        """Proven bound of the image's change for a change of the samples as read, by their unit.

        The image is in noise standard deviations if the scan has a noise measurement; then the
        number depends on the unit of the file. None if there is none.
        """
        bounds = self.lookup("lipschitz_bound_of_samples", "lipschitz_bound_of_samples")
        return max(bounds.values()) if len(bounds) == self.items else None

    @property
    def percent_per_percent(self) -> tuple[float, ...] | None:
        """Proven bound, without a unit: per cent of the image for a per cent of the data."""
        return self._of_each("relative_lipschitz_bound", "percent_per_percent")

    @property
    def measured_gain(self) -> tuple[float, ...] | None:
        """Measured lower bound of the Jacobian's norm at the data; None if it was not measured."""
        return self._of_each("measured_gain", "measured_gain")

    @property
    def lipschitz_statement(self) -> str:
        """The Lipschitz bound, or why there is none, as a sentence."""
        entries = [entry for entry in self.entries if entry.name == "lipschitz_bound"]
        bound = self.lipschitz_bound
        if bound is None:
            return next((entry.statement for entry in entries if not entry.values), "")
        if self.not_checkable:
            return f"A Lipschitz bound of {above(bound, 4)} is stated. {self.not_checkable}."
        # Which unit, and what is kept fixed, is part of what is proven.
        conditions = dict.fromkeys(
            entry.statement.removeprefix(CHANGES).removeprefix(_BY_STEPS) for entry in entries
        )
        return (
            "A change of the data, whatever they are, changes the image by at most "
            f"{above(bound, 4)} times its size (proven).{' '.join(conditions)}"
        )

    @property
    def percent_statement(self) -> str:
        """The Lipschitz bound without a unit, as a sentence; empty where it is not known."""
        percent = self.percent_per_percent
        if percent is None or self.not_checkable:
            return ""
        return (
            f"A change of 1 % of the data changes the image by at most {above(max(percent))} % of "
            "itself (proven)."
        )

    @property
    def jacobian_statement(self) -> str:
        """Both sides of the amplification of small changes, as a sentence; empty if not known."""
        lower, upper = (self._of_each("jacobian_at_data", side) for side in ("lower", "upper"))
        failure = self._of_each("jacobian_at_data", "failure")
        if lower is None or upper is None or failure is None:
            return ""
        return (
            f"At these data small changes are amplified at most {above(max(upper))} times (a "
            f"bound that fails with probability {above(sum(failure), 2)}), and one was found "
            f"that is amplified {below(max(lower))} times."
        )

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
        statements = (
            self.gap_statement,
            self.lipschitz_statement,
            self.percent_statement,
            self.jacobian_statement,
        )
        return " ".join(statement for statement in statements if statement)

    @property
    def gap_statement(self) -> str:
        """How near the image is to the optimum, as a sentence."""
        if any(entry.statement == NO_OPTIMUM for entry in self.entries):
            return NO_OPTIMUM
        if self.relative_gap is None:
            return "How near the image is to the optimum was not computed, as requested."
        percent = above(100 * max(self.relative_gap), 2)
        return (
            f"The objective is proven to be within {percent} % of its own value from the optimum."
        )

    def to_dict(self) -> dict[str, object]:
        """Return the certificate as plain data for JSON.

        The most wanted numbers are repeated at the top, in addition to the entries.
        """
        return {
            "version": VERSION,
            "scope": self.scope,
            "sentence": self.sentence(),
            "items": self.items,
            "objective": _listed(self.objective),
            "lower_bound": _listed(self.lower_bound),
            "duality_gap": _listed(self.duality_gap),
            "relative_gap": _listed(self.relative_gap),
            "lipschitz_bound": self.lipschitz_bound,
            "lipschitz_bound_at_data": _listed(self.lipschitz_bound_at_data),
            "lipschitz_bound_of_samples": self.lipschitz_bound_of_samples,
            "percent_per_percent": _listed(self.percent_per_percent),
            "measured_gain": _listed(self.measured_gain),
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
        if version not in (1, VERSION):
            raise DataError(
                f"The certificate has version {version!r}; this version of firenet_mri reads "
                f"versions 1 and {VERSION}"
            )
        try:
            certificate = cls(
                entries=tuple(Entry.from_dict(entry) for entry in data["entries"]),
                items=int(data["items"]),
                digests=_digests(data["digests"]),
                scope=str(data["scope"]),
                not_checkable=_OLD if version == 1 else "",
            )
            _check_items(certificate)
            again = certificate.to_dict()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"The certificate is damaged ({type(error).__name__}: {error}); use the file as "
                "firenet wrote it"
            ) from None
        if version == VERSION and again != dict(data):
            raise DataError(
                "The certificate contradicts itself: its numbers are not those of its entries; "
                "use the file as firenet wrote it"
            )
        return certificate

    def _of_each(self, name: str, key: str) -> tuple[float, ...] | None:
        """Return a number of every item, None if one has none."""
        found = self.lookup(name, key)
        return tuple(found[i] for i in range(self.items)) if len(found) == self.items else None


def _check_items(certificate: Certificate) -> None:
    for entry in certificate.entries:
        is_sorted = list(entry.items) == sorted(set(entry.items))
        if entry.items and not (
            is_sorted and entry.items[0] >= 0 and entry.items[-1] < certificate.items
        ):
            raise ValueError(f"{entry.name} is about slices {entry.items}")


def _listed(numbers: tuple[float, ...] | None) -> list[float] | None:
    return None if numbers is None else list(numbers)


def _append(before: Entry, after: Entry) -> Entry:
    values = {key: (*numbers, *after.values[key]) for key, numbers in before.values.items()}
    return replace(before, values=values, items=(*before.items, *after.items))


def _plain(entry: Entry) -> dict[str, object]:
    values = {key: list(numbers) for key, numbers in entry.values.items()}
    return {**asdict(entry), "values": values, "items": list(entry.items)}


def _digests(data: Mapping[str, Any] | None) -> Digests | None:
    # Version 1 had no trajectory.
    return None if data is None else Digests(**{"trajectory": None, **data})
