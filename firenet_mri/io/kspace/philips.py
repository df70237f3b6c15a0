"""Philips ``.list``/``.data`` exports: a text index and little-endian complex64 samples.

A readout goes to row ``ky`` and partition ``kz``, counted from the centre of k-space, and its
samples go to the columns of ``kx_range``. If ``kx_range`` or ``X_range`` runs backwards, as it may
for second echoes, the readout was acquired from right to left and its image is mirrored, so it is
reversed about the centre of k-space. The image is the centred inverse Fourier transform, as the
scanner's own image confirmed for the one export that could be compared.

Mixes, dynamics, cardiac phases, echoes and the two extra attributes are separate images, averages
are averaged, and locations are slices. Noise readouts (NOI) are used for whitening; rejected data,
navigators and correction data are left out. The noise is taken as that of an image sample, because
the files do not give its bandwidth. They also give neither pixel size nor position.

No export with a clear licence was available: the tests write their own in this format.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError, ShapeError
from firenet_mri.io.kspace.philips_list import Index, is_index, read_index
from firenet_mri.plurals import by_number, counted

if TYPE_CHECKING:
    from torch import Tensor

    from firenet_mri.scan import RawScan

_log = logging.getLogger(__name__)

_SUFFIXES = (".list", ".data")
# Number of bytes within which an index has a line that is not a comment.
_COMMENTS = 1 << 16
# Counters that tell images apart, and their names.
_IMAGES = {
    "mix": "mix",
    "dyn": "dynamic",
    "card": "cardiac phase",
    "echo": "echo",
    "extr1": "extra attribute 1 value",
    "extr2": "extra attribute 2 value",
}
_FACTORS = ("x-direction sense factor", "y-direction sense factor", "z-direction sense factor")
_LARGEST_SIZE = 1 << 14
_MOST_TIMES = 1000
_ALWAYS_FINE = 1 << 22


def find_pair(path: Path) -> Path | None:
    """Return the .list file of an export, given by that file, its .data file or without suffix."""
    if path.suffix.lower() in _SUFFIXES:
        candidates = [path.with_suffix(suffix) for suffix in (".list", ".LIST")]
    elif path.exists():
        return None
    else:
        candidates = [path.with_name(path.name + suffix) for suffix in (".list", ".LIST")]
    found = next((one for one in candidates if one.is_file()), None)
    if found is None:
        return None
    try:
        with found.open("rb") as file:
            return found if is_index(file.read(_COMMENTS)) else None
    except OSError:
        return None


def read(index_file: Path) -> RawScan:
    """Return the scan of an export: k-space (slice, coil, y, x) or (coil, z, y, x).

    Several images have a leading axis. Readout oversampling is removed if all readouts are
    complete.

    Parameters
    ----------
    index_file
        The .list file; its .data file lies beside it.

    Raises
    ------
    FileError
        If a file is missing, truncated or damaged.
    DataError
        If there are no image readouts, or the scan is echo-planar or SENSE.
    ShapeError
        If the readouts do not form one scan.
    """
    import torch

    from firenet_mri.scan import RawScan

    data, index = _data_file(index_file), read_index(index_file)
    samples = _samples(data, index)
    image = index.of("STD")
    if not len(image.types):
        raise DataError(
            f"{index_file}: has no image readouts (STD), only "
            f"{', '.join(sorted(set(index.types.tolist())))}; export the image data too"
        )
    _check_sequence(image, index_file)
    grid = _Grid.of(image, index_file, len(samples))
    kspace, counts = _placed(image, samples, grid, index_file)
    mask = torch.from_numpy(counts > 0)
    noise = _noise(index.of("NOI"), samples, grid)
    if noise is not None:
        # The mean of n samples has 1/n of the variance.
        noise = noise * np.float32(np.sqrt((1 / counts[counts > 0]).mean()))
    full, mask = _without_oversampling(torch.from_numpy(kspace), mask, grid)
    empty_axis = 1 if grid.is_3d else 3
    full, mask = full.squeeze(empty_axis), mask.squeeze(empty_axis)
    names = grid.names
    _log.info("%s: the files do not give the position of the image", index_file.name)
    return RawScan(
        full if names else full[0],
        mask if names else mask[0],
        3 if grid.is_3d else 2,
        noise=None if noise is None else torch.from_numpy(noise),
        name=index_file.name,
        images=names,
    )


def _data_file(index_file: Path) -> Path:
    for suffix in (".data", ".DATA"):
        data = index_file.with_suffix(suffix)
        if data.is_file():
            return data
    raise FileError(
        f"{index_file}: its samples {index_file.with_suffix('.data').name} are missing; put them "
        "next to the .list file"
    )


def _samples(data: Path, index: Index) -> NDArray[np.complex64]:
    """Return all samples of the .data file, after checking it against the index."""
    stored = data.stat().st_size
    wanted = int((index.column("offset") + index.column("size")).max())
    if wanted > stored:
        there = int((index.column("offset") + index.column("size") <= stored).sum())
        raise FileError(
            f"{data}: the file is truncated: it holds {there} of "
            f"{counted(len(index.types), 'readout')}; copy it again"
        )
    if (index.column("offset") % 8).any():
        raise FileError(f"{data}: readouts begin in the middle of a sample; export the scan again")
    _check_used_once(data, index, stored)
    return np.fromfile(data, np.dtype("<c8"))


def _check_used_once(data: Path, index: Index, stored: int) -> None:
    """Refuse readouts that share samples; log if the index does not cover the file."""
    order = np.argsort(index.column("offset"), kind="stable")
    starts, sizes = (index.column(name)[order] for name in ("offset", "size"))
    overlaps = int((starts[1:] < (starts + sizes)[:-1]).sum())
    if overlaps:
        raise FileError(
            f"{data}: {counted(overlaps, 'readout')} of the index "
            f"{by_number(overlaps, 'shares', 'share')} samples with another one; the index is "
            "damaged, export the scan again"
        )
    unused = stored - int(sizes.sum())
    if unused:
        _log.warning(
            "%s: the index names no readout for %d of its %d bytes; lines of it may be missing",
            data.name,
            unused,
            stored,
        )


def _check_sequence(image: Index, index_file: Path) -> None:
    """Refuse known kinds of scans that would give a wrong image."""
    for mix, echo in _pairs(image):
        mine = (image.column("mix") == mix) & (image.column("echo") == echo)
        if len(set(image.column("sign")[mine].tolist())) > 1:
            raise DataError(
                f"{index_file}: readouts of echo {echo} run in both directions (EPI), and the "
                "image would ghost; correct and regrid the scan first"
            )
        for name in _FACTORS:
            factor = next(iter(image.numbers(name, mix, echo)), 1.0)
            if factor > 1 + 1e-3:
                raise DataError(
                    f"{index_file}: has {name} {factor:g}; the places of lines in such exports are "
                    "unverified, so convert it to ISMRMRD first"
                )


def _pairs(index: Index) -> list[tuple[int, int]]:
    """Return the pairs of mix and echo that occur."""
    found = zip(index.column("mix").tolist(), index.column("echo").tolist(), strict=True)
    return sorted(set(found))


@dataclass(frozen=True, eq=False)
class _Grid:
    """Sizes (z, y, x), coils, slices and images of k-space."""

    nz: int
    ny: int
    nx: int
    coils: tuple[int, ...]
    slices: tuple[int, ...]
    images: tuple[tuple[int, ...], ...]
    oversampling: float

    @property
    def is_3d(self) -> bool:
        return self.nz > 1

    @property
    def names(self) -> tuple[str, ...]:
        """Names that tell the images apart; none for a single image."""
        labels = list(_IMAGES.values())
        varying = [i for i in range(len(labels)) if len({image[i] for image in self.images}) > 1]
        if not varying:
            return ()
        return tuple(", ".join(f"{labels[i]} {image[i]}" for i in varying) for image in self.images)

    @staticmethod
    def of(image: Index, index_file: Path, samples: int) -> _Grid:
        """Return the grid that the image readouts need."""
        nx = max(_columns_of(image, *pair, index_file) for pair in _pairs(image))
        ky, kz = _stated_or_found(image, "ky"), _stated_or_found(image, "kz")
        coils, slices = (tuple(sorted(set(image.column(n).tolist()))) for n in ("chan", "loca"))
        factors = {
            next(iter(image.numbers("kx_oversample_factor", *pair)), 1.0) for pair in _pairs(image)
        }
        images = tuple(sorted(set(_image_keys(image))))
        grid = _Grid(_size(*kz), _size(*ky), nx, coils, slices, images, min(factors))
        sizes = (grid.nz, grid.ny, grid.nx)
        points = len(images) * len(slices) * len(coils) * int(np.prod(sizes, dtype=np.int64))
        if max(sizes) > _LARGEST_SIZE or points > max(_ALWAYS_FINE, _MOST_TIMES * samples):
            raise DataError(
                f"{index_file}: has a matrix of {grid.nx} x {grid.ny} x {grid.nz} for {samples} "
                "samples; the index is damaged, export the scan again"
            )
        if grid.is_3d and len(slices) > 1:
            raise DataError(
                f"{index_file}: has {len(slices)} slabs of 3D encoding; export them one by one"
            )
        return grid


def _size(low: int, high: int) -> int:
    """Return the smallest size N whose indices, from -(N//2), cover a range around 0."""
    return max(1, -2 * low, 2 * high + 1)


def _stated_or_found(image: Index, step: str) -> tuple[int, int]:
    """Return the range of ky or kz that the lines cover or, if wider, the index states.

    All lines of a scan with one partition have the same kz, whatever its value.
    """
    low, high = int(image.column(step).min()), int(image.column(step).max())
    if step == "kz" and low == high:
        return 0, 0
    if low == 0 < high:
        _log.warning(
            "%s runs from 0 to %d: this is one half of k-space, unless lines are counted from its "
            "edge",
            step,
            high,
        )
    for pair in _pairs(image):
        stated = image.numbers(f"{step}_range", *pair)
        if len(stated) == 2:
            low, high = min(low, int(min(stated))), max(high, int(max(stated)))
    return low, high


def _columns_of(image: Index, mix: int, echo: int, index_file: Path) -> int:
    """Return how many columns the stated range of an echo needs, mirrored or not."""
    kx = _kx_of(image, mix, echo, index_file)
    low, high = int(kx.min()), int(kx.max())
    stated = image.numbers("kx_range", mix, echo)
    return _size(low, high) if not stated or min(stated) == low else _size(-high, -low)


def _kx_of(image: Index, mix: int, echo: int, index_file: Path) -> NDArray[np.int64]:
    """Return the positions of the samples of an echo's readouts, in the order of storage.

    If the image runs backwards, each position is the negative of the stated one.
    """
    mine = (image.column("mix") == mix) & (image.column("echo") == echo)
    counts = set((image.column("size")[mine] // 8).tolist())
    if len(counts) > 1:
        raise ShapeError(
            f"{index_file}: readouts of echo {echo} have {sorted(counts)} samples; all must have "
            "the same number"
        )
    count = counts.pop()
    stated = image.numbers("kx_range", mix, echo) or (-(count // 2), count - count // 2 - 1)
    first, last = int(stated[0]), int(stated[-1])
    if abs(last - first) + 1 != count:
        raise ShapeError(
            f"{index_file}: kx_range of echo {echo} is {first} to {last}, but its readouts have "
            f"{counted(count, 'sample')}; export the scan again"
        )
    shown = image.numbers("X_range", mix, echo)
    is_mirrored = len(shown) == 2 and shown[0] > shown[1] and first < last
    kx = np.linspace(first, last, count).round().astype(np.int64)
    return -kx if is_mirrored else kx


def _image_keys(image: Index) -> list[tuple[int, ...]]:
    columns = (image.column(name).tolist() for name in _IMAGES)
    return list(zip(*columns, strict=True))


def _placed(
    image: Index, samples: NDArray[np.complex64], grid: _Grid, index_file: Path
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return averaged k-space (image, slice, coil, z, y, x), and the count of each point."""
    shape = (len(grid.images), len(grid.slices), len(grid.coils), grid.nz, grid.ny, grid.nx)
    kspace, counts = np.zeros(shape, np.complex64), np.zeros(shape, np.float32)
    which = {key: i for i, key in enumerate(grid.images)}
    slices, coils = ({n: i for i, n in enumerate(x)} for x in (grid.slices, grid.coils))
    # In a mirrored readout of even size -N/2 becomes N/2, which is the same column.
    along = {
        pair: (_kx_of(image, *pair, index_file) + grid.nx // 2) % grid.nx for pair in _pairs(image)
    }
    _check_counters(image, index_file)
    columns = ("mix", "echo", "loca", "chan", "ky", "kz", "size", "offset")
    table = zip(_image_keys(image), *(image.column(name).tolist() for name in columns), strict=True)
    for key, mix, echo, loca, chan, ky, kz, size, offset in table:
        z = kz + grid.nz // 2 if grid.is_3d else 0
        where = which[key], slices[loca], coils[chan], z, ky + grid.ny // 2
        part = along[mix, echo]
        kspace[where][part] += samples[offset // 8 : (offset + size) // 8]
        counts[where][part] += 1
    if (counts != counts[:, :, :1]).any():
        raise ShapeError(
            f"{index_file}: the coils {list(grid.coils)} have different numbers of samples; export "
            "the scan again"
        )
    kspace /= np.maximum(counts, 1)
    return kspace, counts[:, :, :1]


def _check_counters(image: Index, index_file: Path) -> None:
    """Refuse readouts with identical counters: a point is only averaged over averages."""
    names = ("mix", "dyn", "card", "echo", "loca", "chan", "extr1", "extr2", "ky", "kz", "aver")
    counters = np.stack([image.column(name) for name in names], axis=1)
    doubled = len(counters) - len(np.unique(counters, axis=0))
    if doubled:
        raise DataError(
            f"{index_file}: {counted(doubled, 'readout')} "
            f"{by_number(doubled, 'repeats', 'repeat')} the counters and the average of another; "
            "the index is damaged, export the scan again"
        )


def _noise(
    noise: Index, samples: NDArray[np.complex64], grid: _Grid
) -> NDArray[np.complex64] | None:
    """Return the noise (coil, n) of the image's coils; None if it is missing for a coil."""
    offsets, sizes = noise.column("offset") // 8, noise.column("size") // 8
    of_coils = []
    for coil in grid.coils:
        mine = np.flatnonzero(noise.column("chan") == coil)
        pieces = [samples[offsets[i] : offsets[i] + sizes[i]] for i in mine]
        of_coils.append(np.concatenate(pieces) if pieces else np.zeros(0, np.complex64))
    count = min(map(len, of_coils))
    if count == 0:
        return None
    return np.stack([one[:count] for one in of_coils])


def _without_oversampling(kspace: Tensor, mask: Tensor, grid: _Grid) -> tuple[Tensor, Tensor]:
    """Return k-space with complete readouts cropped in image space by the oversampling factor."""
    from firenet_mri.operators.centred import centred_fft, centred_ifft
    from firenet_mri.scan import readouts_are_whole

    columns = round(grid.nx / grid.oversampling) if grid.oversampling > 1 else grid.nx
    if columns >= grid.nx or not readouts_are_whole(mask):
        return kspace, mask
    start = grid.nx // 2 - columns // 2
    image = centred_ifft(kspace, [-1])[..., start : start + columns]
    return centred_fft(image, [-1]), mask[..., :columns].contiguous()
