"""Fixtures for the readers and writers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest


@pytest.fixture
def write_mrd(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a header and readouts to a file and returns its path."""

    def write(header: Any, readouts: Sequence[Any], name: str = "scan.h5") -> Path:
        path = tmp_path / name
        with ismrmrd.File(path, "w") as file:
            dataset = file["dataset"]
            dataset.header = header
            dataset.acquisitions = readouts
        return path

    return write


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a seeded random generator."""
    return np.random.default_rng(0)


@pytest.fixture
def noisy(rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """Return a function that draws complex noise of a shape."""
    return lambda *shape: rng.standard_normal((*shape, 2)) @ [1, 1j]
