"""The preparation of echo trains is a linear operator whose norm is that of its dense matrix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from laws import check_linear_operator

from firenet_mri.errors import ShapeError
from firenet_mri.operators.base import Part
from firenet_mri.operators.echo_planar import EchoTrainGridding, KspaceReversal

COILS, LINES, COLUMNS, SAMPLES = 2, 5, 6, 9


def operator(batch: tuple[int, ...] = (), lines: tuple[int, ...] = (LINES,)) -> EchoTrainGridding:
    generator = torch.Generator().manual_seed(1)
    readout = torch.randn(2, COLUMNS, SAMPLES, dtype=torch.complex128, generator=generator)
    backward = torch.rand(*batch, *lines, generator=generator) < 0.5
    phase = 3 * torch.randn(*batch, COILS, COLUMNS, dtype=torch.float64, generator=generator)
    return EchoTrainGridding(readout, backward, phase, Part("navigators"))


def dense(made: torch.nn.Module) -> np.ndarray:
    """Return the operator as a matrix, column by column."""
    size = int(np.prod(made.domain_shape))
    columns = torch.eye(size, dtype=torch.complex128).reshape(size, *made.domain_shape)
    return made(columns).reshape(size, -1).T.numpy()


@pytest.mark.parametrize("batch", [(), (2, 3)], ids=["one image", "images of slices"])
@pytest.mark.parametrize("lines", [(LINES,), (2, 3)], ids=["lines", "partitions and lines"])
def test_the_preparation_is_a_lawful_operator(batch, lines) -> None:
    check_linear_operator(operator(batch, lines))


@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (5, 7)])
def test_the_reversal_is_unitary(shape) -> None:
    check_linear_operator(KspaceReversal((2, *shape), 2))


def test_the_norm_bound_is_the_largest_singular_value_of_the_dense_matrix() -> None:
    made = operator()
    assert made.backward.any()
    assert not made.backward.all()
    assert made.norm_bound == pytest.approx(np.linalg.norm(dense(made), 2), rel=1e-9)


def test_values_are_those_of_numpy_line_by_line() -> None:
    made = operator()
    x = torch.randn(*made.domain_shape, dtype=torch.complex128)
    found = made(x).numpy()
    for coil in range(COILS):
        for line in range(LINES):
            way = int(made.backward[line])
            image = made.readout[way].numpy() @ x[coil, line].numpy()
            turn = np.exp((0.5j if way else -0.5j) * made.phase[coil].numpy())
            wanted = np.fft.fftshift(np.fft.fft(np.fft.ifftshift(image * turn), norm="ortho"))
            np.testing.assert_allclose(found[coil, line], wanted, rtol=1e-10, atol=1e-12)


def test_what_the_phase_was_made_from_is_named() -> None:
    made = operator()
    assert [part.name for part in made.made_from] == ["navigators"]
    plain = EchoTrainGridding(made.readout, made.backward, 0 * made.phase, None)
    assert plain.made_from == ()


def test_parts_that_do_not_fit_are_refused() -> None:
    made = operator()
    with pytest.raises(ShapeError, match="columns, samples"):
        EchoTrainGridding(made.readout, made.backward, made.phase[:, 1:], None)
    with pytest.raises(ShapeError, match="leading axes"):
        EchoTrainGridding(made.readout, made.backward, made.phase.expand(4, -1, -1), None)
