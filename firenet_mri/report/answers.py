"""A certificate in plain words: a reader's questions, and the certificate's answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.certificate.certificate import KEPT_FIXED
from firenet_mri.rounding import above

#: Meanings of the words that state how a statement is known.
MEANINGS = {
    "proven": "follows from a proof, for every scan",
    "verified on this scan": "a theorem's conditions were checked numerically for these data",
    "measured": "a number that was seen; the truth is at least as large",
    "assumed": "taken as given",
    "not verified": "nothing is claimed",
}

# Entries about the effect of a change of the data on the image.
_OF_DATA_CHANGES = (
    *("lipschitz_bound", "lipschitz_bound_of_samples", "relative_lipschitz_bound"),
    *("jacobian_at_data", "measured_gain"),
)

_USUAL_GAP = "Usual values are below 0.1 % (accurate), 1 % (stable) and 20 % (paper)."
_USUAL_BOUND = (
    "This is the worst case over all conceivable data; usual values are 18 (accurate), 4 (stable) "
    "and 6 (paper) times. With a value of 1 an image changes no more than its data."
)
_USUAL_JACOBIAN = (
    "This holds for vanishing changes of these data, such as a little more noise; usual values are "
    "2 to 5 times."
)


class Answer(NamedTuple):
    """A question in a reader's words, and the certificate's answer."""

    question: str
    text: str


def answers(certificate: Certificate, warnings: Sequence[str] = ()) -> Iterator[Answer]:
    """Yield the answers that a reader wants first, without mathematical symbols.

    Parameters
    ----------
    certificate
        The image's certificate.
    warnings
        The warnings about its data, one line each.
    """
    gap = certificate.gap_statement
    yield Answer(
        "Is it the image that the method defines?",
        f"{gap} {_USUAL_GAP}" if certificate.relative_gap is not None else gap,
    )
    stability = f"{certificate.lipschitz_statement} {certificate.percent_statement}"
    yield Answer(
        "Can a small change of the data change the image a lot?",
        f"{stability} {_USUAL_BOUND}" if certificate.lipschitz_bound is not None else stability,
    )
    if certificate.jacobian_statement:
        yield Answer("And for this scan?", f"{certificate.jacobian_statement} {_USUAL_JACOBIAN}")
    elif certificate.lipschitz_bound_at_data is not None and not certificate.not_checkable:
        at_data = above(max(certificate.lipschitz_bound_at_data))
        yield Answer(
            "And for this scan?",
            f"Small changes of these data are amplified at most {at_data} times (proven, with "
            "certain parts kept fixed). Their actual amplification was not measured; the option "
            "jacobian measures it.",
        )
    for line in warnings:
        yield Answer("Do the data look wrong?", line)
    yield Answer("Is it true to the anatomy?", "The certificate does not say. " + certificate.scope)


def kept_fixed(certificate: Certificate) -> tuple[str, ...]:
    """Return the parts that the bounds keep fixed under a change of the data, such as the mask."""
    found: dict[str, None] = {}
    for entry in certificate.entries:
        if entry.name not in _OF_DATA_CHANGES:
            continue
        _, marker, rest = entry.statement.partition(KEPT_FIXED)
        if marker:
            found |= dict.fromkeys(part.strip() for part in rest.split(".")[0].split(","))
    return tuple(found)


def title(entry: Entry) -> str:
    """Return the name of an entry as a heading."""
    return entry.name.replace("_", " ").capitalize()
