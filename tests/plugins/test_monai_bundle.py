"""The MONAI bundle runs from any folder, is what MONAI's checks want, and can be exported."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from firenet_command import firenet
from laws import assert_close
from monai.bundle import ConfigWorkflow
from monai.engines import SupervisedEvaluator

from firenet_mri import Certificate, read, reconstruct
from firenet_mri.errors import UsageError
from firenet_mri.monai import FIRENETModel, ScanInferer

pytest.importorskip(
    "fire", reason="the bundle extra is not installed: pip install firenet_mri[bundle]"
)
pytestmark = [
    # MONAI says at every call that a bundle is code.
    pytest.mark.filterwarnings("ignore:parsing config_file"),
    pytest.mark.filterwarnings("ignore:No hash value provided"),
]
needs_a_right_tracer = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 13),
    reason="torch before 2.13 traces another network",
)
ROOT = Path(__file__).parents[2]
CONFIGS = {"meta_file": "configs/metadata.json", "config_file": "configs/inference.json"}


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Return the bundle as ``firenet bundle`` writes it, far from the project."""
    folder = tmp_path_factory.mktemp("elsewhere") / "firenet_reconstruction"
    result = firenet("bundle", folder)
    assert result.status == 0, result.err
    return folder


@pytest.fixture(autouse=True)
def in_the_bundle(written, monkeypatch) -> None:
    monkeypatch.chdir(written)


def workflow(**overrides) -> ConfigWorkflow:
    made = ConfigWorkflow(
        "configs/inference.json",
        workflow_type="inference",
        logging_file=False,
        **{"preset": "stable", "maps": "lowres", **overrides},
    )
    made.initialize()
    return made


def test_the_command_line_writes_image_and_certificate_in_the_right_place(
    tmp_path, monkeypatch
) -> None:
    options = ["--config_file", "configs/inference.json", "--output_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["monai.bundle", "run", *options])
    # In this process: a new one would load MONAI anew.
    runpy.run_module("monai.bundle", run_name="__main__")
    image = nibabel.load(tmp_path / "brain_3slices.nii.gz")
    scan = read("data/brain_3slices.h5")
    shape = (3, *scan.spatial_shape)
    assert image.shape == shape[::-1]
    np.testing.assert_allclose(image.affine, scan.geometry.affine_ras(shape), atol=1e-4)
    # The image that firenet recon writes, to rounding.
    expected = reconstruct(scan).image.abs().numpy().T
    np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-4 * expected.max())
    report = json.loads((tmp_path / "brain_3slices.json").read_text())
    assert Certificate.from_dict(report["certificate"]).lipschitz_bound < 30
    assert (tmp_path / "brain_3slices.evidence.h5").is_file()


def test_no_property_that_monai_knows_is_missing(tmp_path) -> None:
    made = workflow(output_dir=str(tmp_path))
    assert made.check_properties() == []
    assert isinstance(made.evaluator, SupervisedEvaluator)
    assert isinstance(made.inferer, ScanInferer)
    assert isinstance(made.network_def, FIRENETModel)
    assert len(made.dataset) == 1
    assert made.dataset[0]["image"].shape == (3, 4, 90, 108)
    assert made.evaluator.network is made.network_def


def test_no_path_leaves_the_bundle() -> None:
    for path in Path().rglob("*.json"):
        assert ".." not in path.read_text(), path
    assert "sample_data" not in "".join(path.read_text() for path in Path("configs").iterdir())


def test_other_folders_of_scans_are_taken_and_empty_ones_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    bundle, scans, output = in_bundle(tmp_path), tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    for name in ("a.h5", "b.h5"):
        shutil.copy(bundle / "data/brain_3slices.h5", scans / name)
    monkeypatch.chdir(bundle)
    workflow(dataset_dir=str(scans), output_dir=str(output)).run()
    assert {path.name for path in output.glob("*.nii.gz")} == {"a.nii.gz", "b.nii.gz"}
    first, second = (json.loads((output / f"{name}.json").read_text()) for name in "ab")
    assert first["certificate"] == second["certificate"]
    # Of the preset that was asked for.
    assert Certificate.from_dict(first["certificate"]).lipschitz_bound < 5
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError) as info:
        workflow(dataset_dir=str(tmp_path / "empty"), output_dir=str(output))
    assert "holds no scan" in str(causes(info.value))


def in_bundle(folder: Path) -> Path:
    """Return a copy of the bundle in a folder."""
    copy = folder / "a copy"
    assert firenet("bundle", copy).status == 0
    return copy


def causes(error: BaseException | None) -> list[str]:
    """Return the messages of an error and of what caused it."""
    found = []
    while error is not None:
        found.append(str(error))
        error = error.__cause__
    return found


def test_existing_files_are_kept_unless_told_otherwise(tmp_path) -> None:
    kept = tmp_path / "brain_3slices.nii.gz"
    kept.write_text("mine")
    with pytest.raises(RuntimeError) as info:
        workflow(output_dir=str(tmp_path))
    assert "brain_3slices.nii.gz: exists" in str(causes(info.value))
    assert kept.read_text() == "mine"


def test_a_device_that_is_not_there_is_named_before_any_work(tmp_path) -> None:
    with pytest.raises(RuntimeError) as info:
        workflow(output_dir=str(tmp_path / "out"), device="tpu")
    assert "UsageError" in repr(info.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_not_written_into(tmp_path) -> None:
    (tmp_path / "bundle").mkdir()
    result = firenet("bundle", tmp_path / "bundle")
    assert result.status == 1
    assert "exists; give the name of a folder to create" in result.err
    assert "does not exist; create it first" in firenet("bundle", tmp_path / "missing/bundle").err
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_only_what_the_options_hold_is_certified() -> None:
    kspace = torch.ones(1, 1, 1, 16, 16, dtype=torch.complex64)
    with pytest.raises(UsageError, match="is a Identity; certificates"):
        ScanInferer()(kspace, torch.nn.Identity())
    for model in (FIRENETModel(maps=torch.ones(1, 16, 16) + 0j), FIRENETModel(trainable=True)):
        with pytest.raises(UsageError, match="maps of its own or trained steps"):
            ScanInferer()(kspace, model)


def test_the_mask_that_comes_with_a_batch_is_used(randn) -> None:
    kspace = randn(2, 1, 1, 16, 16).to(torch.complex64)
    lines = torch.ones(2, 1, 1, 16, 16, dtype=torch.bool)
    lines[1, ..., ::2, :] = False
    inferer = ScanInferer(certificate=False, evidence=False)
    model = FIRENETModel(maps="none", layers=2)
    found = inferer(kspace, model, lines)
    assert_close(found, inferer(kspace * lines, model, mask=lines), 1e-6)
    assert not torch.allclose(found[1], inferer(kspace, model)[1])


@pytest.mark.slow
def test_the_wheel_holds_the_whole_bundle_and_stays_small(tmp_path) -> None:
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path / "wheel")]
    # A copy: building leaves folders behind.
    for name in ("firenet_mri", "pyproject.toml", "README.md", "LICENSE"):
        source, target = ROOT / name, tmp_path / "source" / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    command = [sys.executable, "-m", "pip", "wheel", *options, str(tmp_path / "source")]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").iterdir()
    inside = "firenet_mri/monai/bundle/"
    assert wheel.stat().st_size < 1_250_000
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(inside)]
        held = {name.removeprefix(inside): archive.read(name) for name in names}
    source = ROOT / inside
    expected = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file()
    }
    assert held == expected


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

    verify_net_in_out("network_def", any=32, device="cpu", maps="lowres", **CONFIGS)
    with pytest.raises(ValueError, match="channel"):
        verify_net_in_out(
            "network_def",
            any=32,
            device="cpu",
            maps="lowres",
            **CONFIGS,
            **{"_meta_#network_data_format#outputs#pred#num_channels": 2},
        )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@needs_a_right_tracer
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
            maps="lowres",
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
