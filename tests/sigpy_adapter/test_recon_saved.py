"""What FIRENETRecon saves is recomputed from the arrays; what is another thing is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from firenet_command import firenet
from test_recon_app import SHAPE, cartesian

from firenet_mri.digests import digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.io import read_certificate
from firenet_mri.sigpy import FIRENETRecon

Y, MAPS, MASK, IMAGE = cartesian()


def app_of(y: np.ndarray = Y, maps: np.ndarray = MAPS, **options: Any) -> FIRENETRecon:
    return FIRENETRecon(y, maps, show_pbar=False, **{"max_iter": 6, **options})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    app = app_of(wave_name="db4")
    app.run()
    app.save(folder / "a.npy")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, np.complex64),
        # In single precision these duals would prove another bound.
        ({"wave_name": "db4", "max_iter": None}, np.complex128),
        pytest.param({"x": IMAGE, "max_iter": 20}, np.complex128, marks=pytest.mark.slow),
        ({"weights": MASK * np.linspace(0.5, 3, SHAPE[1])}, np.complex64),
        ({"x": IMAGE}, np.complex64),
        ({"no_gap": True}, np.complex64),
        ({"preset": "sharp"}, np.complex64),
    ],
)
def test_what_was_saved_is_confirmed_without_a_run(options, dtype, tmp_path) -> None:
    app = app_of(Y.astype(dtype), **options)
    image = app.run()
    files = app.save(tmp_path / "a.npy")
    assert [path.name for path in files] == ["a.npy", "a.json", "a.evidence.h5"]
    np.testing.assert_array_equal(np.load(files[0]), image)
    other = app_of(Y.astype(dtype), **options)
    found = other.check(tmp_path / "a.npy")
    same = "Recomputed and the same: duality gap."
    # The weights of a second pass are known only to who runs the first.
    is_sharp = options.get("preset") == "sharp"
    assert (same in found.agrees) == ("no_gap" not in options and not is_sharp)
    assert "--again" in found.unchecked[0]
    again = other.check(tmp_path / "a.npy", again=True)
    assert "The network was run again and gives this image." in again.agrees
    assert (same in again.agrees) == ("no_gap" not in options)
    assert other.alg.x is None


def test_a_trajectory_is_confirmed(tmp_path) -> None:
    rng = np.random.default_rng(0)
    coord = ((rng.random((300, 2)) - 0.5) * SHAPE).astype(np.float32)
    y = (rng.standard_normal((4, 300)) + 1j * rng.standard_normal((4, 300))).astype(np.complex64)
    app = app_of(y, coord=coord)
    app.run()
    app.save(tmp_path / "a.npy")
    assert app_of(y, coord=coord).check(tmp_path / "a.npy", again=True).agrees
    with pytest.raises(DataError, match="coord is not that of"):
        app_of(y, coord=coord * np.float32(0.99)).check(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"y": 2 * Y}, "y is not that of"),
        ({"maps": MAPS[::-1].copy()}, "mps is not that of"),
        ({"weights": MASK * 2.0}, "weights is not that of"),
        ({"max_iter": 7}, "other options"),
        ({"x": IMAGE}, "another start image"),
        ({"no_gap": True}, "other options"),
    ],
)
def test_other_arrays_and_options_are_named(folder, others, message) -> None:
    with pytest.raises(DataError, match=message):
        app_of(**{"wave_name": "db4", **others}).check(folder / "a.npy")


def forge(folder: Path, change: Callable[[dict[str, Any]], None] | None = None) -> None:
    """Change a.json, and make all its digests anew."""
    path = folder / "a.json"
    report = json.loads(path.read_text())
    del report["digest"]
    certificate = report["certificate"]
    for one in certificate["entries"]:
        if change is not None and one["name"] == "duality_gap":
            change(one["values"])
    digests = read_certificate(path).digests
    entries = tuple(Entry.from_dict(entry) for entry in certificate["entries"])
    image = folder / "a.npy"
    digests = type(digests)(
        **{
            **certificate["digests"],
            "pixels": digest_of_tensor(np.load(image)),
            "file": digest_of_file(image),
        }
    )
    report["certificate"] = Certificate(entries, 1, digests, certificate["scope"]).to_dict()
    report["evidence"] = digest_of_file(folder / "a.evidence.h5")
    path.write_text(json.dumps({**report, "digest": digest_of_data(report)}))


def smaller_gap(values: dict[str, Any]) -> None:
    objective = values["objective"][0]
    values["duality_gap"], values["relative_gap"] = [1e-9 * objective], [1e-9]
    values["lower_bound"] = [objective * (1 - 1e-9)]


def test_forgeries_are_refused_though_every_digest_was_made_anew(folder) -> None:
    forge(folder)
    app_of(wave_name="db4").check(folder / "a.npy")
    kept = {path: path.read_bytes() for path in folder.iterdir()}

    def again() -> None:
        for path, content in kept.items():
            path.write_bytes(content)

    forge(folder, smaller_gap)
    with pytest.raises(DataError, match="lower bound of slice 1 is stated"):
        app_of(wave_name="db4").check(folder / "a.npy")
    again()
    np.save(folder / "a.npy", np.ones(SHAPE, np.complex64))
    forge(folder)
    with pytest.raises(DataError, match="not the image of the evidence"):
        app_of(wave_name="db4").check(folder / "a.npy")
    # The evidence follows the image: now its objective is another one.
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        file["x"][...] = 1
    forge(folder)
    with pytest.raises(DataError, match="slice 1 is stated as"):
        app_of(wave_name="db4").check(folder / "a.npy")
    again()
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        file["source"][...] *= 2
    forge(folder)
    with pytest.raises(DataError, match="lower bound of slice 1 is stated"):
        app_of(wave_name="db4").check(folder / "a.npy")


def test_what_is_damaged_or_there_already_is_refused(folder) -> None:
    app = app_of(wave_name="db4")
    with pytest.raises(UsageError, match="call run"):
        app.save(folder / "b.npy")
    app.run()
    with pytest.raises(FileError, match="exists"):
        app.save(folder / "a.npy")
    with pytest.raises(UsageError, match=r"use the suffix \.npy"):
        app.save(folder / "b.nii.gz")
    (folder / "a.evidence.h5").unlink()
    with pytest.raises(FileError, match="no such file"):
        app.check(folder / "a.npy")
    app.save(folder / "a.npy", overwrite=True)
    assert app.check(folder / "a.npy").agrees


def test_the_command_explains_it_and_says_where_it_is_checked(folder) -> None:
    explained = firenet("certify", folder / "a.json")
    assert explained.status == 0
    assert "a.npyistheimageofthiscertificate" in "".join(explained.out.split())
    np.save(folder / "scan.npy", Y)
    refused = firenet("certify", folder / "a.json", "--scan", folder / "scan.npy")
    assert refused.status == 2
    assert "FIRENETRecon(...).check" in refused.err


def test_an_app_without_a_gap_says_so() -> None:
    app = app_of(no_gap=True)
    app.run()
    assert app.certificate.relative_gap is None
    assert app.certificate.sentence().startswith("How near the image is to the optimum was not")
    assert len(app.evidence.share) == 0
