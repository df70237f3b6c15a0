"""What readers of DICOM series share: the data sets of files, and how slices lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError

POSITION_SLACK_MM = 0.05


def datasets_of(
    path: Path | Sequence[Path], name: str, *, with_pixels: bool = True
) -> Iterator[Any]:
    """Yield the DICOM data sets of files; of a folder, files that are no DICOM are left out.

    Raises
    ------
    FileError
        If there is none, or a file is damaged, or, given by itself, no DICOM.
    """
    import pydicom

    is_folder = isinstance(path, Path) and path.is_dir()
    files: Iterable[Path] = (path,) if isinstance(path, Path) else path
    if is_folder and isinstance(path, Path):
        files = sorted(file for file in path.iterdir() if file.is_file())
    count = 0
    for file in files:
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=not with_pixels)
        except FileNotFoundError:
            raise FileError(f"{file}: no such file; check the path") from None
        except pydicom.errors.InvalidDicomError:
            if is_folder:
                continue
            raise FileError(f"{file}: is no DICOM file") from None
        except (OSError, EOFError, ValueError):
            raise FileError(f"{file}: is truncated or damaged; copy or export it again") from None
        count += 1
        yield dataset
    if not count:
        raise FileError(f"{name}: holds no DICOM file")


def step_between(
    positions: Sequence[NDArray[np.float64]], alone: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """Return the vector from a slice to the next.

    Parameters
    ----------
    positions
        Of all slices, LPS mm, in the order of their normal.
    alone
        The step of a single slice: its normal times its thickness.
    what
        What the slices are, for messages.

    Raises
    ------
    DataError
        If two slices lie at one place, or they are not evenly spaced.
    """
    if len(positions) == 1:
        return alone
    steps = np.diff(positions, axis=0)
    if np.linalg.norm(steps, axis=1).min() < 1e-3:
        raise DataError(
            f"several {what} frames lie at one place (echoes, times, or series); give the files of "
            "one image"
        )
    if not np.allclose(steps, steps[:1], atol=POSITION_SLACK_MM):
        raise DataError(f"the {what}'s slices are not evenly spaced; a slice may be missing")
    step: NDArray[np.float64] = (positions[-1] - positions[0]) / (len(positions) - 1)
    return step
