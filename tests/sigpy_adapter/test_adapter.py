"""What a SigPy operator can do as one of ours: derivatives, batches, shared memory, odd input."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close
from sigpy import linop as L
from sigpy_linops import MAPS, SHAPE, WEIGHTS, draw

from firenet_mri import FIRENET
from firenet_mri.errors import DataError, FirenetError, ShapeError, UsageError
from firenet_mri.operators import OrthogonalWavelet, encoding_operator
from firenet_mri.sigpy import from_sigpy, to_sigpy


class Recorder(L.Linop):
    """Keeps the arrays that it was given and that it returned."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__(shape, shape)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        self.taken, self.returned = input, 2 * input
        return self.returned

    def _adjoint_linop(self) -> L.Linop:
        return self


class ReadOnly(L.Linop):
    """Returns one constant array that must not be written."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE)
        self.constant = draw(*SHAPE)
        self.constant.flags.writeable = False

    def _apply(self, input: np.ndarray) -> np.ndarray:
        return self.constant


class WrongAdjoint(L.Linop):
    """A shift whose adjoint shifts the same way."""

    def __init__(self, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__(shape, shape)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        return np.roll(input, 1, 0)

    def _adjoint_linop(self) -> L.Linop:
        return WrongAdjoint(tuple(self.ishape))


class WrongAtOnePixel(L.Linop):
    """The identity, but for the adjoint at one of many pixels."""

    def __init__(self, is_adjoint: bool = False) -> None:
        super().__init__((64, 64), (64, 64))
        self.is_adjoint = is_adjoint

    def _apply(self, input: np.ndarray) -> np.ndarray:
        output = input.copy()
        output[3, 5] *= 1.5 if self.is_adjoint else 1
        return output

    def _adjoint_linop(self) -> L.Linop:
        return WrongAtOnePixel(not self.is_adjoint)


class RealPart(L.Linop):
    """Linear in real numbers only."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        return input.real.astype(complex)

    def _adjoint_linop(self) -> L.Linop:
        return self


class RealOnly(L.Linop):
    """Doubles real arrays and takes no others."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        if np.iscomplexobj(input):
            raise TypeError("real arrays only")
        return 2 * input

    def _adjoint_linop(self) -> L.Linop:
        return self


class WrongShape(L.Linop):
    """Returns one axis too many, which SigPy's own check lets pass."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        return input[..., None]


class Failing(L.Linop):
    """Raises when it is applied."""

    def __init__(self) -> None:
        super().__init__(SHAPE, SHAPE)

    def _apply(self, input: np.ndarray) -> np.ndarray:
        raise KeyError("no such coil")


@pytest.fixture
def sense():
    return sigpy.mri.linop.Sense(MAPS, weights=WEIGHTS, coil_batch_size=2)


def test_array_and_tensor_are_one_memory_both_ways() -> None:
    linop = Recorder()
    x = torch.from_numpy(draw(*SHAPE))
    result = from_sigpy(linop, norm_bound=2)(x)
    assert linop.taken.ctypes.data == x.data_ptr()
    assert result.data_ptr() == linop.returned.ctypes.data


def test_items_of_a_batch_are_handed_on_without_a_copy() -> None:
    linop = Recorder()
    x = torch.from_numpy(draw(3, *SHAPE))
    from_sigpy(linop, norm_bound=2)(x)
    assert linop.taken.ctypes.data == x[2].data_ptr()


def test_our_operator_shares_memory_with_sigpy() -> None:
    taken: list[torch.Tensor] = []
    operator = OrthogonalWavelet("haar", 1, (4, 4))
    operator.register_forward_pre_hook(lambda _, args: taken.append(args[0]))
    array = draw(4, 4)
    to_sigpy(operator)(array)
    assert taken[0].data_ptr() == array.ctypes.data


@pytest.mark.parametrize("linop", [L.Identity(SHAPE), L.Reshape((30,), SHAPE), L.Slice(SHAPE, 0)])
def test_result_is_not_the_memory_of_the_argument(linop) -> None:
    x = torch.from_numpy(draw(*SHAPE))
    before = x.clone()
    from_sigpy(linop)(x).zero_()
    assert torch.equal(x, before)


def test_read_only_arrays_pass_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        operator = from_sigpy(ReadOnly(), norm_bound=1)
        result = operator(torch.ones(SHAPE, dtype=torch.complex128))
        result.zero_()
        frozen = draw(4, 4)
        frozen.flags.writeable = False
        to_sigpy(OrthogonalWavelet("haar", 1, (4, 4)))(frozen)
    assert operator.linop.constant.any()


def test_pending_conjugation_sign_and_strides_are_respected(sense) -> None:
    operator = from_sigpy(sense)
    x = torch.from_numpy(draw(6, 5, 2))
    conj = x[..., 0].mT.conj()
    negative = conj.imag
    assert conj.is_conj()
    assert negative.is_neg()
    signed = torch._neg_view(x[..., 1].mT.contiguous())
    for odd in (conj, negative, signed, x[..., 1].mT, x.permute(2, 1, 0)):
        plain = torch.from_numpy(np.array(odd.resolve_conj().resolve_neg().numpy()))
        assert_close(operator(odd), operator(plain), 1e-15)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float16, torch.complex64),
        (torch.bfloat16, torch.complex64),
        (torch.float32, torch.complex64),
        (torch.float64, torch.complex128),
        (torch.complex64, torch.complex64),
        (torch.complex128, torch.complex128),
    ],
)
def test_precision_of_the_input_is_kept_whatever_the_linop_computes_in(given, expected) -> None:
    operator = from_sigpy(sigpy.mri.linop.Sense(MAPS))
    x = torch.ones(SHAPE, dtype=given)
    assert operator(x).dtype == expected
    assert operator.adjoint(torch.ones(3, *SHAPE, dtype=given)).dtype == expected


def test_real_input_to_a_real_linop_is_right_and_its_gradient_real() -> None:
    linop = L.FiniteDifference(SHAPE)
    operator = from_sigpy(linop)
    x = torch.from_numpy(draw(*SHAPE).real.copy()).requires_grad_()
    result = operator(x)
    np.testing.assert_allclose(result.detach().numpy(), linop(x.detach().numpy()), rtol=1e-14)
    (gradient,) = torch.autograd.grad(result.abs().square().sum(), x)
    assert gradient.dtype == torch.float64
    expected = 2 * linop.H(linop(x.detach().numpy()))
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-12)


def test_linops_for_real_arrays_take_complex_ones_in_two_parts(randn) -> None:
    x = randn(2, *SHAPE)
    assert torch.equal(from_sigpy(RealOnly(), norm_bound=2, check=True)(x), 2 * x)
    data = draw(5, 6).real
    linop = L.ConvolveFilter((2, 3), data)
    same = L.ConvolveFilter((2, 3), data.astype(complex))
    z = randn(2, 3)
    # SigPy itself refuses: it makes the output as real as the data are.
    with pytest.raises(RuntimeError):
        linop(z.numpy())
    assert_close(from_sigpy(linop, check=True)(z), from_sigpy(same)(z))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_and_vmap_agree_with_the_operator(sense) -> None:
    operator = from_sigpy(sense)
    x, tangent = torch.from_numpy(draw(4, *SHAPE)), torch.from_numpy(draw(4, *SHAPE, seed=1))
    value, derivative = torch.func.jvp(operator, (x,), (tangent,))
    assert_close(value, operator(x))
    assert_close(derivative, operator(tangent))
    assert_close(torch.func.vmap(operator)(x), operator(x))
    moved = torch.func.vmap(operator, in_dims=2, out_dims=1)(x.movedim(0, 2))
    assert_close(moved.movedim(1, 0), operator(x))
    twice = torch.func.vmap(torch.func.vmap(operator))(x.reshape(2, 2, *SHAPE))
    assert_close(twice.reshape(4, 3, *SHAPE), operator(x))
    energy = torch.func.grad(lambda z: operator(z).abs().square().sum())
    assert_close(torch.func.vmap(energy)(x), 2 * operator.adjoint(operator(x)))


@pytest.mark.parametrize("batch", [(), (0,), (1,), (2, 1, 3)])
def test_any_number_of_batch_axes(sense, batch) -> None:
    operator = from_sigpy(sense)
    x = torch.from_numpy(draw(*batch, *SHAPE))
    result = operator(x)
    assert result.shape == (*batch, 3, *SHAPE)
    for index in np.ndindex(*batch):
        np.testing.assert_allclose(result[index].numpy(), sense(x[index].numpy()), rtol=1e-14)


def test_operators_are_pickled_where_the_linop_is(sense, randn) -> None:
    x = randn(*SHAPE)
    operator = from_sigpy(sense)
    again = pickle.loads(pickle.dumps(operator))
    assert_close(again(x), operator(x), 1e-15)
    assert again.norm_bound == operator.norm_bound
    ours = to_sigpy(OrthogonalWavelet("haar", 1, SHAPE))
    assert_close(
        torch.from_numpy(pickle.loads(pickle.dumps(ours))(x.numpy())),
        torch.from_numpy(ours(x.numpy())),
        1e-15,
    )


def test_inference_mode_leaves_no_graph(sense) -> None:
    with torch.inference_mode():
        assert not from_sigpy(sense)(torch.ones(SHAPE)).requires_grad


def test_firenet_runs_on_a_sigpy_operator_and_backpropagates(sense) -> None:
    net = FIRENET(OrthogonalWavelet("haar", 1, SHAPE), 0.01)
    y = torch.from_numpy(sense(draw(*SHAPE))).requires_grad_()
    net(y, from_sigpy(sense)).abs().sum().backward()
    assert y.grad is not None
    assert bool(torch.isfinite(y.grad).all())


def test_round_trips_give_back_the_object() -> None:
    linop = L.FFT(SHAPE)
    assert to_sigpy(from_sigpy(linop)) is linop
    assert to_sigpy(from_sigpy(linop).H) is linop.H
    ours = encoding_operator(None, torch.from_numpy(MAPS))
    assert from_sigpy(to_sigpy(ours)) is ours
    assert from_sigpy(to_sigpy(ours).H.H) is ours
    assert from_sigpy(to_sigpy(ours).H)(torch.from_numpy(MAPS)).shape == SHAPE


def test_our_operator_works_in_the_algebra_of_sigpy() -> None:
    ours = encoding_operator(None, torch.from_numpy(MAPS))
    theirs = sigpy.mri.linop.Sense(MAPS)
    x = draw(*SHAPE)
    linop = to_sigpy(ours)
    for mine, other in (
        (linop, theirs),
        (linop.H * linop, theirs.H * theirs),
        (linop.N, theirs.N),
        (2j * linop - linop, 2j * theirs - theirs),
        (L.Vstack([linop, linop]), L.Vstack([theirs, theirs])),
    ):
        np.testing.assert_allclose(mine(x), other(x), rtol=1e-10, atol=1e-12)
    mixed = from_sigpy(L.FFT((3, *SHAPE)) * linop, check=True)
    assert mixed.norm_bound == pytest.approx(ours.norm_bound)


def test_sigpy_estimates_the_norm_of_our_operator() -> None:
    ours = encoding_operator(None, torch.from_numpy(MAPS))
    np.random.seed(0)  # noqa: NPY002 - MaxEig draws from the global generator
    largest = sigpy.app.MaxEig(
        to_sigpy(ours).N, dtype=np.complex128, max_iter=200, show_pbar=False
    ).run()
    assert largest == pytest.approx(ours.norm_bound**2, rel=0.02)
    assert largest <= ours.norm_bound**2 * (1 + 1e-9)


@pytest.mark.parametrize("solver", ["ConjugateGradient", "GradientMethod", "ADMM"])
def test_our_operator_runs_in_every_solver_of_least_squares(solver) -> None:
    ours = encoding_operator(None, torch.from_numpy(MAPS))
    truth = draw(*SHAPE, seed=9)
    y = ours(torch.from_numpy(truth)).numpy()
    np.random.seed(0)  # noqa: NPY002 - MaxEig draws from the global generator
    app = sigpy.app.LinearLeastSquares(
        to_sigpy(ours), y, solver=solver, max_iter=400, show_pbar=False
    )
    np.testing.assert_allclose(app.run(), truth, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["bior4.4", "bior2.2", "rbio3.1"])
def test_check_refuses_biorthogonal_wavelets_of_sigpy_and_says_by_how_much(name) -> None:
    linop = L.Wavelet((64, 64), wave_name=name, level=1)
    with pytest.raises(UsageError, match=r"adjoint .* wrong.* differ by \d\.\de[+-]\d\d"):
        from_sigpy(linop, norm_bound=2.0, check=True)
    with pytest.raises(UsageError, match=r"biorthogonal wavelet .* orthogonal one"):
        from_sigpy(linop)


@pytest.mark.parametrize("name", ["haar", "db4", "sym8", "coif2"])
def test_check_lets_orthogonal_wavelets_pass(name) -> None:
    linop = L.Wavelet((31, 64), wave_name=name, level=1)
    assert from_sigpy(linop, check=True).norm_bound == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("linop", [WrongAdjoint(), WrongAtOnePixel(), RealPart()])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_check_finds_a_wrong_adjoint_whatever_the_seed(linop, seed) -> None:
    with pytest.raises(UsageError, match=r"differ by"):
        from_sigpy(linop, norm_bound=2.0, check=True, seed=seed)


def test_check_states_the_size_of_the_mismatch() -> None:
    # (A - B^H) x = x - x / 1.5 ... at one of 4096 pixels: about 0.5 / 64 of ||x||.
    with pytest.raises(UsageError) as caught:
        from_sigpy(WrongAtOnePixel(), norm_bound=2.0, check=True)
    stated = float(str(caught.value).partition("differ by ")[2].split()[0])
    assert 1e-3 < stated < 5e-2


def test_check_is_repeatable_and_leaves_the_global_generators_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    from_sigpy(L.FFT(SHAPE), check=True)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("attempt", "error", "message"),
    [
        (lambda: from_sigpy(np.eye(3)), UsageError, "sigpy.linop.Linop"),
        (lambda: to_sigpy(L.FFT(SHAPE)), UsageError, "takes a LinearOperator"),
        (lambda: from_sigpy(Recorder()), UsageError, "norm_bound="),
        (lambda: from_sigpy(L.FFT(SHAPE) * Recorder()), UsageError, "norm_bound="),
        (lambda: from_sigpy(L.AllReduce(SHAPE, None)), UsageError, "norm_bound="),
        (lambda: from_sigpy(L.Slice((4,), ([0, 0, 1],))), UsageError, "norm_bound="),
        (lambda: from_sigpy(L.FFT(SHAPE), norm_bound=-1.0), UsageError, "at least 0"),
        (lambda: from_sigpy(np.nan * L.FFT(SHAPE)), UsageError, "NaN"),
        (lambda: from_sigpy(np.nan * L.FFT(SHAPE), norm_bound=1, check=True), UsageError, "NaN"),
        (lambda: from_sigpy(L.FFT(SHAPE))(torch.ones(SHAPE[::-1])), ShapeError, r"\(5, 6\)"),
        (lambda: from_sigpy(L.FFT((4,)))(torch.ones(4, 9)), ShapeError, r"\(4,\)"),
        (lambda: from_sigpy(L.FFT(SHAPE)).adjoint(torch.ones(5)), ShapeError, r"\(5, 6\)"),
        (lambda: from_sigpy(L.FFT(SHAPE))(torch.ones(SHAPE).int()), DataError, "complex64"),
        (lambda: from_sigpy(L.FFT(SHAPE))(torch.ones(SHAPE, device="meta")), UsageError, "CPU"),
        (lambda: from_sigpy(WrongShape(), norm_bound=1)(torch.ones(SHAPE)), ShapeError, "5, 6, 1"),
        (lambda: from_sigpy(Failing(), norm_bound=1)(torch.ones(SHAPE)), UsageError, "such coil"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(attempt, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        attempt()
    assert isinstance(caught.value, FirenetError)


@pytest.mark.parametrize("array", [np.ones((4, 9)), np.ones((8, 8, 8)), np.ones((8, 8), int)])
def test_our_operator_in_sigpy_refuses_what_it_cannot_take(array) -> None:
    # SigPy compares leading axes only, and wraps what is raised inside.
    with pytest.raises((RuntimeError, ValueError)) as caught:
        to_sigpy(OrthogonalWavelet("haar", 1, (8, 8))).apply(array)
    cause = caught.value.__cause__
    assert isinstance(cause, ShapeError | DataError) or "mismatch" in str(cause)


@pytest.mark.cuda
@pytest.mark.skipif(not sigpy.config.cupy_enabled, reason="CuPy is not installed")
def test_on_a_gpu_arrays_are_shared_through_dlpack_and_results_agree(sense) -> None:
    x = torch.from_numpy(draw(2, *SHAPE)).cuda().requires_grad_()
    operator = from_sigpy(sense)
    result = operator(x)
    assert result.device == x.device
    assert_close(result.detach().cpu(), operator(x.detach().cpu()), 1e-10)
    (gradient,) = torch.autograd.grad(result.abs().square().sum(), x)
    assert_close(gradient, 2 * operator.adjoint(result).detach(), 1e-10)
    array = sigpy.to_device(draw(4, 4), 0)
    wavelet = OrthogonalWavelet("haar", 1, (4, 4))
    moved = to_sigpy(OrthogonalWavelet("haar", 1, (4, 4)).cuda())(array)
    assert sigpy.get_device(moved).id == 0
    assert_close(torch.from_dlpack(moved).cpu(), wavelet(torch.from_numpy(draw(4, 4))), 1e-10)
