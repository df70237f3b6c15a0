"""Make firenet_mri/firenet/lipschitz_table.json: bounds and the multipliers that prove them.

For every iteration multipliers are found as at run time, rounded to seven digits, and the bound
that these prove is computed by exact elimination and rounded up. The table saves the search, at
most a second, and keeps the presets' bounds the same on every machine to the last digit. Takes
half a minute.

    python tools/make_lipschitz_table.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from firenet_mri.firenet.lipschitz import share_of_data
from firenet_mri.firenet.monotonicity import UnrolledIteration, forms
from firenet_mri.firenet.multipliers import candidates
from firenet_mri.firenet.rational import proven_square, proves, round_up

TARGET = Path(__file__).parents[1] / "firenet_mri" / "firenet" / "lipschitz_table.json"
# Decays and layers, with and without the structure of the analysis form with normalised maps and
# frames: the presets, and neighbours. For constant steps the closed form, layers - 1, is attained.
GEOMETRIC = {
    "0.8": (5, 10, 15, 20, 25, 30),
    "0.9": (10, 15, 20, 25, 30),
    "0.97": (10, 20, 25, 30, 40, 50, 60),
}
# Restarts of the paper's schedule, with so many layers each.
INNER, MOST_RESTARTS = 5, 12

TRIES = 6


def iterations() -> Iterator[tuple[dict[str, object], UnrolledIteration]]:
    """Yield what the table holds, and how an entry is named."""
    for restarts in range(1, MOST_RESTARTS + 1):
        name: dict[str, object] = {"restarts": restarts, "inner": INNER}
        yield name, UnrolledIteration.restarted(restarts, INNER)
    share = share_of_data(1.0, 1.0)
    assert share is not None
    for decay, depths in GEOMETRIC.items():
        for layers in depths:
            name = {"decay": decay, "layers": layers}
            yield name, UnrolledIteration.geometric(Fraction(decay), layers)
            name = {**name, "data_share": [str(end) for end in share]}
            yield name, UnrolledIteration.geometric(Fraction(decay), layers, share)


def prove(iteration: UnrolledIteration) -> tuple[Fraction, list[str]]:
    """Return the smallest proven bound, rounded up to 4 decimals, and its multipliers."""
    best: tuple[Fraction, list[str]] | None = None
    for candidate in list(candidates(forms(iteration)))[-TRIES:]:
        digits = [f"{value:.6e}" for value in candidate.multipliers]
        multipliers = [Fraction(text) for text in digits]
        square = proven_square(iteration, multipliers)
        if square is None:
            continue
        bound = round_up(square)
        if (best is None or bound < best[0]) and proves(iteration, multipliers, bound):
            best = bound, digits
    if best is None:
        raise RuntimeError(f"No proof found for {iteration}")
    return best


def main() -> None:
    """Solve, prove, write."""
    entries = []
    for name, iteration in iterations():
        bound, digits = prove(iteration)
        print(name, float(bound), flush=True)  # noqa: T201
        entries.append({**name, "bound": f"{float(bound):.4f}", "multipliers": " ".join(digits)})
    about = "Made by tools/make_lipschitz_table.py; meaning: firenet_mri/firenet/lipschitz.py"
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    text = f'{{"about": "{about}", "entries": [\n{lines}\n]}}\n'
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
