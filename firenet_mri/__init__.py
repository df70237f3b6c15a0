"""MR image reconstruction without training, with certificates (FIRENET)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy
from firenet_mri._moved import find_moved_modules

if TYPE_CHECKING:
    from firenet_mri.amplification import JacobianBounds, jacobian_bounds
    from firenet_mri.errors import FirenetError
    from firenet_mri.firenet.adaptive import AdaptiveSchedule
    from firenet_mri.firenet.certificate import Certificate, certify
    from firenet_mri.firenet.network import FIRENET
    from firenet_mri.firenet.options import NetworkOptions
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
    from firenet_mri.io.kspace.options import ReadOptions
    from firenet_mri.io.kspace.reading import read
    from firenet_mri.reconstruction import Reconstruction, reconstruct
    from firenet_mri.reconstruction.options import ReconstructionOptions
    from firenet_mri.scan import Geometry, RawScan
    from firenet_mri.simulation.sample import sample

__version__ = "0.2.0"

__all__ = [
    "FIRENET",
    "AdaptiveSchedule",
    "Certificate",
    "FirenetError",
    "Geometry",
    "JacobianBounds",
    "Lasso",
    "NetworkOptions",
    "NetworkSchedule",
    "PaperSchedule",
    "PrimalDualLayer",
    "QuadraticallyConstrainedBasisPursuit",
    "RadialSchedule",
    "RawScan",
    "ReadOptions",
    "Reconstruction",
    "ReconstructionOptions",
    "RestartBlock",
    "SquareRootLasso",
    "WARPdSchedule",
    "certify",
    "jacobian_bounds",
    "read",
    "reconstruct",
    "sample",
    "sampling_pattern",
]

# torch is not loaded until something is computed.
__getattr__ = lazy(
    __name__,
    {
        "AdaptiveSchedule": "firenet_mri.firenet.adaptive",
        "Certificate": "firenet_mri.firenet.certificate",
        "FIRENET": "firenet_mri.firenet.network",
        "FirenetError": "firenet_mri.errors",
        "Geometry": "firenet_mri.scan",
        "JacobianBounds": "firenet_mri.amplification",
        "Lasso": "firenet_mri.firenet.problem",
        "NetworkOptions": "firenet_mri.firenet.options",
        "NetworkSchedule": "firenet_mri.firenet.schedules",
        "PaperSchedule": "firenet_mri.firenet.schedules",
        "PrimalDualLayer": "firenet_mri.firenet.primal_dual",
        "QuadraticallyConstrainedBasisPursuit": "firenet_mri.firenet.problem",
        "RadialSchedule": "firenet_mri.firenet.radial",
        "RawScan": "firenet_mri.scan",
        "ReadOptions": "firenet_mri.io.kspace.options",
        "Reconstruction": "firenet_mri.reconstruction",
        "ReconstructionOptions": "firenet_mri.reconstruction.options",
        "RestartBlock": "firenet_mri.firenet.unrolled",
        "SquareRootLasso": "firenet_mri.firenet.problem",
        "WARPdSchedule": "firenet_mri.firenet.schedules",
        "certify": "firenet_mri.firenet.certificate",
        "jacobian_bounds": "firenet_mri.amplification",
        "read": "firenet_mri.io.kspace.reading",
        "reconstruct": "firenet_mri.reconstruction",
        "sample": "firenet_mri.simulation.sample",
        "sampling_pattern": "firenet_mri.firenet.sampling",
    },
)

find_moved_modules()
