"""Files of trained weights: safetensors with arrays, JSON texts, and the SHA-256 of both.

The texts include "format" and "version", by which readers are chosen, and "digest". Nothing is
unpickled, and files of 64 MiB or more are not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from firenet_mri.digests import digest_of_data, digest_of_tensor
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.firenet.learned.formats import MAKE, check_file, weights_path
from firenet_mri.memory import refuse_shortage
from firenet_mri.temporary import forget, new_token, remove_abandoned, temporary_beside

_DIGEST = "digest"
_LENGTH = 8

# Sums over the frequencies are rounded in an order that differs between processors.
_ROUNDING = 1e-9

Made = TypeVar("Made")


class Content(NamedTuple):
    """What a file holds: tensors by name, on the CPU, and text by name."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file as a whole; one that is there is replaced.

    The same content gives the same bytes.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from safetensors.torch import save

    whole = save({name: value.contiguous() for name, value in tensors.items()}, dict(metadata))
    remove_abandoned(path.parent)
    token = new_token()
    temporary = temporary_beside(path, token)
    try:
        temporary.write_bytes(_with_sorted_header(whole))
        temporary.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
        forget(token)


def read_tensors(path: Path) -> Content:
    """Return what a safetensors file holds.

    Raises
    ------
    FileError
        If it cannot be read, or is damaged or of another format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # Copies: the tensors of the library stay tied to the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            return Content(tensors, dict(file.metadata() or {}))
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        refuse_shortage(path, error)
        reason = str(error).partition("\n")[0]
        raise FileError(f"{path}: is not a safetensors file, or is damaged ({reason})") from None


def save_weights(path: Path, tensors: Mapping[str, Tensor], contents: Mapping[str, object]) -> None:
    """Write arrays and what is said about them, plain data by name, with the digest of both.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    texts = {name: json.dumps(value, allow_nan=False) for name, value in contents.items()}
    texts[_DIGEST] = digest_of(Content(dict(tensors), texts))
    write_tensors(path, tensors, texts)


def load_weights_as(
    path: str | Path,
    wanted: str,
    versions: Sequence[int],
    make: Callable[[dict[str, Tensor], dict[str, Any]], Made],
) -> Made:
    """Return what is made of the content of a file, after checking format, version and digest.

    Parameters
    ----------
    path
        The file, or the name of one that is included.
    wanted, versions
        Format, and the versions of it that are read.
    make
        Called with tensors and plain data by name. Errors about data and options are those of the
        file.

    Raises
    ------
    FileError
        If the file is missing, of another program or version, damaged, or changed.
    """
    place = weights_path(path)
    check_file(place)
    try:
        content = read_tensors(place)
    except FileError as error:
        raise FileError(f"{error}; {MAKE}") from None
    try:
        return make(content.tensors, _checked(content, wanted, versions))
    except (DataError, UsageError) as error:
        raise FileError(f"{place}: {error}; {MAKE}") from None


def mapping(texts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an entry of the texts that has names and values.

    Raises
    ------
    DataError
        If it is missing or another thing.
    """
    found = texts.get(name)
    if not isinstance(found, dict):
        raise DataError(f"has no {name}")
    return found


def is_same(stated: Any, found: Any, near_zero: float = 0.0) -> bool:
    """Return whether plain data agree with those found, numbers up to rounding.

    Parameters
    ----------
    stated, found
        Numbers, lists or mappings of them.
    near_zero
        Differences up to here do not count either.
    """
    if isinstance(found, dict):
        is_dict = isinstance(stated, dict) and stated.keys() == found.keys()
        return is_dict and all(is_same(stated[k], one, near_zero) for k, one in found.items())
    if isinstance(found, list):
        is_list = isinstance(stated, list) and len(stated) == len(found)
        return is_list and all(is_same(*two, near_zero) for two in zip(stated, found, strict=True))
    is_number = isinstance(stated, float | int) and not isinstance(stated, bool)
    return is_number and math.isclose(stated, found, rel_tol=_ROUNDING, abs_tol=near_zero)


def digest_of(content: Content) -> str:
    """Return the SHA-256 of everything in a file except its digest."""
    texts = {name: text for name, text in content.metadata.items() if name != _DIGEST}
    tensors = content.tensors.items()
    return digest_of_data([texts, {name: digest_of_tensor(tensor) for name, tensor in tensors}])


def _checked(content: Content, wanted: str, versions: Sequence[int]) -> dict[str, Any]:
    """Return the texts as plain data, after checking their format and version."""
    texts: dict[str, Any] = {}
    for name, text in content.metadata.items():
        try:
            texts[name] = text if name == _DIGEST else json.loads(text)
        except (ValueError, RecursionError):
            texts[name] = None
    if texts.get("format") != wanted:
        raise DataError(f"holds weights of another program or kind; a {wanted} is needed")
    if texts.get("version") not in versions:
        readable = " and ".join(map(str, versions))
        raise DataError(
            f"has version {texts.get('version')!r}; this version of firenet_mri reads {readable}"
        )
    if texts.get(_DIGEST) != digest_of(content):
        raise DataError("was changed after it was written: its digest differs")
    return texts


def _with_sorted_header(whole: bytes) -> bytes:
    """Return a file with its header in order: the library writes texts in a random one."""
    end = _LENGTH + int.from_bytes(whole[:_LENGTH], "little")
    header = json.dumps(json.loads(whole[_LENGTH:end]), sort_keys=True).encode()
    # Numbers begin at a multiple of 8 bytes.
    header += b" " * (-len(header) % _LENGTH)
    return len(header).to_bytes(_LENGTH, "little") + header + whole[end:]
