"""A problem whose null space constants are known exactly, and the theorem's network for it.

A is the unitary 2D Fourier transform of N pixels without q of its N frequencies. The image itself
is sparse: W = 1, w = 1, one level, s pixels that are not zero. Then A has the robust null space
property with

    rho = s q / (N - s q),    gamma = sqrt(1 + rho^2 (N - s) / s)          (s q < N / 2).

Proof. Write x = a + n with A n = 0, ||a|| = ||A x||, and let D be any s pixels. n is a sum of q
orthonormal waves whose values have modulus N^{-1/2}, so ||n||_inf <= sqrt(q/N) ||n||. Hence
||n_D|| <= sqrt(s q/N) ||n|| and

    ||n_{D^c}||_1 >= ||n_{D^c}||^2 / ||n||_inf >= (1 - s q/N) sqrt(N/q) ||n||,

together ||n_D|| <= rho ||n_{D^c}||_1 / sqrt(s). With ||n_{D^c}||_1 <= ||x_{D^c}||_1
+ sqrt(N - s) ||a_{D^c}|| and Cauchy's inequality, ||x_D|| <= ||a_D|| + ||n_D|| <=
rho ||x_{D^c}||_1 / sqrt(s) + gamma ||a||. []

The data are y = A c without noise, for an image c with s pixels that are not zero. So c(c, y) = 0,
and by sharpness (docs/theory.md, section 4) c is the only minimiser: F* = lam ||c||_1 is known
exactly, and the theorem promises F(psi_k) - F* <= eps_k = nu^k ||y|| and ||psi_k - c|| <= chi eps_k
with delta = 0. Nothing is assumed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from firenet_benchmark.paper.convergence import Curve, Optimum, Problem, curve_of
from firenet_mri import PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import (
    LevelStructure,
    NullSpaceConstants,
    RecoveryConstants,
    admissible_lam,
    recovery_constants,
    sharpness,
)
from firenet_mri.operators import CartesianFourier

#: Gaps, relative to ||y||, for which layers are counted.
ACCURACIES = tuple(10.0**-k for k in range(1, 13))

#: Name of the problem in figure and table.
NAME = "known constants"


@dataclass(frozen=True, eq=False)
class KnownProblem:
    """A problem, its constants, and what follows from them.

    Parameters
    ----------
    problem
        What is solved; its ``truth`` is the only minimiser.
    levels, constants, recovery
        One level, (rho, gamma), and c1 and c2.
    chi
        Sharpness at the problem's lam, the largest admissible one.
    """

    problem: Problem
    levels: LevelStructure
    constants: NullSpaceConstants
    recovery: RecoveryConstants
    chi: float

    @property
    def data_norm(self) -> float:
        """||y||, the bound eps_0 of the first objective gap."""
        return float(torch.linalg.vector_norm(self.problem.y))

    @property
    def optimum(self) -> Optimum:
        """F* = lam ||c||_1, exactly."""
        assert self.problem.truth is not None
        return Optimum(self.problem.lam * float(self.problem.truth.abs().sum()), 0.0, 0.0)

    def schedule(self, accuracy: float) -> PaperSchedule:
        """Return the theorem's p, and n for an objective gap of accuracy ||y||."""
        return PaperSchedule.from_theorem(
            self.levels,
            self.recovery,
            lam=self.problem.lam,
            norm=1.0,
            eps0=self.data_norm,
            accuracy=self.chi * accuracy * self.data_norm,
        )


def known_problem(
    size: int = 32, *, missing: int = 20, sparsity: int = 10, seed: int = 1
) -> KnownProblem:
    """Return the problem for random missing frequencies and a random sparse image.

    Parameters
    ----------
    size
        Pixels along each of the two axes.
    missing
        q, frequencies that are not sampled.
    sparsity
        s, pixels that are not zero.
    seed
        Of frequencies, places and values.

    Raises
    ------
    UsageError
        If s q >= N / 2, where rho would not be less than 1.
    """
    count = size * size
    if min(missing, sparsity) < 1 or 2 * sparsity * missing >= count:
        raise UsageError(
            f"{sparsity} pixels and {missing} missing frequencies of {count} given; their product "
            f"must be at least 1 and less than {count / 2:g}"
        )
    rho = sparsity * missing / (count - sparsity * missing)
    gamma = math.sqrt(1 + rho**2 * (count - sparsity) / sparsity)
    constants = NullSpaceConstants(rho, gamma)
    levels = LevelStructure.balanced((sparsity,), (count,))
    recovery = recovery_constants(levels, constants)
    lam = admissible_lam(levels, recovery)
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(count, dtype=torch.bool)
    mask[torch.randperm(count, generator=generator)[:missing]] = False
    encoding = CartesianFourier(mask.reshape(size, size), (size, size))
    image = torch.zeros(count, dtype=torch.complex128)
    where = torch.randperm(count, generator=generator)[:sparsity]
    image[where] = torch.randn(sparsity, dtype=torch.complex128, generator=generator)
    truth = image.reshape(size, size)
    problem = Problem(NAME, encoding, None, None, lam, encoding(truth), truth)
    return KnownProblem(problem, levels, constants, recovery, sharpness(levels, recovery, lam))


def promised_curves(known: KnownProblem, *, published: bool = True) -> list[Curve]:
    """Return the theorem's network down to 1e-12, and the published p = 5, of as many layers."""
    schedules = [known.schedule(ACCURACIES[-1])]
    if published:
        # Beyond 150 restarts its steps are no normal numbers.
        inner = PaperSchedule.inner
        restarts = min(150, -(-schedules[0].restarts * schedules[0].inner // inner))
        schedules.append(PaperSchedule(restarts, inner, norm=1.0, delta=0.0))
    return [curve_of(known.problem, one, None, known.optimum) for one in schedules]


def promised_layers(known: KnownProblem, accuracies: Sequence[float] = ACCURACIES) -> list[int]:
    """Return the theorem's n p for objective gaps of so many ||y||."""
    schedules = [known.schedule(accuracy) for accuracy in accuracies]
    return [schedule.restarts * schedule.inner for schedule in schedules]


def needed_layers(
    known: KnownProblem, curve: Curve, accuracies: Sequence[float] = ACCURACIES
) -> list[int | None]:
    """Return p n of the least n whose gap is within so many ||y||; None if there is none.

    Only whole restarts count: the first iterates of a restart are worse than its start.
    """
    assert known.problem.truth is not None
    scale = known.data_norm / float(torch.linalg.vector_norm(known.problem.truth))
    ends = list(enumerate(curve.gap[curve.inner - 1 :: curve.inner], 1))
    return [
        next((n * curve.inner for n, gap in ends if gap <= accuracy * scale), None)
        for accuracy in accuracies
    ]


def summary(known: KnownProblem, curves: Sequence[Curve]) -> dict[str, object]:
    """Return constants, parameters and layers as JSON data."""
    last = curves[0].gap[-1], curves[0].eps[-1]
    return {
        "constants": "exact, see the module firenet_benchmark.paper.known_constants",
        "rho": known.constants.rho,
        "gamma": known.constants.gamma,
        "chi": known.chi,
        "lam": known.problem.lam,
        "inner": curves[0].inner,
        "restarts": len(curves[0].gap) // curves[0].inner,
        "last_gap_and_eps_over_image_norm": last,
        "gap_below_eps_at_every_restart": is_below(curves[0]),
        "accuracies": list(ACCURACIES),
        "layers_of_the_theorem": promised_layers(known),
        "layers_needed": {f"p = {c.inner}": needed_layers(known, c) for c in curves},
    }


def is_below(curve: Curve) -> bool:
    """Return whether the gap is at most eps_k at the end of every restart."""
    ends = slice(curve.inner - 1, None, curve.inner)
    return all(gap <= eps for gap, eps in zip(curve.gap[ends], curve.eps[ends], strict=True))


def draw(axes: Sequence[Any], known: KnownProblem, curves: Sequence[Curve]) -> None:
    """Draw gaps and eps_k on the first axis, layers over the accuracy on the second, if any."""
    promised, *others = curves
    p, colour = promised.inner, "#2e86ab"
    j = range(1, len(promised.gap) + 1)
    axes[0].semilogy(j, promised.gap, color=colour, lw=0.9, alpha=0.6)
    ends = promised.gap[p - 1 :: p]
    label = f"theorem's p = {p}, ends of restarts"
    axes[0].semilogy(j[p - 1 :: p], ends, "o", color=colour, ms=3, label=label)
    axes[0].semilogy(
        j[p - 1 :: p],
        promised.eps[p - 1 :: p],
        color=colour,
        lw=0.9,
        ls="--",
        label="$\\epsilon_k$ of the theorem",
    )
    for curve in others:
        gaps = [gap if gap > 1e-16 else math.nan for gap in curve.gap]
        label = f"p = {curve.inner}, no promise"
        axes[0].semilogy(range(1, len(gaps) + 1), gaps, color="#d1495b", lw=1.0, label=label)
    axes[0].set_ylim(1e-14, 3)
    axes[0].set_xlabel("inner iterations $j$")
    axes[0].set_title(
        f"{NAME}: $\\rho$ = {known.constants.rho:.2f}, $\\gamma$ = {known.constants.gamma:.2f}",
        fontsize=11,
    )
    if len(axes) > 1:
        _draw_layers(axes[1], known, curves, colour)
    for axis in axes:
        axis.legend(frameon=False, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="0.92", lw=0.6)
        axis.set_axisbelow(True)


def _draw_layers(axis: Any, known: KnownProblem, curves: Sequence[Curve], colour: str) -> None:
    """Draw layers over log 1/eps."""
    inverse = [1 / accuracy for accuracy in ACCURACIES]
    axis.semilogx(
        inverse, promised_layers(known), color=colour, lw=0.9, ls="--", label="layers $n p$, proven"
    )
    for curve, shade, name in zip(curves, (colour, "#d1495b"), ("theorem's ", ""), strict=False):
        needed = [math.nan if n is None else n for n in needed_layers(known, curve)]
        label = f"layers needed, {name}p = {curve.inner}"
        axis.semilogx(inverse, needed, "o-", color=shade, ms=3, lw=1.2, label=label)
    axis.set_xlabel("$1/\\epsilon$, objective gap $\\epsilon\\,\\|y\\|$")
    axis.set_ylabel("layers")
