"""Attacks on the check of a certificate: whatever was not recomputed is refused or listed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from forging import change_evidence, check, forge, kspace, set_number, smaller_gap

from firenet_mri import RawScan, read, reconstruct
from firenet_mri.errors import DataError, FileError, FirenetError
from firenet_mri.firenet.certificate.inexact_maps import _EMPTY_GAP
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.reconstruction.check import check_reconstruction
from firenet_mri.reconstruction.options import ReconstructionOptions

Report = dict[str, Any]
Change = Callable[[Report], None]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, and an image with its certificate."""
    folder = tmp_path_factory.mktemp("made")
    np.save(folder / "scan.npy", kspace())
    # Differences, whose dual is found again soonest.
    reconstruct(read(folder / "scan.npy"), layers=12, sparsifier="tv").save(folder / "a.nii.gz")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder."""
    shutil.copytree(made, tmp_path / "work")
    return tmp_path / "work"


def entry(report: Report, name: str) -> dict[str, Any]:
    """Return an entry of a certificate as plain data."""
    return next(one for one in report["certificate"]["entries"] if one["name"] == name)


def add(name: str, status: str, **fields: Any) -> Change:
    """Return the change that adds an entry."""
    new = {"name": name, "status": status, "statement": "The image is true to the anatomy."}
    new |= {"limits": "", "values": {}, "items": [0]} | fields

    def change(report: Report) -> None:
        report["certificate"]["entries"].insert(0, new)

    return change


def twice(report: Report) -> None:
    """Put a forged copy of the gap before the true entry."""
    copy = json.loads(json.dumps(entry(report, "duality_gap")))
    copy["values"]["relative_gap"] = [1e-9]
    report["certificate"]["entries"].insert(0, copy)


def of_nothing(report: Report) -> None:
    """Put an entry about no slice into the certificate."""
    copy = json.loads(json.dumps(entry(report, "duality_gap")))
    copy |= {"items": [], "values": {}, "statement": "The image is the optimum."}
    report["certificate"]["entries"].insert(0, copy)


def elsewhere(report: Report) -> None:
    """Put an entry about a slice that does not exist into the certificate."""
    add("lipschitz_bound", "proven", items=[7])(report)


@pytest.mark.parametrize(
    "change",
    [
        add("truth", "proven"),
        add("truth", "measured", values={"error": [0.0]}),
        add("truth", "not verified"),
        add("truth", "assumed"),
        add("measured_gain", "proven", values={"measured_gain": [0.1]}),
        add("image_ball", "measured"),
        twice,
        of_nothing,
        elsewhere,
    ],
)
def test_entry_that_the_options_do_not_give_is_refused(folder, change) -> None:
    forge(folder, change)
    with pytest.raises(DataError, match=r"states something about|twice|slices"):
        check(folder)


def test_with_the_network_run_again_nothing_is_left_unknown(folder) -> None:
    reconstruct(read(folder / "scan.npy"), layers=2, reweighting=1).save(
        folder / "a.nii.gz", overwrite=True
    )
    forge(folder, add("theorem", "proven"))
    assert "theorem" in [entry.name for entry in check(folder).not_recomputed]
    with pytest.raises(DataError, match=r"states something about|twice"):
        check(folder, again=True)


def test_what_was_not_recomputed_is_told_apart(folder) -> None:
    reconstruct(read(folder / "scan.npy"), layers=2, reweighting=1).save(
        folder / "a.nii.gz", overwrite=True
    )
    names = {entry.name for entry in check(folder).not_recomputed}
    assert {"duality_gap", "maps_1_percent"} <= names
    assert not check(folder, again=True).not_recomputed


def test_limits_and_scope_are_compared(folder) -> None:
    forge(folder, lambda report: entry(report, "duality_gap").update(limits=""))
    with pytest.raises(DataError, match="its entry duality_gap states"):
        check(folder)


def test_other_scope_is_refused(folder) -> None:
    forge(folder, lambda report: report["certificate"].update(scope="The image is true."))
    with pytest.raises(DataError, match="scope"):
        check(folder)


def test_swapped_status_is_refused(folder) -> None:
    def change(report: Report) -> None:
        entry(report, "lipschitz_bound")["status"] = "verified on this scan"

    forge(folder, change)
    with pytest.raises(DataError, match="its entry lipschitz_bound states"):
        check(folder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_units", "ng/ml"),
        ("network", {"lam": 1.0, "layers": 1, "sparsifier": "none", "schedule": "fast"}),
        ("scan", {"name": "a", "simulated": False, "coils": 64}),
    ],
)
def test_other_words_beside_the_certificate_are_refused(folder, field, value) -> None:
    forge(folder, lambda report: report.update({field: value}))
    with pytest.raises(DataError, match=f"{field}.* recomputed"):
        check(folder)


def test_what_stands_beside_the_certificate_and_is_not_recomputed_is_listed(folder) -> None:
    def change(report: Report) -> None:
        report["accuracy_against_reference"] = {"psnr_db": 99.0, "ssim": 1.0, "nmse": 0.0}
        report["diagnosis"] = "healthy"

    before = " ".join(check(folder).unchecked)
    assert "accuracy against reference" not in before
    forge(folder, change)
    text = " ".join(check(folder).unchecked)
    for name in ("accuracy against reference", "diagnosis", "timings", "versions", "picture"):
        assert name in text


def test_scan_may_have_another_name(folder) -> None:
    (folder / "scan.npy").rename(folder / "moved.npy")
    assert any("name of the scan" in line for line in check(folder, "moved.npy").unchecked)


def test_options_of_another_record_are_refused(folder) -> None:
    saved = read_certificate(folder / "a.json")
    evidence = read_evidence(saved.evidence_beside())
    for options in ({"layers": 12}, {"layers": 12, "sparsifier": "tv", "no_gap": True}):
        with pytest.raises(DataError, match="options"):
            check_reconstruction(
                saved,
                read(folder / "scan.npy"),
                evidence,
                ReconstructionOptions.from_mapping(options),
            )


@pytest.mark.parametrize("digest", ["pixels", "maps"])
def test_digest_of_something_else_is_listed(folder, digest) -> None:
    assert not any("digest" in line for line in check(folder).unchecked)
    forge(folder, lambda report: report["certificate"]["digests"].update({digest: "0" * 64}))
    assert any(f"digest of the {digest}" in line for line in check(folder).unchecked)


@pytest.fixture
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up sooner: no number of rounds reaches these bounds."""
    from firenet_mri.firenet.certificate import gap as module

    monkeypatch.setattr(module, "_ROUNDS", (5,))
    monkeypatch.setattr(module, "_LAST_ROUNDS", (5,))


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("value", [1e300, -1e300, 1e39, 0.0, -1.0])
def test_share_that_overflows_proves_nothing(folder, value) -> None:
    """NaN compares as neither smaller nor larger."""
    change_evidence(folder, "share", np.array([value]))
    forge(folder, smaller_gap)
    with pytest.raises(DataError, match="lower bound of slice 1 is stated as"):
        check(folder)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("name", ["source", "near"])
def test_images_that_overflow_prove_nothing(folder, name) -> None:
    huge = np.full((1, 40, 36), 3e38 + 3e38j, np.complex64)
    change_evidence(folder, name, huge)
    forge(folder, smaller_gap)
    with pytest.raises(DataError, match="lower bound of slice 1 is stated as"):
        check(folder)


@pytest.mark.parametrize("preset", ["paper", "accurate"])
def test_numbers_are_compared_on_their_own_scale(preset, tmp_path) -> None:
    """An objective of 1e-12 is not compared with 1."""
    np.save(tmp_path / "scan.npy", 1e-12 * kspace())
    reconstruct(read(tmp_path / "scan.npy"), layers=5, preset=preset).save(tmp_path / "a.nii.gz")
    assert check(tmp_path).agrees
    forge(tmp_path, set_number("duality_gap", "objective", 1e-6))
    with pytest.raises(DataError, match="objective of slice 1 is stated as 1e-06"):
        check(tmp_path)


def replaced(path: Path, name: str, **dataset: Any) -> None:
    """Put another dataset into the evidence."""
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, **dataset)


@pytest.mark.parametrize("name", ["x", "source", "share", "near"])
def test_evidence_of_many_gigabytes_is_refused_unread(folder, name) -> None:
    replaced(
        folder / "a.evidence.h5",
        name,
        shape=(1 << 20, 1 << 20),
        dtype=np.complex64,
        chunks=(1 << 10, 1 << 10),
        compression="gzip",
    )
    with pytest.raises(DataError, match=r"a\.evidence\.h5: "):
        check(folder)


@pytest.mark.parametrize("name", ["x", "source", "near"])
@pytest.mark.parametrize("dtype", [np.float64, np.int16])
def test_evidence_of_another_type_is_refused(folder, name, dtype) -> None:
    replaced(folder / "a.evidence.h5", name, data=np.ones((1, 40, 36), dtype))
    with pytest.raises(DataError, match=r"a\.evidence\.h5: "):
        check(folder)


@pytest.mark.parametrize("shape", [(1, 36, 40), (1, 1), (1, 40, 36, 1)])
def test_evidence_of_another_shape_is_refused(folder, shape) -> None:
    for name in ("x", "source", "near"):
        replaced(folder / "a.evidence.h5", name, data=np.ones(shape, np.complex64))
    with pytest.raises(DataError, match="evidence"):
        check(folder)


def test_evidence_that_points_into_another_file_is_refused(folder) -> None:
    path = folder / "a.evidence.h5"
    shutil.copy(path, folder / "other.h5")
    with h5py.File(path, "r+") as file:
        del file["x"]
        file["x"] = h5py.ExternalLink("other.h5", "x")
    with pytest.raises(FirenetError, match=r"a\.evidence\.h5: "):
        check(folder)


def test_evidence_with_a_group_in_place_of_an_array_is_refused(folder) -> None:
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        del file["near"]
        file.create_group("near")
    with pytest.raises(FirenetError, match=r"a\.evidence\.h5: "):
        check(folder)


def test_evidence_must_be_that_of_the_certificate(folder) -> None:
    with h5py.File(folder / "a.evidence.h5", "r+") as file:
        file.attrs["note"] = "changed"
    saved = read_certificate(folder / "a.json")
    with pytest.raises(DataError, match="SHA-256"):
        saved.check_evidence(saved.evidence_beside())


def test_repeated_keys_are_refused(folder) -> None:
    """Other readers take the first of two, and would show what the digest does not cover."""
    path = folder / "a.json"
    text = path.read_text().replace("{", '{"certificate": {"relative_gap": [1e-9]},', 1)
    path.write_text(text)
    with pytest.raises(FileError, match="is not complete JSON"):
        read_certificate(path)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_numbers_that_are_infinite_are_refused(folder, number) -> None:
    path = folder / "a.json"
    path.write_text(path.read_text().replace("{", f'{{"x": {number},', 1))
    with pytest.raises(FileError, match="is not complete JSON"):
        read_certificate(path)


@pytest.mark.parametrize("record", [[], {}, {"read": 3, "reconstruction": {}}, {"read": {}}, 5])
def test_record_of_another_kind_is_refused(folder, record) -> None:
    from firenet_mri.cli.record import recorded_options
    from firenet_mri.io.kspace.options import ReadOptions

    forge(folder, lambda report: report.update(options=record))
    with pytest.raises(FirenetError):
        recorded_options(read_certificate(folder / "a.json"), ReadOptions())


def moved_quaternion(path: Path) -> None:
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[:3, 3] += 20
    image.set_qform(affine, 2)
    image.set_sform(image.affine, 1)
    nibabel.save(image, path)


def flipped(path: Path) -> None:
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(image.dataobj, np.diag([-1, 1, 1, 1.0])), path)


def in_metres(path: Path) -> None:
    image = nibabel.load(path)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, path)


@pytest.mark.parametrize("change", [moved_quaternion, flipped, in_metres])
def test_image_that_lies_elsewhere_is_refused(folder, change) -> None:
    change(folder / "a.nii.gz")
    forge(folder)
    with pytest.raises(DataError, match="does not lie where the scan does"):
        check(folder)


def test_image_with_a_header_of_many_gigabytes_is_refused_unread(folder) -> None:
    image = nibabel.load(folder / "a.nii.gz")
    header = image.header.copy()
    header.set_data_shape((30000, 30000, 300))
    with nibabel.openers.Opener(folder / "a.nii.gz", "wb") as file:
        header.write_to(file)
        file.write(bytes(100))
    forge(folder)
    with pytest.raises(FileError, match="would take"):
        check(folder)


def small_scan() -> RawScan:
    """Return the middle of the sample, which has a place."""
    scan = read(Path(__file__).parents[2] / "sample_data" / "brain_8coil.h5")
    where = (..., slice(58, 122), slice(76, 140))
    return replace(scan, kspace=scan.kspace[where], mask=scan.mask[where], images=())


def save_as(folder: Path, name: str) -> None:
    """Reconstruct the small scan and write it as another format."""
    reconstruct(small_scan(), layers=2).save(folder / name, overwrite=True)


def check_sample(folder: Path, name: str) -> Any:
    """Check an image of the small scan."""
    saved = read_certificate(folder / "a.json")
    options = ReconstructionOptions.from_mapping({"layers": 2})
    evidence = read_evidence(saved.evidence_beside())
    return check_reconstruction(saved, small_scan(), evidence, options, image=folder / name)


def brighter(path: Path) -> None:
    """Add a constant to all pixels of a DICOM image without touching them."""
    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence[0].RescaleIntercept = "500"
    data.save_as(path)


def inverted(path: Path) -> None:
    data = pydicom.dcmread(path)
    data.PhotometricInterpretation = "MONOCHROME1"
    data.save_as(path)


@pytest.mark.parametrize("change", [pytest.param(brighter, marks=pytest.mark.slow), inverted])
def test_pixels_of_dicom_count_as_they_are_shown(tmp_path, change) -> None:
    save_as(tmp_path, "a.dcm")
    checked = check_sample(tmp_path, "a.dcm")
    assert any("DICOM" in line for line in checked.unchecked)
    change(tmp_path / "a.dcm")
    forge(tmp_path, name="a.dcm")
    with pytest.raises(DataError, match=r"is not the image|has another display transform"):
        check_sample(tmp_path, "a.dcm")


def mrd_moved(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        header = file["dataset/image_0/header"][:]
        header["position"] += 10
        file["dataset/image_0/header"][...] = header


def mrd_second_image(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file.copy("dataset/image_0", "dataset/image_1")


@pytest.mark.parametrize(
    "change", [mrd_moved, pytest.param(mrd_second_image, marks=pytest.mark.slow)]
)
def test_place_and_number_of_mrd_images_are_compared(tmp_path, change) -> None:
    save_as(tmp_path, "a.h5")
    assert check_sample(tmp_path, "a.h5").agrees
    change(tmp_path / "a.h5")
    forge(tmp_path, name="a.h5")
    with pytest.raises(
        DataError, match=r"does not lie where the scan does|contains further images"
    ):
        check_sample(tmp_path, "a.h5")


@pytest.mark.parametrize("stated", [0.0, 1.0])
def test_bound_that_is_smaller_than_it_need_be_is_true(folder, stated) -> None:
    """What is stated holds; that the dual proves more contradicts nothing."""

    def change(report: Report) -> None:
        values = entry(report, "duality_gap")["values"]
        (objective,), (before,) = values["objective"], values["duality_gap"]
        gap = objective - stated
        values |= {"lower_bound": [stated], "duality_gap": [gap], "relative_gap": [gap / objective]}
        others = entry(report, "maps_1_percent")
        others["values"]["gap_with_other_maps"][0] += gap - before
        others["values"]["relative_gap_with_other_maps"][0] += (gap - before) / objective
        if others["values"]["relative_gap_with_other_maps"][0] >= 1:
            others["limits"] += _EMPTY_GAP

    forge(folder, change)
    assert "Recomputed and the same: duality gap." in check(folder).agrees


# What may be changed and is then listed among what was not compared, by a word of that line.
LISTED = {
    "accuracy_against_reference": "accuracy against reference",
    "options/read": "options of reading",
    "options/reconstruction/no_gap": "more or less",
    "options/reconstruction/jacobian": "more or less",
    "options/reconstruction/recovery": "more or less",
    "device": "device",
    "timings": "timings",
    "versions": "versions",
    "scan/name": "name of the scan",
    "certificate/digests/maps": "digest of the maps",
    "certificate/digests/pixels": "digest of the pixels",
}


# What in a certificate does not repeat its entries.
_OWN = ("entries", "items", "scope", "digests")


def leaves(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all numbers, words and empty lists in plain data."""
    parts = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in parts:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changed(value: Any) -> Any:
    """Return another value of the same kind, if there is one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return 2 * value + 1
    return "something else" if value is None else f"{value} changed"


def outcome(folder: Path, change: Change, *, consistent: bool) -> tuple[str, ...] | None:
    """Return what a check of a changed file lists; None if it is refused, by us and not by Python.

    A file that does not contradict itself can be made of only some changes.
    """
    try:
        forge(folder, change, consistent=consistent)
    except (FirenetError, AttributeError, KeyError, TypeError, ValueError):
        assert consistent
        return None
    try:
        return check(folder).unchecked
    except FirenetError:
        return None


@pytest.mark.parametrize("consistent", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_word_and_number_of_the_file_is_refused_or_listed_when_it_is_changed(
    consistent, tmp_path
) -> None:
    np.save(tmp_path / "scan.npy", kspace())
    options: dict[str, Any] = {"preset": "paper", "layers": 5}
    reconstruct(read(tmp_path / "scan.npy"), **options).save(tmp_path / "a.nii.gz")
    text = (tmp_path / "a.json").read_text()
    # forge makes these anew.
    anew = ("digest", "evidence", "file", "parameters")
    paths = [path for path in leaves(json.loads(text)) if path[-1] not in anew]
    assert len(paths) > 90
    missed = []
    for path in paths:

        def change(report: Report, path: tuple[Any, ...] = path) -> None:
            place: Any = report
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = changed(place[path[-1]])

        (tmp_path / "a.json").write_text(text)
        lines = outcome(tmp_path, change, consistent=consistent)
        name = "/".join(map(str, path))
        words = [word for key, word in LISTED.items() if name.startswith(key)]
        is_listed = words and any(words[0] in line for line in lines or ())
        # What repeats the entries was made anew.
        is_repeated = consistent and path[0] == "certificate" and path[1] not in _OWN
        if lines is not None and not is_listed and not is_repeated:
            missed.append(name)
    assert not missed


def test_huge_number_of_slices_is_refused_at_once(folder) -> None:
    forge(folder, lambda report: report["certificate"].update(items=10**15))
    with pytest.raises(DataError, match="1000000000000000 slices"):
        check(folder)


def test_image_of_rounding_errors_is_confirmed_though_another_path_rounds_otherwise(
    tmp_path, monkeypatch
) -> None:
    """With a large lam nothing of the data is left; another machine has other rounding errors."""
    from firenet_mri.reconstruction import check as module

    np.save(tmp_path / "scan.npy", kspace())
    reconstruct(read(tmp_path / "scan.npy"), lam=10.0).save(tmp_path / "a.nii.gz")
    runs, solve = [], module.solve

    def differently(*arguments: Any, **options: Any) -> Any:
        with torch.enable_grad():
            runs.append(solve(*arguments, **options))
        return runs[-1]

    monkeypatch.setattr(module, "solve", differently)
    assert check(tmp_path, again=True).agrees
    x = read_evidence(tmp_path / "a.evidence.h5").x[0]
    assert float((runs[0].state.x - x).abs().max()) > 1e-5 * float(x.abs().max())
