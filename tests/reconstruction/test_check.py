"""A certificate is recomputed: what was forged is refused, though every digest was made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import sigpy.mri
import torch
from forging import (
    SHAPE,
    change_evidence,
    check,
    forge,
    kspace,
    noise,
    set_number,
    smaller_gap,
    write_image,
)

from firenet_mri import RawScan, read, reconstruct
from firenet_mri.errors import DataError, FileError, FirenetError
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.reconstruction.check import check_reconstruction
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.scan import digest_of_scan

OPTIONS: dict[str, dict[str, Any]] = {
    "accurate": {"preset": "accurate"},
    "stable": {"preset": "stable"},
    "paper": {"preset": "paper"},
    "haar": {"sparsifier": "haar"},
    "coherent": {"preset": "coherent", "layers": 20},
    "tv": {"sparsifier": "tv", "layers": 20},
    "adaptive": {"preset": "adaptive", "relative_gap": 1e-3},
    "sets": {"map_sets": 2, "layers": 10},
    "background": {"background": "keep", "layers": 10},
    "phase": {"phase_constraint": 0.3, "layers": 10},
    "compressed": {"coils": 3, "layers": 10},
    "without a gap": {"no_gap": True, "layers": 5},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, another one, and an image with its certificate."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "scan.npy", kspace())
    np.save(folder / "other.npy", kspace(1))
    reconstruct(read(folder / "scan.npy"), layers=12).save(folder / "a.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("name", OPTIONS)
def test_what_was_made_is_confirmed_whatever_the_options(name, tmp_path) -> None:
    np.save(tmp_path / "scan.npy", kspace())
    result = reconstruct(read(tmp_path / "scan.npy"), **OPTIONS[name])
    result.save(tmp_path / "a.nii.gz")
    checked = check(tmp_path)
    has_gap = "Recomputed and the same: duality gap." in checked.agrees
    assert has_gap == (name != "without a gap")
    assert any("--again runs the network once more" in line for line in checked.unchecked)
    stored = read_evidence(tmp_path / "a.evidence.h5")
    images = [one for one in (stored.x, stored.source, stored.near) if len(one)]
    assert len(images) <= 4
    assert (len(stored.near) > 0) == (name not in ("paper", "haar", "without a gap"))


def test_network_is_run_again_when_asked(folder) -> None:
    seen: list[tuple[int, int]] = []
    checked = check(folder, again=True, on_item=lambda *count: seen.append(count))
    assert "The network was run again and gives this image." in checked.agrees
    assert not any("again" in line for line in checked.unchecked)
    assert seen == [(1, 1)]


def test_weights_from_the_pass_before_are_known_to_who_runs_it(folder) -> None:
    reconstruct(read(folder / "scan.npy"), layers=6, reweighting=1).save(
        folder / "a.nii.gz", overwrite=True
    )
    checked = check(folder)
    assert not any("duality" in line for line in checked.agrees)
    assert any(
        line.startswith("Duality gap: recomputed only with --again") for line in checked.unchecked
    )
    assert "Recomputed and the same: duality gap." in check(folder, again=True).agrees


def test_measured_entries_are_recomputed_with_the_network(folder) -> None:
    reconstruct(read(folder / "scan.npy"), layers=6, jacobian=True).save(
        folder / "a.nii.gz", overwrite=True
    )
    assert any(line.startswith("Measured gain: recomputed") for line in check(folder).unchecked)
    assert "Recomputed and the same: measured gain." in check(folder, again=True).agrees
    forge(folder, set_number("measured_gain", "measured_gain", 0.1))
    with pytest.raises(DataError, match=r"measured_gain of slice 1 is stated as 0.1"):
        check(folder, again=True)


def test_another_image_is_refused(folder) -> None:
    write_image(folder, noise(0.1))
    forge(folder)
    with pytest.raises(DataError, match="is not the image of the evidence; pixels differ"):
        check(folder)


def test_one_pixel_is_seen(folder) -> None:
    x = read_evidence(folder / "a.evidence.h5").x.numpy().copy()
    x[0, 20, 20] *= 1.001
    write_image(folder, x)
    forge(folder)
    with pytest.raises(DataError, match="is not the image of the evidence"):
        check(folder)


def test_noise_with_evidence_of_its_own_is_refused(folder) -> None:
    write_image(folder, noise(0.1))
    change_evidence(folder, "x", noise(0.1))
    forge(folder, smaller_gap)
    with pytest.raises(DataError, match=r"lower bound of slice 1 is stated|objective of slice 1"):
        check(folder)


def test_another_objective_is_refused(folder) -> None:
    forge(folder, set_number("duality_gap", "objective", 0.1))
    with pytest.raises(DataError, match=r"objective of slice 1 is stated as 0.1"):
        check(folder)


def test_another_gap_is_refused(folder) -> None:
    forge(folder, smaller_gap)
    with pytest.raises(DataError, match="lower bound of slice 1 is stated as"):
        check(folder)


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("lipschitz_bound", "lipschitz_bound"),
        ("lipschitz_bound", "lipschitz_bound_at_data"),
        ("lipschitz_bound_of_samples", "lipschitz_bound_of_samples"),
        ("relative_lipschitz_bound", "percent_per_percent"),
        ("maps_1_percent", "gap_with_other_maps"),
    ],
)
def test_another_constant_is_refused(folder, entry, name) -> None:
    forge(folder, set_number(entry, name, 0.01))
    with pytest.raises(DataError, match=f"{name} of slice 1 is stated as 0.01; recomputed"):
        check(folder)


def test_another_scan_is_refused(folder) -> None:
    digests = digest_of_scan(read(folder / "other.npy"))._asdict()

    def change(report: dict[str, Any]) -> None:
        report["certificate"]["digests"].update(digests)

    forge(folder, change)
    with pytest.raises(DataError, match=r"is stated as|its dual gives"):
        check(folder, "other.npy")


def test_another_trajectory_is_refused(tmp_path) -> None:
    angles = np.arange(24) * 2.399963
    radii = np.arange(-17, 18)
    points = np.stack([np.sin(angles)[:, None] * radii, np.cos(angles)[:, None] * radii], -1)
    maps = sigpy.mri.birdcage_maps((4, *SHAPE))
    image = maps * sigpy.shepp_logan(SHAPE)
    samples = sigpy.nufft(image, points.astype(np.float32)).astype(np.complex64)

    def scan_of(trajectory: np.ndarray) -> RawScan:
        return read(
            _saved(tmp_path, samples.reshape(4, -1)),
            trajectory=torch.from_numpy(trajectory.reshape(-1, 2)),
            matrix_size=SHAPE,
        )

    first, turned = scan_of(points), scan_of(points[..., ::-1].copy())
    result = reconstruct(first, layers=6)
    result.save(tmp_path / "a.nii.gz")
    saved = read_certificate(tmp_path / "a.json")
    wanted, evidence = result.options, read_evidence(tmp_path / "a.evidence.h5")
    assert check_reconstruction(saved, first, evidence, wanted).agrees
    with pytest.raises(DataError, match="its trajectory has another"):
        check_reconstruction(saved, turned, evidence, wanted)
    digests = digest_of_scan(turned)._asdict()
    forge(tmp_path, lambda report: report["certificate"]["digests"].update(digests))
    saved = read_certificate(tmp_path / "a.json")
    with pytest.raises(DataError, match=r"is stated as|its dual gives"):
        check_reconstruction(saved, turned, evidence, wanted)


def _saved(folder: Path, samples: np.ndarray) -> Path:
    np.save(folder / "samples.npy", samples)
    return folder / "samples.npy"


def test_another_dual_is_refused(folder) -> None:
    source = read_evidence(folder / "a.evidence.h5").source.numpy()
    change_evidence(folder, "source", noise(float(np.abs(source).max())))
    forge(folder)
    with pytest.raises(DataError, match=r"lower bound of slice 1 is stated as .* its dual gives"):
        check(folder)


@pytest.mark.parametrize("field", ["statement", "status"])
def test_other_words_are_refused(folder, field) -> None:
    def change(report: dict[str, Any]) -> None:
        entry = report["certificate"]["entries"][-1]
        entry[field] = {"statement": "The image is true.", "status": "proven"}[field]

    forge(folder, change)
    with pytest.raises(DataError, match="its entry arithmetic states"):
        check(folder)


def test_entry_that_is_missing_is_missed(folder) -> None:
    forge(folder, lambda report: report["certificate"]["entries"].pop())
    with pytest.raises(DataError, match="states nothing about arithmetic"):
        check(folder)


def test_image_of_another_network_is_seen_by_who_runs_it(folder) -> None:
    """The gap of an image holds whatever made it; the constant does not."""
    result = reconstruct(read(folder / "scan.npy"), layers=3)
    result.save(folder / "b.nii.gz")
    other = json.loads((folder / "b.json").read_text())
    data = np.linalg.norm(kspace())
    norms = [np.linalg.norm(read_evidence(folder / f"{n}.evidence.h5").x.numpy()) for n in "ab"]

    def change(report: dict[str, Any]) -> None:
        report["options"], report["network"] = other["options"], other["network"]
        smaller = {one["name"]: one for one in other["certificate"]["entries"]}
        for index, one in enumerate(report["certificate"]["entries"]):
            if "lipschitz" not in one["name"]:
                continue
            report["certificate"]["entries"][index] = smaller[one["name"]]
            values = smaller[one["name"]]["values"]
            if "percent_per_percent" in values:
                values["percent_per_percent"][0] *= norms[1] / norms[0]
            if "lipschitz_bound_at_data" in values:
                constant = values["lipschitz_bound_at_data"][0] ** 2 - (norms[1] / data) ** 2
                values["lipschitz_bound_at_data"] = [
                    float(np.hypot(constant**0.5, norms[0] / data))
                ]

    before = read_certificate(folder / "a.json").certificate.lipschitz_bound
    forge(folder, change)
    after = read_certificate(folder / "a.json").certificate.lipschitz_bound
    assert before is not None
    assert after is not None
    assert after < before / 2
    assert any("--again" in line for line in check(folder).unchecked)
    with pytest.raises(DataError, match="the network was run again for slice 1"):
        check(folder, again=True)


def test_slices_are_recomputed_one_by_one(tmp_path) -> None:
    np.save(tmp_path / "scan.npy", kspace())
    data = torch.from_numpy(np.stack([kspace(), kspace(1)]))
    scan = RawScan(data, data[:, :1] != 0, 2, name="two")
    reconstruct(scan, layers=5).save(tmp_path / "a.nii.gz")
    saved = read_certificate(tmp_path / "a.json")
    evidence = read_evidence(tmp_path / "a.evidence.h5")
    options = ReconstructionOptions.from_mapping({"layers": 5})
    assert check_reconstruction(saved, scan, evidence, options).agrees
    one = type(evidence)(*(getattr(evidence, n)[:1] for n in ("x", "source", "share", "near")))
    with pytest.raises(DataError, match="2 slices, its evidence 1"):
        check_reconstruction(saved, scan, one, options)


@pytest.mark.parametrize("suffix", [".nii", ".h5", ".dcm"])
def test_every_format_is_read_back(suffix, tmp_path) -> None:
    scan = read(Path(__file__).parents[2] / "sample_data" / "brain_8coil.h5")
    small = RawScan(
        scan.kspace[..., 58:122, 76:140],
        scan.mask[..., 58:122, 76:140],
        2,
        geometry=scan.geometry,
        name="small",
    )
    result = reconstruct(small, layers=3)
    result.save(tmp_path / f"a{suffix}", complex_image=suffix == ".nii")
    saved = read_certificate(tmp_path / "a.json")
    evidence = read_evidence(tmp_path / "a.evidence.h5")
    options = ReconstructionOptions.from_mapping({"layers": 3})
    assert check_reconstruction(saved, small, evidence, options).agrees
    turned = type(evidence)(evidence.x.flip(-1), evidence.source, evidence.share, evidence.near)
    with pytest.raises(DataError):
        check_reconstruction(saved, small, turned, options)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"\x89HDF\r\n"), "damaged or not HDF5"),
        (lambda path: _attribute(path, "format", "other"), "is not the evidence"),
        (lambda path: _attribute(path, "version", 9), "has version 9"),
        (lambda path: _nan(path), "not finite"),
    ],
)
def test_damaged_evidence_is_said_in_one_sentence(folder, spoil, said) -> None:
    spoil(folder / "a.evidence.h5")
    with pytest.raises(FirenetError, match=said) as raised:
        check(folder)
    assert isinstance(raised.value, FileError | DataError)
    assert "a.evidence.h5" in str(raised.value)


def _attribute(path: Path, name: str, value: object) -> None:
    with h5py.File(path, "r+") as file:
        file.attrs[name] = value


def _nan(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["share"][0] = np.nan


def test_a_damaged_image_is_a_named_error_though_its_digest_was_made_anew(folder) -> None:
    (folder / "a.nii.gz").write_bytes(b"no image")
    forge(folder)
    with pytest.raises(FileError, match="is not a NIfTI image"):
        check(folder)
