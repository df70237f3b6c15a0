"""No command replaces a file that it reads, by whatever name, whatever may be overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from firenet_command import firenet

from firenet_mri.io.kspace.bart import write_cfl


@pytest.fixture
def folder(tmp_path) -> Path:
    """Return a folder of files that are read, some by several names."""
    kspace = np.ones((2, 8, 8), np.complex64)
    np.save(tmp_path / "scan.npy", kspace)
    np.save(tmp_path / "mask.npy", np.ones((8, 8)))
    np.save(tmp_path / "new_noise.npy", np.ones((2, 64), np.complex64))
    write_cfl(tmp_path / "pair.cfl", np.ones((8, 8, 1, 1), np.complex64))
    (tmp_path / "sub-01_part-mag_T1w.nii.gz").write_bytes(b"x")
    (tmp_path / "cine.gif").write_bytes(b"x")
    (tmp_path / "a.json").write_bytes(b"{}")
    os.link(tmp_path / "mask.npy", tmp_path / "hard.npy")
    (tmp_path / "soft.npy").symlink_to("mask.npy")
    (tmp_path / "below").mkdir()
    return tmp_path


COMMANDS = (
    "simulate mask.npy -o mask.npy",
    "simulate scan.npy --mask mask.npy -o mask.npy",
    "simulate scan.npy --mask soft.npy -o mask.npy",
    "simulate scan.npy --mask mask.npy -o below/../hard.npy",
    "simulate scan.npy --mask pair -o pair.cfl",
    "convert scan.npy -o scan.npy",
    "convert scan.npy --mask mask.npy -o hard.npy",
    "convert scan.npy --mask soft.npy -o mask.npy",
    "convert scan.npy --mask pair -o pair.cfl",
    "convert scan.npy --noise-file new_noise.npy -o new.npy",
    "convert cine.gif -o cine.gif",
    "design 8 --image mask.npy -o hard.npy",
    "recon scan.npy --mask mask.npy -o b.nii --reference cine.gif --film cine.gif",
    "recon scan.npy -o b.nii --bids sub-01_T1w --reference sub-01_part-mag_T1w.nii.gz",
    "repeat a.json scan.npy -o a.nii",
    "repeat a.json scan.npy -o below/../a.dcm",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_input_is_never_replaced(command, folder) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    found = firenet(*command.split(), "--overwrite", folder=folder)
    assert found.status == 1
    assert "is an input of this command; give the output another name" in found.err
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
