"""Finds multipliers for which the forms of an iteration are semidefinite with the least t^2.

The semidefinite program in y = (t^2, mu),

    minimise y_0  such that  S_f(y) = sum_i y_i A_fi - C_f >= 0 for all forms f and y_i >= 0,

with A_fi = -(p r^T + r p^T), is solved by the primal-dual interior-point method of [1] with
Mehrotra's predictor and corrector. Its Gram matrices X_f are the worst case. All A_fi have rank two
and few numbers, so that an iteration costs some products and inverses of matrices of the size of
the forms. Nothing rests on what is found here: it is proven in firenet_mri.firenet.rational.

[1] Helmberg, Rendl, Vanderbei, Wolkowicz, SIAM J. Optim. 6(2), 1996; Kojima, Shindoh, Hara, SIAM J.
Optim. 7(1), 1997; Monteiro, SIAM J. Optim. 7(3), 1997.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.firenet.monotonicity import Form, Vector

Array = NDArray[np.floating[Any]]

# Sizes of the matrices with which the method starts; it needs more steps from smaller ones.
_START_PRIMAL, _START_DUAL = 1000.0, 10.0

_MOST_STEPS = 80
# How far a step goes towards the boundary.
_DAMPING = 0.9
# Gap relative to t^2 at which to stop, and size of what is infeasible in what is yielded.
_GAP, _FEASIBLE = 3e-6, 1e-10


class Candidate(NamedTuple):
    """Multipliers, and the t^2 for which they were found."""

    square: float
    multipliers: Array


def candidates(forms: Sequence[Form]) -> Iterator[Candidate]:
    """Yield multipliers with decreasing t^2; nothing where none are found.

    Later ones are closer to the least t^2, and closer to the boundary of the semidefinite matrices.
    """
    try:
        blocks, norms = _blocks(forms)
    except OverflowError:
        return
    with np.errstate(all="ignore"):
        for y in _InteriorPoint(blocks, len(norms)).run():
            yield Candidate(float(y[0]), y[1:] / norms)


class _Block:
    """The matrices of one form: S(y) = sum_i y_i A_i - C with A_i = -(p_i r_i^T + r_i p_i^T).

    Column 0 of p and r is that of t^2.
    """

    def __init__(self, p: Any, r: Any, output: Array) -> None:
        self.p, self.r = p, r
        self.p_rows, self.r_rows = p.T.tocsr(), r.T.tocsr()
        self.output = output
        self.constant = np.outer(output, output)
        self.size = len(output)

    def combined(self, y: Array) -> Array:
        """Return sum_i y_i A_i."""
        half = np.asarray((self.p.multiply(y[None, :]) @ self.r_rows).todense())
        return -(half + half.T)

    def products(self, gram: Array) -> Array:
        """Return <A_i, gram> for all i."""
        return -2 * np.asarray(self.p.multiply(gram @ self.r).sum(0)).ravel()

    def curvature(self, gram: Array, inverse: Array) -> Array:
        """Return the matrix of the trace of A_i gram A_j inverse."""
        gram_p, gram_r = gram @ self.p, gram @ self.r
        inverse_p, inverse_r = inverse @ self.p, inverse @ self.r
        mixed = (self.p_rows @ gram_r) * (self.p_rows @ inverse_r).T
        total = (self.r_rows @ inverse_r) * (self.p_rows @ gram_p)
        total += (self.p_rows @ inverse_p) * (self.r_rows @ gram_r)
        return np.asarray(total + mixed + mixed.T)


def _blocks(forms: Sequence[Form]) -> tuple[list[_Block], Array]:
    """Return the forms in floating point, in their units, with pairs of norm 1; and the norms."""
    from scipy import sparse

    pieces = [(_columns(form, 0), _columns(form, 1)) for form in forms]
    norms = np.max([_column_norms(p) * _column_norms(r) for p, r in pieces], axis=0)
    blocks = []
    for form, (p, r) in zip(forms, pieces, strict=True):
        first = sparse.csc_matrix(([1.0], ([0], [0])), shape=(form.size, 1))
        p = sparse.hstack([first, p]).tocsc()
        r = sparse.hstack([-float(form.weight) / 2 * first, r.multiply(1 / norms)]).tocsc()
        blocks.append(_Block(p, r, np.asarray(_dense(form.output, form.units))))
    return blocks, norms


def _columns(form: Form, which: int) -> Any:
    """Return the p or r of all pairs as columns of a sparse matrix."""
    from scipy import sparse

    entries = [
        (float(value * form.units[row]), row, column)
        for column, pair in enumerate(form.pairs)
        for row, value in pair[which].items()
    ]
    values, rows, columns = zip(*entries, strict=True) if entries else ((), (), ())
    return sparse.csc_matrix((values, (rows, columns)), shape=(form.size, len(form.pairs)))


def _column_norms(matrix: Any) -> Array:
    return np.sqrt(np.asarray(matrix.multiply(matrix).sum(0)).ravel())


def _dense(vector: Vector, units: Sequence[Fraction]) -> Array:
    dense = np.zeros(len(units))
    for index, value in vector.items():
        dense[index] = float(value * units[index])
    return dense


@dataclass
class _Iterate:
    """Gram matrices X and slacks S of the forms; the multipliers' duals and room above 0; y."""

    grams: Sequence[Array]
    slacks: Sequence[Array]
    duals: Array
    room: Array
    y: Array


class _InteriorPoint:
    """The method for some blocks and a number of multipliers."""

    def __init__(self, blocks: Sequence[_Block], count: int) -> None:
        self.blocks = blocks
        self.count = count
        self.order = sum(block.size for block in blocks) + count

    def run(self) -> Iterator[Array]:
        """Yield every feasible y."""
        at = self._start()
        for _ in range(_MOST_STEPS):
            missing = [
                block.combined(at.y) - block.constant - slack
                for block, slack in zip(self.blocks, at.slacks, strict=True)
            ]
            lost = max(float(np.abs(one).max()) for one in (*missing, at.y[1:] - at.room))
            lost /= 1 + float(np.abs(at.y).max())
            mean = self._mean(at)
            if lost < _FEASIBLE:
                yield at.y
                if mean * self.order < _GAP * at.y[0]:
                    return
            try:
                at = self._next(at, missing, mean)
            except np.linalg.LinAlgError:
                return
            if not np.isfinite(at.y).all():
                return

    def _start(self) -> _Iterate:
        eyes = [np.eye(block.size) for block in self.blocks]
        y = np.full(self.count + 1, _START_DUAL / self.count)
        y[0] = _START_DUAL
        return _Iterate(
            [_START_PRIMAL * eye for eye in eyes],
            [_START_DUAL * eye for eye in eyes],
            np.full(self.count, _START_PRIMAL),
            np.full(self.count, _START_DUAL),
            y,
        )

    def _mean(self, at: _Iterate) -> float:
        traces = sum(float(np.vdot(x, s)) for x, s in zip(at.grams, at.slacks, strict=True))
        return (traces + float(at.duals @ at.room)) / self.order

    def _next(self, at: _Iterate, missing: Sequence[Array], mean: float) -> _Iterate:
        """Return the iterate after a predictor and a corrector."""
        inverses = [_inverse(slack) for slack in at.slacks]
        triples = list(zip(self.blocks, at.grams, inverses, strict=True))
        curvature = np.diag(np.concatenate([[0.0], at.duals / at.room]))
        for block, gram, inverse in triples:
            curvature = curvature + block.curvature(gram, inverse)
        system = _Step(self.blocks, at, missing, inverses, _factor(curvature))
        ahead = system.solve(0.0, [np.zeros_like(x) for x in at.grams], np.zeros(self.count))
        after = self._mean(system.moved(ahead, 1.0)[0])
        centring = float(np.clip((after / mean) ** 2, 1e-6, 1.0))
        products = [
            x @ s @ inverse
            for x, s, inverse in zip(ahead.grams, ahead.slacks, inverses, strict=True)
        ]
        step = system.solve(centring * mean, products, ahead.duals * ahead.room)
        moved, shortest = system.moved(step, _DAMPING)
        if shortest > 0.1:
            return moved
        # Nearer to the centre, where the next step can be longer.
        step = system.solve(max(centring, 0.3) * mean, products, ahead.duals * ahead.room)
        return system.moved(step, _DAMPING)[0]


class _Step:
    """The linear system of one step, and how far its solutions can be followed."""

    def __init__(
        self,
        blocks: Sequence[_Block],
        at: _Iterate,
        missing: Sequence[Array],
        inverses: Sequence[Array],
        factor: Any,
    ) -> None:
        self.blocks, self.at, self.missing, self.inverses = blocks, at, missing, inverses
        self.factor = factor
        self.roots = [np.linalg.cholesky(x) for x in at.grams]
        self.slack_roots = [np.linalg.cholesky(s) for s in at.slacks]

    def solve(self, target: float, products: Sequence[Array], product: Array) -> _Iterate:
        """Return the change that makes X S and duals * room the target, less the products."""
        from scipy import linalg

        at = self.at
        pushed = []
        right = (target - product - at.duals * (at.y[1:] - at.room)) / at.room
        right = np.concatenate([[-1.0], right])
        for block, x, lost, inverse, corrector in zip(
            self.blocks, at.grams, self.missing, self.inverses, products, strict=True
        ):
            push = target * inverse - corrector
            right = right + block.products(_symmetric(push - x @ lost @ inverse))
            pushed.append(push)
        y = linalg.cho_solve(self.factor, right, check_finite=False)
        s = y[1:] + at.y[1:] - at.room
        slacks = [
            block.combined(y) + lost for block, lost in zip(self.blocks, self.missing, strict=True)
        ]
        grams = [
            _symmetric(push - x @ slack @ inverse) - x
            for push, x, slack, inverse in zip(pushed, at.grams, slacks, self.inverses, strict=True)
        ]
        return _Iterate(grams, slacks, (target - product - at.duals * s) / at.room - at.duals, s, y)

    def moved(self, change: _Iterate, damping: float) -> tuple[_Iterate, float]:
        """Return the iterate moved along a change, and the shorter of both lengths."""
        at = self.at
        primal = min(
            _reach(at.duals, change.duals, damping),
            *(
                _reach_of_matrix(*pair, damping)
                for pair in zip(self.roots, change.grams, strict=True)
            ),
        )
        dual = min(
            _reach(at.room, change.room, damping),
            *(
                _reach_of_matrix(*pair, damping)
                for pair in zip(self.slack_roots, change.slacks, strict=True)
            ),
        )
        moved = _Iterate(
            [x + primal * dx for x, dx in zip(at.grams, change.grams, strict=True)],
            [s + dual * ds for s, ds in zip(at.slacks, change.slacks, strict=True)],
            at.duals + primal * change.duals,
            at.room + dual * change.room,
            at.y + dual * change.y,
        )
        return moved, min(primal, dual)


def _reach(values: Array, change: Array, damping: float) -> float:
    """Return the length, at most 1, that leaves positive numbers positive."""
    falling = change < 0
    lengths = -damping * values[falling] / change[falling]
    return float(min(1.0, lengths.min(initial=1.0)))


def _reach_of_matrix(root: Array, change: Array, damping: float) -> float:
    """Return the length, at most 1, that leaves root root^T positive definite."""
    from scipy import linalg

    half = linalg.solve_triangular(root, change, lower=True, check_finite=False)
    whole = linalg.solve_triangular(root, half.T, lower=True, check_finite=False)
    ends = linalg.eigh(
        _symmetric(whole), eigvals_only=True, subset_by_index=[0, 0], check_finite=False
    )
    least = float(ends[0])
    return 1.0 if least >= -damping else damping / -least


def _inverse(matrix: Array) -> Array:
    return _symmetric(np.linalg.inv(matrix))


def _factor(matrix: Array) -> Any:
    from scipy import linalg

    # Columns of conditions that nearly depend on each other leave it barely definite.
    ridge = 1e-14 * np.diag(np.diag(matrix))
    return linalg.cho_factor(_symmetric(matrix) + ridge, lower=True, check_finite=False)


def _symmetric(matrix: Array) -> Array:
    return (matrix + matrix.T) / 2
