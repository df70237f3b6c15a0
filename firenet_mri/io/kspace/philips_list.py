"""The index of a Philips ``.list``/``.data`` export: general information, and one line per readout.

Lines that begin with ``#`` are comments; they may name the patient and are ignored. Lines that
begin with ``.`` hold ``mix echo location  name : values``. Every other line is a readout.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError

#: Columns of a readout after its type, in order.
COLUMNS = (
    "mix", "dyn", "card", "echo", "loca", "chan", "extr1", "extr2", "ky", "kz", "n.a.", "aver",
    "sign", "rf", "grad", "enc", "rtop", "rr", "size", "offset",
)  # fmt: skip
_GENERAL = re.compile(r"\.\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S.*?)\s*:\s*(.*?)\s*")
_TYPE = re.compile(r"[A-Z]{3}")
_BYTES_PER_SAMPLE = 8
# No file is this long, and the sum of two such offsets fits 64 bits.
_LARGEST = 1 << 48


@dataclass(frozen=True, eq=False)
class Index:
    """Content of an index.

    Parameters
    ----------
    types
        Type of each readout: STD is image data, NOI noise, the others neither.
    table
        (readout, column) int64, with the columns ``COLUMNS``.
    general
        Numbers by name (lower case), mix and echo; None stands for all of them.
    """

    types: NDArray[np.str_]
    table: NDArray[np.int64]
    general: dict[tuple[str, int | None, int | None], tuple[float, ...]] = field(
        default_factory=dict
    )

    def column(self, name: str) -> NDArray[np.int64]:
        """Return one column of the table."""
        return self.table[:, COLUMNS.index(name)]

    def of(self, kind: str) -> Index:
        """Return the part of the index with one type of readouts."""
        chosen = self.types == kind
        return Index(self.types[chosen], self.table[chosen], self.general)

    def numbers(self, name: str, mix: int, echo: int) -> tuple[float, ...]:
        """Return the numbers of an entry for a mix and echo; none if it is missing."""
        keys = ((mix, echo), (mix, None), (None, echo), (None, None))
        found = (self.general.get((name.lower(), *key)) for key in keys)
        return next((values for values in found if values), ())


def read_index(path: Path) -> Index:
    """Return the content of a .list file.

    Raises
    ------
    FileError
        If a line is damaged, or the index names no readout.
    """
    types: list[str] = []
    rows: list[list[int]] = []
    general: dict[tuple[str, int | None, int | None], tuple[float, ...]] = {}
    with path.open(encoding="latin1") as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text or text.startswith("#"):
                continue
            if text.startswith("."):
                _add_general(text, general)
                continue
            kind, *words = text.split()
            try:
                row = [int(word) for word in words]
            except ValueError:
                row = []
            is_damaged = len(row) != len(COLUMNS) or max(map(abs, row)) > _LARGEST
            if is_damaged or not _TYPE.fullmatch(kind):
                raise FileError(
                    f"{path}: line {number} of the index is damaged, since a readout has a type "
                    f"and {len(COLUMNS)} numbers; export it again"
                )
            types.append(kind)
            rows.append(row)
    if not rows:
        raise FileError(f"{path}: the index names no readouts; export the scan again")
    index = Index(np.array(types), np.array(rows, np.int64), general)
    sizes, offsets = index.column("size"), index.column("offset")
    if sizes.min() < _BYTES_PER_SAMPLE or (sizes % _BYTES_PER_SAMPLE).any() or offsets.min() < 0:
        raise FileError(
            f"{path}: a readout does not hold a whole number of complex samples, or has a negative "
            "offset; export the scan again"
        )
    return index


def is_index(head: bytes) -> bool:
    """Return whether a file begins like an index: comments, then information or readouts."""
    # The last line may be incomplete.
    text = head.decode("latin1").rpartition("\n")[0]
    lines = [line for line in text.splitlines() if line.strip()]
    told = [line for line in lines if not line.lstrip().startswith("#")]
    if not told:
        return any("DATA DESCRIPTION FILE" in line for line in lines)
    first = told[0].strip()
    return bool(_GENERAL.fullmatch(first) or re.match(r"[A-Z]{3}(\s+-?\d+){19,20}", first))


def _add_general(
    text: str, general: dict[tuple[str, int | None, int | None], tuple[float, ...]]
) -> None:
    found = _GENERAL.fullmatch(text)
    if found is None:
        return
    mix, echo, _, name, values = found.groups()
    try:
        numbers = tuple(float(value) for value in values.split())
    except ValueError:
        return
    general.setdefault((name.lower(), _which(mix), _which(echo)), numbers)


def _which(word: str) -> int | None:
    return int(word) if word.isdigit() else None
