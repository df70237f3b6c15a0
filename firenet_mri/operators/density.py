"""Density compensation: weights that make samples of a trajectory represent equal areas.

With the roots of the weights in the encoding operator, A^H A comes near the identity and the
iteration needs few layers. Noise is then no longer weighted by its variance alone.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.nonuniform import NonuniformFourier, check_trajectory


def compensated(trajectory: Tensor, spatial_shape: Shape) -> NonuniformFourier:
    """Return the transform for reconstruction, w^(1/2) F, with :func:`density_weights`.

    Data must be multiplied by ``root_weights``.

    Parameters
    ----------
    trajectory
        (*samples, ndim), cycles per field of view.
    spatial_shape
        Sizes of the image.
    """
    weights = density_weights(trajectory, spatial_shape)
    return NonuniformFourier(trajectory, spatial_shape, weights=weights)


def density_weights(trajectory: Tensor, spatial_shape: Shape) -> Tensor:
    """Return the weights of :func:`pipe_menon` scaled for reconstruction, (*samples) float64.

    They are scaled so that sum w^2 = sum w. For white noise r, before the weights, F^H w^(1/2) r is
    then as large relative to the weighted noise as on a Cartesian scan; sparsity weights and steps
    rely on this.

    Parameters
    ----------
    trajectory
        (*samples, ndim), cycles per field of view.
    spatial_shape
        Sizes of the image.
    """
    weights = pipe_menon(trajectory, spatial_shape)
    return weights * (weights.sum() / weights.square().sum())


def pipe_menon(trajectory: Tensor, spatial_shape: Shape, iterations: int = 20) -> Tensor:
    """Return weights from the iteration w <- w / (K w), which tends to K w = 1 [1].

    K spreads every sample over its neighbours with a non-negative kernel, the squared sinc of the
    field of view; that is, F diag(t) F^H with a triangle t on twice the field of view.

    Parameters
    ----------
    trajectory
        (*samples, ndim), cycles per field of view.
    spatial_shape
        Sizes of the image.
    iterations
        Number of updates, at least 1.

    Returns
    -------
    (*samples) float64, scaled so that F^H diag(w) F has the mean eigenvalue 1.

    References
    ----------
    [1] Pipe, Menon, Magnetic Resonance in Medicine 41, 1999.
    """
    if iterations < 1:
        raise UsageError(f"{iterations} iterations requested; at least 1 is needed")
    doubled = tuple(2 * size for size in spatial_shape)
    check_trajectory(trajectory, spatial_shape)
    fourier = NonuniformFourier(2 * trajectory, doubled, eps=1e-5)
    triangle = torch.ones((), dtype=torch.float64)
    for size in spatial_shape:
        distance = torch.arange(-size, size, dtype=torch.float64).abs() / size
        triangle = triangle.unsqueeze(-1) * (1 - distance)
    weights = torch.ones(trajectory.shape[:-1], dtype=torch.float64)
    for _ in range(iterations):
        spread = fourier(triangle * fourier.adjoint(weights.to(torch.complex128)))
        weights = weights / spread.real.clamp(min=torch.finfo(torch.float64).tiny)
    return _scaled(weights, spatial_shape)


def geometric(trajectory: Tensor, spatial_shape: Shape) -> Tensor:
    """Return the area of k-space that is nearest to each sample (Voronoi cells), 2D.

    Samples at one point share its cell; a cell at the rim gets the area of its nearest inner
    neighbour. The weights are scaled as in :func:`pipe_menon`.

    Parameters
    ----------
    trajectory
        (*samples, 2), cycles per field of view.
    spatial_shape
        Sizes of the image.

    Raises
    ------
    UsageError
        If the trajectory is not 2D.
    """
    from scipy.spatial import ConvexHull, Voronoi, cKDTree

    check_trajectory(trajectory, spatial_shape)
    if trajectory.shape[-1] != 2:
        raise UsageError("Voronoi cells are implemented in 2D only; use pipe_menon")
    points = trajectory.reshape(-1, 2).double().numpy()
    _, first, inverse, counts = np.unique(
        points.round(9), axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    sites = points[first]
    diagram = Voronoi(sites)
    areas = np.full(len(sites), np.nan)
    limit = np.array(spatial_shape) / 2 + 1
    for site, region in enumerate(diagram.point_region):
        corners = diagram.regions[region]
        if -1 in corners or not corners:
            continue
        vertices = diagram.vertices[corners]
        if (np.abs(vertices) <= limit).all():
            areas[site] = ConvexHull(vertices).volume
    inside = np.isfinite(areas)
    if not inside.any():
        raise UsageError("No sample has a closed cell; use pipe_menon")
    _, nearest = cKDTree(sites[inside]).query(sites[~inside])
    areas[~inside] = areas[inside][nearest]
    weights = (areas / counts)[inverse.reshape(-1)].reshape(trajectory.shape[:-1])
    return _scaled(torch.from_numpy(weights), spatial_shape)


def _scaled(weights: Tensor, spatial_shape: Shape) -> Tensor:
    """Return weights whose sum is the number of pixels: trace(F^H W F) = sum of weights."""
    return weights * (math.prod(spatial_shape) / weights.sum())
