"""No value of a patient's or institution's field of any input reaches an output or a message."""

from __future__ import annotations

import gzip
import logging
import sys
import zlib
from pathlib import Path

import h5py
import ismrmrd
import numpy as np
import pytest
from firenet_command import firenet
from real_scans import DATA, twix
from xsdata.models.datatype import XmlDate

sys.path.insert(0, str(Path(__file__).parent / "io"))

from mrd_scans import make_header, make_readouts
from twix_files import Line, protocol, twix_vd

from tests.io.kspace.test_ge import kspace_with_its_centre_in_the_middle, p_file

SECRETS = {
    "name": "Zweistein^Albertine",
    "id": "PAT-7716253",
    "birth": "1979-03-14",
    "institution": "Kurhaus Hospital",
    "operator": "Quacksalber",
    "station": "MRC-STATION-5",
    "accession": "ACC-9981-X",
    "uid": "1.2.826.0.1.3680043.8.498.4711",
    "serial": "SN-556677",
}


def kspace(*shape: int) -> np.ndarray:
    """Return random k-space with most energy in the middle, so that maps can be made of it."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(*shape, 2)) @ [1, 1j]
    y, x = (np.arange(n) - n // 2 for n in shape[-2:])
    return (noise * np.exp(-(y[:, None] ** 2 + x**2) / 60)).astype(np.complex64)


def ismrmrd_scan(folder: Path) -> Path:
    xsd = ismrmrd.xsd
    header = make_header((40, 32, 1), vendor="ACME")
    header.subjectInformation = xsd.subjectInformationType(
        patientName=SECRETS["name"],
        patientID=SECRETS["id"],
        patientBirthdate=XmlDate.from_string(SECRETS["birth"]),
    )
    header.studyInformation = xsd.studyInformationType(
        accessionNumber=None,
        studyDescription=SECRETS["accession"],
        studyInstanceUID=SECRETS["uid"],
        referringPhysicianName=SECRETS["operator"],
    )
    system = header.acquisitionSystemInformation
    system.institutionName, system.stationName = SECRETS["institution"], SECRETS["station"]
    system.deviceSerialNumber = SECRETS["serial"]
    path = folder / "scan.h5"
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header = header
        file["dataset"].acquisitions = make_readouts(kspace(4, 32, 40))
    return path


def siemens_scan(folder: Path) -> Path:
    extra = "".join(f'tSecret{key} = "{value}"\n' for key, value in SECRETS.items())
    data = kspace(4, 32, 40)
    lines = [Line(data[:, y], {"Lin": y}, centre=(20, 16, 0)) for y in range(32)]
    path = folder / "scan.dat"
    content = twix_vd([(protocol(20, 32, extra=extra), lines)])
    path.write_bytes(content.replace(b"Nowhere Hospital", SECRETS["institution"].encode()))
    return path


def ge_scan(folder: Path) -> Path:
    content = bytearray(p_file(kspace_with_its_centre_in_the_middle()))
    # Between the tables, as the examination's and the series' headers lie.
    for at, value in zip(range(6800, 8000, 100), SECRETS.values(), strict=False):
        content[at : at + len(value)] = value.encode()
    path = folder / "P00001.7"
    path.write_bytes(content)
    return path


def fastmri_scan(folder: Path) -> Path:
    path = folder / "scan.h5"
    header = make_header((40, 32, 1))
    header.subjectInformation = ismrmrd.xsd.subjectInformationType(patientName=SECRETS["name"])
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace(2, 4, 40, 32)
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(header)
        file.attrs["patient_id"], file.attrs["acquisition"] = SECRETS["id"], "AXT2"
    return path


MAKERS = {"ismrmrd": ismrmrd_scan, "siemens": siemens_scan, "ge": ge_scan, "fastmri": fastmri_scan}


def contents(folder: Path) -> bytes:
    """Return the bytes of all files below, unpacked where they are compressed."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found.append(data)
        if data[:2] == b"\x1f\x8b":
            found.append(gzip.decompress(data))
        if data[:4] == b"\x89PNG":
            found += [_inflated(chunk) for chunk in data.split(b"IDAT")[1:]]
    return b"\n".join(found)


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data)
    except zlib.error:
        return b""


def everything(scan: Path, folder: Path, caplog) -> bytes:
    """Run every command that writes something of a scan; return all that came of it."""
    caplog.set_level(logging.DEBUG)
    printed = []

    def run(*arguments: object) -> None:
        result = firenet(*arguments)
        printed.append(result.out + result.err)

    image = ("recon", scan, "--layers", 2, "--maps", "lowres", "--slices", 0)
    for name in ("image.nii.gz", "image.dcm", "image.h5"):
        run(*image, "-o", folder / name, "--overwrite", "--json", "--report")
    run(*image, "-o", folder / "more.nii", "--dicom", folder / "series", "--bids", folder / "s_T1w")
    for suffix in ("h5", "cfl", "npy"):
        run("convert", scan, folder / f"converted.{suffix}")
    run("convert", scan, folder / "fastmri.h5", "--to", "fastmri")
    run("info", scan)
    run("info", scan, "--json")
    run("certify", folder / "more.json", "--scan", scan)
    assert (folder / "image.nii.gz").exists(), printed
    assert (folder / "image.html").exists(), printed
    assert (folder / "converted.h5").exists(), printed
    return contents(folder) + "\n".join(printed).encode() + caplog.text.encode()


def assert_absent(secrets: dict[str, str], found: bytes) -> None:
    lower = found.lower()
    for name, value in secrets.items():
        for form in (value, value.replace("-", ""), value.replace("^", " ")):
            assert form.lower().encode() not in lower, name
            assert form.lower().encode("utf-16-le") not in lower, name


@pytest.mark.parametrize("form", MAKERS)
def test_made_up_patients_stay_in_their_scans(form, tmp_path, caplog) -> None:
    source, outputs = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    outputs.mkdir()
    scan = MAKERS[form](source)
    before = scan.read_bytes()
    # The test would find them: they are in the input.
    assert any(value.encode() in before for value in SECRETS.values())
    assert_absent(SECRETS, everything(scan, outputs, caplog))


def test_a_real_siemens_header_stays_in_its_file(tmp_path, caplog) -> None:
    from twixtools import read_twix

    path = twix("gre.dat")
    header = read_twix(str(path), parse_data=False, parse_geometry=False, verbose=False)[-1]["hdr"]
    words = ("Patient", "Institution", "Serial", "Physician", "Operator", "Address", "StudyLOID")
    secrets = {
        name: value
        for part in ("Dicom", "Meas", "Config", "Phoenix")
        for name, value in header[part].items()
        if isinstance(value, str) and len(value) > 4 and any(word in name for word in words)
    }
    assert secrets
    assert_absent(secrets, everything(path, tmp_path, caplog))


def test_a_real_ge_header_stays_in_its_file(tmp_path, caplog) -> None:
    path = DATA / "ge_pfile/P20480_GRE.7"
    if not path.is_file():
        pytest.skip("the real P-file is not here")
    raw = path.read_bytes()
    # Offsets of revision 26: hospital, system, name, identity, date of birth, series' description.
    places = {
        "hospital": 195_011,
        "name": 195_184,
        "id": 195_249,
        "birth": 195_331,
        "series": 196_602,
    }
    secrets = {key: raw[at : at + 33].split(b"\0")[0].decode() for key, at in places.items()}
    assert all(len(value) > 4 for value in secrets.values())
    assert_absent(secrets, everything(path, tmp_path, caplog))
