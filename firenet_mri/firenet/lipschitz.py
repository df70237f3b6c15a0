"""How strongly an unrolled network can amplify a change of its data: proven bounds.

Two trajectories with data y and y', the same schedule and the same operator K, ||K|| <= L, differ
by (x_k, v_k), starting from zero; tau_k sigma_k L^2 = 1. Both bounds here are multiples of 1 / L.

Closed form (docs/theory.md, section 3.3): with u_k = x_k - tau_k K^H v_k and rho_k the ratio
tau_k / tau_{k-1}, ||u_k|| grows in a layer at most to (|1 - rho_k| + rho_k) ||u_{k-1}|| +
rho_k ||y - y'||, and ||x_{k+1}|| <= ||u_k||. For steps that do not grow: the sum of the ratios.

Performance estimation [1] (section 3.4): resolvents are monotone, so that

    <x_k, (x_{k-1} - x_k) / tau - K^H v_{k-1}> >= 0,
    <v_k, (v_{k-1} - v_k) / sigma + K (2 x_k - x_{k-1}) - (y - y')> >= 0,

and K may be taken as the identity, since a contraction is part of a unitary operator on a larger
space, whose added components monotone operators hold at zero. Multipliers of these conditions for
which

    Q = t^2 y y' - x x' - 2 sum_i mu_i <p_i, r_i>

is positive semidefinite prove ||x|| <= t ||y|| for the output x. They come from a semidefinite
program (scripts/make_lipschitz_table.py), are rounded to decimal numbers, and the smallest t^2 for
them is computed here in rational arithmetic; so the bound rests on no solver's tolerance. They are
shipped in lipschitz_table.json.

[1] Drori, Teboulle, Math. Program. 145, 2014; Taylor, Hendrickx, Glineur, Math. Program. 161, 2017.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import Any

Vector = Mapping[int, Fraction]
"""A vector as its coefficients in the basis of data change (0) and iterates."""


@dataclass(frozen=True)
class UnrolledIteration:
    """What the bounds need to know about a network.

    Parameters
    ----------
    primal_steps
        tau of every layer, block by block, up to a common factor.
    returns_average
        A block hands on its ergodic average; else its last iterate.
    keeps_dual
        A block starts from the dual of the block before; else from zero.
    """

    primal_steps: tuple[tuple[Fraction, ...], ...]
    returns_average: bool
    keeps_dual: bool

    @classmethod
    def geometric(cls, decay: Fraction, layers: int) -> UnrolledIteration:
        """Return one block with tau_k = decay^k that returns its last iterate."""
        return cls((tuple(decay**k for k in range(layers)),), False, True)

    @classmethod
    def restarted(cls, restarts: int, inner: int) -> UnrolledIteration:
        """Return n blocks of p layers that return averages; their steps' sizes do not matter."""
        return cls(((Fraction(1),) * inner,) * restarts, True, False)


@dataclass(frozen=True)
class Conditions:
    """The monotonicity conditions <p_i, r_i> >= 0 of an iteration, and its output.

    Parameters
    ----------
    size
        Number of basis vectors; vector 0 is the change of the data.
    pairs
        (p_i, r_i).
    output
        The change of the network's output.
    """

    size: int
    pairs: tuple[tuple[Vector, Vector], ...]
    output: Vector


def conditions(iteration: UnrolledIteration) -> Conditions:
    """Return what monotonicity says about two trajectories of an iteration."""
    size = 1
    pairs: list[tuple[Vector, Vector]] = []
    data: Vector = {0: Fraction(1)}
    x: Vector = {}
    v: Vector = {}
    blocks = iteration.primal_steps
    last = (len(blocks) - 1, len(blocks[-1]) - 1)
    for block, steps in enumerate(blocks):
        if not iteration.keeps_dual:
            v = {}
        iterates: list[Vector] = []
        for layer, tau in enumerate(steps):
            inside = _sum((Fraction(1), x), (-tau, v))
            x_next: Vector = {}
            # A resolvent maps zero to zero: no unknown, no condition.
            if inside:
                x_next, size = {size: Fraction(1)}, size + 1
                pairs.append((x_next, _sum((1 / tau, inside), (-1 / tau, x_next))))
            dual_is_used = iteration.keeps_dual or layer < len(steps) - 1
            if dual_is_used and (block, layer) != last:
                v_next, size = {size: Fraction(1)}, size + 1
                ahead = ((Fraction(2), x_next), (Fraction(-1), x), (Fraction(-1), data))
                pairs.append((v_next, _sum((tau, v), (-tau, v_next), *ahead)))
                v = v_next
            x = x_next
            iterates.append(x)
        if iteration.returns_average:
            x = _sum(*((Fraction(1, len(steps)), one) for one in iterates))
    return Conditions(size, tuple(pairs), x)


def _sum(*terms: tuple[Fraction, Vector]) -> Vector:
    total: dict[int, Fraction] = {}
    for factor, vector in terms:
        for index, value in vector.items():
            total[index] = total.get(index, Fraction(0)) + factor * value
    return {index: value for index, value in total.items() if value}


def proven_square(iteration: UnrolledIteration, multipliers: Sequence[Fraction]) -> Fraction | None:
    """Return the smallest t^2 that these multipliers prove, exactly; None if they prove nothing.

    Q without its first row and column must be positive definite; then t^2 is the Schur complement.
    All arithmetic is rational.

    Parameters
    ----------
    iteration
        The network.
    multipliers
        One number of at least 0 for every pair of :func:`conditions`.
    """
    stated = conditions(iteration)
    if min(multipliers, default=Fraction(0)) < 0:
        return None
    rows: list[dict[int, Fraction]] = [{} for _ in range(stated.size)]

    def add(factor: Fraction, p: Vector, r: Vector) -> None:
        for i, a in p.items():
            for j, b in r.items():
                value = factor * a * b / 2
                rows[i][j] = rows[i].get(j, Fraction(0)) + value
                rows[j][i] = rows[j].get(i, Fraction(0)) + value

    add(Fraction(-1), stated.output, stated.output)
    for multiplier, (p, r) in zip(multipliers, stated.pairs, strict=True):
        add(-2 * multiplier, p, r)
    for pivot in range(stated.size - 1, 0, -1):
        diagonal = rows[pivot].get(pivot, Fraction(0))
        if diagonal <= 0:
            return None
        rest = [(i, value) for i, value in rows[pivot].items() if i < pivot and value]
        for i, value in rest:
            factor = value / diagonal
            for j, other in rest:
                rows[i][j] = rows[i].get(j, Fraction(0)) - factor * other
    return -rows[0].get(0, Fraction(0))


@dataclass(frozen=True)
class TableEntry:
    """A proven bound and the multipliers that prove it."""

    iteration: UnrolledIteration
    bound: Fraction
    multipliers: tuple[Fraction, ...]


@lru_cache
def table() -> Mapping[UnrolledIteration, TableEntry]:
    """Return the shipped bounds by iteration."""
    text = files("firenet_mri.firenet").joinpath("lipschitz_table.json").read_text("utf-8")
    entries = [_entry(raw) for raw in json.loads(text)["entries"]]
    return {entry.iteration: entry for entry in entries}


def _entry(raw: Mapping[str, Any]) -> TableEntry:
    if "decay" in raw:
        iteration = UnrolledIteration.geometric(Fraction(raw["decay"]), raw["layers"])
    else:
        iteration = UnrolledIteration.restarted(raw["restarts"], raw["inner"])
    multipliers = tuple(Fraction(value) for value in raw["multipliers"].split())
    return TableEntry(iteration, Fraction(raw["bound"]), multipliers)


def closed_form(iteration: UnrolledIteration) -> float | None:
    """Return the closed-form bound for ||K|| = 1; None for averages with the dual kept."""
    if iteration.returns_average and iteration.keeps_dual:
        return None
    bound = 0.0
    before: Fraction | None = None
    for steps in iteration.primal_steps:
        reached = []
        for tau in steps:
            if before is not None:
                ratio = float(tau / before)
                bound = (abs(1 - ratio) + ratio) * bound + ratio
            before = tau
            reached.append(bound)
        if iteration.returns_average:
            bound = sum(reached) / len(reached)
        if not iteration.keeps_dual:
            before = None
    return bound


def lipschitz_bound(iteration: UnrolledIteration) -> float | None:
    """Return the best proven Lipschitz constant of data -> image for ||K|| = 1; None if none is.

    It is the table's where the iteration is in it, else the closed form.
    """
    entry = table().get(iteration)
    simple = closed_form(iteration)
    if entry is None:
        return simple
    proven = math.nextafter(float(entry.bound), math.inf)
    return proven if simple is None else min(proven, simple)
