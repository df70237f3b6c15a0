"""Makes images from complete readouts and saves them: the part of the server that needs torch.

It runs in a separate process (:mod:`firenet_mri.server.worker`), or in the process of a host that
calls ``process`` itself.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from firenet_mri.io.image.mrd_images import mrd_images
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_writer import image_counters
from firenet_mri.reconstruction import Reconstruction
from firenet_mri.reconstruction.run import reconstruct_with
from firenet_mri.scan import RawScan
from firenet_mri.server.needs import check_needs
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving, as_if_read
from firenet_mri.server.slices import is_image_data

_log = logging.getLogger(__name__)

_LARGEST_INT16 = 4095
_COUNTERS = ("slice", "repetition", "contrast", "phase", "set")


class Made(NamedTuple):
    """The result of a reconstruction: the images to send, and the contents of the files."""

    images: list[Any]
    result: Reconstruction
    scan: RawScan

    @property
    def warning_lines(self) -> tuple[str, ...]:
        """Warnings about the data, one per line."""
        return self.result.warning_lines


class Here:
    """Makes the images in this process.

    Parameters
    ----------
    saving
        Where the files are written; None keeps nothing.
    """

    def __init__(self, saving: Saving | None) -> None:
        self._saving = saving
        self._name: str | None = None
        self._made: Made | None = None

    def make(self, header: Any, readouts: list[Any], options: StreamOptions) -> Made:
        """Return the images of complete readouts."""
        self._name = None if self._saving is None else self._saving.new_name()
        made = make_images(header, readouts, options, self._name)
        self._made = None if self._saving is None else made
        return made

    def saved(self) -> tuple[str, str] | None:
        """Write the files of the latest images; return a line for the log, None without files."""
        if self._saving is None or self._name is None or self._made is None:
            return None
        made, self._made = self._made, None
        return self._saving.save(self._name, made.result, made.scan)


def make_images(
    header: Any,
    readouts: list[Any],
    options: StreamOptions,
    name: str | None = None,
    *,
    most_bytes: int | None = None,
) -> Made:
    """Return the MRD images of complete readouts.

    Parameters
    ----------
    header
        The parsed ISMRMRD header.
    readouts
        ``ismrmrd.Acquisition`` objects.
    options
        The options that the host requested.
    name
        Name of the files, which the images carry as an attribute; None if there are none.
    most_bytes
        Largest estimated memory that the reconstruction may need; None sets no limit.

    Raises
    ------
    FirenetError
        If the readouts do not form a scan, or if the scan needs more memory.
    """
    admit = None if most_bytes is None else check_needs(most_bytes)
    scan = as_if_read(assemble(header, readouts, name="stream", admit=admit))
    wanted = options.reconstruction
    if scan.coils == 1 and isinstance(wanted.maps, str):
        _log.info("a single coil has no maps; reconstructed as with maps none")
        wanted = wanted.replace(maps="none")
    result = reconstruct_with(scan, wanted)
    pixels, slope = _pixels(result, options)
    images = mrd_images(pixels, scan.geometry, scan.images, parameters=scan.parameters)
    meta = _attributes(result, pixels, slope)
    if name is not None:
        meta["FirenetFiles"] = name
    known = _counters_of_all(readouts, scan)
    for one in images:
        one.meta = {**one.meta, **meta}
        for counter, value in known.items():
            setattr(one, counter, value)
    _stamp(images, readouts, is_volume=scan.spatial_ndim == 3)
    return Made(images, result, scan)


def _counters_of_all(readouts: list[Any], scan: RawScan) -> dict[str, int]:
    """Return the counters that have one value in all readouts and do not distinguish images."""
    told = {counter for name in scan.images for counter in image_counters(name, 0)}
    if scan.spatial_ndim == 3:
        # The slice counter of an image is its partition.
        told.add("slice")
    lines = [line for line in readouts if is_image_data(line)]
    values = {name: {int(getattr(line.idx, name)) for line in lines} for name in _COUNTERS}
    return {
        name: found.pop() for name, found in values.items() if len(found) == 1 and name not in told
    }


def _stamp(images: list[Any], readouts: list[Any], *, is_volume: bool) -> None:
    """Give images the time stamps of their first readouts, in the host's units.

    Only the host gets them back; the files contain no clock times.
    """
    counters = _COUNTERS[1:] if is_volume else _COUNTERS

    def key(of: Any) -> tuple[int, ...]:
        return tuple(int(getattr(of, name)) for name in counters)

    first: dict[tuple[int, ...], Any] = {}
    for line in filter(is_image_data, readouts):
        first.setdefault(key(line.idx), line)
    for image in images:
        line = first.get(key(image))
        if line is not None:
            image.acquisition_time_stamp = line.acquisition_time_stamp
            image.physiology_time_stamp[:] = line.physiology_time_stamp[:]


def _pixels(result: Reconstruction, options: StreamOptions) -> tuple[NDArray[Any], float]:
    """Return the pixels to send, and the factor that turns them into the image."""
    if options.output == "complex":
        return result.image.numpy(force=True), 1.0
    image = result.magnitude.numpy(force=True)
    if options.dtype == "float32":
        return image, 1.0
    slope = float(image.max()) / _LARGEST_INT16 or 1.0
    return np.rint(image / slope).astype(np.int16), slope


def _attributes(result: Reconstruction, pixels: NDArray[Any], slope: float) -> dict[str, Any]:
    """Return the attributes of every image."""
    white = float(np.percentile(np.abs(pixels), 99.8)) or 1.0
    return {
        "DataRole": "Image",
        "ImageProcessingHistory": [
            result.network.method,
            *(["simulated"] if result.scan.simulated else []),
        ],
        "ImageComments": " ".join([result.certificate.sentence(), *result.warning_lines]),
        "WindowCenter": str(white / 2),
        "WindowWidth": str(white),
        "RescaleSlope": str(slope),
        "RescaleIntercept": "0",
        "Keep_image_geometry": "1",
    }
