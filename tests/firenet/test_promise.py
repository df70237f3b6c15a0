"""The theorem gives the network for an accuracy; the certificate says what that assumes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from firenet_mri import FIRENET, PaperSchedule
from firenet_mri.errors import UsageError
from firenet_mri.firenet.certificate.certify import certify
from firenet_mri.firenet.levels import (
    LevelStructure,
    NullSpaceConstants,
    best_approximation_error,
    level_index,
    level_sizes,
    level_weights,
)
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.promise import MOST_LAYERS, TheoremPromise
from firenet_mri.operators import MatrixOperator, encoding_operator

SPARSITIES, SIZES = (2, 3), (8, 24)
LEVELS = LevelStructure.balanced(SPARSITIES, SIZES)
INDEX = torch.repeat_interleave(torch.arange(2), torch.tensor(SIZES))


@pytest.mark.parametrize("accuracy", [0.3, 1e-2, 1e-4])
@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_what_is_promised_holds_where_the_constants_are_true(accuracy, fraction) -> None:
    """||A - c 1|| = c/4, ||A|| <= 1: ||x_D|| <= ||x|| <= ||A x|| / (3 c/4), so rho = 0."""
    constants = NullSpaceConstants(0.0, 5 / 3)
    promise = TheoremPromise(accuracy, LEVELS, constants)
    promise = replace(promise, lam=fraction * promise.weight)
    net = FIRENET(
        None,
        promise.weight,
        level_weights(SPARSITIES, INDEX),
        PaperSchedule.for_promise(promise),
    )
    worst = 0.0
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        error = torch.randn(32, 32, dtype=torch.complex128, generator=generator)
        matrix = 0.8 * (torch.eye(32) + 0.25 * error / torch.linalg.matrix_norm(error, 2))
        encoding = MatrixOperator(matrix, 1.0)
        x = torch.zeros(32, dtype=torch.complex128)
        x[[1, 5, 9, 20, 30]] = torch.tensor([2.0, -1.0, 1j, 3.0, -1.5j], dtype=torch.complex128)
        e = torch.randn(32, dtype=torch.complex128, generator=generator)
        clean = matrix @ x
        # As much noise as the promise allows, but for what it adds to ||y||.
        size = 0.99 * promise.delta / (1 + promise.recovery.c2 / promise.chi)
        y = clean + size * clean.norm() / (1 + size) * e / e.norm()
        tail = best_approximation_error(x, INDEX, LEVELS)
        misfit = float((clean - y).norm())
        c = 2 * promise.weight * tail + (1 + promise.recovery.c2 / promise.chi) * misfit
        assert c <= promise.delta * float(y.norm())
        psi = net(y, encoding)
        objective = net.problem(encoding).objective
        gap = float(objective(psi, y) - objective(x, y)) / float(y.norm())
        distance = float((psi - x).norm() / y.norm())
        assert gap <= promise.objective_gap
        assert distance <= accuracy
        worst = max(worst, distance / accuracy)
    # Neither empty nor too good to be the theorem's.
    assert 1e-5 < worst < 1


def test_numbers_are_the_least_that_the_theorem_allows() -> None:
    promise = TheoremPromise(1e-3, LEVELS)
    chi, nu = promise.chi, math.exp(-1)
    assert chi == pytest.approx(promise.recovery.c2)
    assert promise.inner == math.ceil(2 * chi * 1.0001 / nu)
    assert chi * nu**promise.restarts <= 5e-4 < chi * nu ** (promise.restarts - 1)
    assert chi * (promise.delta + promise.objective_gap) <= 1e-3
    assert chi * promise.delta / (1 - nu) == pytest.approx(5e-4)
    assert 1 < promise.largest_norm < 1 + 1 / promise.inner
    schedule = PaperSchedule.for_promise(promise)
    assert (schedule.inner, schedule.restarts) == (promise.inner, promise.restarts)
    assert schedule.delta == promise.delta
    assert schedule.eps0 is None


def test_too_many_layers_are_refused_with_p_n_and_their_product() -> None:
    promise = TheoremPromise(1e-3, LEVELS)
    lam = promise.weight / 100
    inner = math.ceil(200 * promise.chi * 1.0001 * math.e)
    restarts = math.ceil(math.log(200 * promise.chi / 1e-3))
    assert inner * restarts > MOST_LAYERS
    match = rf"p = {inner} .* n = {restarts} .* n p = {inner * restarts} layers"
    with pytest.raises(UsageError, match=match):
        TheoremPromise(1e-3, LEVELS, lam=lam)
    with pytest.raises(UsageError, match="0 < lam <="):
        TheoremPromise(1e-3, LEVELS, lam=2 * promise.weight)
    with pytest.raises(UsageError, match="accuracy is 0"):
        TheoremPromise(0.0, LEVELS)


@pytest.mark.parametrize("shape", [(64, 64), (40, 48), (16, 16, 24)])
def test_paper_preset_takes_the_theorems_layers_for_an_accuracy(shape) -> None:
    net = make_network(4, shape, preset="paper", accuracy="1%")
    promise = net.schedule.promise
    assert promise.accuracy == 0.01
    assert promise.levels.sizes == level_sizes(net.sparsifier)
    assert net.lam == promise.weight
    assert net.depth == promise.inner * promise.restarts
    expected = level_weights(promise.levels.sparsities, level_index(net.sparsifier))
    assert torch.equal(net.weights, expected)
    half = make_network(4, shape, preset="paper", accuracy=0.01, lam=net.lam / 2)
    assert half.lam == net.lam / 2
    assert half.schedule.promise.chi == pytest.approx(2 * promise.chi)
    assert make_network(4, shape, preset="paper").schedule.promise is None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"accuracy": 0.01}, "preset accurate"),
        ({"accuracy": 0.01, "preset": "paper", "layers": 10}, "layers 10"),
        ({"accuracy": 1.0, "preset": "paper"}, "between 0 and 1"),
        ({"accuracy": 0.0, "preset": "paper"}, "between 0 and 1"),
        ({"accuracy": 0.01, "preset": "paper", "lam": 0.5}, "0 < lam <="),
    ],
)
def test_an_accuracy_that_cannot_be_had_is_refused(options, match) -> None:
    with pytest.raises(UsageError, match=match):
        make_network(4, (32, 32), **options)


def test_certificate_names_the_constants_and_calls_them_assumed(randn) -> None:
    encoding = encoding_operator(None, torch.full((4, 16, 16), 0.5, dtype=torch.complex64))
    y = encoding(randn(16, 16).to(torch.complex64))
    net = make_network(4, (16, 16), preset="paper", accuracy=0.5)
    state = net.solve(y, encoding)

    def entry(net: FIRENET, operator=encoding, x0=None):
        entries = certify(net, y, operator, state, x0=x0).entries
        return [one for one in entries if one.name == "theorem"]

    (found,) = entry(net)
    assert found.status == "assumed"
    assert "rho = 0.5, gamma = 1.414" in found.statement
    assert "not checked" in found.statement
    assert f"p = {net.schedule.inner}, n = {net.schedule.restarts}" in found.statement
    assert entry(make_network(4, (16, 16), preset="paper")) == []
    longer = encoding_operator(None, torch.full((4, 16, 16), 0.6, dtype=torch.complex64))
    (refused,) = entry(net, longer)
    assert refused.status == "not verified"
    assert "only known to be at most 1.2" in refused.statement
    (refused,) = entry(net, x0=state.x)
    assert refused.status == "not verified"
    data_weights = FIRENET(
        net.sparsifier, net.lam, net.weights, net.schedule, weights_depend_on_data=True
    )
    (refused,) = entry(data_weights)
    assert refused.status == "not verified"
