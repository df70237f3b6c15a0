"""Wide opponents train by the command: interrupted, resumed, finished, and not trained twice."""

from __future__ import annotations

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch

from firenet_benchmark.stability import wide
from firenet_benchmark.stability.networks import MoDL
from firenet_benchmark.stability.wide import read_opponent
from firenet_mri.errors import FileError
from firenet_mri.training import inputs
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.options import Simulation
from firenet_mri.training.problem import Problem
from firenet_mri.training.simulated_cases import simulated_case

NAME = "MoDL, wide"


@pytest.fixture
def train(tmp_path, monkeypatch, firenet):
    """Return a function that trains a tiny MoDL on images of 32 x 32 pixels."""
    for seed in range(4):
        image = np.random.default_rng(seed).random((40, 40)).astype(np.float32)
        np.save(tmp_path / f"{seed}.npy", np.cumsum(image, axis=0))
    monkeypatch.setitem(wide.KINDS, NAME, lambda: MoDL(unrolls=1, features=2, gradients=1))
    monkeypatch.setattr(
        inputs,
        "simulated_case",
        lambda p, seed, _: simulated_case(p, seed, Simulation(sizes=(48,))),
    )
    monkeypatch.setattr(inputs, "_VALIDATION_CASES", 2)

    def run(*words: object, minutes: float = 0.005) -> int:
        images = [tmp_path / f"{seed}.npy" for seed in range(3)]
        where = ("--images", *images, "--validation", tmp_path / "3.npy", "-o", tmp_path / "w")
        return firenet(
            "benchmark", "train", "--network", NAME, *where, "--minutes", minutes, *words
        )

    return run


def test_a_training_ends_with_weights_and_is_not_done_twice(train, tmp_path, capsys) -> None:
    assert train() == 0
    shown = capsys.readouterr()
    assert "MoDL, wide" in shown.out
    assert "0.0 min: validation" in shown.err
    assert "constant" not in shown.err
    path = tmp_path / "w" / "modl-wide.pt"
    found = read_opponent(path)
    assert found.options["minutes"] == 0.005
    assert found.curve[-1]["step"] > 0
    # The file beside it is gone, and nothing is trained again, unless in another way.
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    before = path.read_bytes()
    assert train() == 0
    assert path.read_bytes() == before
    assert train(minutes=0.01) != 0
    assert "was trained in another way" in capsys.readouterr().err
    path.write_bytes(before[:200])
    with pytest.raises(FileError, match="holds no opponent"):
        read_opponent(path)


@pytest.mark.parametrize("ended", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_training_resumes_and_finishes(train, tmp_path, capsys, monkeypatch, ended):
    case = TrainingData.case

    def interrupted(self, number):
        signal.raise_signal(ended)
        return case(self, number)

    kept = tmp_path / "w" / ".modl-wide.pt.training"
    with monkeypatch.context() as patched:
        patched.setattr(TrainingData, "case", interrupted)
        for step in (1, 2):
            assert train(minutes=10) == 130
            state = torch.load(kept, weights_only=True)["state"]
            assert state["progress"]["step"] == step
    assert "the same command resumes there" in capsys.readouterr().err
    assert train("--finish", minutes=10) == 0
    assert read_opponent(tmp_path / "w" / "modl-wide.pt").curve[-1]["step"] == 2
    assert not kept.exists()
    (tmp_path / "w" / "modl-wide.pt").unlink()
    assert train("--finish", minutes=10) == 2
    assert "no training to finish" in capsys.readouterr().err


def test_options_of_the_other_networks_are_refused(firenet, capsys, tmp_path) -> None:
    assert firenet("benchmark", "train", "--network", "U-Net", "--minutes", 3) == 2
    assert "are for the wide networks" in capsys.readouterr().err
    assert firenet("benchmark", "train", "--network", NAME) == 2
    assert "give --images" in capsys.readouterr().err


def test_perturbations_of_a_case_are_attacked_through_the_opponent() -> None:
    """The gradient by the samples is that of finite differences."""
    learner = wide.Opponent(NAME)
    case = simulated_case([torch.rand(40, 40)], 1, Simulation(sizes=(32,)))
    double = {"kspace": case.kspace.to(torch.complex128), "maps": case.maps.to(torch.complex128)}
    problem = Problem(replace(case, **double), torch.device("cpu"))
    network = MoDL(unrolls=1, features=2, gradients=2).double()
    y = problem.kspace.clone().requires_grad_()
    error = problem.error(learner.image(network, problem, y)[0])
    (gradient,) = torch.autograd.grad(error, y)
    change = 1e-6 * gradient / gradient.norm()
    with torch.no_grad():
        up, down = (
            problem.error(learner.image(network, problem, problem.kspace + s * change)[0])
            for s in (1, -1)
        )
    assert float(up - down) / 2e-6 == pytest.approx(float(gradient.norm()), rel=1e-4)
