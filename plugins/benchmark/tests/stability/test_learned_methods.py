"""Learned networks and wide opponents as methods: the constant holds, and the absent are named."""

from __future__ import annotations

import pytest
import torch

from firenet_benchmark.stability import learned_methods, wide
from firenet_benchmark.stability.criteria import Attack, worst_case
from firenet_benchmark.stability.data import images, maps_of
from firenet_benchmark.stability.evaluation_data import EvaluationData
from firenet_benchmark.stability.jacobian import gradient_problem, jacobian
from firenet_benchmark.stability.learned_methods import (
    learned_method,
    wide_method,
    wide_methods,
)
from firenet_benchmark.stability.methods import Batch
from firenet_benchmark.stability.run import StabilityBenchmark, compare, default_methods
from firenet_mri import reconstruct
from firenet_mri.firenet.learned.formats import SHIPPED
from firenet_mri.firenet.learned.network import Architecture, LearnedNetwork
from firenet_mri.firenet.learned.report import TrainingReport
from firenet_mri.firenet.learned.weights import load_network, save_network
from firenet_mri.operators import encoding_operator
from firenet_mri.simulation import simulate
from firenet_mri.training.trainable import TrainableStages

ACCURACY = StabilityBenchmark(1, 1, 1, (), (), questions=("accuracy",))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Return the file of a small network as training begins, whose layers expand."""
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    sizes = Architecture(stages=3, singles=4, groups=1, group_size=3, kernel=3)
    with torch.no_grad():
        stages = TrainableStages(sizes, 0).stages()
    stages = [one._replace(firmness=5 * one.firmness) for one in stages]
    report = TrainingReport(acceleration=(2, 9), coils=(1, 32), noise=(0, 0.5))
    save_network(path, LearnedNetwork(sizes, stages), report)
    return path


def test_attack_and_jacobian_stay_below_the_proven_constant(weights, small: EvaluationData) -> None:
    method, one = learned_method(weights, "net"), small.attacked
    assert gradient_problem(method, one) is None
    attack = Attack(relative_sizes=(0.01,), steps=4, restarts=2, strong_steps=0)
    rows = worst_case(method, one, attack, lambda *_: None).rows
    rows += jacobian(method, one, 0, lambda *_: None).rows
    found = [row.value for row in rows if row.metric in ("amplification", "lower", "upper")]
    assert len(found) == 3
    assert min(found) > 0.5
    assert max(found) < method.lipschitz_bound < 10
    net, maps = load_network(weights), one.maps[0]
    assert method.lipschitz_bound > net.proven_bound(encoding_operator(None, maps)).value


def test_its_image_is_that_of_the_reconstruction(weights) -> None:
    phase = torch.linspace(0, 6, 128)[:, None]
    scan = simulate(images("test")[2][None] * torch.exp(1j * phase), coils=4, calibration=12)
    solved = reconstruct(scan, weights=weights)
    mask = solved.scan.mask.expand(1, 1, 128, 128)
    maps = maps_of(solved.scan).reshape(1, 4, 128, 128)
    batch = Batch(("a",), solved.scan.kspace, mask, maps, None, None, True)
    found = learned_method(weights, "net").magnitude(batch)
    torch.testing.assert_close(found, solved.image.abs(), rtol=1e-3, atol=1e-3)


def test_absent_weights_are_left_out_and_named(tmp_path, small, monkeypatch) -> None:
    monkeypatch.setattr(learned_methods, "weights_path", lambda _: tmp_path / "none")
    monkeypatch.setattr(learned_methods, "shipped_path", lambda _: tmp_path / "none")
    chosen = ("zero-filling", "modl-wide", "varnet-wide", *SHIPPED)
    methods = default_methods(ACCURACY, chosen=chosen)
    names = ["MoDL, wide", "VarNet, wide", *(f"FIRENET {name}" for name in SHIPPED)]
    assert [method.name for method in methods] == ["zero filling", *names]
    found = compare(methods, ACCURACY, tmp_path, data=small)
    assert found.notes == dict.fromkeys(names, "left out: no weights ship with this version")
    assert not found.failures
    assert {row.method for row in found.rows} == {"zero filling"}


def test_an_opponent_that_ships_is_a_method(small) -> None:
    name = "MoDL, wide"
    network = wide.Opponent(name).weights().requires_grad_(False).eval()
    options = wide.options_of(name, 150).key()
    trained = wide.WideNetwork(network, options, ({"minutes": 0.0}, {"minutes": 2.9}))
    method = wide_method(name, trained)
    # It was finished before the 150 minutes that were planned.
    assert method.description == (
        "3 minutes on the cases of learned, perturbations up to 4 % of the samples"
    )
    assert method.magnitude(small.test).shape == (1, 64, 64)
    assert [one.name for one in wide_methods()] == list(wide.KINDS)
