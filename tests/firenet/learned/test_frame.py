"""A learned frame keeps the gap, the constant and the certificate of accurate word for word."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import cvxpy
import numpy as np
import pytest
import torch
from jacobians import jacobian_of, jacobian_of_batches, norm_of, solution_of
from laws import assert_close
from learned_networks import REPORT, weights_file
from torch import Tensor

from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.firenet.derivative import NetworkDerivative
from firenet_mri.firenet.learned.files import Content, digest_of, read_tensors, write_tensors
from firenet_mri.firenet.learned.frame import (
    FrameLayout,
    LearnedFrameWeights,
    LearnedSparsity,
    load_learned_frame,
)
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.operators import LinearOperator, encoding_operator
from firenet_mri.reconstruction.certify import certify_solution
from firenet_mri.reconstruction.check import Claim, Work, check_solution
from firenet_mri.reconstruction.options import ReconstructionOptions

ONE = FrameLayout(1, (0, 1))
EUCLIDEAN = FrameLayout(1, (1,), (1, 3, 5))
COHERENT = FrameLayout(1, (1,), (1, 3, 5), coherent=True)
LAYOUTS = {"each": ONE, "euclidean": EUCLIDEAN, "coherent": COHERENT}


def random(seed: int, *shape: int, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def learned(layout: FrameLayout, size: float = 0.5, seed: int = 0) -> LearnedFrameWeights:
    """Parameters that no training has seen."""
    module = LearnedSparsity(layout)
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter += size * random(seed + index, *parameter.shape, dtype=torch.float64)
    return module.frozen(REPORT)


SMALL = (4, 3)


def small_data(shape: tuple[int, int] = SMALL) -> tuple[LinearOperator, Tensor]:
    maps = random(3, 2, *shape)
    mask = torch.rand(1, *shape, generator=torch.Generator().manual_seed(4)) < 0.6
    encoding = encoding_operator(mask, maps / torch.linalg.vector_norm(maps, dim=0))
    return encoding, random(5, 2, *shape) * mask


def small_network(layout: FrameLayout, size: float = 0.5) -> FIRENET:
    """A network of few layers, with a lam of size for data without signal."""
    net = learned(layout, size).network(2, SMALL, NetworkOptions(layers=4)).double()
    net.lam = 0.1
    return net


@pytest.mark.parametrize("layout", [FrameLayout(1, (0,)), FrameLayout(), FrameLayout(3, (2,))])
@torch.no_grad()
def test_without_training_it_is_accurate(layout) -> None:
    shape = (15, 12)
    encoding, y = small_data(shape)
    usual = make_network(2, shape)
    module = LearnedSparsity(layout)
    for net in (module.network(2, shape), module.frozen().network(2, shape)):
        assert_close(net(y, encoding), usual(y, encoding), 1e-12)
        single = y.to(torch.complex64)
        assert_close(net(single, encoding), usual(single, encoding), 1e-5)
        assert net.lam == usual.lam
        assert net.schedule == usual.schedule
        assert net.ball == usual.ball


@torch.no_grad()
def test_stable_and_a_budget_begin_as_their_presets() -> None:
    encoding, y = small_data((12, 9))
    for options in (
        {"preset": "stable"},
        {"budget": 0.005, "layers": 9},
        {"lam": 0.01, "layers": 7},
    ):
        net = LearnedSparsity(ONE).network(2, (12, 9), NetworkOptions(**options))
        expected = make_network(2, (12, 9), **options)
        assert_close(net(y, encoding), expected(y, encoding), 1e-12)
        assert net.lipschitz_bound_everywhere(encoding) == pytest.approx(
            expected.lipschitz_bound_everywhere(encoding), rel=1e-12
        )


def optimum_of_cvxpy(problem: SquareRootLasso, y: Tensor, layout: FrameLayout) -> float:
    """Return min F by a convex solver, for a complex image as real numbers."""
    pixels = math.prod(problem.encoding.domain_shape)
    columns = torch.eye(pixels, dtype=y.dtype).unflatten(1, problem.encoding.domain_shape)
    a = problem.encoding(columns).flatten(1).T.numpy()
    w = problem.analyse(columns).real.flatten(2).movedim(0, -1).numpy()
    real, imaginary = cvxpy.Variable(pixels), cvxpy.Variable(pixels)
    data = y.flatten().numpy()
    misfit = cvxpy.hstack(
        [
            a.real @ real - a.imag @ imaginary - data.real,
            a.imag @ real + a.real @ imaginary - data.imag,
        ]
    )
    total, first = cvxpy.norm(misfit, 2), 0
    weights = problem.weights.flatten().tolist()
    for size in layout.sizes:
        for pixel in range(pixels):
            rows = w[first : first + size, pixel]
            matrix = cvxpy.vstack([rows @ real, rows @ imaginary])
            norm = cvxpy.normNuc(matrix) if layout.coherent else cvxpy.norm(matrix, "fro")
            total = total + problem.lam * weights[first] * norm
        first += size
    return float(cvxpy.Problem(cvxpy.Minimize(total)).solve(solver=cvxpy.CLARABEL))


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_gap_brackets_the_optimum_of_another_solver(name) -> None:
    """And an attack on the bound: no pair of duals proves more than the optimum."""
    encoding, y = small_data()
    net = learned(LAYOUTS[name]).network(2, SMALL, NetworkOptions(layers=80)).double()
    net.lam = 0.1
    problem = net.problem(encoding)
    expected = optimum_of_cvxpy(problem, y, LAYOUTS[name])
    state = net.solve(y, encoding)
    assert state.q is not None
    objective = float(problem.objective(state.x, y))
    assert expected * (1 - 1e-6) <= objective <= expected * 1.02
    best = 0.0
    for seed, size in enumerate([0.0, 1e-3, 1e-2, 0.1, 1.0] * 4):
        v = state.v + size * random(seed, *y.shape)
        q = (1 + size) * state.q + size * random(seed + 99, *state.q.shape)
        for dual in (q, problem.tighten_dual(v, q, 20)):
            best = max(best, float(problem.dual_value(v, y, dual)))
    assert 0.98 * expected < best <= expected * (1 + 1e-6)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("size", [0.3, 5.0])
def test_constant_is_that_of_accurate(name, size) -> None:
    encoding, _ = small_data()
    bound = small_network(LAYOUTS[name], size).lipschitz_bound_everywhere(encoding)
    accurate = make_network(2, SMALL, layers=4).lipschitz_bound_everywhere(encoding)
    assert bound == pytest.approx(accurate, rel=1e-9)


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_jacobian_exceeds_the_constant_and_ours_is_that_of_automatic_differentiation(
    name,
) -> None:
    encoding, y = small_data()
    net = small_network(LAYOUTS[name])
    expected = jacobian_of_batches(lambda data: net(data, encoding), y)
    assert norm_of(expected) <= net.lipschitz_bound_everywhere(encoding)
    change = random(8, *y.shape)
    with torch.no_grad():
        found = jacobian_of(net, y, encoding).forward(change)
    rows = expected @ torch.view_as_real(change).flatten()
    assert_close(torch.view_as_real(found).flatten(), rows, 1e-5)


@torch.no_grad()
def test_no_pair_of_data_is_amplified_beyond_the_bound() -> None:
    """An attack by ascent from random changes of the data."""
    encoding, y = small_data()
    net = small_network(ONE, 2.0)
    bound, worst = net.lipschitz_bound_everywhere(encoding), 0.0
    for size in (1e-3, 1.0):
        change = size * random(7, *y.shape)
        length = change.norm()
        for _ in range(8):
            moved = net(y + change, encoding) - net(y, encoding)
            worst = max(worst, float(moved.norm() / change.norm()))
            back, _ = NetworkDerivative(net, y + change, encoding).transpose(moved)
            step = encoding(back.back) + back.inner * (y + change)
            change = length * step / step.norm()
    assert 0.3 < worst <= bound


@pytest.mark.parametrize("layout", [ONE, pytest.param(COHERENT, marks=pytest.mark.slow)])
def test_certificate_is_made_and_recomputed_by_the_code_of_accurate(layout) -> None:
    encoding, y = small_data((12, 10))
    net = learned(layout, 0.05).network(2, (12, 10), NetworkOptions(layers=8))
    solution = solution_of(net, y.to(torch.complex64), encoding)
    norms = [float(y.norm())]
    made = certify_solution(solution, sample_norms=norms, jacobian=True, seed=1)
    certificate = made.certificate
    assert certificate.relative_gap is not None
    assert 0 <= max(certificate.relative_gap) < 0.9
    accurate = make_network(2, (12, 10), layers=8).lipschitz_bound_everywhere(encoding)
    assert certificate.lipschitz_bound == pytest.approx(accurate, rel=1e-9)
    (lower,), (upper,) = (
        list(certificate.lookup("jacobian_at_data", side).values()) for side in ("lower", "upper")
    )
    assert lower <= upper <= 1.2 * lower
    assert lower < accurate
    options = ReconstructionOptions(jacobian=True)
    work = Work(net, solution.encoded, sample_norm=norms[0], options=options, seed=1)
    claim = Claim("it", certificate, made.evidence)
    assert not check_solution(claim, work, again=True).not_recomputed
    other = learned(layout, 0.05, seed=9).network(2, (12, 10), NetworkOptions(layers=8))
    with pytest.raises(DataError, match="it: "):
        check_solution(claim, replace(work, net=other))


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_a_saved_frame_comes_back(name, tmp_path) -> None:
    made = learned(LAYOUTS[name])
    path = tmp_path / "frame.safetensors"
    made.save(path)
    loaded = load_learned_frame(path)
    loaded.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert loaded.layout == made.layout
    assert loaded.report == REPORT
    assert torch.equal(loaded.kernels, made.kernels)
    encoding, y = small_data()
    first, second = (one.network(2, SMALL) for one in (made, loaded))
    assert torch.equal(first(y, encoding), second(y, encoding))
    assert loaded.lipschitz_bound() == pytest.approx(17.6601, abs=1e-3)


def forged(path: Path, change: Any, *, renewed: bool = True) -> Path:
    """A saved frame whose tensors and texts were changed; the digest is made anew if asked for."""
    learned(ONE).save(path)
    tensors, texts = read_tensors(path)
    stated = {name: json.loads(text) for name, text in texts.items() if name != "digest"}
    change(tensors, stated)
    others = {name: json.dumps(value) for name, value in stated.items()}
    digest = digest_of(Content(tensors, others)) if renewed else texts["digest"]
    write_tensors(path, tensors, {**others, "digest": digest})
    return path


FORGERIES: dict[str, tuple[Any, str]] = {
    "version": (lambda t, r: r.update(version=2), "version 2; this version of firenet_mri reads"),
    "format": (lambda t, r: r.update(format="net"), "weights of another program"),
    "bound": (lambda t, r: r["proof"].update(bound=9.0), "do not follow from its weights"),
    "NaN bound": (lambda t, r: r["proof"].update(bound=math.nan), "do not follow"),
    "deviation": (lambda t, r: r["proof"].update(deviation=0.1), "do not follow"),
    "no proof": (lambda t, r: r.pop("proof"), "has no proof"),
    "report": (lambda t, r: r.update(training={}), "training report is damaged"),
    "copies": (lambda t, r: r["layout"].update(copies=10**9), "1000000000 copies asked for"),
    "text": (lambda t, r: r["layout"].update(distances=["1"]), "all numbers must be whole"),
    "no layout": (lambda t, r: r.update(layout={"copies": 1}), "which no frame has"),
    "other layout": (lambda t, r: r["layout"].update(distances=[3]), "the layout has"),
    "NaN": (lambda t, r: t["skews"].fill_(math.nan), "not finite"),
    "precision": (lambda t, r: t.update(skews=t["skews"].float()), "not finite numbers in float64"),
    "shape": (lambda t, r: t.update(skews=t["skews"][:1]), "the layout has"),
    "missing": (lambda t, r: t.pop("skews"), "the layout has"),
    "more": (lambda t, r: t.update(other=torch.zeros(1)), "the layout has"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_and_foreign_files_are_refused_in_one_line(name, tmp_path) -> None:
    change, message = FORGERIES[name]
    path = forged(tmp_path / "frame.safetensors", change)
    with pytest.raises(FileError, match=message) as caught:
        load_learned_frame(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_change_is_noticed_by_the_digest(tmp_path) -> None:
    for change in (
        lambda t, r: t["skews"].add_(1e-9),
        lambda t, r: r["layout"].update(distances=[1, 1]),
    ):
        path = forged(tmp_path / "x.safetensors", change, renewed=False)
        with pytest.raises(FileError, match="changed after it was written"):
            load_learned_frame(path)


def test_files_of_others_are_refused(tmp_path) -> None:
    write_tensors(tmp_path / "x", {"w": torch.zeros(3)}, {})
    for path in (tmp_path / "x", weights_file(tmp_path)):
        with pytest.raises(FileError, match="another program or kind; a firenet learned frame is"):
            load_learned_frame(path)
    torch.save({"skews": torch.zeros(3)}, tmp_path / "y")
    with pytest.raises(FileError, match="is not a safetensors file"):
        load_learned_frame(tmp_path / "y")


def test_a_constant_follows_whatever_the_weights_are_changed_to(tmp_path) -> None:
    """No proof depends on the digest: of any parameters frame and constant are proven anew."""
    path = forged(tmp_path / "x", lambda t, r: t["skews"].mul_(50))
    loaded = load_learned_frame(path)
    assert float(loaded.deviation) < 1e-13
    assert loaded.network(2, SMALL).sparsifier.is_parseval


def test_what_does_not_fit_is_refused() -> None:
    for options in ({"preset": "coherent"}, {"preset": "paper"}, {"sparsifier": "tv"}):
        (name,) = options
        with pytest.raises(UsageError, match=f"{name}: a learned frame"):
            LearnedSparsity(ONE).network(2, (8, 8), NetworkOptions(**options))
    with pytest.raises(UsageError, match="2D images"):
        LearnedSparsity(ONE).network(2, (8, 8, 8))
    wrong = [{"copies": 0}, {"copies": 1.5}, {"distances": ()}, {"distances": (-1,)}]
    wrong += [{"distances": (20,)}, {"distances": (0,) * 1000}, {"groups": (1, 2)}]
    for values in (*wrong, {"coherent": True}):
        with pytest.raises(UsageError):
            FrameLayout(**values)


def test_weights_stay_positive_and_one_for_a_group() -> None:
    weights = learned(EUCLIDEAN, 1000.0).network(2, SMALL).weights
    assert bool((weights > 0).all())
    assert bool(torch.isfinite(weights).all())
    for part in weights.split((1, 3, 5)):
        assert torch.equal(part, part[:1].expand_as(part))
    assert np.allclose(LearnedSparsity(ONE).weights().flatten().detach(), [0.5, *[1.0] * 8])
