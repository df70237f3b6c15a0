"""Optional packages: which extra of firenet_mri installs each of them.

A module that needs one calls :func:`require` before it imports it, so that every missing package is
reported in the same words.
"""

from __future__ import annotations

from importlib.util import find_spec

from firenet_mri.errors import UsageError

# For each optional package: its purpose, and the extra in pyproject.toml that installs it.
EXTRAS = {
    "twixtools": ("Siemens raw data", "siemens"),
    "brukerapi": ("Bruker raw data", "bruker"),
    "distributed": ("Batches of scans", "batch"),
    "cryptography": ("Signed certificates", "sign"),
    "mrd": ("MRD 2 streams", "mrd2"),
    "pypulseq": ("Pulseq sequences", "pulseq"),
    "imageio_ffmpeg": ("MP4 films, without a system ffmpeg,", "film"),
}


def require(package: str) -> None:
    """Raise an error that says how to install an optional package, if it is missing.

    Parameters
    ----------
    package
        Name under which the package is imported; one of ``EXTRAS``.

    Raises
    ------
    UsageError
        If the package is not installed.
    """
    if find_spec(package) is None:
        purpose, extra = EXTRAS[package]
        raise UsageError(
            f"{purpose} need the package {package}; install it with: "
            f"pip install 'firenet_mri[{extra}]'"
        )
