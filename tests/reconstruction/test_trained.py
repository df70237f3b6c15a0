"""A scan reconstructed by a trained network: what its certificate says, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from forging import SHAPE, forge, kspace, noise, set_number, write_image
from learned_networks import REPORT, small_network, weights_file

from firenet_mri import RawScan, read, reconstruct
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.firenet.learned import files, weights
from firenet_mri.firenet.learned.weights import load_network
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.operators import LinearOperator, encoding_operator
from firenet_mri.reconstruction import Reconstruction
from firenet_mri.reconstruction.check import Checked, check_reconstruction
from firenet_mri.reconstruction.options import ReconstructionOptions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of weights, a scan, and its image with certificate."""
    folder = tmp_path_factory.mktemp("made")
    weights_file(folder), weights_file(folder, 1)
    np.save(folder / "scan.npy", kspace())
    trained(folder, jacobian=True).save(folder / "a.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def trained(folder: Path, number: int = 0, **options: Any) -> Reconstruction:
    return reconstruct(
        read(folder / "scan.npy"), weights=folder / f"net{number}.safetensors", **options
    )


def checked_with(folder: Path, number: int = 0, **options: Any) -> Checked:
    """Check a.json with weights, which the record knows by their digest alone."""
    saved = read_certificate(folder / "a.json")
    wanted = dict(saved.report["options"]["reconstruction"])
    network = {**wanted["network"], "weights": folder / f"net{number}.safetensors"}
    chosen = ReconstructionOptions.from_mapping({**wanted, "network": network})
    evidence = read_evidence(saved.evidence_beside())
    return check_reconstruction(saved, read(folder / "scan.npy"), evidence, chosen, **options)


def entries_of(folder: Path) -> dict[str, dict[str, Any]]:
    report = json.loads((folder / "a.json").read_text())
    return {entry["name"]: entry for entry in report["certificate"]["entries"]}


def test_the_certificate_has_the_constant_of_the_weights_and_no_gap(made) -> None:
    net = load_network(made / "net0.safetensors")
    entries = entries_of(made)
    assert entries["duality_gap"]["status"] == "not verified"
    assert "minimises nothing" in entries["duality_gap"]["statement"]
    bound = entries["lipschitz_bound"]
    assert bound["status"] == "proven"
    assert "It follows from the layers, whatever their weights." in bound["statement"]
    assert "step sizes" not in bound["statement"]
    layers = load_network(made / "net0.safetensors").lipschitz_bound(unit())
    (stated,) = bound["values"]["lipschitz_bound"]
    assert stated == pytest.approx((layers**2 + min(layers, 2.5) ** 2) ** 0.5, rel=1e-4)
    assert net.trained.digest in entries["network_weights"]["statement"]
    assert REPORT.digest in entries["network_weights"]["statement"]
    report = json.loads((made / "a.json").read_text())
    assert report["network"] == {
        "layers": 3,
        "weights": net.trained.digest,
        "training": REPORT.digest,
    }
    assert "trained network" in report["certificate"]["scope"]
    assert "optimum was not computed" not in report["certificate"]["sentence"]
    # Files are known by their digests alone.
    assert str(made) not in json.dumps(report)


def unit() -> LinearOperator:
    """Return an encoding operator of norm 1."""
    return encoding_operator(None, torch.ones(1, 8, 8, dtype=torch.complex64), 2)


def test_both_sides_of_the_jacobian_lie_below_the_constant(made) -> None:
    entries = entries_of(made)
    bounds = entries["jacobian_at_data"]["values"]
    at_data = entries["lipschitz_bound"]["values"]["lipschitz_bound_at_data"][0]
    assert 0 < bounds["lower"][0] <= bounds["upper"][0] <= 1.2 * bounds["lower"][0]
    assert bounds["lower"][0] <= at_data
    assert entries["image_with_maps_1_percent"]["status"] == "not verified"


def test_what_was_made_is_confirmed_by_running_the_network_again(made) -> None:
    checked = checked_with(made)
    assert "The network was run again and gives this image." in checked.agrees
    assert "Recomputed and the same: lipschitz bound." in checked.agrees
    assert any(line.startswith("Measured gain: recomputed") for line in checked.unchecked)
    again = checked_with(made, again=True)
    assert "Recomputed and the same: jacobian at data." in again.agrees


def test_a_smaller_constant_is_refused(folder) -> None:
    forge(folder, set_number("lipschitz_bound", "lipschitz_bound", 1.01))
    with pytest.raises(DataError, match=r"lipschitz_bound of slice 1 is stated as 1\.01"):
        checked_with(folder)


def test_an_image_that_the_network_does_not_make_is_refused(folder) -> None:
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        file["x"][...] = noise(0.1)
    write_image(folder, noise(0.1))
    forge(folder)
    with pytest.raises(DataError, match=r"the network was run again .* gives another image"):
        checked_with(folder)


def test_other_weights_are_refused(folder) -> None:
    with pytest.raises(DataError, match="its record contains options other"):
        checked_with(folder, 1)


def test_weights_that_a_record_was_forged_to_name_are_refused(folder) -> None:
    other = NetworkOptions(weights=folder / "net1.safetensors").key()["weights"]

    def change(report):
        report["options"]["reconstruction"]["network"]["weights"] = other

    forge(folder, change)
    with pytest.raises(DataError, match="states network as"):
        checked_with(folder, 1)


def test_a_record_whose_network_was_forged_is_refused_by_the_weights_entry(folder) -> None:
    other = NetworkOptions(weights=folder / "net1.safetensors").key()["weights"]
    net = load_network(folder / "net1.safetensors")

    def change(report):
        report["options"]["reconstruction"]["network"]["weights"] = other
        report["network"]["weights"] = net.trained.digest

    forge(folder, change)
    with pytest.raises(DataError, match=r"gives another image|recomputed it"):
        checked_with(folder, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"lam": 0.1},
        {"sparsifier": "haar"},
        {"levels": 2},
        {"layers": 4},
        {"budget": 0.02},
        {"relative_gap": 0.1},
        {"accuracy": 0.1},
        {"preset": "stable"},
        {"phase_constraint": 0.3},
        {"reweighting": 1},
        {"recovery": True},
    ],
    ids=str,
)
def test_what_means_nothing_for_a_trained_network_is_refused_by_name(options) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=rf"{name}: .*\(--network\)"):
        ReconstructionOptions.from_mapping({"weights": "learned", **options})


def test_two_map_sets_coils_and_background_are_served(folder) -> None:
    result = trained(folder, map_sets=2)
    assert result.image.shape == (2, *SHAPE)
    assert result.certificate.lipschitz_bound is not None
    result = trained(folder, coils=3, background="keep")
    assert result.certificate.lipschitz_bound is not None


def test_a_volume_is_refused_unless_it_is_taken_apart(folder) -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((2, 12, 10, 6)) + 1j * rng.standard_normal((2, 12, 10, 6))
    scan = RawScan(
        kspace=torch.from_numpy(samples.astype(np.complex64)),
        mask=torch.ones(1, 12, 10, 6, dtype=torch.bool),
        spatial_ndim=3,
        name="volume",
    )
    file = folder / "net0.safetensors"
    with pytest.raises(UsageError, match=r"volume: is a volume, .* give by_readout"):
        reconstruct(scan, weights=file, maps="lowres")
    result = reconstruct(scan, weights=file, maps="lowres", by_readout=True)
    assert result.image.shape == (12, 10, 6)
    assert result.certificate.items == 6


def test_a_trajectory_is_divided_by_its_proven_norm(folder) -> None:
    rng = np.random.default_rng(0)
    angles = np.pi * np.arange(24) / 24
    radii = np.linspace(-15, 15, 31)
    points = np.stack([np.outer(np.sin(angles), radii), np.outer(np.cos(angles), radii)], -1)
    samples = rng.standard_normal((1, 24, 31)) + 1j * rng.standard_normal((1, 24, 31))
    np.save(folder / "spokes.npy", samples.astype(np.complex64))
    scan = read(folder / "spokes.npy", trajectory=points.astype(np.float32))
    result = reconstruct(scan, weights=folder / "net0.safetensors", maps="none")
    assert result.certificate.lipschitz_bound is not None
    assert "trajectory" in result.certificate.lipschitz_statement
    (warning,) = (one for one in result.warnings if one.name == "sampling_unlike_training")
    assert "sampled along a trajectory" in warning.sentence


def test_layers_are_counted_to_the_end(folder) -> None:
    seen: list[tuple[int, int]] = []
    trained(folder, on_layer=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 3) for k in (1, 2, 3)]
    seen.clear()
    trained(folder, jacobian=True, on_layer=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]


def test_images_say_that_trained_weights_made_them(folder) -> None:
    result = trained(folder)
    digest = load_network(folder / "net0.safetensors").trained.digest
    result.save(folder / "b.nii.gz")
    said = nibabel.load(folder / "b.nii.gz").header["descrip"].tobytes().decode()
    assert f"trained weights {digest[:16]}, with certificate" in said
    files = result.save_bids_pair(folder / "sub-01_T1w")
    sidecar = json.loads(next(one for one in files if one.suffix == ".json").read_text())
    assert sidecar["ReconMethodName"] == "FIRENET, trained network"
    assert sidecar["ReconMethodParameters"] == {"WeightsSHA256": digest}


def test_the_shipped_network_is_found_by_its_name(folder, monkeypatch) -> None:
    monkeypatch.setattr(files, "weights_path", lambda name: folder / "net0.safetensors")
    options = NetworkOptions.from_mapping({"weights": "learned"})
    assert options.to_dict()["weights"] == "learned"
    result = reconstruct(read(folder / "scan.npy"), weights="learned")
    assert torch.equal(result.image, trained(folder).image)


def test_a_missing_file_is_named_before_any_work(folder) -> None:
    with pytest.raises(FileError, match=r"none\.safetensors"):
        reconstruct(read(folder / "scan.npy"), weights=str(folder / "none.safetensors"))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, None),
        ({"acceleration": (2.0, 9.0)}, "acceleration_unlike_training"),
        ({"acceleration": (1.0, 1.2)}, "acceleration_unlike_training"),
        ({"coils": (6, 32)}, "coils_unlike_training"),
        ({"coils": (1, 3)}, "coils_unlike_training"),
        ({"sampling": ("points",)}, "sampling_unlike_training"),
        ({"sampling": ("lines",)}, None),
    ],
    ids=str,
)
def test_a_scan_unlike_the_training_is_warned_of(folder, changes, name) -> None:
    report = replace(REPORT, **{"acceleration": (1.0, 9.0), **changes})
    weights.save_network(folder / "net9.safetensors", small_network(), report)
    result = trained(folder, 9)
    found = {one.name: one for one in result.warnings if one.name.endswith("unlike_training")}
    assert set(found) == ({name} if name else set())
    # Half of the lines and the centre: three quarters are sampled.
    factors = {"acceleration_unlike_training": 4 / 3, "coils_unlike_training": 4}
    for one in found.values():
        if one.name == "sampling_unlike_training":
            assert "sampled by lines" in one.sentence
            continue
        low, high = getattr(report, one.name.split("_")[0])
        value = factors[one.name]
        assert one.value == pytest.approx(max(value / high, low / value))
        assert f"{low:.3g} to {high:.3g};" in one.sentence


def test_noise_is_compared_where_it_was_measured(folder) -> None:
    rng = np.random.default_rng(1)
    measured = 0.01 * (rng.standard_normal((4, 4000)) + 1j * rng.standard_normal((4, 4000)))
    samples = np.load(folder / "scan.npy")
    report = replace(REPORT, acceleration=(1.0, 9.0), noise=(0.0, 1e-4))
    weights.save_network(folder / "net9.safetensors", small_network(), report)
    file = folder / "net9.safetensors"
    scan = read(folder / "scan.npy", noise_file=measured.astype(np.complex64))
    (found,) = (
        one for one in reconstruct(scan, weights=file).warnings if one.name.startswith("noise")
    )
    # 0.01 in real and imaginary part, three quarters of the samples in four coils.
    count = 4 * 0.75 * SHAPE[0] * SHAPE[1]
    expected = 0.01 * (2 * count) ** 0.5 / np.linalg.norm(samples)
    assert found.value == pytest.approx(expected / 1e-4, rel=0.05)
    unknown = reconstruct(read(folder / "scan.npy"), weights=file)
    assert not [one for one in unknown.warnings if one.name.startswith("noise")]


def test_warnings_of_the_training_are_measured_again(folder) -> None:
    report = replace(REPORT, coils=(6, 32), acceleration=(1.0, 9.0))
    weights.save_network(folder / "net0.safetensors", small_network(), report)
    trained(folder).save(folder / "a.nii.gz", overwrite=True)
    assert any("coils unlike training" in line for line in checked_with(folder).agrees)

    def change(found):
        entries = found["certificate"]["entries"]
        found["certificate"]["entries"] = [
            one for one in entries if one["name"] != "warning_coils_unlike_training"
        ]
        found["warnings"] = []

    forge(folder, change)
    with pytest.raises(DataError, match="omits the warning coils unlike training"):
        checked_with(folder)
