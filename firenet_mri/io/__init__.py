"""Reads raw scans and writes images: one module a format, told apart by content, not by name."""

from __future__ import annotations

from firenet_mri.io.certificates import SavedCertificate, read_certificate, write_certificate
from firenet_mri.io.checkpoints import Checkpoint, FinishedSlice
from firenet_mri.io.image.nifti import write_nifti
from firenet_mri.io.image.picture import Panel, write_picture
from firenet_mri.io.image.reference import read_reference
from firenet_mri.io.kspace.maps import read_maps, read_noise
from firenet_mri.io.kspace.reading import read
from firenet_mri.io.kspace.writing import write_scan
from firenet_mri.io.outputs import atomic_writes, check_outputs

__all__ = [
    "Checkpoint",
    "FinishedSlice",
    "Panel",
    "SavedCertificate",
    "atomic_writes",
    "check_outputs",
    "read",
    "read_certificate",
    "read_maps",
    "read_noise",
    "read_reference",
    "write_certificate",
    "write_nifti",
    "write_picture",
    "write_scan",
]
