"""Shifts of the wavelet grid: fixed by the seed, no grid in the image, the same bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import assert_close

from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import (
    CartesianFourier,
    CyclicShift,
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
)

SHAPE = (16, 12)


def network(seed: int | None, schedule=None) -> FIRENET:
    schedule = schedule or NetworkSchedule(8)
    return FIRENET(OrthogonalWavelet("haar", 2, SHAPE), 0.02, schedule=schedule, shift_seed=seed)


def test_seed_fixes_the_network(randn) -> None:
    encoding = CartesianFourier(None, SHAPE)
    y = randn(*SHAPE)
    image = network(1)(y, encoding)
    assert torch.equal(network(1)(y, encoding), image)
    assert not torch.allclose(network(2)(y, encoding), image)
    assert not torch.allclose(network(None)(y, encoding), image)


def shifts_of(block) -> list[tuple[int, ...]]:
    return [sparsifier.inner.shift for sparsifier in block.sparsifiers]


@pytest.mark.parametrize("schedule", [NetworkSchedule(5), PaperSchedule(2, 3)])
def test_layers_are_the_plain_ones_on_shifted_images(schedule, randn) -> None:
    """NumPy transcription of the synthesis form, with numpy.roll around the wavelet prox."""
    wavelet = OrthogonalWavelet("haar", 2, SHAPE)
    net = network(3, schedule)
    y = randn(*SHAPE)
    eps0 = float(torch.linalg.vector_norm(y))
    x = np.zeros(SHAPE, dtype=complex)
    v = np.zeros(SHAPE, dtype=complex)
    for block, steps in zip(net.blocks, schedule.blocks(1.0), strict=True):
        if not schedule.keeps_dual:
            v = np.zeros(SHAPE, dtype=complex)
        total = 0
        for (tau, sigma), shift in zip(steps, shifts_of(block), strict=True):
            tau, sigma = tau * eps0, sigma / eps0
            moved = torch.from_numpy(np.roll(x - tau * v, shift, (0, 1)))
            c = wavelet(moved).numpy()
            c = c * np.maximum(1 - tau * 0.02 / np.maximum(np.abs(c), 1e-300), 0)
            x_next = np.roll(
                wavelet.adjoint(torch.from_numpy(c)).numpy(), [-s for s in shift], (0, 1)
            )
            v = v + sigma * (2 * x_next - x - y.numpy())
            v = v / max(1.0, np.linalg.norm(v))
            x = x_next
            total = total + x
        x = total / len(steps) if schedule.returns_average else x
    identity = CyclicShift((0, 0), SHAPE)
    assert_close(net(y, identity), torch.from_numpy(x), 1e-11)


def test_a_constant_seed_of_zero_shifts_is_not_what_is_drawn() -> None:
    shifts = [shift for block in network(0).blocks for shift in shifts_of(block)]
    assert len(set(shifts)) > 4
    assert all(0 <= s < size for shift in shifts for s, size in zip(shift, SHAPE, strict=True))


def test_jacobian_stays_below_the_bound(randn) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(10, 16, dtype=torch.float64, generator=generator)
    matrix = matrix / torch.linalg.matrix_norm(matrix, 2)
    encoding = MatrixOperator(matrix, 1.0)
    schedule = NetworkSchedule(20, tau=1.0, eps0=1.0)
    net = FIRENET(OrthogonalWavelet("haar", 2, (16,)), 0.02, schedule=schedule, shift_seed=0)
    y = matrix @ torch.randn(16, dtype=torch.float64, generator=generator)
    jacobian = torch.autograd.functional.jacobian(lambda z: net(z, encoding), y)
    assert 0.5 < torch.linalg.matrix_norm(jacobian, 2) <= net.lipschitz_bound(encoding)


@pytest.mark.parametrize("seed", [0, 5, 2**32 - 1])
def test_shifts_are_those_of_torchs_generator(seed) -> None:
    drawn = [shift for block in network(seed).blocks for shift in shifts_of(block)]
    generator = torch.Generator().manual_seed(seed)
    expected = torch.rand(len(drawn), 2, generator=generator) * torch.tensor(SHAPE)
    assert drawn == [tuple(row) for row in expected.long().tolist()]


def test_orthogonal_wavelets_by_name_are_shifted_and_the_frame_is_not() -> None:
    assert make_network(4, (32, 32), sparsifier="db4").shift_seed == 0
    assert make_network(4, (32, 32)).shift_seed is None
    assert make_network(4, (32, 32), preset="paper").shift_seed is None


@pytest.mark.parametrize("sparsifier", [None, StationaryWavelet(2, SHAPE)])
def test_shifts_without_a_grid_are_refused(sparsifier) -> None:
    with pytest.raises(UsageError, match="orthogonal wavelet"):
        FIRENET(sparsifier, 0.02, shift_seed=1)
