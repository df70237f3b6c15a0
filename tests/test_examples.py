"""The examples of docs/examples run, in short, and print what they should."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from firenet_mri import read

EXAMPLES = Path(__file__).parents[1] / "docs/examples"


@pytest.fixture
def run(monkeypatch, capsys):
    def run_example(name: str, *arguments: str) -> str:
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_the_varnet_tutorial_runs_with_firenet(run) -> None:
    scores = re.findall(r"simulated\d\.h5: SSIM ([\d.]+), PSNR ([\d.]+)", run("varnet_inference"))
    assert len(scores) == 2
    # The zero-filled images have .71 and 24 dB; the targets have noise.
    assert all(float(ssim) > 0.8 and float(psnr) > 29 for ssim, psnr in scores)


def test_the_unet_tutorial_runs_with_firenet(run) -> None:
    found = re.findall(r"^(\S+): SSIM ([\d.]+)", run("unet_inference"), re.MULTILINE)
    scores = {name: float(score) for name, score in found}
    assert scores["FIRENET"] > 0.8 > scores["zero-filled"]


def test_published_weights_open_in_the_varnet_tutorial(run, tmp_path, monkeypatch) -> None:
    from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
    from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
    from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel

    torch.manual_seed(0)
    refinement = ComplexUnet(2, (4, 4, 4, 4, 4, 4))
    refinement.unet.final_conv.weight.data.mul_(0.01)
    maps = CoilSensitivityModel(2, (2, 2, 2, 2, 2, 2))
    network = VariationalNetworkModel(maps, refinement, num_cascades=2).eval()
    weights = tmp_path / "varnet.pt"
    torch.save({f"module.{key}": one for key, one in network.state_dict().items()}, weights)
    options = "--network", "monai-varnet", "--weights", str(weights)
    printed = run("varnet_inference", *options)
    assert len(re.findall(r"simulated\d\.h5: SSIM [\d.]+, PSNR [\d.]+", printed)) == 2
    with pytest.raises(SystemExit, match="use --network monai-varnet"):
        run("unet_inference", "--network", "monai-unet", "--weights", str(weights))
    with pytest.raises(SystemExit, match="needs --weights FILE"):
        run("varnet_inference", "--network", "modl")
    with pytest.raises(SystemExit):
        run("varnet_inference", "--weights", str(weights))
    # The network itself, with the weights that it has, in the loop of the tutorial.
    import published

    monkeypatch.setattr(published, "network_of_kspace", lambda *_: network)
    assert run("varnet_inference", *options) == printed


def test_a_segmentation_network_is_trained_on_firenet_images(run) -> None:
    sizes = ("--steps", "60", "--train", "16", "--test", "8")
    printed = run("train_segmentation", "--seeds", "1", *sizes)
    scores = [float(score) for score in re.findall(r"Dice ([\d.]+)$", printed, re.MULTILINE)]
    assert len(scores) == 2
    assert f"seed 0: FIRENET {scores[0]:.3f}, zero-filled {scores[1]:.3f}" in printed
    # Chance is about 0.1: discs cover few of the pixels.
    assert min(scores) > 0.3


def test_scores_of_several_seeds_have_a_mean_and_a_spread(monkeypatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    from train_segmentation import with_spread

    assert with_spread([0.5]) == "0.500"
    assert with_spread([0.1, 0.2, 0.3]) == "0.200 +- 0.100"


@pytest.mark.slow
def test_a_segmentation_pipeline_is_accelerated_by_two_lines(run, tmp_path) -> None:
    picture = tmp_path / "segmentation.png"
    sizes = ("--steps", "100", "--train", "24", "--test", "6")
    printed = run("accelerate_segmentation", *sizes, "--picture", str(picture))
    assert "(simulated)" in printed
    rows = re.findall(
        r"^(\d)x: Dice zero filling ([\d.]+), trained U-Net ([\d.]+), FIRENET ([\d.]+)$",
        printed,
        re.MULTILINE,
    )
    assert [row[0] for row in rows] == ["2", "4", "6", "8"]
    assert all(float(row[3]) > float(row[1]) for row in rows[1:])
    # Acceleration costs something.
    assert float(rows[0][3]) > float(rows[3][3])
    assert picture.stat().st_size > 10_000


@pytest.mark.slow
def test_firenet_stands_behind_a_trained_network(run) -> None:
    printed = run("stabilise_network", "--steps", "60", "--ascent", "4")
    rows = re.findall(
        r"^(U-Net|FIRENET|U-Net, then FIRENET) +([\d.]+) +([\d.]+), ([\d.]+)$", printed, re.M
    )
    error = {name: float(value) for name, value, *_ in rows}
    assert error["U-Net, then FIRENET"] < error["U-Net"]
    bound = float(re.search(r"at most ([\d.]+)", printed)[1])
    assert max(float(gain) for gain in rows[1][2:]) < bound


def test_a_study_is_converted_and_opened_by_monai(run) -> None:
    printed = run("convert_study", "--coils", "3")
    assert "brain_3slices.h5: done, 3 coils, 90 x 108, 40.0 % sampled" in printed
    # fastMRI's phase encoding comes last.
    assert "brain_3slices.h5: k-space (3, 3, 108, 90) with a mask" in printed
    assert "brain_8coil.h5: k-space (1, 3, 216, 180) with a mask" in printed


def test_a_dicom_series_becomes_kspace(run, tmp_path) -> None:
    sample = EXAMPLES.parents[1] / "sample_data/brain_dicom"
    printed = run("dicom_to_kspace", str(sample), str(tmp_path / "kspace.h5"))
    found = re.search(r"PSNR ([\d.]+) dB, SSIM ([\d.]+)", printed)
    # Zero filling, the root-sum-of-squares of the coils, has 25.2 dB.
    assert float(found[1]) > 30
    scan = read(tmp_path / "kspace.h5")
    assert scan.simulated
    assert bool(scan.mask.all())
