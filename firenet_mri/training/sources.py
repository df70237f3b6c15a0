"""The files that a network is trained on: scans and images, and how they are found and read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from firenet_mri.calibration.methods import MapMethod
from firenet_mri.digests import digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, FileError
from firenet_mri.io.image.grey import is_grey, read_grey
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.kspace import bruker, npy
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, is_dicom, read_head
from firenet_mri.training.scan_cases import MeasuredSlice, measured_slices

_SMALLEST_PIXELS = 16
# Slices of a volume darker than this share of its brightest show nothing.
_DARK_SLICE = 0.1


@dataclass(frozen=True, eq=False)
class Source:
    """A file, or a DICOM series: slices of a scan, or pictures to simulate scans from.

    Parameters
    ----------
    kind
        "scan" or "image".
    sha256
        Of the file; of a folder, of the digests of its files.
    items
        Measured slices, or magnitudes (y, x) in [0, 1].
    simulated
        Whether the file itself says that it is a simulated scan.
    """

    kind: str
    sha256: str
    items: tuple[MeasuredSlice, ...] | tuple[Tensor, ...]
    simulated: bool = False

    def digests(self) -> list[str]:
        """Return the digest of every slice or picture."""
        return [
            digest_of_tensor(one.images if isinstance(one, MeasuredSlice) else one)
            for one in self.items
        ]


def measured(sources: Iterable[Source]) -> list[MeasuredSlice]:
    """Return all slices of scans."""
    return [one for source in sources for one in source.items if isinstance(one, MeasuredSlice)]


def pictures_of(sources: Iterable[Source]) -> list[Tensor]:
    """Return all pictures."""
    return [one for source in sources for one in source.items if isinstance(one, Tensor)]


def read_scan_source(path: Path, reading: ReadOptions, maps: MapMethod) -> Source:
    """Return the slices of a fully sampled scan."""
    scan = read_with(path, reading)
    items = tuple(measured_slices(scan, maps))
    return Source("scan", _digest_of_path(path), items, scan.simulated)


def read_image_source(path: Path) -> Source:
    """Return the slices of an image that show something, as magnitudes.

    Raises
    ------
    FileError, DataError
        If the file is not an image, or its slices are too small to train on.
    """
    if path.is_file() and is_grey(path):
        pictures = [read_grey(path)]
    else:
        volume = read_image(path)[0].abs()
        brightest = volume.amax()
        pictures = [
            one / brightest for one in volume if float(one.amax()) > _DARK_SLICE * float(brightest)
        ]
    for one in pictures:
        if min(one.shape) < _SMALLEST_PIXELS:
            raise DataError(
                f"{path}: the image has {tuple(one.shape)} pixels; training needs at least "
                f"{_SMALLEST_PIXELS} along each axis"
            )
    return Source("image", _digest_of_path(path), tuple(pictures))


def images_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the images that files and folders name; a folder of DICOM files is one image."""
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = list(_images_below(path))
        if not found:
            raise FileError(f"{path}: holds no image; give NIfTI, DICOM, PNG, JPEG or .npy files")
        yield from found


def _images_below(folder: Path) -> Iterator[Path]:
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    has_dicom = any(_is_dicom(path) for path in files)
    if has_dicom:
        yield folder
    for path in files:
        if path.is_dir():
            yield from _images_below(path)
        elif not _is_dicom(path) and _is_image(path):
            yield path


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.stat().st_size == 0 or path.name.upper() == "DICOMDIR":
        return False
    return is_dicom(read_head(path))


def _is_image(path: Path) -> bool:
    """Return whether a file in a folder is an image; others are left out."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    head = read_head(path)
    return (
        is_grey(path) or path.name.endswith((".nii", ".nii.gz")) or head.startswith(NPY_SIGNATURE)
    )


def validation_files(paths: Sequence[Path], *, has_scans: bool) -> list[tuple[str, Path]]:
    """Return the files of the validation with their kind."""
    found: list[tuple[str, Path]] = []
    for path in paths:
        below = list(_images_below(path)) if path.is_dir() else []
        if below:
            found += [("image", one) for one in below]
        elif path.is_dir() and bruker.find_experiment(path) is None:
            raise FileError(f"{path}: holds no image; give a folder of images, or scans one by one")
        elif path.is_file() and (_is_dicom(path) or _is_image(path)):
            found.append(("scan" if has_scans and _is_kspace(path) else "image", path))
        else:
            found.append(("scan", path))
    return found


def _is_kspace(path: Path) -> bool:
    """Return whether a NumPy file holds complex coil data."""
    if not read_head(path).startswith(NPY_SIGNATURE):
        return False
    array = npy.read_array(path)
    return array.dtype.kind == "c" and array.ndim > 2


def _digest_of_path(path: Path) -> str:
    """Return the SHA-256 of a file; of a folder, or a pair of files, of the digests of all."""
    if path.is_file():
        return digest_of_file(path)
    files = sorted(path.rglob("*")) if path.is_dir() else sorted(path.parent.glob(f"{path.name}.*"))
    return digest_of_data([digest_of_file(file) for file in files if file.is_file()])
