"""Which kind of trained weights a file holds, told by its own "format" entry.

Only the header is read, without loading torch: options ask for the kind before any work.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from firenet_mri.errors import FileError

#: What the weights that ship with the package are called: trained for accuracy, and for attacks.
Shipped = Literal["learned", "learned-stable"]
SHIPPED: tuple[Shipped, ...] = get_args(Shipped)

#: Data steps and shrinkages (:mod:`firenet_mri.firenet.learned.weights`).
LAYERS = "firenet learned network"

#: A frame in the network of a preset (:mod:`firenet_mri.firenet.learned.frame`).
FRAME = "firenet learned frame"

#: What to do about a file that holds no weights.
MAKE = "give a file that firenet train wrote"
_MAKE_OR_TAKE = f"{MAKE}, or {' or '.join(SHIPPED)}"

# Far above all useful weights; larger files are not read.
_LARGEST_FILE = 1 << 26


def weights_path(name: str | Path) -> Path:
    """Return the file of weights; that of the shipped ones for their name."""
    if str(name) not in SHIPPED:
        return Path(name)
    return Path(str(files("firenet_mri.firenet.learned"))) / "weights" / f"{name}.safetensors"


def check_file(path: Path) -> None:
    """Refuse what is missing or cannot be weights, before it is read.

    Raises
    ------
    FileError
        If it is missing, is not a file, or is too large.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        if path in map(weights_path, SHIPPED):
            raise FileError(
                f"{path.stem}: no weights ship with this version of firenet_mri; {MAKE}"
            ) from None
        raise FileError(f"{path}: no such file; {_MAKE_OR_TAKE}") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if path.is_dir():
        raise FileError(f"{path}: is a folder; {_MAKE_OR_TAKE}")
    if size > _LARGEST_FILE or not path.is_file():
        raise FileError(f"{path}: is too large for weights, or is not a file; {MAKE}")


def format_of(name: str | Path) -> str | None:
    """Return the format that a file of weights says it has; None if it says none we know.

    Nothing else in the file is checked; its reader does that.
    """
    from safetensors import SafetensorError, safe_open

    path = weights_path(name)
    try:
        check_file(path)
        with safe_open(path, framework="numpy") as file:
            found = json.loads((file.metadata() or {})["format"])
    except (FileError, OSError, SafetensorError, KeyError, ValueError, RecursionError):
        return None
    return found if found in (LAYERS, FRAME) else None
