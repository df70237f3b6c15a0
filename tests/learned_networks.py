"""Learned networks for tests: weights as training begins with, of which nothing depends."""

from __future__ import annotations

from pathlib import Path

import torch

from firenet_mri.firenet.learned.frame import FrameLayout, LearnedFrameWeights, LearnedSparsity
from firenet_mri.firenet.learned.network import Architecture, LearnedNetwork
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.learned.weights import save_network
from firenet_mri.training.trainable import TrainableStages

SMALL = Architecture(stages=3, singles=4, groups=1, group_size=3, kernel=3)
REPORT = TrainingReport(
    acceleration=(2.0, 9.0),
    coils=(1, 32),
    noise=(0.0, 0.5),
    data=({"kind": "made-up phantoms", "images": 3},),
    recipe={"seed": 0},
)


def small_network(
    seed: int = 0, architecture: Architecture = SMALL, report: TrainingReport | None = REPORT
) -> LearnedNetwork:
    """Return a network as training begins, with some of its firmness made larger."""
    with torch.no_grad():
        stages = TrainableStages(architecture, seed).stages()
    stages = [one._replace(firmness=5 * one.firmness) for one in stages]
    return LearnedNetwork(architecture, stages, report=report)


def weights_file(folder: Path, seed: int = 0, report: TrainingReport = REPORT) -> Path:
    """Return the file of a small network."""
    path = folder / f"net{seed}.safetensors"
    save_network(path, small_network(seed), report)
    return path


def small_frame(
    seed: int = 0, layout: FrameLayout | None = None, report: TrainingReport | None = REPORT
) -> LearnedFrameWeights:
    """Return a frame and weights that no training has seen."""
    module = LearnedSparsity(FrameLayout(1, (0, 1)) if layout is None else layout)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += 0.1 * noise
    return module.frozen(report)


def frame_file(folder: Path, seed: int = 0, report: TrainingReport = REPORT) -> Path:
    """Return the file of a small frame."""
    path = folder / f"frame{seed}.safetensors"
    small_frame(seed, report=report).save(path)
    return path
