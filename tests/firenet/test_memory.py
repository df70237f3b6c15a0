"""What a run needs besides its data, seen in a fresh process."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

# Peak memory is that of the process, so that a script measures it; torch's own is there before.
SCRIPT = """
import re, sys
from pathlib import Path
import torch
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import encoding_operator

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def run(shape, coils):
    mask = torch.rand(shape[:2], generator=torch.Generator().manual_seed(0)) < 0.2
    maps = torch.full((coils, *shape), coils**-0.5, dtype=torch.complex64)
    y = torch.randn(coils, *shape, dtype=torch.complex64)
    size = (maps.numel() + y.numel()) * 8
    encoding = encoding_operator(mask[..., None].expand(shape).contiguous(), maps, 3)
    with torch.no_grad():
        make_network(coils, shape, sparsifier=sys.argv[1], layers=4)(y, encoding)
    return size

run((8, 8, 8), 2)
before = peak()
size = run((64, 64, 96), 12)
print((peak() - before) / size)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("sparsifier", "most"),
    [pytest.param("haar", 2.7, marks=pytest.mark.slow), ("undecimated-haar", 3.2)],
)
def test_peak_memory_is_a_small_multiple_of_data_and_maps(sparsifier, most) -> None:
    # Freed arrays go back to the system at once; what the allocator would keep varies.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", SCRIPT, sparsifier]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < most


# Whole reconstructions: maps, network, search, gap and warnings.
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("arguments", [("96", "8"), ("76", "16")])
@pytest.mark.slow
def test_peak_memory_of_a_reconstruction_is_8_times_data_and_maps_at_most(arguments) -> None:
    script = Path(__file__).parents[2] / "scripts" / "measure_memory.py"
    # What the allocator keeps of smaller arrays than a volume's k-space varies.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(8 << 20), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"([\d.]+) times", done.stdout)
    assert found is not None
    assert 2 < float(found[1]) < 8
