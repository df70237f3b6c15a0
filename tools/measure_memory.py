"""Measures the peak memory of a volume's reconstruction, beside its k-space and maps.

python tools/measure_memory.py 96 8        # a matrix of 96^3, 8 coils

What the process holds before the volume is there, libraries included, does not count. Linux only.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

import torch

from firenet_mri import reconstruct
from firenet_mri.memory import LARGE, give_back_freed_memory
from firenet_mri.phantoms import shepp_logan
from firenet_mri.scan import RawScan
from firenet_mri.simulation import simulate


def main() -> None:
    """Print peak over k-space plus maps, and the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("size", type=int, help="Sizes of all three axes.")
    parser.add_argument("coils", type=int, help="Number of coils.")
    parser.add_argument("--maps", default="espirit", help="Method of the maps.")
    parser.add_argument("--layers", type=int, help="Layers of the network.")
    chosen = parser.parse_args()
    # What libraries need once is there before.
    reconstruct(volume(16, 2), maps="lowres", layers=2)
    scan = volume(chosen.size, chosen.coils)
    size = 2 * scan.kspace.nbytes
    # What making it needed does not count.
    give_back_freed_memory(LARGE)
    reset_peak()
    before, started = peak() - scan.kspace.nbytes, time.perf_counter()
    reconstruct(scan, maps=chosen.maps, layers=chosen.layers)
    seconds = time.perf_counter() - started
    sys.stdout.write(
        f"{chosen.size}^3, {chosen.coils} coils: k-space and maps {size / 2**20:.0f} MiB, peak "
        f"{(peak() - before) / 2**20:.0f} MiB, {(peak() - before) / size:.2f} times, "
        f"{seconds:.0f} s\n"
    )


def volume(size: int, coils: int) -> RawScan:
    """Return a simulated scan of (size, size, size), whose readouts are whole."""
    image = shepp_logan(size) * torch.linspace(0.5, 1, size).reshape(-1, 1, 1)
    width = min(24, size // 2)
    return simulate(image, coils=coils, calibration=width, pattern="points", volume=True)


def peak() -> int:
    """Return the largest resident size since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def reset_peak() -> None:
    """Have the peak be what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
