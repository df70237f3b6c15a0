"""Signatures of certificates with Ed25519 (RFC 8032), since a digest does not show its author.

The signature covers the bytes of the certificate's digest. It therefore covers everything in the
file and, by the digests in the file, the image and the evidence. Keys are PEM files, as made by
OpenSSL:

    openssl genpkey -algorithm ed25519 -out key.pem
    openssl pkey -in key.pem -pubout -out public.pem
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from firenet_mri.errors import DataError, FileError
from firenet_mri.extras import require

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_ALGORITHM = "ed25519"

_Key = TypeVar("_Key")


def sign(digest: str, key: Path) -> dict[str, str]:
    """Return the signature of a digest as plain data for the certificate file.

    Parameters
    ----------
    digest
        SHA-256 in hexadecimal.
    key
        PEM file of a private Ed25519 key without a password.

    Raises
    ------
    FileError
        If the key cannot be read or is not such a key.
    UsageError
        If the package cryptography is not installed.
    """
    return {
        "algorithm": _ALGORITHM,
        "value": read_private_key(key).sign(bytes.fromhex(digest)).hex(),
    }


def read_private_key(key: Path) -> Ed25519PrivateKey:
    """Return the private key in a PEM file; parameters and errors are those of :func:`sign`."""
    require("cryptography")
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    private = _read(key, "private", lambda data: load_pem_private_key(data, None))
    if not isinstance(private, ed25519.Ed25519PrivateKey):
        raise FileError(f"{key}: is not a private Ed25519 key; make one with openssl genpkey")
    return private


def public_digest(key: Path) -> str:
    """Return the SHA-256 of the public key that belongs to a private one.

    Raises
    ------
    FileError
        As for :func:`sign`. Calling this before long work shows whether the key can be used.
    """
    return hashlib.sha256(read_private_key(key).public_key().public_bytes_raw()).hexdigest()


def check_signature(path: Path, digest: str, signature: Any, key: Path) -> None:
    """Check that a digest was signed by the owner of a key.

    Parameters
    ----------
    path
        Path of the certificate, for messages.
    digest
        SHA-256 of the certificate's content, in hexadecimal.
    signature
        Signature from :func:`sign`; None if the file has none.
    key
        PEM file of a public Ed25519 key.

    Raises
    ------
    DataError
        If there is no signature, or it does not fit this key and this content.
    FileError
        If the key cannot be read or is not such a key.
    UsageError
        If the package cryptography is not installed.
    """
    require("cryptography")
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    public = _read(key, "public", load_pem_public_key)
    if not isinstance(public, Ed25519PublicKey):
        raise FileError(f"{key}: is not a public Ed25519 key; make one with openssl pkey -pubout")
    if signature is None:
        raise DataError(f"{path}: is not signed; it was written without --sign")
    try:
        # The signature entry itself is not signed, so it may contain nothing else.
        if set(signature) != {"algorithm", "value"} or signature["algorithm"] != _ALGORITHM:
            raise ValueError("another algorithm, or further fields")
        public.verify(bytes.fromhex(signature["value"]), bytes.fromhex(digest))
    except (InvalidSignature, KeyError, TypeError, ValueError):
        raise DataError(
            f"{path}: was not signed with the key that belongs to {key.name}, or was changed after "
            "it was signed"
        ) from None


def _read(path: Path, kind: str, load: Callable[[bytes], _Key]) -> _Key:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; give a {kind} Ed25519 key") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise FileError(
            f"{path}: is not a {kind} key in PEM without a password; make one with openssl"
        ) from None
