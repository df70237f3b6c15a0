"""docs/examples/check_certificate.py finds the same numbers without the library."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch

from firenet_mri import reconstruct
from firenet_mri.digests import Digests, digest_of_data, digest_of_file
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.firenet.certificate.certificate import Entry
from firenet_mri.io import read_certificate
from firenet_mri.io.kspace.writing import write_scan
from firenet_mri.phantoms import shepp_logan
from firenet_mri.simulation import simulate

SCRIPT = Path(__file__).parents[1] / "docs/examples/check_certificate.py"
# One axis is odd.
SHAPE = (40, 33)
COVERED: dict[str, dict[str, Any]] = {
    "accurate": {},
    "stable": {"preset": "stable"},
    "paper": {"preset": "paper"},
    "haar": {"sparsifier": "haar"},
    "chosen": {"preset": "paper", "levels": 2, "layers": 10, "lam": 0.01},
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("check_certificate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan as ``firenet convert`` writes it, and certified images of it."""
    folder = tmp_path_factory.mktemp("made")
    image = shepp_logan(max(SHAPE))[: SHAPE[0], : SHAPE[1]].to(torch.complex64)
    scan = simulate(image[None], coils=4, acceleration=2.5, calibration=16)
    write_scan(folder / "scan.npy", scan)
    adaptive = {"preset": "adaptive", "relative_gap": 1e-4}
    for name, options in {**COVERED, "adaptive": adaptive}.items():
        reconstruct(scan, **options).save(folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def status(script: ModuleType, folder: Path, name: str = "accurate") -> int:
    """Return the exit status of the check."""
    with pytest.raises(SystemExit) as stopped:
        sys.exit(script.main(str(folder / f"{name}.json"), str(folder / "scan.npy")))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def wrong(printed: str) -> list[str]:
    """Return the names of the numbers that the check found wrong."""
    *_, last = printed.splitlines()
    return last.removeprefix("Wrong: ").removesuffix(".").split(", ")


def forge(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "accurate") -> None:
    """Change a certificate, and make all its digests anew; it reads as a whole one."""
    path = folder / f"{name}.json"
    report = json.loads(path.read_text())
    del report["digest"]
    change(report)
    stated = report["certificate"]
    digests = Digests(**stated["digests"] | {"file": digest_of_file(folder / f"{name}.nii.gz")})
    entries = tuple(Entry.from_dict(entry) for entry in stated["entries"])
    claimed = Certificate(entries, stated["items"], digests, stated["scope"])
    report["certificate"] = dict(claimed.to_dict())
    path.write_text(json.dumps({**report, "digest": digest_of_data(report)}))
    read_certificate(path)


def state(report: dict[str, Any], objective: float, bound: float) -> None:
    """State another objective and lower bound, and the gap that follows."""
    numbers = {"objective": objective, "lower_bound": bound, "duality_gap": objective - bound}
    numbers["relative_gap"] = 1 - bound / objective
    values = {name: [number] for name, number in numbers.items()}
    entries = report["certificate"]["entries"]
    next(entry for entry in entries if entry["name"] == "duality_gap")["values"] = values


def stated(report: dict[str, Any]) -> tuple[float, float]:
    """Return the objective and the lower bound that a certificate states."""
    return report["certificate"]["objective"][0], report["certificate"]["lower_bound"][0]


@pytest.mark.parametrize("name", COVERED)
def test_it_finds_the_numbers_of_the_library(script, made, capsys, name) -> None:
    assert status(script, made, name) == 0
    printed = capsys.readouterr().out
    objective, _ = stated(json.loads((made / f"{name}.json").read_text()))
    found = re.search(r"^objective: (\S+), stated", printed)
    assert found is not None
    assert float(found[1]) == pytest.approx(objective, rel=1e-5)
    assert printed.endswith("The numbers hold.\n")


def test_a_lower_bound_that_another_image_falls_below_is_refused(script, folder, capsys) -> None:
    better, _ = stated(json.loads((folder / "adaptive.json").read_text()))

    def overstate(report: dict[str, Any]) -> None:
        objective, bound = stated(report)
        assert bound < better < objective
        state(report, objective, (objective + better) / 2)

    forge(folder, overstate)
    assert status(script, folder) == 1
    assert wrong(capsys.readouterr().out) == ["lower_bound", "duality_gap", "relative_gap"]


def test_a_gap_that_the_dual_does_not_prove_is_refused(script, folder, capsys) -> None:
    def halve(report: dict[str, Any]) -> None:
        objective, bound = stated(report)
        state(report, objective, (objective + bound) / 2)

    forge(folder, halve, "paper")
    assert status(script, folder, "paper") == 1
    assert wrong(capsys.readouterr().out) == ["lower_bound", "duality_gap", "relative_gap"]


def test_another_objective_is_refused(script, folder, capsys) -> None:
    def lower(report: dict[str, Any]) -> None:
        objective, bound = stated(report)
        state(report, objective * (1 - 1e-4), bound)

    forge(folder, lower)
    assert status(script, folder) == 1
    assert "objective" in wrong(capsys.readouterr().out)


def test_a_number_that_stands_in_one_place_only_is_refused(script, folder, capsys) -> None:
    path = folder / "accurate.json"
    report = json.loads(path.read_text())
    report["certificate"]["relative_gap"] = [1e-9]
    path.write_text(json.dumps(report))
    assert status(script, folder) == 1
    assert wrong(capsys.readouterr().out) == ["relative_gap"]


def test_noise_in_the_place_of_the_image_is_refused(script, folder, capsys) -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((1, *SHAPE, 2)).astype(np.float32).view(np.complex64)[..., 0]
    with h5py.File(folder / "accurate.evidence.h5", "r+") as file:
        file["x"][...] = noise
    write_magnitude(folder, np.abs(noise))
    forge(folder, lambda report: None)
    assert status(script, folder) == 1
    found = wrong(capsys.readouterr().out)
    assert "objective" in found
    assert "image" not in found


def test_a_written_image_that_is_not_the_one_of_the_evidence_is_refused(
    script, folder, capsys
) -> None:
    image = nibabel.load(folder / "accurate.nii.gz").get_fdata().T
    image[0, 20, 20] += 0.01 * image.max()
    write_magnitude(folder, image)
    forge(folder, lambda report: None)
    assert status(script, folder) == 1
    assert wrong(capsys.readouterr().out) == ["image"]


def write_magnitude(folder: Path, image: np.ndarray, name: str = "accurate") -> None:
    """Replace the written image by another, (1, y, x)."""
    path = folder / f"{name}.nii.gz"
    header = nibabel.load(path).affine
    nibabel.save(nibabel.Nifti1Image(image.T.astype(np.float32), header), path)


@pytest.mark.parametrize("name", ["accurate", "paper"])
def test_a_zero_image_that_claims_to_be_the_optimum_is_refused(
    script, folder, capsys, name
) -> None:
    y, noise = np.load(folder / "scan.npy"), np.load(folder / "scan_noise.npy")
    factor = np.linalg.cholesky(noise @ noise.conj().T / noise.shape[1])
    norm = float(np.linalg.norm(np.linalg.solve(factor, y.reshape(len(y), -1))))
    with h5py.File(folder / f"{name}.evidence.h5", "r+") as file:
        file["x"][...] = file["source"][...] = 0
        # The dual along the residual: as large as the objective, were it not for the maps.
        file["share"][...] = 1 / norm
    write_magnitude(folder, np.zeros((1, *SHAPE)), name)
    forge(folder, lambda report: state(report, norm, norm * (1 - 1e-9)), name)
    assert status(script, folder, name) == 1
    assert wrong(capsys.readouterr().out) == ["lower_bound", "duality_gap", "relative_gap"]


def test_another_dual_is_refused(script, folder, capsys) -> None:
    with h5py.File(folder / "accurate.evidence.h5", "r+") as file:
        file["source"][...] = 0.9 * file["source"][...]
    assert status(script, folder) == 1
    assert "lower_bound" in wrong(capsys.readouterr().out)


def test_another_scan_is_refused(script, folder, capsys) -> None:
    np.save(folder / "scan.npy", np.load(folder / "scan.npy")[:, ::-1])
    assert status(script, folder) == 1
    assert "objective" in wrong(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("network", "sparsifier", "tv"),
        ("network", "sparsifier", "db4"),
        ("network", "levels", 2),
        ("network", "budget", 0.02),
        ("network", "accuracy", 0.01),
        ("network", "option_that_comes_later", "on"),
        ("reconstruction", "maps", "jsense"),
        ("reconstruction", "map_sets", 2),
        ("reconstruction", "coils", 3),
        ("reconstruction", "by_readout", True),
        ("reconstruction", "phase_constraint", 0.3),
        ("reconstruction", "reweighting", 1),
        ("reconstruction", "no_gap", True),
        ("read", "trajectory", "spiral.npy"),
        ("read", "slices", [0]),
    ],
)
def test_options_that_it_does_not_cover_are_refused(
    script, folder, capsys, part, name, value
) -> None:
    path = folder / "accurate.json"
    report = json.loads(path.read_text())
    options = report["options"]
    parts = {**options, "network": options["reconstruction"]["network"]}
    parts[part][name] = value
    path.write_text(json.dumps(report))
    assert status(script, folder) == 2
    assert capsys.readouterr().out.startswith("Not covered: ")


def test_another_preset_is_refused(script, made) -> None:
    assert status(script, made, "adaptive") == 2


@pytest.mark.parametrize("shape", [(4, 3, *SHAPE), (4, 20, 33), (4, *SHAPE)])
def test_scans_that_it_does_not_cover_are_refused(script, folder, shape) -> None:
    # A volume, an image too small, and a scan without a centre.
    kspace = np.ones(shape, np.complex64)
    if shape == (4, *SHAPE):
        kspace[:, ::2] = 0
    np.save(folder / "scan.npy", kspace)
    (folder / "scan_noise.npy").unlink()
    assert status(script, folder) == 2


def test_it_is_short_and_imports_numpy_and_h5py_alone() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 150
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"numpy", "h5py"}
    assert "__import__" not in text
    assert "importlib" not in text


def test_a_dual_longer_than_1_proves_no_more_than_one_of_length_1(script, made) -> None:
    y = np.load(made / "scan.npy").astype(complex)
    network = {"preset": "paper", "sparsifier": None, "levels": 1, "lam": 1e3}
    zero = np.zeros(SHAPE, complex)
    # With so large a lam the zero image is the optimum, and the residual its dual.
    for share in (1.0, 5.0):
        dual = share / np.linalg.norm(y)
        objective, bound = script.objective_and_bound(y, network, zero, zero, dual, None, 1.0)
        assert bound == pytest.approx(objective, rel=1e-12)
