"""Files of an image that was made from arrays, and what a certificate binds together.

``NAME.npy`` is the complex image, ``NAME.json`` its certificate, ``NAME.evidence.h5`` the evidence.
The scan is not stored in a file: the certificate identifies the arrays by their SHA-256, and
whoever checks it passes them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from firenet_mri.digests import Digests, digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io import atomic_writes, read_certificate, write_certificate
from firenet_mri.io.evidence import evidence_path, read_evidence, write_evidence
from firenet_mri.linops.arrays import as_tensor
from firenet_mri.reconstruction.certify import Certified
from firenet_mri.reconstruction.check import Checked, Claim, Work, check_solution
from firenet_mri.reconstruction.result import versions

_IMAGE = ".npy"

# The arrays' names in a certificate.
_NAMES = {"kspace": "y", "mask": "weights", "trajectory": "coord", "maps": "mps"}

# Relative to the largest value, since the evidence is in single precision.
_SAME = 1e-5


@dataclass(frozen=True, eq=False)
class Origin:
    """The inputs from which an image was made.

    Parameters
    ----------
    y, mps, weights, coord, x
        The arguments of :class:`firenet_mri.sigpy.FIRENETRecon`.
    options
        All other arguments, as plain data.
    """

    y: Any
    mps: Any
    weights: Any
    coord: Any
    x: Any
    options: Mapping[str, object]

    @property
    def record(self) -> dict[str, object]:
        """The options, and the inputs other than scan and maps."""
        return {"arrays": "firenet_mri.sigpy.FIRENETRecon", **self.options, "x": _digest(self.x)}

    def digests(self, image: Tensor) -> Digests:
        """Return the digests for an image's certificate; ``mask`` is that of the weights."""
        return Digests(
            kspace=digest_of_data(_digest(self.y)),
            mask=digest_of_data(_digest(self.weights)),
            noise=None,
            trajectory=_digest(self.coord),
            maps=digest_of_data(_digest(self.mps)),
            parameters=digest_of_data(self.record),
            pixels=digest_of_tensor(image),
        )


def save(
    path: Path,
    image: Tensor,
    certified: Certified,
    origin: Origin,
    *,
    overwrite: bool = False,
    key: Path | None = None,
) -> tuple[Path, Path, Path]:
    """Write an image, its certificate and the evidence; return their paths."""
    paths = _paths(path)
    with atomic_writes(paths, overwrite=overwrite) as (picture, certificate, evidence):
        np.save(picture, image.numpy(force=True))
        write_evidence(evidence, certified.evidence)
        digests = replace(origin.digests(image), file=digest_of_file(picture))
        report = {
            "options": origin.record,
            "image_units": "as the data",
            "versions": versions(),
            "evidence": digest_of_file(evidence),
        }
        signed = replace(certified.certificate, digests=digests)
        write_certificate(certificate, signed, report, key=key)
    return paths


def check(path: Path, origin: Origin, work: Work, *, again: bool) -> Checked:
    """Return what of a certificate that :func:`save` wrote was recomputed.

    Raises
    ------
    DataError
        If an array, an option, the image or a number differs; the message names it.
    FileError
        If a file is missing or damaged.
    """
    image, certificate, evidence = _paths(path)
    saved = read_certificate(certificate)
    saved.check_image(image)
    pixels = _read(image)
    found = origin.digests(pixels)
    for name, array in _NAMES.items():
        if getattr(found, name) != getattr(saved.digests, name):
            raise DataError(f"{array} is not that of {certificate}; give the arrays of its image")
    if found.parameters != saved.digests.parameters:
        raise DataError(
            f"{certificate}: was made with other options or another start image x; give the same"
        )
    claim = Claim(str(certificate), saved.certificate, read_evidence(evidence))
    result = check_solution(claim, work, again=again)
    expected = work.encoded.image(claim.evidence.x[0].to(work.encoded.y)).cpu()
    # Written so that NaN fails.
    is_same = pixels.shape == expected.shape and bool(
        (pixels - expected).abs().max() <= _SAME * expected.abs().max()
    )
    if not is_same:
        raise DataError(f"{image}: is not the image of the evidence")
    return result


def _paths(path: Path) -> tuple[Path, Path, Path]:
    if path.suffix != _IMAGE or path.name == _IMAGE:
        raise UsageError(f"{path}: the image is written as a NumPy file; use the suffix {_IMAGE}")
    return path, path.with_suffix(".json"), evidence_path(path, path.stem)


def _read(path: Path) -> Tensor:
    try:
        return as_tensor(np.load(path, allow_pickle=False))
    except (OSError, ValueError) as error:
        raise FileError(f"{path}: is not a complete NumPy file ({type(error).__name__})") from None


def _digest(array: Any) -> str | None:
    if array is None:
        return None
    return digest_of_tensor(as_tensor(np.asarray(array) if np.isscalar(array) else array))
