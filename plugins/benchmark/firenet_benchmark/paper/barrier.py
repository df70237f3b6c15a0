"""The computability barrier: what networks reach when matrix and data are known to n bits only.

For K digits, n bits and j = 1, 2 the square-root LASSO min lam ||x||_1 + ||A x - y|| with lam = 1
and

    A = C [a 0; 0 ||a|| I],    y = C e_1,
    a = (alpha, alpha) + 2^{-n-1} e_j,    alpha = sqrt(2) 10^K / 3,

C the orthonormal DCT-II. The only minimiser is e_j / a_j. The matrices of j = 1 and 2 differ by at
most 2^{-n}, their minimisers by nearly 3 10^{-K}. A reading of the matrix to 2^{-n} may come from
either; whatever is computed from it lies at least half of that distance from one of the minimisers.
Here the networks get the matrix of j = 2, and the true problem is j = 1, or 2.

Both problems are well-conditioned: A A^T = ||a||^2, and for changes that are small compared with
2^{-n} the relative condition numbers of y -> x and A -> x are 1 and ||a|| / a_j < sqrt(2). A coin
does not help either: the balls of radius 10^{-K} around the minimisers are disjoint, and one
distribution of outputs has at most probability 1/2 on one of them.

The theorem of [1] says for K > 2 what no example can: for any L chosen beforehand there are classes
of well-conditioned problems for which networks exist, but (a) no training algorithm, deterministic
or randomised, computes one with K correct digits with probability above 1/2; (b) a deterministic
one does with K - 1 digits, but any such algorithm needs arbitrarily many training data; (c) a
deterministic one does with K - 2 digits from at most L training data. The distances here show (a)
on one pair.

Differs from the published code in: the true minimiser is the one of j = 1 for all K, where the
code's loop variable replaced j; tau = sigma = 1/||A||, where the code's steps have
tau sigma ||A||^2 of about ||A||, and the iteration needs at most 1; how LISTA is trained and used,
see :mod:`.lista`; the LISTA network that is trained on both problems.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, theorem 1 and table 1, and its
published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from firenet_benchmark.paper.lista import Recipe, Training, train
from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.operators import MatrixOperator

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIGITS = (1, 3, 6)
BITS = (10, 20, 30)
LAM = 1.0
SCHEDULE = PaperSchedule(restarts=30, inner=50, delta=1e-6)

_ZEROS = 20  # rows and columns of the identity block
_SPARSITY = 5  # entries of it in a training item
_ITEMS = 4000
_VALIDATION_ITEMS = 200


@dataclass(frozen=True, eq=False)
class BarrierProblem:
    """One of the two problems.

    Parameters
    ----------
    matrix
        A, (21, 22) float64.
    norm
        ||A||, the norm of a.
    data
        y, (21,) float64.
    minimiser
        The only minimiser, (22,) float64.
    """

    matrix: Tensor
    norm: float
    data: Tensor
    minimiser: Tensor


@dataclass(frozen=True)
class BarrierRow:
    """Distances from the minimisers for one K and n; every network gets the problem j = 2.

    Parameters
    ----------
    digits, bits
        K and n.
    matrix_distance
        ||A_1 - A_2||, at most 2^-n.
    unavoidable
        Half of the distance between the minimisers: from the same reading, no algorithm does
        better for both problems.
    firenet_true_1, firenet_true_2
        Distance of FIRENET's output from the minimiser where the true problem is 1, or 2.
    lista_true_1, lista_true_2
        The same of LISTA trained on the problem that it gets.
    lista_both_true_1, lista_both_true_2
        The same of LISTA trained on both problems.
    lista_validation_error, lista_both_validation_error
        ||x - x_true|| / ||x_true|| on items of the training kind that it has not seen.
    lista_learning_rate, lista_both_learning_rate
        The best of a few on these items.
    """

    digits: int
    bits: int
    matrix_distance: float
    unavoidable: float
    firenet_true_1: float
    firenet_true_2: float
    lista_true_1: float
    lista_true_2: float
    lista_both_true_1: float
    lista_both_true_2: float
    lista_validation_error: float
    lista_both_validation_error: float
    lista_learning_rate: float
    lista_both_learning_rate: float

    def row(self) -> dict[str, object]:
        """Return the row of the table."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Barrier:
    """The table, and how LISTA learned.

    Parameters
    ----------
    rows
        One for every K and n.
    curve_steps
        Optimiser steps at which the validation error was taken.
    curves
        Relative validation error of the network of each row, trained on the problem it gets.
    """

    rows: tuple[BarrierRow, ...]
    curve_steps: tuple[int, ...]
    curves: tuple[tuple[float, ...], ...]


def barrier_problem(digits: int, bits: int, index: Literal[1, 2]) -> BarrierProblem:
    """Return problem j of the construction for K digits and n bits.

    Raises
    ------
    UsageError
        If K or n is less than 1, or so large that double precision does not hold the problem.

    Examples
    --------
    >>> problem = barrier_problem(3, 10, 2)
    >>> problem.matrix.shape
    torch.Size([21, 22])
    """
    _check_range(digits, bits)
    alpha = math.sqrt(2) * 10**digits / 3
    row = torch.full((2,), alpha, dtype=torch.float64)
    row[index - 1] = alpha + 2.0 ** (-bits - 1)
    norm = float(torch.linalg.vector_norm(row))
    matrix = torch.zeros(1 + _ZEROS, 2 + _ZEROS, dtype=torch.float64)
    matrix[0, :2] = row
    matrix[1:, 2:] = norm * torch.eye(_ZEROS, dtype=torch.float64)
    minimiser = torch.zeros(2 + _ZEROS, dtype=torch.float64)
    minimiser[index - 1] = 1 / row[index - 1]
    cosines = _cosine_transform(1 + _ZEROS)
    return BarrierProblem(cosines @ matrix, norm, cosines[:, 0].clone(), minimiser)


def barrier(
    digits: Sequence[int] = DIGITS,
    bits: Sequence[int] = BITS,
    *,
    recipe: Recipe | None = None,
    seed: int = 0,
    on_step: Callable[[int, int], None] | None = None,
) -> Barrier:
    """Return the distances for FIRENET and for LISTA networks that are trained here.

    Parameters
    ----------
    digits, bits
        K and n, all pairs.
    recipe
        Of the training; None is the default one.
    seed
        Of the training data.
    on_step
        Called after each training step with (steps done, steps in all).
    """
    pairs = [(k, n) for k in digits for n in bits]
    problems = [(barrier_problem(k, n, 1), barrier_problem(k, n, 2)) for k, n in pairs]
    given = [second for _, second in problems]
    networks = 2 * len(pairs)
    matrices = torch.stack([p.matrix / p.norm for p in given] * 2)
    training = train(
        matrices,
        _training_items(problems, _ITEMS, seed),
        _training_items(problems, _VALIDATION_ITEMS, seed + 1),
        recipe=recipe or Recipe(),
        seed=seed,
        on_step=on_step,
    )
    data = torch.stack([p.data for p in given] * 2).unsqueeze(1)
    with torch.no_grad():
        outputs = training.network(data)[:, 0]
    norms = torch.tensor([p.norm for p in given] * 2, dtype=torch.float64)
    learned = (outputs / norms[:, None]).reshape(2, networks // 2, -1)
    rows = tuple(
        _row(k, n, pair, learned[:, i], training, (i, i + len(pairs)))
        for i, ((k, n), pair) in enumerate(zip(pairs, problems, strict=True))
    )
    curves = training.curves[: len(pairs)]
    steps = tuple(i * training.steps for i in range(curves.shape[1]))
    return Barrier(rows, steps, tuple(tuple(map(float, curve)) for curve in curves))


def firenet_solution(problem: BarrierProblem) -> Tensor:
    """Return FIRENET's output for a problem, (22,) float64."""
    net = FIRENET(lam=LAM, schedule=SCHEDULE)
    return net(problem.data, MatrixOperator(problem.matrix, norm_bound=problem.norm))


def reading(rows: Sequence[BarrierRow]) -> list[str]:
    """Return one sentence for each K: which digits the networks have where problem 1 is true."""
    sentences = []
    for k in sorted({row.digits for row in rows}):
        mine = [row for row in rows if row.digits == k]
        distances = {
            "FIRENET": max(row.firenet_true_1 for row in mine),
            "LISTA": max(row.lista_true_1 for row in mine),
        }
        off = ", ".join(f"{name} {distance:.1e}" for name, distance in distances.items())
        parts = "; ".join(
            f"({label}) {name} digits, at most 1e{less - k:+d}: {_who(distances, less - k)}"
            for less, (label, name) in enumerate((("a", "K"), ("b", "K-1"), ("c", "K-2")))
        )
        note = "" if k > 2 else " (the theorem begins at K = 3)"
        sentences.append(f"K = {k}{note}, distance from the true minimiser: {off}. {parts}")
    return sentences


def settings(result: Barrier, recipe: Recipe, seed: int) -> dict[str, object]:
    """Return what the experiment was run with, what is claimed and what measured; JSON data."""
    return {
        "problem": "square-root LASSO, real, 21 x 22, lam = 1; the networks get problem 2",
        "simulated": True,
        "firenet": asdict(SCHEDULE),
        "lista": asdict(recipe) | {"items": _ITEMS, "validation_items": _VALIDATION_ITEMS},
        "seed": seed,
        "theorem": THEOREM,
        "reading": reading(result.rows),
        "curve_steps": result.curve_steps,
        "validation_curves": result.curves,
    }


THEOREM = (
    "The paper's theorem, K > 2 and any L chosen beforehand: there are classes of well-conditioned "
    "problems on which (a) no training algorithm, deterministic or randomised, computes a network "
    "with K digits with probability above 1/2; (b) a deterministic one computes K-1 digits, but "
    "any such algorithm needs arbitrarily many training data; (c) a deterministic one computes K-2 "
    "digits from at most L training data. The distances are measured on one pair of problems: they "
    "show (a) on this pair, and nothing of (b) and (c). What the pair itself proves: any method "
    "that gets the same reading for both problems is off by 1.5 10^-K, half of their distance, for "
    "one"
)


def barrier_figure(result: Barrier) -> Figure:
    """Return the figure: distances beside the digits, and the training curves."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_distances(left, result.rows)
    _draw_curves(right, result)
    return figure


def _training_items(
    problems: Sequence[tuple[BarrierProblem, BarrierProblem]], count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return y and ||A|| x of all networks: first those trained on problem 2, then on both."""
    second = [_items((pair[1],), count, seed) for pair in problems]
    both = [_items(pair, count, seed) for pair in problems]
    ys, xs = zip(*second, *both, strict=True)
    return torch.stack(ys), torch.stack(xs)


def _items(problems: Sequence[BarrierProblem], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return y (count, 21) and ||A|| x (count, 22), x minimisers of the problems in turn.

    x is the problem's minimiser plus five random entries in the columns of the identity, which is
    the minimiser for y = A x.
    """
    generator = torch.Generator().manual_seed(seed)
    where = 2 + torch.rand(count, _ZEROS, generator=generator).argsort(-1)[:, :_SPARSITY]
    values = torch.randn(count, _SPARSITY, generator=generator, dtype=torch.float64)
    turn = torch.arange(count) % len(problems)
    norm = torch.tensor([p.norm for p in problems], dtype=torch.float64)[turn, None]
    x = torch.stack([p.minimiser for p in problems])[turn].scatter(1, where, values / norm)
    matrices = torch.stack([p.matrix for p in problems])[turn]
    return (matrices @ x.unsqueeze(-1)).squeeze(-1), norm * x


def _row(
    digits: int,
    bits: int,
    pair: tuple[BarrierProblem, BarrierProblem],
    learned: Tensor,
    training: Training,
    networks: tuple[int, int],
) -> BarrierRow:
    """Return a row from the two problems and the outputs of the two LISTA networks, (2, 22)."""
    minimisers = torch.stack([p.minimiser for p in pair])
    outputs = torch.stack([firenet_solution(pair[1]), *learned])
    distances = torch.linalg.vector_norm(outputs[:, None] - minimisers, dim=-1).tolist()
    own, both = networks
    return BarrierRow(
        digits=digits,
        bits=bits,
        matrix_distance=float(torch.linalg.matrix_norm(pair[0].matrix - pair[1].matrix, 2)),
        unavoidable=float(torch.linalg.vector_norm(minimisers[0] - minimisers[1])) / 2,
        firenet_true_1=distances[0][0],
        firenet_true_2=distances[0][1],
        lista_true_1=distances[1][0],
        lista_true_2=distances[1][1],
        lista_both_true_1=distances[2][0],
        lista_both_true_2=distances[2][1],
        lista_validation_error=float(training.curves[own, -1]),
        lista_both_validation_error=float(training.curves[both, -1]),
        lista_learning_rate=float(training.learning_rate[own]),
        lista_both_learning_rate=float(training.learning_rate[both]),
    )


def _cosine_transform(size: int) -> Tensor:
    """Return the orthonormal DCT-II, (size, size) float64."""
    k = torch.arange(size, dtype=torch.float64)
    matrix = math.sqrt(2 / size) * torch.cos(math.pi * k[:, None] * (k + 0.5) / size)
    matrix[0] /= math.sqrt(2)
    return matrix


def _check_range(digits: int, bits: int) -> None:
    if digits < 1 or bits < 1:
        raise UsageError(f"K is {digits} and n is {bits}; both must be at least 1")
    if bits + 1 + digits * math.log2(10) > 52:
        raise UsageError(
            f"K is {digits} and n is {bits}; double precision does not tell the two matrices "
            "apart, so choose n + 1 + 3.33 K at most 52"
        )


def _who(distances: Mapping[str, float], exponent: int) -> str:
    """Return which networks lie within 10^exponent."""
    having = [name for name, distance in distances.items() if distance <= 10.0**exponent]
    return {0: "neither", 1: "only " + "".join(having), 2: "both"}[len(having)]


def _draw_distances(axes: Axes, rows: Sequence[BarrierRow]) -> None:
    """Draw the distances from the minimiser of problem 1, and the levels of K to K-2 digits."""
    ks = sorted({row.digits for row in rows})
    bits = sorted({row.bits for row in rows})
    offsets = {n: 0.22 * (i - (len(bits) - 1) / 2) for i, n in enumerate(bits)}
    for place, k in enumerate(ks):
        for less, label in enumerate(("K", "K-1", "K-2")):
            level = 10.0 ** (less - k)
            axes.plot((place - 0.4, place + 0.4), (level, level), color="0.6", lw=1)
            text = f"{label} digits" if place == 0 else label
            axes.text(place - 0.4, 0.9 * level, text, va="top", fontsize=8, color="0.4")
    for name, key, marker, colour in (
        ("LISTA", "lista_true_1", "s", "tab:orange"),
        ("FIRENET", "firenet_true_1", "o", "tab:blue"),
    ):
        x = [ks.index(row.digits) + offsets[row.bits] for row in rows]
        y = [float(getattr(row, key)) for row in rows]
        axes.plot(x, y, marker, color=colour, label=name, ms=6)
    for row in rows:
        if row.digits == ks[0]:
            where = (offsets[row.bits], row.lista_true_1)
            axes.annotate(
                f"n={row.bits}",
                where,
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
    axes.set_yscale("log")
    axes.set_xticks(range(len(ks)), [f"K = {k}" for k in ks])
    axes.set_xlim(-0.5, len(ks) - 0.5)
    axes.set_ylabel("distance to the true minimiser")
    axes.set_title("Matrix known to 2$^{-n}$: neither network has K digits", fontsize=10)
    axes.legend(loc="upper right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_curves(axes: Axes, result: Barrier) -> None:
    """Draw how LISTA's error on unseen items of its training problem falls."""
    colours = {k: f"C{i}" for i, k in enumerate(sorted({row.digits for row in result.rows}))}
    seen = set()
    for row, curve in zip(result.rows, result.curves, strict=True):
        label = None if row.digits in seen else f"K = {row.digits}"
        seen.add(row.digits)
        axes.plot(result.curve_steps, curve, color=colours[row.digits], lw=1, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("training step")
    axes.set_ylabel("relative error on unseen items")
    axes.set_title("LISTA learns the problem that it is given", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
