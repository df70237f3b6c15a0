"""``firenet train`` ends with a network and its report, resumes, and says what is wrong."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from firenet_command import firenet
from training_scans import TINY_FLAGS, save_scan

from firenet_mri.firenet.learned.frame import load_learned_frame
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.training import timed
from firenet_mri.training.inputs import TrainingData

SCANS = ("a.npy", "b.npy", "c.npy")
KEPT = ".net.safetensors.training"


@pytest.fixture
def folder(tmp_path):
    """A folder of three fully sampled scans."""
    for seed, name in enumerate(SCANS):
        save_scan(tmp_path / name, seed=seed)
    return tmp_path


def train(folder, *arguments: object, scans=SCANS, minutes=0.005, output="net.safetensors"):
    """Train for some tenths of a second."""
    flags = ("-o", output, "--minutes", minutes, *TINY_FLAGS)
    return firenet("train", *scans, *flags, *arguments, folder=folder)


def test_scans_become_a_network_with_report_and_curve(folder) -> None:
    result = train(folder, "--bound", 3)
    assert result.status == 0, result.err
    assert {path.name for path in folder.iterdir()} == {
        *SCANS,
        *("net.safetensors", "net.json", "net.png"),
    }
    net = load_network(folder / "net.safetensors")
    report = json.loads((folder / "net.json").read_text())
    hashes = report.pop("sha256_of_inputs")
    assert net.report.to_dict() == report
    assert {purpose: len(found) for purpose, found in hashes.items()} == {
        "training": 2,
        "validation": 1,
    }
    assert net.report.coils == (4, 4)
    recipe = report["recipe"]
    assert recipe["options"]["bound"] == 3
    assert recipe["lipschitz_constant"]["proven"] <= 3
    assert f"Proven Lipschitz constant {recipe['lipschitz_constant']['proven']:.4g}" in result.out
    assert "held out: 1 of 3 scan files" in result.out
    assert recipe["curve"][-1]["validation_psnr_db"] == pytest.approx(
        recipe["validation_psnr_db"]["best"], abs=0.01
    )
    text = (folder / "net.json").read_text() + result.out
    assert not any(name in text for name in (*SCANS, str(folder)))


@pytest.mark.slow
def test_a_learned_frame_is_trained_by_the_same_command(folder) -> None:
    flags = ("--family", "frame", "--copies", 1, "--distances", "0,1", "--cases", 2)
    options = (*flags, "--maps", "lowres", "--minutes", 0.005, "-o", "net.safetensors")
    result = firenet("train", *SCANS, *options, folder=folder)
    assert result.status == 0, result.err
    assert "Proven Lipschitz constant 17.66, that of the preset accurate" in result.out
    frame = load_learned_frame(folder / "net.safetensors")
    report = json.loads((folder / "net.json").read_text())
    del report["sha256_of_inputs"]
    assert frame.report.to_dict() == report
    assert report["recipe"]["options"]["family"] == "frame"
    assert report["recipe"]["lipschitz_constant"]["proven"] == frame.lipschitz_bound()
    assert (folder / "net.png").exists()
    refused = firenet("train", *SCANS, *flags, "--bound", 3, "-o", "b.safetensors", folder=folder)
    assert "bound: belongs to the family layers, and frame was asked for" in refused.err
    wrong = firenet("train", *SCANS, *flags[:3], 9, "-o", "b.safetensors", folder=folder)
    assert "9 copies asked for; give 1 to 8" in wrong.err


def test_an_interrupted_training_is_kept_resumed_and_finished(folder, monkeypatch) -> None:
    case = TrainingData.case

    def interrupted(self, number):
        signal.raise_signal(signal.SIGINT)
        return case(self, number)

    monkeypatch.setattr(TrainingData, "case", interrupted)
    stopped = train(folder, minutes=10)
    assert stopped.status == 130
    assert f"{KEPT} after step 1; the same command resumes" in stopped.err
    assert not (folder / "net.safetensors").exists()
    other = train(folder, "--bound", 5, minutes=10)
    assert other.status == 1
    assert "with other options: bound is 8.0 there and 5.0 here;" in other.err
    data = train(folder, minutes=10, scans=("a.npy", "b.npy"))
    assert "it was trained on other data" in data.err
    assert "after step 2;" in train(folder, minutes=10).err
    monkeypatch.undo()
    done = train(folder, "--finish", "--json", minutes=10)
    assert done.status == 0, done.err
    report = json.loads(done.out)
    assert report["recipe"]["steps"] == 2
    assert report["recipe"]["ended"] == "asked to finish early"
    assert load_network(folder / "net.safetensors").report.digest
    assert not (folder / KEPT).exists()
    again = train(folder, "--finish", "--overwrite", minutes=10)
    assert "no training to finish; leave --finish out" in again.err


def test_a_loss_that_is_not_finite_ends_with_the_best_weights(folder, monkeypatch) -> None:
    monkeypatch.setattr(timed, "_DIVERGED", 3)
    case, count = TrainingData.case, [0]

    def broken(self, number):
        count[0] += 1
        good = case(self, number)
        return good if count[0] < 4 else replace(good, kspace=good.kspace * math.nan)

    monkeypatch.setattr(TrainingData, "case", broken)
    result = train(folder, minutes=10)
    assert result.status == 1
    assert "not finite in 3 steps in a row, up to step 6; try a smaller" in result.err
    assert "The best weights before that are in net.safetensors" in result.err
    recipe = load_network(folder / "net.safetensors").report.recipe
    assert recipe["steps_not_finite"] == 3
    count[0] = 4
    from_the_start = train(folder, output="other.safetensors", minutes=10)
    assert "not finite in 3 steps" in from_the_start.err
    assert not (folder / "other.safetensors").exists()


def test_no_step_is_no_network(folder, monkeypatch) -> None:
    cases = TrainingData.validation_cases

    def interrupted(self):
        signal.raise_signal(signal.SIGTERM)
        return cases(self)

    monkeypatch.setattr(TrainingData, "validation_cases", interrupted)
    assert "after step 0;" in train(folder).err
    monkeypatch.undo()
    result = train(folder, "--finish")
    assert result.status == 1
    assert "No step was done, so there is no network to write" in result.err
    assert not (folder / "net.safetensors").exists()


@pytest.mark.parametrize(
    ("error", "where"),
    [(MemoryError(), "case"), (torch.OutOfMemoryError("CUDA out of memory"), "")],
)
def test_too_little_memory_is_one_line(folder, monkeypatch, error, where) -> None:
    def fail(self, *_):
        raise error

    monkeypatch.setattr(TrainingData, "case" if where else "validation_cases", fail)
    result = train(folder)
    assert result.status == 1
    assert "Not enough memory to train; give fewer scans" in result.err
    assert ("is kept" in result.err) == bool(where)


def test_files_that_are_not_fully_sampled_are_named(folder) -> None:
    kspace = np.load(folder / "b.npy")
    kspace[:, ::2] = 0
    np.save(folder / "b.npy", kspace)
    result = train(folder)
    assert result.status == 1
    assert "b.npy: 50% of k-space was sampled; training needs fully sampled scans" in result.err


@pytest.mark.parametrize(
    ("arguments", "scans", "message"),
    [
        ((), (), "There are neither scans nor images to train on"),
        ((), SCANS[:1], "One scan with 1 slice is too little"),
        (("--validation", "a.npy"), SCANS[:2], "1 of 1 validation slice is among the training's"),
        (("--images", "none"), SCANS[:2], "none: no such file"),
        (("--minutes", "0"), SCANS, "minutes is 0.0; it must be positive"),
        (("--attack", "400%"), SCANS, "attack is 4.0; it must lie in [0, 1]"),
        (("--kernel", "4"), SCANS, "kernel is 4; it must be odd"),
        (("--singles", "0", "--groups", "0"), SCANS, "a stage needs at least one filter"),
        (("--group-size", "30"), SCANS, "make groups of at most 9"),
        (("--device", "abacus"), SCANS, "Device 'abacus' is not available here; use cpu"),
        (("--mask", "m.npy"), SCANS, "Unknown option: --mask"),
        (("--output", "net.pt"), SCANS, "net.pt: a network is written as .safetensors"),
        (("--output", "b/net.safetensors"), SCANS, "the folder b does not exist"),
        (("--finish",), SCANS, "no training to finish"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, arguments, scans, message) -> None:
    result = train(folder, *arguments, scans=scans)
    assert result.status in (1, 2)
    lines = [line for line in result.err.splitlines() if line.startswith("firenet:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert not list(folder.glob("net*"))


def test_outputs_and_checkpoints_of_others_are_left_alone(folder) -> None:
    (folder / "net.json").write_text("mine")
    result = train(folder)
    assert "net.json: exists; use --overwrite" in result.err
    assert (folder / "net.json").read_text() == "mine"
    (folder / KEPT).write_bytes(b"no checkpoint")
    result = train(folder, "--overwrite")
    assert "is not a training that can be resumed; delete it" in result.err
    assert (folder / KEPT).read_bytes() == b"no checkpoint"
