"""``firenet paper``: the experiments of the paper, one command each, ending in figure and table."""

from __future__ import annotations

from firenet_mri.cli.paper import barrier, convergence, stability, tradeoff

__all__ = ["barrier", "convergence", "stability", "tradeoff"]
