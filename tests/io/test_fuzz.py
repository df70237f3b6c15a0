"""A changed file gives the samples of the intact one, a named error, or a warning."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import fuzz_readers
from fuzz_subjects import SUBJECTS, Found, Subject

from firenet_mri.errors import FileError

BY_NAME = {subject.name: subject for subject in SUBJECTS}
# 20 mutants in the default tests, of readers that take little time.
FEW = {"Siemens VD": 4, "GE": 2, "Philips": 3, "BART": 2, "NumPy": 2, "NIfTI": 4, "DICOM": 3}
# What no other field contradicts: fields of view, the scale of whole numbers, types of one size.
MOST_SILENT = 0.05


@pytest.mark.parametrize("name", FEW)
def test_a_few_mutants_of_a_reader_give_nothing_in_silence(name) -> None:
    mutants = list(fuzz_readers.fuzz(BY_NAME[name], FEW[name]))
    assert len(mutants) == FEW[name]
    assert [one for one in mutants if one.outcome in ("traceback", "silent")] == []


def test_there_are_twenty() -> None:
    assert sum(FEW.values()) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", BY_NAME)
def test_many_mutants_of_a_reader_give_no_traceback(name) -> None:
    mutants = list(fuzz_readers.fuzz(BY_NAME[name], 100, seed=1))
    counts = Counter(one.outcome for one in mutants)
    assert counts["traceback"] == 0, mutants
    assert counts["silent"] <= MOST_SILENT * len(mutants), mutants


def test_the_tool_tells_what_came_of_a_mutant(tmp_path) -> None:
    """A reader that gives other samples in silence is found out, and so is a traceback."""

    def make(folder: Path, seed: int) -> Path:
        # All but the last bytes depend on the samples.
        path = folder / "file"
        path.write_bytes(bytes([seed] * 40) + bytes(range(1, 60)))
        return path

    def read(path: Path) -> Found:
        content = path.read_bytes()
        if len(content) < 99:
            raise FileError(f"{path}: too short")
        if len(content) > 99:
            raise ZeroDivisionError
        return Found((np.frombuffer(content[-4:], np.uint8),))

    mutants = list(fuzz_readers.fuzz(Subject("made", make, read), 120))
    counts = Counter(one.outcome for one in mutants)
    assert min(counts[outcome] for outcome in ("same", "error", "silent", "traceback")) > 0
    assert counts["warning"] == 0
    # The samples' own bytes, and those beside them, are left alone.
    assert not [one for one in mutants if one.change.startswith(("file: byte 3", "file: byte 1:"))]
