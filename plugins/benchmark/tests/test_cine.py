"""Simulated hearts over time: what moves, what is measured, and how methods are judged."""

from __future__ import annotations

import io
import json

import pytest
import torch
from rich.console import Console

from firenet_benchmark.cine import methods, peers, worker
from firenet_benchmark.cine.echoes import simulated_echoes
from firenet_benchmark.cine.methods import change_kept, compare
from firenet_benchmark.cine.phantom import simulated_series
from firenet_benchmark.cine.picture import draw
from firenet_benchmark.cine.problem import cine_problem, coil_maps
from firenet_benchmark.cine.slime import slime_series
from firenet_benchmark.cli import cine as command
from firenet_mri import RawScan
from firenet_mri.errors import UsageError
from firenet_mri.metrics import psnr
from firenet_mri.simulation import interleaved_lines


@pytest.mark.parametrize("kind", ["beating", "perfusion"])
def test_only_the_heart_and_what_breathing_moves_changes(kind) -> None:
    series = simulated_series(kind, 8, 48, seed=3)
    assert series.images.shape == (8, 48, 48)
    assert 0.02 < float(series.moves.float().mean()) < 0.5
    again, other = simulated_series(kind, 8, 48, 3), simulated_series(kind, 8, 48, 4)
    assert torch.equal(series.images, again.images)
    assert not torch.equal(series.images, other.images)


@pytest.mark.parametrize("acceleration", [4, 6, 8])
def test_successive_frames_fill_k_space(acceleration) -> None:
    mask = interleaved_lines(2 * acceleration, 48, acceleration)
    assert mask[:acceleration].any(0).all()
    assert mask[acceleration : 2 * acceleration].any(0).all()
    assert mask[:, 22:26].all()
    assert int(mask.sum(1).max()) <= 48 // acceleration + 4


def test_maps_have_unit_energy() -> None:
    energy = torch.linalg.vector_norm(coil_maps(5, 16), dim=0)
    torch.testing.assert_close(energy, torch.ones(16, 16))


def test_what_is_smoothed_in_time_keeps_less_of_the_change() -> None:
    series = simulated_series("beating", 12, 48, 0)
    truth = series.images.abs()
    smooth = (truth.roll(1, 0) + truth + truth.roll(-1, 0)) / 3
    assert change_kept(truth, truth, series.moves) == pytest.approx(1)
    assert change_kept(smooth, truth, series.moves) < 0.95
    still = truth.mean(0, keepdim=True).expand_as(truth)
    assert change_kept(still, truth, series.moves) == 0


def test_a_heart_breathes_as_far_as_is_asked_for() -> None:
    def rows(breathing: float) -> torch.Tensor:
        """Return the centre of mass of every frame along y, in pixels."""
        series = simulated_series("perfusion", 25, 48, 3, breathing=breathing)
        edge = series.images.abs()[:, :, 3]
        return (edge * torch.arange(48)).sum(1) / edge.sum(1)

    assert float(rows(0.0).std()) < 1e-3
    near, far = (rows(share) - rows(0.0) for share in (0.02, 0.04))
    assert float(near.abs().max()) == pytest.approx(0.02 * 48, rel=0.1)
    torch.testing.assert_close(far, 2 * near, atol=0.1, rtol=0)


def test_echoes_decay_at_edges_that_stay_where_they_are() -> None:
    problem = cine_problem("echoes", 3, size=48, coils=3, acceleration=4)
    truth, scan = problem.reference, problem.scan
    assert scan.images == tuple(f"contrast {echo}" for echo in range(8))
    assert problem.axis == "contrast"
    assert bool((truth.diff(dim=0) <= 1e-6).all())
    # Nothing moves: what is dark in the first echo is dark in all.
    assert float(truth[:, truth[0] < 1e-6].max()) < 1e-6
    # The field turns the phase: neighbouring echoes differ by more than their magnitudes do.
    images = simulated_echoes(8, 48, 3).images
    turned = torch.linalg.vector_norm(images[1] - images[0])
    assert float(turned) > 1.3 * float(torch.linalg.vector_norm(truth[1] - truth[0]))


def test_the_phantom_of_mrphantom_breathes_and_beats_with_its_own_coils() -> None:
    pytest.importorskip("mrphantom")
    series, again = (slime_series(12, 48, 5, seed) for seed in (1, 1))
    assert torch.equal(series.images, again.images)
    assert series.maps is not None
    energy = torch.linalg.vector_norm(series.maps, dim=0)
    torch.testing.assert_close(energy, torch.ones(48, 48))
    assert 0.01 < float(series.moves.float().mean()) < 0.3
    # Partial volumes: motion by less than a pixel changes every frame.
    assert bool((series.images.diff(dim=0).abs().amax((1, 2)) > 0.01).all())


class InThisProcess:
    """A worker without a process of its own."""

    def __init__(self, method, threads, warm_up) -> None:
        self.method = method

    def __enter__(self) -> InThisProcess:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, *arguments: object) -> worker.Run:
        return worker._run(self.method, arguments)


def zero_filled(scan: RawScan, maps: torch.Tensor, threads: int, weight: float) -> worker.Found:
    """Return the zero-filled image times a weight: best at 1."""
    kspace = scan.kspace[:, 0]
    images = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kspace, (-2, -1))), (-2, -1))
    return worker.Found(weight * 32 * (maps.conj() * images).sum(1))


def test_the_joint_image_is_compared_with_proofs_beside_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(methods, "SPARSIFIERS", methods.SPARSIFIERS[:1])
    monkeypatch.setattr(methods, "Worker", InThisProcess)
    here = peers.Peer("zero-filled", "torch", zero_filled, 8.0)
    absent = peers.Peer("another", "no_such_module", zero_filled, 1.0)
    echoes_only = peers.Peer("of echoes", "torch", zero_filled, 1.0, ("contrast",))
    monkeypatch.setattr(methods, "PEERS", (here, absent, echoes_only))
    problem = cine_problem("abrupt", 0, frames=15, size=32, coils=4, acceleration=4)
    found = list(compare(problem))
    (alone, one), (joint, other), (peer, _) = found
    assert joint.psnr_db > alone.psnr_db > peer.psnr_db
    assert joint.relative_gap is not None
    assert joint.constant == pytest.approx(alone.constant, rel=1e-4)
    assert (peer.relative_gap, peer.constant) == (None, None)
    assert joint.edge_frames is not None
    assert 0.7 < joint.edge_frames < 6
    assert peer.edge_at_equal == peer.edge_frames
    assert methods.left_out(problem) == {"another": "not installed"}
    draw(problem, [("one by one", one), ("together", other)]).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(command._table("title", [row for row, _ in found], methods.left_out(problem)))
    assert "another: not installed" in console.export_text()


def test_all_methods_are_given_the_maps_of_echoes(monkeypatch) -> None:
    given = []

    class Recording(InThisProcess):
        def run(self, scan, options, *_: object) -> worker.Run:
            given.append(options["maps"] if isinstance(options, dict) else options)
            image = torch.rand(scan.kspace.shape[0], 32, 32)
            return worker.Run(worker.Found(image), 1.0, 1.0, None)

    monkeypatch.setattr(methods, "Worker", Recording)
    monkeypatch.setattr(methods, "PEERS", (peers.Peer("zero-filled", "torch", zero_filled, 1.0),))
    problem = cine_problem("echoes", 0, frames=4, size=32, coils=4, acceleration=4)
    names = [row.method for row, _ in compare(problem)]
    assert all(torch.equal(maps, coil_maps(4, 32)) for maps in given)
    joint = [f"FIRENET joint, {name}" for name in methods.SPARSIFIERS_OF_ECHOES]
    assert names == ["FIRENET, frame by frame", *joint, "zero-filled"]
    assert cine_problem("beating", 0, frames=4, size=32, coils=4).maps is None


def test_maps_that_are_given_are_those_of_the_image() -> None:
    problem = cine_problem("echoes", 0, frames=3, size=32, coils=4, acceleration=4)
    options = {"joint": "contrast", "no_gap": True, "maps": problem.maps}
    right = methods.run_firenet(problem.scan, options).image
    wrong = methods.run_firenet(problem.scan, {**options, "maps": problem.maps.flip(0)}).image
    assert psnr(problem.reference, right) > psnr(problem.reference, wrong) + 5


def test_along_spokes_what_is_compared_along_lines_alone_is_named() -> None:
    problem = cine_problem("beating", 0, frames=3, size=32, coils=2, sampling="radial")
    found = methods.left_out(problem)
    assert found["mrpro, total variation"] == "compared along lines only"
    assert "SigPy, total variation" not in found


def test_a_series_that_cannot_be_made_is_refused_with_those_that_can() -> None:
    with pytest.raises(UsageError, match="No series diffusion can be made here; use beating, "):
        command.cine(kinds=["beating", "diffusion"])


def test_what_is_refused_is_refused_before_anything_runs(monkeypatch) -> None:
    monkeypatch.setattr(methods, "compare", None)
    with pytest.raises(UsageError, match="8 frames asked for; abrupt events need at least 15"):
        command.cine(kinds=["beating", "abrupt"], seeds=[0], frames=8, size=32, coils=2)


@pytest.mark.slow
def test_the_command_writes_numbers_and_pictures_and_others_come_last(tmp_path) -> None:
    sizes = {"frames": 12, "size": 64, "coils": 4, "acceleration": 4}
    command.cine(kinds=["beating", "perfusion"], seeds=[0], **sizes, output=tmp_path / "cine")
    found = json.loads((tmp_path / "cine" / "cine.json").read_text())
    names = [row["method"] for row in found["results"][0]["rows"]]
    assert names[0] == "FIRENET, frame by frame"
    ours = 1 + len(methods.SPARSIFIERS)
    assert len(names) + len(found["results"][0]["left_out"]) == ours + 5
    assert not any(name.startswith("FIRENET") for name in names[ours:])
    assert {path.name for path in (tmp_path / "cine").glob("*.png")} == {
        "beating_0.png",
        "perfusion_0.png",
    }
