"""Reconstruction over a socket: the MRD streaming protocol of Siemens FIRE and Gadgetron."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy
from firenet_mri.threads import wait_passively

if TYPE_CHECKING:
    from firenet_mri.server.answering import process
    from firenet_mri.server.options import StreamOptions

__all__ = ["StreamOptions", "process"]

# A host's server imports this package as its configuration; torch is loaded only on first use.
wait_passively()

__getattr__ = lazy(
    __name__,
    {
        "StreamOptions": "firenet_mri.server.options",
        "process": "firenet_mri.server.answering",
    },
)
