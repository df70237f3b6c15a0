"""fastMRI files: HDF5 with k-space of all slices and an ISMRMRD header, which gives sizes in mm.

The first axis of a slice is the oversampled readout, the second the phase encoding. The header
gives sizes, but neither position nor orientation, so the image gets voxel sizes only. Patient,
study and the rest of the header are removed before it is parsed.

Knoll et al., Radiology: Artificial Intelligence 2(1) e190007, 2020.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError, ShapeError
from firenet_mri.geometry import Geometry
from firenet_mri.io.hdf5 import open_hdf5, read_whole
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.memory import refuse_shortage

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.scan import RawScan


def is_fastmri(path: Path) -> bool:
    """Return whether an HDF5 file holds k-space as in fastMRI; False if it cannot be opened."""
    import h5py

    try:
        with open_hdf5(path) as file:
            return isinstance(file.get("kspace"), h5py.Dataset)
    except (OSError, RuntimeError, KeyError):
        return False


def read(path: Path) -> RawScan:
    """Return the scan in a fastMRI file: k-space (slice, coil, readout, phase).

    Readout oversampling is removed where the header gives both fields of view. Samples that are
    zero in all coils were not measured; a mask in the file, (phase) or (1, ..., phase), removes
    further samples. Single-coil files, (slice, readout, phase), have one coil.

    Raises
    ------
    FileError
        If the file is truncated or damaged.
    ShapeError
        If k-space or the mask has other axes.
    DataError
        If k-space is zero everywhere or has NaN.
    """
    import torch

    from firenet_mri.scan import RawScan, sampled_mask

    try:
        with open_hdf5(path) as file:
            raw: NDArray[np.generic] = read_whole(file["kspace"], path)
            mask, xml = (
                read_whole(file[name], path) if name in file else None
                for name in ("mask", "ismrmrd_header")
            )
    except FileError:
        raise
    # Damaged files raise exceptions of many kinds.
    except Exception as error:
        refuse_shortage(path, error)
        raise FileError(
            f"{path}: the fastMRI file is truncated or damaged; copy it again"
        ) from None
    if raw.dtype.kind != "c" or raw.ndim not in (3, 4) or min(raw.shape) < 1:
        raise ShapeError(
            f"{path}: kspace is {raw.dtype} of shape {raw.shape}; it must be complex, (slice, "
            "coil, readout, phase), or (slice, readout, phase) for a single coil"
        )
    kspace = torch.from_numpy(raw.astype(np.complex64).reshape(len(raw), -1, *raw.shape[-2:]))
    sampled = sampled_mask(kspace, 2)
    if mask is not None:
        sampled = sampled & _lines(mask, raw.shape[-1], path)
    encoding, simulated = None, False
    if xml is not None:
        data = xml if isinstance(xml, bytes) else str(xml).encode()
        header = parse_header(data, str(path))
        encoding, simulated = header.encoding[0], _says_simulated(header)
    kspace = kspace * sampled
    geometry = None
    if encoding is not None:
        kspace, sampled, geometry = _sized(kspace, sampled, encoding)
    return RawScan(kspace, sampled, 2, geometry=geometry, name=path.name, simulated=simulated)


def _says_simulated(header: Any) -> bool:
    """Return whether the header names no vendor: the scan was computed from an image."""
    vendor = getattr(header.acquisitionSystemInformation, "systemVendor", None) or ""
    return vendor.lower().startswith("simulated")


def _lines(mask: NDArray[np.generic], columns: int, path: Path) -> Tensor:
    """Return the file's mask, (phase) bool."""
    if mask.size != columns:
        raise ShapeError(
            f"{path}: the mask has shape {mask.shape}, and k-space has {columns} phase-encoding "
            "lines; give one value for each line"
        )
    import torch

    return torch.from_numpy(mask.reshape(-1) != 0)


def _sized(kspace: Tensor, mask: Tensor, encoding: Any) -> tuple[Tensor, Tensor, Geometry | None]:
    """Return k-space without oversampling, its mask, and the geometry as far as it is known."""
    from firenet_mri.operators.centred import centred_fft, centred_ifft
    from firenet_mri.scan import readouts_are_whole

    encoded = encoding.encodedSpace.fieldOfView_mm
    wanted = encoding.reconSpace.fieldOfView_mm
    slices, _, rows, _ = kspace.shape
    fits = encoding.encodedSpace.matrixSize.x == rows and 0 < wanted.x < encoded.x
    kept = round(rows * wanted.x / encoded.x) if fits else rows
    if kept < rows and readouts_are_whole(mask, -2):
        start = rows // 2 - kept // 2
        image = centred_ifft(kspace, [-2])[..., start : start + kept, :]
        kspace = centred_fft(image, [-2])
        mask = mask[..., :kept, :].contiguous()
    if min(encoded.x, encoded.y, wanted.z) <= 0:
        return kspace, mask, None
    readout = encoded.x * kspace.shape[-2] / rows
    first = -(slices // 2)
    positions = tuple((0.0, 0.0, float(wanted.z) * (first + i)) for i in range(slices))
    field_of_view = (float(wanted.z), float(readout), float(encoded.y))
    return kspace, mask, Geometry(field_of_view, positions, is_placed=False)


def read_targets(path: Path) -> dict[str, Any]:
    """Return the target images (slice, y, x) float32 and the attributes of a fastMRI file.

    Only the attributes "acquisition", "max" and "norm" are read; none is about the patient.
    """
    found: dict[str, Any] = {}
    with open_hdf5(path) as file:
        for name in ("reconstruction_rss", "reconstruction_esc"):
            if name in file:
                found[name] = read_whole(file[name], path).astype(np.float32)
        if "acquisition" in file.attrs:
            found["acquisition"] = str(file.attrs["acquisition"])
        for name in ("max", "norm"):
            if name in file.attrs:
                found[name] = float(file.attrs[name])
    return found
