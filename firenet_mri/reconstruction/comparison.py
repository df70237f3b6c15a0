"""Compares a certificate's file with what was recomputed: entries, words and numbers.

Every stated entry must either equal a recomputed one or be of a kind that only a run of the network
provides, which is then listed; anything else is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.io.certificates import SavedCertificate
from firenet_mri.reconstruction.data_warnings.places import places_of
from firenet_mri.reconstruction.data_warnings.warning import (
    DataWarning,
    is_warning,
    warnings_of,
)
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Prepared
from firenet_mri.reconstruction.result import NetworkSummary, described

# Relative tolerance of numbers; maps that are estimated again differ by rounding.
TOLERANCE = 1e-5
# Tolerance of results of random numbers or long iterations.
_LOOSE = 1e-3
# Shares of pixels change by whole pixels if maps that are estimated again are rounded differently.
_OF_WARNINGS = 0.05

# Entries that require a run of the network, by the option that requests them.
_OF_JACOBIAN = ("measured_gain", "jacobian_at_data", "image_with_maps_1_percent")
_OF_RECOVERY = ("localisation", "recovery", "stability_of_the_optimum")
_OF_REWEIGHTING = ("duality_gap", "maps_1_percent", "lipschitz_bound", "image_ball", "theorem")

# Fields of the certificate's file that are compared here, or elsewhere.
_COMPARED = ("scan", "image_units", "network")
_ELSEWHERE = (
    *("format", "certificate", "digest", "signature", "options", "evidence"),
    *("resized_to_the_scanners_grid", "warnings"),
)


@dataclass(frozen=True, eq=False)
class Claim:
    """The claims about an image, and the evidence for them.

    Parameters
    ----------
    name
        Name for messages.
    certificate, evidence
        The certificate and the evidence of the image.
    """

    name: str
    certificate: Certificate
    evidence: Evidence


def names_with_network(options: ReconstructionOptions) -> frozenset[str]:
    """Return the names of the entries that can be recomputed only by running the network."""
    names: tuple[str, ...] = ()
    if options.jacobian:
        names += _OF_JACOBIAN
    if options.recovery:
        names += _OF_RECOVERY
    if options.passes > 1:
        names += _OF_REWEIGHTING
    return frozenset(names)


def compare_entries(claim: Claim, found: Certificate, later: Collection[str]) -> tuple[Entry, ...]:
    """Return the stated entries that were not recomputed, after comparing all others.

    Parameters
    ----------
    claim
        The certificate.
    found
        The recomputed certificate.
    later
        Names of entries that need not have been recomputed.

    Raises
    ------
    DataError
        If an entry differs, is missing, occurs twice or is unknown.
    """
    if claim.certificate.scope != found.scope:
        raise DataError(f"{claim.name}: the words of its scope differ from those of this version")
    stated: dict[tuple[str, tuple[int, ...]], Entry] = {}
    for entry in claim.certificate.entries:
        if (entry.name, entry.items) in stated:
            raise DataError(f"{claim.name}: its entry {entry.name} occurs twice")
        if is_warning(entry):
            continue
        stated[entry.name, entry.items] = entry
    for entry in found.entries:
        known = stated.pop((entry.name, entry.items), None)
        if known is None:
            raise DataError(
                f"{claim.name}: states nothing about {entry.name.replace('_', ' ')}, or covers "
                "other slices than those recomputed"
            )
        _compare_words(claim, known, entry)
        _compare_numbers(claim, known, entry)
    for entry in stated.values():
        if entry.name not in later:
            raise DataError(
                f"{claim.name}: states something about {entry.name.replace('_', ' ')}, which a "
                "reconstruction with these options does not"
            )
    return tuple(stated.values())


def compare_warnings(claim: Claim, found: Iterable[DataWarning]) -> list[str]:
    """Return which warnings about the data depend on rounding, after comparing all of them.

    Parameters
    ----------
    claim
        The certificate.
    found
        The warnings that were found again.

    Raises
    ------
    DataError
        If a warning is missing, was invented, or states something else.
    """
    _check_form(claim)
    stated, again = _by_item(warnings_of(claim.certificate)), _by_item(found)
    near = []
    for key in dict.fromkeys((*stated, *again)):
        name, item = key
        said, measured = stated.get(key), again.get(key)
        about = f"the warning {name.replace('_', ' ')} about slice {item + 1}"
        if said is not None and measured is not None:
            _compare_warning(claim, said, measured, about)
        elif _is_near(said or measured):
            near.append(f"{about.capitalize()}: it is at its threshold and depends on rounding.")
        elif said is None:
            raise DataError(f"{claim.name}: omits {about}, for which its data give reason")
        else:
            raise DataError(f"{claim.name}: has {about}, for which its data give no reason")
    return near


def compare_lines(saved: SavedCertificate, prepared: Prepared) -> None:
    """Refuse a file whose human-readable warnings are not those of its certificate.

    Files of earlier versions have no such lines.
    """
    places = places_of(prepared.scan, len(prepared.items), prepared.options.joint)
    lines = [warning.line(places) for warning in warnings_of(saved.certificate)]
    if saved.report.get("warnings", lines) != lines:
        raise DataError(f"{saved.path}: its warnings are not those of its certificate's entries")


def _check_form(claim: Claim) -> None:
    """Refuse warnings in another form than the one written, or repeated for a slice."""
    entries = [entry for entry in claim.certificate.entries if is_warning(entry)]
    warnings = warnings_of(claim.certificate)
    about = [(one.name, item) for one in warnings for item in one.items]
    if entries != [one.entry() for one in warnings] or len(set(about)) < len(about):
        raise DataError(f"{claim.name}: its warnings about the data are not in the written form")


def _by_item(warnings: Iterable[DataWarning]) -> dict[tuple[str, int], DataWarning]:
    """Return the warnings item by item."""
    return {
        (one.name, item): replace(one, values=(value,), items=(item,))
        for one in warnings
        for value, item in zip(one.values, one.items, strict=True)
    }


def _compare_warning(claim: Claim, said: DataWarning, found: DataWarning, about: str) -> None:
    if (said.sentence, said.threshold) != (found.sentence, found.threshold):
        raise DataError(f"{claim.name}: {about} has other words or another threshold")
    if not abs(said.value - found.value) <= _OF_WARNINGS * found.value:
        raise DataError(
            f"{claim.name}: {about} states {said.value:.4g}; measured again it is {found.value:.4g}"
        )


def _is_near(warning: DataWarning | None) -> bool:
    assert warning is not None
    return warning.value <= (1 + _OF_WARNINGS) * warning.threshold


def compare_options(saved: SavedCertificate, options: ReconstructionOptions) -> None:
    """Refuse options other than the recorded ones."""
    record = saved.report.get("options")
    stated = record.get("reconstruction") if isinstance(record, Mapping) else None
    if stated != json.loads(json.dumps(options.key())):
        raise DataError(f"{saved.path}: its record contains options other than those used here")


def compare_operator(saved: SavedCertificate, prepared: Prepared) -> None:
    """Refuse another encoding operator than the one of the record, by name, shapes and norm."""
    record = saved.report.get("options")
    stated = record.get("operator") if isinstance(record, Mapping) else None
    found = prepared.operator_record.get("operator")
    if stated != json.loads(json.dumps(found)):
        raise DataError(
            f"{saved.path}: was made with the encoding operator {stated!r} but checked with "
            f"{found!r}; give the one that made it, or none if none was given"
        )


def compare_report(saved: SavedCertificate, prepared: Prepared) -> Iterator[str]:
    """Yield which words beside the certificate were not compared, after comparing the others.

    Raises
    ------
    DataError
        If the file's statements on scan, units or network differ from those recomputed.
    """
    found = described(prepared.scan, NetworkSummary.of(prepared.net))
    for name in _COMPARED:
        if not _is_same(_without_name(saved.report.get(name)), _without_name(found[name])):
            raise DataError(
                f"{saved.path}: states {name} as {saved.report.get(name)!r}; recomputed it is "
                f"{found[name]!r}"
            )
    if saved.report["scan"].get("name") != prepared.scan.name:
        yield "The name of the scan: its file has a different name."
    if saved.report["options"].get("read") != json.loads(json.dumps(dict(prepared.scan.record))):
        yield "The options of reading in the record: the scan was read with other options here."
    if _lacks_what_was_asked(saved.certificate, prepared.options):
        yield "What the options of the record request: the certificate contains more or less."
    others = [
        name.replace("_", " ")
        for name, value in saved.report.items()
        if name not in (*_COMPARED, *_ELSEWHERE) and value is not None
    ]
    if others:
        yield f"Other fields beside the certificate: {', '.join(sorted(others))}."


def _lacks_what_was_asked(stated: Certificate, options: ReconstructionOptions) -> bool:
    names = {entry.name for entry in stated.entries}
    return (
        (options.no_gap and stated.relative_gap is not None)
        or (options.jacobian and names.isdisjoint(_OF_JACOBIAN))
        or (options.recovery and names.isdisjoint(_OF_RECOVERY))
    )


def _without_name(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: one for key, one in value.items() if key != "name"}


def _is_same(said: Any, found: Any) -> bool:
    """Return whether plain data are the same, except for the rounding of numbers."""
    if isinstance(found, Mapping):
        if not isinstance(said, Mapping) or said.keys() != found.keys():
            return False
        return all(_is_same(said[key], found[key]) for key in found)
    if isinstance(found, float) and isinstance(said, int | float):
        return math.isclose(said, found, rel_tol=1e-9)
    return bool(said == found)


def _compare_words(claim: Claim, stated: Entry, found: Entry) -> None:
    for name in ("status", "statement", "limits"):
        said, again = getattr(stated, name), getattr(found, name)
        if said != again:
            raise DataError(
                f"{claim.name}: its entry {found.name} states {said!r}; recomputed it is {again!r}"
            )


def _compare_numbers(claim: Claim, stated: Entry, found: Entry) -> None:
    if stated.values.keys() != found.values.keys():
        raise DataError(f"{claim.name}: its entry {found.name} has other numbers than recomputed")
    tolerance = _LOOSE if found.status in ("measured", "verified on this scan") else TOLERANCE
    for name, numbers in found.values.items():
        scales = _scales(found, name)
        rows = zip(found.items, stated.values[name], numbers, scales, strict=True)
        for item, said, again, scale in rows:
            # Written so that NaN fails.
            if not abs(said - again) <= tolerance * max(abs(again), scale):
                raise DataError(
                    f"{claim.name}: {name} of slice {item + 1} is stated as {said:.9g}; recomputed "
                    f"it is {again:.9g}"
                )


def _scales(entry: Entry, name: str) -> tuple[float, ...]:
    """Return further scales of a number besides itself: a gap is a difference of large numbers."""
    if name == "relative_gap":
        return (1.0,) * len(entry.items)
    if name in ("duality_gap", "lower_bound"):
        return entry.values["objective"]
    return (0.0,) * len(entry.items)
