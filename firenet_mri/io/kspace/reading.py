"""Reads a raw scan of any supported format: ``read(path)`` returns a ``RawScan``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from firenet_mri.arrays import tensor_of_array
from firenet_mri.domain import check_is_kspace
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.geometry import Geometry
from firenet_mri.io.kspace import (
    bart,
    bruker,
    fastmri,
    ge,
    noncartesian,
    npy,
    philips,
)
from firenet_mri.io.kspace.folders import name_by_digest
from firenet_mri.io.kspace.formats import (
    SCANNERS,
    Format,
    read_phase_correction,
    read_readouts,
    recognise,
)
from firenet_mri.io.kspace.gaps import check_gaps
from firenet_mri.io.kspace.ismrmrd import assemble, geometry_of_slices
from firenet_mri.io.kspace.ismrmrd_contradictions import say_uncounted
from firenet_mri.io.kspace.ismrmrd_references import as_imaging
from firenet_mri.io.kspace.maps import read_noise
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.io.kspace.recognise import NPY_SIGNATURE, read_head
from firenet_mri.io.kspace.references import reference_alone, with_reference
from firenet_mri.options import takes_options
from firenet_mri.scan import RawScan, sampled_mask, select, with_reversed_kspace

PathLike = str | os.PathLike[str]
_READERS: dict[Format, Callable[[Path], RawScan]] = {
    Format.BART: lambda path: bart.read(bart.find_pair(path) or path),
    Format.BRUKER: lambda path: bruker.read(bruker.find_experiment(path) or path),
    Format.FASTMRI: fastmri.read,
    Format.GE: ge.read,
    Format.NUMPY: npy.read,
    Format.PHILIPS: lambda path: philips.read(philips.find_pair(path) or path),
}
# Plain arrays: their files state neither what they are nor what was sampled.
_WITHOUT_HEADER = (Format.BART, Format.NUMPY)


def read_acquisitions(path: Path) -> tuple[Any, list[Any]]:
    """Return header and readouts of an ISMRMRD or Siemens file in ISMRMRD's form.

    Patient and study are removed from the header.

    Raises
    ------
    FileError
        If the file is of another format, truncated or damaged.
    """
    format_ = recognise(path)
    if format_ not in SCANNERS:
        raise FileError(f"{path}: is a {format_.value}, not an ISMRMRD or Siemens file")
    return read_readouts(path, format_)


@takes_options(ReadOptions)
def read(path: PathLike, **options: Any) -> RawScan:
    """Return the scan in a file.

    Parameters
    ----------
    path
        ISMRMRD / MRD 1.x (HDF5, or a stream), Siemens twix (VB to XA), GE P-file, Philips export
        (.list with .data), Bruker experiment (folder, or its fid), fastMRI (HDF5), BART (.cfl with
        .hdr, with or without the suffix), or NumPy (.npy, complex, (coil, y, x) or (coil, z, y,
        x)). The content decides, not the name.
    **options
        The fields of :class:`ReadOptions`. A mask is an array with the spatial sizes of k-space, or
        a .npy or .cfl file with such an array; samples outside the mask are dropped. Scanner and
        fastMRI files state which samples were measured, so there the mask can only drop samples. In
        BART and NumPy files it replaces the mask derived from the data, in which a sample that is
        zero in all coils was not measured. A trajectory is (*samples, 2 or 3), the last axis in the
        order of the image's axes, or a .cfl file as BART writes trajectories; ISMRMRD files contain
        their own.

    Raises
    ------
    FileError
        If the file is missing, empty, truncated or of another format.
    DataError
        If its content cannot be reconstructed: echo trains without navigators, no samples, NaN, an
        image, ...
    UsageError
        If an option is unknown, out of range, or does not apply to this format.
    """
    return read_with(path, ReadOptions.from_mapping(options))


def read_with(path: PathLike, options: ReadOptions) -> RawScan:
    """Return what :func:`read` returns, with the options as one value."""
    path = Path(path)
    name = name_by_digest(path) if options.name_by_digest else path.name
    scan = _read_file(path, options, name)
    scan = replace(scan, name=name) if options.name_by_digest else scan
    if options.noise_file is not None:
        scan = replace(scan, noise=_noise(options.noise_file))
    if options.calibration_file is not None:
        scan = with_reference(scan, _reference(options.calibration_file, scan, options))
    if options.slices is not None:
        scan = select(scan, slices=options.slices)
        if scan.geometry is None:
            scan = replace(scan, geometry=_place_of_slices(path, scan, options))
    known = options.mask is not None or options.trajectory is not None
    if not known and recognise(path) not in SCANNERS and scan.trajectory is None:
        check_gaps(scan.mask.numpy(force=True), scan.spatial_ndim, scan.name)
    return replace(scan, record=options.to_dict())


def _place_of_slices(path: Path, scan: RawScan, options: ReadOptions) -> Geometry | None:
    """Return where the chosen slices lie, if they form one stack of a file that has several."""
    format_ = Format.NUMPY if options.trajectory is not None else recognise(path)
    if format_ not in SCANNERS or options.slices is None:
        return None
    return geometry_of_slices(
        *read_readouts(path, format_, options.group, options.pulseq_file, name=scan.name),
        slices=sorted(set(options.slices)),
        columns=scan.spatial_shape[-1],
        name=scan.name,
        encoding=options.encoding,
        phase_correction=_phase_correction(options),
    )


def _read_file(path: Path, options: ReadOptions, name: str) -> RawScan:
    """Return the scan in a file, with its mask."""
    if options.trajectory is not None:
        if options.mask is not None:
            raise DataError(f"{path}: a mask and a trajectory were given; give one of them")
        scan = noncartesian.read(path, options.trajectory, options.matrix_size)
        return with_reversed_kspace(scan) if options.fft_sign == -1 else scan
    if options.matrix_size is not None:
        raise DataError(
            f"{path}: a matrix size was given without a trajectory; omit it, or give the "
            "trajectory too"
        )
    format_ = recognise(path)
    scan = _read_format(path, format_, options, name)
    if format_ in _WITHOUT_HEADER:
        check_is_kspace(scan.kspace, scan.spatial_ndim, name=str(path))
    if options.mask is None:
        return scan
    given = _fit_mask(mask_array(options.mask), scan)
    # In plain arrays a sample that is zero may have been measured all the same.
    known = format_ not in _WITHOUT_HEADER
    return _apply_mask(scan, given & scan.mask if known else given)


def _read_format(path: Path, format_: Format, options: ReadOptions, name: str) -> RawScan:
    if format_ in SCANNERS:
        header, acquisitions = read_readouts(
            path, format_, options.group, options.pulseq_file, name=name
        )
        if options.encoding is None and options.repetitions is None:
            say_uncounted(header, acquisitions, name)
        return assemble(
            header,
            acquisitions,
            name=name,
            encoding=options.encoding,
            repetitions=options.repetitions,
            fft_sign=options.fft_sign,
            # In a separate calibration file the encoding is chosen there.
            calibration_encoding=(
                options.calibration_encoding if options.calibration_file is None else None
            ),
            phase_correction=_phase_correction(options),
        )
    if options.pulseq_file is not None or options.phase_correction_file is not None:
        raise UsageError(
            f"{path}: a {format_.value} has no readouts that a Pulseq sequence or a scan without "
            "phase encoding applies to; omit pulseq_file and phase_correction_file"
        )
    if options.calibration_encoding is not None and options.calibration_file is None:
        raise UsageError(f"{path}: a {format_.value} has no encodings; omit calibration_encoding")
    if any(x is not None for x in (options.encoding, options.repetitions, options.group)):
        raise UsageError(
            f"{path}: a {format_.value} has no encodings, repetitions or groups to choose from"
        )
    scan = _READERS[format_](path)
    return with_reversed_kspace(scan) if options.fft_sign == -1 else scan


def _phase_correction(options: ReadOptions) -> list[Any]:
    """Return the readouts of the scan without phase encoding; an empty list if none was given."""
    path = options.phase_correction_file
    if path is None:
        return []
    format_ = recognise(path)
    if format_ not in SCANNERS:
        raise FileError(
            f"{path}: is a {format_.value}; give a file with readouts (ISMRMRD or Siemens raw data)"
        )
    name = name_by_digest(path) if options.name_by_digest else path.name
    return read_phase_correction(path, format_, options.pulseq_file, name=name)


def _reference(source: Path | Tensor, scan: RawScan, options: ReadOptions) -> RawScan:
    """Return the other scan from which the maps of a scan are made."""
    encoding = options.calibration_encoding
    if not isinstance(source, Path):
        array = source if isinstance(source, Tensor) else tensor_of_array(source, "calibration")
        kspace, ndim = array.to(torch.complex64), scan.spatial_ndim
        return RawScan(kspace, sampled_mask(kspace, ndim), ndim, name="The calibration array")
    format_ = recognise(source)
    if format_ not in SCANNERS:
        return _read_format(source, format_, ReadOptions(fft_sign=options.fft_sign), source.name)
    header, acquisitions = read_readouts(source, format_)
    found = assemble(
        header,
        as_imaging(acquisitions, encoding),
        name=source.name,
        encoding=encoding,
        fft_sign=options.fft_sign,
    )
    return found if found.reference is None else reference_alone(found)


def _noise(source: Path | Tensor) -> Tensor:
    """Return a noise measurement, (coil, samples) complex64."""
    if isinstance(source, Path):
        return read_noise(source)
    noise = source if isinstance(source, Tensor) else tensor_of_array(source, "the noise")
    return noise.to(torch.complex64)


def mask_array(mask: PathLike | NDArray[np.generic] | Tensor) -> Tensor:
    """Return a bool tensor, True where the given array is not zero."""
    label = "Mask"
    if isinstance(mask, str | os.PathLike):
        path = Path(mask)
        label = f"{path}: mask"
        cfl = bart.find_pair(path)
        if cfl is not None:
            array: NDArray[np.generic] = bart.read_array(cfl)
        elif read_head(path).startswith(NPY_SIGNATURE):
            array = npy.read_array(path)
        else:
            raise FileError(f"{path}: is not a mask file; give a .npy or .cfl array")
    else:
        array = np.asarray(mask)
    if array.dtype.kind not in "biufc":
        raise DataError(f"{label} is {array.dtype}; it must be bool or numbers")
    if not np.isfinite(array).all():
        raise DataError(
            f"{label} has NaN or infinite values; it must be 1 where sampled and 0 elsewhere"
        )
    return torch.from_numpy(np.ascontiguousarray(array != 0))


def _fit_mask(mask: Tensor, scan: RawScan) -> Tensor:
    """Return the mask as (..., 1, *spatial).

    Additional or missing axes of size 1 do not matter. Otherwise there is one mask for all slices,
    for each slice or for each image, or a mask of lines, in which a spatial axis has size 1.
    """
    ndim = scan.spatial_ndim
    of_images = (len(scan.images), *[1] * (len(scan.batch_shape) - 1), *scan.spatial_shape)
    whole = (*scan.batch_shape, *scan.spatial_shape)
    for shape in (scan.spatial_shape, whole, *[of_images] * bool(scan.images)):
        if _without_ones(mask.shape) == _without_ones(shape):
            return mask.reshape(shape).unsqueeze(-ndim - 1)
    lines = mask.reshape(mask.shape[-ndim:]) if mask.shape[-ndim:].numel() == mask.numel() else mask
    fits = lines.ndim == ndim and all(
        m in (1, n) for m, n in zip(lines.shape, scan.spatial_shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{scan.name}: the mask has shape {tuple(mask.shape)}, but the k-space grid is "
            f"{scan.spatial_shape}; give a mask of that shape"
        )
    return lines.expand(scan.spatial_shape).unsqueeze(0)


def _without_ones(shape: Iterable[int]) -> list[int]:
    return [size for size in shape if size > 1]


def _apply_mask(scan: RawScan, mask: Tensor) -> RawScan:
    """Return the scan with the samples outside the mask set to zero."""
    if not mask.any():
        raise DataError(f"{scan.name}: the mask leaves no sample; mark sampled points with 1")
    # The norms as read apply to all samples, not to the remaining ones.
    return dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask, norms_as_read=None)
