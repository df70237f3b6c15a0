"""Time ``firenet recon`` on a quiet and on a busy machine, on one core and on two.

    python scripts/time_busy.py [TURNS]

Prints the table of docs/operations.md. Start it where nothing else runs: the load before is printed
with it. The busy machine has three processes on each core that do nothing but count.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SAMPLE = Path(__file__).parents[1] / "sample_data/brain_8coil.h5"
BUSY_PER_CORE, TURNS = 3, 5


class Setting(NamedTuple):
    """A row: so many cores and threads, and what says how threads wait."""

    cores: int
    threads: int
    waiting: str
    environment: dict[str, str]


# libgomp's own count, written down, is a setting of the user, which the command leaves alone.
SETTINGS = (
    Setting(1, 1, "-", {}),
    Setting(2, 1, "-", {}),
    Setting(2, 2, "asleep (default)", {}),
    Setting(2, 2, "spinning", {"GOMP_SPINCOUNT": "300000"}),
)


def main() -> None:
    """Print the table."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    cores = sorted(os.sched_getaffinity(0))
    sys.stdout.write(f"Load before: {os.getloadavg()[0]:.2f} on {len(cores)} cores.\n\n")
    sys.stdout.write("| cores | threads | waiting | quiet, s | busy, s | busy / quiet |\n")
    sys.stdout.write("|---|---|---|---|---|---|\n")
    with tempfile.TemporaryDirectory() as folder:
        _seconds(SETTINGS[0], Path(folder))  # Compiles.
        times: dict[tuple[int, bool], list[float]] = {}
        for _ in range(turns):
            for row, setting in enumerate(SETTINGS):
                os.sched_setaffinity(0, cores[: setting.cores])
                times.setdefault((row, False), []).append(_seconds(setting, Path(folder)))
                with _busy(BUSY_PER_CORE * setting.cores):
                    times.setdefault((row, True), []).append(_seconds(setting, Path(folder)))
    for row, setting in enumerate(SETTINGS):
        quiet, busy = (statistics.median(times[row, is_busy]) for is_busy in (False, True))
        sys.stdout.write(
            f"| {setting.cores} | {setting.threads} | {setting.waiting} | {quiet:.1f} | "
            f"{busy:.1f} | {busy / quiet:.1f} |\n"
        )


def _seconds(setting: Setting, folder: Path) -> float:
    """Return the seconds of the whole command."""
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_NUM_THREADS": str(setting.threads), **setting.environment}
    command = [sys.executable, "-m", "firenet_mri", "recon", str(SAMPLE), "--overwrite"]
    started = time.perf_counter()
    subprocess.run(
        [*command, "-o", str(folder / "image.nii.gz")],
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


@contextmanager
def _busy(processes: int) -> Iterator[None]:
    """Keep the cores busy with so many processes."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


if __name__ == "__main__":
    main()
