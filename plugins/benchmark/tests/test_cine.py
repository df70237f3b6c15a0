"""Simulated hearts over time: what moves, what is measured, and how methods are judged."""

from __future__ import annotations

import json

import pytest
import torch

from firenet_benchmark.cine import methods
from firenet_benchmark.cine.methods import change_kept, compare
from firenet_benchmark.cine.phantom import simulated_series
from firenet_benchmark.cine.picture import draw
from firenet_benchmark.cine.problem import cine_problem, coil_maps
from firenet_benchmark.cli import cine as command
from firenet_mri.simulation import interleaved_lines


def test_echoes_decay_and_turn_where_they_are() -> None:
    series = simulated_series("echoes", 6, 48, seed=3).images
    assert bool((series.abs()[1:] <= series.abs()[:-1] * 1.2 + 1e-6).all())
    assert float(series[-1].abs().max()) < 0.8 * float(series[0].abs().max())
    turned = (series[1:] * series[:-1].conj()).sum((1, 2)).angle().abs()
    assert float(turned.max()) > 0.1
    assert cine_problem("echoes", 3, frames=6, size=48, coils=4).maps is not None


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


def test_the_joint_image_is_compared_with_proofs_beside_it(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(methods, "SPARSIFIERS", methods.SPARSIFIERS[:1])
    monkeypatch.setattr(methods, "BART", {})
    problem = cine_problem("perfusion", 0, frames=6, size=32, coils=4, acceleration=4)
    (alone, one), (joint, other) = compare(problem)
    assert joint.psnr_db > alone.psnr_db
    assert joint.relative_gap is not None
    assert joint.constant == pytest.approx(alone.constant, rel=1e-4)
    draw(problem, [("one by one", one), ("together", other)]).savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.slow
def test_the_command_writes_numbers_and_pictures_and_bart_comes_last(tmp_path) -> None:
    sizes = {"frames": 12, "size": 64, "coils": 4, "acceleration": 4}
    command.cine(seeds=[0], **sizes, output=tmp_path / "cine")
    found = json.loads((tmp_path / "cine" / "cine.json").read_text())
    names = [row["method"] for row in found["results"][0]["rows"]]
    assert names[0] == "FIRENET, frame by frame"
    if len(names) > 1 + len(methods.SPARSIFIERS):
        assert names[-1].startswith("BART")
    assert {path.name for path in (tmp_path / "cine").glob("*.png")} == {
        "beating_0.png",
        "perfusion_0.png",
    }
