"""Runs the function of a user's Python file, which ``FILE.py:function`` names."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from firenet_benchmark.stability import hashes
from firenet_mri.errors import FileError, UsageError


def called(source: str, *given: Any, example: str) -> tuple[Any, ModuleType]:
    """Return what a function in a Python file returns, and the module of the file.

    Parameters
    ----------
    source
        File and function, such as ``model.py:make``; the file is run, and may import the files of
        its own folder.
    given
        The function's arguments.
    example
        File and function for the message that asks for both.

    Raises
    ------
    FileError
        If there is no such file.
    UsageError
        If the source does not name file and function, or either fails.
    """
    name, _, function = source.rpartition(":")
    if not name or not function:
        raise UsageError(f"{source}: name the file and its function, as {example}")
    path = Path(name)
    if not path.is_file():
        raise FileError(f"{path}: no such file; check the path")
    try:
        with _beside(path):
            module = _imported(path)
            return getattr(module, function)(*given), module
    except UsageError:
        raise
    # The file is a user's and can raise anything.
    except Exception as error:
        raise UsageError(f"{source}: {type(error).__name__}: {error}") from error


@contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Let a file import the files of its folder, as a Python program may.

    Raises
    ------
    UsageError
        If a file of another folder was imported under one of their names: Python keeps one.
    """
    folder = path.resolve().parent
    for one in (*sorted(folder.glob("*.py")), *sorted(folder.glob("*/__init__.py"))):
        name = one.parent.name if one.name == "__init__.py" else one.stem
        origin = hashes.own_file(sys.modules.get(name))
        if origin is not None and origin.resolve() != one.resolve():
            raise UsageError(
                f"{path}: may import {name}, but {origin} was already imported under this name "
                "for another file; rename one of them, or use two commands"
            )
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _imported(path: Path) -> ModuleType:
    """Return the module of a Python file, under a unique name."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    name = f"firenet_benchmark_user_{place}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses, among others, look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
