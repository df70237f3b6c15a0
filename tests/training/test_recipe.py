"""What a seed means stays as it is: the weights that ship can be trained again."""

from __future__ import annotations

import hashlib

import pytest
import torch
from training_scans import pictures

from firenet_mri.firenet.learned.network import Architecture
from firenet_mri.training.learner import CertifiedLearner
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.simulated_cases import simulated_case
from firenet_mri.training.timed import FIRST_VALIDATION, Training
from firenet_mri.training.trainable import soft_bound

# Mask, and sums of k-space, maps and reference with cosines, of the first version.
CASES = {
    0: ("aaeccface286", -21.1456 - 25.8471j, 2.84495 - 0.718628j, 24.1394),
    1: ("ce2a70decf94", 96.539 - 42.7647j, -1.87832 + 2.031j, 1.87002),
    4: ("b33632d61e74", 7.1896 + 24.1931j, -1.13056 + 0.442527j, 0.969939),
    10_000_000: ("8262db981d66", 6.42849 - 57.8471j, 0.273768 - 2.01263j, 5.03892),
}
# Kind and PSNR of the first steps, and the estimate of the constant after three.
STEPS = [("attacked", 33.472998), ("attacked", 30.440866), ("clean", 33.378606)]
BOUND = 2.8318555


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
    validation = [simulated_case(pictures(), FIRST_VALIDATION, sizes=(128,))]
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
