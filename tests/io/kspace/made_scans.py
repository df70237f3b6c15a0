"""A made object seen by eight coils: k-space with known truth for tests of whole scans."""

from __future__ import annotations

import numpy as np
from mrd_scans import centred_fft, centred_ifft

from firenet_mri.phantoms import shepp_logan

SIZE, COILS = 64, 8


def coil_maps(size: int = SIZE) -> np.ndarray:
    """Return smooth maps (coil, y, x) of root-sum-of-squares 1 over the field of view [-1, 1)."""
    y, x = np.meshgrid(*2 * [np.arange(size) / (size // 2) - 1], indexing="ij")
    return maps_at(y, x)


def maps_at(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the maps at places in half fields of view."""
    angles = 2 * np.pi * np.arange(COILS) / COILS
    maps = []
    for angle in angles:
        distance = (y - 1.2 * np.sin(angle)) ** 2 + (x - 1.2 * np.cos(angle)) ** 2
        maps.append(np.exp(-distance / 1.5 + 1j * (angle + 0.8 * y * np.sin(angle) + 0.8 * x)))
    found = np.array(maps)
    return found / np.sqrt(np.square(np.abs(found)).sum(0))


def made_image() -> np.ndarray:
    """Return the object (y, x), complex."""
    y = np.arange(SIZE)[:, None] / SIZE
    return shepp_logan(SIZE).numpy() * np.exp(1j * y)


def other_contrast() -> np.ndarray:
    """Return the object as another sequence shows it: other brightness, other phase."""
    image = np.abs(made_image())
    x = np.arange(SIZE)[None] / SIZE
    return np.where(image > 0.01, 1.2 - image, 0) * np.exp(3j * x)


def kspace_of(image: np.ndarray, seed: int = 0, noise: float = 2e-3) -> np.ndarray:
    """Return the k-space (coil, y, x) that the coils see, with noise."""
    generator = np.random.default_rng(seed)
    kspace = centred_fft(coil_maps() * image, (-2, -1))
    grains = generator.standard_normal((*kspace.shape, 2)) @ [1, 1j]
    return (kspace + noise * grains).astype(np.complex64)


def nrmse(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the error of a magnitude image, best scaled, over the truth's norm."""
    found, wanted = np.abs(image).reshape(truth.shape), np.abs(truth)
    scale = (found * wanted).sum() / np.square(found).sum()
    return float(np.linalg.norm(scale * found - wanted) / np.linalg.norm(wanted))


def root_sum_of_squares(kspace: np.ndarray) -> np.ndarray:
    """Return the image (..., y, x) of fully sampled k-space (..., coil, y, x)."""
    return np.sqrt(np.square(np.abs(centred_ifft(kspace, (-2, -1)))).sum(-3))
