"""Trained weights to a network with a proven constant that is the wanted one at most.

Filters are scaled until their norm is proven to be at most 2, and the firmness is lowered, by one
factor for all, until the proven constant is at most the wanted one: the penalty of the training is
an estimate and leaves a little above. At firmness 0 every layer is nonexpansive, and only the data
steps are left in the constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from firenet_mri.firenet.learned.filters_norm import scaled
from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture
from firenet_mri.firenet.learned.proof import prove
from firenet_mri.training.trainable import TrainableStages

_HALVINGS = 20
# p(1) = a - b is at least a millionth of a.
_ROOM = 1 - 2.0**-20


@dataclass(frozen=True, eq=False)
class Frozen:
    """Weights as they are written.

    Parameters
    ----------
    architecture, stages
        The network.
    constant
        Its proven Lipschitz constant for thresholds that are held fixed.
    constant_as_trained
        The same with the firmness that was trained.
    firmness_kept
        Share of the trained firmness that is left; 1 if the constant was small enough.
    """

    architecture: Architecture
    stages: tuple[Stage, ...]
    constant: float
    constant_as_trained: float
    firmness_kept: float


@torch.no_grad()
def frozen(weights: TrainableStages, bound: float) -> Frozen:
    """Return the weights with a proven constant.

    Parameters
    ----------
    weights
        On the CPU.
    bound
        Wanted constant. Where even firmness 0 does not have it, the constant is above it.
    """
    architecture = weights.architecture
    stages = [_provable(stage) for stage in weights.stages()]

    def constant(share: float) -> float:
        return prove(_with_firmness(stages, share), architecture.sizes).value

    as_trained = constant(1.0)
    kept = 1.0
    if as_trained > bound:
        kept, above = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (kept + above) / 2
            kept, above = (middle, above) if constant(middle) <= bound else (kept, middle)
    left = _with_firmness(stages, kept)
    return Frozen(architecture, tuple(left), constant(kept), as_trained, kept)


def _provable(stage: Stage) -> Stage:
    """Return a stage whose filters have norm 2 at most, and whose polynomial is not negative."""
    a, b = stage.coefficients
    # In single precision b may have become a, or a little more.
    coefficients = torch.stack([a, torch.minimum(b, _ROOM * a)])
    filters = torch.from_numpy(scaled(stage.filters.numpy()))
    return stage._replace(coefficients=coefficients, filters=filters)


def _with_firmness(stages: Sequence[Stage], share: float) -> list[Stage]:
    return [stage._replace(firmness=share * stage.firmness) for stage in stages]
