"""The certificate's entry for a network whose depth was computed from the theorem's constants."""

from __future__ import annotations

from firenet_mri.firenet.certificate.certificate import Entry
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.promise import TheoremPromise
from firenet_mri.firenet.schedules import PaperSchedule
from firenet_mri.operators.base import LinearOperator

_LIMITS = (
    "Checking the property for a given encoding is NP-hard. Where no image is that sparse and fits "
    "the data that well, nothing follows: the noise alone is usually larger. The duality gap does "
    "not depend on any of this. In exact arithmetic."
)


def theorem_entries(
    net: FIRENET, encoding: LinearOperator, count: int, *, has_start: bool
) -> tuple[Entry, ...]:
    """Return what the theorem promises for all of count items, under constants that are assumed.

    Empty where the network's depth was not computed from them.
    """
    promise = net.schedule.promise if isinstance(net.schedule, PaperSchedule) else None
    if promise is None:
        return ()
    items = tuple(range(count))
    obstacle = _obstacle(net, promise, encoding, has_start)
    if obstacle is not None:
        return (Entry("theorem", "not verified", obstacle, items=items),)
    return (Entry("theorem", "assumed", promise.statement(), _LIMITS, items=items),)


def _obstacle(
    net: FIRENET, promise: TheoremPromise, encoding: LinearOperator, has_start: bool
) -> str | None:
    """Return why the theorem says nothing, None where it says something."""
    if encoding.norm_bound > promise.largest_norm:
        return (
            f"The layers were computed for an encoding of norm at most {promise.largest_norm:.4g}; "
            f"that of this one is only known to be at most {encoding.norm_bound:.4g}."
        )
    if net.weights_depend_on_data:
        return "Reweighting takes the weights from the data; the theorem is about given ones."
    if has_start:
        return "The theorem is about a network that starts from zero, this one had a start image."
    return None
