"""Finds mistakes on the command line before torch is loaded and a scan is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from firenet_mri.errors import FileError
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.inputs import check_regular
from firenet_mri.io.names import why_missing
from firenet_mri.io.outputs import check_apart, check_outputs
from firenet_mri.options import Options

# Paths that a command writes.
_WRITTEN = ("dicom", "film", "bids")


def check_files(*groups: Options) -> None:
    """Refuse options that name a file or folder that does not exist.

    Raises
    ------
    FileError
        For the first such option, with its flag.
    """
    for flag, path in _read(groups):
        if not is_there(path):
            raise FileError(f"{path}: no such file; check the path after {flag}")
        check_regular(path)


def check_replaces_none(outputs: Iterable[Path], inputs: Iterable[Path], *groups: Options) -> None:
    """Refuse outputs that would replace an input, or a file that options name.

    Raises
    ------
    FileError
        For the first such output.
    """
    named = [*inputs, *(path for _, path in _read(groups))]
    # A BART name, with or without a suffix, stands for a pair of files.
    stems = [path if path.suffix == "" else path.with_suffix("") for path in named]
    pairs = [stem.with_name(stem.name + end) for stem in stems for end in (".cfl", ".hdr")]
    check_apart(outputs, [*named, *pairs])


def _read(groups: Iterable[Options]) -> Iterator[tuple[str, Path]]:
    """Yield the paths of input files among the options, with their flags."""
    for options in groups:
        values = options.flat()
        for field in options.fields():
            value = values[field.name]
            if isinstance(value, Path) and field.name not in _WRITTEN:
                yield field.flag, value


def check_inputs(paths: Iterable[Path]) -> None:
    """Refuse scans and images that do not exist.

    Raises
    ------
    FileError
        For the first of them.
    """
    for path in paths:
        if not is_there(path):
            raise FileError(f"{path}: {why_missing(path)}")
        check_regular(path)


def check_image(path: Path, *, overwrite: bool) -> None:
    """Refuse an image that cannot be written.

    Raises
    ------
    UsageError
        If the name does not have the suffix of an image.
    FileError
        If it exists and may not be replaced, or the folder is missing or not writable.
    """
    image_stem(path)
    check_outputs([path], overwrite=overwrite)


def is_there(path: Path) -> bool:
    """Return whether a file or folder exists, or a BART pair with that stem."""
    return path.exists() or path.with_name(path.name + ".cfl").exists()
