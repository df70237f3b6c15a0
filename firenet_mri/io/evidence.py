"""Reads and writes the evidence of a certificate: one HDF5 file beside the image.

Its arrays are those of :class:`firenet_mri.firenet.certificate.evidence.Evidence`; arrays that are
not needed are empty. The attributes identify the file. See docs/certificates.md.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from firenet_mri.errors import DataError, FileError
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.io.hdf5 import open_hdf5

SUFFIX = ".evidence.h5"

_FORMAT = "firenet evidence"
_VERSION = 1
_IMAGES = ("x", "source", "near")
_NAMES = tuple(field.name for field in fields(Evidence))


def evidence_path(beside: Path, stem: str) -> Path:
    """Return the path of the evidence of an image or certificate with that stem."""
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
        If the file is missing, damaged, or of another kind.
    DataError
        If it has another version, or its arrays do not fit each other.
    """
    if not path.is_file():
        raise FileError(
            f"{path}: no such file; the certificate cannot be checked without it, so reconstruct "
            "again without --no-evidence"
        )
    try:
        with open_hdf5(path) as file:
            if file.attrs.get("format") != _FORMAT:
                raise FileError(
                    f"{path}: is not the evidence of a certificate; give the file as firenet wrote "
                    "it"
                )
            version = file.attrs.get("version")
            if version != _VERSION:
                raise DataError(
                    f"{path}: has version {version}; this version of firenet_mri reads {_VERSION}"
                )
            arrays = [_array(path, file, name) for name in _NAMES]
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise FileError(
            f"{path}: is damaged or not HDF5 ({type(error).__name__}); use the file as firenet "
            "wrote it"
        ) from None
    return Evidence(*(_tensor(path, array) for array in arrays))


def _array(path: Path, file: Any, name: str) -> np.ndarray:
    """Return an array of the file, which must be stored directly: no link, no compression."""
    import h5py

    link, dataset = file.get(name, getlink=True), file[name]
    is_plain = isinstance(link, h5py.HardLink) and isinstance(dataset, h5py.Dataset)
    types = (np.complex64, np.complex128) if name in _IMAGES else (np.float64,)
    if not is_plain or dataset.dtype not in types:
        raise DataError(f"{path}: its {name} has another type; use the file as firenet wrote it")
    # Compressed, virtual or external data may be any number of times as large as the file.
    if dataset.nbytes > dataset.id.get_storage_size() or dataset.external or dataset.is_virtual:
        raise DataError(
            f"{path}: its {name} has {dataset.nbytes} bytes that are not stored directly; use the "
            "file as firenet wrote it"
        )
    return np.asarray(dataset)


def _tensor(path: Path, array: np.ndarray) -> Tensor:
    if not np.isfinite(array).all():
        raise DataError(
            f"{path}: contains numbers that are not finite; use the file as firenet wrote it"
        )
    return torch.from_numpy(array)
