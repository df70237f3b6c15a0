"""Reconstruction over a socket: the MRD streaming protocol of Siemens FIRE and Gadgetron."""

from __future__ import annotations

from firenet_mri.threads import wait_passively

# A host's server imports this package as its configuration; what follows loads torch.
wait_passively()

from firenet_mri.server.options import StreamOptions  # noqa: E402
from firenet_mri.server.process import process  # noqa: E402

__all__ = ["StreamOptions", "process"]
