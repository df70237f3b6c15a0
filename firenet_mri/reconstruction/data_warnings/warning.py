"""A warning about the data, as a value, as an entry of a certificate, and as a line for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from firenet_mri.firenet.certificate import Certificate, Entry

#: What the names of a certificate's entries begin with that are warnings.
PREFIX = "warning_"

_LIMITS = (
    "The threshold lies between good scans and wrong ones that were looked at. That there is no "
    "warning does not show that the data are right."
)


@dataclass(frozen=True)
class Kind:
    """What can be wrong with data.

    Parameters
    ----------
    name
        In snake case.
    threshold
        Larger values are warned of.
    sentence
        What was found and what to do, in plain words; nothing of whom the scan shows.
    """

    name: str
    threshold: float
    sentence: str

    def warn(self, value: float | None, item: int = 0) -> tuple[DataWarning, ...]:
        """Return the warning of one item if its value is too large; none if it is not known."""
        if value is None or not value > self.threshold:
            return ()
        return (DataWarning(self.name, (value,), self.threshold, self.sentence, (item,)),)


@dataclass(frozen=True)
class DataWarning:
    """Something that was measured on the data and that no good scan has shown.

    Parameters
    ----------
    name
        What is wrong, in snake case.
    values
        What was measured, a number for each item.
    threshold
        They are larger than this.
    sentence
        What was found and what to do, in plain words.
    items
        Slices that it is about, counted from 0.
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
        """Return the warning for people.

        Parameters
        ----------
        places
            What each item is called; without them, or if it is about all, none is named.
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
        """Return the slices in brackets, nothing if it is about all."""
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
    """Return the warnings with those that say the same of several items as one."""
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
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
