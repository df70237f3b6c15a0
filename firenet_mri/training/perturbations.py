"""Perturbations of the training cases; each climbs the loss when its case is used."""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.training.problem import Problem


class Perturbations:
    """Directions of norm 1 in the samples of each case, kept in half precision.

    The first direction of a case is white noise that the case's number determines.
    """

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def direction(self, index: int, problem: Problem) -> Tensor:
        """Return the direction of a case, (coil, y, x), zero where not sampled."""
        kept = self.kept.get(index)
        device = problem.kspace.device
        if kept is None:
            seed = torch.Generator().manual_seed(index)
            parts = torch.randn(*problem.kspace.shape, 2, generator=seed)
            direction = torch.view_as_complex(parts).to(device) * problem.mask
        else:
            direction = torch.zeros_like(problem.kspace)
            direction[:, problem.mask] = torch.view_as_complex(kept.float().to(device))
        return direction / torch.linalg.vector_norm(direction)

    def climb(self, index: int, problem: Problem, direction: Tensor, gradient: Tensor) -> None:
        """Keep the direction of a case after a step.

        Parameters
        ----------
        index
            The case's number.
        problem
            The case.
        direction
            What :meth:`direction` returned.
        gradient
            Of the loss by the samples, (coil, y, x); where it is not finite, nothing changes.
        """
        climbed = gradient * problem.mask
        climbed = climbed / torch.linalg.vector_norm(climbed).clamp(min=1e-20)
        new = direction + climbed
        new = new / torch.linalg.vector_norm(new)
        kept = torch.view_as_real(new[:, problem.mask]).half().cpu()
        if bool(torch.isfinite(kept).all()):
            self.kept[index] = kept
