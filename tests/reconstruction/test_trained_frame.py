"""A scan reconstructed with a learned frame has what `accurate` has, and names the weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forging import forge, kspace, set_number
from learned_networks import REPORT, frame_file, small_frame, weights_file

from firenet_mri import read, reconstruct
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.learned.frame import FrameLayout
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.reconstruction import Reconstruction
from firenet_mri.reconstruction.check import Checked, check_reconstruction
from firenet_mri.reconstruction.options import ReconstructionOptions

LAYERS = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of frames, a scan, and its image with certificate."""
    folder = tmp_path_factory.mktemp("made")
    frame_file(folder), frame_file(folder, 1)
    np.save(folder / "scan.npy", kspace())
    of_frame(folder, jacobian=True).save(folder / "a.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def of_frame(folder: Path, number: int = 0, **options: Any) -> Reconstruction:
    file = folder / f"frame{number}.safetensors"
    return reconstruct(read(folder / "scan.npy"), weights=file, **{"layers": LAYERS, **options})


def checked_with(folder: Path, number: int = 0, **options: Any) -> Checked:
    """Check a.json with a frame, which the record knows by its digest alone."""
    saved = read_certificate(folder / "a.json")
    wanted = dict(saved.report["options"]["reconstruction"])
    network = {**wanted["network"], "weights": folder / f"frame{number}.safetensors"}
    chosen = ReconstructionOptions.from_mapping({**wanted, "network": network})
    evidence = read_evidence(saved.evidence_beside())
    return check_reconstruction(saved, read(folder / "scan.npy"), evidence, chosen, **options)


def test_the_certificate_has_gap_and_constant_of_accurate_and_names_the_weights(made) -> None:
    report = json.loads((made / "a.json").read_text())
    entries = {entry["name"]: entry for entry in report["certificate"]["entries"]}
    assert entries["duality_gap"]["status"] == "proven"
    accurate = reconstruct(read(made / "scan.npy"), layers=LAYERS, no_gap=True)
    (constant,) = entries["lipschitz_bound"]["values"]["lipschitz_bound"]
    assert constant == pytest.approx(accurate.certificate.lipschitz_bound, rel=1e-9)
    bounds = entries["jacobian_at_data"]["values"]
    assert 0 < bounds["lower"][0] <= bounds["upper"][0] <= 1.2 * bounds["lower"][0]
    assert bounds["lower"][0] <= constant
    frame = small_frame()
    assert frame.digest in entries["network_weights"]["statement"]
    assert REPORT.digest in entries["network_weights"]["statement"]
    assert "trained network" not in report["certificate"]["scope"]
    network = report["network"]
    assert network["lam"] == pytest.approx(accurate.network.lam, rel=1e-9)
    assert network["layers"] == LAYERS
    assert (network["weights"], network["training"]) == (frame.digest, REPORT.digest)
    weights = report["options"]["reconstruction"]["network"]["weights"]
    assert list(weights) == ["sha256_of_file"]


def test_what_was_made_is_confirmed_and_recomputed(made) -> None:
    checked = checked_with(made, again=True)
    for line in ("duality gap", "lipschitz bound", "jacobian at data"):
        assert any(line in said for said in checked.agrees), line


@pytest.mark.parametrize(
    ("entry", "number", "value"),
    [("duality_gap", "relative_gap", 1e-9), ("lipschitz_bound", "lipschitz_bound", 1.01)],
)
def test_a_better_number_is_refused(folder, entry, number, value) -> None:
    forge(folder, set_number(entry, number, value))
    with pytest.raises(DataError, match=rf"{number} of slice 1 is stated as"):
        checked_with(folder)


def test_another_frame_is_refused(folder) -> None:
    with pytest.raises(DataError, match="its record contains options other"):
        checked_with(folder, 1)


def test_a_scan_unlike_the_training_is_warned_of(made) -> None:
    names = {one.name for one in of_frame(made, no_gap=True).warnings}
    # Three quarters are sampled, and the report says 2 to 9.
    assert "acceleration_unlike_training" in names


@pytest.mark.parametrize(
    "options",
    [{"lam": 0.01}, {"layers": 3}, {"budget": 0.04}, {"preset": "stable"}],
    ids=str,
)
def test_what_a_frame_leaves_to_its_preset_is_that_of_the_preset(made, options) -> None:
    wanted = {"layers": LAYERS, "no_gap": True, **options}
    found = of_frame(made, **wanted)
    accurate = reconstruct(read(made / "scan.npy"), **wanted)
    assert found.network.lam == pytest.approx(accurate.network.lam)
    assert found.network.layers == accurate.network.layers
    assert found.certificate.lipschitz_bound == pytest.approx(accurate.certificate.lipschitz_bound)


@pytest.mark.parametrize(
    "options",
    [
        {"reweighting": 1},
        {"phase_constraint": 0.3},
        {"map_sets": 2},
        {"coils": 3},
        pytest.param({"recovery": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_what_serves_accurate_serves_a_frame(made, options) -> None:
    result = of_frame(made, **options)
    assert result.certificate.relative_gap is not None
    assert result.network.weights == small_frame().digest
    assert any(entry.name == "network_weights" for entry in result.certificate.entries)
    usual = reconstruct(read(made / "scan.npy"), layers=LAYERS, **options).certificate
    has_none = usual.lipschitz_bound is None
    assert (result.certificate.lipschitz_bound is None) == has_none


@pytest.mark.parametrize(
    "options",
    [{"sparsifier": "haar"}, {"levels": 2}, {"preset": "coherent"}, {"preset": "sharp"}],
    ids=str,
)
def test_what_a_frame_replaces_is_refused_by_name_before_any_work(folder, options) -> None:
    (name,) = options
    file = folder / "frame0.safetensors"
    with pytest.raises(UsageError, match=rf"{name}: a learned frame \(--network\)"):
        ReconstructionOptions.from_mapping({"weights": str(file), **options})
    layers = weights_file(folder)
    with pytest.raises(UsageError, match=rf"{name}: belongs to a preset"):
        ReconstructionOptions.from_mapping({"weights": str(layers), **options})


def test_coherent_groups_keep_the_gap_and_are_not_reweighted(folder) -> None:
    layout = FrameLayout(1, (1,), (1, 3, 5), coherent=True)
    small_frame(0, layout).save(folder / "frame7.safetensors")
    assert of_frame(folder, 7).certificate.relative_gap is not None
    with pytest.raises(UsageError, match=r"which the preset coherent, .* leave one out"):
        of_frame(folder, 7, reweighting=1)
