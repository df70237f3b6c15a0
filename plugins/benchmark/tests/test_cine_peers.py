"""Other libraries over time: what is asked of them, how their weights are found, what they need."""

from __future__ import annotations

import shutil
import sys
import time

import pytest
import torch

from firenet_benchmark.cine import peers, tuning, worker
from firenet_benchmark.cine.edge import Edge
from firenet_benchmark.cine.phantom import simulated_series
from firenet_benchmark.cine.problem import cine_problem, coil_maps
from firenet_mri import RawScan
from firenet_mri.errors import DataError
from firenet_mri.metrics import psnr
from firenet_mri.operators import encoding_operator

MIB = 1 << 20


def trial_of(best: float, width: float = 1.0):
    """Return trials whose PSNR is a parabola over the weight's logarithm, and their weights."""
    tried: list[float] = []

    def trial(weight: float) -> tuning.Trial:
        tried.append(weight)
        octaves = float(torch.log2(torch.tensor(weight / best)))
        run = worker.Run(worker.Found(torch.zeros(1)), 0.0, 0.0, None)
        edge = Edge(width * weight, 1.0)
        return tuning.Trial(weight, 40 - octaves**2, edge, torch.zeros(1), run)

    return trial, tried


@pytest.mark.parametrize("start", [2.0**-9, 2.0**-6, 2.0**-5, 2.0**-2])
def test_the_best_weight_is_found_from_both_sides_and_passed_on_both(start) -> None:
    trial, tried = trial_of(2.0**-6)
    trials = tuning.climb(trial, start, None)
    assert tuning.best_of(trials).weight == 2.0**-6
    weights = [one.weight for one in trials]
    assert weights == sorted(tried)
    assert weights[0] <= 2.0**-7
    assert weights[-1] >= 2.0**-5
    assert len(set(tried)) == len(tried) <= abs(torch.log2(torch.tensor(start)) + 6) + 3


def test_the_edge_at_a_psnr_is_the_narrowest_of_the_weights_that_have_it() -> None:
    trial, _ = trial_of(1.0)
    trials = tuning.climb(trial, 1.0, 37.5)
    # 39 dB at 1/2 and 36 dB at 1/4: half way between them.
    assert [one.weight for one in trials] == [0.25, 0.5, 1, 2]
    assert tuning.width_at(trials, 37.5) == pytest.approx((0.5 + 0.25) / 2)
    assert tuning.width_at(trials, 39.5) == pytest.approx((0.5 + 1) / 2)
    # More than any weight has.
    assert tuning.width_at(trials, 41.0) == 1.0
    # From the other side, where that is narrower.
    mirrored = [one._replace(edge=Edge(1 / one.weight, 1.0)) for one in trials]
    assert tuning.width_at(mirrored, 39.5) == pytest.approx((0.5 + 1) / 2)
    # Not reached within the halvings that are allowed.
    trials = tuning.climb(trial, 1.0, -1000.0)
    assert tuning.width_at(trials, -1000.0) == trials[0].weight == 2.0**-6
    still = [one._replace(edge=None) for one in trials]
    assert tuning.width_at(still, 37.5) is None


def one_coil(images: torch.Tensor) -> tuple[RawScan, torch.Tensor]:
    """Return a fully sampled scan of frames, and its map, which is 1."""
    mask = torch.ones(len(images), 1, *images.shape[1:], dtype=torch.bool)
    maps = torch.ones(1, *images.shape[1:], dtype=torch.complex64)
    kspace = encoding_operator(mask, maps)(images)
    return RawScan(kspace[:, None], mask[:, None], 2), maps


def test_sigpy_finds_the_minimiser_of_total_variation_over_two_frames() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, 8, 8, dtype=torch.complex64, generator=generator)
    weight, largest = 0.05, float(images.abs().max())
    found = peers._sigpy(*one_coil(images), 1, weight).image
    # 1/2 |x_0 - y_0|^2 + 1/2 |x_1 - y_1|^2 + 2 lam |x_1 - x_0|, the ends being neighbours: the mean
    # stays, and the difference shrinks by 4 lam.
    difference = images[1] - images[0]
    size = difference.abs()
    shrunk = difference * (1 - 4 * weight * largest / size).clamp(min=0)
    expected = torch.stack([images.sum(0) - shrunk, images.sum(0) + shrunk]) / 2
    torch.testing.assert_close(found, expected, atol=2e-3 * largest, rtol=0)


def test_mrpro_finds_what_sigpy_finds() -> None:
    pytest.importorskip("mrpro")
    problem = cine_problem("abrupt", 0, frames=12, size=32, coils=3, acceleration=2)
    maps = torch.ones(3, 32, 32, dtype=torch.complex64) / 3**0.5
    one, other = (run(problem.scan, maps, 1, 0.01).image for run in (peers._sigpy, peers._mrpro))
    # Its ends are no neighbours, and real and imaginary parts count apart.
    assert psnr(one.abs(), other.abs()) > 35


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_bart_sees_the_frames_as_its_axis_of_time() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(3, 16, 16, dtype=torch.complex64, generator=generator)
    scan, maps = one_coil(images)
    found = peers._bart("T:1024:0", scan, maps, 1, 1e-6)
    torch.testing.assert_close(found.image, images, atol=0.02, rtol=0)
    # So much total variation leaves the mean over time alone.
    flat = peers._bart("T:1024:0", scan, maps, 1, 10.0).image
    assert float((flat - flat.mean(0)).abs().max()) < 0.05 * float(images.abs().max())
    assert float((flat.mean(0) - images.mean(0)).abs().max()) < 0.3


def test_sigpy_measures_along_spokes_what_the_scan_has() -> None:
    sizes = {"frames": 3, "size": 32, "coils": 2, "acceleration": 2}
    problem = cine_problem("beating", 0, **sizes, sampling="radial", noise=0)
    images = simulated_series("beating", 3, 32, 0).images
    found = peers._sigpy_encoding(problem.scan, coil_maps(2, 32)) * images[:, None].numpy()
    kspace = problem.scan.kspace[:, 0]
    error = torch.linalg.vector_norm(torch.from_numpy(found) - kspace)
    assert float(error) < 5e-3 * float(torch.linalg.vector_norm(kspace))


@pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")
def test_bart_finds_frames_from_spokes() -> None:
    sizes = {"frames": 3, "size": 32, "coils": 4, "acceleration": 1}
    problem = cine_problem("beating", 0, **sizes, sampling="radial", noise=0)
    found = peers._bart("T:1024:0", problem.scan, coil_maps(4, 32), 1, 1e-6).image
    assert psnr(problem.reference, found.abs()) > 30


def test_memory_is_that_of_the_program_and_not_of_its_parent() -> None:
    held = bytearray(300 * MIB)
    code = "import time; x = bytearray(100 * 2**20); time.sleep(0.1)"
    peak = worker.run_program([sys.executable, "-S", "-c", code], {})
    assert len(held) == 300 * MIB
    assert peak is not None
    assert 100 < peak < 160


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(DataError, match=r"failed: no such weight"):
        worker.run_program([sys.executable, "-S", "-c", "raise SystemExit('no such weight')"], {})


def allocate(mib: int) -> worker.Found:
    """Write to so much memory and give it back."""
    held = torch.ones(mib * MIB // 4)
    return worker.Found(held[:1].clone(), apart_s=0.0)


def test_the_peak_is_that_of_this_run_and_not_of_earlier_ones() -> None:
    if not worker._STATUS.exists():
        pytest.skip("memory is known on Linux only")
    before = worker._resident_mib()
    large, small = worker._run(allocate, (160,)), worker._run(allocate, (40,))
    assert large.peak_mib is not None
    assert small.peak_mib is not None
    assert before is not None
    # Some pages that were resident before are used again.
    assert 155 < large.peak_mib - before < 190
    assert 35 < small.peak_mib - before < 70


def test_what_others_do_not_do_takes_no_time() -> None:
    def sleep() -> worker.Found:
        time.sleep(0.2)
        return worker.Found(torch.zeros(1), apart_s=0.2)

    assert 0 < worker._run(sleep, ()).seconds < 0.15


@pytest.mark.slow
def test_a_worker_knows_what_its_method_needs_beside_libraries(monkeypatch, tmp_path) -> None:
    (tmp_path / "a_method.py").write_text(
        "import torch\nfrom firenet_benchmark.cine.worker import Found\n\n\n"
        "def run(mib):\n    return Found(torch.ones(mib * 2**18), 0.5, 17.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import a_method

    with worker.Worker(a_method.run, 1, (1,)) as one:
        run = one.run(100)
    assert run.found.image.shape == (100 * 2**18,)
    assert run.found[1:] == (0.5, 17.0, 0.0, None)
    assert run.peak_mib is not None
    assert 100 <= run.peak_mib < 130
