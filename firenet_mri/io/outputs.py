"""Writes several output files as one: either all of them appear, complete, or none does."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firenet_mri.errors import FileError
from firenet_mri.temporary import forget, new_token, remove_abandoned, set_aside, temporary_beside


def check_outputs(paths: Iterable[Path], *, overwrite: bool = False) -> None:
    """Refuse outputs that cannot be written; call it before the long work.

    Raises
    ------
    FileError
        If an output exists and ``overwrite`` is False, is a folder or a symbolic link, or is named
        twice, or if its folder is missing or not writable.
    """
    seen: set[Path] = set()
    writable: set[Path] = set()
    for path in paths:
        folder = path.parent
        if path.is_symlink():
            raise FileError(f"{path}: is a symbolic link; name the file itself, or another")
        if path.is_dir():
            raise FileError(f"{path}: is a folder; give the name of an output file")
        if not folder.is_dir():
            raise FileError(f"{path}: the folder {folder} does not exist; create it first")
        if folder not in writable and not is_writable(folder):
            raise FileError(f"{path}: the folder {folder} is not writable; choose another")
        writable.add(folder)
        if path.exists() and not overwrite:
            raise FileError(f"{path}: exists; use --overwrite to replace it")
        resolved = path.resolve()
        if resolved in seen:
            raise FileError(f"{path}: is named for two outputs; give each its own name")
        seen.add(resolved)


def check_apart(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Refuse outputs that would replace an input, even if overwriting is allowed.

    Raises
    ------
    FileError
        If an output is one of the inputs, under any name.
    """
    read = [path for path in inputs if path.exists()]
    for output in outputs:
        if output.exists() and any(output.samefile(path) for path in read):
            raise FileError(f"{output}: is an input of this command; give the output another name")


def check_folder(folder: Path) -> None:
    """Refuse an output folder that can neither be written to nor created.

    Raises
    ------
    FileError
        If the folder, or its nearest existing parent, is a file or is not writable.
    """
    place = folder
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        above = "" if place == folder else f"the folder would be below {place}, which "
        raise FileError(f"{folder}: {above}is a file; give another folder")
    if not is_writable(place):
        raise FileError(f"{folder}: the folder {place} is not writable; choose another")


def is_writable(folder: Path) -> bool:
    """Return whether files can be created in a folder.

    A nameless file is created to find out, because permissions are misleading on read-only and
    remote file systems, above all for the superuser.
    """
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        # A full disk does not count, because it may have room later.
        return error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_writes(
    paths: Sequence[Path], *, overwrite: bool = False, removing: Sequence[Path] = ()
) -> Iterator[list[Path]]:
    """Yield a temporary path for each output, and move all into place if the block succeeds.

    The temporary files lie in the folders of their outputs and keep the whole suffix, since writers
    choose compression by it. If the block raises an error, or a file cannot be moved, the temporary
    files are removed and any earlier files are restored. Temporary files of killed runs are removed
    from the folders first.

    Parameters
    ----------
    paths
        The outputs.
    overwrite
        Replace outputs that exist.
    removing
        Files to remove together with the replaced ones; they need not exist.

    Raises
    ------
    FileError
        As for :func:`check_outputs`, before the block runs and again before the files are moved;
        and if the block raises an OSError, as for a full disk, or leaves an output unwritten.
    """
    check_outputs(paths, overwrite=overwrite)
    for folder in {path.parent for path in paths}:
        remove_abandoned(folder)
    token = new_token()
    temporary = [temporary_beside(path, token) for path in paths]
    try:
        yield temporary
        check_outputs(paths, overwrite=overwrite)
        for source in temporary:
            source.stat()
        _move_all(temporary, paths, removing)
    except OSError as error:
        names = ", ".join(str(path) for path in paths)
        # HDF5's own messages contain memory addresses and the temporary file's name.
        why = os.strerror(error.errno) if error.errno else error
        raise FileError(f"{names}: cannot be written ({why})") from error
    finally:
        for source in temporary:
            source.unlink(missing_ok=True)
        forget(token)


def _move_all(sources: Sequence[Path], targets: Sequence[Path], removing: Sequence[Path]) -> None:
    """Move all files into place, or none of them.

    All files to be replaced are first moved aside. If the process is killed in between, files are
    missing, but no new image lies beside an old certificate.
    """
    replaced = [path for path in (*targets, *removing) if path.exists()]
    if len(targets) == 1 and not removing:
        # A single file is replaced atomically, and exists at every moment.
        sources[0].replace(targets[0])
        return
    token = new_token()
    aside: list[tuple[Path, Path]] = []
    moved: list[Path] = []
    try:
        for path in replaced:
            backup = set_aside(path, token)
            path.replace(backup)
            aside.append((backup, path))
        for source, target in zip(sources, targets, strict=True):
            source.replace(target)
            moved.append(target)
    except BaseException:
        for target in moved:
            target.unlink(missing_ok=True)
        for backup, path in aside:
            backup.replace(path)
        raise
    finally:
        forget(token)
    for backup, _ in aside:
        # The next run removes files that remain.
        with contextlib.suppress(OSError):
            backup.unlink()
