"""Reconstruction over a socket: the MRD streaming protocol of Siemens FIRE and Gadgetron."""

from __future__ import annotations

from firenet_mri.server.options import StreamOptions
from firenet_mri.server.process import process

__all__ = ["StreamOptions", "process"]
