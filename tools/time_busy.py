"""Time ``firenet recon`` on a quiet and on a busy machine, on one core and on two; Linux only.

    python tools/time_busy.py [TURNS]

Prints the table of docs/operations.md, medians over the turns, and how much of the cores other
processes took during the quiet runs: where that is more than a few hundredths, the machine was not
quiet. A busy machine has three processes on each core that do nothing but count.
"""

from __future__ import annotations

import os
import resource
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
HEAD = "| cores | threads | waiting | quiet, s | busy, s | busy / quiet |\n" + "|---" * 6 + "|\n"


class Setting(NamedTuple):
    """A row: so many cores and threads, and how threads wait."""

    cores: int
    threads: int
    waiting: str
    environment: dict[str, str]


# libgomp's own count, written down, is a user's setting, which the command leaves alone.
SETTINGS = (
    Setting(1, 1, "-", {}),
    Setting(2, 1, "-", {}),
    Setting(2, 2, "asleep (default)", {}),
    Setting(2, 2, "spinning", {"GOMP_SPINCOUNT": "300000"}),
)


class Run(NamedTuple):
    """Seconds of a command, and the cores that other processes had meanwhile."""

    seconds: float
    others: float


def main() -> None:
    """Print the table."""
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else TURNS
    cores = sorted(os.sched_getaffinity(0))
    quiet: list[list[Run]] = [[] for _ in SETTINGS]
    busy: list[list[Run]] = [[] for _ in SETTINGS]
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.nii.gz"
        _run(SETTINGS[0], image)  # Compiles.
        for _ in range(turns):
            for i, setting in enumerate(SETTINGS):
                os.sched_setaffinity(0, cores[: setting.cores])
                quiet[i].append(_run(setting, image))
                with _busy(BUSY_PER_CORE * setting.cores):
                    busy[i].append(_run(setting, image))
                sys.stderr.write(f"{setting[:3]}: {quiet[i][-1]}, busy {busy[i][-1].seconds}\n")
    sys.stdout.write(HEAD)
    for setting, *runs in zip(SETTINGS, quiet, busy, strict=True):
        calm, loaded = (statistics.median(run.seconds for run in each) for each in runs)
        cells = (*setting[:3], f"{calm:.1f}", f"{loaded:.1f}", f"{loaded / calm:.1f}")
        sys.stdout.write(f"| {' | '.join(map(str, cells))} |\n")
    others = [run.others for runs in quiet for run in runs]
    sys.stdout.write(
        f"\nOther processes had {statistics.median(others):.2f} cores during the quiet runs "
        f"(median; at most {max(others):.2f}).\n"
    )


def _run(setting: Setting, image: Path) -> Run:
    """Run the whole command."""
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"OMP_NUM_THREADS": str(setting.threads), **setting.environment}
    command = [sys.executable, "-m", "firenet_mri", "recon", str(SAMPLE), "--overwrite"]
    total, own, started = _all_cpu_s(), _own_cpu_s(), time.perf_counter()
    subprocess.run(
        [*command, "-o", str(image)], env=environment, check=True, stdout=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - started
    return Run(seconds, (_all_cpu_s() - total - (_own_cpu_s() - own)) / seconds)


def _all_cpu_s() -> float:
    """Return the seconds that all cores have worked since the machine started."""
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_cpu_s() -> float:
    """Return those that finished children of this process have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
