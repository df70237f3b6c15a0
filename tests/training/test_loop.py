"""The training loop: it resumes with the same result, and keeps its file apart from others."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from firenet_mri.errors import FileError
from firenet_mri.training.loop import TrainingPlan, WeightsFile, descend, shuffled, train

PLAN = TrainingPlan(epochs=3, steps=4, learning_rate=0.1, recipe={"seed": 0})
DATA = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))


def network() -> torch.nn.Linear:
    """Return the network of all tests, seeded."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Linear(3, 1)


def losses(net):
    """Return the losses of an epoch: squared distance to the sum of the numbers."""

    def of_epoch(epoch):
        steps, _ = shuffled(len(DATA), 2, seed=0, epoch=epoch)
        for index in steps:
            yield (net(DATA[index])[:, 0] - DATA[index].sum(1)).square().mean()

    return of_epoch


def trained(path, *, plan=PLAN, name="net", overwrite=False, digest="a", **options):
    """Return a network trained with its file, and the curves."""
    net = network()
    weights = WeightsFile(path, digest, name, overwrite)
    return net, train(net, losses(net), plan, weights, **options)


def test_a_training_that_was_stopped_ends_with_the_same_weights(tmp_path) -> None:
    whole, curves = trained(tmp_path / "whole.pt", measure=lambda: {"norm": 1.0})
    assert curves["loss"][-1] < curves["loss"][0]
    assert curves["norm"] == [1.0] * 3

    def stop(done, total) -> None:
        assert total == 12
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "part.pt", on_step=stop, measure=lambda: {"norm": 1.0})
    seen = []
    again, resumed = trained(
        tmp_path / "part.pt",
        on_step=lambda done, _: seen.append(done),
        measure=lambda: {"norm": 1.0},
    )
    # What is there is told as done; the epoch that was interrupted is done again.
    assert seen == list(range(4, 13))
    assert resumed == curves
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not again.training


def test_what_is_trained_is_not_trained_again_nor_initialised(tmp_path) -> None:
    def initialise() -> None:
        calls.append("initialised")

    calls: list[str] = []
    first, curves = trained(tmp_path / "w.pt", initialise=initialise)
    before = (tmp_path / "w.pt").read_bytes()
    second, same = trained(tmp_path / "w.pt", initialise=initialise)
    assert calls == ["initialised"]
    assert same == curves
    assert torch.equal(first.weight, second.weight)
    assert (tmp_path / "w.pt").read_bytes() == before


def test_networks_of_one_file_do_not_touch_each_other(tmp_path) -> None:
    trained(tmp_path / "w.pt", name="one")
    trained(tmp_path / "w.pt", name="two", plan=replace(PLAN, half=True))
    stored = torch.load(tmp_path / "w.pt", weights_only=True)["networks"]
    assert set(stored) == {"one", "two"}
    # The optimiser's state is kept only as long as it is needed.
    assert set(stored["one"]) == {"network", "recipe", "loss"}
    assert stored["one"]["network"]["weight"].dtype == torch.float32
    assert stored["two"]["network"]["weight"].dtype == torch.float16


def test_half_precision_is_what_the_network_then_has(tmp_path) -> None:
    net, _ = trained(tmp_path / "w.pt", plan=replace(PLAN, half=True))
    assert torch.equal(net.weight, net.weight.half().float())
    again, _ = trained(tmp_path / "w.pt", plan=replace(PLAN, half=True))
    assert torch.equal(net.weight, again.weight)


def test_files_of_something_else_are_refused_and_replaced_if_told_so(tmp_path) -> None:
    path = tmp_path / "w.pt"
    trained(path)
    with pytest.raises(FileError, match="belongs to other settings"):
        trained(path, digest="b")
    trained(path, digest="b", overwrite=True)
    assert torch.load(path, weights_only=True)["digest"] == "b"
    path.write_bytes(b"something else")
    with pytest.raises(FileError, match="is not a weights file"):
        trained(path)
    trained(path, overwrite=True)
    assert torch.load(path, weights_only=True)["digest"] == "a"


def test_the_rate_falls_along_half_a_cosine() -> None:
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    loss = net(DATA).square().mean()
    assert descend(optimizer, loss, 3e-3, 11 / 12) == loss.item()
    (group,) = optimizer.param_groups
    assert group["lr"] == pytest.approx(3e-3 * (1 + math.cos(math.pi * 11 / 12)) / 2)


def test_every_epoch_has_an_order_of_its_own_and_whole_batches() -> None:
    orders = [torch.cat(shuffled(9, 2, seed=1, epoch=epoch)[0]).tolist() for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert len(set(orders[0])) == 8
