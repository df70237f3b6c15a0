"""Changes what was written of a reconstruction and makes every digest anew; checks the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import sigpy.mri

from firenet_mri import read
from firenet_mri.digests import Digests, digest_of_data, digest_of_file
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.reconstruction.check import Checked, check_reconstruction
from firenet_mri.reconstruction.options import ReconstructionOptions

SHAPE = (40, 36)


def kspace(seed: int = 0) -> np.ndarray:
    """Return noisy k-space (4, 40, 36) of a phantom, every other line and the centre."""
    rng = np.random.default_rng(seed)
    maps = sigpy.mri.birdcage_maps((4, *SHAPE))
    data = sigpy.fft(maps * sigpy.shepp_logan(SHAPE), axes=(-2, -1))
    data = data + 0.01 * (rng.standard_normal(data.shape) + 1j * rng.standard_normal(data.shape))
    mask = np.zeros(SHAPE, bool)
    mask[::2] = mask[10:30] = True
    return (data * mask).astype(np.complex64)


Report = dict[str, Any]


def check(folder: Path, scan: str = "scan.npy", **options: Any) -> Checked:
    """Check a.json in a folder."""
    saved = read_certificate(folder / "a.json")
    wanted = ReconstructionOptions.from_mapping(saved.report["options"]["reconstruction"])
    evidence = read_evidence(saved.evidence_beside())
    return check_reconstruction(saved, read(folder / scan), evidence, wanted, **options)


def forge(
    folder: Path,
    change: Callable[[dict[str, Any]], None] | None = None,
    name: str = "a.nii.gz",
    *,
    consistent: bool = True,
) -> None:
    """Change a.json, the certificate of the image of that name, and make all digests anew.

    Unless it may contradict itself, what repeats the entries is made anew, too.
    """
    path = folder / "a.json"
    report = json.loads(path.read_text())
    del report["digest"]
    certificate = report["certificate"]
    if change is not None:
        change(report)
    certificate["digests"]["file"] = digest_of_file(folder / name)
    certificate["digests"]["parameters"] = digest_of_data(report["options"])
    report["evidence"] = digest_of_file(folder / "a.evidence.h5")
    if consistent:
        report["certificate"] = _consistent(certificate)
    path.write_text(json.dumps({**report, "digest": digest_of_data(report)}))


def _consistent(data: dict[str, Any]) -> dict[str, Any]:
    entries = tuple(Entry.from_dict(entry) for entry in data["entries"])
    digests = Digests(**data["digests"])
    return dict(Certificate(entries, data["items"], digests, data["scope"]).to_dict())


def change_evidence(folder: Path, name: str, value: np.ndarray) -> None:
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        file[name][...] = value


def noise(size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(2)
    parts = rng.standard_normal((2, 1, *SHAPE))
    return (size * (parts[0] + 1j * parts[1])).astype(np.complex64)


def write_image(folder: Path, image: np.ndarray) -> None:
    old = nibabel.load(folder / "a.nii.gz")
    data = np.abs(image).transpose(2, 1, 0).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, old.affine, old.header), folder / "a.nii.gz")


def set_number(entry: str, name: str, value: float) -> Callable[[dict[str, Any]], None]:
    def change(report: dict[str, Any]) -> None:
        for one in report["certificate"]["entries"]:
            if one["name"] == entry:
                one["values"][name] = [value] * len(one["items"])

    return change


def smaller_gap(report: dict[str, Any]) -> None:
    """State a relative gap of 1e-9, and all that follows from it."""
    for one in report["certificate"]["entries"]:
        if one["name"] == "duality_gap":
            values = one["values"]
            objective = values["objective"][0]
            before, values["duality_gap"] = values["duality_gap"][0], [1e-9 * objective]
            values["lower_bound"] = [objective * (1 - 1e-9)]
            values["relative_gap"] = [1e-9]
        if one["name"] == "maps_1_percent":
            values = one["values"]
            values["gap_with_other_maps"][0] += 1e-9 * objective - before
            values["relative_gap_with_other_maps"][0] += 1e-9 - before / objective
