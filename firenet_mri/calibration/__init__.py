"""Calibration: noise whitening, calibration region, sensitivity maps."""

from __future__ import annotations

from firenet_mri.calibration.region import calibration_region
from firenet_mri.calibration.sensitivity import normalise_maps, sensitivity_maps
from firenet_mri.calibration.whitening import whiten

__all__ = ["calibration_region", "normalise_maps", "sensitivity_maps", "whiten"]
