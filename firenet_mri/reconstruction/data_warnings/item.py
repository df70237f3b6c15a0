"""All warnings about one slice: about its samples, its maps, and its image."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.firenet.base import Network
from firenet_mri.operators import NonuniformFourier
from firenet_mri.reconstruction.data_warnings.maps import (
    CUT_BY_MAPS,
    FOLD_OVER,
    CentreImage,
    share_cut_away,
    share_of_two_places,
)
from firenet_mri.reconstruction.data_warnings.noise import noise_levels, radius_of_grid
from firenet_mri.reconstruction.data_warnings.residual import (
    RESIDUAL_ABOVE_NOISE,
    residual_over_noise,
)
from firenet_mri.reconstruction.data_warnings.samples import (
    energy_of,
    has_signal,
    sample_values,
    sample_warnings,
)
from firenet_mri.reconstruction.data_warnings.training import training_warnings
from firenet_mri.reconstruction.data_warnings.warning import DataWarning
from firenet_mri.reconstruction.solve import Encoded


def item_warnings(
    encoded: Encoded, x: Tensor, net: Network | None = None
) -> tuple[DataWarning, ...]:
    """Return the warnings about a slice and its image.

    This takes about as long as one of the network's layers.

    Parameters
    ----------
    encoded
        The network's input, of one item; several items at once give no warnings.
    x
        Its image, masked, (*domain_shape).
    net
        The network, for warnings about a slice unlike its training data; None gives none of these.
    """
    if _has_batch(encoded):
        return ()
    grid = _sampled_grid(encoded)
    energy = None if grid is None else energy_of(encoded.samples)
    found = () if grid is None else sample_warnings(encoded.samples, grid, energy)
    values = _image_values(encoded, x, grid, energy)
    kinds = (RESIDUAL_ABOVE_NOISE, CUT_BY_MAPS, FOLD_OVER)
    of_image = (one for kind in kinds for one in kind.warn(values.get(kind.name)))
    return (*found, *of_image, *training_warnings(encoded, net))


def item_values(encoded: Encoded, x: Tensor) -> dict[str, float]:
    """Return all measurements of a slice and its image, by name."""
    grid = _sampled_grid(encoded)
    energy = None if grid is None else energy_of(encoded.samples)
    of_samples = {} if grid is None else sample_values(encoded.samples, grid, energy)
    return {**of_samples, **_image_values(encoded, x, grid, energy)}


def _has_batch(encoded: Encoded) -> bool:
    return encoded.y.ndim != len(encoded.encoding.codomain_shape)


def _sampled_grid(encoded: Encoded) -> Tensor | None:
    """Return the mask of a Cartesian grid, (*spatial) bool; None if not Cartesian."""
    if encoded.sampled is None or _has_batch(encoded) or _trajectory(encoded) is not None:
        return None
    shape = encoded.samples.shape[1:]
    if encoded.sampled.numel() != shape.numel():
        return None
    return encoded.sampled.reshape(shape).to(encoded.samples.device)


def _trajectory(encoded: Encoded) -> Tensor | None:
    fourier = getattr(encoded.encoding, "fourier", None)
    return fourier.trajectory if isinstance(fourier, NonuniformFourier) else None


def _image_values(
    encoded: Encoded, x: Tensor, grid: Tensor | None, energy: Tensor | None
) -> dict[str, float]:
    noise = _noise(encoded, grid)
    if noise is None:
        return {}
    values = {RESIDUAL_ABOVE_NOISE.name: residual_over_noise(encoded, x, noise)}
    if grid is not None and energy is not None and has_signal(energy, grid):
        centre = CentreImage(encoded.samples, grid, noise)
        if centre.is_known:
            values[CUT_BY_MAPS.name] = share_cut_away(centre, _support(encoded))
            if encoded.eigenvalues is not None and _has_one_set(encoded):
                values[FOLD_OVER.name] = share_of_two_places(centre, encoded.eigenvalues, noise)
    return {name: value for name, value in values.items() if value is not None}


def _noise(encoded: Encoded, grid: Tensor | None) -> Tensor | None:
    """Return the standard deviation of the noise in every coil, (coil) float64."""
    samples = encoded.samples
    if encoded.chain.is_whitened:
        return torch.ones(len(samples), dtype=torch.float64)
    if grid is not None:
        radius = radius_of_grid(tuple(grid.shape), samples.device)
        found = noise_levels(samples, grid, radius)
        return None if found is None else found.cpu()
    trajectory = _trajectory(encoded)
    if trajectory is None or trajectory.shape[:-1] != samples.shape[1:]:
        return None
    distance = torch.linalg.vector_norm(trajectory.to(samples.device), dim=-1)
    radius = distance / distance.max().clamp(min=1e-30)
    found = noise_levels(samples, torch.ones_like(radius, dtype=torch.bool), radius)
    return None if found is None else found.cpu()


def _support(encoded: Encoded) -> Tensor:
    """Return where the maps of any set are not zero, (*spatial) bool."""
    support = encoded.support.cpu() > 0
    # The images of several sets are concatenated along the first axis.
    return support.reshape(-1, *encoded.samples.shape[1:]).any(0)


def _has_one_set(encoded: Encoded) -> bool:
    return encoded.support.shape == encoded.samples.shape[1:]
