"""Calibration: noise whitening, coil compression, calibration region, sensitivity maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.calibration.compression import compress_coils
    from firenet_mri.calibration.espirit import espirit_maps
    from firenet_mri.calibration.phase import low_resolution_phase, reference_phase
    from firenet_mri.calibration.region import calibration_region
    from firenet_mri.calibration.sensitivity import normalise_maps, sensitivity_maps
    from firenet_mri.calibration.whitening import whiten

__all__ = [
    "calibration_region",
    "compress_coils",
    "espirit_maps",
    "low_resolution_phase",
    "normalise_maps",
    "reference_phase",
    "sensitivity_maps",
    "whiten",
]

__getattr__ = lazy(
    __name__,
    {
        "calibration_region": "firenet_mri.calibration.region",
        "compress_coils": "firenet_mri.calibration.compression",
        "espirit_maps": "firenet_mri.calibration.espirit",
        "low_resolution_phase": "firenet_mri.calibration.phase",
        "normalise_maps": "firenet_mri.calibration.sensitivity",
        "reference_phase": "firenet_mri.calibration.phase",
        "sensitivity_maps": "firenet_mri.calibration.sensitivity",
        "whiten": "firenet_mri.calibration.whitening",
    },
)
