"""A case as the training sees it is what the deployed network sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from training_scans import TINY, pictures

from firenet_mri.firenet.learned.conditions import conditions_for
from firenet_mri.firenet.learned.network import LearnedNetwork
from firenet_mri.operators import encoding_operator
from firenet_mri.training.problem import Problem, psnr_db
from firenet_mri.training.simulated_cases import simulated_case
from firenet_mri.training.trainable import TrainableStages

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_the_trained_network_is_the_deployed_one(seed) -> None:
    case = simulated_case(pictures(), seed)
    problem = Problem(case, CPU)
    with torch.no_grad():
        stages = TrainableStages(TINY.architecture, 0).stages()
        trained = problem.image(stages, problem.adjoint(problem.kspace), TINY.architecture)
        encoding = encoding_operator(case.mask[None], case.maps, 2)
        deployed = LearnedNetwork(TINY.architecture, stages)(case.kspace, encoding)
    y = case.kspace / problem.scale
    pixels = torch.tensor(float(problem.support.sum()))
    expected = conditions_for(encoding, y, encoding.residual(y), pixels)
    torch.testing.assert_close(problem.conditions, expected.reshape(-1), atol=1e-3, rtol=0)
    size = float(deployed.abs().max())
    assert float((trained - deployed).abs().max()) < 1e-4 * size


def test_adjoint_and_spread_belong_together() -> None:
    problem = Problem(simulated_case(pictures(), 1), CPU)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(problem.mask.shape, dtype=torch.complex64, generator=generator)
    left = torch.vdot(problem.spread(x).flatten(), problem.kspace.flatten())
    right = torch.vdot(x.flatten(), problem.adjoint(problem.kspace).flatten()) * problem.scale
    assert complex(left) == pytest.approx(complex(right), rel=1e-4)
    found = problem.adjoint(problem.spread(x)) * problem.scale
    np.testing.assert_allclose(found, problem.normal(x[None]), atol=1e-4)


def test_psnr_is_that_of_its_definition() -> None:
    assert psnr_db(1e-3) == pytest.approx(30)
    assert psnr_db(0) == 120
