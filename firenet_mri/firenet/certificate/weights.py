"""The certificate's entry for trained weights: which they are, and what is said of their training.

The proven constant was computed from these weights, whatever they were trained on.
"""

from __future__ import annotations

from firenet_mri.firenet.base import Trained
from firenet_mri.firenet.certificate.certificate import Entry


def weights_entries(trained: Trained | None, count: int) -> tuple[Entry, ...]:
    """Return the entry of trained weights, about all of count items; none where there are none."""
    if trained is None:
        return ()
    report = trained.report
    training = (
        "nothing is known of their training"
        if report is None
        else f"the report of their training has {report.digest}"
    )
    return (
        Entry(
            "network_weights",
            "assumed",
            f"The network's weights are those of SHA-256 {trained.digest}; {training}.",
            "What they were trained on is their maker's word. How true the image is depends on "
            "whether this scan is like those of the training; the proven bounds do not.",
            items=tuple(range(count)),
        ),
    )
