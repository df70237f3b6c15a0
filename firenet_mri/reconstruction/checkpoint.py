"""Keeps finished slices of a reconstruction in a folder, so that an interrupted run can resume."""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.errors import DataError, FileError
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.temporary import remove_abandoned

_EVIDENCE = tuple(field.name for field in fields(Evidence))


@dataclass(frozen=True, eq=False)
class FinishedSlice:
    """The results of a slice: images (*spatial) complex64, certificate, evidence, and seconds.

    ``sensitive`` is the image of the data's most amplified change; None if it was not requested.
    """

    image: Tensor
    zero_filled: Tensor
    certificate: Certificate
    evidence: Evidence
    maps_digest: str = ""
    calibration_s: float = 0.0
    network_s: float = 0.0
    certificate_s: float = 0.0
    sensitive: Tensor | None = None


class Checkpoint:
    """Finished slices of one run.

    Parameters
    ----------
    folder
        Created, if it is missing, with the first slice that is kept. It may also contain slices of
        other runs.
    key
        Digest of everything that defines the run. Slices with another key are ignored.
    """

    def __init__(self, folder: str | Path, key: str) -> None:
        self.folder = Path(folder)
        self._name = key[:16]

    def _path(self, index: int) -> Path:
        return self.folder / f"{self._name}_{index:05d}.npz"

    def keep(self, index: int, result: FinishedSlice) -> None:
        """Write a slice.

        Raises
        ------
        FileError
            If the folder cannot be written.
        """
        rest = {
            "certificate": result.certificate.to_dict(),
            "maps_digest": result.maps_digest,
            "seconds": [result.calibration_s, result.network_s, result.certificate_s],
            "digest": _digest_of(result),
        }
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise FileError(
                f"{self.folder}: finished slices cannot be kept there ({error.strerror}); make it "
                "writable or choose another folder"
            ) from error
        with atomic_writes([self._path(index)], overwrite=True) as (path,):
            sensitive = torch.zeros(0) if result.sensitive is None else result.sensitive
            np.savez(
                path,
                image=result.image.numpy(),
                zero_filled=result.zero_filled.numpy(),
                **{name: getattr(result.evidence, name).numpy() for name in _EVIDENCE},
                sensitive=sensitive.numpy(),
                rest=np.frombuffer(json.dumps(rest).encode(), np.uint8),
            )

    def finished(self, count: int) -> dict[int, FinishedSlice]:
        """Return the slices of this run among the first ``count``.

        Slices that are damaged, were changed, or contain NaN or infinite values are ignored and
        reconstructed again.
        """
        found = {index: self._read(index) for index in range(count)}
        return {index: result for index, result in found.items() if result is not None}

    def _read(self, index: int) -> FinishedSlice | None:
        try:
            with np.load(self._path(index), allow_pickle=False) as arrays:
                rest = json.loads(arrays["rest"].tobytes())
                calibration_s, network_s, certificate_s = rest["seconds"]
                found = FinishedSlice(
                    torch.from_numpy(arrays["image"]),
                    torch.from_numpy(arrays["zero_filled"]),
                    Certificate.from_dict(rest["certificate"]),
                    Evidence(*(torch.from_numpy(arrays[name]) for name in _EVIDENCE)),
                    rest["maps_digest"],
                    calibration_s,
                    network_s,
                    certificate_s,
                    torch.from_numpy(arrays["sensitive"]) if arrays["sensitive"].size else None,
                )
                is_whole = rest["digest"] == _digest_of(found) and _is_finite(found)
                return found if is_whole else None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, DataError):
            return None


def _tensors(result: FinishedSlice) -> list[Tensor]:
    evidence = [getattr(result.evidence, name) for name in _EVIDENCE]
    sensitive = [] if result.sensitive is None else [result.sensitive]
    return [result.image, result.zero_filled, *evidence, *sensitive]


def _digest_of(result: FinishedSlice) -> str:
    """Return the digest of a slice's arrays: zeros replace a missing image."""
    return digest_of_data([digest_of_tensor(one) for one in _tensors(result)])


def _is_finite(result: FinishedSlice) -> bool:
    return all(bool(torch.isfinite(one).all()) for one in _tensors(result))


def remove_checkpoint(folder: Path) -> None:
    """Remove the slices that were kept in a folder, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if re.fullmatch(r"[0-9a-f]{16}_\d{5}\.npz", path.name):
            path.unlink(missing_ok=True)
    remove_abandoned(folder)
    with contextlib.suppress(OSError):
        folder.rmdir()
