"""SigPy's own operator tests, run through the adapter, on every Linop that it exports."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import sigpy.linop
import torch
from laws import assert_close, check_linear_operator
from sigpy_linops import ALL, DISTRIBUTED, ISOMETRIES, as_tensor, dense, draw

from firenet_mri.sigpy import from_sigpy, to_sigpy

# SciPy's convolution casts memory that it has not written: NumPy warns of that at random.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")

every_linop = pytest.mark.parametrize("name", ALL)

# What SigPy claims of its normal operators and does not keep: identity in place of A^H A.
WRONG_NORMAL = {"ArrayToBlocks", "ArrayToBlocks 1", "BlocksToArray"}


def kinds(linop: sigpy.linop.Linop) -> set[str]:
    """Return the classes of a Linop and its parts."""
    parts = [*getattr(linop, "linops", []), *([linop.A] if hasattr(linop, "A") else [])]
    return {type(linop).__name__}.union(*map(kinds, parts))


def test_no_linop_of_sigpy_is_forgotten() -> None:
    exported = {
        name
        for name, value in vars(sigpy.linop).items()
        if inspect.isclass(value)
        and issubclass(value, sigpy.linop.Linop)
        and value is not sigpy.linop.Linop
    }
    assert exported - DISTRIBUTED == set().union(*(kinds(make()) for make in ALL.values()))


@every_linop
def test_forward_and_adjoint_are_those_of_sigpy(name) -> None:
    linop = ALL[name]()
    operator = from_sigpy(linop, check=True)
    x, y = draw(*linop.ishape, seed=4), draw(*linop.oshape, seed=5)
    assert operator.domain_shape == tuple(linop.ishape)
    assert operator.codomain_shape == tuple(linop.oshape)
    assert_close(operator(torch.from_numpy(x)), as_tensor(linop(x.copy())), 1e-15)
    assert_close(operator.adjoint(torch.from_numpy(y)), as_tensor(linop.H(y.copy())), 1e-15)
    assert_close(operator.H(torch.from_numpy(y)), as_tensor(linop.H(y.copy())), 1e-15)


@every_linop
def test_every_linop_obeys_the_laws_of_our_operators(name) -> None:
    check_linear_operator(from_sigpy(ALL[name]()), batch=(2, 3))


@every_linop
def test_norm_bound_is_not_below_the_dense_norm(name) -> None:
    linop = ALL[name]()
    norm = np.linalg.norm(dense(linop), 2)
    assert from_sigpy(linop).norm_bound >= norm * (1 - 1e-12)
    assert from_sigpy(linop.H).norm_bound >= norm * (1 - 1e-12)


@pytest.mark.parametrize("name", ISOMETRIES)
def test_isometries_have_norm_bound_1_and_are_undone_by_their_adjoint(name) -> None:
    operator = from_sigpy(ISOMETRIES[name]())
    assert operator.norm_bound == pytest.approx(1, abs=1e-6)
    x = torch.from_numpy(draw(*operator.domain_shape))
    assert_close(operator.adjoint(operator(x)), x, 1e-10)


@every_linop
def test_normal_operator_is_that_of_sigpy_where_that_is_right(name) -> None:
    linop = ALL[name]()
    x = draw(*linop.ishape)
    ours = to_sigpy(from_sigpy(linop).H @ from_sigpy(linop))(x)
    np.testing.assert_allclose(ours, linop.H(linop(x.copy())), rtol=1e-12)
    theirs = linop.N(x.copy())
    matches = np.linalg.norm(ours - theirs) <= 1e-10 * np.linalg.norm(ours)
    assert matches == (name not in WRONG_NORMAL)


# torch's own forward mode compiles its rules with a deprecated function when it is first used.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@every_linop
def test_both_gradients_and_forward_mode_pass_gradcheck(name) -> None:
    operator = from_sigpy(ALL[name]())
    x = torch.from_numpy(draw(*operator.domain_shape)).requires_grad_()
    assert torch.autograd.gradcheck(operator, x, fast_mode=True, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(operator, x, fast_mode=True)


# Exact, or how far above the norm the bound may lie here; none is missing.
@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("MatMul", 1),
        ("MatMul adjoint", 1),
        ("MatMul copies", 1.4),
        ("MatMul batch", 1),
        ("RightMatMul", 1),
        ("RightMatMul copies", 1.4),
        ("Multiply copies", 1),
        ("Sum", 1),
        ("Tile", 1),
        ("ArrayToBlocks", 1),
        ("BlocksToArray", 1),
        ("Sense", 1.4),
        ("Sense batches", 1.4),
        ("Interpolate", 1.01),
        ("Gridding", 1.01),
        ("FiniteDifference", 1.05),
        ("ConvolveData", 1.1),
        ("ConvolveFilter", 1.4),
        ("InverseWavelet", 1.000001),
        ("NUFFT 1", 1.2),
        ("NUFFT", 1.8),
        ("NUFFT 3", 2.5),
    ],
)
def test_norm_bound_is_sharp_where_it_is_said_to_be(name, largest) -> None:
    linop = ALL[name]()
    for one in (linop, linop.H):
        ratio = from_sigpy(one).norm_bound / np.linalg.norm(dense(one), 2)
        assert ratio <= largest + 1e-9
