"""Certificates hold: the gap bounds the true gap, the Lipschitz bound bounds every Jacobian."""

from __future__ import annotations

import json
import math
import re
from functools import partial

import cvxpy
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jacobians import jacobian_of_batches, norm_of, solution_of
from torch import Tensor

from firenet_mri import (
    FIRENET,
    AdaptiveSchedule,
    NetworkSchedule,
    PaperSchedule,
    SquareRootLasso,
)
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.certificate import Certificate, certify
from firenet_mri.firenet.certificate.gap import ProvenGap, gap_entry
from firenet_mri.firenet.dual import DualPoint
from firenet_mri.firenet.primal_dual import State
from firenet_mri.firenet.verification import verify_on_scan
from firenet_mri.operators import (
    CartesianFourier,
    MatrixOperator,
    OrthogonalWavelet,
    StationaryWavelet,
)
from firenet_mri.reconstruction.certify import certify_solution


def small_problem(seed: int, complex_data: bool = True) -> tuple[MatrixOperator, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.complex128 if complex_data else torch.float64
    matrix = torch.randn(10, 16, dtype=dtype, generator=generator) / 3
    truth = torch.zeros(16, dtype=dtype)
    truth[torch.randperm(16, generator=generator)[:3]] = 1
    y = matrix @ truth + 0.05 * torch.randn(10, dtype=dtype, generator=generator)
    return MatrixOperator(matrix, float(torch.linalg.matrix_norm(matrix, 2))), y


def sparsifiers() -> dict[str, object]:
    return {
        "identity": None,
        "unitary": OrthogonalWavelet("haar", 2, (16,)),
        "frame": StationaryWavelet(2, (16,)),
    }


def accurate_minimum(problem: SquareRootLasso, y: Tensor) -> float:
    """Return min F to nine digits, by an interior-point method."""
    x = cvxpy.Variable(16, complex=True)
    w = np.eye(16)
    if problem.sparsifier is not None:
        columns = problem.sparsifier(torch.eye(16, dtype=torch.complex128))
        w = columns.flatten(1).T.numpy()
    residual = problem.encoding.matrix.numpy() @ x - y.numpy()
    objective = problem.lam * cvxpy.sum(cvxpy.abs(w @ x)) + cvxpy.norm(residual)
    tight = {f"tol_{name}": 1e-11 for name in ("gap_abs", "gap_rel", "feas")}
    return float(cvxpy.Problem(cvxpy.Minimize(objective)).solve(solver="CLARABEL", **tight))


@pytest.mark.parametrize("name", sparsifiers())
def test_certified_gap_is_at_least_the_true_gap_and_closes(name) -> None:
    encoding, y = small_problem(1)
    minimum = accurate_minimum(FIRENET(sparsifiers()[name], 0.1).problem(encoding), y)
    for schedule in (PaperSchedule(), NetworkSchedule(10), NetworkSchedule(1000, decay=1.0)):
        net = FIRENET(sparsifiers()[name], 0.1, schedule=schedule)
        certificate = certify(net, y, encoding, net.solve(y, encoding))
        true_gap = certificate.objective[0] - minimum
        assert certificate.duality_gap[0] >= true_gap - 1e-8 * minimum
        assert certificate.lower_bound[0] <= minimum * (1 + 1e-8)
    # The last schedule runs to convergence: a bound that never gets tight would pass all else.
    assert certificate.relative_gap[0] < 1e-4


@given(seed=st.integers(0, 10_000), lam=st.floats(1e-3, 10), scale=st.floats(1e-6, 1e6))
def test_gap_of_any_point_and_dual_is_never_negative(seed, lam, scale) -> None:
    encoding, y = small_problem(seed % 50)
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return scale * torch.randn(*shape, dtype=torch.complex128, generator=generator)

    for sparsifier in sparsifiers().values():
        problem = SquareRootLasso(encoding, sparsifier, lam=lam)
        q = None if problem.is_synthesis else draw(3, 16)
        x, v = draw(16), draw(10)
        gap = problem.duality_gap(x, y, v, q)
        assert gap >= -1e-12 * problem.objective(x, y)
        if q is not None:
            tight = problem.tighten_dual(v, q, 3)
            assert problem.duality_gap(x, y, v, tight) >= -1e-12 * problem.objective(x, y)


@pytest.mark.parametrize("name", sparsifiers())
@pytest.mark.parametrize("lam", [1e-3, 1.0, 100.0])
def test_long_dual_vectors_are_scaled_into_the_unit_ball(name, lam) -> None:
    """min F <= F(0) = ||y||, so no lower bound may exceed ||y||, however long v is."""
    encoding, y = small_problem(3)
    problem = SquareRootLasso(encoding, sparsifiers()[name], lam=lam)
    for length in (1e-3, 1.0, 1e3):
        bound = problem.dual_value(-length * y / y.norm(), y)
        assert bound <= y.norm() * (1 + 1e-12)
    if lam == 100.0:
        # Here x = 0 is optimal and this v proves it.
        assert bound == pytest.approx(float(y.norm()))


def test_tightening_improves_the_bound_of_the_analysis_form() -> None:
    encoding, y = small_problem(4)
    net = FIRENET(StationaryWavelet(2, (16,)), 0.1, schedule=NetworkSchedule(20))
    x, v, q, *_ = net.solve(y, encoding)
    problem = net.problem(encoding)
    rough, fine = (
        problem.duality_gap(x, y, v, problem.tighten_dual(v, q, n)).item() for n in (0, 20)
    )
    assert 0 < fine < 0.9 * rough


def test_objective_is_its_formula() -> None:
    encoding, y = small_problem(0)
    weights = torch.linspace(0.5, 2, 16, dtype=torch.float64)
    x = torch.randn(16, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    expected = 0.3 * (weights * x.abs()).sum() + (encoding.matrix @ x - y).norm()
    assert SquareRootLasso(encoding, None, weights, 0.3).objective(x, y) == pytest.approx(expected)


@pytest.mark.parametrize("name", sparsifiers())
@pytest.mark.parametrize("eps0", [None, 2.0])
@pytest.mark.parametrize(("restarts", "inner"), [(1, 2), (5, 5)])
def test_jacobian_never_exceeds_the_lipschitz_bounds(name, eps0, restarts, inner) -> None:
    largest = 0.0
    for seed in range(4):
        encoding, y = small_problem(seed, complex_data=bool(seed % 2))
        schedule = PaperSchedule(restarts=restarts, inner=inner, eps0=eps0)
        net = FIRENET(sparsifiers()[name], 0.02, schedule=schedule)
        certificate = certify(net, y, encoding, net.solve(y, encoding))
        assert certificate.lipschitz_bound is not None
        assert certificate.lipschitz_bound_at_data is not None
        norm = norm_of(jacobian_of_batches(partial(net, encoding=encoding), y))
        assert norm <= certificate.lipschitz_bound_at_data[0] * (1 + 1e-9)
        assert certificate.lipschitz_bound_at_data[0] <= certificate.lipschitz_bound * (1 + 1e-9)
        largest = max(largest, norm / certificate.lipschitz_bound_at_data[0])
    # A bound far from every Jacobian would be a bound of something else.
    assert largest > 0.05


def test_lipschitz_bound_is_that_of_the_schedule() -> None:
    encoding, y = small_problem(1)
    free = FIRENET(lam=0.1)
    certificate = certify(free, y, encoding, free.solve(y, encoding))
    fixed = free.lipschitz_bound(encoding)
    assert fixed == pytest.approx(4.2702 / encoding.norm_bound, rel=1e-4)
    assert certificate.lipschitz_bound == pytest.approx(math.sqrt(2) * fixed)
    scaled = FIRENET(lam=0.1, schedule=PaperSchedule(eps0=2.0))
    certificate = certify(scaled, y, encoding, scaled.solve(y, encoding))
    assert certificate.lipschitz_bound == pytest.approx(fixed)


def test_bound_at_the_data_adds_the_radial_direction() -> None:
    encoding, y = small_problem(1)
    net = FIRENET(lam=0.1)
    state = net.solve(y, encoding)
    certificate = certify(net, y, encoding, state)
    expected = math.hypot(net.lipschitz_bound(encoding), float(state.x.norm() / y.norm()))
    assert certificate.lipschitz_bound_at_data == pytest.approx((expected,))


def test_what_is_not_proven_is_said() -> None:
    encoding, y = small_problem(1)
    net = FIRENET(lam=0.1, schedule=AdaptiveSchedule(1e-2))
    certificate = certify(net, y, encoding, net.solve(y, encoding))
    assert certificate.lipschitz_bound is None
    assert certificate.lipschitz_bound_at_data is None
    assert "not certified" in certificate.sentence()
    assert certificate.relative_gap[0] <= 1e-2 * (1 + 1e-6)


def test_start_image_without_fixed_scale_is_not_certified() -> None:
    encoding, y = small_problem(1)
    x0 = torch.ones(16, dtype=torch.complex128)
    for eps0, certified in ((None, False), (1.0, True)):
        net = FIRENET(lam=0.1, schedule=PaperSchedule(eps0=eps0))
        state = net.solve(y, encoding, x0)
        certificate = certify(net, y, encoding, state, x0=x0)
        assert (certificate.lipschitz_bound is not None) is certified


def test_certificate_is_json_and_joins_items() -> None:
    encoding, y = small_problem(1)
    net = FIRENET(lam=0.1)
    batch = torch.stack([y, 2 * y])
    both = certify(net, batch, encoding, net.solve(batch, encoding))
    single = [certify(net, item, encoding, net.solve(item, encoding)) for item in batch]
    joined = Certificate.join(single)
    assert joined.objective == pytest.approx(both.objective)
    assert joined.lipschitz_bound_at_data == pytest.approx(both.lipschitz_bound_at_data)
    loaded = json.loads(json.dumps(joined.to_dict(), allow_nan=False))
    assert loaded["scope"].startswith("This certificate is about")
    assert "true to the anatomy" in loaded["scope"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"lam": 0.0}, UsageError),
        ({"lam": float("inf")}, UsageError),
        ({"weights": torch.tensor([1.0, 0.0])}, UsageError),
        ({"sparsifier": MatrixOperator(torch.eye(16))}, UsageError),
        ({"sparsifier": OrthogonalWavelet("haar", 1, (8,))}, ShapeError),
    ],
)
def test_problems_that_make_no_sense_are_refused(arguments, error) -> None:
    encoding, _ = small_problem(0)
    with pytest.raises(error):
        SquareRootLasso(encoding, **arguments)


def test_certificate_of_all_zero_data_is_finite() -> None:
    encoding = CartesianFourier(None, (16,))
    net = FIRENET(StationaryWavelet(2, (16,)), 0.1)
    y = torch.zeros(16, dtype=torch.complex64)
    certificate = certify(net, y, encoding, net.solve(y, encoding))
    assert certificate.duality_gap == (0.0,)
    assert certificate.relative_gap == (0.0,)


def two_certificates() -> list[Certificate]:
    """Return those of two items, one of which has a Lipschitz bound and a measured gain."""
    encoding, y = small_problem(1)
    net, adaptive = FIRENET(lam=0.1), FIRENET(lam=0.1, schedule=AdaptiveSchedule(1e-2))
    first = certify_solution(solution_of(net, y, encoding), jacobian=True).certificate
    second = certify(adaptive, 2 * y, encoding, adaptive.solve(2 * y, encoding))
    return [first, second]


def test_every_entry_is_marked_and_says_what_it_means() -> None:
    certificate = two_certificates()[0]
    marks = {entry.name: entry.status for entry in certificate.entries}
    assert marks == {
        "duality_gap": "proven",
        "maps_1_percent": "proven",
        "lipschitz_bound": "proven",
        "lipschitz_bound_of_samples": "proven",
        "relative_lipschitz_bound": "proven",
        "measured_gain": "measured",
        "jacobian_at_data": "verified on this scan",
        "image_with_maps_1_percent": "proven",
        "encoding": "assumed",
        "arithmetic": "assumed",
    }
    assert all(len(entry.statement) > 40 for entry in certificate.entries)
    assert len(certificate.assumptions) == 2


def test_measured_gain_and_proven_bound_are_a_bracket() -> None:
    certificate = two_certificates()[0]
    assert certificate.measured_gain is not None
    assert certificate.lipschitz_bound_at_data is not None
    assert 0.1 < certificate.measured_gain[0] < certificate.lipschitz_bound_at_data[0]


def test_printed_bounds_are_bounds_that_hold() -> None:
    certificate = two_certificates()[0]
    upper, lower = (certificate.lookup("jacobian_at_data", side)[0] for side in ("upper", "lower"))
    numbers = {
        r"within ([\d.e+-]+) %": 100 * certificate.relative_gap[0],
        r"at most ([\d.e+-]+) times its size": certificate.lipschitz_bound,
        r"at most ([\d.e+-]+) % of itself": certificate.percent_per_percent[0],
        r"amplified at most ([\d.e+-]+) times": upper,
        r"that is amplified ([\d.e+-]+) times": lower,
    }
    for pattern, value in numbers.items():
        (printed,) = re.findall(pattern, certificate.sentence())
        assert float(printed) == pytest.approx(value, rel=0.1)
        assert (float(printed) >= value) != ("that is" in pattern)


def test_what_holds_for_some_items_is_not_said_of_all() -> None:
    joined = Certificate.join(two_certificates())
    assert joined.items == 2
    assert len(joined.duality_gap) == 2
    assert joined.lipschitz_bound is None
    assert joined.measured_gain is None
    assert "not certified" in joined.sentence()
    bounds = [entry for entry in joined.entries if entry.name == "lipschitz_bound"]
    assert [(entry.status, entry.items) for entry in bounds] == [
        ("proven", (0,)),
        ("not verified", (1,)),
    ]
    assumed = [entry for entry in joined.entries if entry.status == "assumed"]
    assert [entry.items for entry in assumed] == [(0, 1), (0, 1)]


def test_lipschitz_bound_of_several_items_is_the_largest() -> None:
    encoding, y = small_problem(1)
    small = MatrixOperator(encoding.matrix / 2, encoding.norm_bound / 2)
    net = FIRENET(lam=0.1)
    both = [certify(net, y, one, net.solve(y, one)) for one in (encoding, small)]
    assert both[1].lipschitz_bound == pytest.approx(2 * both[0].lipschitz_bound)
    assert Certificate.join(both).lipschitz_bound == both[1].lipschitz_bound


def test_certificate_comes_back_from_json() -> None:
    certificate = Certificate.join(two_certificates())
    again = Certificate.from_dict(json.loads(json.dumps(certificate.to_dict(), allow_nan=False)))
    assert again == certificate


def changed(data: dict, *path: object, value: object = None) -> dict:
    """Return a copy of plain data with one value replaced, or removed."""
    copied = json.loads(json.dumps(data))
    inside = copied
    for key in path[:-1]:
        inside = inside[key]
    if value is None:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return copied


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("version",), 3, "version 3"),
        (("version",), None, "version None"),
        (("entries",), None, "damaged"),
        (("entries",), "none", "damaged"),
        (("entries", 0, "values", "objective"), None, "contradicts itself"),
        (("entries", 0, "values", "objective"), [1.0, 2.0], "1 finite number"),
        (("entries", 0, "values", "objective"), [float("nan")], "1 finite number"),
        (("entries", 0, "values", "objective"), ["much"], "damaged"),
        (("entries", 0, "status"), "certain", "is not a status"),
        (("entries", 0, "colour"), "red", "damaged"),
        (("entries", 0, "values", "duality_gap"), [1e-9], "contradicts itself"),
        (("relative_gap",), [0.0], "contradicts itself"),
        (("sentence",), "All is well.", "contradicts itself"),
        (("items",), 2, "contradicts itself"),
        (("digests",), {"kspace": "0"}, "damaged"),
    ],
)
def test_plain_data_that_are_no_certificate_are_refused(path, value, said) -> None:
    data = two_certificates()[0].to_dict()
    with pytest.raises(DataError, match=said):
        Certificate.from_dict(changed(data, *path, value=value))


@pytest.mark.parametrize(
    "name", ["identity", *(pytest.param(n, marks=pytest.mark.slow) for n in ("unitary", "frame"))]
)
def test_more_layers_for_the_dual_tighten_the_gap_and_keep_it_true(name) -> None:
    encoding, y = small_problem(2)
    batch = torch.stack([y, 1e3 * y.roll(1)])
    net = FIRENET(sparsifiers()[name], 0.1, schedule=NetworkSchedule(10))
    state = net.solve(batch, encoding)
    rough = certify(net, batch, encoding, state)
    tight = certify(net, batch, encoding, state, dual_layers=200)
    assert tight.objective == rough.objective
    for item, data in enumerate(batch):
        minimum = accurate_minimum(net.problem(encoding), data)
        assert minimum * (1 - 1e-3) < tight.lower_bound[item] <= minimum * (1 + 1e-8)
        assert tight.duality_gap[item] < 0.95 * rough.duality_gap[item]


@pytest.mark.parametrize("name", sparsifiers())
def test_what_is_verified_on_a_scan_is_entered_with_its_numbers(name) -> None:
    encoding, y = small_problem(2)
    net = FIRENET(sparsifiers()[name], 0.5)
    entries = verify_on_scan(net, y, encoding, net.solve(y, encoding))
    certificate = certify(net, y, encoding, net.solve(y, encoding)).with_entries(*entries)
    marks = {entry.name: entry.status for entry in entries}
    assert list(marks) == ["localisation", "recovery", "stability_of_the_optimum"]
    assert set(marks.values()) <= {"verified on this scan", "not verified"}
    for entry in entries:
        assert bool(entry.values) == (entry.status == "verified on this scan")
        assert "1e-09" in entry.limits or entry.status == "not verified"
    if name == "frame":
        assert marks["recovery"] == "not verified"
    assert Certificate.from_dict(json.loads(json.dumps(certificate.to_dict()))) == certificate


def test_radius_that_says_nothing_is_called_so() -> None:
    encoding, y = small_problem(2)
    net = FIRENET(lam=0.3)
    x, v, *_ = net.solve(y, encoding)
    noisy = x + torch.randn(16, dtype=x.dtype, generator=torch.Generator().manual_seed(0))
    recovery = verify_on_scan(net, y, encoding, State(noisy, v))[1]
    if recovery.status == "verified on this scan":
        assert recovery.values["radius_of_image"][0] > 1
        assert "says nothing about the image" in recovery.statement
    else:
        assert "could not be verified" in recovery.statement


def test_a_bound_above_the_objective_by_rounding_is_a_gap_of_zero() -> None:
    one = torch.ones(1, dtype=torch.float64)
    point = DualPoint(one, one, None, one)
    values = gap_entry(ProvenGap(one, one + 1e-12, point), (0,)).values
    assert values["duality_gap"] == values["relative_gap"] == (0.0,)
    assert values["lower_bound"] == values["objective"] == (1.0,)
