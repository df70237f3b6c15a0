"""What a seed means stays as it is: the weights that ship can be trained again."""

from __future__ import annotations

import hashlib

import pytest
import torch
from training_scans import pictures

from firenet_mri.firenet.learned.network import Architecture
from firenet_mri.training.learner import CertifiedLearner
from firenet_mri.training.options import Simulation, TrainingOptions
from firenet_mri.training.simulated_cases import simulated_case
from firenet_mri.training.timed import FIRST_VALIDATION, Training
from firenet_mri.training.trainable import soft_bound

# Mask, and sums of k-space, maps and reference with cosines.
CASES = {
    0: ("deee1b3467b7", 65.076 - 0.422234j, 1.26628 + 0.246393j, 24.0665),
    1: ("3214682c6a9a", 4.89841 + 54.9576j, -2.03311 + 1.55182j, 1.2751),
    4: ("9e7627d8e8f8", -9.69254 + 2.03141j, 8.63854 + 1.78681j, 0.1691),
    10_000_000: ("6da96601b00a", -44.7514 - 7.81446j, -0.64041 + 13.6012j, 5.47327),
}
# Kind and PSNR of the first steps, and the estimate of the constant after three.
STEPS = [("attacked", 34.239787), ("attacked", 26.156527), ("clean", 33.202766)]
BOUND = 2.8046644


def with_cosines(values: torch.Tensor) -> complex:
    """Return the sum of the values, each with a weight of its own."""
    weights = torch.cos(0.7 * torch.arange(values.numel(), dtype=torch.float64))
    return complex((values * weights.reshape(values.shape)).sum())


@pytest.mark.parametrize("seed", CASES)
def test_a_case_of_a_seed_stays_the_same(seed) -> None:
    mask, *sums = CASES[seed]
    case = simulated_case(pictures(), seed)
    assert hashlib.sha256(case.mask.numpy().tobytes()).hexdigest()[:12] == mask
    found = [with_cosines(part) for part in (case.kspace, case.maps, case.reference)]
    assert found == [pytest.approx(one, rel=1e-3, abs=1e-3) for one in sums]


def test_the_first_steps_of_a_training_stay_the_same() -> None:
    options = TrainingOptions(minutes=120, bound=14, attacked=0.5, stages=4)
    validation = [simulated_case(pictures(), FIRST_VALIDATION, Simulation(sizes=(128,)))]
    training = Training(
        CertifiedLearner(options),
        options,
        lambda number: simulated_case(pictures(), number),
        validation,
    )
    for k, (kind, psnr) in enumerate(STEPS):
        assert training.take_step(1e-4 * k) == (kind, pytest.approx(psnr, abs=1e-3))
        training.progress.step += 1
    bound = soft_bound(training.trainable.stages(), options.architecture.sizes)
    assert float(bound.detach()) == pytest.approx(BOUND, rel=1e-5)


def test_the_options_have_the_sizes_of_the_network_by_default() -> None:
    assert TrainingOptions().architecture == Architecture()
