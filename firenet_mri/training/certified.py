"""Trains a learned network whose Lipschitz constant stays below a wanted bound.

Filters are divided by the root of their norm where that is above 2, so that every state of the
training is a network with a proven constant; what the constant is above the wanted one is
penalised. A share of the steps sees data with a perturbation that is kept for its case and climbs
the loss each time the case comes back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.firenet.learned.layers import Stage
from firenet_mri.firenet.learned.network import Architecture, apply_stages, conditions_of
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.training.simulated_cases import TrainingCase

_AXES = (-2, -1)
_GRID = 64
_SPECTRUM = 1.99
_FLOOR = 1e-5


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained.

    Parameters
    ----------
    minutes
        Time of computation, over all runs.
    bound
        Wanted Lipschitz constant.
    attack
        Largest relative size of the perturbations.
    attacked
        Share of the steps that see one.
    learning_rate
        At the beginning.
    seed
        Of everything random.
    architecture
        Sizes of the network.
    """

    minutes: float = 120.0
    bound: float = 8.0
    attack: float = 0.04
    attacked: float = 0.25
    learning_rate: float = 2e-3
    seed: int = 0
    architecture: Architecture = field(default_factory=Architecture)


class TrainableStages(nn.Module):
    """The weights of a network as parameters, every value of which is allowed.

    a = exp(alpha), b between a^2 / 8 and a, so that 0 <= t p(t) < 2; rho = exp(.).
    """

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__()
        self.architecture = architecture
        stages, groups = architecture.stages, len(architecture.sizes)
        progress = torch.linspace(0, 1, stages)
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
            self.filters *= spectrum(self.filters, None).rsqrt()[:, None, None, None]
        radii = math.log(0.03) + progress * math.log(0.004 / 0.03)
        self.log_radii = nn.Parameter(radii[:, None].repeat(1, groups))
        self.slopes = nn.Parameter(torch.zeros(stages, groups, 3))
        self.log_firmness = nn.Parameter(torch.full((stages, groups), math.log(0.01)))

    def stages(self) -> list[Stage]:
        """Return the weights as the network has them."""
        a = self.log_a.exp()
        low = a**2 / 8
        b = low + (a - low) * self.share.sigmoid()
        norm = spectrum(self.filters, None)
        filters = self.filters * (_SPECTRUM / norm).clamp(max=1).sqrt()[:, None, None, None]
        rho = self.log_firmness.exp()
        return [
            Stage(torch.stack([a[k], b[k]]), filters[k], self.log_radii[k], self.slopes[k], rho[k])
            for k in range(len(a))
        ]


def soft_bound(stages: Sequence[Stage], sizes: Sequence[int]) -> Tensor:
    """Return the Lipschitz constant, nearly, and differentiable: for the penalty only."""
    t = torch.linspace(0, 1, 201)
    repeats = torch.tensor(sizes)
    total = torch.zeros(())
    for stage in stages:
        p = stage.coefficients[0] - stage.coefficients[1] * t
        m = (p / (2 - t * p).clamp(min=1e-3)).max()
        firm = spectrum(stage.filters[None], stage.firmness.repeat_interleave(repeats)[None])[0]
        total = (total + m) * (1 + firm) ** 2
    return total.sqrt()


def spectrum(filters: Tensor, weights: Tensor | None) -> Tensor:
    """Return the largest sum of |H|^2 on a grid of frequencies, (stage), for (stage, n, k, k)."""
    h = torch.fft.rfft2(filters, s=(_GRID, _GRID))
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
    """Return cosines, (filter, k, k), in the order of their frequency, begun anew in each group."""
    k = architecture.kernel
    i = torch.arange(k)
    rows = torch.cos(math.pi * (i[None] + 0.5) * i[:, None] / k) * (2 / k) ** 0.5
    rows[0] *= 0.5**0.5
    basis = torch.einsum("ai,bj->abij", rows, rows).reshape(k * k, k, k) / k
    order = (i[:, None] ** 2 + i[None] ** 2).flatten().argsort(stable=True)
    basis = basis[order]
    singles = basis[torch.arange(architecture.singles) % (k * k)]
    return torch.cat([singles, *[basis[: architecture.group_size]] * architecture.groups])


class Problem:
    """A case as the network is given it, in units of s, with a differentiable gradient."""

    def __init__(self, case: TrainingCase, device: torch.device) -> None:
        self.maps = case.maps.to(device)
        self.mask = case.mask.to(device)
        self.reference = case.reference.to(device)
        self.support = (self.maps.abs().sum(0) > 0).float()
        self.kspace = case.kspace.to(device)
        pixels = float(self.support.sum())
        self.scale = float(torch.linalg.vector_norm(self.kspace)) / math.sqrt(max(pixels, 1))
        share = self.mask.float().mean()
        self.conditions = conditions_of(1 / share, _has_lines(self.mask), len(self.maps))
        self._axes = tuple(
            axis for axis in _AXES if not bool((self.mask == self.mask.narrow(axis, 0, 1)).all())
        )
        narrow = self.mask
        for axis in _AXES:
            if axis not in self._axes:
                narrow = narrow.narrow(axis, 0, 1)
        self._factor = torch.fft.ifftshift(narrow, dim=self._axes).float()
        self._conjugate = self.maps.conj().resolve_conj()

    def adjoint(self, kspace: Tensor) -> Tensor:
        """Return A^H y, (1, y, x), in units of s."""
        return (self._conjugate * centred_ifft(kspace, _AXES)).sum(0)[None] / self.scale

    def spread(self, image: Tensor) -> Tensor:
        """Return A x of (y, x)."""
        return centred_fft(self.maps * image, _AXES) * self.mask

    def normal(self, x: Tensor) -> Tensor:
        """Return N x, (1, y, x)."""
        if not self._axes:
            return x * self.support
        k = torch.fft.fftn(self.maps * x, dim=self._axes)
        k = torch.fft.ifftn(k.mul_(self._factor), dim=self._axes)
        return k.mul_(self._conjugate).sum(0)[None]

    def image(self, stages: Sequence[Stage], start: Tensor, architecture: Architecture) -> Tensor:
        """Return the network's image, (y, x), at the size of the data."""

        def gradient(x: Tensor) -> Tensor:
            return start - SelfAdjoint.apply(x, self.normal)  # type: ignore[no-untyped-call]

        x = start
        for x in apply_stages(stages, gradient, start, self.conditions[None], architecture):
            pass
        return x[0] * self.scale

    def error(self, image: Tensor) -> Tensor:
        """Return the mean square error of the magnitude, over the square of the largest value."""
        difference = (image.abs() - self.reference) * self.support
        return (difference / self.reference.max()).square().mean()


class SelfAdjoint(torch.autograd.Function):
    """A linear map that is its own adjoint, so that nothing needs to be recorded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, normal: Callable[[Tensor], Tensor]) -> Tensor:
        """Return N x."""
        ctx.normal = normal
        return normal(x)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Return N cotangent."""
        return ctx.normal(cotangent), None


def _has_lines(mask: Tensor) -> Tensor:
    return (mask == mask[:1]).all() | (mask == mask[:, :1]).all()


@dataclass
class Progress:
    """How far a training is."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    curve: list[dict[str, float]] = field(default_factory=list)


class Training:
    """A training that can be stopped and resumed.

    Parameters
    ----------
    options
        How.
    cases
        Case of a number, and how many there are.
    validation
        Cases that choose which weights are kept.
    path
        Checkpoint.
    """

    def __init__(
        self,
        options: TrainingOptions,
        case: Callable[[int], TrainingCase],
        count: int,
        validation: Sequence[TrainingCase],
        path: Path,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.options, self.case, self.count, self.path = options, case, count, path
        self.device = device or torch.device("cpu")
        self.validation = [Problem(one, self.device) for one in validation]
        self.trainable = TrainableStages(options.architecture, options.seed).to(self.device)
        self.average = TrainableStages(options.architecture, options.seed).to(self.device)
        self.optimizer = torch.optim.Adam(
            self.trainable.parameters(), options.learning_rate, betas=(0.9, 0.99)
        )
        self.generator = torch.Generator().manual_seed(options.seed + 1)
        self.progress = Progress()
        self.perturbations: dict[int, Tensor] = {}
        self.best_state = {k: v.clone() for k, v in self.average.state_dict().items()}
        if path.exists():
            self._resume()

    def run(self, minutes: float, on_look: Callable[[dict[str, float]], None]) -> None:
        """Train for so many minutes at most, and no longer than the options say."""
        end = time.monotonic() + 60 * minutes
        total = 60 * self.options.minutes
        last_look = self.progress.seconds
        sums: dict[str, list[float]] = {"clean": [], "attacked": []}
        while self.progress.seconds < total and time.monotonic() < end:
            began = time.monotonic()
            kind, psnr, bound = self._step(self.progress.seconds / total)
            sums[kind].append(psnr)
            self.progress.seconds += time.monotonic() - began
            self.progress.step += 1
            if self.progress.seconds - last_look > 240 or self.progress.seconds >= total:
                last_look = self.progress.seconds
                look = self._look()
                look["bound"] = bound
                for name, values in sums.items():
                    look[name] = sum(values) / max(len(values), 1)
                    values.clear()
                self.progress.curve.append(look)
                self.save()
                on_look(look)

    def _step(self, share: float) -> tuple[str, float, float]:
        """Take a step; return its kind, PSNR in dB and the bound."""
        options = self.options
        index = int(torch.randint(0, self.count, (1,), generator=self.generator))
        problem = Problem(self.case(index), self.device)
        is_attacked = float(torch.rand(1, generator=self.generator)) < options.attacked
        y = problem.kspace
        if is_attacked:
            direction = self._perturbation(index, problem)
            size = options.attack * float(torch.rand(1, generator=self.generator))
            y = y + size * float(torch.linalg.vector_norm(y)) * direction
        start = problem.adjoint(y).requires_grad_(is_attacked)
        stages = self.trainable.stages()
        error = problem.error(problem.image(stages, start, options.architecture))
        bound = soft_bound(stages, options.architecture.sizes)
        loss = (error + _FLOOR).log() + 5 * (bound / options.bound - 1).clamp(min=0) ** 2
        rate = options.learning_rate * min(1.0, (self.progress.step + 1) / 100)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * share)) + 0.01)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.parameters(), 3.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self._average()
        if is_attacked and start.grad is not None:
            climbed = problem.spread(start.grad[0])
            climbed = climbed / torch.linalg.vector_norm(climbed).clamp(min=1e-20)
            new = direction + climbed
            new = new / torch.linalg.vector_norm(new)
            self.perturbations[index] = torch.view_as_real(new[:, problem.mask]).half()
        psnr = -10 * math.log10(max(float(error.detach()), 1e-12))
        return ("attacked" if is_attacked else "clean"), psnr, float(bound.detach())

    def _perturbation(self, index: int, problem: Problem) -> Tensor:
        """Return the perturbation of a case, of norm 1."""
        kept = self.perturbations.get(index)
        if kept is None:
            seed = torch.Generator().manual_seed(index)
            parts = torch.randn(*problem.kspace.shape, 2, generator=seed)
            direction = torch.view_as_complex(parts).to(self.device) * problem.mask
        else:
            direction = torch.zeros_like(problem.kspace)
            direction[:, problem.mask] = torch.view_as_complex(kept.float().to(self.device))
        return direction / torch.linalg.vector_norm(direction)

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards those of the step."""
        share = max(0.002, 1 / (self.progress.step + 1))
        for mean, now in zip(self.average.parameters(), self.trainable.parameters(), strict=True):
            mean.lerp_(now, share)

    @torch.no_grad()
    def _look(self) -> dict[str, float]:
        """Return the mean PSNR of the validation cases; keep the weights if it is the best."""
        stages = self.average.stages()
        architecture = self.options.architecture
        errors = [
            float(p.error(p.image(stages, p.adjoint(p.kspace), architecture)))
            for p in self.validation
        ]
        psnr = sum(-10 * math.log10(max(error, 1e-12)) for error in errors) / len(errors)
        if psnr > self.progress.best:
            self.progress.best = psnr
            self.best_state = {k: v.clone() for k, v in self.average.state_dict().items()}
        return {
            "minutes": self.progress.seconds / 60,
            "step": self.progress.step,
            "validation": psnr,
            "average_bound": float(soft_bound(stages, architecture.sizes)),
        }

    def save(self) -> None:
        """Write the checkpoint."""
        content = {
            "options": asdict(self.options),
            "progress": asdict(self.progress),
            "trainable": self.trainable.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best_state,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "perturbations": self.perturbations,
        }
        with atomic_writes([self.path], overwrite=True) as (path,):
            torch.save(content, path)

    def _resume(self) -> None:
        content = torch.load(self.path, weights_only=True)
        self.progress = Progress(**content["progress"])
        self.trainable.load_state_dict(content["trainable"])
        self.average.load_state_dict(content["average"])
        self.best_state = content["best"]
        self.optimizer.load_state_dict(content["optimizer"])
        self.generator.set_state(content["generator"])
        self.perturbations = content["perturbations"]
