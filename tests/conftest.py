"""Fixtures that all tests share: seeded random tensors, and settings that keep runs repeatable."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

settings.register_profile("default", deadline=None, derandomize=True, max_examples=25)
settings.load_profile("default")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked ``cuda`` where there is no GPU; tools/check_device.py runs it."""
    if item.get_closest_marker("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def randn() -> Callable[..., torch.Tensor]:
    """Return a function that draws seeded random tensors, complex128 unless told otherwise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.complex128) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    return draw
