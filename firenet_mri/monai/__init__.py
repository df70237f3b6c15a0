"""FIRENET in MONAI: a network in the place of its variational network, and transforms."""

from __future__ import annotations

from firenet_mri.monai.networks import FIRENETModel
from firenet_mri.monai.transforms import (
    FIRENETReconstruct,
    FIRENETReconstructD,
    FIRENETReconstructd,
    FIRENETReconstructDict,
)

__all__ = [
    "FIRENETModel",
    "FIRENETReconstruct",
    "FIRENETReconstructD",
    "FIRENETReconstructDict",
    "FIRENETReconstructd",
]
