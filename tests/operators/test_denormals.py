"""Numbers below the smallest normal one are taken for zero where layers run, and only there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import encoding_operator
from firenet_mri.operators.denormals import denormals_flushed

TINY = torch.finfo(torch.float32).tiny


def one_tenth() -> float:
    return float(torch.tensor([TINY]) * 0.1)


def test_subnormal_numbers_are_zero_inside_and_kept_outside() -> None:
    with denormals_flushed():
        with denormals_flushed():
            assert one_tenth() == 0
        assert one_tenth() == 0
    assert one_tenth() > 0
    with pytest.raises(ZeroDivisionError), denormals_flushed():
        1 / 0  # noqa: B018
    assert one_tenth() > 0


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Work in this thread only: those of OpenMP keep their own mode."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("preset", ["accurate", "adaptive"])
def test_no_layer_works_on_subnormal_numbers_away_from_the_object(preset, one_thread) -> None:
    maps = torch.zeros(2, 160, 32, dtype=torch.complex64)
    maps[:, :8] = 2**-0.5
    encoding = encoding_operator(None, maps)
    y = encoding(torch.full((160, 32), 3.0 + 1.0j))
    net = make_network(2, (160, 32), preset=preset, layers=50)
    state = net.solve(y, encoding)
    values = torch.cat(
        [torch.view_as_real(x).flatten() for x in state if x is not None and x.is_complex()]
    ).abs()
    assert not bool(((values > 0) & (values < TINY)).any())
    # There are values on the way down to it.
    assert bool(((values > 0) & (values < 1e-20)).any())
