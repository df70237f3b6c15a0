"""The commands ``firenet benchmark`` and ``firenet paper``, which firenet loads by entry point."""

from __future__ import annotations

from collections.abc import Callable

from firenet_benchmark.cli import (
    ablation,
    accuracy,
    cine,
    layers,
    scans,
    schedules,
    speed,
    stability,
    step_sizes,
    training,
)
from firenet_benchmark.cli.apps import benchmark_app, paper_app
from firenet_benchmark.cli.paper import barrier, convergence, tradeoff
from firenet_benchmark.cli.paper import stability as paper_stability

__all__ = ["benchmark_app", "paper_app"]

_BENCHMARKS: tuple[tuple[Callable[..., None], str], ...] = (
    (ablation.ablation, "ablation --images heads --minutes 25 -o ablation"),
    (accuracy.accuracy, "accuracy scan.npy --reference truth.npy"),
    (cine.cine, "cine --seeds 11 -o cine"),
    (layers.layers, "layers A scan.h5 -o layers"),
    (scans.scans, "scans brain.npy -o numbers.json"),
    (schedules.schedules, "schedules -o schedules"),
    (speed.speed, "speed -o speed"),
    (stability.stability, "stability --smoke -o stability"),
    (step_sizes.steps, "steps scan.h5 -o steps"),
    (training.train, "train --minutes 5 -o weights"),
)
_EXPERIMENTS: tuple[tuple[Callable[..., None], str], ...] = (
    (barrier.barrier, "barrier -o paper"),
    (convergence.convergence, "convergence -o paper"),
    (paper_stability.stability, "stability -o paper"),
    (tradeoff.tradeoff, "tradeoff -o paper"),
)

for _command, _example in _BENCHMARKS:
    benchmark_app.command(_command, help_epilogue=f"Example: firenet benchmark {_example}")
for _command, _example in _EXPERIMENTS:
    paper_app.command(_command, help_epilogue=f"Example: firenet paper {_example}")
