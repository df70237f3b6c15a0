"""Times ESPIRiT maps beside SigPy's and BART's, in turns, on a simulated scan of 8 coils.

python tools/time_espirit.py
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sigpy.mri.app
import torch

from firenet_mri.calibration import espirit_maps
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.simulation import simulate

SHAPE, COILS, WIDTH, TURNS = (230, 180), 8, 24, 5


def main() -> None:
    """Print the median seconds of each."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    image = torch.from_numpy(((x**2 + y**2) < 0.8) * (1 + 0.3 * np.sin(9 * x)))
    kspace = simulate(image[None], coils=COILS, acceleration=1, snr=50).kspace[0]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "kspace"
        write_cfl(data.with_suffix(".cfl"), kspace.numpy()[:, None])
        runs: dict[str, Callable[[], object]] = {
            "firenet_mri": lambda: espirit_maps(kspace, WIDTH),
            "SigPy": lambda: sigpy.mri.app.EspiritCalib(
                kspace.numpy(), calib_width=WIDTH, show_pbar=False
            ).run(),
        }
        if shutil.which("bart"):
            command = ["bart", "ecalib", "-m", "1", "-r", str(WIDTH), str(data), f"{data}_maps"]
            runs["BART, with reading and writing"] = lambda: subprocess.run(
                command, check=True, capture_output=True
            )
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(TURNS):
            for name, run in runs.items():
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        sys.stdout.write(f"{name}: {statistics.median(values):.2f} s\n")


if __name__ == "__main__":
    main()
