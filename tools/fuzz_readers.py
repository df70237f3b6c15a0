"""Change small files of every reader and compare what is read with what the intact ones hold.

    python tools/fuzz_readers.py [FORMAT ...] [--mutants 300] [--seed 0] [--show]

Every mutant must give the same samples, a named error, or a warning; what gives other samples in
silence, or a traceback, is counted and with ``--show`` listed. Changed are bytes, 16-bit numbers by
one or to an extreme, digits of texts, and runs of bytes that are left out, doubled or cut off.
Bytes of the samples themselves are left alone, since no format but compressed NIfTI has a checksum
of them; they are those that differ if the same file is written with other samples. The exit status
is 1 if a mutant gave a traceback.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "io"))

from fuzz_subjects import SUBJECTS, Found, Subject

from firenet_mri.errors import FirenetError

OUTCOMES = ("same", "error", "warning", "silent", "traceback")
# Bytes around a sample that may be part of its neighbour.
_AROUND = 8
_LONGEST_RUN = 64
_MEMORY = 6 << 30


@dataclass(frozen=True)
class Mutant:
    """What was changed, and what came of it."""

    change: str
    outcome: str
    detail: str = ""


class _Lines(logging.Handler):
    """Collects what is logged as a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def fuzz(subject: Subject, count: int, seed: int = 0) -> Iterator[Mutant]:
    """Yield what came of each of so many mutants of a subject."""
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / part for part in ("intact", "other")]
        for number, folder in enumerate(folders):
            folder.mkdir()
            path = subject.make(folder, number)
        path = folders[0] / path.relative_to(folders[1])
        intact, said = _read(subject, path)
        files = sorted(file for file in folders[0].rglob("*") if file.is_file())
        headers = {file: _header_bytes(file, *folders) for file in files}
        # A name's digest does not change from run to run, as its hash does.
        rng = np.random.default_rng([seed, zlib.crc32(subject.name.encode())])
        for _ in range(count):
            file = files[rng.integers(len(files))]
            content = file.read_bytes()
            changed, what = _changed(content, headers[file], rng)
            file.write_bytes(changed)
            yield _mutant(subject, path, f"{file.name}: {what}", intact, said)
            file.write_bytes(content)


def _mutant(subject: Subject, path: Path, what: str, intact: Found, said: set[str]) -> Mutant:
    try:
        found, lines = _read(subject, path)
    except FirenetError as error:
        return Mutant(what, "error", str(error))
    except Exception as error:
        return Mutant(what, "traceback", f"{type(error).__name__}: {error}"[:200])
    is_same = len(found.samples) == len(intact.samples) and all(
        np.array_equal(one, other) for one, other in zip(found.samples, intact.samples, strict=True)
    )
    if is_same:
        return Mutant(what, "same")
    new = (lines | set(found.warnings())) - said - set(intact.warnings())
    return Mutant(what, "warning" if new else "silent", "; ".join(new)[:200])


def _read(subject: Subject, path: Path) -> tuple[Found, set[str]]:
    """Return what a path holds, and what was said of it."""
    logger, handler = logging.getLogger("firenet_mri"), _Lines()
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = subject.read(path)
    finally:
        logger.removeHandler(handler)
    return found, set(handler.lines)


def _header_bytes(file: Path, folder: Path, other: Path) -> np.ndarray:
    """Return the places of the bytes that do not depend on the samples."""
    twins = sorted(one for one in other.rglob("*") if one.is_file())
    twin = twins[sorted(one for one in folder.rglob("*") if one.is_file()).index(file)]
    first, second = (np.frombuffer(one.read_bytes(), np.uint8) for one in (file, twin))
    if len(first) != len(second) or file.suffix == ".gz":
        return np.arange(len(first))
    differs = np.convolve(first != second, np.ones(2 * _AROUND + 1), "same") > 0
    # Where all are samples, only the length can be changed.
    return np.flatnonzero(~differs)


def _changed(content: bytes, header: np.ndarray, rng: np.random.Generator) -> tuple[bytes, str]:
    """Return changed bytes of a file, and what was changed."""
    data, kind = bytearray(content), rng.integers(7)
    if kind >= 4 or not len(header):
        return _cut(data, int(kind), rng)
    # Most of a header is empty, and what is not says more.
    filled = header[np.frombuffer(content, np.uint8)[header] != 0]
    places = filled if len(filled) and rng.random() < 0.7 else header
    at = int(places[rng.integers(len(places))])
    digits = [int(one) for one in filled if chr(content[one]).isdigit()]
    if kind == 0 and digits:
        at = digits[rng.integers(len(digits))]
        data[at] = ord("0") + (data[at] - ord("0") + int(rng.integers(1, 10))) % 10
    elif kind in (0, 1):
        data[at] ^= int(rng.integers(1, 256))
    else:
        at = min(at, len(data) - 2)
        before = int.from_bytes(data[at : at + 2], "little")
        extreme = int(rng.choice([0, 0x7FFF, 0xFFFF]))
        step = int(rng.choice([-1, 1]))
        after = extreme if kind == 2 else (before + step) % (1 << 16)
        data[at : at + 2] = after.to_bytes(2, "little")
    return bytes(data), f"byte {at}: {content[at : at + 2]!r} -> {bytes(data[at : at + 2])!r}"


def _cut(data: bytearray, kind: int, rng: np.random.Generator) -> tuple[bytes, str]:
    at, count = int(rng.integers(len(data))), int(rng.integers(1, _LONGEST_RUN))
    if kind == 5:
        return bytes(
            data[:at] + data[at : at + count] + data[at:]
        ), f"{count} bytes doubled at {at}"
    if kind == 6:
        return bytes(data[:at]), f"cut off at {at}"
    return bytes(data[:at] + data[at + count :]), f"{count} bytes left out at {at}"


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    # A mutant that asks for the whole memory must not take it.
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    logging.getLogger("firenet_mri").propagate = False
    out = sys.stdout
    out.write("| reader | mutants | " + " | ".join(OUTCOMES) + " |\n|---|" + "--:|" * 6 + "\n")
    total: Counter[str] = Counter()
    for subject in SUBJECTS:
        if options.formats and subject.name not in options.formats:
            continue
        mutants = list(fuzz(subject, options.mutants, options.seed))
        counts = Counter(mutant.outcome for mutant in mutants)
        total += counts
        numbers = " | ".join(str(counts[outcome]) for outcome in OUTCOMES)
        out.write(f"| {subject.name} | {len(mutants)} | {numbers} |\n")
        out.flush()
        for mutant in mutants:
            if options.show and mutant.outcome in ("silent", "traceback"):
                sys.stderr.write(f"{subject.name}: {mutant}\n")
    out.write(f"| all | {sum(total.values())} | " + " | ".join(str(total[o]) for o in OUTCOMES))
    out.write(" |\n")
    return int(total["traceback"] > 0)


if __name__ == "__main__":
    sys.exit(_main())
