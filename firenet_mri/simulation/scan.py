"""Simulates a multi-coil scan of an image. What comes of it is marked as simulated everywhere."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators import encoding_operator
from firenet_mri.scan import Geometry, RawScan, as_vector

Pattern = Literal["lines", "points"]

_NOISE_SAMPLES = 4096
# Pixels below this share of the brightest do not count for the signal-to-noise ratio.
_OBJECT = 0.1


def simulate(
    image: Tensor,
    geometry: Geometry | None = None,
    *,
    coils: int = 8,
    acceleration: float = 4.0,
    calibration: int = 24,
    pattern: Pattern = "lines",
    snr: float = 40.0,
    volume: bool = False,
    seed: int = 0,
    name: str = "simulated",
) -> RawScan:
    """Return a scan of an image as several coils would have measured it, with white noise.

    Sensitivities are those of a birdcage of loops around the image (``sigpy.mri.birdcage_maps``).
    There is no motion, no off-resonance and no relaxation during the readout: a reconstruction of
    it shows what a method does, not what it would do on a scanner.

    Parameters
    ----------
    image
        (z, y, x) real or complex, slices being z.
    geometry
        Where it lies.
    coils
        Number of coils, at least 1.
    acceleration
        Samples of the whole grid for one that is measured, at least 1.
    calibration
        Width of the fully sampled centre.
    pattern
        "lines": whole readouts, at random with a density that falls from the centre to the edge.
        "points": single points with that density along both axes; of a volume whole readouts.
    snr
        Mean signal of the object over the noise's standard deviation, in an image of all samples.
    volume
        Encode z, too, as one volume; else slice by slice.
    seed
        Of pattern and noise.
    name
        For messages and pictures.

    Raises
    ------
    ShapeError
        If the image has not three axes.
    UsageError
        If an option is out of its range, or the centre alone has more samples than are asked for.
    DataError
        If the image is zero everywhere.
    """
    if image.ndim != 3:
        raise ShapeError(f"{name}: the image has shape {tuple(image.shape)}; give (z, y, x)")
    if coils < 1 or not 1 <= acceleration < math.inf or not 0 < snr < math.inf or calibration < 0:
        raise UsageError(
            f"{coils} coils, acceleration {acceleration}, SNR {snr}, calibration {calibration}; "
            "give at least 1 coil, an acceleration of at least 1, and a positive SNR"
        )
    if pattern not in get_args(Pattern):
        raise UsageError(f"Unknown pattern {pattern!r}; use {' or '.join(get_args(Pattern))}")
    magnitude = image.abs()
    if not bool(magnitude.any()):
        raise DataError(f"{name}: the image is zero everywhere; there is nothing to simulate")
    generator = np.random.default_rng(seed)
    ndim = 3 if volume else 2
    spatial = tuple(image.shape[-ndim:])
    maps = _maps(coils, spatial)
    mask = torch.from_numpy(_mask(spatial, acceleration, calibration, pattern, generator))
    sigma = float(magnitude[magnitude > _OBJECT * magnitude.max()].mean()) / snr
    kspace = encoding_operator(None, maps, ndim)(image.to(torch.complex64))
    kspace = (kspace + sigma * _noise(generator, tuple(kspace.shape))) * mask
    return RawScan(
        kspace,
        mask,
        ndim,
        noise=sigma * _noise(generator, (coils, _NOISE_SAMPLES)),
        geometry=_as_volume(geometry, image.shape[0]) if volume else geometry,
        name=name,
        simulated=True,
    )


def _maps(coils: int, spatial: tuple[int, ...]) -> Tensor:
    """Return maps (coil, *spatial) complex64 of root-sum-of-squares 1."""
    if coils == 1:
        return torch.ones((1, *spatial), dtype=torch.complex64)
    import sigpy.mri

    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *spatial))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def _mask(
    spatial: tuple[int, ...],
    acceleration: float,
    calibration: int,
    pattern: Pattern,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return (1, *spatial) bool: what was measured."""
    # Lines have one phase-encoding axis to choose along, points two; a readout is always whole,
    # but for the points of a 2D image.
    chosen = spatial[:1] if pattern == "lines" and len(spatial) == 2 else spatial[:2]
    if pattern == "lines" and len(spatial) == 3:
        chosen = (1, spatial[1])
    count = round(math.prod(chosen) / acceleration)
    distance = np.zeros(chosen)
    centre = np.ones(chosen, bool)
    for axis, size in enumerate(chosen):
        offset = np.arange(size) - size // 2
        shape = [-1 if i == axis else 1 for i in range(len(chosen))]
        distance = distance + ((offset / (size / 2 + 1)) ** 2).reshape(shape)
        width = min(calibration, size) if size > 1 else 1
        centre &= ((offset >= -(width // 2)) & (offset < width - width // 2)).reshape(shape)
    if centre.sum() > count:
        raise UsageError(
            f"{centre.sum()} of {count} samples lie in the fully sampled centre; ask for a smaller "
            "acceleration or calibration region"
        )
    density = np.where(centre, 0, np.clip(1 - np.sqrt(distance), 0, None)) ** 1.5 + 1e-6 * ~centre
    outside = count - int(centre.sum())
    mask = centre.ravel().copy()
    if outside and density.sum() > 0:
        mask[
            generator.choice(mask.size, outside, replace=False, p=density.ravel() / density.sum())
        ] = True
    shaped = mask.reshape(*chosen, *[1] * (len(spatial) - len(chosen)))
    return np.broadcast_to(shaped, (1, *spatial)).copy()


def _noise(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Return complex noise of variance 1."""
    numbers = generator.standard_normal((*shape, 2)) / math.sqrt(2)
    return torch.view_as_complex(torch.from_numpy(numbers)).to(torch.complex64)


def _as_volume(geometry: Geometry | None, slices: int) -> Geometry | None:
    """Return the geometry of slices as that of one volume, gaps included."""
    if geometry is None or len(geometry.positions_mm) == 1:
        return geometry
    positions = np.array(geometry.positions_mm)
    step = (positions[-1] - positions[0]) / (slices - 1)
    _, fov_y, fov_x = geometry.field_of_view_mm
    length = float(np.linalg.norm(step))
    return Geometry(
        (length * slices, fov_y, fov_x),
        (geometry.positions_mm[slices // 2],),
        geometry.read_direction,
        geometry.phase_direction,
        as_vector(step / length),
        geometry.is_placed,
    )
