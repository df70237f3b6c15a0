"""The networks begin at known maps, do not depend on the scale, and train repeatably."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from firenet_benchmark.stability import training
from firenet_benchmark.stability.data import images, simulated_case
from firenet_benchmark.stability.networks import (
    MoDL,
    combine,
    conjugate_gradients,
    make_trained_network,
    spread,
)
from firenet_benchmark.stability.training import (
    RECIPES,
    Recipe,
    file_name,
    shipped_network,
    tensors,
    train_network,
)
from firenet_mri.errors import FileError, ShapeError
from firenet_mri.metrics import psnr

NAMES = ["U-Net", "VarNet", "MoDL", "AUTOMAP-type"]


@pytest.fixture(scope="module")
def batch():
    return tensors([simulated_case(images("validation")[i], seed=i) for i in range(4)])


def test_conjugate_gradients_solve_each_item(randn) -> None:
    matrices = randn(3, 6, 6)
    normal = matrices.mH @ matrices + torch.eye(6)
    right = randn(3, 6, 1)
    found = conjugate_gradients(lambda x: normal @ x, right, torch.zeros_like(right), 20)
    torch.testing.assert_close(found, torch.linalg.solve(normal, right))


@pytest.mark.parametrize("name", NAMES)
def test_untrained_networks_do_not_depend_on_the_scale(name, batch) -> None:
    kspace, mask, maps, _ = (tensor[:1] for tensor in batch)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make_trained_network(name)
    with torch.no_grad():
        image, scaled = network(kspace, mask, maps), network(1e4 * kspace, mask, maps)
        nothing = network(torch.zeros_like(kspace), mask, maps)
    torch.testing.assert_close(scaled, 1e4 * image, rtol=1e-3, atol=10)
    assert bool(nothing.isfinite().all())


def test_a_learned_transform_says_which_size_it_is_for(batch) -> None:
    kspace, mask, maps = (tensor[:1, ..., :96] for tensor in batch[:3])
    with pytest.raises(ShapeError, match="axis of 128; the data have 96"):
        make_trained_network("AUTOMAP-type")(kspace, mask, maps)


def test_untrained_unet_is_zero_filling(batch) -> None:
    kspace, mask, maps, _ = (tensor[:1] for tensor in batch)
    with torch.no_grad():
        image = make_trained_network("U-Net")(kspace, mask, maps)
    torch.testing.assert_close(image, combine(kspace, maps))


def test_modl_without_denoiser_is_regularised_sense(batch) -> None:
    """With a denoiser of 0, x is (A^H A + mu)^-1 (A^H y + mu x_before), again and again."""
    kspace, mask, maps, _ = (tensor[:1] for tensor in batch)
    network = MoDL(unrolls=1, gradients=60)
    for parameter in network.denoiser.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        x = network(kspace, mask, maps)
        mu = network.log_mu.exp()
        left = combine(mask * spread(x, maps), maps) + mu * x
    zero_filled = combine(kspace, maps)
    right = (1 + mu) * zero_filled
    assert float((left - right).norm() / right.norm()) < 1e-3


@pytest.mark.parametrize("name", list(RECIPES))
def test_shipped_networks_reach_what_their_training_reached(name, batch) -> None:
    trained = shipped_network(name)
    kspace, mask, maps, reference = batch
    with torch.no_grad():
        found = trained.network(kspace, mask, maps).abs()
    mean = sum(psnr(a, b) for a, b in zip(reference, found, strict=True)) / len(reference)
    assert mean == pytest.approx(trained.validation_psnr_db[-1], abs=0.05)
    assert len(trained.loss) == trained.recipe.epochs
    assert trained.loss[-1] < trained.loss[0]
    zero = sum(
        psnr(a, b) for a, b in zip(reference, combine(kspace, maps).abs(), strict=True)
    ) / len(reference)
    assert mean > zero + 1


def test_training_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    recipe = Recipe("AUTOMAP-type", epochs=2, scans=4, jitter=0.04)
    whole = train_network("net", tmp_path / "whole.pt", recipe=recipe)

    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        train_network("net", tmp_path / "parts.pt", recipe=recipe, on_step=stop)
    steps = []
    parts = train_network(
        "net", tmp_path / "parts.pt", recipe=recipe, on_step=lambda done, total: steps.append(done)
    )
    # What was finished is told as done at once; the epoch that was interrupted is done again.
    assert steps == [1, 2]
    assert parts.loss == whole.loss
    for a, b in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        assert torch.equal(a, b)
    monkeypatch.setattr(training, "_losses", None)
    monkeypatch.setattr(training, "training_cases", None)
    assert train_network("net", tmp_path / "parts.pt", recipe=recipe).loss == whole.loss
    with pytest.raises(FileError, match="other settings"):
        train_network("net", tmp_path / "parts.pt", recipe=dataclasses.replace(recipe, seed=1))


def test_file_names_are_plain() -> None:
    assert [file_name(name) for name in ("U-Net", "MoDL, jittered")] == [
        "u-net.pt",
        "modl-jittered.pt",
    ]
