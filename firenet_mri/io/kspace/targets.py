"""Formats in which scans are written, and the names of their files; no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

from firenet_mri.errors import UsageError

#: ISMRMRD / MRD 1.x, fastMRI's HDF5, BART's pair of files, and a NumPy array.
Target = Literal["mrd", "fastmri", "bart", "npy"]
#: Formats of images.
ImageTarget = Literal["nifti", "dicom", "bids"]
#: Suffixes of films, which are recognised by name only.
_FILMS = (".gif", ".mp4")
AnyTarget = Literal["mrd", "fastmri", "bart", "npy", "nifti", "dicom", "bids"]

_SUFFIXES: dict[Target, tuple[str, ...]] = {
    "mrd": (".h5", ".mrd"),
    "fastmri": (".h5",),
    "bart": (".cfl",),
    "npy": (".npy",),
}
# Formats by suffix: .h5 means ISMRMRD unless fastMRI is requested.
_BY_SUFFIX: dict[str, Target] = {".h5": "mrd", ".mrd": "mrd", ".cfl": "bart", ".npy": "npy"}


def is_film(output: Path, to: AnyTarget | None = None) -> bool:
    """Return whether a name is that of a film, and no other format was requested."""
    return to is None and output.suffix in _FILMS


def image_target_of(output: Path, to: AnyTarget | None = None) -> ImageTarget | None:
    """Return the requested image format, or else the one that a name implies; None for scans.

    Raises
    ------
    UsageError
        If the name does not have a suffix of that format.
    """
    is_nifti = output.name.endswith((".nii", ".nii.gz"))
    if to is None:
        if is_nifti:
            return "nifti"
        return "dicom" if output.suffix == ".dcm" else None
    if to not in get_args(ImageTarget):
        return None
    if to == "nifti" and not is_nifti:
        raise UsageError(
            f"{output}: nifti images are written as .nii.gz or .nii; give a name with that ending"
        )
    return cast(ImageTarget, to)


def target_of(output: Path, to: AnyTarget | None = None) -> Target:
    """Return the requested format of a file, or else the one that its name implies.

    Raises
    ------
    UsageError
        If the name does not have a suffix of that format, or the format is unknown.
    """
    if to is None:
        if output.suffix not in _BY_SUFFIX:
            raise UsageError(
                f"{output}: scans are written as {', '.join(_BY_SUFFIX)}; give a name with that "
                "ending"
            )
        return _BY_SUFFIX[output.suffix]
    if to in get_args(ImageTarget):
        raise UsageError(
            f"{to}: is a format of images, not of scans; use firenet recon to make an image from a "
            "scan"
        )
    if to not in _SUFFIXES:
        raise UsageError(f"Unknown format {to!r}; use one of {', '.join(get_args(Target))}")
    if output.suffix not in _SUFFIXES[to]:
        endings = " or ".join(_SUFFIXES[to])
        raise UsageError(
            f"{output}: {to} scans are written as {endings}; give a name with that ending"
        )
    return to


def suffix_of(target: AnyTarget) -> str:
    """Return the suffix of the files of a format of scans, such as ".h5".

    Raises
    ------
    UsageError
        If the format is one of images.
    """
    if target not in _SUFFIXES:
        raise UsageError(
            f"{target}: is a format of images; MRD images are converted file by file, not as a "
            "folder"
        )
    return _SUFFIXES[target][0]


def files_of(output: Path) -> list[Path]:
    """Return all files that belong to a name: a .cfl file has a separate header."""
    return [output, output.with_suffix(".hdr")] if output.suffix == ".cfl" else [output]


def beside(output: Path, what: Literal["noise", "trajectory"]) -> Path:
    """Return the file beside a scan that holds its noise measurement or trajectory."""
    return output.with_name(f"{output.stem}_{what}{output.suffix}")
