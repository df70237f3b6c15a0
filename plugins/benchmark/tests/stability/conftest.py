"""The simulated evaluation data, made once."""

from __future__ import annotations

import pytest

from firenet_benchmark.stability.acquisition import Acquisition
from firenet_benchmark.stability.evaluation_data import EvaluationData, built_in


@pytest.fixture(scope="session")
def data() -> EvaluationData:
    """Return two slices, both attacked, and one for every shift."""
    return built_in(2, 2, 1, (2, 8))


@pytest.fixture(scope="session")
def small() -> EvaluationData:
    """Return one slice of 64 x 64 pixels, without shifts and details."""
    acquisition = Acquisition(size=(64, 64))
    return built_in(1, 1, 1, (), acquisition, leave_out=("shifts", "details"))
