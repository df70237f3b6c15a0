"""Mistakes in a command's words are found before torch is loaded and a scan is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCAN = "sample_data/brain_3slices.h5"

# Each with what is told of it.
MISTAKES = {
    f"recon {SCAN} -o a.png": "end the name in one of these",
    f"recon {SCAN} -o no/a.nii": "the folder no does not exist",
    f"recon {SCAN} -o README.nii --lam -1": "lam is -1",
    f"recon {SCAN} -o a.dcm --complex": "DICOM images hold the magnitude alone",
    "recon no.h5 -o a.nii": "no.h5: no such file; check the path",
    "certify no.json": "no.json: no such file",
    "train no.h5 -o a.safetensors": "no.h5: no such file",
    "train --images no -o a.safetensors": "no: no such file",
    f"train {SCAN} -o a.safetensors --start no.safetensors": "after --start",
    "simulate no.nii -o a.h5 --pattern spiral": "spiral",
}
FILES = ("mask", "trajectory", "noise-file", "maps-file", "calibration", "network", "reference")
MISTAKES |= {
    f"recon {SCAN} -o a.nii --{name} no.npy": f"no.npy: no such file; check the path after --{name}"
    for name in (*FILES, "dicom-reference", "sign")
}


def test_mistakes_are_told_without_loading_torch_or_a_reader(tmp_path) -> None:
    """All in one process, which says at every command what is loaded by then."""
    code = (
        "import sys\n"
        "from firenet_mri.cli import main\n"
        f"for command in {list(MISTAKES)}:\n"
        "    sys.argv = ['firenet', *command.split()]\n"
        "    try: main()\n"
        "    except SystemExit as ended: print(ended.code, 'torch' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    told = result.stderr.splitlines()
    assert len(told) == len(MISTAKES)
    for line, expected in zip(told, MISTAKES.values(), strict=True):
        assert line.startswith("firenet: ")
        assert expected in line
    outcomes = [line.split() for line in result.stdout.splitlines()]
    assert all(code in ("1", "2") for code, _ in outcomes)
    assert [loaded for _, loaded in outcomes] == ["False"] * len(MISTAKES)


@pytest.mark.parametrize("there", ["maps", "maps.cfl"])
def test_a_bart_pair_is_found_by_its_stem(there, tmp_path) -> None:
    from firenet_mri.cli.early import is_there

    assert not is_there(tmp_path / "maps")
    (tmp_path / there).write_bytes(b"")
    assert is_there(tmp_path / "maps")
