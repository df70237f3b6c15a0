"""What is proven about a reconstruction: the certificate as data, and how it is made."""

from __future__ import annotations

from firenet_mri.firenet.certificate.bounds import kept_fixed
from firenet_mri.firenet.certificate.certificate import (
    KEPT_FIXED,
    SCOPE,
    VERSION,
    Certificate,
    Entry,
    Status,
)
from firenet_mri.firenet.certificate.certify import certify

__all__ = [
    "KEPT_FIXED",
    "SCOPE",
    "VERSION",
    "Certificate",
    "Entry",
    "Status",
    "certify",
    "kept_fixed",
]
