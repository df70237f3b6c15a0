"""The count of operator pairs: right problems, right counts, right files."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from firenet_benchmark.schedules import (
    Result,
    compare,
    make_cases,
    on_grid,
    optimum,
    phantom,
    plot,
)
from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import ShapeError, UsageError

# Experiments that take many seconds each.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def case():
    return make_cases(32, None)[1]


@pytest.fixture(scope="module")
def compared(case):
    return compare(case, pairs=120)


def test_problems_are_those_that_are_described() -> None:
    image = torch.rand(40, 20, generator=torch.Generator().manual_seed(0))
    cases = make_cases(32, image)
    names = [case.name for case in cases]
    assert names == [
        "phantom, lam 0.00025",
        "image, lam 0.00025",
        "phantom, lam 0.004",
        "image, lam 0.004",
        "6 coils, lam 0.0005",
    ]
    for case in cases[:4]:
        sampled = case.y != 0
        assert int(sampled.sum()) == round(0.15 * 32 * 32)
    again = make_cases(32, image)
    assert all(torch.equal(a.y, b.y) for a, b in zip(cases, again, strict=True))
    other = make_cases(32, image, seed=2)
    assert not torch.equal(cases[0].y, other[0].y)


def test_noise_is_two_per_cent(case) -> None:
    exact = case.problem.encoding(phantom(32))
    assert float((case.y - exact).norm() / exact.norm()) == pytest.approx(0.02)


def test_image_is_cropped_and_padded_about_its_centre() -> None:
    image = torch.zeros(40, 20)
    image[20, 10] = 3.0
    grid = on_grid(image, 32)
    assert grid.shape == (32, 32)
    assert grid[16, 16] == 1.0
    assert int((grid != 0).sum()) == 1
    with pytest.raises(ShapeError, match="give one"):
        on_grid(torch.ones(2, 8, 8), 32)


def test_optimum_is_certified(case) -> None:
    best = optimum(case, layers=800)
    assert best.relative_gap < 1e-6


def test_every_schedule_is_there_and_none_beats_the_optimum(compared) -> None:
    best, results = compared
    names = {result.schedule for result in results}
    assert {"paper, p = 5", "network, default", "radial, alpha", "adaptive"} <= names
    assert sum("Chambolle-Pock" in name for name in names) == 6
    for result in results:
        assert min(result.gaps) >= 0
        assert list(result.gaps) == sorted(result.gaps, reverse=True)
        assert result.pairs[-1] <= 121
    assert best.relative_gap < 1e-4


def test_gap_is_that_of_the_network_itself(case, compared) -> None:
    best, results = compared
    paper = next(result for result in results if result.schedule == "paper, p = 10")
    problem = case.problem
    net = FIRENET(problem.sparsifier, problem.lam, problem.weights, PaperSchedule(12, 10))
    objective = float(problem.objective(net(case.y, problem.encoding), case.y))
    assert paper.pairs[-1] == net.depth
    assert paper.gaps[-1] <= objective / best.objective - 1 + 1e-12
    values = [
        float(problem.objective(x, case.y)) for *_, x in net.iterates(case.y, problem.encoding)
    ]
    assert paper.gaps[-1] == pytest.approx(min(values) / best.objective - 1, rel=1e-9)


def test_pairs_to_a_gap_are_counted_from_the_curve() -> None:
    result = Result("case", "schedule", (4, 8, 12), (0.5, 0.01, 1e-5))
    assert result.pairs_to(1e-2) == 8
    assert result.pairs_to(1e-4) == 12
    assert result.pairs_to(1e-6) is None
    assert result.row()["pairs_to_1e-06"] == ""


def test_adaptive_needs_fewest_pairs_and_the_paper_stands_on_its_plateau(compared) -> None:
    _, results = compared
    least = {result.schedule: result.gaps[-1] for result in results}
    assert least["adaptive"] < least["paper, p = 5"] / 10
    assert least["adaptive"] <= least["adaptive, no relaxation"]
    five = next(result for result in results if result.schedule == "paper, p = 5")
    assert five.gaps[-1] > 0.9 * five.gaps[60]


def test_fista_finds_the_optimum_of_the_square_root_lasso() -> None:
    """The oracle's LASSO has the same minimiser; without the right parameter it would stall."""
    first = make_cases(32, None)[1]
    case = replace(first, problem=replace(first.problem, lam=0.05))
    best, results = compare(case, pairs=200)
    assert best.residual > 1e-3
    fista = [result for result in results if result.schedule.startswith("FISTA")]
    assert len(fista) == 2
    assert min(result.gaps[-1] for result in fista) < 1e-5


def test_figure_has_a_panel_for_each_problem(compared) -> None:
    _, results = compared
    axes = [axis for axis in plot(results).axes if axis.get_visible()]
    assert [axis.get_title() for axis in axes] == ["phantom, lam 0.004"]


@pytest.mark.parametrize("size", [31, 16, 48])
def test_sizes_that_do_not_work_are_refused(size) -> None:
    with pytest.raises(UsageError, match="power of two"):
        make_cases(size, None)


def test_too_few_pairs_are_refused(case) -> None:
    with pytest.raises(UsageError, match="at least 20"):
        compare(case, pairs=5)


def test_command_writes_figure_and_tables(firenet, tmp_path) -> None:
    image = tmp_path / "image.npy"
    np.save(image, np.eye(24))
    arguments = ["benchmark", "schedules", str(image), "--size", "32", "--pairs", "30"]
    assert firenet(*arguments, "-o", tmp_path / "out") == 0
    with (tmp_path / "out" / "schedules.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["problem"] for row in rows} == {case.name for case in make_cases(32, torch.eye(24))}
    report = json.loads((tmp_path / "out" / "schedules.json").read_text())
    assert report["settings"]["simulated"] is True
    assert len(report["rows"]) == len(rows)
    assert (tmp_path / "out" / "schedules.png").stat().st_size > 10_000
