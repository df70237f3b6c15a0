"""Frozen weights: their constant is proven, and the wanted one at most where that can be had."""

from __future__ import annotations

import math

import torch
from training_scans import TINY

from firenet_mri.firenet.learned.filters_norm import squared_norm
from firenet_mri.firenet.learned.proof import prove
from firenet_mri.training import trainable
from firenet_mri.training.freezing import frozen
from firenet_mri.training.trainable import TrainableStages, soft_bound


def weights(firmness: float) -> TrainableStages:
    """Return the first weights with filters that are too long, and another firmness."""
    net = TrainableStages(TINY.architecture, 0)
    with torch.no_grad():
        net.filters *= 3
        net.log_firmness.fill_(math.log(firmness))
    return net


def test_the_wanted_constant_is_kept_by_less_firmness() -> None:
    result = frozen(weights(0.5), bound=3.0)
    assert result.constant_as_trained > 3
    assert 2.999 < result.constant <= 3
    assert 0 < result.firmness_kept < 1
    assert result.constant == prove(result.stages, TINY.architecture.sizes).value
    trained = weights(0.5).stages()
    for stage, before in zip(result.stages, trained, strict=True):
        assert squared_norm(stage.filters.numpy()) <= 2
        torch.testing.assert_close(stage.firmness, result.firmness_kept * before.firmness)
        torch.testing.assert_close(stage.log_radii, before.log_radii)


def test_filters_that_are_longer_than_the_proof_allows_are_scaled(monkeypatch) -> None:
    monkeypatch.setattr(trainable, "_SPECTRUM", 2.5)
    trained = weights(0.01).stages()
    assert squared_norm(trained[0].filters.detach().numpy()) > 2.4
    for stage in frozen(weights(0.01), bound=8.0).stages:
        assert 1.99 < squared_norm(stage.filters.numpy()) <= 2


def test_a_constant_that_is_small_enough_leaves_the_weights_alone() -> None:
    result = frozen(weights(0.01), bound=8.0)
    assert result.firmness_kept == 1
    assert result.constant == result.constant_as_trained <= 8


def test_where_even_soft_thresholds_are_above_the_constant_says_so() -> None:
    result = frozen(weights(0.5), bound=0.1)
    assert result.firmness_kept < 1e-5
    assert result.constant > 0.1


def test_the_estimate_of_the_training_is_near_the_proven_constant() -> None:
    net = weights(0.2)
    with torch.no_grad():
        estimate = float(soft_bound(net.stages(), TINY.architecture.sizes))
    # The first step begins at zero, which the proof makes use of.
    assert 0.95 * estimate < frozen(net, 100.0).constant < 1.001 * estimate


def test_a_polynomial_that_ends_at_zero_can_be_proven() -> None:
    net = weights(0.1)
    with torch.no_grad():
        net.share.fill_(40.0)
    result = frozen(net, 100.0)
    for stage in result.stages:
        a, b = map(float, stage.coefficients)
        assert (1 - 2e-6) * a < b < a


def test_soft_thresholds_leave_the_constant_to_the_data_steps() -> None:
    net = TrainableStages(TINY.architecture, 0, soft=True)
    with torch.no_grad():
        net.log_firmness.fill_(3.0)
    result = frozen(net, bound=8.0)
    assert all(float(stage.firmness.abs().max()) == 0 for stage in result.stages)
    bounds = prove(result.stages, TINY.architecture.sizes).stages
    assert max(one.layer for one in bounds) == 1
    assert abs(result.constant - math.sqrt(sum(one.step for one in bounds))) < 1e-9


def test_tied_stages_have_one_set_of_weights() -> None:
    net = TrainableStages(TINY.architecture, 0, tied=True)
    stages = net.stages()
    assert len(stages) == TINY.stages
    assert all(
        bool((part == first).all())
        for stage in stages
        for part, first in zip(stage, stages[0], strict=True)
    )
    count = sum(parameter.numel() for parameter in net.parameters())
    many = sum(p.numel() for p in TrainableStages(TINY.architecture, 0).parameters())
    assert count * TINY.stages == many
    sum(stage.filters.sum() for stage in stages).backward()
    assert float(net.filters.grad.abs().max()) > 0
