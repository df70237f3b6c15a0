"""Measure which lam bears a perturbation best: the table behind ``--budget``.

    python plugins/benchmark/tools/measure_budget.py 0.5 1 2 4 8

Prints the PSNR of the default FIRENET on validation slices of the stability benchmark, whole and
under the worst perturbation of each relative size that is found, a row for each factor of lam.
"""

from __future__ import annotations

import sys

import torch

from firenet_benchmark.stability.criteria import Attack, accuracy, worst_case
from firenet_benchmark.stability.data import images, simulated_case
from firenet_benchmark.stability.methods import batch_of, firenet_method

SLICES = (1, 2)
SIZES = (0.005, 0.01, 0.02, 0.04, 0.08)
FIRST_SEED = 300


def main() -> None:
    """Print a row for each factor given."""
    validation = images("validation")
    batch = batch_of([simulated_case(validation[i], seed=FIRST_SEED + i) for i in SLICES])
    sys.stdout.write("lam x    clean" + "".join(f"{100 * size:8.1f}%" for size in SIZES) + "\n")
    for factor in map(float, sys.argv[1:]):
        method = firenet_method("FIRENET", "accurate", "the default", factor=factor)
        rows = accuracy(method, batch, "clean", "all").rows
        attack = Attack(SIZES, strong_steps=0)
        rows += worst_case(method, batch, attack, lambda *_: None).rows
        line = f"{factor:5g} "
        for variant in dict.fromkeys(row.variant for row in rows):
            values = [row.value for row in rows if row[2::2] == (variant, "psnr_db")]
            line += f"{torch.tensor(values).mean():9.2f}"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
