"""The simulated scenes, made once."""

from __future__ import annotations

import pytest

from firenet_mri.benchmark.stability.scenes import Scenes, built_in


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    """Return two slices, both attacked, and one for every shift."""
    return built_in(2, 2, 1, (2, 8))
