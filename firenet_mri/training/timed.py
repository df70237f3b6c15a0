"""The training of a network on cases, one per step, for a given time.

Adam minimises log(error) plus what the kind of network adds for its weights. A share of the steps
uses data with a perturbation, which is kept for its case and climbs the loss whenever the case is
used. Weights are averaged over the steps. The average that is best on the validation cases, in the
form in which it would be written, is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from firenet_mri.errors import DataError
from firenet_mri.operators.denormals import denormals_flushed
from firenet_mri.training.learner import Learner
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.perturbations import Perturbations
from firenet_mri.training.problem import Problem, psnr_db
from firenet_mri.training.simulated_cases import TrainingCase

#: Number of a validation case that is the first.
FIRST_VALIDATION = 10_000_000

_FLOOR = 1e-5
_LONGEST_NORM = 3.0
_WARM_UP = 100
_SLOWEST_AVERAGE = 0.002
# Seconds of training between two looks at the validation cases: at most so many, and in a short
# training so many looks, unless these would take more than a part of the time.
_SECONDS, _LOOKS, _PATIENCE = 240.0, 20, 4
# This many steps in a row without a finite gradient end the training.
_DIVERGED = 20

#: The curve: numbers by name, at a look.
Look = dict[str, float]


class Diverged(DataError):
    """The loss was not finite in many steps in a row."""


@dataclass
class Progress:
    """How far a training is; plain data.

    Parameters
    ----------
    step, seconds
        Done so far, validation not included.
    best
        Largest validation PSNR in dB.
    curve
        Numbers of every look.
    sums
        Of the PSNR and the number of steps since the last look, by kind.
    ranges
        Least and largest acceleration, coils, noise and pixels of the cases so far.
    not_finite
        Steps without a finite gradient, in all.
    look_seconds
        Seconds that the last look took.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    curve: list[Look] = field(default_factory=list)
    sums: dict[str, list[float]] = field(default_factory=dict)
    ranges: dict[str, list[float]] = field(default_factory=dict)
    not_finite: int = 0
    look_seconds: float = 0.0


class Training:
    """A training that can be stopped after every step and resumed.

    Parameters
    ----------
    learner
        What kind of network.
    options
        How long, and against what.
    case
        Case of a number from 0 to ``options.cases`` - 1.
    validation
        Cases by which the best weights are chosen.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        learner: Learner,
        options: TrainingOptions,
        case: Callable[[int], TrainingCase],
        validation: Sequence[TrainingCase],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.learner, self.options, self.case, self._clock = learner, options, case, clock
        self.device = torch.device(options.device)
        self.validation = [Problem(one, self.device) for one in validation]
        self.trainable = learner.weights().to(self.device)
        self.average = learner.weights().to(self.device)
        self.optimizer = torch.optim.Adam(
            self.trainable.parameters(), options.learning_rate, betas=(0.9, 0.99)
        )
        self.generator = torch.Generator().manual_seed(options.seed + 1)
        self.progress = Progress()
        self.perturbations = Perturbations()
        self.best_state = _copied(self.average.state_dict())
        self._not_finite_in_a_row = 0

    @property
    def seconds(self) -> float:
        """Seconds of training that the options allow."""
        return 60 * self.options.minutes

    @property
    def is_done(self) -> bool:
        """Whether the time is over."""
        return self.progress.seconds >= self.seconds

    def run(
        self,
        on_step: Callable[[Progress], None] = lambda _: None,
        on_look: Callable[[Look], None] = lambda _: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train until the time is over, or until it is asked to stop after a step.

        Parameters
        ----------
        on_step
            Called after every step.
        on_look
            Called with the numbers of every look at the validation cases.
        should_stop
            Asked before every step.

        Raises
        ------
        Diverged
            If many steps in a row had no finite gradient; the best weights are kept.
        """
        with denormals_flushed():
            if not self.progress.curve:
                on_look(self.look())
            while not self.is_done and not should_stop():
                self._timed_step()
                on_step(self.progress)
                if self._is_time_to_look():
                    on_look(self.look())

    def _is_time_to_look(self) -> bool:
        last = 60 * self.progress.curve[-1]["minutes"]
        wait = max(self.seconds / _LOOKS, _PATIENCE * self.progress.look_seconds)
        return self.progress.seconds - last > min(_SECONDS, wait) or self.is_done

    def _timed_step(self) -> None:
        began = self._clock()
        kind, psnr = self.take_step(self.progress.seconds / self.seconds)
        if math.isfinite(psnr):
            entry = self.progress.sums.setdefault(kind, [0.0, 0.0])
            entry[0] += psnr
            entry[1] += 1
        self.progress.seconds += self._clock() - began
        self.progress.step += 1

    def take_step(self, share: float) -> tuple[str, float]:
        """Take a step at a share of the time; return its kind and its PSNR in dB."""
        options = self.options
        index = int(torch.randint(0, options.cases, (1,), generator=self.generator))
        problem = Problem(self.case(index), self.device)
        self._note(problem)
        is_attacked = float(torch.rand(1, generator=self.generator)) < options.attacked
        is_attacked = is_attacked and options.attack > 0
        y = problem.kspace
        if is_attacked:
            direction = self.perturbations.direction(index, problem)
            size = options.attack * float(torch.rand(1, generator=self.generator))
            y = y + size * float(torch.linalg.vector_norm(y)) * direction
        y = y.detach().requires_grad_(is_attacked)
        image, penalty = self.learner.image(self.trainable, problem, y)
        error = problem.error(image)
        self._descend((error + _FLOOR).log() + penalty, share)
        if is_attacked and y.grad is not None:
            self.perturbations.climb(index, problem, direction, y.grad)
        return ("attacked" if is_attacked else "clean"), psnr_db(float(error.detach()))

    def _descend(self, loss: Tensor, share: float) -> None:
        """Take a step of Adam, unless the gradient is not finite, and average the weights."""
        rate = self.options.learning_rate * min(1.0, (self.progress.step + 1) / _WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.5 * (1 + math.cos(math.pi * share)) + 0.01)
        self.optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.trainable.parameters(), _LONGEST_NORM)
        if torch.isfinite(norm):
            self._not_finite_in_a_row = 0
            self.optimizer.step()
        else:
            self._count_not_finite()
        self._average()

    def _count_not_finite(self) -> None:
        self.progress.not_finite += 1
        self._not_finite_in_a_row += 1
        if self._not_finite_in_a_row >= _DIVERGED:
            raise Diverged(
                f"The loss was not finite in {_DIVERGED} steps in a row, up to step "
                f"{self.progress.step + 1}; try a smaller learning rate"
            )

    @torch.no_grad()
    def _average(self) -> None:
        """Move the averaged weights towards those of the step."""
        share = max(_SLOWEST_AVERAGE, 1 / (self.progress.step + 1))
        for mean, now in zip(self.average.parameters(), self.trainable.parameters(), strict=True):
            mean.lerp_(now, share)

    def look(self) -> Look:
        """Return the numbers of the averaged weights; keep these if they are the best."""
        began = self._clock()
        psnr = self.validation_psnr(self.average)
        if psnr > self.progress.best:
            self.progress.best = psnr
            self.best_state = _copied(self.average.state_dict())
        look = {
            "minutes": self.progress.seconds / 60,
            "step": float(self.progress.step),
            "validation_psnr_db": psnr,
            **self.learner.numbers(self.average),
        }
        for kind, (total, count) in self.progress.sums.items():
            look[f"{kind}_psnr_db"] = total / count
        self.progress.sums.clear()
        self.progress.curve.append(look)
        self.progress.look_seconds = self._clock() - began
        return look

    @torch.no_grad()
    def validation_psnr(self, weights: nn.Module) -> float:
        """Return the mean PSNR of the validation cases, in dB, with weights as they are written."""
        image = self.learner.as_written(weights)
        errors = [float(problem.error(image(problem))) for problem in self.validation]
        return sum(map(psnr_db, errors)) / len(errors)

    def best(self) -> nn.Module:
        """Return the weights that were best on the validation cases, on the CPU."""
        weights = self.learner.weights()
        weights.load_state_dict(self.best_state)
        return weights

    def state(self) -> dict[str, Any]:
        """Return all that a resumed training needs, as plain data and tensors."""
        return {
            "progress": dict(vars(self.progress)),
            "trainable": self.trainable.state_dict(),
            "average": self.average.state_dict(),
            "best": self.best_state,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "perturbations": self.perturbations.kept,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from what :meth:`state` returned."""
        self.progress = Progress(**state["progress"])
        self.trainable.load_state_dict(state["trainable"])
        self.average.load_state_dict(state["average"])
        self.best_state = state["best"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.perturbations.kept = state["perturbations"]

    def _note(self, problem: Problem) -> None:
        """Widen the ranges by a case."""
        found = {
            "acceleration": problem.acceleration,
            "coils": float(len(problem.maps)),
            "noise": problem.relative_noise,
            "pixels_along_an_axis": float(max(problem.mask.shape)),
        }
        for name, value in found.items():
            low, high = self.progress.ranges.get(name, [value, value])
            self.progress.ranges[name] = [min(low, value), max(high, value)]


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}
