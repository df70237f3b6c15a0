"""What the server saves can be checked, tells nothing of a patient, and costs no image."""

from __future__ import annotations

import dataclasses
import logging
import sys
from pathlib import Path

import ismrmrd
import pytest
import torch
from firenet_command import firenet
from mrd_streams import serving

from firenet_mri.errors import UsageError
from firenet_mri.io import read, read_certificate, write_scan
from firenet_mri.io.evidence import read_evidence
from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.reconstruction.check import Checked, check_reconstruction
from firenet_mri.scan import RawScan
from firenet_mri.server import process
from firenet_mri.server.client import send_scan
from firenet_mri.server.saving import Saving

FAST = {"layers": 2, "sparsifier": "haar", "maps": "lowres"}


@pytest.fixture
def scan(tmp_path: Path, randn) -> Path:
    """The file of a scan of two slices with a noise measurement."""
    kspace = randn(2, 3, 24, 20, dtype=torch.complex64)
    mask = torch.ones(24, 20, dtype=bool)
    mask[1:6] = False
    noise = 0.1 * randn(3, 500, dtype=kspace.dtype)
    path = tmp_path / "sent.h5"
    write_scan(path, RawScan(kspace * mask, mask, 2, noise))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir()
    return tmp_path / "kept"


def stems(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".scan.h5") for path in folder.glob("*.scan.h5"))


def check(folder: Path, name: str) -> Checked:
    saved = read_certificate(folder / f"{name}.json")
    record = saved.report["options"]["reconstruction"]
    return check_reconstruction(
        saved,
        read(folder / f"{name}.scan.h5"),
        read_evidence(saved.evidence_beside()),
        ReconstructionOptions.from_mapping(record),
        again=True,
    )


def test_what_was_served_is_recomputed_by_the_command(scan, folder) -> None:
    with serving(saving=Saving(folder)) as server:
        answer = send_scan(scan, port=server.port, parameters=FAST)
    (name,) = stems(folder)
    assert answer.images[0].meta["FirenetFiles"] == name
    assert answer.log[1] == f"INFO     {name}: image, certificate, evidence and scan saved"
    files = sorted(path.name.removeprefix(name) for path in folder.iterdir())
    assert files == [".evidence.h5", ".json", ".nii.gz", ".png", ".scan.h5"]
    beside = str(folder / f"{name}.json"), "--scan", str(folder / f"{name}.scan.h5")
    found = firenet("certify", *beside, "--again")
    assert found.status == 0
    assert "Recomputed and the same: duality gap" in found.out
    # As if it had been read from the file beside it.
    report = read_certificate(folder / f"{name}.json").report
    assert report["options"]["read"] == dict(read(folder / f"{name}.scan.h5").record)


def test_another_scan_of_the_folder_is_refused(scan, folder) -> None:
    other = scan.with_name("other.h5")
    source = read(scan)
    write_scan(other, dataclasses.replace(source, kspace=2 * source.kspace))
    with serving(saving=Saving(folder)) as server:
        for path in (scan, other):
            send_scan(path, port=server.port, parameters=FAST)
    first, second = stems(folder)
    beside = str(folder / f"{first}.json"), "--scan", str(folder / f"{second}.scan.h5")
    refused = firenet("certify", *beside)
    assert refused.status != 0
    assert "is not the scan" in refused.err


@pytest.mark.parametrize("vendor", ["simulated", "SIEMENS"])
def test_names_and_files_hold_nothing_of_the_header(scan, folder, vendor) -> None:
    header, lines = read_acquisitions(scan)
    header.subjectInformation = ismrmrd.xsd.subjectInformationType(patientName="Zweistein")
    header.acquisitionSystemInformation.systemVendor = vendor
    connection = Connection(lines)
    process(connection, {"parameters": FAST}, header, saving=Saving(folder))
    (name,) = stems(folder)
    assert len(name) == 16
    assert set(name) <= set("0123456789abcdef")
    assert all(b"Zweistein" not in path.read_bytes() for path in folder.iterdir())
    # A turned k-space is written as it was reconstructed.
    assert "The network was run again and gives this image." in check(folder, name).agrees


class Connection:
    """A host's connection."""

    def __init__(self, lines) -> None:
        self.lines, self.events = lines, []

    def __iter__(self):
        yield from self.lines

    def send_image(self, images) -> None:
        self.events.append("image")

    def send_logging(self, level, text) -> None:
        self.events.append(f"{level} {text}")

    def send_close(self) -> None:
        self.events.append("close")


@pytest.mark.parametrize("what", ["folder gone", "image", "scan", "digest"])
def test_an_error_in_writing_is_said_and_the_image_goes_out(
    scan, folder, what, monkeypatch, caplog
) -> None:
    header, lines = read_acquisitions(scan)
    saving = Saving(folder)
    module = sys.modules["firenet_mri.io"]

    def fails(*arguments, **options):
        raise RuntimeError("Zweistein")

    if what == "folder gone":
        folder.rmdir()
    elif what == "image":
        monkeypatch.setattr("firenet_mri.reconstruction.Reconstruction.save", fails)
    elif what == "scan":
        monkeypatch.setattr(module, "write_scan", fails)
    else:
        monkeypatch.setattr(module, "read", lambda path: read(scan, slices=(0,)))
    connection = Connection(lines)
    with caplog.at_level(logging.ERROR):
        process(connection, {"parameters": FAST}, header, saving=saving)
    image, sent, failed, *_, closed = connection.events
    assert (image, sent, closed) == ("image", "INFO 2 images sent", "close")
    assert failed.startswith("WARNING")
    assert ("not saved" if what in ("folder gone", "image") else "without its scan") in failed
    # Errors of others may quote what they were given.
    assert "Zweistein" not in failed + caplog.text
    assert failed.removeprefix("WARNING ") in caplog.text
    if folder.is_dir():
        left = {path.name.partition(".")[2] for path in folder.iterdir()}
        assert "scan.h5" not in left
        assert not any(path.name.startswith(".") for path in folder.iterdir())


def test_nothing_is_replaced(scan, folder, monkeypatch) -> None:
    monkeypatch.setattr(Saving, "new_name", lambda self: "same")
    header, lines = read_acquisitions(scan)
    for _ in range(2):
        connection = Connection(lines)
        process(connection, {"parameters": FAST}, header, saving=Saving(folder))
        contents = [path.read_bytes() for path in sorted(folder.iterdir())]
    assert "not saved" in connection.events[2]
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == contents


def test_an_image_without_a_gap_says_so_where_it_is_sent_and_saved(scan, folder) -> None:
    with serving(saving=Saving(folder)) as server:
        answer = send_scan(scan, port=server.port, parameters={**FAST, "no_gap": True})
    for image in answer.images:
        assert image.meta["ImageComments"].startswith(
            "How near the image is to the optimum was not"
        )
    (name,) = stems(folder)
    saved = read_certificate(folder / f"{name}.json")
    assert saved.certificate.relative_gap is None
    assert not any("duality gap" in line for line in check(folder, name).agrees)


def test_a_folder_or_key_that_cannot_be_used_is_refused_at_the_start(tmp_path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        Saving(tmp_path / "nowhere")
    refused = firenet("serve", "--sign", "key.pem")
    assert refused.status == 2
    assert "--save" in refused.err
