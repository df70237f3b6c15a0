"""The ablation trains its variants, resumes, and puts them into one table and one picture."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from firenet_benchmark.stability import ablation, run
from firenet_benchmark.stability.acquisition import Acquisition
from firenet_benchmark.stability.criteria import Attack
from firenet_benchmark.stability.evaluation_data import built_in
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.training import inputs
from firenet_mri.training.inputs import TrainingData
from firenet_mri.training.options import Simulation, TrainingOptions
from firenet_mri.training.simulated_cases import simulated_case

TINY = TrainingOptions(stages=2, singles=2, groups=1, group_size=2, kernel=3, cases=6)
ATTACK = Attack(relative_sizes=(0.01, 0.04), steps=1, restarts=1, strong_steps=0)


@pytest.fixture
def ablate(tmp_path, monkeypatch, firenet):
    """Return a function that runs the command on small images, for a tenth of a second each."""
    for seed in range(4):
        image = np.random.default_rng(seed).random((40, 40)).astype(np.float32)
        np.save(tmp_path / f"{seed}.npy", np.cumsum(image, axis=0))
    monkeypatch.setattr(
        inputs,
        "simulated_case",
        lambda p, seed, _: simulated_case(p, seed, Simulation(sizes=(48,))),
    )
    monkeypatch.setattr(inputs, "_VALIDATION_CASES", 1)
    few = replace(ablation.SETTINGS, slices=1, attacked=1, shifted=1, attack=ATTACK)
    data = built_in(1, 1, 1, (), Acquisition(size=(64, 64)), leave_out=("shifts",))
    monkeypatch.setattr(ablation, "BASE", TINY)
    monkeypatch.setattr(ablation, "SETTINGS", few)
    monkeypatch.setattr(run, "default_data", lambda settings: data)

    def call(*words: object, minutes: float = 0.002) -> int:
        images = [tmp_path / f"{seed}.npy" for seed in range(3)]
        where = ("--images", *images, "--validation", tmp_path / "3.npy", "-o", tmp_path / "a")
        return firenet("benchmark", "ablation", *where, "--minutes", minutes, *words)

    return call


def test_variants_become_one_table_and_one_picture(ablate, tmp_path, monkeypatch, capsys) -> None:
    clocks = []
    train = ablation.train_network
    monkeypatch.setattr(
        ablation,
        "train_network",
        lambda *given, clock, **named: [clocks.append(clock), train(*given, clock=clock, **named)][
            1
        ],
    )
    names = ("bound 2", "bound 8", "convex")
    assert ablate("--variant", *names) == 0
    folder = tmp_path / "a"
    # Another program on the machine makes no variant weaker than the others.
    assert clocks == [time.process_time] * 3
    rows = json.loads((folder / "ablation.json").read_text())["rows"]
    assert tuple(row["variant"] for row in rows) == names
    for row in rows:
        assert 5 < row["worst 4 %"] < row["worst 1 %"] < row["clean"] < 50
        assert 0 < row["lesion 5 %"] < 1.5
        assert row["steps"] > 0
        # The ball adds to the constant at a fixed scale, which is the wanted one at most.
        assert row["proven constant"] < 2**0.5 * row["wanted constant"] + 2.5
    text = (folder / "ablation.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("\n") == 2 + len(names)
    assert (folder / "ablation.png").stat().st_size > 1e4
    stages = {
        name: load_network(folder / f"{name.replace(' ', '-')}.safetensors") for name in names
    }
    assert all(float(one.firmness.sum()) == 0 for one in stages["convex"].weights)
    first, second = stages["convex"].weights
    assert all(bool((a == b).all()) for a, b in zip(first, second, strict=True))
    # Nothing is trained twice; other options are named.
    before = (folder / "bound-2.safetensors").read_bytes()
    assert ablate("--variant", "bound 2", "--overwrite") == 0
    assert (folder / "bound-2.safetensors").read_bytes() == before
    assert ablate("--variant", "bound 2", "--overwrite", minutes=0.003) == 1
    assert "was trained with other minutes" in capsys.readouterr().err


def test_an_interrupted_ablation_resumes(ablate, tmp_path, capsys, monkeypatch) -> None:
    case = TrainingData.case

    def interrupted(self, number):
        signal.raise_signal(signal.SIGTERM)
        return case(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(TrainingData, "case", interrupted)
        assert ablate("--variant", "seed 1", "no groups") == 130
    shown = capsys.readouterr().err
    assert ".seed-1.safetensors.training after step 1; the same command resumes there\n" in shown
    assert not list((tmp_path / "a").glob("no-groups*"))
    assert ablate("--evaluate", "--variant", "seed 1") == 2
    assert "no variant is finished" in capsys.readouterr().err
    assert ablate("--variant", "half") == 2
    assert "No variant 'half'; use some of bound 2; bound 4; bound 8" in capsys.readouterr().err


def test_variants_differ_in_what_their_names_say() -> None:
    found = {one.name: one.options for one in ablation.variants(TrainingOptions(minutes=25))}
    usual = TrainingOptions(minutes=25).to_dict()
    differing = {
        name: {key for key, value in options.to_dict().items() if value != usual[key]}
        for name, options in found.items()
    }
    assert differing == {
        "bound 2": {"bound"},
        "bound 4": {"bound"},
        "bound 8": set(),
        "bound 12": {"bound"},
        "bound 16": {"bound"},
        "seed 1": {"seed"},
        "seed 2": {"seed"},
        "no attack": {"attack"},
        "no groups": {"singles", "groups"},
        "half the stages": {"stages"},
        "twice the stages": {"stages"},
        "soft thresholds": {"soft"},
        "convex": {"soft", "tied"},
    }
    filters = {options.architecture.filters for options in found.values()}
    assert filters == {32}


def test_a_variant_that_could_not_be_attacked_is_left_out_of_the_picture() -> None:
    found = ablation.variants(TrainingOptions())[:2]
    rows = [
        {"variant": found[0].name, "clean": 30.0, "worst 4 %": None},
        {"variant": found[1].name, "clean": 31.0, "worst 4 %": 24.0},
    ]
    axes = ablation.picture(found, rows).axes[0]
    assert [text.get_text() for text in axes.texts] == [found[1].name]
