"""``firenet certify`` explains a certificate, and refuses one that is not that of the image."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import sigpy.mri
from forging import forge

from firenet_mri import read, reconstruct
from firenet_mri.cli import main


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scan, its image and certificate, and the mask."""
    folder = tmp_path_factory.mktemp("saved")
    maps = sigpy.mri.birdcage_maps((4, 40, 36))
    data = sigpy.fft(maps * sigpy.shepp_logan((40, 36)), axes=(-2, -1)).astype(np.complex64)
    mask = np.zeros((40, 36), bool)
    mask[::2] = mask[10:30] = True
    np.save(folder / "scan.npy", data * mask)
    np.save(folder / "other.npy", 2 * data * mask)
    np.save(folder / "mask.npy", mask)
    mask[12] = False
    np.save(folder / "smaller_mask.npy", mask)
    result = reconstruct(read(folder / "scan.npy"), layers=3, jacobian=True)
    result.save(folder / "a.nii.gz")
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the working folder."""
    shutil.copytree(saved, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def firenet(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; return the exit status."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["firenet", "certify", *arguments])
    with pytest.raises(SystemExit) as raised:
        main()
    return int(raised.value.code or 0)


def test_every_entry_is_explained(folder, monkeypatch, capsys) -> None:
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy") == 0
    output = capsys.readouterr().out
    assert "a.nii.gz is the image of this certificate" in output
    assert "scan.npy is the scan it was made from" in output
    for name in ("Duality gap: proven", "Lipschitz bound: proven", "Measured gain: measured"):
        assert name in output
    for name in ("Encoding: assumed", "Arithmetic: assumed"):
        assert name in output
    report = json.loads((folder / "a.json").read_text())
    for number in ("relative_gap", "lipschitz_bound_at_data", "measured_gain"):
        assert f"{report['certificate'][number][0]:.6g}" in output
    assert "does not say" in output
    assert "true to the anatomy" in " ".join(output.split())


def test_json_is_for_machines(folder, monkeypatch, capsys) -> None:
    assert firenet(monkeypatch, "a.json", "--json") == 0
    output = json.loads(capsys.readouterr().out)
    assert output["image_matches"] is True
    assert output["scan_matches"] is None
    assert output["certificate"] == json.loads((folder / "a.json").read_text())["certificate"]


def test_files_are_asked_for_by_the_digest_in_the_record(folder, monkeypatch, capsys) -> None:
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy", "--mask", "mask.npy") == 2
    assert "was made without --mask" in capsys.readouterr().err
    result = reconstruct(read("scan.npy", mask="mask.npy"), layers=3)
    result.save("b.nii.gz")
    assert firenet(monkeypatch, "b.json", "--scan", "scan.npy") == 2
    assert "give it with --mask" in capsys.readouterr().err
    assert firenet(monkeypatch, "b.json", "--scan", "scan.npy", "--mask", "smaller_mask.npy") == 1
    assert "another SHA-256 than the mask" in capsys.readouterr().err
    assert firenet(monkeypatch, "b.json", "--scan", "scan.npy", "--mask", "mask.npy") == 0
    assert "Recomputed and the same: duality gap." in capsys.readouterr().out


def test_image_may_be_named_and_moved(folder, monkeypatch) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "a.nii.gz").rename(folder / "elsewhere" / "b.nii.gz")
    assert firenet(monkeypatch, "a.json") == 1
    assert firenet(monkeypatch, "a.json", "--image", "elsewhere/b.nii.gz") == 0


def test_digest_in_the_certificate_is_that_of_sha256sum(folder) -> None:
    import hashlib

    report = json.loads((folder / "a.json").read_text())
    expected = hashlib.sha256((folder / "a.nii.gz").read_bytes()).hexdigest()
    assert report["certificate"]["digests"]["file"] == expected
    kspace = np.where(np.load(folder / "mask.npy"), np.load(folder / "scan.npy"), 0)
    expected = hashlib.sha256(b"torch.complex64 (4, 40, 36)\n" + kspace.tobytes()).hexdigest()
    assert report["certificate"]["digests"]["kspace"] == expected


def change_one_pixel(folder: Path) -> None:
    image = nibabel.load(folder / "a.nii.gz")
    values = np.asarray(image.dataobj).copy()
    values[20, 20, 0] *= 1.0001
    nibabel.save(nibabel.Nifti1Image(values, image.affine, image.header), folder / "a.nii.gz")


def edit(folder: Path, *path: str, value: object) -> None:
    report = json.loads((folder / "a.json").read_text())
    inside = report
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    (folder / "a.json").write_text(json.dumps(report))


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "arguments", "status", "said"),
    [
        (
            change_one_pixel,
            "a.json",
            1,
            "a.nii.gz: is not the image of a.json, because its SHA-256",
        ),
        (
            lambda f: (f / "a.nii.gz").unlink(),
            "a.json",
            1,
            "no image a.nii.gz, .nii, .dcm, .h5, .mrd or .npy is next to",
        ),
        (
            lambda f: (f / "a.nii").write_bytes(gzip.decompress((f / "a.nii.gz").read_bytes())),
            "a.json",
            2,
            "a.nii.gz and a.nii are next to it",
        ),
        (lambda f: None, "missing.json", 1, "missing.json: no such file"),
        (lambda f: (f / "b.json").mkdir(), "b.json", 1, "b.json: is a folder"),
        (lambda f: None, "a.nii.gz", 1, "a.nii.gz: is not JSON"),
        (write("b.json", b""), "b.json", 1, "b.json: the file is empty"),
        (write("b.json", b'{"a": [1, 2'), "b.json", 1, "b.json: is not complete JSON"),
        (write("b.json", b"[" * 100_000), "b.json", 1, "b.json: is not complete JSON"),
        (write("b.json", b'{"a": NaN}'), "b.json", 1, "b.json: is not complete JSON"),
        (write("b.json", b"[1, 2]"), "b.json", 1, "b.json: is JSON but not a certificate"),
        (write("b.json", b'{"SliceTiming": []}'), "b.json", 1, "is JSON but not a certificate"),
        (
            lambda f: edit(f, "certificate", value={}),
            "a.json",
            1,
            "a.json: the certificate has version None",
        ),
        (
            lambda f: edit(f, "certificate", value=[1]),
            "a.json",
            1,
            "a.json: the certificate is damaged",
        ),
        (
            lambda f: edit(f, "certificate", "version", value=7),
            "a.json",
            1,
            "a.json: the certificate has version 7",
        ),
        (
            lambda f: edit(f, "certificate", "relative_gap", value=[0.0]),
            "a.json",
            1,
            "contradicts itself",
        ),
        (
            lambda f: edit(f, "certificate", "digests", "file", value="0" * 64),
            "a.json",
            1,
            "was changed after it was written",
        ),
        (
            lambda f: edit(f, "certificate", "digests", value=None),
            "a.json",
            1,
            "names no image",
        ),
        (
            lambda f: edit(f, "network", "lam", value=1.0),
            "a.json",
            1,
            "a.json: the file was changed after it was written",
        ),
        (lambda f: None, "a.json --image missing.nii", 1, "missing.nii: no such file"),
        (lambda f: None, "a.json --image mask.npy", 1, "mask.npy: is not the image of a.json"),
        (lambda f: None, "a.json --scan other.npy", 1, "other.npy: is not the scan of a.json"),
        (lambda f: None, "a.json --scan missing.h5", 1, "missing.h5: no such file"),
        (lambda f: None, "a.json --mask mask.npy", 2, "--mask belongs to a scan"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    spoil, arguments, status, said, folder, monkeypatch, capsys
) -> None:
    spoil(folder)
    assert firenet(monkeypatch, *arguments.split()) == status
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert output.err.startswith("firenet: ")
    assert said in output.err
    assert "Traceback" not in output.err
    assert "proven" not in output.out


def test_truncated_certificates_are_refused_wherever_they_end(folder, monkeypatch, capsys) -> None:
    whole = (folder / "a.json").read_bytes().rstrip()
    for length in range(1, len(whole), 97):
        (folder / "a.json").write_bytes(whole[:length])
        assert firenet(monkeypatch, "a.json") == 1
        assert "truncated" in capsys.readouterr().err


def test_report_names_no_folder_and_no_person(folder) -> None:
    report = (folder / "a.json").read_text()
    assert str(folder) not in report
    assert str(Path.home()) not in report


def rewrite(folder: Path, change) -> None:
    """Change the entries of a.json, and make its digest anew."""
    forge(folder, lambda report: change(report["certificate"]["entries"]))


def test_nothing_looks_checked_that_was_not(folder, monkeypatch, capsys) -> None:
    """Without the network the gap of a reweighted image is only what the file says."""
    result = reconstruct(read("scan.npy"), layers=3, reweighting=1)
    result.save("a.nii.gz", overwrite=True)

    def change(entries) -> None:
        for entry in entries:
            if entry["name"] == "duality_gap":
                entry["values"]["relative_gap"] = [1e-9]

    rewrite(folder, change)
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy") == 0
    output = capsys.readouterr().out
    assert "Stated, not recomputed:\n\nIs it the image that the method defines?" in output
    assert "within 1.1e-07 %" in output
    assert "Duality gap: proven (stated, not recomputed)" in output
    assert "Recomputed and the same: duality gap" not in output
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy", "--json") == 0
    assert "duality_gap" in json.loads(capsys.readouterr().out)["entries_not_recomputed"]
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy", "--again") == 1
    assert "relative_gap of slice 1 is stated as 1e-09" in capsys.readouterr().err


def test_without_a_scan_every_claim_is_marked(folder, monkeypatch, capsys) -> None:
    assert firenet(monkeypatch, "a.json") == 0
    output = capsys.readouterr().out
    assert "Duality gap: proven (stated, not recomputed)" in output
    assert "Stated, not recomputed:" in output


def test_words_of_the_file_cannot_colour_or_move_what_is_printed(
    folder, monkeypatch, capsys
) -> None:
    def change(entries) -> None:
        entries[0]["name"] = "gap[/bold]: [green]\u2713 recomputed[/][bold]"
        entries[0]["statement"] = "\x1b[2J\x1b[H\u202eproven\r\u2713 Recomputed"
        entries[0]["values"] = {"[green]gap[/]": [1.0]}

    rewrite(folder, change)
    assert firenet(monkeypatch, "a.json") == 0
    output = capsys.readouterr().out
    assert "Gap[/bold]: [green]" in output
    assert "[green]gap[/]" in output
    assert not {"\x1b", "\r", "\u202e"} & set(output)


def test_image_that_is_zero_is_explained(folder, monkeypatch, capsys) -> None:
    """A change of it is no per cent of nothing, so that entries are about no slice."""
    result = reconstruct(read("scan.npy"), layers=1)
    assert not result.image.any()
    result.save("b.nii.gz")
    assert firenet(monkeypatch, "b.json", "--scan", "scan.npy", "--again") == 0
    assert "For no slice." in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["accurate", "paper"])
def test_image_of_rounding_errors_is_confirmed_when_run_again(preset, folder, monkeypatch) -> None:
    """With a large lam nothing but rounding is left of the image."""
    result = reconstruct(read("scan.npy"), preset=preset, lam=10.0)
    result.save("b.nii.gz")
    assert firenet(monkeypatch, "b.json", "--scan", "scan.npy", "--again") == 0


def test_certificate_of_a_residual_that_is_rounding_is_confirmed(folder, monkeypatch) -> None:
    """Fully sampled and without noise: v is a small difference of large images."""
    maps = sigpy.mri.birdcage_maps((4, 64, 64))
    data = sigpy.fft(maps * sigpy.shepp_logan((64, 64)), axes=(-2, -1))
    np.save("full.npy", data.astype(np.complex64))
    reconstruct(read("full.npy")).save("b.nii.gz")
    assert firenet(monkeypatch, "b.json", "--scan", "full.npy") == 0


def test_maps_that_continue_beyond_the_object_are_made_again(folder, monkeypatch, capsys) -> None:
    scan = read(folder / "scan.npy")
    images = {}
    for background in ("crop", "keep"):
        result = reconstruct(scan, layers=3, background=background)
        result.save(folder / f"{background}.nii.gz")
        images[background] = result.image
    assert int((images["crop"] == 0).sum()) > 100
    assert int((images["keep"] == 0).sum()) == 0
    assert firenet(monkeypatch, "keep.json", "--scan", "scan.npy", "--again") == 0
    assert "network was run again" in " ".join(capsys.readouterr().out.split())
    report = json.loads((folder / "keep.json").read_text())
    assert report["options"]["reconstruction"]["background"] == "keep"
    # The image of other maps, under a record that says so.
    change = {"options": json.loads((folder / "crop.json").read_text())["options"]}
    for suffix in (".json", ".nii.gz", ".evidence.h5"):
        shutil.copy(folder / f"keep{suffix}", folder / f"a{suffix}")
    forge(folder, lambda report: report.update(change))
    assert firenet(monkeypatch, "a.json", "--scan", "scan.npy") != 0
