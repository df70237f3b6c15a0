"""Make firenet_mri/firenet/lipschitz_table.json: bounds and the multipliers that prove them.

For every iteration a semidefinite program (module docstring of firenet_mri.firenet.lipschitz) is
solved, its multipliers are rounded to seven digits, and the bound that these prove is computed in
rational arithmetic and rounded up. Needs cvxpy; takes two minutes.

    python scripts/make_lipschitz_table.py
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cvxpy
import numpy as np

from firenet_mri.firenet.lipschitz import Conditions, UnrolledIteration, conditions, proven_square

TARGET = Path(__file__).parents[1] / "firenet_mri" / "firenet" / "lipschitz_table.json"
LAYERS = 60
# For constant steps the closed form, layers - 1, is attained.
DECAYS = ("0.8", "0.85", "0.9", "0.93", "0.95", "0.97")
INNER = (5, 8, 10, 20)

# The program is solved with Q >= slack * identity, so that rounding does not leave the cone.
SLACKS = (1e-7, 1e-6, 1e-5, 1e-4)


def iterations() -> Iterator[tuple[dict[str, object], UnrolledIteration]]:
    """Yield what the table holds, and how an entry is named."""
    for decay in DECAYS:
        for layers in range(2, LAYERS + 1):
            name = {"decay": decay, "layers": layers}
            yield name, UnrolledIteration.geometric(Fraction(decay), layers)
    for inner in INNER:
        for restarts in range(1, LAYERS // inner + 1):
            name = {"restarts": restarts, "inner": inner}
            yield name, UnrolledIteration.restarted(restarts, inner)


def solve(stated: Conditions, scale: np.ndarray, slack: float) -> np.ndarray:
    """Return the multipliers of the smallest t^2, from the solver."""

    def product(p, r) -> np.ndarray:
        a, b = np.zeros(stated.size), np.zeros(stated.size)
        for vector, values in ((a, p), (b, r)):
            for index, value in values.items():
                vector[index] = float(value) * scale[index]
        return (np.outer(a, b) + np.outer(b, a)) / 2

    parts = np.stack([product(p, r).ravel() for p, r in stated.pairs], axis=1)
    # Multipliers differ by orders of magnitude; equal columns help the solver.
    norms = np.linalg.norm(parts, axis=0)
    multipliers = cvxpy.Variable(len(stated.pairs), nonneg=True)
    square = cvxpy.Variable()
    first = np.zeros((stated.size, stated.size))
    first[0, 0] = 1
    shape = (stated.size, stated.size)
    total = cvxpy.reshape((parts / norms) @ multipliers, shape, order="C")
    quadratic = square * first - product(stated.output, stated.output) - 2 * total
    program = cvxpy.Problem(cvxpy.Minimize(square), [quadratic >> slack * np.eye(stated.size)])
    program.solve(solver="CLARABEL")
    return multipliers.value / norms


def scales(iteration: UnrolledIteration, stated: Conditions) -> np.ndarray:
    """Return 1 for images and 1 / tau for duals: the units in which all are of one size."""
    scale = np.ones(stated.size)
    flat = [tau for steps in iteration.primal_steps for tau in steps]
    if iteration.keeps_dual:
        # Basis: y, v_1, x_2, v_2, x_3, ...; v_k is made in layer k, x_k too.
        for index in range(1, stated.size, 2):
            scale[index] = float(1 / flat[(index - 1) // 2])
    return scale


def prove(iteration: UnrolledIteration) -> tuple[Fraction, list[str]]:
    """Return the smallest proven bound, rounded up to 5 digits, and its multipliers."""
    stated = conditions(iteration)
    best: tuple[Fraction, list[str]] | None = None
    for slack in SLACKS:
        try:
            solution = solve(stated, scales(iteration, stated), slack)
        except cvxpy.error.SolverError:
            continue
        if solution is None:
            continue
        digits = [f"{max(value, 0):.6e}" for value in solution]
        square = proven_square(iteration, [Fraction(text) for text in digits])
        if square is None:
            continue
        bound = round_up(square)
        if best is None or bound < best[0]:
            best = bound, digits
    if best is None:
        raise RuntimeError(f"No proof found for {iteration}")
    return best


def round_up(square: Fraction) -> Fraction:
    """Return a number of 4 decimals whose square is at least the given one."""
    units = math.isqrt(math.floor(square * 10**8))
    while Fraction(units, 10**4) ** 2 < square:
        units += 1
    return Fraction(units, 10**4)


def main() -> None:
    """Solve, prove, write."""
    entries = []
    for name, iteration in iterations():
        bound, digits = prove(iteration)
        print(name, float(bound), flush=True)  # noqa: T201
        entries.append({**name, "bound": f"{float(bound):.4f}", "multipliers": " ".join(digits)})
    about = "Made by scripts/make_lipschitz_table.py; meaning: firenet_mri/firenet/lipschitz.py"
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    TARGET.write_text(f'{{"about": "{about}", "entries": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
