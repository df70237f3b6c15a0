"""Readers of raw scans (``kspace``) and writers of images (``image``), one module per format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.io.certificates import SavedCertificate, read_certificate, write_certificate
    from firenet_mri.io.image.nifti import write_nifti
    from firenet_mri.io.image.picture import Panel, write_picture
    from firenet_mri.io.image.reference import read_reference
    from firenet_mri.io.kspace.maps import read_maps, read_noise
    from firenet_mri.io.kspace.reading import read
    from firenet_mri.io.kspace.writing import write_scan
    from firenet_mri.io.outputs import atomic_writes, check_outputs

__all__ = [
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

__getattr__ = lazy(
    __name__,
    {
        "Panel": "firenet_mri.io.image.picture",
        "SavedCertificate": "firenet_mri.io.certificates",
        "atomic_writes": "firenet_mri.io.outputs",
        "check_outputs": "firenet_mri.io.outputs",
        "read": "firenet_mri.io.kspace.reading",
        "read_certificate": "firenet_mri.io.certificates",
        "read_maps": "firenet_mri.io.kspace.maps",
        "read_noise": "firenet_mri.io.kspace.maps",
        "read_reference": "firenet_mri.io.image.reference",
        "write_certificate": "firenet_mri.io.certificates",
        "write_nifti": "firenet_mri.io.image.nifti",
        "write_picture": "firenet_mri.io.image.picture",
        "write_scan": "firenet_mri.io.kspace.writing",
    },
)
