"""The command line ``firenet``."""

from __future__ import annotations

from firenet_mri.cli.main import main

__all__ = ["main"]
