"""The race against other libraries: honest verdicts, nothing lost, a baseline really run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import firenet_benchmark.speed as module
from firenet_benchmark.baselines import BASELINES, Baseline
from firenet_benchmark.problems import SpeedProblem
from firenet_benchmark.speed import Point, judge, plot, race, summarise
from firenet_mri.errors import UsageError

OURS = "FIRENET accurate"
SIGPY = "SigPy L1Wavelet"

# Experiments that take many seconds each.
pytestmark = pytest.mark.slow


def curve(problem: str, method: str, *rows: tuple[float, float]) -> list[Point]:
    """Return points of (seconds, PSNR)."""
    return [Point(problem, method, 5 * n, s, psnr, 10.0) for n, (s, psnr) in enumerate(rows, 1)]


def outcome(points: list[Point], problem: str, baseline: str) -> bool | None:
    """Return how the goal against a baseline came out."""
    (verdict,) = [
        v for v in judge(points) if (v.goal.problem, v.goal.baseline) == (problem, baseline)
    ]
    return verdict.is_met


def small_problem(folder: Path) -> SpeedProblem:
    """Return problem A of 16 x 16 pixels, and put it where a race in the folder looks for it."""
    generator = np.random.default_rng(0)
    truth = np.zeros((16, 16), np.complex64)
    truth[4:11, 5:12] = 1
    maps = np.stack([np.linspace(0.6, 0.8, 16)[:, None] * np.ones(16)] * 2).astype(np.complex64)
    maps[1] = np.sqrt(1 - maps[0].real ** 2)
    mask = generator.random((16, 16)) < 0.6
    mask[6:10, 6:10] = True
    kspace = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(maps * truth, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    problem = SpeedProblem("A", truth, maps, mask, None, (kspace * mask).astype(np.complex64))
    problem.save(folder / "speed-problem-A.npz")
    return problem


@pytest.fixture
def small(tmp_path) -> SpeedProblem:
    return small_problem(tmp_path)


class Race(NamedTuple):
    """A race that was run once: where, its points, what it reported."""

    folder: Path
    points: list[Point]
    calls: list[tuple[int, int]]


@pytest.fixture(scope="module")
def raced(tmp_path_factory) -> Race:
    folder = tmp_path_factory.mktemp("race")
    small_problem(folder)
    calls: list[tuple[int, int]] = []
    methods = ["FIRENET stable", SIGPY]
    points = race(["A"], methods, 1, folder, lambda *done: calls.append(done))
    return Race(folder, points, calls)


def test_a_goal_is_met_by_time_and_level_together() -> None:
    baseline = curve("B", "BART", (1.0, 30.0), (2.0, 36.0), (4.0, 36.05))
    # Within 0.1 dB of its best after 1.99 s: half is 0.99 s.
    assert outcome(curve("B", OURS, (0.2, 35), (0.9, 38)) + baseline, "B", "BART") is True
    assert outcome(curve("B", OURS, (0.2, 35), (1.4, 38)) + baseline, "B", "BART") is False
    assert outcome(curve("B", OURS, (0.2, 35), (0.9, 37)) + baseline, "B", "BART") is False


def test_a_goal_without_its_peer_is_not_decided() -> None:
    verdicts = judge(curve("D", OURS, (0.1, 50.0)))
    assert [verdict.is_met for verdict in verdicts] == [None]
    assert "bartorch was not run" in verdicts[0].text()


def test_a_level_is_reached_between_two_points_on_a_straight_line() -> None:
    points = curve("A", OURS, (1.0, 40.0), (3.0, 50.0), (4.0, 49.0))
    (alone,) = [verdict for verdict in judge(points) if not verdict.goal.baseline]
    assert alone.seconds == pytest.approx(1 + 2 * 0.83)
    assert alone.is_met
    assert "met" in alone.text()


def test_a_peer_below_the_level_of_the_goal_is_given_its_own_best() -> None:
    baseline = curve("A", "bartorch", (1.0, 40.0), (2.0, 44.0))
    assert outcome(curve("A", OURS, (0.1, 44.0), (0.4, 46.0)) + baseline, "A", "bartorch") is True
    assert outcome(curve("A", OURS, (0.1, 44.0), (1.9, 46.0)) + baseline, "A", "bartorch") is False


def test_the_first_network_there_stands_for_all() -> None:
    points = curve("A", OURS, (1.0, 49.0)) + curve("A", "FIRENET undecimated-haar", (0.5, 48.5))
    (alone,) = [verdict for verdict in judge(points) if not verdict.goal.baseline]
    assert (alone.method, alone.seconds) == ("FIRENET undecimated-haar", 0.5)


def test_summary_has_the_best_and_the_time_to_it() -> None:
    (row,) = summarise(curve("A", "BART", (1.0, 40.0), (2.0, 45.0), (3.0, 44.0)))
    assert row.best_psnr_db == 45.0
    assert row.seconds == pytest.approx(1.98)
    assert row.ms_an_iteration == pytest.approx(1e3 * 2 / 10)


def test_figure_draws_every_curve_where_its_numbers_are() -> None:
    points = curve("A", OURS, (0.1, 40.0), (0.2, 45.0)) + curve("B", "BART", (1.0, 30.0))
    panels = plot(points).axes
    assert [panel.get_title() for panel in panels] == [
        "problem A (simulated)",
        "problem B (simulated)",
    ]
    (line,) = panels[0].get_lines()
    assert line.get_label() == OURS
    assert line.get_xydata().tolist() == [[0.1, 40.0], [0.2, 45.0]]


def test_networks_and_a_baseline_really_run_and_both_come_near_the_truth(raced) -> None:
    assert raced.calls == [(1, 2), (2, 2)]
    for method in ("FIRENET stable", SIGPY):
        own = [point for point in raced.points if point.method == method]
        assert own[-1].psnr_db > 25
        assert all(point.seconds > 0 for point in own)
        assert all(point.peak_mib >= 0 for point in own)


def test_an_interrupted_race_resumes_where_it_was(raced, monkeypatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("was run a second time")

    monkeypatch.setattr(module, "_in_a_process", never)
    first = [point for point in raced.points if point.method == SIGPY]
    assert race(["A"], [SIGPY], 1, raced.folder) == first
    with pytest.raises(AssertionError, match="second time"):
        race(["A"], ["FIRENET accurate"], 1, raced.folder)


def test_problems_survive_their_file(small, tmp_path) -> None:
    back = SpeedProblem.load(tmp_path / "speed-problem-A.npz")
    assert back.name == "A"
    assert back.trajectory is None
    for part in ("truth", "maps", "mask", "kspace"):
        assert np.array_equal(getattr(back, part), getattr(small, part))


def test_every_baseline_has_weights_for_problems_that_exist_and_says_whether_it_is_there() -> None:
    for baseline in BASELINES:
        assert set(baseline.lambdas) <= set("ABCD")
        assert all(lam > 0 for lam in baseline.lambdas.values())
        assert not Baseline(baseline.name, "no_such_package", baseline.run, {}).is_installed()
    assert next(baseline for baseline in BASELINES if baseline.name == SIGPY).version() != "unknown"


def test_command_writes_tables_and_names_what_is_not_installed(
    firenet, small, tmp_path, monkeypatch, capsys
) -> None:
    absent = Baseline("Absent", "no_such_package", BASELINES[0].run, {"A": 1.0})
    monkeypatch.setattr(module, "BASELINES", (*BASELINES, absent))
    arguments = ["benchmark", "speed", "--problems", "A", "--methods", "FIRENET stable"]
    assert firenet(*arguments, "-o", tmp_path, "--threads", "1") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Absent is not installed; left out." in said
    assert "bartorch was not run" in said
    report = json.loads((tmp_path / "speed.json").read_text())
    assert "Absent" in report["settings"]["not_installed"]
    assert report["settings"]["simulated"] is True
    assert (tmp_path / "speed.png").stat().st_size > 0
    # What an interrupted race would need is gone.
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "speed.csv",
        "speed.json",
        "speed.png",
    ]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [("--problems", "E", "Unknown problem 'E'"), ("--methods", "Fastest", "'Fastest' is unknown")],
)
def test_unknown_names_are_one_line(firenet, option, value, says, tmp_path, capsys) -> None:
    assert firenet("benchmark", "speed", option, value, "-o", tmp_path) == 2
    assert says in capsys.readouterr().err


def test_unknown_methods_of_a_race_are_named(small, tmp_path) -> None:
    with pytest.raises(UsageError, match="Unknown method 'Fastest'"):
        race(["A"], ["Fastest"], 1, tmp_path)
