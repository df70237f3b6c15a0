"""Operators survive the way to SigPy and back, and work in the other library's algorithms."""

from __future__ import annotations

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close, check_linear_operator

from firenet_mri import FIRENET, NetworkSchedule
from firenet_mri.operators import StationaryWavelet, encoding_operator
from firenet_mri.sigpy import from_sigpy, to_sigpy

SHAPE = (12, 10)


@pytest.fixture
def maps() -> np.ndarray:
    return sigpy.mri.birdcage_maps((4, *SHAPE))


@pytest.fixture
def mask() -> np.ndarray:
    return (np.random.default_rng(0).random(SHAPE) < 0.5).astype(float)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_sigpy_sense_obeys_our_laws(maps, mask, batch_size) -> None:
    linop = sigpy.mri.linop.Sense(maps, weights=mask, coil_batch_size=batch_size)
    operator = from_sigpy(linop)
    check_linear_operator(operator, batch=(2, 3))
    x = torch.randn(2, *SHAPE, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(operator, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, x, fast_mode=True)


def test_norm_bound_of_sigpy_sense_is_that_of_the_same_operator_here(maps, mask) -> None:
    theirs = from_sigpy(sigpy.mri.linop.Sense(maps, weights=mask))
    ours = encoding_operator(torch.from_numpy(mask) > 0, torch.from_numpy(maps))
    assert theirs.norm_bound == pytest.approx(ours.norm_bound)
    assert theirs.norm_bound == pytest.approx(1)


def test_sense_makes_the_round_trip(maps, mask, randn) -> None:
    linop = sigpy.mri.linop.Sense(maps, weights=mask)
    assert to_sigpy(from_sigpy(linop)) is linop
    ours = encoding_operator(torch.from_numpy(mask) > 0, torch.from_numpy(maps))
    back = from_sigpy(to_sigpy(ours))
    x, y = randn(3, *SHAPE), randn(3, 4, *SHAPE)
    assert_close(back(x), ours(x))
    assert_close(back.adjoint(y), ours.adjoint(y))
    assert_close(from_sigpy(linop)(x), ours(x))
    assert back.norm_bound == ours.norm_bound


def test_real_images_keep_their_imaginary_kspace(maps) -> None:
    linop = sigpy.mri.linop.Sense(maps, coil_batch_size=1)
    image = torch.ones(SHAPE, dtype=torch.float64)
    expected = sigpy.mri.linop.Sense(maps)(np.ones(SHAPE, dtype=complex))
    assert_close(from_sigpy(linop)(image), torch.from_numpy(expected))


def test_our_operator_runs_in_a_sigpy_app(maps, mask, randn) -> None:
    ours = encoding_operator(torch.ones(SHAPE, dtype=torch.bool), torch.from_numpy(maps))
    truth = randn(*SHAPE)
    app = sigpy.app.LinearLeastSquares(
        to_sigpy(ours), ours(truth).numpy(), max_iter=100, show_pbar=False
    )
    assert_close(torch.from_numpy(app.run()), truth, 1e-6)


def test_firenet_gives_the_same_image_on_sigpy_operators(maps, mask, randn) -> None:
    net = FIRENET(StationaryWavelet(2, SHAPE), 0.01, schedule=NetworkSchedule(6))
    ours = encoding_operator(torch.from_numpy(mask) > 0, torch.from_numpy(maps))
    theirs = from_sigpy(sigpy.mri.linop.Sense(maps, weights=mask))
    y = ours(randn(2, *SHAPE))
    assert_close(net(y, theirs), net(y, ours), 1e-10)


@pytest.mark.parametrize(
    ("linop", "norm"),
    [
        (sigpy.linop.Identity((3, 4)), 1),
        (2j * sigpy.linop.Identity((3, 4)), 2),
        (sigpy.linop.Multiply((4,), np.array([[1.0], [2.0]])), 5**0.5),
        (sigpy.linop.Sum((3, 4), (0,)), 3**0.5),
        (sigpy.linop.Tile((3, 4), (0,)), 3**0.5),
        (sigpy.linop.Vstack([sigpy.linop.FFT((3, 4))] * 2), 2**0.5),
        (sigpy.linop.FFT((3, 4)) + sigpy.linop.IFFT((3, 4)), 2),
        (sigpy.linop.Diag([sigpy.linop.Identity((3,)), 3 * sigpy.linop.Identity((3,))]), 3),
        (sigpy.linop.Resize((3, 2), (5, 4)), 1),
    ],
)
def test_norm_bound_is_the_norm_where_it_is_known(linop, norm) -> None:
    operator = from_sigpy(linop)
    assert operator.norm_bound == pytest.approx(norm)
    size = int(np.prod(linop.ishape))
    columns = torch.eye(size, dtype=torch.complex128).reshape(size, *linop.ishape)
    matrix = operator(columns).reshape(size, -1)
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(norm)
