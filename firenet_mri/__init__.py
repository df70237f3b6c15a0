"""MR image reconstruction without training, with certificates (FIRENET)."""

from __future__ import annotations

from firenet_mri.errors import FirenetError
from firenet_mri.firenet.certificate import Certificate, certify
from firenet_mri.firenet.network import FIRENET, RestartBlock
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule, WARPdSchedule
from firenet_mri.io import read
from firenet_mri.reconstruction import Reconstruction, reconstruct
from firenet_mri.scan import Geometry, RawScan

__version__ = "0.1.0"

__all__ = [
    "FIRENET",
    "Certificate",
    "FirenetError",
    "Geometry",
    "NetworkSchedule",
    "PaperSchedule",
    "PrimalDualLayer",
    "RawScan",
    "Reconstruction",
    "RestartBlock",
    "SquareRootLasso",
    "WARPdSchedule",
    "certify",
    "read",
    "reconstruct",
]
