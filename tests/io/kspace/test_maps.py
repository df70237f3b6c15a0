"""Sensitivity maps are read from BART and NumPy files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io import read_maps
from firenet_mri.io.kspace.bart import write_cfl


@pytest.mark.parametrize("coils", [1, 3])
def test_maps_are_read_from_either_format(
    tmp_path: Path, noisy: Callable[..., np.ndarray], coils: int
) -> None:
    maps = noisy(coils, 6, 5).astype(np.complex64)
    np.save(tmp_path / "maps.npy", maps)
    write_cfl(tmp_path / "other.cfl", maps[:, None])
    np.testing.assert_array_equal(read_maps(tmp_path / "maps.npy"), maps)
    np.testing.assert_array_equal(read_maps(tmp_path / "other"), maps)


def test_what_is_no_map_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.ones((3, 6, 5)))
    with pytest.raises(DataError, match="must be complex"):
        read_maps(tmp_path / "real.npy")
    (tmp_path / "maps.txt").write_text("1 0 1")
    with pytest.raises(FileError, match="not a file of sensitivity maps"):
        read_maps(tmp_path / "maps.txt")
    np.ones(48, np.complex64).tofile(tmp_path / "sets.cfl")
    (tmp_path / "sets.hdr").write_text("# Dimensions\n4 3 1 2 2\n")
    with pytest.raises(ShapeError, match="maps"):
        read_maps(tmp_path / "sets.cfl")
