"""docs/examples/check_certificate.py and check_constants.py find the same without the library."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
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

EXAMPLES = Path(__file__).parents[1] / "docs/examples"
# One axis is odd.
SHAPE = (40, 33)
COVERED: dict[str, dict[str, Any]] = {
    "accurate": {},
    "stable": {"preset": "stable"},
    "paper": {"preset": "paper"},
    "haar": {"sparsifier": "haar"},
    "chosen": {"preset": "paper", "levels": 2, "layers": 10, "lam": 0.01},
}
# Twelve layers have a proof that was found when it was asked for, 101 one without structure.
PROVEN = {**COVERED, "twelve": {"layers": 12}, "deep": {"layers": 101}}
CONSTANTS = (
    "lipschitz_bound",
    "lipschitz_bound_at_data",
    "lipschitz_bound_of_samples",
    "percent_per_percent",
    "gap_with_other_maps",
    "relative_gap_with_other_maps",
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """check_certificate.py as a module."""
    return load("check_certificate")


@pytest.fixture(scope="module")
def constants() -> Iterator[ModuleType]:
    """check_constants.py as a module, which finds the other script beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        yield load("check_constants")
        sys.modules.pop("check_certificate", None)


def load(name: str) -> ModuleType:
    """Return an example as a module."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
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
    for name, options in {**PROVEN, "adaptive": adaptive}.items():
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
        ("reconstruction", "background", "keep"),
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


def test_both_name_joint_images_as_what_they_do_not_cover(
    script, constants, folder, capsys
) -> None:
    path = folder / "accurate.json"
    report = json.loads(path.read_text())
    report["options"]["reconstruction"]["joint"] = "phase"
    path.write_text(json.dumps(report))
    for example in (script, constants):
        assert status(example, folder) == 2
        printed = capsys.readouterr().out
        assert printed == "Not covered: images reconstructed together, joint=phase\n"
    assert "no joint images" in (script.__doc__ or "")


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


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("check_certificate", {"numpy", "h5py"}),
        ("check_constants", {"numpy", "h5py", "check_certificate"}),
    ],
)
def test_it_is_short_and_imports_numpy_and_h5py_alone(name, allowed) -> None:
    text = (EXAMPLES / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 150
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == allowed
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


def restate(report: dict[str, Any], name: str, change: Callable[[float], float]) -> None:
    """State another constant, wherever it stands."""
    places = [entry["values"] for entry in report["certificate"]["entries"]]
    found = [place for place in places if name in place]
    assert len(found) == 1
    found[0][name] = [change(value) for value in found[0][name]]


@pytest.mark.parametrize("name", PROVEN)
def test_it_proves_the_constants_of_the_library(constants, made, capsys, name) -> None:
    assert status(constants, made, name) == 0
    printed = capsys.readouterr().out
    found = re.findall(r"^(\w+): proven (\S+), stated (\S+)$", printed, re.MULTILINE)
    assert {row[0] for row in found} == set(CONSTANTS)
    for _, proven, stated_value in found:
        assert float(proven) == pytest.approx(float(stated_value), rel=1e-4)
        assert float(proven) > 0
    assert printed.endswith("The constants hold.\n")


def test_it_runs_as_a_script_from_anywhere(made) -> None:
    command = [sys.executable, str(EXAMPLES / "check_constants.py"), "stable.json", "scan.npy"]
    run = subprocess.run(command, cwd=made, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.endswith("The constants hold.\n")


@pytest.mark.parametrize("change", [lambda value: 0.01, lambda value: 0.99 * value])
@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_that_nothing_proves_is_refused(constants, folder, capsys, name, change) -> None:
    forge(folder, lambda report: restate(report, name, change), "stable")
    assert status(constants, folder, "stable") == 1
    assert wrong(capsys.readouterr().out) == [name]


@pytest.mark.parametrize(
    ("entry", "missing"),
    [("lipschitz_bound", list(CONSTANTS[:2])), ("maps_1_percent", list(CONSTANTS[4:]))],
)
def test_a_constant_that_is_left_out_is_refused(constants, folder, capsys, entry, missing) -> None:
    def leave_out(report: dict[str, Any]) -> None:
        entries = report["certificate"]["entries"]
        entries[:] = [other for other in entries if other["name"] != entry]

    forge(folder, leave_out, "stable")
    assert status(constants, folder, "stable") == 1
    assert sorted(wrong(capsys.readouterr().out)) == sorted(missing)


def test_a_constant_that_is_smaller_in_one_place_is_refused(constants, folder, capsys) -> None:
    path = folder / "stable.json"
    report = json.loads(path.read_text())
    report["certificate"]["lipschitz_bound"] = 1.0
    path.write_text(json.dumps(report))
    assert status(constants, folder, "stable") == 1
    assert wrong(capsys.readouterr().out) == ["lipschitz_bound"]


def write_evidence(folder: Path, name: str, **arrays: Any) -> None:
    """Replace arrays of the evidence by others, of any length."""
    with h5py.File(folder / f"{name}.evidence.h5", "r+") as file:
        for key, values in arrays.items():
            del file[key]
            file[key] = np.asarray(values, float)


def proof(folder: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return multipliers and shares of the evidence."""
    with h5py.File(folder / f"{name}.evidence.h5") as file:
        return file["multipliers"][:], file["data_share"][:]


@pytest.mark.parametrize("name", ["stable", "paper", "haar"])
@pytest.mark.parametrize(
    "change",
    [
        lambda values: 0.9 * values,
        lambda values: values[::-1],
        lambda values: -values,
        lambda values: np.append(-values[:1], values[1:]),
        lambda values: np.append(np.nan, values[1:]),
        lambda values: np.append(np.inf, values[1:]),
        lambda values: values[:-1],
        lambda values: np.append(values, 0.0),
        lambda values: [],
    ],
)
def test_multipliers_that_do_not_prove_the_constants_are_refused(
    constants, folder, capsys, name, change
) -> None:
    write_evidence(folder, name, multipliers=change(proof(folder, name)[0]))
    assert status(constants, folder, name) == 1
    assert "lipschitz_bound" in wrong(capsys.readouterr().out)


@pytest.mark.parametrize(
    "share", [[0.49999, 0.499995], [0.500005, 0.50001], [0.0, 0.5], [0.5, 1.0], [0.4, 0.6]]
)
def test_shares_that_do_not_hold_or_that_nothing_is_proven_for_are_refused(
    constants, folder, capsys, share
) -> None:
    write_evidence(folder, "stable", data_share=share)
    assert status(constants, folder, "stable") == 1
    assert "lipschitz_bound" in wrong(capsys.readouterr().out)


def test_the_structure_of_the_analysis_form_is_refused_in_the_synthesis_form(
    constants, folder
) -> None:
    values, share = proof(folder, "stable")
    network = {"preset": "stable", "sparsifier": None, "layers": None}
    assert constants.constant_of_layers(network, values, share) < 4
    synthesis = network | {"sparsifier": "haar"}
    assert constants.constant_of_layers(synthesis, values, share) == np.inf


@pytest.mark.parametrize(("third", "is_proven"), [(5.22, False), (3.0, True)])
def test_duals_of_the_frame_whose_form_is_indefinite_prove_nothing(
    constants, third, is_proven
) -> None:
    # Found by a search: the other two forms are semidefinite for both.
    multipliers = np.array([2.69, 1.57, 0.83, 2.04, third, 3.65, 0.7, 0.4, 0.76])
    nu = multipliers[2::2] * 0.8 ** np.arange(1, 5)
    form = 2 * np.diag(nu) - np.diag(nu[1:], 1) - np.diag(nu[1:], -1)
    assert (np.linalg.eigvalsh(form)[0] > 0) == is_proven
    network = {"preset": "stable", "sparsifier": None, "layers": 6}
    bound = constants.constant_of_layers(network, multipliers, np.array([0.5, 0.5]))
    assert (bound < 6) == is_proven
    assert is_proven or bound == np.inf


def test_without_multipliers_the_closed_form_is_what_is_proven(constants) -> None:
    none = np.zeros(0)
    for network, bound in (
        ({"preset": "accurate", "sparsifier": None, "layers": None}, 0.97 * 49 / 2**0.5),
        ({"preset": "stable", "sparsifier": "haar", "layers": 3}, 0.8 * 2),
        ({"preset": "paper", "sparsifier": None, "layers": 35}, 14),
    ):
        assert constants.constant_of_layers(network, none, none) == pytest.approx(bound)


@pytest.mark.parametrize(("factor", "expected"), [(1.9, 1), (2.4, 0)])
def test_constants_as_large_as_the_closed_form_need_no_multipliers(
    constants, folder, factor, expected
) -> None:
    # The closed form has hypot(7.9, 2.5) for hypot(3.3, 2.5), and hypot(7.9, 1) at the data.
    write_evidence(folder, "stable", multipliers=[], data_share=[])

    def enlarge(report: dict[str, Any]) -> None:
        for name in CONSTANTS[:4]:
            restate(report, name, lambda value: factor * value)

    forge(folder, enlarge, "stable")
    assert status(constants, folder, "stable") == expected


def test_an_image_outside_the_ball_is_refused(constants, folder, capsys) -> None:
    with h5py.File(folder / "stable.evidence.h5", "r+") as file:
        file["x"][...] = 2.5 * file["x"][...]
    assert status(constants, folder, "stable") == 1
    assert "image_ball" in wrong(capsys.readouterr().out)


def test_another_scan_or_its_noise_moves_the_constants(constants, folder, capsys) -> None:
    noise = np.load(folder / "scan_noise.npy")
    np.save(folder / "scan_noise.npy", noise / 2)
    assert status(constants, folder, "stable") == 1
    assert "lipschitz_bound_of_samples" in wrong(capsys.readouterr().out)
    np.save(folder / "scan_noise.npy", noise)
    np.save(folder / "scan.npy", 1.01 * np.load(folder / "scan.npy"))
    assert status(constants, folder, "stable") == 1
    assert wrong(capsys.readouterr().out) == ["percent_per_percent"]


def test_constants_of_options_that_are_not_covered_are_refused(constants, folder, capsys) -> None:
    assert status(constants, folder, "adaptive") == 2
    path = folder / "paper.json"
    report = json.loads(path.read_text())
    for key, value in (("layers", 12), ("layers", -5), ("accuracy", 0.01)):
        options = json.loads(json.dumps(report))
        options["options"]["reconstruction"]["network"][key] = value
        path.write_text(json.dumps(options))
        assert status(constants, folder, "paper") == 2
    assert capsys.readouterr().out.count("Not covered: ") == 4


def test_the_least_square_is_where_numpy_finds_the_form_semidefinite(constants) -> None:
    rng = np.random.default_rng(1)
    names = ["y", "a", "b", "c"]
    seen = set()
    for _ in range(40):
        p = rng.integers(-3, 4, (4, 4)) * [0, 1, 1, 1]
        r = rng.integers(-1, 2, (4, 4)) - p
        mu, output = rng.integers(1, 9, 4), rng.integers(-1, 2, 4) * [0, 1, 1, 1]
        vectors = [
            [dict(zip(names, map(int, row), strict=True)) for row in rows] for rows in (p, r)
        ]
        terms = list(zip(map(Fraction, mu.tolist()), *vectors, strict=True))
        out = dict(zip(names, map(int, output), strict=True))
        square = constants.least_square(terms, out, 2)
        form = -np.outer(output, output) - (p.T * mu) @ r - ((p.T * mu) @ r).T
        is_definite = np.linalg.eigvalsh(form[1:, 1:])[0] > 1e-9
        assert is_definite == (square < np.inf)
        seen.add(is_definite)
        if is_definite:
            whole = form + np.diag([2 * float(square), 0, 0, 0])
            assert np.linalg.eigvalsh(whole)[0] == pytest.approx(0, abs=1e-9 * np.abs(form).max())
    assert seen == {False, True}


@pytest.mark.parametrize("size", [1, 20])
def test_rounding_never_makes_the_least_square_smaller(constants, monkeypatch, size) -> None:
    # Whole numbers for 20 rows, so that what is rounded is the elimination; not so for one row.
    of_data = Fraction(-997) if size > 1 else Fraction(1099, 100)
    own = Fraction(997 * size, 2) if size > 1 else Fraction(5)
    terms = []
    for i in range(size):
        r = {"y": -of_data, **dict.fromkeys(range(i), Fraction(997)), i: -own}
        terms.append((Fraction(1), {i: Fraction(1)}, r))
    # t^2 where rows and columns of equal numbers make the solution of the linear system constant.
    exact = -of_data * size if size > 1 else of_data**2 / 10
    assert constants.least_square(terms, {}, 1) == pytest.approx(exact, rel=1e-12)
    assert constants.least_square(terms, {}, 1) >= exact
    monkeypatch.setattr(constants, "BITS", 0)
    assert exact <= constants.least_square(terms, {}, 1) < np.inf
