"""SigPy in both directions: its operators as ours, ours as SigPy's, and FIRENET as a SigPy app."""

from __future__ import annotations

from firenet_mri.linops import from_sigpy, to_sigpy
from firenet_mri.sigpy.app import FIRENETRecon

__all__ = ["FIRENETRecon", "from_sigpy", "to_sigpy"]
