"""From a scan to an image with its certificate: prepare, solve, certify, run, result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.reconstruction.options import ReconstructionOptions
    from firenet_mri.reconstruction.result import (
        NetworkSummary,
        Reconstruction,
        SavedFiles,
        output_paths,
    )
    from firenet_mri.reconstruction.run import reconstruct, reconstruct_with

__all__ = [
    "NetworkSummary",
    "Reconstruction",
    "ReconstructionOptions",
    "SavedFiles",
    "output_paths",
    "reconstruct",
    "reconstruct_with",
]

__getattr__ = lazy(
    __name__,
    {
        "NetworkSummary": "firenet_mri.reconstruction.result",
        "Reconstruction": "firenet_mri.reconstruction.result",
        "ReconstructionOptions": "firenet_mri.reconstruction.options",
        "SavedFiles": "firenet_mri.reconstruction.result",
        "output_paths": "firenet_mri.reconstruction.result",
        "reconstruct": "firenet_mri.reconstruction.run",
        "reconstruct_with": "firenet_mri.reconstruction.run",
    },
)
