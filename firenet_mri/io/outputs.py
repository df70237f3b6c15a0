"""Writes several output files as one: all of them appear, complete, or none does."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firenet_mri.errors import FileError


def check_outputs(paths: Iterable[Path], *, overwrite: bool = False) -> None:
    """Refuse outputs that cannot be written; call it before the long work.

    Raises
    ------
    FileError
        If an output exists and ``overwrite`` is False, or is a folder or a symbolic link, or is
        named twice, or its folder is missing or not writable.
    """
    seen: set[Path] = set()
    for path in paths:
        folder = path.parent
        if path.is_symlink():
            raise FileError(f"{path}: is a symbolic link; name the file itself, or another")
        if path.is_dir():
            raise FileError(f"{path}: is a folder; give the name of an output file")
        if not folder.is_dir():
            raise FileError(f"{path}: the folder {folder} does not exist; create it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise FileError(f"{path}: the folder {folder} is not writable; choose another")
        if path.exists() and not overwrite:
            raise FileError(f"{path}: exists; use --overwrite to replace it")
        resolved = path.resolve()
        if resolved in seen:
            raise FileError(f"{path}: is named for two outputs; give each its own name")
        seen.add(resolved)


@contextmanager
def atomic_writes(paths: Sequence[Path], *, overwrite: bool = False) -> Iterator[list[Path]]:
    """Give a temporary path for each output; all are moved into place when the block ends well.

    The temporary files lie in the folder of their output and keep its whole suffix, since writers
    choose compression by it. If the block raises, they are removed and no output is touched.

    Raises
    ------
    FileError
        As :func:`check_outputs`, before the block runs and once more before the files are moved;
        and if the block raises an OSError, such as a full disk, or leaves an output unwritten.
    """
    check_outputs(paths, overwrite=overwrite)
    token = secrets.token_hex(4)
    temporary = [path.with_name(f".{token}-{path.name}") for path in paths]
    try:
        yield temporary
        check_outputs(paths, overwrite=overwrite)
        for source in temporary:
            source.stat()
        for source, target in zip(temporary, paths, strict=True):
            source.replace(target)
    except OSError as error:
        names = ", ".join(str(path) for path in paths)
        raise FileError(f"{names}: cannot be written ({error.strerror or error})") from error
    finally:
        for source in temporary:
            source.unlink(missing_ok=True)
