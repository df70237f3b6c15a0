"""Simulates a multi-coil scan of an image. All results are marked as simulated.

With an image x, maps S of a birdcage of coils, a mask P and white noise n the scan is

    y = P (F S x + sigma n),  sigma = mean(|x| over the object) / SNR

in every sample. Along spokes F is the Fourier transform at their points, and sigma is larger by
sqrt 2, since a readout has twice as many samples. There is no motion within a frame, no
off-resonance and no relaxation during the readout.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from firenet_mri.digests import digest_of_tensor
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators import NonuniformFourier, Sense, encoding_operator
from firenet_mri.options import takes_options
from firenet_mri.scan import Geometry, RawScan, as_vector
from firenet_mri.simulation.options import SimulationOptions
from firenet_mri.simulation.sampling import sampling_of, spokes_of

_NOISE_SAMPLES = 4096
# Pixels below this share of the brightest are ignored in the signal-to-noise ratio.
_OBJECT = 0.1
# Periods over the field of view of the fastest wave in a random phase.
_FASTEST = 1.0


@takes_options(SimulationOptions)
def simulate(
    image: Tensor, geometry: Geometry | None = None, *, name: str = "simulated", **options: Any
) -> RawScan:
    """Return a scan of an image as several coils would have measured it, with white noise.

    Sensitivities are those of a birdcage of loops around the image (``sigpy.mri.birdcage_maps``).
    There is no motion, no off-resonance and no relaxation during the readout: a reconstruction
    shows what a method does, not what it would do on a scanner.

    Parameters
    ----------
    image
        (z, y, x) real or complex, with slices along z; or a series (frame, z, y, x).
    geometry
        Position of the image.
    name
        Name for messages and pictures.
    **options
        The fields of :class:`firenet_mri.simulation.SimulationOptions`.

    Raises
    ------
    ShapeError
        If the image does not have three or four axes, or a mask does not fit it.
    UsageError
        If an option is out of its range, or the centre alone has more samples than requested.
    DataError
        If the image is zero everywhere, or has NaN or infinite values.
    """
    return simulate_with(image, geometry, SimulationOptions.from_mapping(options), name=name)


def simulate_with(
    image: Tensor, geometry: Geometry | None, options: SimulationOptions, *, name: str = "simulated"
) -> RawScan:
    """Do what :func:`simulate` does, for options as one value.

    ``record["simulation"]`` holds the options and the SHA-256 of the image that was measured.
    """
    image = _in_frames(image, options, name)
    magnitude = image.abs()
    if not bool(torch.isfinite(magnitude).all()):
        raise DataError(f"{name}: the image has NaN or infinite values; set them to 0")
    if not bool(magnitude.any()):
        raise DataError(f"{name}: the image is zero everywhere; there is nothing to simulate")
    generator = np.random.default_rng(options.seed)
    ndim = 3 if options.volume else 2
    spatial = tuple(image.shape[-ndim:])
    maps = _maps(options.coils, spatial)
    frames = len(image) if image.ndim == 4 else 1
    truth, along = with_phase(image, options), {}
    sigma = float(magnitude[magnitude > _OBJECT * magnitude.max()].mean()) / options.snr
    if options.pattern == "radial":
        points = spokes_of(spatial, options, frames)
        mask, sigma = torch.ones((), dtype=torch.bool), sigma * math.sqrt(2)
        kspace = _along(points, truth, maps)
        along = {"trajectory": list(points), "image_shape": spatial}
    else:
        mask = sampling_of(spatial, options, generator, frames)
        mask = mask if image.ndim == 3 else mask.reshape(frames, *[1] * (4 - ndim), *spatial)
        kspace = encoding_operator(None, maps, ndim)(truth)
    kspace = (kspace + sigma * _noise(generator, tuple(kspace.shape))) * mask
    return RawScan(
        kspace,
        mask,
        ndim,
        noise=sigma * _noise(generator, (options.coils, _NOISE_SAMPLES)),
        geometry=as_volume(geometry, image.shape[-3]) if geometry and options.volume else geometry,
        name=name,
        simulated=True,
        images=tuple(f"repetition {i}" for i in range(frames)) if image.ndim == 4 else (),
        record={"simulation": {**options.to_dict(), "sha256_of_truth": digest_of_tensor(truth)}},
        **along,  # type: ignore[arg-type]
    )


def _in_frames(image: Tensor, options: SimulationOptions, name: str) -> Tensor:
    """Return the image (z, y, x), or the frames of a series (frame, z, y, x)."""
    if image.ndim not in (3, 4):
        raise ShapeError(
            f"{name}: the image has shape {tuple(image.shape)}; give (z, y, x), or (frame, z, y, x)"
        )
    if image.ndim == 3 and options.frames is not None:
        return image.expand(options.frames, *image.shape)
    if image.ndim == 4 and options.frames not in (None, len(image)):
        raise UsageError(
            f"{name}: is a series of {len(image)} frames, but {options.frames} were requested; "
            "omit the option frames"
        )
    if image.ndim == 4 and len(image) < 2:
        raise UsageError(f"{name}: is a series of one frame; give an image, or several frames")
    return image


def _along(points: Tensor, truth: Tensor, maps: Tensor) -> Tensor:
    """Return the samples ([frame,] slice, coil, *samples) of images along frames' trajectories."""
    shape = tuple(truth.shape[-2:])
    frames = truth.reshape(len(points), -1, *shape)
    pairs = zip(points, frames, strict=True)
    samples = [Sense(maps, NonuniformFourier(where, shape))(image) for where, image in pairs]
    return torch.stack(samples) if truth.ndim == 4 else samples[0]


def with_phase(image: Tensor, options: SimulationOptions) -> Tensor:
    """Return the image that is measured, complex64, with the random phase that options request.

    The phase is a sum of waves of up to one period over the field of view along each encoded axis,
    scaled to its largest value. It is the same in all slices.
    """
    image = image.to(torch.complex64)
    if options.phase == 0:
        return image
    # A separate generator, so that pattern and noise do not depend on whether there is a phase.
    generator = np.random.default_rng([options.seed, 1])
    ndim = 3 if options.volume else 2
    waves = np.zeros(tuple(image.shape[-ndim:]))
    for _ in range(4):
        angle = np.full((1,) * ndim, generator.uniform(0, 2 * np.pi))
        for axis, size in enumerate(waves.shape):
            shape = [-1 if i == axis else 1 for i in range(ndim)]
            place = (np.arange(size) / size).reshape(shape)
            angle = angle + 2 * np.pi * generator.uniform(-_FASTEST, _FASTEST) * place
        waves += np.sin(angle)
    phase = torch.from_numpy(options.phase * waves / np.abs(waves).max())
    return image * torch.polar(torch.ones_like(phase), phase).to(torch.complex64)


def _maps(coils: int, spatial: tuple[int, ...]) -> Tensor:
    """Return maps (coil, *spatial) complex64 of root-sum-of-squares 1."""
    # Maps of a volume are large and needed only once.
    return _planar_maps(coils, spatial) if len(spatial) == 2 else _birdcage(coils, spatial)


@functools.lru_cache(maxsize=4)
def _planar_maps(coils: int, spatial: tuple[int, ...]) -> Tensor:
    return _birdcage(coils, spatial)


def _birdcage(coils: int, spatial: tuple[int, ...]) -> Tensor:
    if coils == 1:
        return torch.ones((1, *spatial), dtype=torch.complex64)
    import sigpy.mri

    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *spatial))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def _noise(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    """Return complex noise of variance 1."""
    numbers = generator.standard_normal((*shape, 2)) / math.sqrt(2)
    return torch.view_as_complex(torch.from_numpy(numbers)).to(torch.complex64)


def as_volume(geometry: Geometry, slices: int) -> Geometry:
    """Return the geometry of slices as that of one volume, gaps included."""
    if len(geometry.positions_mm) == 1:
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
