"""A learned frame is trained on cases, resumes with the same result, and stays what it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.firenet.learned_frame import FrameLayout, LearnedFrameWeights, LearnedSparsity
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.operators import encoding_operator
from firenet_mri.phantoms import shepp_logan
from firenet_mri.training.learned_frame import TrainingCase, train_frame
from firenet_mri.training.loop import TrainingPlan, WeightsFile

SIZE = 24
OPTIONS = NetworkOptions(layers=8)
PLAN = TrainingPlan(3, 4, 0.05, {"data": "a phantom"})


def cases() -> list[TrainingCase]:
    truth = torch.as_tensor(shepp_logan(SIZE)).float()
    maps = torch.ones(1, SIZE, SIZE, dtype=torch.complex64)
    found = []
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        mask = torch.rand(1, SIZE, SIZE, generator=generator) < 0.5
        kspace = encoding_operator(mask, maps)(truth.to(torch.complex64))
        found.append(TrainingCase(kspace, mask, maps, truth))
    return found


def trained(path: Path, plan: TrainingPlan = PLAN, on_step=None) -> LearnedFrameWeights:
    module = LearnedSparsity(FrameLayout(1, (0, 1)))
    file = WeightsFile(path, "a", "frame")
    pool = cases()
    return train_frame(
        module, pool[:4], plan, file, validation=pool[4:], options=OPTIONS, on_step=on_step
    )


def test_training_lowers_the_error_of_slices_that_it_has_not_seen(tmp_path) -> None:
    found = trained(tmp_path / "w.pt")
    curve = found.training["validation"]
    unseen = cases()[4]
    assert len(curve) == 3
    with torch.no_grad():
        before = float(unseen.loss(LearnedSparsity(FrameLayout(1, (0, 1))), OPTIONS))
        after = float(unseen.loss(found.module, OPTIONS))
    assert after == pytest.approx(curve[-1], rel=1e-5)
    assert after < before - 0.1
    assert found.training["data"] == "a phantom"
    assert bool((found.parameters["log_weights"] != 0).all())
    assert bool((found.parameters["skews"] != 0).any())
    assert float(found.deviation) < 1e-13


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path) -> None:
    whole = trained(tmp_path / "whole.pt")

    def stop(done: int, total: int) -> None:
        assert total == 12
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "part.pt", on_step=stop)
    again = trained(tmp_path / "part.pt")
    assert again.digest == whole.digest


def test_a_training_begins_with_copies_that_differ_by_less_than_one_sees(tmp_path) -> None:
    module, file = (
        LearnedSparsity(FrameLayout(2, (0,))),
        WeightsFile(tmp_path / "w.pt", "a", "frame"),
    )
    plan = replace(PLAN, epochs=1, steps=1, learning_rate=1e-12)
    found = train_frame(module, cases(), plan, file, options=NetworkOptions(layers=2))
    assert 5e-4 < float(found.parameters["skews"].std()) < 2e-3


def test_bad_cases_are_refused_and_the_epochs_before_are_kept(tmp_path) -> None:
    pool = cases()
    module, file = (
        LearnedSparsity(FrameLayout(1, (0,))),
        WeightsFile(tmp_path / "w.pt", "a", "frame"),
    )
    with pytest.raises(DataError, match="5 cases came for epochs of 9 steps"):
        train_frame(module, pool, replace(PLAN, steps=9), file, options=OPTIONS)
    with pytest.raises(ShapeError, match=r"give \(coil, y, x\)"):
        replace(pool[0], reference=torch.ones(3, 3))
    broken = replace(pool[0], reference=torch.full((SIZE, SIZE), torch.nan))
    with pytest.raises(DataError, match="The loss of a case is nan"):
        train_frame(module, [broken], replace(PLAN, steps=1), file, options=OPTIONS)
    assert all(bool(torch.isfinite(value).all()) for value in module.parameters())
