"""Turns trained weights into a network whose proven constant is at most the wanted one.

Filters are scaled until their norm is proven to be at most 2, and the firmness is lowered, by one
factor for all, until the proven constant is at most the wanted one: the penalty of the training is
an estimate, so that the constant is slightly too large before. At firmness 0 every layer is
nonexpansive, and only the data steps contribute to the constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from firenet_mri.firenet.learned.filters_norm import scaled
from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture, LearnedNetwork
from firenet_mri.firenet.learned.proof import prove
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.learned.weights import save_network
from firenet_mri.training.problem import Problem
from firenet_mri.training.trainable import TrainableStages

_HALVINGS = 20
# p(1) = a - b is at least a millionth of a.
_ROOM = 1 - 2.0**-20


@dataclass(frozen=True, eq=False)
class FrozenStages:
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
        Share of the trained firmness that is kept; 1 if the constant was small enough.
    wanted
        The wanted constant.
    """

    architecture: Architecture
    stages: tuple[Stage, ...]
    constant: float
    constant_as_trained: float
    firmness_kept: float
    wanted: float

    @torch.no_grad()
    def image(self, problem: Problem) -> Tensor:
        """Return the image of a case, (y, x), on its device."""
        device = problem.kspace.device
        stages = [Stage(*(part.to(device) for part in stage)) for stage in self.stages]
        return problem.image(stages, problem.adjoint(problem.kspace), self.architecture)

    def record(self) -> dict[str, Any]:
        """Return the constants and the share of the firmness that is kept, as plain data."""
        return {
            "wanted": self.wanted,
            "proven": self.constant,
            "proven_as_trained": self.constant_as_trained,
            "share_of_firmness_kept": self.firmness_kept,
        }

    def remarks(self) -> list[tuple[str, bool]]:
        """Return lines about the constant for people, and whether they are warnings."""
        line = (
            f"Proven Lipschitz constant {self.constant:.4g} (wanted {self.wanted:g}), at "
            "thresholds that are held fixed."
        )
        found = [(line, False)]
        if self.constant > self.wanted:
            above = (
                "It is above the wanted one even with soft thresholds; train longer, or with fewer "
                "stages."
            )
            found.append((above, True))
        elif self.firmness_kept < 1:
            less = (
                f"As trained it was {self.constant_as_trained:.4g}; {self.firmness_kept:.1%} of "
                "the firmness was kept."
            )
            found.append((less, False))
        return found

    def save(self, path: Path, report: TrainingReport) -> None:
        """Write the file of the weights."""
        save_network(path, LearnedNetwork(self.architecture, self.stages, report=report), report)


@torch.no_grad()
def frozen(weights: TrainableStages, bound: float) -> FrozenStages:
    """Return the weights with a proven constant.

    Parameters
    ----------
    weights
        On the CPU.
    bound
        Wanted constant. Where even firmness 0 does not reach it, the constant is above it.
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
    return FrozenStages(architecture, tuple(left), constant(kept), as_trained, kept, bound)


def _provable(stage: Stage) -> Stage:
    """Return a stage whose filters have norm at most 2, and whose polynomial is not negative."""
    a, b = stage.coefficients
    # In single precision b may have become a, or a little more.
    coefficients = torch.stack([a, torch.minimum(b, _ROOM * a)])
    filters = torch.from_numpy(scaled(stage.filters.numpy()))
    return stage._replace(coefficients=coefficients, filters=filters)


def _with_firmness(stages: Sequence[Stage], share: float) -> list[Stage]:
    return [stage._replace(firmness=share * stage.firmness) for stage in stages]
