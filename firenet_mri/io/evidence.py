"""Reads and writes the evidence of a certificate: one HDF5 file beside the image.

``x``, ``source`` and ``near`` are complex, (item, *domain_shape), ``share`` is float64, (item);
what is not needed is empty. The attributes say what the file is. See docs/certificates.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.firenet.certificate.evidence import Evidence

SUFFIX = ".evidence.h5"

_FORMAT = "firenet evidence"
_VERSION = 1
_NAMES = ("x", "source", "share", "near")


def evidence_path(beside: Path, stem: str) -> Path:
    """Return where the evidence of an image or certificate of that stem lies."""
    return beside.with_name(stem + SUFFIX)


def write_evidence(path: Path | BinaryIO, evidence: Evidence) -> None:
    """Write the evidence of a certificate, to a path or into an open file."""
    import h5py

    with h5py.File(path, "w", track_order=False) as file:
        file.attrs["format"], file.attrs["version"] = _FORMAT, _VERSION
        for name in _NAMES:
            file.create_dataset(name, data=getattr(evidence, name).numpy(), track_times=False)


def read_evidence(path: Path) -> Evidence:
    """Return the evidence in a file.

    Raises
    ------
    FileError
        If the file is missing, damaged, or something else.
    DataError
        If it has another version, or its arrays do not fit each other.
    """
    import h5py

    if not path.is_file():
        raise FileError(
            f"{path}: no such file; without it nobody can check the certificate, reconstruct again "
            "without --no-evidence"
        )
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != _FORMAT:
                raise FileError(f"{path}: is not the evidence of a certificate")
            version = file.attrs.get("version")
            if version != _VERSION:
                raise DataError(
                    f"{path}: has version {version}; this version of firenet_mri reads {_VERSION}"
                )
            arrays = [np.asarray(file[name]) for name in _NAMES]
    except (OSError, KeyError, ValueError) as error:
        raise FileError(
            f"{path}: is damaged or not HDF5 ({type(error).__name__}); use the file as firenet "
            "wrote it"
        ) from None
    x, source, share, near = (_tensor(path, array) for array in arrays)
    return Evidence(x, source, share, near)


def _tensor(path: Path, array: np.ndarray) -> Tensor:
    if array.dtype not in (np.complex64, np.complex128, np.float64) or not np.isfinite(array).all():
        raise DataError(
            f"{path}: holds {array.dtype} or numbers that are not finite; use the file as firenet "
            "wrote it"
        )
    return torch.from_numpy(array)
