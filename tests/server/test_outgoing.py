"""What is sent to a server is what a reconstruction needs, and tells nobody who was measured."""

from __future__ import annotations

import json
import logging
import socket
import sys
import threading
import warnings
from pathlib import Path

import ismrmrd
import numpy as np
import pytest
from firenet_command import firenet

from firenet_mri.cli import serve
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.reading import read_acquisitions
from firenet_mri.server.outgoing import allowed_header, allowed_readout

sys.path.insert(0, str(Path(__file__).parents[1] / "io" / "kspace"))

from mrd_scans import make_header, make_readouts

SECRETS = [
    "Kurhaus Hospital",
    "MRC-STATION-5",
    "SN-556677",
    "DEV-8",
    "HeadNeck-20-4711",
    "comment-3",
]
TIME = 0x5A17C0DE


def whole_header() -> ismrmrd.xsd.ismrmrdHeader:
    xsd = ismrmrd.xsd
    header = make_header((8, 6, 1), vendor="ACME", bandwidth=0.8, calibration_mode="embedded")
    institution, station, serial, device, coil, comment = SECRETS
    system = header.acquisitionSystemInformation
    system.institutionName, system.stationName = institution, station
    system.deviceSerialNumber, system.deviceID = serial, device
    system.coilLabel = [xsd.coilLabelType(coilNumber=0, coilName=coil)]
    header.encoding[0].trajectoryDescription = xsd.trajectoryDescriptionType(
        identifier="x", comment=comment
    )
    header.sequenceParameters = xsd.sequenceParametersType(TR=[5.0], sequence_type=comment)
    return header


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    readouts = make_readouts(rng.normal(size=(2, 6, 8)) + 1j)
    for readout in readouts:
        readout.acquisition_time_stamp = readout.measurement_uid = TIME
        readout.physiology_time_stamp[:] = readout.user_int[:3] = [TIME] * 3
        readout.idx.user[5] = 3
    path = tmp_path / "scan.h5"
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header, file["dataset"].acquisitions = whole_header(), readouts
    return path


def sent(scan: Path, tmp_path: Path, *flags: str) -> tuple[bytes, str]:
    """Return what a client sends to a server that says nothing, and what it prints."""
    listener = socket.create_server(("127.0.0.1", 0))
    received = bytearray()

    def take() -> None:
        client, _ = listener.accept()
        with client:
            client.settimeout(10)
            # A close is the last of all messages.
            while not received.endswith(b"\x04\x00"):
                received.extend(client.recv(1 << 16))
            client.sendall(b"\x04\x00")

    thread = threading.Thread(target=take)
    thread.start()
    port = str(listener.getsockname()[1])
    result = firenet("send", scan, "--port", port, "-o", tmp_path / "images.h5", *flags)
    thread.join(timeout=10)
    listener.close()
    return bytes(received), result.out + result.err


def test_institution_serial_number_coils_and_times_stay_here(scan, tmp_path) -> None:
    data, printed = sent(scan, tmp_path)
    assert b"ACME" in data
    for secret in SECRETS:
        assert secret.encode() not in data, secret
    assert TIME.to_bytes(4, "little") not in data
    assert "whole" not in printed


def test_the_whole_header_is_sent_on_demand_and_said(scan, tmp_path) -> None:
    data, printed = sent(scan, tmp_path, "--whole-header")
    for secret in SECRETS:
        assert secret.encode() in data, secret
    assert TIME.to_bytes(4, "little") in data
    assert "sending the whole header" in printed


def test_what_is_sent_makes_the_same_scan(scan) -> None:
    header, readouts = read_acquisitions(scan)
    expected = assemble(header, readouts)
    found = assemble(allowed_header(header), [allowed_readout(one) for one in readouts])
    np.testing.assert_array_equal(found.kspace, expected.kspace)
    np.testing.assert_array_equal(found.mask, expected.mask)
    assert found.geometry == expected.geometry
    assert found.parameters == expected.parameters
    # Nothing of the original was changed.
    assert readouts[0].acquisition_time_stamp == TIME


def test_every_field_of_a_readout_is_either_sent_or_known_to_stay() -> None:
    from firenet_mri.server.outgoing import _OF_READOUT

    stay = {"measurement_uid", "acquisition_time_stamp", "physiology_time_stamp"}
    stay |= {"user_int", "user_float"}
    fields = {name for name, *_ in ismrmrd.AcquisitionHeader._fields_}
    assert fields == stay | set(_OF_READOUT)
    assert not stay & set(_OF_READOUT)


@pytest.fixture
def logs():
    """Put logging and warnings back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize("as_json", [True, False])
def test_a_librarys_warning_is_a_line_of_the_log_without_its_words(as_json, logs, capsys) -> None:
    serve._log_to_stderr(as_json=as_json)
    warnings.warn("Failed to convert `Zweistein`", UserWarning, stacklevel=1)
    (line,) = capsys.readouterr().err.splitlines()
    assert "UserWarning in test_outgoing" in line
    assert "Zweistein" not in line
    assert not as_json or json.loads(line)["level"] == "WARNING"


@pytest.mark.parametrize("as_json", [True, False])
def test_no_line_of_the_log_is_as_long_as_what_was_sent(as_json, logs, capsys) -> None:
    serve._log_to_stderr(as_json=as_json)
    logging.warning("parameters of other programs are ignored: %s", "x" * 20_000_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert "characters left out" in line
    assert len(line) < 3000
