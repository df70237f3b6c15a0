"""SigPy, both ways: its operators as ours, ours as its, and FIRENET as one of its apps."""

from __future__ import annotations

from firenet_mri.linops import from_sigpy, to_sigpy
from firenet_mri.sigpy.app import FIRENETRecon

__all__ = ["FIRENETRecon", "from_sigpy", "to_sigpy"]
