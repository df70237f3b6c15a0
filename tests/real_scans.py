"""Decodes the real scans that lie beside the project, where they do; they are no part of it.

    python tests/real_scans.py ge|brain|brain16|spin-echo|flash OUT.npy [SLICE]

writes one as .npy, (coil, y, x), for the commands. All but ``brain`` are fully sampled:
``firenet benchmark scans`` takes them. Tests skip where the files are absent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

_GE_DATA_OFFSET = 213_684
_GE_COILS, _GE_SLICES, _GE_VIEWS, _GE_SAMPLES = 8, 7, 129, 128


def ge_gradient_echo() -> Tensor:
    """Return k-space (slice=7, coil=8, y=128, x=128) complex64 of spheres, GE 3 T, fully sampled.

    Slices are in the order of acquisition, every other one first. The first view of each slice is
    a baseline; the excitation's sign alternates from view to view, which shifts the image by half
    a field of view unless it is undone.
    """
    raw = np.fromfile(_path("ge_pfile/P20480_GRE.7"), np.dtype("<i2"), offset=_GE_DATA_OFFSET)
    raw = raw.reshape(_GE_COILS, _GE_SLICES, _GE_VIEWS, _GE_SAMPLES, 2).astype(np.float32)
    views = (raw[..., 0] + 1j * raw[..., 1])[:, :, 1:]
    views[:, :, 1::2] *= -1
    return torch.from_numpy(np.ascontiguousarray(views.swapaxes(0, 1), dtype=np.complex64))


def brain_poisson() -> Tensor:
    """Return k-space (8, 230, 180) complex64 of a brain in vivo, 12.4 % sampled (Poisson)."""
    array = np.load(_path("brain_poisson/cartesian_ksp.npy"), allow_pickle=False)
    return torch.from_numpy(array.astype(np.complex64))


def pulseq(name: str) -> Tensor:
    """Return k-space (coil, line, sample) complex64 of brain_16coil or spin_echo_32coil.

    Siemens raw data of a Pulseq sequence, whose protocol says nothing of matrix and centre.
    """
    twixtools = pytest.importorskip("twixtools")
    blocks = twixtools.read_twix(str(_path(f"pulseq/{name}.dat")), verbose=False)[-1]["mdb"]
    lines = sorted((block for block in blocks if block.is_image_scan()), key=lambda one: one.cLin)
    return torch.from_numpy(np.stack([line.data for line in lines], 1).astype(np.complex64))


def flash() -> Tensor:
    """Return k-space (2, 160, 160) complex64 of a resolution phantom, Siemens 3 T."""
    from firenet_mri.io import read

    return read(twix("gre.dat")).kspace[0]


def twix(name: str) -> Path:
    """Return gre.dat or epi.dat, Siemens raw data of a phantom; from twixtools' source package."""
    packed = Path(__file__).parents[1] / ".venv/twixtools/example_data" / name
    return packed if packed.is_file() else _path(f"siemens_twix/{name}")


def _path(name: str) -> Path:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"the real scan {path.name} is not here")
    return path


_SCANS: dict[str, Callable[[int], Tensor]] = {
    "ge": lambda index: ge_gradient_echo()[index],
    "brain": lambda _: brain_poisson(),
    "brain16": lambda _: pulseq("brain_16coil"),
    "spin-echo": lambda _: pulseq("spin_echo_32coil"),
    "flash": lambda _: flash(),
}


def _main(which: str, output: str, index: str = "3") -> None:
    np.save(output, _SCANS[which](int(index)).numpy())


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4 or sys.argv[1] not in _SCANS:
        sys.exit(__doc__)
    _main(*sys.argv[1:])
