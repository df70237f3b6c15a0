"""MRD streams as files: what ismrmrd's serializer writes is the scan of the HDF5 file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
import torch
from ismrmrd.serialization import ConfigFile, ConfigText, ProtocolSerializer
from mrd_scans import make_header, make_readouts
from real_scans import DATA

from firenet_mri import read
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.kspace import siemens
from firenet_mri.io.kspace.formats import Format, groups_of, recognise
from firenet_mri.io.kspace.ismrmrd_file import read_acquisitions
from firenet_mri.io.kspace.ismrmrd_stream import is_stream
from firenet_mri.io.kspace.outline import outline_of_file

SAMPLE = Path(__file__).parents[3] / "sample_data/brain_3slices.h5"
NX, NY = 16, 12


def write(path: Path, *items: object) -> Path:
    """Write items as the ismrmrd package does, with a close."""
    with ProtocolSerializer(str(path)) as serializer:
        for item in items:
            serializer.serialize(item)
    return path


def scan(noisy) -> list[object]:
    return [make_header((NX, NY, 1)), *make_readouts(noisy(2, NY, NX))]


def assert_same_scan(found, expected) -> None:
    assert torch.equal(found.kspace, expected.kspace)
    assert torch.equal(found.mask, expected.mask)
    assert found.geometry == expected.geometry
    assert found.parameters == expected.parameters
    assert (found.noise is None) == (expected.noise is None)
    if found.noise is not None:
        assert torch.equal(found.noise, expected.noise)


def test_a_stream_is_the_scan_of_the_hdf5_file(tmp_path) -> None:
    header, readouts = read_acquisitions(SAMPLE)
    path = write(tmp_path / "scan.mrd", header, *readouts)
    assert recognise(path) is Format.STREAM
    assert_same_scan(read(path), read(SAMPLE))
    assert outline_of_file(path).geometry == read(SAMPLE).geometry


@pytest.mark.parametrize(
    "before",
    [
        [ConfigFile("recon.xml")],
        [ConfigText("<configuration/>")],
        ['{"parameters": {}}', ConfigFile("recon.xml")],
        [ConfigText("<c>" + 5000 * "x" + "</c>")],
    ],
    ids=["file", "text", "parameters", "long"],
)
def test_configurations_waveforms_and_arrays_do_not_matter(before, noisy, tmp_path) -> None:
    header, *readouts = scan(noisy)
    plain = write(tmp_path / "plain.mrd", header, *readouts)
    waveform = ismrmrd.Waveform.from_array(np.arange(8, dtype=np.uint32).reshape(2, 4))
    full = write(
        tmp_path / "full", *before, header, waveform, np.ones((3, 2), np.complex64), *readouts
    )
    assert recognise(full) is Format.STREAM
    assert_same_scan(read(full), read(plain))


def test_a_configurations_rest_may_be_anything(noisy, tmp_path) -> None:
    """Clients in C++ leave what was in memory behind the name."""
    path = write(tmp_path / "scan.mrd", *scan(noisy))
    named = tmp_path / "named.mrd"
    name = b"recon.xml\0".ljust(1024, b"\xfe")
    named.write_bytes(struct.pack("<H", 1) + name + path.read_bytes())
    assert_same_scan(read(named), read(path))


def test_several_measurements_are_chosen_from(noisy, tmp_path) -> None:
    second = scan(noisy)
    path = write(tmp_path / "two.mrd", *scan(noisy), *second)
    assert groups_of(path) == ["1", "2"]
    with pytest.raises(UsageError, match="holds 2 measurements; choose one with --group 1 to 2"):
        read(path)
    with pytest.raises(UsageError, match="group 3 was requested"):
        read(path, group="3")
    alone = write(tmp_path / "one.mrd", *second)
    assert_same_scan(read(path, group="2"), read(alone))
    assert groups_of(alone) == []


def test_a_cut_stream_is_refused_and_one_without_its_close_is_told(noisy, tmp_path, caplog) -> None:
    path = write(tmp_path / "scan.mrd", *scan(noisy))
    whole = path.read_bytes()
    expected = read(path)
    assert not caplog.records
    path.write_bytes(whole[:-2])
    assert_same_scan(read(path), expected)
    assert "not closed; its end may be missing" in caplog.text
    for stop in (1, 40, -3, -500, len(whole) // 2):
        path.write_bytes(whole[:stop])
        with pytest.raises(FileError, match=r"scan\.mrd"):
            read(path)


def test_bytes_that_are_no_message_are_named(noisy, tmp_path) -> None:
    path = write(tmp_path / "scan.mrd", *scan(noisy))
    path.write_bytes(path.read_bytes()[:-2] + struct.pack("<H", 77))
    with pytest.raises(FileError, match=r"damaged \(a message of the unknown kind 77\)"):
        read(path)


def test_streams_without_readouts_say_what_they_hold(noisy, tmp_path) -> None:
    image = ismrmrd.Image.from_array(np.ones((4, 3), np.float32))
    header, *readouts = scan(noisy)
    with pytest.raises(FileError, match="1 image and no readouts; firenet convert"):
        read(write(tmp_path / "image.mrd", image))
    with pytest.raises(FileError, match="no readouts; convert the scan again"):
        read(write(tmp_path / "empty.mrd", header))
    with pytest.raises(FileError, match="precede the header"):
        read(write(tmp_path / "late.mrd", ConfigText("<x/>"), readouts[0], header))


@pytest.mark.parametrize(
    "head",
    [
        b"",
        struct.pack("<HI", 3, 100) + bytes(100),
        struct.pack("<HI", 5, 4) + b"text" + bytes(50),
        struct.pack("<H", 1) + b"\1\2\3" + bytes(1500),
        struct.pack("<H", 1022) + bytes(200),
        struct.pack("<H", 1008) + bytes(400),
        bytes(4096),
    ],
)
def test_other_files_are_no_streams(head) -> None:
    assert not is_stream(head)


@pytest.mark.skipif(not DATA.exists(), reason="the real scans are not here")
def test_a_real_siemens_scan_as_a_stream_is_the_scan(tmp_path) -> None:
    source = DATA / "siemens_twix/gre.dat"
    header, readouts = siemens.read_acquisitions(source)
    header.acquisitionSystemInformation.systemVendor = "SIEMENS"
    assert_same_scan(read(write(tmp_path / "gre.ismrmrd", header, *readouts)), read(source))


@pytest.mark.skipif(shutil.which("ismrmrd_hdf5_to_stream") is None, reason="no ismrmrd-tools 1.14")
def test_a_stream_of_ismrmrds_own_tool_is_the_scan(tmp_path) -> None:
    path = tmp_path / "scan.mrd"
    command = ["ismrmrd_hdf5_to_stream", "-i", str(SAMPLE), "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    assert_same_scan(read(path), read(SAMPLE))
