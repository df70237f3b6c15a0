"""The simulated evaluation data, made once."""

from __future__ import annotations

import pytest

from firenet_benchmark.stability.evaluation_data import EvaluationData, built_in


@pytest.fixture(scope="session")
def data() -> EvaluationData:
    """Return two slices, both attacked, and one for every shift."""
    return built_in(2, 2, 1, (2, 8))
