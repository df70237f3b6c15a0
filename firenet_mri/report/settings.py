"""The settings of an image as text to type: the command and the Python lines that reproduce it.

Both come from the record in the certificate. The record identifies files and arrays only by their
SHA-256, so that a name in capitals replaces each of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.options import Field
from firenet_mri.reconstruction.options import ReconstructionOptions


@dataclass(frozen=True)
class Settings:
    """How an image is reproduced.

    Parameters
    ----------
    command, python
        The text to type; empty if the image cannot be reproduced in this way.
    files
        Explanation of each name in capitals, such as "MASK has the SHA-256 0123...".
    why_not
        Reason why these lines cannot reproduce the image from a file; empty if they can.
    """

    command: str = ""
    python: str = ""
    files: tuple[str, ...] = ()
    why_not: str = ""


@dataclass(frozen=True)
class _Chosen:
    """An option that differs from its default, with its recorded value."""

    field: Field
    value: Any
    is_read: bool

    @property
    def digest(self) -> str | None:
        """The SHA-256 that the record states for a file or an array; None for other values."""
        if not isinstance(self.value, Mapping):
            return None
        return next((str(one) for key, one in self.value.items() if key.startswith("sha256")), None)

    @property
    def placeholder(self) -> str:
        """The name in capitals that replaces the file's name."""
        return (self.field.word or self.field.name).upper()

    def words(self) -> list[str]:
        """Return flag and value as the command line accepts them."""
        if self.field.is_flag:
            return [self.field.flag]
        if self.digest is not None:
            return [self.field.flag, self.placeholder]
        return [self.field.flag, shlex.quote(_text(self.field.name, self.value))]

    def argument(self) -> str:
        """Return the keyword argument as Python accepts it."""
        if self.digest is not None:
            return f'{self.field.name}="{self.placeholder}"'
        value = tuple(self.value) if isinstance(self.value, list) else self.value
        text = _quoted(value) if isinstance(value, str) else repr(value)
        return f"{self.field.name}={text}"


def settings_of(report: Mapping[str, Any]) -> Settings:
    """Return how the image of a certificate's file is reproduced.

    Parameters
    ----------
    report
        The file as plain data. Only the names and values of known options and the name of the scan
        are used.
    """
    record = report.get("options")
    record = record if isinstance(record, Mapping) else {}
    read, reconstruction = (record.get(name) for name in ("read", "reconstruction"))
    if not isinstance(read, Mapping) or not isinstance(reconstruction, Mapping):
        return Settings(why_not="The image was made from arrays in Python, not from a file.")
    if "operator" in record:
        return Settings(why_not="The image was made with an encoding operator given in Python.")
    if read.keys() & {"simulation", "kspace_of_image"} or not read:
        return Settings(
            why_not="The image was made from k-space that was not in a file: it was computed from "
            "an image, or given as an array."
        )
    chosen = [*_changed(ReadOptions.fields(), read, is_read=True)]
    network = reconstruction.get("network")
    flat = {**reconstruction, **(network if isinstance(network, Mapping) else {})}
    if read.get("maps_file") is not None:
        # The maps of the file replace these.
        flat.pop("maps", None)
    chosen += _changed(ReconstructionOptions.fields(), flat, is_read=False)
    arrays = [one for one in chosen if isinstance(one.value, Mapping) and not _is_file(one.value)]
    if arrays:
        names = ", ".join(one.field.name for one in arrays)
        return Settings(why_not=f"The image was made with an array given in Python: {names}.")
    device = report.get("device")
    return _typed(_name(report), chosen, str(device) if device not in (None, "cpu") else "")


def _typed(name: str, chosen: Sequence[_Chosen], device: str) -> Settings:
    scan = f"./{name}" if name.startswith("-") else name
    words = ["firenet", "recon", shlex.quote(scan), "-o", "image.nii.gz"]
    words += [word for one in chosen for word in one.words()]
    words += ["--device", shlex.quote(device)] if device else []
    reading = [one.argument() for one in chosen if one.is_read and one.field.name != "maps_file"]
    making = [one.argument() for one in chosen if not one.is_read]
    lines = ["import firenet_mri"]
    if any(one.field.name == "maps_file" for one in chosen):
        lines.append("from firenet_mri.io import read_maps")
        making.append('maps=read_maps(Path("MAPS_FILE"))')
        lines.insert(0, "from pathlib import Path\n")
    making += [f"device={device!r}"] if device else []
    lines += [
        "",
        f"scan = firenet_mri.read({', '.join([_quoted(scan), *reading])})",
        f"result = firenet_mri.reconstruct({', '.join(['scan', *making])})",
        'result.save("image.nii.gz")',
    ]
    files = tuple(
        f"{one.placeholder} is the file with the SHA-256 {one.digest}."
        for one in chosen
        if one.digest is not None
    )
    return Settings(" ".join(words), "\n".join(lines), files)


def _changed(
    fields: Sequence[Field], values: Mapping[str, Any], *, is_read: bool
) -> Iterator[_Chosen]:
    """Yield the options that differ from their defaults, in the order of their class."""
    for field in fields:
        value = values.get(field.name, field.default)
        if value != field.default and not (field.is_flag and not value):
            yield _Chosen(field, value, is_read)


def _is_file(value: Mapping[str, Any]) -> bool:
    return "sha256_of_file" in value


def _text(name: str, value: Any) -> str:
    """Return a value as text for the command line."""
    if isinstance(value, list | tuple):
        return ("x" if name == "matrix_size" else ",").join(str(one) for one in value)
    # A share of the coils' energy; a whole number counts coils.
    if name == "coils" and isinstance(value, float):
        return f"{100 * value:.12g}%"
    return str(value)


def _name(report: Mapping[str, Any]) -> str:
    scan = report.get("scan")
    name = scan.get("name") if isinstance(scan, Mapping) else None
    # Characters that a terminal would interpret as commands must not be copied into one.
    return str(name) if name and str(name).isprintable() else "SCAN"


def _quoted(text: str) -> str:
    """Return a Python string literal with double quotes, as in the house style."""
    single = repr(text)
    return f'"{single[1:-1]}"' if single.startswith("'") and '"' not in single else single
