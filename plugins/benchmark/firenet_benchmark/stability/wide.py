"""Opponents trained on the cases, with the loop and in the time of ``learned``.

``firenet train`` makes a network with a proven constant from simulated scans of many images, masks,
coils, contrasts and phases, a part of them under attack. Here MoDL and a variational network learn
from the same cases, so that only the network differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.networks import MoDL, ScaledNetwork, VarNet
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io import atomic_writes
from firenet_mri.training.checkpoint import Checkpoint
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.problem import Problem
from firenet_mri.training.timed import Look, Progress, Training

#: The networks, with sizes that the time of the training suits.
KINDS: dict[str, Callable[[], ScaledNetwork]] = {
    "MoDL, wide": lambda: MoDL(unrolls=5, features=48, gradients=6),
    "VarNet, wide": lambda: VarNet(cascades=5, features=12),
}

# Of 3000 cases a quarter of the steps sees perturbations, as for ``learned``.
_RATES = {"MoDL, wide": 1e-3, "VarNet, wide": 1e-3}


@dataclass(frozen=True)
class Opponent:
    """A network of the benchmark as a learner.

    Parameters
    ----------
    name
        A key of :data:`KINDS`.
    seed
        Of its first weights.
    """

    name: str
    seed: int = 0

    def weights(self) -> ScaledNetwork:
        """Return the network with its first weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return KINDS[self.name]()

    def image(self, weights: nn.Module, problem: Problem, kspace: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of a case, (y, x); nothing is added to the loss."""
        mask, maps = problem.mask[None, None], problem.maps[None]
        image = weights(kspace[None] * mask, mask, maps)[0]
        return image, problem.reference.new_zeros(())

    def as_written(self, weights: nn.Module) -> Callable[[Problem], Tensor]:
        """Return what makes the images of cases: weights are written as they are."""
        return lambda problem: self.image(weights, problem, problem.kspace)[0]

    def numbers(self, weights: nn.Module) -> dict[str, float]:
        """Return nothing: no constant is proven."""
        return {}


@dataclass(frozen=True, eq=False)
class WideNetwork:
    """A trained opponent, ready for use, and what its training was like.

    Parameters
    ----------
    network
        With its weights.
    options
        How it was trained, as plain data.
    curve
        Numbers of every validation.
    data
        Digest of what it was trained on.
    """

    network: ScaledNetwork
    options: dict[str, Any]
    curve: tuple[Look, ...]
    data: str = ""

    @property
    def minutes(self) -> float:
        """How long it was trained, which is less than was planned if it was finished early."""
        return self.curve[-1]["minutes"]


def file_name(name: str) -> str:
    """Return the name of the weights file of an opponent."""
    return name.lower().replace(", ", "-") + ".pt"


def options_of(name: str, minutes: float) -> TrainingOptions:
    """Return how an opponent is trained: as ``learned``, except for the step size."""
    return TrainingOptions(minutes=minutes, learning_rate=_RATES[name])


def train_opponent(
    name: str,
    data: TrainingData,
    options: TrainingOptions,
    path: Path,
    *,
    overwrite: bool = False,
    finish: bool = False,
    on_step: Callable[[Progress], None] = lambda _: None,
    on_look: Callable[[Look], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> WideNetwork | None:
    """Train an opponent, or resume its training, and write it when the time is over.

    The time is processor time. An opponent that is already written is not trained again.

    Parameters
    ----------
    name
        A key of :data:`KINDS`.
    data, options
        As ``firenet train`` has them.
    path
        The weights file, .pt; the training is kept in a hidden file beside it.
    overwrite
        Replace a file that exists.
    finish
        Stop training: write the best weights so far.
    on_step, on_look, should_stop
        As :meth:`Training.run` takes them.

    Returns
    -------
    WideNetwork or None
        None if it was asked to stop before the time was over.

    Raises
    ------
    UsageError
        If there is nothing to finish.
    DataError
        If no step was done.
    FileError
        If the file exists, of other options or data, and may not be replaced.
    """
    if path.exists() and not overwrite:
        return _finished(path, options, data)
    training = Training(
        Opponent(name, options.seed),
        options,
        data.case,
        data.validation_cases(),
        # A busy machine must not make an opponent weaker.
        clock=time.process_time,
    )
    checkpoint = Checkpoint(checkpoint_path(path), {"name": name, **options.key()}, data.digest())
    if not checkpoint.resume(training) and finish:
        raise UsageError(f"{checkpoint.path}: no training to finish; leave --finish out")

    if finish:
        training.look()
    elif not _is_trained(training, checkpoint, on_step, on_look, should_stop):
        return None
    if training.progress.step == 0:
        raise DataError("No step was done, so there is no network to write; train longer")
    _write(path, name, options, data, training)
    checkpoint.remove()
    return read_opponent(path)


def _is_trained(
    training: Training,
    checkpoint: Checkpoint,
    on_step: Callable[[Progress], None],
    on_look: Callable[[Look], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Train, keeping what was reached at every look; return whether the time is over."""

    def looked(look: Look) -> None:
        checkpoint.save(training)
        on_look(look)

    training.run(on_step, looked, should_stop)
    checkpoint.save(training)
    return training.is_done


def _write(
    path: Path, name: str, options: TrainingOptions, data: TrainingData, training: Training
) -> None:
    """Write the best weights, in half precision, with how they were trained."""
    content = {
        "name": name,
        "options": options.key(),
        "data": data.digest(),
        "curve": training.progress.curve,
        "network": {key: value.half() for key, value in training.best().state_dict().items()},
    }
    with atomic_writes([path], overwrite=True) as (temporary,):
        torch.save(content, temporary)


def _finished(path: Path, options: TrainingOptions, data: TrainingData) -> WideNetwork:
    """Return what a weights file holds, if it was trained in this way."""
    found = read_opponent(path)
    if found.options != options.key() or found.data != data.digest():
        raise FileError(f"{path}: was trained in another way; name another folder or --overwrite")
    return found


def checkpoint_path(path: Path) -> Path:
    """Return where a training is kept until its weights file is written."""
    return path.with_name(f".{path.name}.training")


def shipped_opponent(name: str) -> WideNetwork:
    """Return an opponent with the weights that come with the package.

    Raises
    ------
    FileError
        If they are not there.
    """
    return read_opponent(shipped_path(name))


def shipped_path(name: str) -> Path:
    """Return where the weights of an opponent are if they come with the package."""
    return Path(str(files(__package__).joinpath("weights", file_name(name))))


def read_opponent(path: Path) -> WideNetwork:
    """Return the opponent of a weights file.

    Raises
    ------
    FileError
        If the file is missing, damaged, or of another kind.
    """
    try:
        content = torch.load(path, weights_only=True)
        network = KINDS[content["name"]]()
        network.load_state_dict({key: value.float() for key, value in content["network"].items()})
        options, curve = dict(content["options"]), tuple(content["curve"])
        data = str(content["data"])
    except OSError:
        raise FileError(f"{path}: cannot be read; train it with firenet benchmark train") from None
    # Damaged and foreign files make the unpickler fail in a dozen ways.
    except Exception:
        raise FileError(
            f"{path}: holds no opponent of this benchmark; train it with firenet benchmark train"
        ) from None
    return WideNetwork(network.requires_grad_(False).eval(), options, curve, data)
