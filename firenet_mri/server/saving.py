"""Saves the server's results for later checks: image, certificate, evidence and scan.

Names are random, so that neither header, time nor order reveals anything about a patient. The scan
is written as it was reconstructed, and certified as if it had been read from that file.
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from firenet_mri.errors import DataError, FirenetError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.outputs import is_writable
from firenet_mri.io.signatures import public_digest

if TYPE_CHECKING:
    from firenet_mri.reconstruction import Reconstruction
    from firenet_mri.scan import RawScan

_log = logging.getLogger(__name__)

_SCAN = ".scan.h5"


@dataclass(frozen=True)
class Saving:
    """The folder to which a server writes its results.

    Parameters
    ----------
    folder
        An existing, writable folder; no file in it is replaced.
    key
        Private Ed25519 key, a PEM file, with which certificates are signed.

    Raises
    ------
    UsageError
        If the folder does not exist or is not writable.
    FileError
        If the key cannot be used.
    """

    folder: Path
    key: Path | None = None

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder}: is not a folder; create it first")
        if not is_writable(self.folder):
            raise UsageError(f"{self.folder}: the folder is not writable; choose another")
        if self.key is not None:
            public_digest(self.key)

    def new_name(self) -> str:
        """Return a random name for the files of one image."""
        return secrets.token_hex(8)

    def save(self, name: str, result: Reconstruction, scan: RawScan) -> tuple[str, str]:
        """Write the files of an image; return level and text of a log line about them.

        An error is not raised: the image has been sent already, and the next one must be sent, too.

        Parameters
        ----------
        name
            A name from :meth:`new_name`.
        result, scan
            The reconstruction, and the scan from which it was made.
        """
        try:
            result.save(self.folder / f"{name}.nii.gz", key=self.key)
        # A full disk, or an unexpected error.
        except Exception as error:
            return _failed(f"{name}: not saved", error)
        try:
            self._save_scan(name, scan)
        except Exception as error:
            return _failed(f"{name}: saved without its scan, so that it cannot be checked", error)
        return "INFO", f"{name}: image, certificate, evidence and scan saved"

    def _save_scan(self, name: str, scan: RawScan) -> None:
        # These modules load torch, which the service itself does not need.
        from firenet_mri.io import read, write_scan
        from firenet_mri.scan import digest_of_scan

        path = self.folder / f"{name}{_SCAN}"
        write_scan(path, scan)
        if digest_of_scan(read(path)) != digest_of_scan(scan):
            path.unlink()
            raise DataError("ISMRMRD files cannot hold it sample by sample")


def as_if_read(scan: RawScan) -> RawScan:
    """Return a streamed scan with the record that it would have if it were read from its file."""
    return dataclasses.replace(scan, record=ReadOptions().to_dict())


def _failed(what: str, error: Exception) -> tuple[str, str]:
    # Error messages of other libraries may quote their input.
    why = str(error) if isinstance(error, FirenetError) else type(error).__name__
    text = f"{what} ({' '.join(why.split())})"
    _log.error("%s", text)
    return "WARNING", text
