"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class BenchmarkOutput:
    """Where the files of ``firenet benchmark`` go.

    Parameters
    ----------
    output
        Folder for figure and tables.
    overwrite
        Replace files that exist.
    debug
        Show a traceback on errors.
    """

    output: Annotated[Path, Parameter(name=("--output", "-o"))] = Path("benchmark")
    overwrite: bool = False
    debug: bool = False


@Parameter(name="*")
@dataclass(frozen=True)
class PaperOutput:
    """Where the files of ``firenet paper`` go.

    Parameters
    ----------
    output
        Folder to write to.
    overwrite
        Replace outputs that exist, and weights of other settings.
    debug
        Show a traceback on errors.
    """

    output: Annotated[Path, Parameter(name=("--output", "-o"))] = Path("paper")
    overwrite: bool = False
    debug: bool = False
