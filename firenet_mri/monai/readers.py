"""MONAI ``ImageReader``s of k-space and of complex images.

Where ``read`` of the given reader fails, ``LoadImage`` silently tries MONAI's own readers. Here
``read`` therefore only passes the path on, and ``get_data`` does the work: errors reach the user.
Give ``LoadImage`` ``dtype=numpy.complex64``; its default drops imaginary parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from firenet_mri.domain import DOMAIN, IMAGE
from firenet_mri.errors import FileError, UsageError
from firenet_mri.io.image.complex_dicom import read_complex_dicom, read_dicom_image
from firenet_mri.io.image.complex_image import ComplexImage
from firenet_mri.io.image.complex_nifti import read_complex_nifti
from firenet_mri.io.image.options import ImageReadOptions
from firenet_mri.io.kspace.bart import find_pair
from firenet_mri.io.kspace.fastmri import is_fastmri, read_targets
from firenet_mri.io.kspace.ismrmrd_stream import is_stream
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.reading import read_with
from firenet_mri.io.kspace.recognise import HDF5_SIGNATURE, read_head
from firenet_mri.monai.scans import WITHOUT_A_PLACE, metadata_of
from firenet_mri.options import Options, takes_options
from firenet_mri.plurals import counted

Paths = Sequence[PathLike] | PathLike


class KspaceReader(ImageReader):
    """What readers of k-space share: the options of reading.

    Parameters
    ----------
    **options
        The fields of :class:`firenet_mri.ReadOptions` except ``maps_file``. ``LoadImage`` passes
        them on: ``LoadImaged(keys, reader=MRDReader, dtype=numpy.complex64, encoding=1)``.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.
    """

    #: What ``**options`` are, and which of them mean nothing here.
    OPTIONS: ClassVar[type[Options]] = ReadOptions
    REFUSED: ClassVar[tuple[str, ...]] = WITHOUT_A_PLACE

    @takes_options(ReadOptions, without=REFUSED)
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = ReadOptions.from_mapping(options, without=self.REFUSED)

    def read(self, data: Paths, **kwargs: Any) -> Path:
        """Return the path; see the module for why."""
        return _one(data)

    def _kspace(self, path: Path) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        scan = read_with(path, self.options)
        # Tensors, as all metadata here: MONAI's caches on disk do not give NumPy arrays back.
        mask = scan.mask.unsqueeze(-1).contiguous()
        return scan.kspace.numpy(), {**metadata_of(scan), "mask": mask}


class MRDReader(KspaceReader):
    """Reads ISMRMRD / MRD 1.x files: (*slices, coil, *spatial) complex64.

    Along a trajectory (*slices, coil, *samples). The metadata are those of
    :mod:`firenet_mri.monai.scans`, and under "mask" which samples were measured, (*slices or 1, 1,
    *spatial, 1) bool. Options are those of :class:`KspaceReader`.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is one HDF5 file and not a fastMRI file, or an MRD stream."""
        path = _only(filename)
        if path is None:
            return False
        return not is_fastmri(path) if _is_hdf5(path) else _is_stream(path)

    def get_data(self, path: Path) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        """Return k-space and metadata.

        Raises
        ------
        FileError, DataError
            As :func:`firenet_mri.read`.
        """
        if is_fastmri(path):
            raise FileError(f"{path}: is a fastMRI file; use FastMRIKspaceReader")
        return self._kspace(path)


class FastMRIKspaceReader(KspaceReader):
    """Reads fastMRI files and replaces MONAI's ``FastMRIReader``.

    k-space is (slice, coil, readout, phase) complex64 without readout oversampling. The metadata
    are those of :mod:`firenet_mri.monai.scans`, with voxel sizes from the file's header, and

    mask
        (slice, 1, readout, phase, 1) bool: what was measured, from the file's mask and the samples.
    reconstruction_rss, reconstruction_esc
        The file's targets (slice, y, x) float32, where there are any.
    acquisition, max, norm
        The file's attributes; the patient's number is omitted.

    Options are those of :class:`KspaceReader`; they select slices of the targets, too.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is one fastMRI file."""
        path = _only(filename)
        return path is not None and is_fastmri(path)

    def get_data(self, path: Path) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        """Return k-space and metadata.

        Raises
        ------
        FileError, DataError
            If it is not a fastMRI file, or is damaged.
        """
        if not is_fastmri(path):
            # The reader of all formats says what else it is, or that it is missing.
            scan = read_with(path, ReadOptions())
            raise FileError(
                f"{path}: is a raw scan ({counted(scan.coils, 'coil')}), but not a fastMRI file"
            )
        kspace, meta = self._kspace(path)
        targets = read_targets(path)
        chosen = self.options.slices
        if self.options.fft_sign == -1 and any(np.ndim(value) for value in targets.values()):
            raise UsageError(
                f"{path}: fft_sign=-1 turns the image about its centre, and the file's targets "
                "show it as it was; leave it out"
            )
        if chosen is not None:
            rows = sorted(set(chosen))
            targets = {n: v[rows] if isinstance(v, np.ndarray) else v for n, v in targets.items()}
        tensors = {
            name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in targets.items()
        }
        return kspace, {**meta, **tensors}


class CflReader(KspaceReader):
    """Reads BART's .cfl with .hdr: (*slices, coil, *spatial) complex64.

    With a ``trajectory`` (coil, *samples). The metadata are those of
    :mod:`firenet_mri.monai.scans`; the format has no geometry. Options are those of
    :class:`KspaceReader`.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is one .cfl file with its .hdr."""
        path = _only(filename)
        return path is not None and find_pair(path) is not None

    def get_data(self, path: Path) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        """Return k-space and metadata.

        Raises
        ------
        FileError, DataError
            If it is not a pair of .cfl and .hdr, or is damaged.
        """
        if find_pair(path) is None:
            raise FileError(f"{path}: is not a .cfl file with its .hdr; give one of the two")
        return self._kspace(path)


class ComplexNiftiReader(ImageReader):
    """Reads complex NIfTI images, (x, y, z) complex64 in RAS mm.

    Parameters
    ----------
    phase_scale
        See :func:`firenet_mri.io.image.complex_nifti.read_complex_nifti`.
    """

    def __init__(self, phase_scale: float | None = None) -> None:
        super().__init__()
        self.phase_scale = phase_scale

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is one .nii or .nii.gz file."""
        path = _only(filename)
        return path is not None and path.name.endswith((".nii", ".nii.gz"))

    def read(self, data: Paths, **kwargs: Any) -> Path:
        """Return the path; see the module for why."""
        return _one(data)

    def get_data(self, path: Path) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        """Return the image and its metadata.

        Raises
        ------
        FileError, DataError
            As :func:`firenet_mri.io.image.complex_nifti.read_complex_nifti`.
        """
        return _image(read_complex_nifti(path, phase_scale=self.phase_scale))


class ComplexDicomReader(ImageReader):
    """Reads complex DICOM series, (x, y, z) complex64 in RAS mm.

    Parameters
    ----------
    phase_scale
        See :func:`firenet_mri.io.image.complex_dicom.read_complex_dicom`.
    magnitude
        Also read a series that holds magnitudes only, with a phase of zero; False refuses it, so
        that a missing phase is not taken for zero.
    **options
        The fields of :class:`firenet_mri.io.image.options.ImageReadOptions` that choose among
        several images: series, echo, repetition.

    Raises
    ------
    UsageError
        If an option is unknown or out of its range.
    """

    #: What ``**options`` are.
    OPTIONS: ClassVar[type[Options]] = ImageReadOptions

    @takes_options(ImageReadOptions)
    def __init__(
        self, phase_scale: float | None = None, *, magnitude: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.magnitude = magnitude
        self.options = ImageReadOptions.from_mapping({"phase_scale": phase_scale, **options})

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is a folder, a DICOMDIR, or files that end in .dcm."""
        paths = [Path(str(one)) for one in ensure_tuple(filename)]
        return all(
            path.is_dir() or path.suffix.lower() == ".dcm" or path.name.upper() == "DICOMDIR"
            for path in paths
        )

    def read(self, data: Paths, **kwargs: Any) -> list[Path]:
        """Return the paths; see the module for why."""
        return [Path(str(one)) for one in ensure_tuple(data)]

    def get_data(self, paths: list[Path]) -> tuple[NDArray[np.complex64], dict[str, Any]]:
        """Return the image and its metadata.

        Raises
        ------
        FileError, DataError
            As :func:`firenet_mri.io.image.complex_dicom.read_complex_dicom`.
        """
        source = paths[0] if len(paths) == 1 else paths
        read = read_dicom_image if self.magnitude else read_complex_dicom
        return _image(read(source, options=self.options))


def _only(filename: Paths) -> Path | None:
    """Return the path if it is one."""
    paths = ensure_tuple(filename)
    return Path(str(paths[0])) if len(paths) == 1 else None


def _one(filename: Paths) -> Path:
    path = _only(filename)
    if path is None:
        raise FileError(f"{len(ensure_tuple(filename))} files were given for one scan; give one")
    return path


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    except OSError:
        return False


def _is_stream(path: Path) -> bool:
    try:
        return is_stream(read_head(path))
    except FileError:
        return False


def _image(image: ComplexImage) -> tuple[NDArray[np.complex64], dict[str, Any]]:
    return np.ascontiguousarray(image.image), {
        "affine": image.affine_ras,
        "original_affine": image.affine_ras.copy(),
        "space": "RAS",
        DOMAIN: IMAGE,
        "spatial_shape": torch.tensor(image.image.shape[:3]),
        "original_channel_dim": float("nan") if image.image.ndim == 3 else image.image.ndim - 1,
    }
