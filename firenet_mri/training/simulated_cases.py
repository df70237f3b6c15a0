"""Simulated scans to train with, each fixed by its seed: many masks, coils, contrasts, phases.

An image of twice the size is cropped in k-space to the samples of the target size, as a scanner
does with an object, or averaged; in some cases the edge of k-space is filtered. It gets a phase,
coils of root-sum-of-squares 1, noise and a mask. Maps are those of the simulation with errors of up
to 2 % in half of the cases, turned by the phase of the image at low resolution in most, as the
reconstruction turns estimated maps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from firenet_mri.calibration.phase import reference_phase
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.training.masks import square_mask
from firenet_mri.training.options import USUAL, Simulation
from firenet_mri.training.pictures import magnitude, phantom, shows_object
from firenet_mri.training.randomness import Random

_AXES = (-2, -1)
_COILS = (1, 2, 4, 6, 6, 8, 8, 8, 12, 16)
_LEAST_CONTRAST = 0.03


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """One under-sampled slice and its reference.

    Parameters
    ----------
    kspace
        (coil, y, x) complex64, zero where not sampled.
    mask
        (y, x) bool.
    maps
        (coil, y, x) complex64, of root-sum-of-squares at most 1.
    reference
        Magnitude (y, x) float32, zero where the maps are.
    noise
        Standard deviation of the noise of a sample, in units of the brightest pixel; 0 if unknown.
    """

    kspace: Tensor
    mask: Tensor
    maps: Tensor
    reference: Tensor
    noise: float = 0.0


def simulated_case(
    pictures: Sequence[Tensor],
    seed: int,
    simulation: Simulation = USUAL,
    *,
    phantoms: float = 0.2,
) -> TrainingCase:
    """Return the case of a seed.

    Parameters
    ----------
    pictures
        Magnitudes (y, x) in [0, 1]; may be empty where all cases are phantoms.
    seed
        Of everything random.
    simulation
        Sizes and noise.
    phantoms
        Share of cases that show a made-up phantom.
    """
    random = Random(seed)
    size = random.choice(simulation.sizes)
    image, support = _image(pictures, size, random, phantoms)
    maps = _coils(random.choice(_COILS), size, random)
    full = centred_fft(maps * image, _AXES)
    sigma = random_noise(random, simulation)
    full = full + sigma * random.white(*full.shape)
    mask = square_mask(size, random)
    known = _known_maps(maps, support, random)
    if random.chance(0.5):
        reference = (known.conj() * centred_ifft(full, _AXES)).sum(0).abs()
    else:
        reference = image.abs() * torch.linalg.vector_norm(known, dim=0)
    kspace = full * mask
    if random.chance(0.8):
        known = known * reference_phase(kspace, known, mask[None])
    return TrainingCase(kspace, mask, known, reference, sigma)


def random_noise(random: Random, simulation: Simulation) -> float:
    """Return a standard deviation of the noise of a sample, where the brightest pixel is 1."""
    sigma: float = 10 ** random.uniform(*map(math.log10, simulation.noise))
    return sigma


def _image(
    pictures: Sequence[Tensor], size: int, random: Random, phantoms: float
) -> tuple[Tensor, Tensor]:
    """Return a complex image, (size, size), and where it is not empty."""
    fine = 2 * size
    while True:
        is_phantom = not pictures or random.chance(phantoms)
        image, support = (
            phantom(fine, random)
            if is_phantom
            else magnitude(_picture(pictures, random), fine, random)
        )
        if image.std() > _LEAST_CONTRAST:
            break
    phase = random.uniform(-3, 3) + random.uniform(0, 1.5) * random.smooth((fine, fine), 4)
    if random.chance(0.25):
        phase = phase + random.uniform(0, 2) * random.smooth((fine, fine), random.integer(6, 20))
    whole = torch.polar(image, phase)
    edge = slice(size // 2, size // 2 + size)
    if random.chance(0.7):
        cut = centred_ifft(centred_fft(whole, _AXES)[edge, edge], _AXES) / 2
    else:
        cut = whole.reshape(size, 2, size, 2).mean((1, 3))
    if random.chance(0.4):
        cut = _smoothed(cut, random)
    return cut, support.reshape(size, 2, size, 2).any(3).any(1)


def _smoothed(image: Tensor, random: Random) -> Tensor:
    """Return an image with a filtered edge of k-space, as scanners filter it."""
    size = len(image)
    points = (torch.arange(size) - size // 2) / (size / 2)
    y, x = torch.meshgrid(points, points, indexing="ij")
    reach, width = random.uniform(0.6, 1.0), random.uniform(0.02, 0.15)
    window = torch.sigmoid((reach - torch.hypot(y, x)) / width)
    return centred_ifft(centred_fft(image, _AXES) * window, _AXES)


def _picture(pictures: Sequence[Tensor], random: Random) -> Tensor:
    """Return a picture, equally often one that fills its frame and an object on a background."""
    wanted = random.chance(0.5)
    return random.choice([one for one in pictures if shows_object(one) == wanted] or pictures)


def _coils(count: int, size: int, random: Random) -> Tensor:
    """Return smooth sensitivities around the image, (coil, y, x), of root-sum-of-squares 1."""
    points = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(points, points, indexing="ij")
    first, distance, width = (
        random.uniform(0, 2 * math.pi),
        random.uniform(1, 1.6),
        random.uniform(0.6, 1.2),
    )
    coils = []
    for coil in range(count):
        angle = first + 2 * math.pi * coil / count + random.uniform(-0.2, 0.2)
        square = (y - distance * math.sin(angle)) ** 2 + (x - distance * math.cos(angle)) ** 2
        size_of = torch.exp(-square / (2 * width**2)) * random.uniform(0.7, 1.3)
        phase = random.uniform(-3, 3) + random.uniform(-2, 2) * y + random.uniform(-2, 2) * x
        coils.append(torch.polar(size_of, phase))
    maps = torch.stack(coils)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def _known_maps(maps: Tensor, support: Tensor, random: Random) -> Tensor:
    """Return maps as a calibration finds them: with errors, mostly zero outside the object."""
    known = maps
    if random.chance(0.6):
        near = max_pool2d(support[None].float(), 5, 1, 2)[0] > 0
        known = known * near
    if random.chance(0.5):
        shape = (maps.shape[1], maps.shape[2])
        error = [torch.complex(random.smooth(shape, 8), random.smooth(shape, 8)) for _ in maps]
        known = known * (1 + random.uniform(0.003, 0.02) * torch.stack(error))
        known = known / torch.linalg.vector_norm(known, dim=0).clamp(min=1)
    return known
