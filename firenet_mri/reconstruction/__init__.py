"""From a scan to an image with its certificate: prepare, solve, certify, run, result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.reconstruction.options import ReconstructionOptions
    from firenet_mri.reconstruction.run import (
        Reconstruction,
        SavedFiles,
        output_paths,
        reconstruct,
    )

__all__ = ["Reconstruction", "ReconstructionOptions", "SavedFiles", "output_paths", "reconstruct"]

__getattr__ = lazy(
    __name__,
    {
        "Reconstruction": "firenet_mri.reconstruction.run",
        "ReconstructionOptions": "firenet_mri.reconstruction.options",
        "SavedFiles": "firenet_mri.reconstruction.run",
        "output_paths": "firenet_mri.reconstruction.run",
        "reconstruct": "firenet_mri.reconstruction.run",
    },
)
