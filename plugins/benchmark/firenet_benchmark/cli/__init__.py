"""The commands ``firenet benchmark`` and ``firenet paper``, which firenet loads by entry point."""

from __future__ import annotations

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

benchmark_app.command(ablation.ablation)
benchmark_app.command(accuracy.accuracy)
benchmark_app.command(cine.cine)
benchmark_app.command(layers.layers)
benchmark_app.command(scans.scans)
benchmark_app.command(schedules.schedules)
benchmark_app.command(speed.speed)
benchmark_app.command(stability.stability)
benchmark_app.command(step_sizes.steps)
benchmark_app.command(training.train)

paper_app.command(barrier.barrier)
paper_app.command(convergence.convergence)
paper_app.command(paper_stability.stability)
paper_app.command(tradeoff.tradeoff)
