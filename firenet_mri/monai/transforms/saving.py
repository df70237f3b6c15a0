"""Writes the certificate of an image, and its evidence, beside the file that MONAI has written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Transform
from monai.utils import MetaKeys, TransformBackends

from firenet_mri.digests import digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.io import atomic_writes, write_certificate
from firenet_mri.io.evidence import evidence_path
from firenet_mri.io.image.nifti_files import load_nifti, voxels_of
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.monai.evidence import Carried
from firenet_mri.monai.transforms.configuration import Configured

# Of the largest value: the writer's rounding to single precision.
_SAME = 1e-6


class SaveCertificate(Configured, Transform):
    """Writes ``NAME.json`` and ``NAME.evidence.h5`` beside the image of MONAI's SaveImage.

    Put it after ``SaveImage(..., savepath_in_metadict=True, resample=False)``; the image comes
    from ``FIRENETReconstruct(certificate=True, evidence=True)``. ``firenet certify NAME.json
    --scan FILE`` then recomputes the certificate, if k-space is that of the file.

    Parameters
    ----------
    overwrite
        Replace files that exist.
    key
        Private Ed25519 key, a PEM file, with which the certificate is signed.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's convention

    def __init__(self, *, overwrite: bool = False, key: str | Path | None = None) -> None:
        self.overwrite = overwrite
        self.key = None if key is None else str(key)

    def __call__(self, image: MetaTensor) -> MetaTensor:
        """Return the image as it came, once the files are written: both, or none.

        Raises
        ------
        DataError
            If its metadata hold no evidence or no path, or the image or its file is not the one
            that was certified.
        FileError
            If a file exists and may not be replaced, or cannot be written.
        """
        carried, path = _carried(image)
        stem = image_stem(path)
        files = path.with_name(f"{stem}.json"), evidence_path(path, stem)
        certificate = Certificate.from_dict(json.loads(image.meta["certificate"]))
        assert certificate.digests is not None
        digests = replace(certificate.digests, file=digest_of_file(path))
        with atomic_writes(files, overwrite=self.overwrite) as (beside, evidence):
            evidence.write_bytes(carried.evidence)
            report = {**carried.report, "evidence": digest_of_file(evidence)}
            key = None if self.key is None else Path(self.key)
            write_certificate(beside, replace(certificate, digests=digests), report, key=key)
        return image


def _carried(image: MetaTensor) -> tuple[Carried, Path]:
    """Return what the metadata carry, and where the image lies, after checking that it is it."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    if "evidence" not in meta:
        raise DataError(
            "The image's metadata hold no evidence; ask for it with "
            "FIRENETReconstruct(certificate=True, evidence=True)"
        )
    if MetaKeys.SAVED_TO not in meta:
        raise DataError(
            "The image's metadata do not say where it was written; use SaveImage(..., "
            "savepath_in_metadict=True) before"
        )
    carried, path = Carried.from_text(meta["evidence"]), Path(str(meta[MetaKeys.SAVED_TO]))
    if digest_of_tensor(image.as_tensor()) != carried.shown:
        raise DataError(
            "The image was changed after it was certified; write it and its certificate before "
            "anything changes it"
        )
    _check_file(path, image.as_tensor().numpy(force=True))
    return carried, path


def _check_file(path: Path, image: np.ndarray) -> None:
    """Raise DataError if a file does not hold the image, (1, x, y, z)."""
    if not path.name.endswith((".nii", ".nii.gz")):
        raise UsageError(f"{path}: certificates are written beside NIfTI; use output_ext='.nii.gz'")
    found = voxels_of(load_nifti(path), path).squeeze()
    expected = image.squeeze()
    is_same = found.shape == expected.shape and bool(
        np.abs(found - expected).max() <= _SAME * np.abs(expected).max()
    )
    if not is_same:
        raise DataError(
            f"{path}: does not hold the image that was certified; write it without resampling, "
            "scaling, or another output_dtype than numpy.float32"
        )
