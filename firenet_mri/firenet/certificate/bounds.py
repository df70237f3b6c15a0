"""The Lipschitz bounds of a certificate: by which unit, and with what kept fixed.

With eps_0 fixed the network's constant is the schedule's L1. With eps_0 = ||y|| the network is
positively homogeneous, phi(y) = ||y|| phi_1(y / ||y||), so that its Jacobian at y is at most
sqrt(L1^2 + B1^2), B1 = ||phi(y)|| / ||y|| <= L1; hence sqrt(2) L1 everywhere. A network that
projects its image onto ||x|| <= R ||y|| has B1 <= R; hence sqrt(L1^2 + R^2) everywhere.

The samples s of the scan reach the network through linear links, y = L s, and its image may be
multiplied by a gain g: from s to the image the constant is at most g ||L|| times the network's.
Three numbers follow, each with its own name: for s in noise standard deviations, in the unit of the
file, and per cent of the image for a per cent of s.

All of this keeps fixed what the operators were made from. Parts that were made from s itself may be
kept fixed only if they are named here. With another one, such as the phase of the image, the
composed map was seen to amplify hundreds of times more than the bound, and nothing is called
proven.
"""

from __future__ import annotations

from collections.abc import Sequence

from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate.certificate import CHANGES, KEPT_FIXED, Entry
from firenet_mri.firenet.learned.conditions import LEVELS
from firenet_mri.firenet.rational import length_above
from firenet_mri.operators.base import LinearOperator, Part
from firenet_mri.operators.links import COMPRESSION, Chain

# Made from the data, and kept fixed by a bound that may still be called proven, since it says so.
_MAY_BE_KEPT_FIXED = ("sensitivity maps", COMPRESSION, LEVELS)

_LIMITS = (
    "A small constant alone is not an advantage: an image that is always zero has the smallest; "
    "read it together with the gap."
)

_BALL_RESTS = (
    "The image lies inside the ball on which the network projects it, so that the projection has "
    "changed nothing: image_over_data, the image's norm in units of the data's, is below "
    "radius_over_data."
)
_BALL_ACTS = (
    "The image lay outside the ball on which the network projects it, and was made smaller until "
    "its norm was radius_over_data times that of the data. The duality gap is that of the image as "
    "it is."
)
_BALL_MEANS = (
    "The norms are those of the network's own data, after whitening, compression and density "
    "weights, and of its own image. The projection limits the Lipschitz constant."
)
# By how much a projected norm may miss its value in single precision.
_ROUNDING = 1e-5


def lipschitz_entries(
    net: Network,
    encoding: LinearOperator,
    chain: Chain,
    *,
    image_norms: Sequence[float],
    data_norms: Sequence[float],
    sample_norms: Sequence[float] | None,
    has_start: bool,
) -> tuple[Entry, ...]:
    """Return what is proven about the map from the samples as read to the image.

    Parameters
    ----------
    net, encoding, chain
        Network, encoding operator, and the linear maps around them.
    image_norms, data_norms, sample_norms
        Of each item: norm of the network's image, of its data, and of the samples as read; None if
        these are not known, and then no relative bound is given.
    has_start
        True if the network began at an image that was given.
    """
    items = tuple(range(len(image_norms)))
    parts = tuple(dict.fromkeys(encoding.made_from + chain.made_from + net.made_from))
    proven = net.proven_bound(encoding)
    everywhere = net.lipschitz_bound_everywhere(encoding)
    reason = net.obstacle(has_start, encoding)
    ratios = [_ratio(*norms) for norms in zip(image_norms, data_norms, strict=True)]
    ball = ball_entries(net, encoding, ratios)
    if reason is not None or proven is None or everywhere is None:
        return (Entry("lipschitz_bound", "not verified", reason or "", items=items), *ball)
    free = net.is_homogeneous
    at_data = tuple(length_above(proven.value, ratio if free else 0.0) for ratio in ratios)
    fixed = f"{KEPT_FIXED} {kept_fixed(parts)}."
    moving = [part.name for part in parts if part.from_data and not _may_be_fixed(part)]
    if moving:
        bound = everywhere * chain.norm_of_noise_units
        return (*_with_moving_parts(moving, fixed, bound, items), *ball)
    proof = proven.proof
    words = (proof.follows_from, f"Proof: {proof.method}. {fixed}")
    entries = [_in_noise_units(chain, everywhere, at_data, words, items)]
    bound = everywhere * chain.norm_of_samples
    entries.append(_of_samples(bound, chain, fixed, items))
    if sample_norms is not None:
        shown = tuple(chain.gain * norm for norm in image_norms)
        entries.append(_relative(bound, sample_norms, shown, fixed))
    return (*entries, *ball)


def ball_entries(
    net: Network, encoding: LinearOperator, ratios: Sequence[float]
) -> tuple[Entry, ...]:
    """Return what the projection onto a ball has done to each item; nothing where there is none.

    Parameters
    ----------
    net, encoding
        The network and its encoding operator.
    ratios
        ||x|| / ||y|| of each item, of the network's image and its data.
    """
    if net.ball is None:
        return ()
    radius = net.radius(encoding)
    cut = [ratio >= radius * (1 - _ROUNDING) for ratio in ratios]
    found = []
    for acts, statement in ((False, _BALL_RESTS), (True, _BALL_ACTS)):
        items = tuple(i for i, is_cut in enumerate(cut) if is_cut == acts)
        values = {
            "image_over_data": tuple(ratios[i] for i in items),
            "radius_over_data": (radius,) * len(items),
        }
        if items:
            found.append(Entry("image_ball", "measured", statement, _BALL_MEANS, values, items))
    return tuple(found)


def _in_noise_units(
    chain: Chain,
    everywhere: float,
    at_data: Sequence[float],
    words: tuple[str, str],
    items: tuple[int, ...],
) -> Entry:
    factor = chain.norm_of_noise_units
    unit = (
        "Data and image are counted in noise standard deviations"
        if chain.is_whitened
        else "Data and image have the unit of the file"
    )
    return Entry(
        "lipschitz_bound",
        "proven",
        f"{CHANGES} {words[0]} {unit}. {words[1]}",
        _LIMITS,
        {
            "lipschitz_bound": (factor * everywhere,) * len(items),
            "lipschitz_bound_at_data": tuple(factor * value for value in at_data),
        },
        items,
    )


def _of_samples(bound: float, chain: Chain, fixed: str, items: tuple[int, ...]) -> Entry:
    unit = "noise standard deviations" if chain.is_whitened else "the unit of the file"
    return Entry(
        "lipschitz_bound_of_samples",
        "proven",
        "If the samples change by one unit of the file as it was read, the image changes by at "
        f"most lipschitz_bound_of_samples; it is counted in {unit}. {fixed}",
        "The number has the unit of the file in it. " + _LIMITS,
        {"lipschitz_bound_of_samples": (bound,) * len(items)},
        items,
    )


def _relative(
    bound: float, sample_norms: Sequence[float], image_norms: Sequence[float], fixed: str
) -> Entry:
    pairs = list(zip(sample_norms, image_norms, strict=True))
    # An image that is zero changes by no per cent of itself.
    items = tuple(i for i, (_, image) in enumerate(pairs) if image > 0)
    return Entry(
        "relative_lipschitz_bound",
        "proven",
        "If the samples as read change by one per cent of their norm, the image changes by at most "
        f"percent_per_percent per cent of its own; no unit is in this number. {fixed}",
        _LIMITS,
        {"percent_per_percent": tuple(bound * pairs[i][0] / pairs[i][1] for i in items)},
        items,
    )


def _with_moving_parts(
    moving: Sequence[str], fixed: str, bound: float, items: tuple[int, ...]
) -> tuple[Entry, ...]:
    """Return that nothing is proven, and the number that holds for these parts kept fixed."""
    names = " and ".join(moving)
    return (
        Entry(
            "lipschitz_bound",
            "not verified",
            f"The Lipschitz constant is not certified: the {names} was made from the data, and a "
            "small change of these may change it a lot.",
            items=items,
        ),
        Entry(
            f"lipschitz_bound_at_fixed_{moving[0].replace(' ', '_')}",
            "proven",
            f"If the {names} did not change with the data, the image would change by at most this "
            f"many times the size of the data's change. {fixed}",
            f"The {names} does change with the data: this is not a bound of the reconstruction.",
            {"bound": (bound,) * len(items)},
            items,
        ),
    )


def _may_be_fixed(part: Part) -> bool:
    return part.name in _MAY_BE_KEPT_FIXED


def kept_fixed(parts: Sequence[Part]) -> str:
    """Return the parts in words, those made from the data marked."""
    names = [
        f"{part.name} (made from these data)" if part.from_data else part.name for part in parts
    ]
    return ", ".join(names) if names else "the encoding operator"


def _ratio(image: float, data: float) -> float:
    return image / data if data > 0 else 0.0
