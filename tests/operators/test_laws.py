"""All operators obey the laws of linear operators, on odd and even sizes and any batch shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import check_linear_operator

from firenet_mri.errors import ShapeError
from firenet_mri.operators import (
    CartesianFourier,
    CyclicShift,
    LinearOperator,
    MatrixOperator,
    OrthogonalWavelet,
    PhaseCoherent,
    Sense,
    StationaryWavelet,
    WalshHadamard,
    encoding_operator,
)

Shape = tuple[int, ...]


def random_complex(*shape: int) -> torch.Tensor:
    return torch.randn(
        *shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(sum(shape))
    )


def random_mask(shape: Shape) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.4


def powers_of_two(shape: Shape) -> Shape:
    """Return the sizes rounded down to what the Walsh-Hadamard transform takes."""
    return tuple(2 ** (size.bit_length() - 1) for size in shape)


MAKERS: dict[str, Callable[[Shape], LinearOperator]] = {
    "fourier": lambda shape: CartesianFourier(None, shape),
    "masked fourier": lambda shape: CartesianFourier(random_mask(shape), shape),
    "sense": lambda shape: encoding_operator(
        random_mask(shape), random_complex(3, *shape), len(shape)
    ),
    "haar": lambda shape: OrthogonalWavelet("haar", 2, shape),
    "db4": lambda shape: OrthogonalWavelet("db4", 2, shape),
    "shift": lambda shape: CyclicShift((3, -1, 2)[: len(shape)], shape),
    "undecimated haar": lambda shape: StationaryWavelet(2, shape),
    "phase coherent": lambda shape: PhaseCoherent(
        StationaryWavelet(1, shape), (2 ** len(shape),), torch.linspace(0.4, 1, 2 ** len(shape))
    ),
    "walsh-hadamard": lambda shape: WalshHadamard(None, powers_of_two(shape)),
    "masked walsh-hadamard": lambda shape: WalshHadamard(
        random_mask(powers_of_two(shape)), powers_of_two(shape)
    ),
    "matrix": lambda shape: MatrixOperator(random_complex(5, shape[-1])),
    "composition": lambda shape: (
        CartesianFourier(random_mask(shape), shape) @ OrthogonalWavelet("db2", 1, shape).H
    ),
}


@pytest.mark.parametrize("name", MAKERS)
@given(
    shape=st.lists(st.integers(4, 11), min_size=2, max_size=3).map(tuple),
    batch=st.lists(st.integers(1, 3), max_size=2).map(tuple),
)
def test_operators_obey_the_laws(name: str, shape: Shape, batch: Shape) -> None:
    check_linear_operator(MAKERS[name](shape), batch=batch)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_exist_to_second_order(name: str) -> None:
    operator = MAKERS[name]((4, 5))
    x = random_complex(1, *operator.domain_shape).requires_grad_()
    assert torch.autograd.gradcheck(operator, x)
    assert torch.autograd.gradgradcheck(operator, x)


@pytest.mark.parametrize("name", MAKERS)
def test_state_dict_is_empty_and_wrong_shapes_are_refused(name: str) -> None:
    operator = MAKERS[name]((6, 8))
    assert not operator.state_dict()
    with pytest.raises(ShapeError, match="it takes"):
        operator(random_complex(3, 3, 3))
    with pytest.raises(ShapeError, match="it takes"):
        operator.adjoint(random_complex(3, 3, 3))


def test_operators_that_do_not_fit_do_not_compose() -> None:
    with pytest.raises(ShapeError, match="Cannot compose"):
        CartesianFourier(None, (4, 4)) @ CartesianFourier(None, (4, 5))


def test_norm_bound_of_sense_is_attained_for_full_sampling() -> None:
    maps = random_complex(3, 4, 5)
    operator = Sense(maps, CartesianFourier(None, (4, 5)))
    columns = torch.eye(20, dtype=torch.complex128).reshape(20, 4, 5)
    matrix = operator(columns).reshape(20, -1).mT
    assert torch.linalg.matrix_norm(matrix, 2).item() == pytest.approx(operator.norm_bound)
