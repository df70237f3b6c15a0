"""The formats in which scans are written, and how their files are called; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from firenet_mri.errors import UsageError

#: ISMRMRD / MRD 1.x, fastMRI's HDF5, BART's pair of files, and a NumPy array.
Target = Literal["mrd", "fastmri", "bart", "npy"]

_SUFFIXES: dict[Target, tuple[str, ...]] = {
    "mrd": (".h5", ".mrd"),
    "fastmri": (".h5",),
    "bart": (".cfl",),
    "npy": (".npy",),
}
# Of a name alone: an .h5 file is ISMRMRD's unless fastMRI's is asked for.
_BY_SUFFIX: dict[str, Target] = {".h5": "mrd", ".mrd": "mrd", ".cfl": "bart", ".npy": "npy"}


def target_of(output: Path, to: Target | None = None) -> Target:
    """Return the format that a file is written in, by what was asked for or else by its name.

    Raises
    ------
    UsageError
        If the name does not end as files of that format do, or the format is unknown.
    """
    if to is None:
        if output.suffix not in _BY_SUFFIX:
            raise UsageError(
                f"{output}: scans are written as {', '.join(_BY_SUFFIX)}; end the name so"
            )
        return _BY_SUFFIX[output.suffix]
    if to not in _SUFFIXES:
        raise UsageError(f"Unknown format {to!r}; use one of {', '.join(get_args(Target))}")
    if output.suffix not in _SUFFIXES[to]:
        endings = " or ".join(_SUFFIXES[to])
        raise UsageError(f"{output}: {to} scans are written as {endings}; end the name so")
    return to


def suffix_of(target: Target) -> str:
    """Return the suffix of a format's files, such as ".h5"."""
    return _SUFFIXES[target][0]


def files_of(output: Path) -> list[Path]:
    """Return the files that a name stands for: a .cfl file has a header of its own."""
    return [output, output.with_suffix(".hdr")] if output.suffix == ".cfl" else [output]


def beside(output: Path, what: Literal["noise", "trajectory"]) -> Path:
    """Return the file in which a scan's noise measurement or trajectory lies beside it."""
    return output.with_name(f"{output.stem}_{what}{output.suffix}")
