"""``firenet paper``: the experiments of the paper, one command each, ending in figure and table."""

from __future__ import annotations

from firenet_mri.cli.paper import convergence

__all__ = ["convergence"]
