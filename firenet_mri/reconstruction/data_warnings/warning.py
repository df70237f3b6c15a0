"""A warning about the data: as a value, as an entry of a certificate, and as a line of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from firenet_mri.firenet.certificate import Certificate, Entry

#: Prefix of the names of a certificate's entries that are warnings.
PREFIX = "warning_"

_LIMITS = (
    "The threshold lies between the good and the wrong scans that were examined. The absence of a "
    "warning does not show that the data are right."
)


@dataclass(frozen=True)
class Kind:
    """Something that can be wrong with data.

    Parameters
    ----------
    name
        Name in snake case.
    threshold
        A warning is given for larger values.
    sentence
        What was found and what to do, in plain words; nothing about the person scanned.
    """

    name: str
    threshold: float
    sentence: str

    def warn(self, value: float | None, item: int = 0) -> tuple[DataWarning, ...]:
        """Return the warning about one item if its value is too large; none if it is unknown."""
        if value is None or not value > self.threshold:
            return ()
        return (DataWarning(self.name, (value,), self.threshold, self.sentence, (item,)),)


@dataclass(frozen=True)
class DataWarning:
    """A measurement on the data that no good scan has shown.

    Parameters
    ----------
    name
        What is wrong, in snake case.
    values
        The measured values, one per item.
    threshold
        Limit that all values exceed.
    sentence
        What was found and what to do, in plain words.
    items
        Slices to which it refers, counted from 0.
    """

    name: str
    values: tuple[float, ...]
    threshold: float
    sentence: str
    items: tuple[int, ...] = (0,)

    @property
    def value(self) -> float:
        """The largest of the values."""
        return max(self.values)

    def line(self, places: Sequence[str] = ()) -> str:
        """Return the warning as text.

        Parameters
        ----------
        places
            The name of each item; no names are given without them, or if all items are concerned.
        """
        return (
            f"Warning{self._where(places)}: {self.sentence} Measured {self.value:.3g}; the "
            f"warning's threshold is {self.threshold:g}."
        )

    def title(self, places: Sequence[str] = ()) -> str:
        """Return the warning in a few words, for the caption of a picture."""
        return (
            f"Warning{self._where(places)}: {self.name.replace('_', ' ')}, {self.value:.3g} "
            f"(threshold {self.threshold:g})"
        )

    def _where(self, places: Sequence[str]) -> str:
        """Return the slices in brackets; nothing if the warning is about all."""
        if not places or len(self.items) >= len(places):
            return ""
        return f" ({listed([places[item] for item in self.items])})"

    def entry(self) -> Entry:
        """Return the warning as an entry of a certificate."""
        thresholds = (self.threshold,) * len(self.items)
        return Entry(
            f"{PREFIX}{self.name}",
            "measured",
            self.sentence,
            _LIMITS,
            {"value": self.values, "threshold": thresholds},
            self.items,
        )


def is_warning(entry: Entry) -> bool:
    """Return whether an entry of a certificate is a warning about the data."""
    return entry.name.startswith(PREFIX) and entry.values.keys() == {"value", "threshold"}


def warnings_of(certificate: Certificate) -> tuple[DataWarning, ...]:
    """Return the warnings about the data in a certificate."""
    return tuple(
        DataWarning(
            entry.name.removeprefix(PREFIX),
            entry.values["value"],
            max(entry.values["threshold"], default=0.0),
            entry.statement,
            entry.items,
        )
        for entry in certificate.entries
        if is_warning(entry) and entry.items
    )


def joined(warnings: Iterable[DataWarning]) -> tuple[DataWarning, ...]:
    """Return the warnings, with equal ones about several items joined."""
    found: dict[tuple[str, str], DataWarning] = {}
    for warning in warnings:
        key = warning.name, warning.sentence
        before = found.get(key)
        if before is None:
            found[key] = warning
            continue
        found[key] = replace(
            before,
            values=(*before.values, *warning.values),
            items=(*before.items, *warning.items),
        )
    return tuple(found.values())


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return the first names and the number of the others."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
