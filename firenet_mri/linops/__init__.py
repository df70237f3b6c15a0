"""SigPy's linear operators as ours, and ours as SigPy's; ``firenet_mri.sigpy`` exports them."""

from __future__ import annotations

from firenet_mri.linops.adapter import from_sigpy, to_sigpy

__all__ = ["from_sigpy", "to_sigpy"]
