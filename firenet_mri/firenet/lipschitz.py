"""How strongly an unrolled network can amplify a change of its data: proven bounds.

Two trajectories with data y and y', the same schedule and the same operator K, ||K|| <= L, differ
by (x_k, v_k), starting from zero; tau_k sigma_k L^2 = 1. All bounds here are multiples of 1 / L.

Closed form (docs/theory.md, section 3.3): with u_k = x_k - tau_k K^H v_k and rho_k the ratio
tau_k / tau_{k-1}, ||u_k|| grows in a layer at most to (|1 - rho_k| + rho_k) ||u_{k-1}|| +
rho_k ||y - y'||, and ||x_{k+1}|| <= ||u_k||. For steps that do not grow: the sum of the ratios.

Performance estimation [1] (section 3.4): multipliers of what the monotonicity of the layers says
(:mod:`firenet_mri.firenet.monotonicity`) prove a bound that does not add up worst cases which
exclude each other. For the presets' steps and some others they are included in
lipschitz_table.json; for other steps they are found on request
(:mod:`firenet_mri.firenet.multipliers`). Both are proofs in rational arithmetic
(:mod:`firenet_mri.firenet.rational`) and rest on no solver's tolerance; those found now are proven
now, those of the table in the tests.

[1] Drori, Teboulle, Math. Program. 145, 2014; Taylor, Hendrickx, Glineur, Math. Program. 161, 2017.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from firenet_mri.firenet.monotonicity import UnrolledIteration, forms
from firenet_mri.firenet.multipliers import candidates
from firenet_mri.firenet.rational import proves, round_up

TABLE = "performance estimation, tabulated"
RUN_TIME = "performance estimation, for these steps"
CLOSED_FORM = "closed form"

# Multipliers are looked for up to so many layers: some seconds for 300, and with the structure of
# the analysis form, which gains less in deep networks, for 100.
MOST_LAYERS, _MOST_STRUCTURED_LAYERS = 300, 100

# What is lost to the rounding of multipliers, relative to the square of the bound.
_ROUNDING = Fraction(1, 10**5)

# The last candidates, which lie closest to the boundary, are tried: this many.
_TRIES = 8

# Shares of the data in the squared norm that count as a half: maps are normalised up to rounding.
_HALF = (Fraction(1, 2) - Fraction(1, 2**16), Fraction(1, 2) + Fraction(1, 2**16))

# Other shares are taken for intervals of this length, so that scans share their proofs; where
# either operator has little of the norm the interval would cost more than the structure gains.
_SHARE_STEPS, _SMALLEST_SHARE = 512, Fraction(1, 8)


@dataclass(frozen=True)
class LipschitzProof:
    """A proven bound of an iteration for ||K|| <= 1, and how it is proven.

    Parameters
    ----------
    iteration
        What it holds for. Its structure is omitted where the proof does not use it.
    bound
        ||x|| <= bound ||y|| for the changes of output and data.
    method
        :data:`TABLE`, :data:`RUN_TIME` or :data:`CLOSED_FORM`.
    multipliers
        One for each pair of :func:`firenet_mri.firenet.monotonicity.forms`, all exact in single
        precision or decimals; None for the closed form.
    """

    iteration: UnrolledIteration
    bound: Fraction
    method: str
    multipliers: tuple[Fraction, ...] | None = None

    #: What it follows from, as a sentence.
    follows_from: ClassVar[str] = "It follows from the step sizes."

    @property
    def data_share(self) -> tuple[Fraction, Fraction] | None:
        """The interval of shares for which the multipliers prove it; None without structure."""
        return self.iteration.data_share

    @property
    def value(self) -> float:
        """The bound rounded up."""
        value = float(self.bound)
        return value if Fraction(value) >= self.bound else math.nextafter(value, math.inf)


class Proof(Protocol):
    """What a certificate needs of a proof: words, and the numbers by which others can check it."""

    @property
    def method(self) -> str:
        """How it is proven."""

    @property
    def follows_from(self) -> str:
        """What it follows from, as a sentence."""

    @property
    def multipliers(self) -> tuple[Fraction, ...] | None:
        """Those of performance estimation; None in other proofs."""

    @property
    def data_share(self) -> tuple[Fraction, Fraction] | None:
        """The interval of shares for which they prove it; None without structure."""


class ProvenBound(NamedTuple):
    """A network's proven Lipschitz constant of data -> image, and the proof of its layers."""

    value: float
    proof: Proof


@lru_cache(maxsize=256)
def proof_of(iteration: UnrolledIteration) -> LipschitzProof | None:
    """Return the best proof of a Lipschitz bound of data -> image; None if nothing is proven.

    Up to :data:`MOST_LAYERS` layers it takes seconds at the first call, and nothing later.
    """
    simple = _closed_proof(iteration)
    if simple is not None and simple.bound == 0:
        return simple
    found = _tabulated(iteration)
    if found is None and not _is_attained(iteration):
        found = _searched(iteration)
    if found is None and iteration.data_share is not None:
        found = proof_of(replace(iteration, data_share=None))
    if found is None or (simple is not None and simple.bound <= found.bound):
        return simple
    return found


@lru_cache(maxsize=1)
def table() -> Mapping[UnrolledIteration, LipschitzProof]:
    """Return the shipped proofs by iteration."""
    proofs = [_entry(raw) for raw in _raw_entries()]
    return {proof.iteration: proof for proof in proofs}


def _tabulated(iteration: UnrolledIteration) -> LipschitzProof | None:
    """Return the shipped proof, and make fractions of those with as many layers only."""
    proofs = (_entry(raw) for raw in _raw_entries() if _layers(raw) == iteration.layers)
    return next((proof for proof in proofs if proof.iteration == iteration), None)


@lru_cache(maxsize=1)
def _raw_entries() -> tuple[Mapping[str, Any], ...]:
    text = files("firenet_mri.firenet").joinpath("lipschitz_table.json").read_text(encoding="utf-8")
    return tuple(json.loads(text)["entries"])


def _layers(raw: Mapping[str, Any]) -> int:
    return int(raw["layers"] if "decay" in raw else raw["restarts"] * raw["inner"])


def _entry(raw: Mapping[str, Any]) -> LipschitzProof:
    if "decay" in raw:
        ends = [Fraction(end) for end in raw.get("data_share", ())]
        share = (ends[0], ends[1]) if ends else None
        iteration = UnrolledIteration.geometric(Fraction(raw["decay"]), raw["layers"], share)
    else:
        iteration = UnrolledIteration.restarted(raw["restarts"], raw["inner"])
    multipliers = tuple(Fraction(value) for value in raw["multipliers"].split())
    return LipschitzProof(iteration, Fraction(raw["bound"]), TABLE, multipliers)


def closed_form(iteration: UnrolledIteration) -> Fraction | None:
    """Return the closed-form bound for ||K|| = 1; None for averages with the dual kept."""
    if iteration.returns_average and iteration.keeps_dual:
        return None
    bound = Fraction(0)
    before: Fraction | None = None
    for steps in iteration.primal_steps:
        reached = []
        for tau in steps:
            if before is not None:
                ratio = tau / before
                bound = _short((abs(1 - ratio) + ratio) * bound + ratio)
            before = tau
            reached.append(bound)
        if iteration.returns_average:
            bound = _short(sum(reached, Fraction(0)) / len(reached))
        if not iteration.keeps_dual:
            before = None
    return bound


def share_of_data(data_norm: float, frame_norm: float) -> tuple[Fraction, Fraction] | None:
    """Return an interval of ||A||^2 / (||A||^2 + ||W||^2) for which a proof is worth looking for.

    Parameters
    ----------
    data_norm, frame_norm
        Proven bounds of ||A|| and ||W||, positive.
    """
    data, frame = Fraction(data_norm) ** 2, Fraction(frame_norm) ** 2
    share = data / (data + frame)
    if not _SMALLEST_SHARE <= share <= 1 - _SMALLEST_SHARE:
        return None
    if _HALF[0] <= share <= _HALF[1]:
        return _HALF
    step = math.floor(share * _SHARE_STEPS)
    return Fraction(step, _SHARE_STEPS), Fraction(step + 1, _SHARE_STEPS)


def _closed_proof(iteration: UnrolledIteration) -> LipschitzProof | None:
    bound = closed_form(iteration)
    if bound is None:
        return None
    return LipschitzProof(replace(iteration, data_share=None), bound, CLOSED_FORM)


def _searched(iteration: UnrolledIteration) -> LipschitzProof | None:
    """Return a proof by multipliers that are found now, None if none is."""
    structured = iteration.data_share is not None
    if iteration.layers > (_MOST_STRUCTURED_LAYERS if structured else MOST_LAYERS):
        return None
    for square, found in list(candidates(forms(iteration)))[: -_TRIES - 1 : -1]:
        # Single precision: few digits, which keep rational numbers short.
        multipliers = tuple(Fraction(float(value)) for value in found.astype(np.float32))
        bound = round_up(Fraction(square) * (1 + _ROUNDING))
        if proves(iteration, multipliers, bound):
            return LipschitzProof(iteration, bound, RUN_TIME, multipliers)
    return None


def _is_attained(iteration: UnrolledIteration) -> bool:
    """Return True if the closed form is known to be the best bound: one block of equal steps."""
    blocks = iteration.primal_steps
    one_iterate = len(blocks) == 1 and not iteration.returns_average
    return iteration.data_share is None and one_iterate and len(set(blocks[0])) == 1


def _short(value: Fraction) -> Fraction:
    """Return the number, rounded up to 60 bits after the point."""
    return Fraction(math.ceil(value * 2**60), 2**60)
