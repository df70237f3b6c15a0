"""Simulated multi-coil scans of images; all results are marked as simulated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.simulation.frames import interleaved_lines
    from firenet_mri.simulation.options import Pattern, SimulationOptions
    from firenet_mri.simulation.sample import sample
    from firenet_mri.simulation.scan import simulate, simulate_with

__all__ = [
    "Pattern",
    "SimulationOptions",
    "interleaved_lines",
    "sample",
    "simulate",
    "simulate_with",
]

__getattr__ = lazy(
    __name__,
    {
        "Pattern": "firenet_mri.simulation.options",
        "SimulationOptions": "firenet_mri.simulation.options",
        "interleaved_lines": "firenet_mri.simulation.frames",
        "sample": "firenet_mri.simulation.sample",
        "simulate": "firenet_mri.simulation.scan",
        "simulate_with": "firenet_mri.simulation.scan",
    },
)
