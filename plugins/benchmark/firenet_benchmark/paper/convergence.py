"""The paper's convergence: objective gap and error after every inner iteration of its network.

For an image c with data y = A c + e let c_j be what the network has after j inner iterations;
shown are (F(c_j) - F*) / ||c|| and ||c_j - c|| / ||c||. The theorem promises that F(psi_k) - F* is
at most eps_k, which falls by nu = e^-1 per restart (plus delta), if p >= 2 chi L / nu. With a small
p such as the published 5 the gap falls as promised at first, then stays on a plateau that p sets.
Nobody knows chi here, and with noise the theorem ends at a floor above these plateaus;
:mod:`.known_constants` has a problem where chi is known, and the theorem's p with it.

F* is found by the adaptive solver in double precision, and certified by its duality gap.

Differs from [1] in: 256 x 256 pixels by default, where the published script has 1024 x 1024; the
modified Shepp-Logan phantom and any image that is given, since the published head is not public; p
from 5 to 100 over 400 iterations instead of p = 5, n = 16; F* from a certified solver instead of
10 000 steps of the iteration without restarts, started at the network's image; complex noise on
Walsh samples, too; delta = 1e-9 relative to ||y||. Sampling rate (15 %), noise (2 %), lam, Haar
wavelet, sparsities (those of the phantom), weights, tau = sigma = 1 and the start at zero are the
published ones.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022: matlab/Demo_convergence_test.m of the
published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from firenet_mri import FIRENET, AdaptiveSchedule, PaperSchedule, SquareRootLasso, sampling_pattern
from firenet_mri.errors import UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock
from firenet_mri.firenet.levels import level_index, level_weights
from firenet_mri.firenet.sampling import Transform, default_sparsities
from firenet_mri.operators import CartesianFourier, LinearOperator, OrthogonalWavelet, WalshHadamard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Where the run that finds F* stops in any case. The phantom needed 290 (Fourier) and 594 (Walsh)
# layers for 1e-6; on the sample scan two coefficients hold the certificate, not F, at 2e-5.
_MOST_LAYERS = 1500
_DASHED = (0, (4, 3))
_COLOURS = ("#d1495b", "#2e86ab", "#3d8b37", "#8a5fbf", "#c77d0a", "#555555")


@dataclass(frozen=True, eq=False)
class Problem:
    """What is solved: a network's problem for one encoding operator and its data.

    Parameters
    ----------
    name
        Such as "phantom, Fourier".
    encoding, sparsifier, weights, lam
        As :class:`~firenet_mri.firenet.problem.SquareRootLasso` takes them.
    y
        Data, (*codomain_shape).
    truth
        The image that the data are of, (*domain_shape); None where it is not known.
    """

    name: str
    encoding: LinearOperator
    sparsifier: LinearOperator | None
    weights: Tensor | None
    lam: float
    y: Tensor
    truth: Tensor | None = None

    @property
    def lasso(self) -> SquareRootLasso:
        """The optimisation problem."""
        return SquareRootLasso(self.encoding, self.sparsifier, self.weights, self.lam)


@dataclass(frozen=True)
class Optimum:
    """The best objective found, in place of F*, with its certificate.

    Parameters
    ----------
    objective
        Objective of the best image found.
    gap
        Proven bound of objective - min F.
    error
        ||x - c|| / ||c||, None where c is not known.
    """

    objective: float
    gap: float
    error: float | None


@dataclass(frozen=True)
class Curve:
    """One network on one problem; entry j - 1 is after j inner iterations.

    Parameters
    ----------
    problem
        Its name.
    inner
        Inner iterations p of a restart.
    gap
        (F(c_j) - F*) / ||c||; for unknown c the norm of the best image replaces ||c||.
    error
        ||c_j - c|| / ||c||, empty where c is not known.
    eps
        eps_k / ||c||, the theorem's bound of the gap at the end of restart k, where p suffices.
    optimum
        What F* is.
    """

    problem: str
    inner: int
    gap: tuple[float, ...]
    error: tuple[float, ...]
    eps: tuple[float, ...]
    optimum: Optimum

    @property
    def falls(self) -> tuple[float, ...]:
        """Factor of the gap from restart to restart; the theorem's is at most e^-1."""
        ends = self.gap[self.inner - 1 :: self.inner]
        return tuple(b / a if a > 0 else math.nan for a, b in pairwise(ends))

    def rows(self) -> Iterator[dict[str, object]]:
        """Yield the rows of the table."""
        for j, gap in enumerate(self.gap, 1):
            yield {
                "problem": self.problem,
                "p": self.inner,
                "restart": (j - 1) // self.inner + 1,
                "inner_iteration": j,
                "objective_gap_over_image_norm": gap,
                "relative_error": self.error[j - 1] if self.error else None,
                "eps_k_over_image_norm": self.eps[j - 1],
            }


def simulated_problem(
    name: str,
    image: Tensor,
    transform: Transform,
    *,
    rate: float = 0.15,
    noise: float = 0.02,
    lam: float = 0.00025,
    seed: int = 1,
) -> Problem:
    """Return the paper's problem for an image: multilevel sampling, Haar, level weights, noise.

    Parameters
    ----------
    name
        Of the image.
    image
        (size, size) float64, size a power of two.
    transform
        "fourier" or "walsh".
    rate
        Part of the coefficients that is sampled.
    noise
        ||e|| / ||A c|| of complex white Gaussian noise on the samples.
    lam
        Weight of the sparsity.
    seed
        Of mask and noise.

    Raises
    ------
    UsageError
        If an argument lies outside its range.
    """
    if not 0 <= noise < math.inf:
        raise UsageError(f"noise is {noise}; it must be a number of at least 0")
    shape = tuple(image.shape)
    sparsities = default_sparsities(shape)
    mask = sampling_pattern(shape, rate, sparsities=sparsities, transform=transform, seed=seed)
    encoding = (CartesianFourier if transform == "fourier" else WalshHadamard)(mask, shape)
    truth = image.to(torch.complex128)
    clean = encoding(truth)
    generator = torch.Generator().manual_seed(seed)
    e = torch.randn(shape, dtype=clean.dtype, generator=generator) * mask
    sparsifier = OrthogonalWavelet("haar", len(sparsities), shape)
    return Problem(
        name=f"{name}, {transform.capitalize()}",
        encoding=encoding,
        sparsifier=sparsifier,
        weights=level_weights(sparsities, level_index(sparsifier)),
        lam=lam,
        y=clean + noise * torch.linalg.vector_norm(clean) / torch.linalg.vector_norm(e) * e,
        truth=truth,
    )


def optimum(problem: Problem, *, relative_gap: float = 1e-5) -> tuple[Tensor, Optimum]:
    """Return the best image of the adaptive solver, and its objective with its certified gap."""
    data, lasso = _precise(problem), problem.lasso
    solver = AdaptiveBlock(AdaptiveSchedule(relative_gap, max_layers=_MOST_LAYERS))
    with torch.no_grad():
        shape = problem.encoding.domain_shape
        x, v, q, *_ = solver(lasso, data, torch.zeros(shape, dtype=data.dtype)).state
        value = float(lasso.objective(x, data))
        gap = float(lasso.duality_gap(x, data, v, q))
    error = None if problem.truth is None else _norm(x - problem.truth) / _norm(problem.truth)
    return x, Optimum(value, gap, error)


def convergence(
    problem: Problem,
    inner: Sequence[int],
    *,
    iterations: int = 80,
    relative_gap: float = 1e-5,
    on_curve: Callable[[], None] | None = None,
) -> list[Curve]:
    """Return the curves of the paper's network, one for each number p of inner iterations.

    Parameters
    ----------
    problem
        What is solved.
    inner
        The numbers p.
    iterations
        Inner iterations in all; the last restart is completed.
    relative_gap
        Certified (F - F*) / F at which the search for F* ends.
    on_curve
        Called after F* and after every curve.

    Raises
    ------
    UsageError
        If a number is less than 1.
    """
    if iterations < 1:
        raise UsageError(f"iterations is {iterations}; it must be at least 1")
    schedules = [
        PaperSchedule(restarts=-(-iterations // p) if p > 0 else 1, inner=p) for p in inner
    ]
    best_image, best = optimum(problem, relative_gap=relative_gap)
    tell = on_curve or (lambda: None)
    tell()
    curves = []
    for schedule in schedules:
        curves.append(curve_of(problem, schedule, best_image, best))
        tell()
    return curves


def optima(curves: Sequence[Curve]) -> dict[str, dict[str, float | None]]:
    """Return for every problem's name what its F* is, as JSON data."""
    return {
        curve.problem: {
            "objective": curve.optimum.objective,
            "certified_gap": curve.optimum.gap,
            "relative_error": curve.optimum.error,
        }
        for curve in curves
    }


def curve_of(
    problem: Problem, schedule: PaperSchedule, best_image: Tensor | None, best: Optimum
) -> Curve:
    """Return the curve of one schedule.

    Parameters
    ----------
    problem, schedule
        What is solved, and how.
    best_image
        Its norm takes the place of ||c|| where the problem has no truth.
    best
        What F* is.

    Raises
    ------
    UsageError
        If neither the true nor the best image is known.
    """
    reference = best_image if problem.truth is None else problem.truth
    if reference is None:
        raise UsageError("Neither the true nor the best image is known; give one of them")
    net = FIRENET(problem.sparsifier, problem.lam, problem.weights, schedule)
    data, lasso = _precise(problem), problem.lasso
    size = _norm(reference)
    gap, error = [], []
    with torch.no_grad():
        for _, _, x in net.iterates(data, problem.encoding):
            gap.append((float(lasso.objective(x, data)) - best.objective) / size)
            if problem.truth is not None:
                error.append(_norm(x - problem.truth) / size)
    eps, scale = [], _norm(data) / size
    for _ in range(schedule.restarts):
        scale = schedule.nu * (schedule.delta * _norm(data) / size + scale)
        eps += [scale] * schedule.inner
    return Curve(problem.name, schedule.inner, tuple(gap), tuple(error), tuple(eps), best)


def figure(
    curves: Sequence[Curve], *, title: str, beside: Callable[[Sequence[Any]], None] | None = None
) -> Figure:
    """Return the figure: one column per problem, objective gap above, error below where known.

    ``beside`` draws one more column, given its axes from above.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(curve.problem for curve in curves))
    rows = 2 if any(curve.error for curve in curves) else 1
    width, more = 4.2 * len(names) + 0.8, 0.0 if beside is None else 4.6
    result = Figure(figsize=(width + more, 3.4 * rows + 0.7), layout="constrained")
    left: Any = result
    if beside is not None:
        left, right = result.subfigures(1, 2, width_ratios=(width, more), squeeze=False)[0]
        beside(right.subplots(rows, 1, squeeze=False)[:, 0])
    axes = left.subplots(rows, len(names), squeeze=False, sharex=True, sharey="row")
    colours = dict(zip(sorted({c.inner for c in curves}), _COLOURS * 9, strict=False))
    columns = [[curve for curve in curves if curve.problem == name] for name in names]
    gaps = [gap for curve in curves for gap in curve.gap if gap > 0]
    axes[0, 0].set_ylim(min(gaps) / 3, 2 * max(gaps))
    for column, mine in enumerate(columns):
        axes[0, column].set_title(names[column], fontsize=11)
        _draw_gaps(axes[0, column], mine, colours)
        if rows == 2:
            _draw_errors(axes[1, column], mine, colours)
        axes[-1, column].set_xlabel("inner iterations $j$")
    if rows == 2:
        axes[1, 0].set_yticks((0.05, 0.1, 0.2, 0.5, 1.0), ("5 %", "10 %", "20 %", "50 %", "100 %"))
    # Only now are the limits known that the columns share.
    for column, mine in enumerate(columns):
        for row in range(rows):
            _label(axes[row, column], mine, [c.error if row else c.gap for c in mine], colours)
    axes[0, 0].set_ylabel("objective gap $(F(c_j) - F^*)\\,/\\,\\|c\\|$")
    if rows == 2:
        axes[1, 0].set_ylabel("relative error $\\|c_j - c\\|\\,/\\,\\|c\\|$")
    result.suptitle(title, fontsize=10)
    return result


def _draw_gaps(axis: Any, curves: Sequence[Curve], colours: dict[int, str]) -> None:
    """Draw gaps, and eps_k where a restart ends."""
    for curve in curves:
        colour, p = colours[curve.inner], curve.inner
        j = range(1, len(curve.gap) + 1)
        axis.semilogy(j, [g if g > 0 else math.nan for g in curve.gap], color=colour, lw=1.6)
        axis.semilogy(j[p - 1 :: p], curve.eps[p - 1 :: p], color=colour, lw=0.9, ls=_DASHED)
    label = "$\\epsilon_k$: $e^{-1}$ per restart"
    axis.plot([], [], color="0.4", ls=_DASHED, lw=0.9, label=label)
    axis.legend(frameon=False, fontsize=8, loc="upper right")


def _draw_errors(axis: Any, curves: Sequence[Curve], colours: dict[int, str]) -> None:
    """Draw errors, and that of the minimiser."""
    for curve in curves:
        axis.semilogy(
            range(1, len(curve.error) + 1), curve.error, color=colours[curve.inner], lw=1.6
        )
    error = curves[0].optimum.error
    if error is not None:
        axis.axhline(error, color="0.4", lw=0.9, ls=":", label="minimiser of $F$")
        axis.legend(frameon=False, fontsize=8, loc="upper right")


def _label(
    axis: Any,
    curves: Sequence[Curve],
    values: Sequence[Sequence[float]],
    colours: dict[int, str],
) -> None:
    """Write p at the end of every line, apart where lines meet."""
    bottom, top = (math.log(limit) for limit in axis.get_ylim())
    height = -math.inf
    for value, curve in sorted(
        ((v[-1], c) for v, c in zip(values, curves, strict=True) if v), key=lambda pair: pair[0]
    ):
        place = (math.log(max(value, 1e-300)) - bottom) / (top - bottom)
        height = max(place, height + 0.055, 0.0)
        axis.annotate(
            f"p = {curve.inner}",
            (1.01, height),
            xycoords="axes fraction",
            color=colours[curve.inner],
            fontsize=9,
            va="center",
        )
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(visible=True, color="0.92", lw=0.6)
    axis.set_axisbelow(True)


def _precise(problem: Problem) -> Tensor:
    return problem.y.to(torch.complex128)


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))
