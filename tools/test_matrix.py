"""Test firenet_mri on several Pythons, each with its lowest and its newest dependencies.

    python tools/test_matrix.py                                     # all of it: hours, tens of GB
    python tools/test_matrix.py --python 3.10 --set lowest --tests smoke
    python tools/test_matrix.py --python 3.12 --set newest --tests tests/operators

Of each Python there are three sets. "core" has no extras and the lowest version of every direct
dependency in pyproject.toml that has a wheel for that Python, with the newest of what these need in
turn; "lowest" is the same with all extras; "newest" has all extras at their newest. Each is
installed in an environment of its own with the wheel, as a user would have it, and removed
afterwards. ``firenet demo`` runs first, then the tests of the unpacked source distribution; "core"
runs the smoke tests only, unless others are named. The table at the end has the size of each
environment before what only the tests need, and the seconds that the first picture took there.
Needs uv, which also finds the Pythons.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
RESOLUTIONS = {"core": "lowest-direct", "lowest": "lowest-direct", "newest": "highest"}
# Every library that is not ours is called in these, and those of the extras in the others.
SMOKE = (
    "tests/cli/test_app.py",
    "tests/cli/test_demo.py",
    "tests/test_extras.py",
    "tests/io/kspace/test_ismrmrd_file.py",
    "tests/io/kspace/test_fastmri.py",
    "tests/io/kspace/test_bart.py",
    "tests/io/image/test_dicom.py",
    "tests/firenet/learned/test_weights.py",
    "tests/operators/test_nonuniform.py",
    "tests/operators/test_wavelets.py",
    "tests/calibration/test_sensitivity.py",
    "tests/monai/test_transforms.py",
    "tests/sigpy_adapter/test_adapter.py",
)
EXTRAS_SMOKE = (
    "tests/io/test_signatures.py",
    "tests/io/kspace/test_bruker.py",
    "tests/io/kspace/test_siemens.py",
    "tests/batch/test_jobs.py",
    "tests/batch/test_run.py",
    "tests/plugins/test_monai_bundle.py",
)
TEST_TOOLS = ("pytest", "pytest-xdist", "hypothesis", "scikit-image", "cvxpy")
# What other libraries say of each other, in combinations that nobody chose, is no failure of ours.
FOREIGN_WARNINGS = ("-W", "default::DeprecationWarning", "-W", "default::FutureWarning")


def main() -> None:
    """Run what was asked for, print a table, and fail if anything failed."""
    asked = _arguments()
    if shutil.which("uv") is None:
        raise SystemExit("uv is not installed; install it with: pip install uv")
    rows = []
    with tempfile.TemporaryDirectory(prefix="firenet-matrix-", dir=asked.folder) as name:
        source, wheel = _build(Path(name))
        for python, kind in itertools.product(asked.python, asked.set):
            tests = _selected(asked.tests, kind)
            found = _run(source, wheel, python, kind, asked.torch_backend, tests)
            rows.append((python, kind, found))
    print(f"\n{'Python':8}{'set':8}{'MB':>7}{'picture':>9}  result")
    for python, kind, found in rows:
        print(f"{python:8}{kind:8}{found.megabytes:7}{found.picture_s:7.1f} s  {found.said}")
    raise SystemExit(any(found.said != "passed" for *_, found in rows))


@dataclass
class Found:
    """What was found of one set: size of the environment, time to the first picture, result."""

    megabytes: int = 0
    picture_s: float = math.nan
    said: str = "passed"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--set", nargs="+", choices=list(RESOLUTIONS), default=list(RESOLUTIONS))
    parser.add_argument(
        "--tests", nargs="+", default=[], help="smoke, or paths of tests; all by default"
    )
    parser.add_argument(
        "--torch-backend",
        default="cpu",
        help='index of PyTorch: cpu, cu128, ...; "" takes it from the default index',
    )
    parser.add_argument("--folder", help="where the environments are made, several GB each")
    return parser.parse_args()


def _selected(asked: Sequence[str], kind: str) -> Sequence[str]:
    """Return the paths of the tests that a set runs."""
    if asked and list(asked) != ["smoke"]:
        return asked
    if kind == "core":
        return SMOKE
    return (*SMOKE, *EXTRAS_SMOKE) if asked else ["tests"]


def _build(folder: Path) -> tuple[Path, Path]:
    """Return the unpacked source distribution, and the wheel that is built from it."""
    _call(ROOT, "uv", "build", "--quiet", "--out-dir", folder / "dist", ROOT)
    (archive,), (wheel,) = ((folder / "dist").glob(name) for name in ("*.tar.gz", "*.whl"))
    shutil.unpack_archive(archive, folder / "source", filter="data")
    (source,) = (folder / "source").iterdir()
    return source, wheel


def _run(
    source: Path, wheel: Path, python: str, kind: str, backend: str, tests: Sequence[str]
) -> Found:
    """Install one set in an environment, run the tests in it, remove it; return what came of it."""
    place, found = wheel.parent / f"{kind}-{python}", Found()
    try:
        _install(source, wheel, place, python, kind, backend)
        found.megabytes = _megabytes(place)
        started = time.perf_counter()
        _call(place, place / "bin" / "firenet", "demo")
        found.picture_s = time.perf_counter() - started
        print(f"{found.megabytes} MB, first picture in {found.picture_s:.1f} s", flush=True)
        interpreter = place / "bin" / "python"
        _call(source, *_into(place, backend), *TEST_TOOLS)
        command = (interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        _call(source, *command, *FOREIGN_WARNINGS, *tests)
    except subprocess.CalledProcessError as error:
        found.said = f"failed: {Path(error.cmd[0]).name} {' '.join(map(str, error.cmd[1:4]))}"
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return found


def _megabytes(folder: Path) -> int:
    """Return what the files below a folder take, in MB."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) // 10**6


def _install(source: Path, wheel: Path, place: Path, python: str, kind: str, backend: str) -> None:
    """Make an environment with one set of dependencies and the wheel."""
    pins = place.parent / f"{place.name}.txt"
    extras = () if kind == "core" else ("--extra", "all")
    index = ("--torch-backend", backend) if backend else ()
    _call(source, "uv", "venv", "--quiet", "--python", python, place)
    # Of twixtools there is no wheel.
    options = ("--only-binary", ":all:", "--no-binary", "twixtools", "--python-version", python)
    resolution = ("--resolution", RESOLUTIONS[kind], *options, *extras, *index)
    _call(source, "uv", "pip", "compile", "--quiet", *resolution, "pyproject.toml", "-o", pins)
    print(f"Python {python}, {kind} set:", *_direct(source, pins), flush=True)
    _call(source, *_into(place, backend), "-r", pins)
    _call(source, *_into(place, backend), "--no-deps", wheel)


def _into(place: Path, backend: str) -> tuple[str | Path, ...]:
    """Return the command that installs packages in an environment."""
    index = ("--torch-backend", backend) if backend else ()
    return ("uv", "pip", "install", "--quiet", "--python", place / "bin" / "python", *index)


def _direct(source: Path, pins: Path) -> list[str]:
    """Return the pinned direct dependencies, without the comments."""
    text = (source / "pyproject.toml").read_text(encoding="utf-8")
    lines = [line.split()[0] for line in pins.read_text(encoding="utf-8").splitlines() if line]
    return [line for line in lines if f'"{line.partition("==")[0]}>=' in text]


def _call(folder: Path, *command: str | Path) -> None:
    """Run a command in a folder, without what this script's own environment brings."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment["OMP_NUM_THREADS"] = "1"
    subprocess.run([str(word) for word in command], check=True, cwd=folder, env=environment)


if __name__ == "__main__":
    main()
