"""Where the samples of a batch lie in k-space: points, density weights and image size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from monai.config import NdarrayOrTensor
from torch import Tensor

from firenet_mri.errors import ShapeError, UsageError
from firenet_mri.io.kspace.noncartesian import along, smallest_shape
from firenet_mri.io.kspace.trajectory_units import check_has_unit, in_cycles_per_fov
from firenet_mri.monai.scans import has_trajectory
from firenet_mri.monai.tensors import plain
from firenet_mri.operators import NonuniformFourier
from firenet_mri.operators.base import records_graph
from firenet_mri.operators.density import density_weights
from firenet_mri.scan import RawScan


@dataclass(frozen=True, eq=False)
class Points:
    """The points of a batch; all of its items share the number of samples and the image size.

    Parameters
    ----------
    trajectory
        (batch or 1, *samples, ndim) float64, in cycles per field of view.
    weights
        (batch or 1, *samples); None computes them.
    image_shape
        Sizes of the image.
    """

    trajectory: Tensor
    weights: Tensor | None
    image_shape: tuple[int, ...]

    def transforms(self, count: int) -> list[NonuniformFourier]:
        """Return the transform of every item, one for all where they share it."""
        found = [self._transform(index) for index in range(len(self.trajectory))]
        return found if len(found) == count else found * count

    def scan_of(self, kspace: Tensor, index: int) -> RawScan:
        """Return item number ``index``, (coil, *samples), as a scan."""
        points = self.trajectory[min(index, len(self.trajectory) - 1)]
        return along(kspace, points, self.image_shape, name=f"item {index} of masked_kspace")

    def _transform(self, index: int) -> NonuniformFourier:
        points = self.trajectory[index]
        if self.weights is None:
            weights = density_weights(points, self.image_shape)
        else:
            weights = self.weights[min(index, len(self.weights) - 1)]
        return NonuniformFourier(points, self.image_shape, weights=weights)


def points_of(
    kspace: Tensor,
    meta: Mapping[str, Any],
    trajectory: NdarrayOrTensor | None = None,
    weights: NdarrayOrTensor | None = None,
    image_shape: Sequence[int] | None = None,
) -> Points | None:
    """Return where the samples of k-space lie; None if it is Cartesian.

    Parameters
    ----------
    kspace
        (batch, coil, *samples) complex.
    meta
        Its metadata, of one item or of a batch, see :mod:`firenet_mri.monai.scans`.
    trajectory, weights, image_shape
        What takes precedence over the metadata; see :class:`firenet_mri.monai.FIRENETModel`.

    Raises
    ------
    ShapeError
        If points, weights or image sizes do not fit k-space.
    UsageError
        If weights or an image size came without a trajectory, or a graph is recorded.
    """
    if trajectory is None and not has_trajectory(meta):
        if weights is not None or image_shape is not None:
            raise UsageError(
                "density_weights and image_shape go with a trajectory, and there is none; leave "
                "them out"
            )
        return None
    if records_graph():
        raise UsageError(
            "Samples along a trajectory are transformed outside of torch and cannot "
            "be traced or exported"
        )
    own = trajectory is None
    points = plain(meta["trajectory"] if trajectory is None else trajectory, "trajectory")
    points = _per_item(points.double(), kspace.ndim - 1, "trajectory")
    if own and weights is None:
        weights = meta.get("density_weights")
        weights = weights if weights is not None and len(weights) else None
    if own and image_shape is None:
        image_shape = _one_shape(plain(meta["image_shape"], "image_shape"))
    each = None
    if weights is not None:
        each = _per_item(plain(weights, "density_weights").double(), kspace.ndim - 2, "weights")
    _check(kspace, points, each)
    if image_shape is None:
        check_has_unit(points.numpy(force=True), "the trajectory")
        shape = smallest_shape(points)
    else:
        shape = tuple(map(int, image_shape))
    # Those in the metadata were brought to cycles per field of view when the scan was read.
    if not own and len(shape) == points.shape[-1]:
        found = in_cycles_per_fov(points.numpy(force=True), shape, "the trajectory")
        points = torch.from_numpy(found)
    return Points(points.cpu(), None if each is None else each.cpu(), shape)


def _per_item(x: Tensor, ndim: int, name: str) -> Tensor:
    """Return x with a batch axis before the ``ndim`` ones that an item has."""
    if x.ndim not in (ndim, ndim + 1):
        raise ShapeError(
            f"{name} has shape {tuple(x.shape)}; it must have {ndim} axes, those of k-space's "
            "samples and of a point's coordinates, with or without a batch axis before them"
        )
    return x if x.ndim == ndim + 1 else x.unsqueeze(0)


def _one_shape(found: Tensor) -> tuple[int, ...]:
    shapes = {tuple(row) for row in found.reshape(-1, found.shape[-1]).tolist()}
    if len(shapes) > 1:
        raise ShapeError(
            f"The items of a batch have images of sizes {sorted(shapes)}; put scans of one size "
            "into a batch"
        )
    return tuple(int(size) for size in shapes.pop())


def _check(kspace: Tensor, points: Tensor, weights: Tensor | None) -> None:
    """Raise ShapeError unless samples, points and weights agree in number."""
    samples = tuple(kspace.shape[2:])
    found = {"trajectory": tuple(points.shape[:-1])}
    if weights is not None:
        found["density_weights"] = tuple(weights.shape)
    for name, shape in found.items():
        if shape[1:] != samples or shape[0] not in (1, len(kspace)):
            raise ShapeError(
                f"{name} is for samples of shape {shape[1:]} of {shape[0]} items, k-space has "
                f"shape {tuple(kspace.shape)}; it must be (batch, coil, *samples)"
            )
