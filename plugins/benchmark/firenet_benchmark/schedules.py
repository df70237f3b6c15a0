"""How many operator pairs each schedule needs: objective gap after every application of A and A^H.

Test problems: 256 x 256, 15 % of the Fourier coefficients in a multilevel pattern, Haar wavelets
with level weights, 2 % complex noise, all simulated: the modified Shepp-Logan phantom and an image,
each with lam = 0.00025, where the solution fits the noise, and 0.004, where a residual stays; and
six simulated coils. F* is the best objective of a long run of the gap-adaptive solver, with its
certified gap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from firenet_mri import (
    FIRENET,
    AdaptiveSchedule,
    NetworkSchedule,
    PaperSchedule,
    RadialSchedule,
    SquareRootLasso,
    sampling_pattern,
)
from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.firenet.adaptive import AdaptiveBlock
from firenet_mri.firenet.levels import PAPER_SPARSITIES, level_weights
from firenet_mri.firenet.look import on_coefficients
from firenet_mri.firenet.primal_dual import TrackedState, start_tracked, step
from firenet_mri.firenet.radial import RadialBlock
from firenet_mri.firenet.sampling import default_sparsities
from firenet_mri.firenet.unrolled import FixedSchedule
from firenet_mri.operators import (
    CartesianFourier,
    LinearOperator,
    OrthogonalWavelet,
    encoding_operator,
)
from firenet_mri.prox import soft_threshold

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEVELS = (1e-2, 1e-4, 1e-6, 1e-8)
LAMS = (0.00025, 0.004)
COIL_LAM = 0.0005

_NOISE, _RATE, _COILS = 0.02, 0.15, 6
# Below this a residual counts as an exact fit of the data, where FISTA has no equivalent LASSO.
_EXACT = 1e-4

Curve = Iterator[tuple[int, float]]


@dataclass(frozen=True, eq=False)
class Case:
    """A test problem: its name, the problem, and its data, (*codomain_shape) complex128."""

    name: str
    problem: SquareRootLasso
    y: Tensor


@dataclass(frozen=True, eq=False)
class Optimum:
    """The best objective known, its certified relative gap, and the relative residual there."""

    objective: float
    relative_gap: float
    residual: float


@dataclass(frozen=True)
class Result:
    """One schedule on one problem.

    Parameters
    ----------
    case, schedule
        Names.
    pairs, gaps
        Operator pairs, and the least (F - F*) / F* up to there.
    """

    case: str
    schedule: str
    pairs: tuple[int, ...]
    gaps: tuple[float, ...]

    def pairs_to(self, level: float) -> int | None:
        """Return the pairs after which the gap is at most ``level``; None if it never is."""
        reached = (p for p, gap in zip(self.pairs, self.gaps, strict=True) if gap <= level)
        return next(reached, None)

    def row(self) -> dict[str, object]:
        """Return the result as a row of a table; empty where a gap was not reached."""
        counts = {f"pairs_to_{level:.0e}": self.pairs_to(level) or "" for level in LEVELS}
        last = {"pairs": self.pairs[-1], "least_gap": self.gaps[-1]}
        return {"problem": self.case, "schedule": self.schedule, **counts, **last}


def make_cases(size: int, image: Tensor | None, *, seed: int = 1) -> list[Case]:
    """Return the test problems.

    Parameters
    ----------
    size
        Of the square images, a power of two of at least 32.
    image
        (y, x), shown beside the phantom, cropped or padded with zeros; None leaves it out.
    seed
        Of masks and noise.

    Raises
    ------
    UsageError
        If the size is not such a number.
    ShapeError
        If the image is not a single one.
    """
    if size < 32 or size & (size - 1):
        raise UsageError(f"size is {size}; it must be a power of two of at least 32")
    images = {"phantom": phantom(size)}
    if image is not None:
        images["image"] = on_grid(image, size)
    cases = [
        _single_coil(f"{name}, lam {lam:g}", pixels, lam, seed)
        for lam in LAMS
        for name, pixels in images.items()
    ]
    return [*cases, _multi_coil(f"{_COILS} coils, lam {COIL_LAM:g}", phantom(size // 2), seed)]


def phantom(size: int) -> Tensor:
    """Return SigPy's Shepp-Logan phantom, magnitude, (size, size) complex128, largest value 1."""
    import sigpy

    image = torch.from_numpy(sigpy.shepp_logan((size, size))).abs()
    return (image / image.max()).to(torch.complex128)


def on_grid(image: Tensor, size: int) -> Tensor:
    """Return the centre of an image, padded with zeros where it is smaller; largest value 1.

    Raises
    ------
    ShapeError
        If it is not a single 2D image, or zero.
    """
    if image.ndim < 2 or image.numel() != image.shape[-2:].numel() or not image.any():
        raise ShapeError(f"An image of shape {tuple(image.shape)} given; give one that is (y, x)")
    pixels = image.reshape(image.shape[-2:]).abs().double()
    begins = [max(0, (length - size) // 2) for length in pixels.shape]
    pixels = pixels[begins[0] : begins[0] + size, begins[1] : begins[1] + size]
    grid = torch.zeros(size, size, dtype=torch.float64)
    top, left = ((size - length) // 2 for length in pixels.shape)
    grid[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return (grid / pixels.max()).to(torch.complex128)


def _single_coil(name: str, image: Tensor, lam: float, seed: int) -> Case:
    mask = sampling_pattern(tuple(image.shape), _RATE, seed=seed)
    return _case(name, CartesianFourier(mask, tuple(image.shape)), image, lam, seed)


def _multi_coil(name: str, image: Tensor, seed: int) -> Case:
    import sigpy.mri

    shape = tuple(image.shape)
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((_COILS, *shape))).to(torch.complex128)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    encoding = encoding_operator(sampling_pattern(shape, _RATE, seed=seed), maps)
    return _case(name, encoding, image, COIL_LAM, seed)


def _case(name: str, encoding: LinearOperator, image: Tensor, lam: float, seed: int) -> Case:
    """Return a problem with noise of 2 % of the data."""
    shape = tuple(image.shape)
    sparsities = default_sparsities(shape)
    wavelet = OrthogonalWavelet("haar", len(sparsities), shape)
    if len(sparsities) == len(PAPER_SPARSITIES):
        sparsities = PAPER_SPARSITIES
    weights = level_weights(sparsities, (wavelet.band_levels - 1).clamp(min=0))
    clean = encoding(image)
    noise = torch.randn(
        clean.shape, dtype=clean.dtype, generator=torch.Generator().manual_seed(seed)
    )
    noise = noise * (clean != 0)
    y = clean + _NOISE * clean.norm() / noise.norm() * noise
    return Case(name, SquareRootLasso(encoding, wavelet, weights, lam), y)


def optimum(case: Case, *, layers: int) -> Optimum:
    """Return the best objective of a long run of the gap-adaptive solver."""
    block = AdaptiveBlock(AdaptiveSchedule(relative_gap=1e-10, max_layers=layers))
    with torch.no_grad():
        result = block(
            case.problem, case.y, torch.zeros_like(case.problem.encoding.adjoint(case.y))
        )
        x = result.state.x
        residual = float((case.problem.encoding(x) - case.y).norm() / case.y.norm())
        objective = float(case.problem.objective(x, case.y))
    return Optimum(objective, float(result.relative_gap), residual)


def schedules(case: Case, best: Optimum, pairs: int) -> dict[str, Callable[[], Curve]]:
    """Return what is compared on a problem: names, and what yields (pairs, objective).

    FISTA needs the parameter of the equivalent LASSO, 2 lam ||A x* - y||, from the solution; there
    is none where the data are fitted exactly.
    """
    networks: dict[str, FixedSchedule] = {
        f"paper, p = {p}": PaperSchedule(restarts=min(16, max(1, pairs // p)), inner=p)
        for p in (5, 8, 10, 20)
    }
    networks["network, default"] = NetworkSchedule()
    networks["network, 0.95, 60 layers"] = NetworkSchedule(60, 1.0, 0.95)
    networks["network, 0.97, 100 layers"] = NetworkSchedule(100, 1.0, 0.97)
    curves: dict[str, Callable[[], Curve]] = {
        name: lambda schedule=schedule: _network(case, schedule)  # type: ignore[misc]
        for name, schedule in networks.items()
    }
    for tau in (0.1, 1.0, 10.0):
        for average in (False, True):
            kind = "average" if average else "last"
            curves[f"Chambolle-Pock {kind}, tau {tau:g}"] = (
                lambda tau=tau, average=average: _chambolle_pock(case, tau, pairs, average)  # type: ignore[misc]
            )
    if best.residual > _EXACT:
        lam = 2 * case.problem.lam * best.residual * float(case.y.norm())
        for restart in (False, True):
            name = "FISTA with restart, oracle" if restart else "FISTA, oracle"
            curves[name] = lambda restart=restart: _fista(case, lam, pairs, restart)  # type: ignore[misc]
    curves["radial, alpha"] = lambda: _radial(case, pairs, (1.0,))
    curves["radial, alpha and beta"] = lambda: _radial(case, pairs, (1.0, math.e, math.e**2))
    curves["adaptive, no relaxation"] = lambda: _adaptive(case, pairs, 1.0)
    curves["adaptive"] = lambda: _adaptive(case, pairs, AdaptiveSchedule.relaxation)
    return curves


def compare(
    case: Case,
    *,
    pairs: int = 600,
    on_schedule: Callable[[str], None] | None = None,
) -> tuple[Optimum, list[Result]]:
    """Return F* and the results of all schedules on a problem.

    Parameters
    ----------
    case
        One of :func:`make_cases`.
    pairs
        Pairs that a schedule may use; the paper's has at most 16 restarts, after which it stops.
    on_schedule
        Called with the name of each schedule before it runs.
    """
    if pairs < 20:
        raise UsageError(f"pairs is {pairs}; it must be at least 20")
    tell = on_schedule or (lambda name: None)
    tell("F*")
    best = optimum(case, layers=5 * pairs)
    points = {}
    for name, curve in schedules(case, best, pairs).items():
        tell(name)
        with torch.no_grad():
            points[name] = list(_until(curve(), best.objective))
    least = min([best.objective, *(value for curve in points.values() for _, value in curve)])
    gap = best.relative_gap - (best.objective - least) / best.objective
    best = replace(best, objective=least, relative_gap=max(gap, 0.0))
    return best, [_result(case.name, name, curve, least) for name, curve in points.items()]


def _until(curve: Curve, objective: float) -> Curve:
    """Yield a curve until it has reached the last level."""
    for pairs, value in curve:
        yield pairs, value
        if value <= objective * (1 + 0.5 * LEVELS[-1]):
            return


def _result(case: str, schedule: str, curve: Sequence[tuple[int, float]], best: float) -> Result:
    gaps, least = [], math.inf
    for _, value in curve:
        least = min(least, value / best - 1)
        gaps.append(least)
    return Result(case, schedule, tuple(pairs for pairs, _ in curve), tuple(gaps))


def _network(case: Case, schedule: FixedSchedule) -> Curve:
    problem = case.problem
    net = FIRENET(problem.sparsifier, problem.lam, problem.weights, schedule)
    last_step = 1 if schedule.data_consistency else 0
    for pairs, (_, _, x) in enumerate(net.iterates(case.y, problem.encoding), 1):
        yield pairs + last_step, float(problem.objective(x, case.y))


def _chambolle_pock(case: Case, tau: float, pairs: int, average: bool) -> Curve:
    """Yield the objective of last or average iterate for tau ||y|| and sigma = 1 / (tau ||y||)."""
    problem, y = on_coefficients(case.problem), case.y
    state = start_tracked(problem, y, torch.zeros_like(problem.encoding.adjoint(y)))
    steps = (tau * y.norm(), 1 / (tau * y.norm() * problem.norm_bound**2))
    total: TrackedState = state
    for count in range(1, pairs + 1):
        state = step(problem, y, state, *steps)
        total = state._replace(x=total.x + state.x, data=total.data + state.data)
        shown = (total.x / count, total.data / count) if average else (state.x, state.data)
        yield count, float(problem.objective_of(*shown, y))


def _fista(case: Case, lam: float, pairs: int, restart: bool) -> Curve:
    """Yield the square-root LASSO's objective along FISTA for the LASSO with this lam."""
    problem, y = on_coefficients(case.problem), case.y
    threshold = lam * problem.threshold(y) / problem.penalty
    length = 1 / (2 * problem.norm_bound**2)
    x = torch.zeros_like(problem.encoding.adjoint(y))
    ahead, data, data_ahead, momentum = x, problem.encoding(x), problem.encoding(x), 1.0
    for count in range(1, pairs + 1):
        gradient = 2 * problem.encoding.adjoint(data_ahead - y)
        x_next = soft_threshold(ahead - length * gradient, length * threshold)
        data_next = problem.encoding(x_next)
        yield count, float(problem.objective_of(x_next, data_next, y))
        # Gradient test of O'Donoghue and Candes: momentum that points uphill is dropped.
        if restart and float(((ahead - x_next).conj() * (x_next - x)).real.sum()) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        factor = (momentum - 1) / following
        ahead = x_next + factor * (x_next - x)
        data_ahead = data_next + factor * (data_next - data)
        x, data, momentum = x_next, data_next, following


def _adaptive(case: Case, pairs: int, relaxation: float) -> Curve:
    block = AdaptiveBlock(AdaptiveSchedule(1e-10, pairs, relaxation))
    return _solver(case, block)


def _radial(case: Case, pairs: int, exponents: tuple[float, ...]) -> Curve:
    return _solver(case, RadialBlock(RadialSchedule(1e-10, pairs, exponents=exponents)))


def _solver(case: Case, block: AdaptiveBlock | RadialBlock) -> Curve:
    x0 = torch.zeros_like(case.problem.encoding.adjoint(case.y))
    for result in block.iterates(case.problem, case.y, x0):
        yield result.layers, float(case.problem.objective(result.state.x, case.y))


# What the figure shows, in the order of the legend; the table has all.
_SHOWN = {
    "paper, p = 5": "C7",
    "paper, p = 20": "0.2",
    "network, default": "C1",
    "Chambolle-Pock last, tau 1": "C0",
    "FISTA with restart, oracle": "C2",
    "radial, alpha": "C4",
    "adaptive": "C3",
}


def plot(results: Sequence[Result]) -> Figure:
    """Return the figure: a panel for each problem, gap against pairs, both on log scales."""
    from matplotlib.figure import Figure

    cases = list(dict.fromkeys(result.case for result in results))
    columns = math.ceil(len(cases) / 2) if len(cases) > 3 else len(cases)
    rows = math.ceil(len(cases) / columns)
    figure = Figure(figsize=(4.3 * columns, 3.6 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, case in zip(axes, cases, strict=False):
        for result in (r for r in results if r.case == case and r.schedule in _SHOWN):
            gaps = [max(gap, 1e-10) for gap in result.gaps]
            width = 2.2 if result.schedule == "adaptive" else 1.3
            label, colour = result.schedule, _SHOWN[result.schedule]
            axis.loglog(result.pairs, gaps, color=colour, lw=width, label=label)
        axis.set_ylim(1e-9, 3)
        axis.set_xlim(1, None)
        axis.set_title(case, fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="0.92", lw=0.6)
    for axis in axes[len(cases) :]:
        axis.set_visible(False)
    for axis in axes[::columns]:
        axis.set_ylabel("relative objective gap (F - F*) / F*")
    for axis in axes[max(0, len(cases) - columns) : len(cases)]:
        axis.set_xlabel("operator pairs (one A, one A^H)")
        axis.tick_params(labelbottom=True)
    handles = {
        line.get_label(): line for axis in axes for line in axis.get_lines() if axis.get_visible()
    }
    ordered = [name for name in _SHOWN if name in handles]
    figure.legend(
        [handles[name] for name in ordered],
        ordered,
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return figure
