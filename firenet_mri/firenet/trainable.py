"""Step sizes and thresholds as parameters, with a Lipschitz bound that holds for all of them.

    tau_0 = exp(a),  tau_k = tau_{k-1} / (1 + exp(-b_k)),  sigma_k = 1 / (L^2 tau_k),

so that steps never grow and tau_k sigma_k L^2 = 1: the closed form of docs/theory.md, section 3.3,
holds for all a and b: (1/L) sum_k tau_k / tau_{k-1} < (K - 1) / L for K layers. A sharper bound is
proven for the current steps on request (section 3.4). Thresholds are those of the
network times exp(c), one factor for each band, or for each group of bands that is penalised
together: with any threshold the step is the resolvent of a monotone map, so that the bound does not
depend on c.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from firenet_mri.errors import UsageError
from firenet_mri.firenet.monotonicity import UnrolledIteration
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.unrolled import FixedSchedule, Steps
from firenet_mri.operators.sparsifier import as_sparsifier

# A ratio of 1 is out of the sigmoid's reach.
_LARGEST_RATIO = 1 - 1e-6

# Far from every step and threshold of use, and nothing overflows in between: steps that are limited
# still never grow.
_LARGEST_LOG = 30.0


@dataclass(frozen=True)
class LearnedSchedule(FixedSchedule):
    """Primal steps for data of unit norm as a tensor; dual kept, last iterate.

    Parameters
    ----------
    taus
        (layers) positive, never growing.
    data_consistency
        See :class:`~firenet_mri.firenet.schedules.NetworkSchedule`.
    eps0
        Scale of the steps; None is ||y|| of each item.
    """

    taus: Tensor
    data_consistency: float = 0.0
    eps0: float | None = None

    @property
    def depths(self) -> tuple[int, ...]:
        """Layers of each block: one block."""
        return (len(self.taus),)

    @property
    def returns_average(self) -> bool:
        """False: the network returns its last iterate."""
        return False

    @property
    def keeps_dual(self) -> bool:
        """True; there is one block only."""
        return True

    @property
    def geometric(self) -> None:
        """None: the steps are learned."""

    def blocks(self, norm_bound: float) -> tuple[tuple[Steps, ...], ...]:
        """Return the steps of the one block, scalar tensors."""
        steps = [(tau, 1 / (norm_bound**2 * tau)) for tau in self.taus]
        return (tuple(Steps(*pair) for pair in steps),)

    @property
    def iteration(self) -> UnrolledIteration:
        """One block with the steps as they are, floating-point numbers taken as the exact ones."""
        taus = tuple(Fraction(tau) for tau in self.taus.tolist())
        return UnrolledIteration((taus,), False, True)

    def step_length(self, norm_bound: float) -> float:
        """Return 1 / L."""
        return 1 / norm_bound


class TrainableSteps(nn.Module):
    """The parameters of a network that can be trained.

    Parameters
    ----------
    net
        The network whose steps and thresholds are the start.

    Raises
    ------
    UsageError
        If its steps do not fall geometrically: no bound is proven for other trained ones.
    """

    group_of_band: Tensor | None

    def __init__(self, net: FIRENET) -> None:
        super().__init__()
        start = net.schedule.geometric
        if start is None:
            raise UsageError(
                f"{type(net.schedule).__name__} cannot be trained with a proven bound; use the "
                "preset accurate or stable"
            )
        ratio = min(start.decay, _LARGEST_RATIO)
        logits = torch.full((start.layers - 1,), math.log(ratio / (1 - ratio)))
        thresholds, group_of_band = _thresholds(net)
        self.log_first_step = nn.Parameter(torch.tensor(math.log(start.tau)))
        self.ratio_logits = nn.Parameter(logits)
        self.log_thresholds = nn.Parameter(thresholds)
        self.register_buffer("group_of_band", group_of_band, persistent=False)
        self.band_axis = 0 if net.sparsifier is None else -len(net.sparsifier.codomain_shape)
        self.data_consistency = start.data_consistency

    @property
    def schedule(self) -> LearnedSchedule:
        """The schedule that the parameters stand for."""
        ratios = torch.cat([self.log_first_step.new_zeros(1), self.ratio_logits])
        logs = nn.functional.logsigmoid(ratios)
        # The first entry is only a placeholder for the first step.
        logs = torch.cat([self.log_first_step.reshape(1), logs[1:]])
        return LearnedSchedule(_limited_exp(torch.cumsum(logs, 0)), self.data_consistency)

    def applied_to(self, net: FIRENET) -> FIRENET:
        """Return the network with these steps, and its thresholds times these factors."""
        factors = _limited_exp(self.log_thresholds)
        if self.group_of_band is not None:
            factors = factors.index_select(self.band_axis, self.group_of_band)
        weights = factors if net.weights is None else net.weights.to(factors.dtype) * factors
        return FIRENET(
            net.sparsifier, net.lam, weights, self.schedule, net.shift_seed, ball=net.ball
        )


def _thresholds(net: FIRENET) -> tuple[Tensor, Tensor | None]:
    """Return zeros, one for each threshold, and which one each band has; None: each its own."""
    shape = torch.Size(()) if net.weights is None else net.weights.shape
    if net.sparsifier is None:
        return torch.zeros(shape), None
    sparsifier = as_sparsifier(net.sparsifier, net.sparsifier.domain_shape)
    group_of_band, axes = sparsifier.group_of_band, len(sparsifier.codomain_shape)
    if group_of_band is None or len(shape) < axes or shape[-axes] == 1:
        return torch.zeros(shape), None
    groups = int(group_of_band[-1]) + 1
    return torch.zeros(*shape[:-axes], groups, *shape[1 - axes :]), group_of_band


def _limited_exp(logs: Tensor) -> Tensor:
    return torch.exp(logs.clamp(-_LARGEST_LOG, _LARGEST_LOG))
