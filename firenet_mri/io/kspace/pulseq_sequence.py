"""Reads Pulseq sequences (.seq) with pypulseq: k-space points and labels of every readout."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError
from firenet_mri.extras import require


@dataclass(frozen=True, eq=False)
class PulseqSequence:
    """Description of a sequence's readouts in a .seq file, in the order in which they are played.

    Parameters
    ----------
    name
        The file's name.
    points
        Points of the samples of each readout, (samples, 3) in 1/m, x first.
    labels
        Value of each label at every readout, (readouts,).
    field_of_view_m
        (x, y, z) from the definitions; None if they do not include it.
    """

    name: str
    points: tuple[NDArray[np.float64], ...]
    labels: dict[str, NDArray[np.int64]]
    field_of_view_m: tuple[float, float, float] | None

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each readout."""
        return [len(one) for one in self.points]

    def flag(self, label: str) -> NDArray[np.bool_]:
        """Return where a label is set, (readouts,) bool."""
        return self.labels.get(label, np.zeros(len(self.points), np.int64)) != 0

    def only(self, kept: NDArray[np.bool_]) -> PulseqSequence:
        """Return the sequence with some of its readouts."""
        points = tuple(one for one, is_kept in zip(self.points, kept, strict=True) if is_kept)
        labels = {label: values[kept] for label, values in self.labels.items()}
        return PulseqSequence(self.name, points, labels, self.field_of_view_m)


def read_sequence(path: Path) -> PulseqSequence:
    """Return the sequence in a .seq file.

    Raises
    ------
    UsageError
        If pypulseq is not installed.
    FileError
        If the file is missing, or is not a sequence that pypulseq can read.
    DataError
        If it has no readouts.
    """
    require("pypulseq")
    import pypulseq

    if not path.is_file():
        raise FileError(f"{path}: no such file; give the .seq file of the scan")
    if not _has_blocks(path):
        raise FileError(f"{path}: is not a Pulseq sequence; give the .seq file of the scan")
    try:
        # pypulseq prints to the terminal, and warns about versions.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            sequence = pypulseq.Sequence()
            sequence.read(str(path))
            sizes = _sizes(sequence)
            points = sequence.calculate_kspace()[0] if sizes else np.zeros((3, 0))
            labels = sequence.evaluate_labels(evolution="adc") if sizes else {}
    # pypulseq raises exceptions of any kind.
    except Exception:
        raise FileError(
            f"{path}: is not a Pulseq sequence that pypulseq can read; give the .seq file of the "
            "scan"
        ) from None
    if not sizes or points.shape[1] != sum(sizes) or not np.isfinite(points).all():
        raise DataError(f"{path}: has no readouts; give the .seq file that was played")
    parts = np.split(points.T.astype(np.float64), np.cumsum(sizes)[:-1])
    values = {
        str(label): np.asarray(value).astype(np.int64)
        for label, value in (labels or {}).items()
        if np.size(value) == len(sizes)
    }
    return PulseqSequence(path.name, tuple(parts), values, _field_of_view(sequence))


def _has_blocks(path: Path) -> bool:
    """Return whether a file has a sequence's sections; pypulseq does not close other files."""
    text = path.read_bytes()
    return b"[VERSION]" in text and b"[BLOCKS]" in text


def _sizes(sequence: Any) -> list[int]:
    """Return the number of samples of every readout."""
    blocks = (sequence.get_block(number) for number in sequence.block_events)
    return [int(block.adc.num_samples) for block in blocks if block.adc is not None]


def _field_of_view(sequence: Any) -> tuple[float, float, float] | None:
    found = np.ravel(np.asarray(sequence.definitions.get("FOV", ()), object))
    try:
        x, y, z = (float(value) for value in found)
    except (TypeError, ValueError):
        return None
    return (x, y, z) if min(x, y) > 0 and np.isfinite([x, y, z]).all() else None
