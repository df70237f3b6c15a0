"""What the sensitivity maps show about the data: what they cut off, and if one set suffices."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.calibration.espirit import Eigenvalues
from firenet_mri.calibration.region import has_calibration_region
from firenet_mri.operators.centred import centred_ifft
from firenet_mri.reconstruction.data_warnings.warning import Kind

CUT_BY_MAPS = Kind(
    "cut_by_maps",
    0.01,
    "The sensitivity maps are zero where the centre of k-space shows signal, so the image is zero "
    "there, too, and part of the object is missing. Look for an echo that is not at the centre of "
    "k-space, or use maps without a border: --maps jsense.",
)
FOLD_OVER = Kind(
    "fold_over",
    0.02,
    "Many pixels show two places at once, as they do where the object is larger than the field of "
    "view (or coils show different images). Reconstruct with two sets of maps: --map-sets 2.",
)

# Width of the centre that gives the object's outline, the same as for the maps.
_WIDTH = 24
_SMALLEST = 8
# Pixels with at least this share of the 99th percentile's energy are the object.
_OBJECT, _PERCENTILE = 0.1, 0.99
# Eigenvalue above which a second place exists, and below which a third does not.
_IS_PLACE, _IS_NONE = 0.9, 0.8
# Factor on ESPIRiT's noise limit: from twice the limit on, noise looks like a second place.
_NOISE = 1.5
# A smaller centre blurs the object over the border of its maps.
_SHARP_ENOUGH = 16


class CentreImage:
    """The energy of the calibration region's coil images, (*spatial), and of their noise.

    Parameters
    ----------
    samples
        (coil, *spatial) complex.
    sampled
        (*spatial) bool.
    noise
        (coil), standard deviation of a sample's noise.
    """

    def __init__(self, samples: Tensor, sampled: Tensor, noise: Tensor) -> None:
        shape = tuple(sampled.shape)
        widths = range(min(_WIDTH, *shape), 0, -1)
        self.width = next((one for one in widths if has_calibration_region(sampled, one)), 0)
        self.energy = torch.zeros(shape)
        if self.width < _SMALLEST:
            return
        axes = list(range(-len(shape), 0))
        first = [size // 2 - self.width // 2 for size in shape]
        box = tuple(slice(start, start + self.width) for start in first)
        for coil in samples:
            centre = torch.zeros_like(coil)
            centre[box] = coil[box]
            image = torch.view_as_real(centred_ifft(centre, axes))
            self.energy += image.square().sum(-1).cpu()
        share = self.width ** len(shape) / math.prod(shape)
        self.noise = float(noise.square().sum()) * share

    @property
    def is_known(self) -> bool:
        """False if the centre was not sampled."""
        return self.width >= _SMALLEST

    @property
    def is_object(self) -> Tensor:
        """(*spatial) bool, the pixels with signal."""
        count = self.energy.numel()
        place = max(1, round(_PERCENTILE * count))
        return self.energy > _OBJECT * self.energy.flatten().kthvalue(place).values


def share_cut_away(centre: CentreImage, support: Tensor) -> float | None:
    """Return the share of the centre's energy above noise that lies where the maps are zero.

    ``support`` is (*spatial) bool. None if the centre is too small to tell.
    """
    if centre.width < _SHARP_ENOUGH:
        return None
    outside = ~support
    whole = float(centre.energy.sum(dtype=torch.float64)) - centre.noise * support.numel()
    lost = float(centre.energy[outside].sum(dtype=torch.float64))
    lost -= centre.noise * int(outside.sum())
    return lost / whole if whole > 0 else None


def share_of_two_places(
    centre: CentreImage, eigenvalues: Eigenvalues, noise: Tensor
) -> float | None:
    """Return the share of the object's pixels that show two places; None if noise hides it."""
    if float(noise.square().mean().sqrt()) >= _NOISE * float(eigenvalues.noise):
        return None
    is_object = centre.is_object
    two = (eigenvalues.second.cpu() > _IS_PLACE) & (eigenvalues.third.cpu() < _IS_NONE)
    return float((two & is_object).sum() / is_object.sum())
