"""Pipes, sockets and files that cannot be opened are refused in one line, without waiting."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from firenet_command import firenet


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """Return a folder of odd files, each with both suffixes."""
    folder, before = tmp_path_factory.mktemp("odd"), Path.cwd()
    os.chdir(folder)
    for suffix in ("json", "h5"):
        (folder / f"empty.{suffix}").touch()
        (folder / f"short.{suffix}").write_bytes(b'{"a": [1,')
        (folder / f"deep.{suffix}").write_text("[" * 100_000)
        (folder / f"folder.{suffix}").mkdir()
        (folder / f"loop.{suffix}").symlink_to(f"back.{suffix}")
        (folder / f"back.{suffix}").symlink_to(f"loop.{suffix}")
        (folder / f"lost.{suffix}").symlink_to("nowhere")
        os.mkfifo(folder / f"pipe.{suffix}")
        # Its own path may be too long for a socket.
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(f"socket.{suffix}")
        with (folder / f"huge.{suffix}").open("wb") as file:
            file.truncate(3 << 30)
    os.chdir(before)
    return folder


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes among files here")
@pytest.mark.parametrize(
    ("name", "certify", "info"),
    [
        ("empty", "the file is empty", "the file is empty"),
        ("short", "is not complete JSON", "is a text file"),
        ("deep", "is not complete JSON", "is a text file"),
        ("folder", "is a folder", "no raw scan found"),
        ("loop", "leads back to itself", "Too many levels of symbolic links"),
        ("lost", "a link to a file that is not there", "a link to a file that is not there"),
        ("pipe", "is a pipe", "is a pipe"),
        ("socket", "is a socket", "is a socket"),
        ("huge", "has 3072 MiB, and a certificate at most 64", "is of an unknown format"),
        ("missing", "no such file", "no such file"),
    ],
)
def test_odd_files_are_one_line(odd, name, certify, info) -> None:
    for command, file, said in (("certify", f"{name}.json", certify), ("info", f"{name}.h5", info)):
        found = firenet(command, file, folder=odd)
        assert found.status == 1
        assert found.err.count("\n") == 1
        assert f"firenet: {file}: " in found.err
        assert said in found.err


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no devices among files here")
def test_a_device_is_not_read() -> None:
    for command in ("info", "certify", "view"):
        found = firenet(command, "/dev/zero")
        assert (found.status, found.err.count("\n")) == (1, 1)
        assert "/dev/zero: is a device; save the data as a file" in found.err


@pytest.mark.parametrize("command", ["info", "certify", "recon", "simulate"])
def test_a_folder_that_may_not_be_entered_is_named(command, tmp_path, monkeypatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "locked/scan.h5")

    output = () if command in ("info", "certify") else ("-o", "out.h5")
    monkeypatch.setattr(Path, "exists", denied)
    monkeypatch.setattr(Path, "is_dir", denied)
    found = firenet(command, "locked/scan.h5", *output, folder=tmp_path)
    assert (found.status, found.err) == (
        1,
        "firenet: locked/scan.h5: Permission denied; check the path\n",
    )
