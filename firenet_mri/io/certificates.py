"""Writes a certificate beside its image, and reads it only if it is intact and fits the image.

The file is JSON: what is known about the reconstruction (scan, settings, timings, versions) and,
under "certificate", the certificate itself. "digest" is the SHA-256 of everything else, so that an
accidental change is noticed; anyone can recompute it. "signature", if present, shows who made the
file (see :mod:`firenet_mri.io.signatures`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firenet_mri.digests import (
    Digests,
    digest_of_data,
    digest_of_file,
)
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.io.evidence import evidence_path
from firenet_mri.io.image.suffixes import IMAGE_SUFFIXES
from firenet_mri.io.inputs import check_regular
from firenet_mri.io.signatures import check_signature, sign
from firenet_mri.scan import RawScan, digest_of_scan

_FORMAT = "firenet certificate"
# Far more than any certificate has; a crafted file would be held in memory several times.
_MOST_BYTES = 64 << 20


@dataclass(frozen=True)
class SavedCertificate:
    """A certificate that was read from its file.

    Parameters
    ----------
    path
        The file.
    certificate
        The certificate of the image.
    report
        The content of the whole file as plain data.
    """

    path: Path
    certificate: Certificate
    report: Mapping[str, Any]

    @property
    def digests(self) -> Digests:
        """Digests of what the certificate belongs to."""
        assert self.certificate.digests is not None
        return self.certificate.digests

    def check_signature(self, key: Path) -> None:
        """Check that the certificate was signed by the owner of a public key, a PEM file.

        Raises
        ------
        DataError
            If it was not signed with the matching private key.
        FileError
            If the key cannot be read.
        """
        check_signature(self.path, self.report["digest"], self.report.get("signature"), key)

    def evidence_beside(self) -> Path:
        """Return the path of the evidence that was written with the certificate."""
        return evidence_path(self.path, self.path.name.removesuffix(".json"))

    def check_evidence(self, evidence: Path) -> None:
        """Check that the evidence is the one that was written with the certificate.

        Raises
        ------
        DataError
            If it is not that file.
        FileError
            If it cannot be read.
        """
        try:
            found = digest_of_file(evidence)
        except OSError as error:
            raise FileError(f"{evidence}: cannot be read ({error.strerror or error})") from error
        if found != self.report.get("evidence"):
            raise DataError(
                f"{evidence}: is not the evidence of {self.path.name}, because its SHA-256 "
                "differs; reconstruct again"
            )

    def check_image(self, image: Path | None = None) -> Path:
        """Return the image file, after checking that the certificate belongs to it.

        Parameters
        ----------
        image
            The image; None means the file of the same name beside the certificate.

        Raises
        ------
        FileError
            If the image is missing or cannot be read.
        DataError
            If it is a different image, or was changed.
        """
        image = self._image_beside() if image is None else image
        try:
            found = digest_of_file(image)
        except FileNotFoundError:
            raise FileError(f"{image}: no such file; give the image that was written") from None
        except OSError as error:
            raise FileError(f"{image}: cannot be read ({error.strerror or error})") from error
        if found != self.digests.file:
            raise DataError(
                f"{image}: is not the image of {self.path.name}, because its SHA-256 differs; the "
                "image was changed or replaced after it was certified, so reconstruct it again"
            )
        return image

    def check_scan(self, scan: RawScan) -> None:
        """Check that the image was made from this scan.

        Raises
        ------
        DataError
            If k-space, mask, noise measurement or trajectory differ.
        """
        if self.certificate.not_checkable:
            raise DataError(f"{self.path}: is not checkable. {self.certificate.not_checkable}")
        found = digest_of_scan(scan)
        for name, digest in found._asdict().items():
            if digest != getattr(self.digests, name):
                raise DataError(
                    f"{scan.name}: is not the scan of {self.path.name}, because its {name} has "
                    "another SHA-256; give the scan that the image was made from, and the mask and "
                    "trajectory if they were given"
                )

    def _image_beside(self) -> Path:
        stem = self.path.name.removesuffix(".json")
        # Images that were made from arrays are also arrays.
        places = [self.path.with_name(stem + suffix) for suffix in (*IMAGE_SUFFIXES, ".npy")]
        found = [place for place in places if place.exists()]
        if len(found) > 1:
            raise UsageError(
                f"{self.path}: {found[0].name} and {found[1].name} are next to it; name the image "
                "with --image"
            )
        if not found:
            raise FileError(
                f"{self.path}: no image {stem}.nii.gz, .nii, .dcm, .h5, .mrd or .npy is next to "
                "it; name the image with --image"
            )
        return found[0]


def write_certificate(
    path: Path,
    certificate: Certificate,
    report: Mapping[str, object],
    *,
    key: Path | None = None,
) -> None:
    """Write the certificate of a written image, with everything known about the reconstruction.

    With a private key (a PEM file) the certificate is signed.

    Raises
    ------
    DataError
        If the certificate does not contain the digest of a file.
    """
    if certificate.digests is None or certificate.digests.file is None:
        raise DataError(f"{path.name}: the certificate has no digest of its image; add it first")
    content = {"format": _FORMAT, **report, "certificate": certificate.to_dict()}
    digest = digest_of_data(content)
    sealed = {**content, "digest": digest}
    if key is not None:
        sealed["signature"] = sign(digest, key)
    path.write_text(json.dumps(sealed, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_certificate(path: Path) -> SavedCertificate:
    """Return the certificate in a file.

    Raises
    ------
    FileError
        If the file is missing, empty, truncated, or not a certificate.
    DataError
        If the certificate has another version, was changed, or contradicts itself.
    """
    report = _read_json(path)
    if not isinstance(report, dict) or report.get("format") != _FORMAT:
        raise FileError(
            f"{path}: is JSON but not a certificate; give the .json that firenet recon wrote"
        )
    content = {key: value for key, value in report.items() if key not in ("digest", "signature")}
    try:
        if not isinstance(report.get("certificate"), dict):
            raise DataError("The certificate is damaged; use the file as firenet wrote it")
        # Check the version first: another one may have other fields and another way to make the
        # digest.
        certificate = Certificate.from_dict(report["certificate"])
        if certificate.digests is None or certificate.digests.file is None:
            raise DataError("The certificate names no image; use the file as firenet wrote it")
        if report.get("digest") != digest_of_data(content):
            raise DataError(
                "The file was changed after it was written: its digest differs; use the file as "
                "firenet wrote it"
            )
        if not certificate.not_checkable:
            _check_options(certificate.digests, report)
    except DataError as error:
        message = str(error)
        raise DataError(f"{path}: {message[0].lower()}{message[1:]}") from None
    return SavedCertificate(path, certificate, report)


def _check_options(digests: Digests, report: Mapping[str, Any]) -> None:
    if digest_of_data(report.get("options")) != digests.parameters:
        raise DataError(
            "The options are not those of the certificate; use the file as firenet wrote it"
        )


def _read_json(path: Path) -> object:
    check_regular(path)
    try:
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise FileError(
                f"{path}: has {size / 2**20:.0f} MiB, and a certificate at most "
                f"{_MOST_BYTES / 2**20:.0f}; give the .json that firenet recon wrote"
            )
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; give the .json next to an image") from None
    except IsADirectoryError:
        raise FileError(f"{path}: is a folder; give the .json next to an image") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: is not JSON; give the .json next to the image") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not text.strip():
        raise FileError(f"{path}: the file is empty; give the .json that firenet recon wrote")
    try:
        return json.loads(
            text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_without_repetition
        )
    except (ValueError, RecursionError):
        raise FileError(
            f"{path}: is not complete JSON; it is truncated or not a certificate: give the "
            ".json that firenet recon wrote"
        ) from None


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name that occurs twice, since other readers might take the other value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found
