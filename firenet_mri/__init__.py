"""MR image reconstruction without training, with certificates (FIRENET)."""

from __future__ import annotations

from firenet_mri.errors import FirenetError
from firenet_mri.firenet.adaptive import AdaptiveSchedule
from firenet_mri.firenet.certificate import Certificate, certify
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.problem import (
    Lasso,
    QuadraticallyConstrainedBasisPursuit,
    SquareRootLasso,
)
from firenet_mri.firenet.radial import RadialSchedule
from firenet_mri.firenet.sampling import sampling_pattern
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule, WARPdSchedule
from firenet_mri.firenet.unrolled import RestartBlock
from firenet_mri.io import read
from firenet_mri.reconstruction import Reconstruction, reconstruct
from firenet_mri.scan import Geometry, RawScan

__version__ = "0.1.0"

__all__ = [
    "FIRENET",
    "AdaptiveSchedule",
    "Certificate",
    "FirenetError",
    "Geometry",
    "Lasso",
    "NetworkSchedule",
    "PaperSchedule",
    "PrimalDualLayer",
    "QuadraticallyConstrainedBasisPursuit",
    "RadialSchedule",
    "RawScan",
    "Reconstruction",
    "RestartBlock",
    "SquareRootLasso",
    "WARPdSchedule",
    "certify",
    "read",
    "reconstruct",
    "sampling_pattern",
]
