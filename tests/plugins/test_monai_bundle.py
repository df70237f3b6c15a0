"""The MONAI bundle runs on the sample scan, is what MONAI's checks want, and can be exported."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from laws import assert_close

from firenet_mri import Certificate, read
from firenet_mri.monai import FIRENETModel

pytest.importorskip(
    "fire", reason="the bundle extra is not installed: pip install firenet_mri[bundle]"
)
pytestmark = [
    # MONAI says at every call that a bundle is code.
    pytest.mark.filterwarnings("ignore:parsing config_file"),
    pytest.mark.filterwarnings("ignore:No hash value provided"),
]
ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "plugins/monai_bundle/firenet_reconstruction"
CONFIGS = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}


@pytest.fixture(autouse=True)
def in_the_bundle(monkeypatch) -> None:
    monkeypatch.chdir(BUNDLE)


def test_the_command_line_writes_image_and_certificate_in_the_right_place(tmp_path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    options = ["--config_file", "configs/inference.json", "--output_dir", str(tmp_path)]
    subprocess.run([*command, *options], check=True, capture_output=True)
    written = nibabel.load(tmp_path / "brain_8coil.nii.gz")
    scan = read(ROOT / "sample_data/brain_8coil.h5")
    shape = (1, *scan.spatial_shape)
    assert written.shape == shape[::-1]
    np.testing.assert_allclose(written.affine, scan.geometry.affine_ras(shape), atol=1e-4)
    report = json.loads((tmp_path / "brain_8coil.json").read_text())
    assert Certificate.from_dict(report["certificate"]).lipschitz_bound < 30


def test_existing_files_are_kept_unless_told_otherwise(tmp_path) -> None:
    from monai.bundle import run

    kept = tmp_path / "brain_8coil.png"
    kept.write_text("mine")
    with pytest.raises(RuntimeError) as info:
        run(
            config_file="configs/inference.json",
            output_dir=str(tmp_path),
            preset="stable",
            maps="lowres",
        )
    assert "brain_8coil.png" in str(info.value.__cause__)
    assert "exists" in str(info.value.__cause__)
    assert kept.read_text() == "mine"


def test_evaluation_gives_the_documented_figures(tmp_path) -> None:
    from monai.bundle import run

    configs = ["configs/inference.json", "configs/evaluate.json"]
    run(config_file=configs, output_dir=str(tmp_path))
    scores = json.loads((tmp_path / "metrics.json").read_text())
    stated = json.loads(Path("configs/metadata.json").read_text())["eval_metrics"]
    assert scores["psnr_db"] == pytest.approx(stated["psnr_db"], abs=0.1)
    assert scores["ssim"] == pytest.approx(stated["ssim"], abs=0.002)


def test_metadata_are_what_the_specification_asks_for(tmp_path) -> None:
    from monai.bundle import verify_metadata

    schema = tmp_path / "metadata_schema.json"
    schema.write_text(Path("configs/metadata_schema.json").read_text())
    verify_metadata(meta_file="configs/metadata.json", filepath=str(schema))
    broken = json.loads(Path("configs/metadata.json").read_text())
    del broken["network_data_format"]["outputs"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(ValueError, match="outputs"):
        verify_metadata(meta_file=str(tmp_path / "broken.json"), filepath=str(schema))


def test_pinned_versions_are_those_of_the_constraints() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    meta = json.loads(Path("configs/metadata.json").read_text())
    stated = {name: meta[f"{name}_version"] for name in ("monai", "numpy")}
    stated |= {"torch": meta["pytorch_version"]} | meta["required_packages_version"]
    stated.pop("firenet-mri")
    assert {name: pins[name] for name in stated} == stated


def test_the_network_takes_and_gives_what_the_metadata_say() -> None:
    from monai.bundle import verify_net_in_out

    verify_net_in_out("network_def", any=32, device="cpu", **CONFIGS)
    with pytest.raises(ValueError, match="channel"):
        verify_net_in_out(
            "network_def",
            any=32,
            device="cpu",
            **CONFIGS,
            **{"_meta_#network_data_format#outputs#pred#num_channels": 2},
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_exported_network_serves_other_data_of_its_shape(tmp_path) -> None:
    from monai.bundle import ckpt_export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckpt_export(
            "network_def",
            filepath=str(tmp_path / "model.ts"),
            ckpt_file="models/model.pt",
            use_trace=True,
            input_shape=[1, 3, 32, 32, 2],
            **CONFIGS,
            **{"network_def#layers": 6},
        )
    exported = torch.jit.load(tmp_path / "model.ts")
    kspace = torch.randn(1, 3, 32, 32, 2, generator=torch.Generator().manual_seed(0))
    # 24 columns in the centre, from which the eager model takes its maps, too.
    kspace[:, :, :, [0, 2, 29, 31]] = 0
    model = FIRENETModel(maps="lowres", channel_dim=True, layers=6)
    with torch.no_grad():
        assert_close(exported(kspace), model(kspace), 1e-4)


def test_the_checkpoint_is_empty() -> None:
    assert torch.load("models/model.pt", weights_only=True) == {}
