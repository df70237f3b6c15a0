"""The weights of a learned network as parameters, every value of which is a network with a bound.

Filters are divided by the root of their norm where that is above 2, so that every state of a
training has a Lipschitz constant; its excess over the wanted one is penalised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from firenet_mri.firenet.learned.conditions import CONDITIONS
from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture

# Points of the grids on which norms are estimated during training; the proof has its own.
_FREQUENCIES = 64
_EIGENVALUES = 201
_SPECTRUM = 1.99
# Radii of the first and the last stage at the beginning, in units of the data's scale.
_RADII = (0.03, 0.004)
# Limits of what is trained through a logarithm.
_LEAST_SHARE, _LEAST_FIRMNESS = 1e-4, 1e-5


class TrainableStages(nn.Module):
    """The weights of a network as parameters, every value of which is allowed.

    a = exp(alpha), b between a^2 / 8 and a, so that 0 <= t p(t) < 2; rho = exp(.).

    Parameters
    ----------
    architecture
        Sizes of the network.
    seed
        Of what the filters begin with.
    soft
        Hold rho at 0: soft thresholds, which do not expand.
    tied
        Give all stages the same weights, which begin as those in the middle would.
    """

    def __init__(
        self, architecture: Architecture, seed: int, *, soft: bool = False, tied: bool = False
    ) -> None:
        super().__init__()
        self.architecture, self.soft, self.tied = architecture, soft, tied
        stages, groups = architecture.stages, len(architecture.sizes)
        progress = torch.linspace(0, 1, stages)
        if tied:
            progress, stages = torch.tensor([0.5]), 1
        generator = torch.Generator().manual_seed(seed)
        mu = 0.3 * 0.5**progress
        a, b = _of_ridge(mu)
        low = a**2 / 8
        share = ((b - low) / (a - low)).clamp(0.02, 0.98)
        self.log_a = nn.Parameter(a.log())
        self.share = nn.Parameter((share / (1 - share)).log())
        filters = _first_filters(architecture)
        noise = torch.randn(stages, *filters.shape, generator=generator)
        self.filters = nn.Parameter(filters + 0.03 / architecture.kernel * noise)
        with torch.no_grad():
            self.filters.mul_(spectrum(self.filters, None).rsqrt()[:, None, None, None])
        first, last = _RADII
        radii = math.log(first) + progress * math.log(last / first)
        self.log_radii = nn.Parameter(radii[:, None].repeat(1, groups))
        self.slopes = nn.Parameter(torch.zeros(stages, groups, len(CONDITIONS)))
        self.log_firmness = nn.Parameter(torch.full((stages, groups), math.log(0.01)))

    @torch.no_grad()
    def load_stages(self, stages: Sequence[Stage]) -> None:
        """Become a network of the same sizes, from which training continues.

        Parameters
        ----------
        stages
            Its weights. Firmness of 0 becomes a small one, since its logarithm is trained.
        """
        a, b = torch.stack([stage.coefficients for stage in stages]).unbind(1)
        low = a**2 / 8
        share = ((b - low) / (a - low)).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        self.log_a.copy_(a.log())
        self.share.copy_((share / (1 - share)).log())
        self.filters.copy_(torch.stack([stage.filters for stage in stages]))
        self.log_radii.copy_(torch.stack([stage.log_radii for stage in stages]))
        self.slopes.copy_(torch.stack([stage.slopes for stage in stages]))
        firmness = torch.stack([stage.firmness for stage in stages])
        self.log_firmness.copy_(firmness.clamp(min=_LEAST_FIRMNESS).log())

    def stages(self) -> list[Stage]:
        """Return the weights as the network has them."""
        a = self.log_a.exp()
        low = a**2 / 8
        b = low + (a - low) * self.share.sigmoid()
        norm = spectrum(self.filters, None)
        filters = self.filters * (_SPECTRUM / norm).clamp(max=1).sqrt()[:, None, None, None]
        rho = torch.zeros_like(self.log_firmness) if self.soft else self.log_firmness.exp()
        found = [
            Stage(torch.stack([a[k], b[k]]), filters[k], self.log_radii[k], self.slopes[k], rho[k])
            for k in range(len(a))
        ]
        return found * self.architecture.stages if self.tied else found


def soft_bound(stages: Sequence[Stage], sizes: Sequence[int]) -> Tensor:
    """Return the Lipschitz constant, nearly, and differentiable: an estimate for the penalty.

    Parameters
    ----------
    stages
        The weights.
    sizes
        Filters of each group.
    """
    device = stages[0].filters.device
    t = torch.linspace(0, 1, _EIGENVALUES, device=device)
    repeats = torch.tensor(sizes, device=device)
    total = torch.zeros((), device=device)
    for k, stage in enumerate(stages):
        p = stage.coefficients[0] - stage.coefficients[1] * t
        # The first step starts from an image that does not depend on the data.
        m = (p / (2 - t * p).clamp(min=1e-3) if k else t * p**2).max()
        firm = spectrum(stage.filters[None], stage.firmness.repeat_interleave(repeats)[None])[0]
        total = (total + m) * (1 + firm) ** 2
    return total.sqrt()


def spectrum(filters: Tensor, weights: Tensor | None) -> Tensor:
    """Return the largest sum of |H|^2 on a grid of frequencies, (stage), for (stage, n, k, k)."""
    h = torch.fft.rfft2(filters, s=(_FREQUENCIES, _FREQUENCIES))
    power = h.real**2 + h.imag**2
    if weights is not None:
        power = power * weights[..., None, None]
    return power.sum(1).amax((1, 2))


def _of_ridge(mu: Tensor) -> tuple[Tensor, Tensor]:
    """Return a and b of the Chebyshev approximation of 1 / (t + mu) on [0, 1]."""
    theta = 0.5 + mu
    first = 1 / (2 * theta)
    second = 1 / (4 * theta - first)
    a = 1 / theta + second * first / theta + 4 * second * (1 - mu / theta)
    return a, 4 * second / theta


def _first_filters(architecture: Architecture) -> Tensor:
    """Return cosines, (filter, k, k), in order of frequency, from the lowest in each group."""
    k = architecture.kernel
    i = torch.arange(k)
    rows = torch.cos(math.pi * (i[None] + 0.5) * i[:, None] / k) * (2 / k) ** 0.5
    rows[0] *= 0.5**0.5
    basis = torch.einsum("ai,bj->abij", rows, rows).reshape(k * k, k, k) / k
    order = (i[:, None] ** 2 + i[None] ** 2).flatten().argsort(stable=True)
    basis = basis[order]
    singles = basis[torch.arange(architecture.singles) % (k * k)]
    return torch.cat([singles, *[basis[: architecture.group_size]] * architecture.groups])
