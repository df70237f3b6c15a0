"""Fixtures that all tests share: seeded random tensors, and the commands as firenet runs them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from cyclopts import CycloptsError

from firenet_benchmark.cli import benchmark_app, paper_app
from firenet_mri.errors import FirenetError


@pytest.fixture
def randn() -> Callable[..., torch.Tensor]:
    """Return a function that draws seeded random tensors, complex128 unless told otherwise."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int, dtype: torch.dtype = torch.complex128) -> torch.Tensor:
        return torch.randn(*shape, dtype=dtype, generator=generator)

    return draw


@pytest.fixture
def firenet() -> Callable[..., int]:
    """Return a function that runs ``firenet`` with words, and returns the exit status."""
    groups = {"benchmark": benchmark_app, "paper": paper_app}

    def run(group: str, *words: object) -> int:
        try:
            groups[group](
                [str(word) for word in words],
                exit_on_error=False,
                print_error=False,
                result_action="return_value",
            )
        except FirenetError as error:
            sys.stderr.write(f"firenet: {error}\n")
            return error.exit_status
        except CycloptsError as error:
            sys.stderr.write(f"firenet: {error}\n")
            return 2
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run
