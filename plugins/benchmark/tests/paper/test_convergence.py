"""The convergence experiment shows what it says: gaps to a proven optimum, errors to the truth."""

from __future__ import annotations

import csv
import json
import math

import cvxpy
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch

from firenet_benchmark.paper.convergence import (
    Problem,
    convergence,
    figure,
    optimum,
    simulated_problem,
)
from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.operators import MatrixOperator
from firenet_mri.phantoms import shepp_logan


@pytest.fixture
def small() -> Problem:
    """An invertible system, for which few inner iterations suffice."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 8, dtype=torch.complex128, generator=generator)
    matrix = torch.linalg.qr(matrix)[0] * torch.linspace(1, 0.8, 8)
    truth = torch.zeros(8, dtype=torch.complex128)
    truth[2], truth[5] = 1j, 2.0
    noise = torch.randn(12, dtype=torch.complex128, generator=generator)
    weights = torch.linspace(0.5, 2, 8, dtype=torch.float64)
    encoding = MatrixOperator(matrix, norm_bound=1.0)
    y = matrix @ truth + 0.01 * noise
    return Problem("small", encoding, None, weights, 0.1, y, truth)


def solve(problem: Problem) -> tuple[float, np.ndarray]:
    """Minimum and minimiser by an interior-point method."""
    matrix, y = problem.encoding.matrix.numpy(), problem.y.numpy()
    x = cvxpy.Variable(matrix.shape[1], complex=True)
    penalty = cvxpy.sum(cvxpy.multiply(problem.weights.numpy(), cvxpy.abs(x)))
    task = cvxpy.Problem(cvxpy.Minimize(problem.lam * penalty + cvxpy.norm(matrix @ x - y)))
    return task.solve(solver="CLARABEL"), x.value


def test_optimum_is_that_of_a_convex_solver(small) -> None:
    image, best = optimum(small, relative_gap=1e-7)
    value, minimiser = solve(small)
    assert best.objective == pytest.approx(value, rel=1e-6)
    assert best.objective >= value * (1 - 1e-7)
    assert best.objective - best.gap <= value * (1 + 1e-7)
    assert best.gap <= 1e-7 * value * (1 + 1e-6)
    assert np.linalg.norm(image.numpy() - minimiser) < 3e-3
    truth = small.truth.numpy()
    error = np.linalg.norm(minimiser - truth) / np.linalg.norm(truth)
    assert best.error == pytest.approx(error, rel=3e-3)


def test_gaps_fall_as_the_theorem_promises_where_p_suffices(small) -> None:
    (curve,) = convergence(small, (20,), iterations=160)
    assert len(curve.gap) == len(curve.error) == len(curve.eps) == 160
    size = float(small.truth.norm())
    for k in range(1, 9):
        eps = math.exp(-k) * float(small.y.norm()) / size
        assert curve.eps[20 * k - 1] == pytest.approx(eps, abs=1e-9)
        assert -curve.optimum.gap / size <= curve.gap[20 * k - 1] <= eps
    assert all(fall < math.exp(-1) for fall in curve.falls[:4])
    assert curve.error[-1] == pytest.approx(curve.optimum.error, abs=1e-3)


def test_curves_are_those_of_the_networks_iterates(small) -> None:
    """Objective and error of every iterate, in numpy."""
    (curve,) = convergence(small, (4,), iterations=8)
    net = FIRENET(None, small.lam, small.weights, PaperSchedule(restarts=2, inner=4))
    matrix, y, truth = (t.numpy() for t in (small.encoding.matrix, small.y, small.truth))
    size = np.linalg.norm(truth)
    for j, (_, _, x) in enumerate(net.iterates(small.y, small.encoding)):
        c = x.numpy()
        F = small.lam * (small.weights.numpy() * abs(c)).sum() + np.linalg.norm(matrix @ c - y)
        assert curve.gap[j] == pytest.approx((F - curve.optimum.objective) / size)
        assert curve.error[j] == pytest.approx(np.linalg.norm(c - truth) / size)
    assert curve.falls == (curve.gap[7] / curve.gap[3],)


def test_few_inner_iterations_end_on_a_plateau_that_p_sets() -> None:
    problem = simulated_problem("phantom", shepp_logan(32), "fourier", rate=0.4)
    few, many = convergence(problem, (5, 20), iterations=100)
    assert few.falls[0] < math.exp(-1)
    assert few.gap[-1] == pytest.approx(few.gap[70], rel=0.05)
    assert few.gap[-1] > 100 * few.eps[-1]
    assert many.gap[-1] < few.gap[-1] / 2
    assert few.optimum.gap <= 1e-5 * few.optimum.objective


@pytest.mark.parametrize("transform", ["fourier", "walsh"])
def test_simulated_data_have_the_stated_rate_and_noise(transform) -> None:
    image = shepp_logan(64)
    problem = simulated_problem("phantom", image, transform, rate=0.25, noise=0.02, seed=3)
    clean = problem.encoding(image.to(torch.complex128))
    noise = problem.y - clean
    assert float(noise.norm() / clean.norm()) == pytest.approx(0.02)
    assert int((noise != 0).sum()) == 64 * 64 // 4
    assert float(noise.real.norm() / noise.imag.norm()) == pytest.approx(1, abs=0.1)
    assert problem.name == f"phantom, {transform.capitalize()}"
    again = simulated_problem("phantom", image, transform, rate=0.25, noise=0.02, seed=3)
    assert torch.equal(problem.y, again.y)
    other = simulated_problem("phantom", image, transform, rate=0.25, noise=0.02, seed=4)
    assert not torch.equal(problem.y, other.y)


def test_figure_names_problems_and_curves(small) -> None:
    drawing = figure(convergence(small, (3, 6), iterations=12), title="a title")
    gaps, errors = drawing.axes
    assert gaps.get_title() == "small"
    for axis in (gaps, errors):
        assert {"p = 3", "p = 6"} <= {text.get_text() for text in axis.texts}
    assert len(gaps.lines) >= 4


def test_without_a_truth_gaps_are_shown_alone(small) -> None:
    from dataclasses import replace

    (curve,) = convergence(replace(small, truth=None), (5,), iterations=7)
    assert curve.error == ()
    assert curve.optimum.error is None
    assert len(curve.gap) == 10
    assert len(figure([curve], title="").axes) == 1
    assert [row["relative_error"] for row in curve.rows()] == [None] * 10
    assert [row["restart"] for row in curve.rows()] == [1] * 5 + [2] * 5


def test_bad_numbers_are_refused(small) -> None:
    with pytest.raises(UsageError, match="iterations is 0"):
        convergence(small, (5,), iterations=0)
    with pytest.raises(UsageError, match="inner is 0"):
        convergence(small, (0,))
    with pytest.raises(UsageError, match="noise is -1"):
        simulated_problem("phantom", shepp_logan(8), "fourier", noise=-1)


@pytest.mark.slow
def test_command_writes_figure_and_tables(firenet, tmp_path, capsys) -> None:
    np.save(tmp_path / "head.npy", np.random.default_rng(0).random((20, 15)))
    options = "--size 16 --rate .5 --lam .01 --iterations 10 --inner 3 --inner 5"
    folder, head = tmp_path / "out", tmp_path / "head.npy"
    assert firenet("paper", "convergence", "-o", folder, "--image", head, *options.split()) == 0
    assert (tmp_path / "out/convergence.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "out/convergence.csv").open() as table:
        rows = list(csv.DictReader(table))
    known = [row for row in rows if row["problem"] == "known constants"]
    assert len(rows) - len(known) == 4 * (12 + 10)
    assert {row["problem"] for row in rows} - {"known constants"} == {
        "phantom, Fourier",
        "phantom, Walsh",
        "head, Fourier",
        "head, Walsh",
    }
    report = json.loads((tmp_path / "out/convergence.json").read_text())
    assert report["settings"]["simulated"] is True
    assert report["settings"]["optimum"]["head, Walsh"]["certified_gap"] >= 0
    promised = report["settings"]["known_constants"]
    assert promised["gap_below_eps_at_every_restart"] is True
    assert len(known) == promised["inner"] * promised["restarts"] + 150 * 5
    ends = [
        row for row in known if int(row["inner_iteration"]) == promised["layers_of_the_theorem"][-1]
    ]
    assert float(ends[0]["objective_gap_over_image_norm"]) < 1e-12
    assert float(rows[0]["relative_error"]) == report["rows"][0]["relative_error"]
    said = capsys.readouterr().out
    assert "proven to within" in said
    assert "The gap is below eps_k at every restart" in said
    assert "convergence.png" in said


def test_command_takes_a_scan_and_says_whether_it_is_simulated(firenet, tmp_path, capsys) -> None:
    maps, image = sigpy.mri.birdcage_maps((4, 32, 32)), sigpy.shepp_logan((32, 32))
    kspace = sigpy.fft(maps * image, axes=(-2, -1)).astype(np.complex64)
    np.save(tmp_path / "scan.npy", kspace)
    options = "--lam .01 --iterations 5 --inner 5"
    scan = tmp_path / "scan.npy"
    assert firenet("paper", "convergence", "-o", tmp_path, "--scan", scan, *options.split()) == 0
    report = json.loads((tmp_path / "convergence.json").read_text())
    assert report["settings"]["simulated"] is False
    rows = [row for row in report["rows"] if row["problem"] != "known constants"]
    assert {row["problem"] for row in rows} == {"scan.npy"}
    assert [row["relative_error"] for row in rows] == [None] * 5
    assert "error of the minimiser" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ("--size 24", 2, "powers of two"),
        ("--size 16 --rate 0", 2, "rate is 0"),
        ("--size 16 --inner 0", 2, "inner is 0"),
        ("--size 16 --lam -1", 2, "lam is -1"),
        ("--scan a.h5 --image b.npy", 2, "give one of them"),
        ("--scan missing.h5", 1, "missing.h5: no such file"),
        ("--size 16 --image missing.npy", 1, "missing.npy: no such file"),
    ],
)
def test_bad_input_gets_one_line(
    firenet, arguments, status, said, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert firenet("paper", "convergence", *arguments.split()) == status
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("firenet: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not list(tmp_path.rglob("convergence.*"))
