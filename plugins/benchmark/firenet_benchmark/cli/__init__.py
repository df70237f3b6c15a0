"""The commands ``firenet benchmark`` and ``firenet paper``, which firenet loads by entry point."""

from __future__ import annotations

from firenet_benchmark.cli import (
    accuracy,
    layers,
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

for _command in (
    accuracy.accuracy,
    layers.layers,
    schedules.schedules,
    speed.speed,
    stability.stability,
    step_sizes.steps,
    training.train,
):
    benchmark_app.command(_command)

for _command in (
    barrier.barrier,
    convergence.convergence,
    paper_stability.stability,
    tradeoff.tradeoff,
):
    paper_app.command(_command)
