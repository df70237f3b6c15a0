"""The sample scan, which needs no file: computed when needed from an image in the package.

Three slices of a head, 4 coils, 90 x 108 voxels of 2 mm, 36 of 90 phase-encode lines. The image is
the average of 152 adult heads (MNI152), so no person was scanned for it. Coils, phase and noise
are simulated with a fixed seed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.geometry import Geometry
from firenet_mri.io.image.reference import read_reference
from firenet_mri.scan import RawScan
from firenet_mri.simulation.options import SimulationOptions
from firenet_mri.simulation.scan import simulate_with

#: The noise-free magnitude (z, y, x) in units of the noise standard deviation; NIfTI.
SAMPLE_REFERENCE = (
    Path(__file__).parents[1] / "monai" / "bundle" / "data" / "brain_3slices_reference.nii.gz"
)

_NAME = "brain_3slices.h5"
_OPTIONS = SimulationOptions(coils=4, acceleration=2.5, calibration=20, snr=40.0, seed=20)
_NOISE_SAMPLES = 2048
_FIELD_OF_VIEW_MM = (5.0, 180.0, 216.0)
_MIDDLE_MM = (2.5, -14.0, 31.0)
_STEP_MM = 10.0
_TILTS_DEG = (12.0, -5.0)


def sample() -> RawScan:
    """Return the sample scan, simulated: k-space (slice, coil, y, x) = (3, 4, 90, 108).

    The scan is the same on every call. ``simulated`` is True, and all results state it.

    Examples
    --------
    >>> import firenet_mri
    >>> firenet_mri.sample().kspace.shape
    torch.Size([3, 4, 90, 108])
    """
    return sample_of(read_reference(SAMPLE_REFERENCE))


def sample_of(reference: Tensor) -> RawScan:
    """Return the scan whose noise-free reconstruction is a magnitude (z, y, x)."""
    nz, ny, nx = reference.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    phase = torch.from_numpy((0.8 * y + 0.6 * x**2).astype(np.float32))
    image = reference * torch.exp(1j * phase)
    scan = simulate_with(image, _place(nz), _OPTIONS, name=_NAME)
    assert scan.noise is not None
    return dataclasses.replace(scan, noise=scan.noise[:, :_NOISE_SAMPLES])


def directions(tilts_deg: tuple[float, float]) -> NDArray[np.float64]:
    """Return read, phase and slice direction (LPS) of axial slices tilted about two axes, (3, 3).

    Parameters
    ----------
    tilts_deg
        Tilt angles about x and y, in degrees.
    """
    first, second = np.deg2rad(tilts_deg)
    about_x = [
        [1, 0, 0],
        [0, np.cos(first), -np.sin(first)],
        [0, np.sin(first), np.cos(first)],
    ]
    about_y = [
        [np.cos(second), 0, np.sin(second)],
        [0, 1, 0],
        [-np.sin(second), 0, np.cos(second)],
    ]
    posterior, right, up = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    rotation = np.array(about_y) @ np.array(about_x)
    return np.stack([rotation @ posterior, rotation @ right, rotation @ up])


def _place(slices: int) -> Geometry:
    """Return the position of the slices: axial, tilted about two axes, off centre."""
    read, phase, normal = directions(_TILTS_DEG)
    steps = _STEP_MM * (np.arange(slices) - slices // 2)
    positions = np.array(_MIDDLE_MM) + steps[:, None] * normal
    return Geometry(
        _FIELD_OF_VIEW_MM,
        tuple(tuple(position) for position in positions.tolist()),
        tuple(read.tolist()),
        tuple(phase.tolist()),
        tuple(normal.tolist()),
    )
