"""The entries "measured_gain" and "jacobian_at_data": both sides of ||J|| at the data of an item.

The data are the samples in noise standard deviations, or in the unit of the file if there is no
noise measurement. Density weights, like everything that is computed from the samples, are part of
what is differentiated, except the maps and the matrix of coil compression. Compression has
orthonormal rows, which change no norm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from firenet_mri.amplification import JacobianBounds, OnApplication, jacobian_bounds
from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.firenet.certificate import KEPT_FIXED, Entry, kept_fixed
from firenet_mri.operators.links import SampleWeighting
from firenet_mri.reconstruction.jacobian import ImageJacobian
from firenet_mri.reconstruction.solve import Encoded, Solution

# Hexadecimal digits of a digest that are used as a seed.
_SEED_DIGITS = 15

_PHASE = "image phase"

_VANISHING = (
    "The bounds are about vanishing changes of these data: a change of 1 % may be amplified more, "
    "and other data may have other bounds. They are computed in double precision; rounding errors "
    "are not bounded."
)


@dataclass(frozen=True, eq=False)
class Amplification:
    """The entries found, and the change of the image that the data's most amplified change causes.

    ``image`` is None if nothing was found; it refers to a change of the data of size 1.
    """

    entries: tuple[Entry, ...]
    image: Tensor | None = None


def measure_amplification(
    solution: Solution, *, seed: int | None = None, on_application: OnApplication | None = None
) -> Amplification:
    """Return both sides of the Jacobian's norm at the data of one item's solution.

    This takes about 100 times the network's time.

    Parameters
    ----------
    solution
        What :func:`firenet_mri.reconstruction.solve.solve` returned.
    seed
        Seed of the random start, see :func:`seed_of`; None derives it from the samples.
    on_application
        Called after every application of J and its transpose, with the number made so far and the
        largest number allowed.
    """
    reason = _obstacle(solution)
    if reason is not None:
        return Amplification((Entry("jacobian_at_data", "not verified", reason),))
    encoded = solution.encoded
    if seed is None:
        seed = seed_of(digest_of_tensor(encoded.samples))
    samples = encoded.samples.to(encoded.y.device)
    bounds = jacobian_bounds(
        ImageJacobian(solution),
        samples,
        sampled=encoded.sampled,
        seed=seed,
        on_application=on_application,
    )
    return Amplification(_entries(bounds, solution), bounds.image.to(solution.image.dtype).cpu())


def seed_of(*names: object) -> int:
    """Return a seed from plain data such as digests, which nobody can choose."""
    return int(digest_of_data(list(names))[:_SEED_DIGITS], 16)


def _obstacle(solution: Solution) -> str | None:
    """Return why there is no Jacobian; None if there is one."""
    if not bool(solution.encoded.samples.any()):
        return (
            "The Jacobian at the data is not bounded: there is no signal, and the network has no "
            "derivative where all data are zero."
        )
    if solution.x0 is not None and solution.net.is_homogeneous:
        return (
            "The Jacobian at the data is not bounded: with a start image it is known only at a "
            "fixed scale eps0."
        )
    moving = [part.name for part in solution.encoded.encoding.made_from if part.from_data]
    if _PHASE in moving and solution.encoded.phase_widths is None:
        return (
            "The Jacobian at the data is not bounded: how the phase was made from the data is not "
            "known."
        )
    if not solution.net.is_fixed:
        return (
            "The Jacobian at the data is not bounded: the network restarts and stops depending on "
            "the data, so that it may have no derivative; use a preset of fixed depth, or, in "
            "Python, jacobian_bounds on a network that always runs max_layers."
        )
    return None


def _entries(bounds: JacobianBounds, solution: Solution) -> tuple[Entry, Entry]:
    encoded, chain = solution.encoded, solution.encoded.chain
    unit = (
        "Data and image are counted in noise standard deviations"
        if chain.is_whitened
        else "Data and image have the unit of the file"
    )
    made_from = encoded.encoding.made_from + chain.made_from + solution.net.made_from
    parts = dict.fromkeys(made_from)
    is_moving = encoded.phase_widths is not None
    held = tuple(part for part in parts if not (is_moving and part.name == _PHASE))
    moving = [_PHASE] * is_moving + ["weights of the further passes"] * (solution.passes > 1)
    changed = f" These also change with the data: {', '.join(moving)}." if moving else ""
    about = f"{unit}.{changed} {KEPT_FIXED} {kept_fixed(held)}."
    factor = _norm_of_compression(encoded)
    return (
        Entry(
            "measured_gain",
            "measured",
            "A small change of these data was found that changes the image measured_gain times its "
            f"size. {about}",
            "Other changes may be amplified more; jacobian_at_data bounds by how much.",
            {"measured_gain": (bounds.lower,)},
        ),
        Entry(
            "jacobian_at_data",
            "verified on this scan",
            "one such change was found that changes it by lower times its size. The upper bound "
            "comes from a random start that the scan's digest fixes. For each slice it is too "
            "small with probability failure at most, and for all slices together with at most the "
            f"sum of these. {about}",
            _VANISHING,
            {
                "lower": (bounds.lower,),
                "upper": (factor * bounds.upper,),
                "failure": (bounds.failure,),
                "applications": (float(bounds.applications),),
            },
        ),
    )


def _norm_of_compression(encoded: Encoded) -> float:
    """Return the norm of the map from the samples in noise units to those used here: 1."""
    weights = [link for link in encoded.chain.links if isinstance(link, SampleWeighting)]
    of_weights = math.prod(link.norm_bound for link in weights) * encoded.chain.gain
    return max(1.0, encoded.chain.norm_of_noise_units / of_weights)
