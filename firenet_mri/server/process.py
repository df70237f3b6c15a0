"""Reconstructs what a connection brings, slice by slice, and sends the images back.

``process(connection, config, header)`` is the entry point that a python-ismrmrd-server calls, too,
when it is given ``firenet_mri.server`` as configuration. A connection yields acquisitions, images
and waveforms until ``None`` or its end, and has ``send_image``, ``send_logging``, ``send_close``.
The images are those of the whole scan; where they would differ, an error says in what.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FirenetError, UsageError
from firenet_mri.io.image.mrd_images import mrd_images
from firenet_mri.io.kspace.ismrmrd import assemble, centre_of
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.kspace.ismrmrd_writer import image_counters
from firenet_mri.io.mrd_messages import NotDelivered
from firenet_mri.reconstruction import Reconstruction
from firenet_mri.reconstruction.run import reconstruct_with
from firenet_mri.scan import RawScan
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving, as_if_read
from firenet_mri.server.slices import Groups, is_image_data

T = TypeVar("T")

_log = logging.getLogger(__name__)

_LARGEST_INT16 = 4095
_COUNTERS = ("slice", "repetition", "contrast", "phase", "set")


class Connection(Protocol):
    """What ``process`` needs of a connection."""

    def __iter__(self) -> Any:
        """Yield what arrives; None or the end stop it."""

    def send_image(self, images: Any) -> None:
        """Send images."""

    def send_logging(self, level: str, text: str) -> None:
        """Send a line for the host's log."""

    def send_close(self) -> None:
        """Say that nothing more comes."""


class _Made(NamedTuple):
    """What was made of readouts: the images that are sent, and what the files hold."""

    images: list[Any]
    result: Reconstruction
    scan: RawScan


def process(
    connection: Connection, config: object, header: Any, *, saving: Saving | None = None
) -> None:
    """Reconstruct what arrives and send the images; always close.

    Parameters
    ----------
    connection
        The host's connection.
    config
        Name of the configuration, or its parsed JSON with "parameters", see
        :class:`firenet_mri.server.options.StreamOptions`.
    header
        The ISMRMRD header, parsed or as XML text.
    saving
        Where image, certificate, evidence and scan are written besides; None keeps nothing. They
        are written when the images have been sent, and an error is a line in the logs.

    Raises
    ------
    NotDelivered
        If one of our own connections took an image no more.
    """
    try:
        options = StreamOptions.of(config)
        parsed = parse_header(header.encode(), "stream") if isinstance(header, str) else header
        stream = _Stream(connection, parsed, options, saving)
        for readouts in Groups(parsed, as_a_whole=_are_coupled(options)).of(connection):
            stream.deliver(readouts)
    except NotDelivered:
        # Nobody could be told.
        raise
    except FirenetError as error:
        _log.warning("%s", error)
        connection.send_logging("ERROR", " ".join(str(error).split()))
    # Words of other libraries may quote what came: of what nobody foresaw the kind is told.
    except Exception as error:
        connection.send_logging(
            "ERROR", f"The scan could not be reconstructed ({type(error).__name__}); see the header"
        )
        raise
    finally:
        connection.send_close()


def _are_coupled(options: StreamOptions) -> bool:
    """Return whether an image depends on others: compressed for all alike, or one problem."""
    wanted = options.reconstruction
    return wanted.coils is not None or wanted.joint is not None


class _Stream:
    """What the images of one connection have in common.

    Parameters
    ----------
    connection, header, options, saving
        See :func:`process`.
    """

    def __init__(
        self, connection: Connection, header: Any, options: StreamOptions, saving: Saving | None
    ) -> None:
        self._connection = connection
        self._header = header
        self._options = options
        self._saving = saving
        self._sent = 0
        self._centre: tuple[int, int] | None = None

    def deliver(self, readouts: list[Any]) -> None:
        """Reconstruct readouts that are complete, send the images, and keep them.

        Raises
        ------
        FirenetError
            If they cannot be reconstructed, or not as the whole scan would be.
        NotDelivered
            If the images could not be sent; they are kept all the same.
        """
        self._check_centre(readouts)
        name = None if self._saving is None else self._saving.new_name()
        made = self._in_turn(functools.partial(_made, self._header, readouts, self._options, name))
        for number, image in enumerate(made.images, start=self._sent + 1):
            image.image_index = number
        try:
            self._connection.send_image(made.images)
        except NotDelivered:
            self._save(name, made)
            raise
        self._sent += len(made.images)
        self._connection.send_logging("INFO", f"{len(made.images)} images sent")
        saved = self._save(name, made)
        if saved is not None:
            self._connection.send_logging(*saved)
        for line in made.result.warning_lines:
            _log.warning("%s", line)
            self._connection.send_logging("WARNING", line)

    def _save(self, name: str | None, made: _Made) -> tuple[str, str] | None:
        if self._saving is None or name is None:
            return None
        # In turn, too: pictures are not drawn in several threads at once.
        return self._in_turn(functools.partial(self._saving.save, name, made.result, made.scan))

    def _in_turn(self, function: Callable[[], T]) -> T:
        # Our own connections take turns; a host that has one client has no others to wait for.
        take = getattr(self._connection, "in_turn", None)
        return function() if take is None else take(function)

    def _check_centre(self, readouts: list[Any]) -> None:
        """Refuse readouts of which the centre of k-space seems to lie elsewhere than before."""
        centre = centre_of(self._header, readouts, name="stream")
        if self._centre is not None and centre != self._centre:
            raise DataError(
                f"The centre of k-space was taken at {self._centre} (steps 1 and 2) for the first "
                f"images, and would be at {centre} for the next; correct the header's "
                "encodingLimits"
            )
        self._centre = centre


def _made(header: Any, readouts: list[Any], options: StreamOptions, name: str | None) -> _Made:
    """Return the MRD images of readouts that are complete; a name is that of their files."""
    scan = as_if_read(assemble(header, readouts, name="stream"))
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
    return _Made(images, result, scan)


def _counters_of_all(readouts: list[Any], scan: RawScan) -> dict[str, int]:
    """Return the counters that have one value in all readouts, and that tell no images apart."""
    told = {counter for name in scan.images for counter in image_counters(name, 0)}
    if scan.spatial_ndim == 3:
        # An image's slice is its partition.
        told.add("slice")
    lines = [line for line in readouts if is_image_data(line)]
    values = {name: {int(getattr(line.idx, name)) for line in lines} for name in _COUNTERS}
    return {
        name: found.pop() for name, found in values.items() if len(found) == 1 and name not in told
    }


def _stamp(images: list[Any], readouts: list[Any], *, is_volume: bool) -> None:
    """Give images the time stamps of their first readouts, as the host counts them.

    The host alone gets them back; what is written to files has none of a clock.
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
    """Return the pixels that are sent, and the factor from them to the image."""
    if options.output == "complex":
        return result.image.numpy(force=True), 1.0
    image = result.magnitude.numpy(force=True)
    if options.dtype == "float32":
        return image, 1.0
    slope = float(image.max()) / _LARGEST_INT16 or 1.0
    return np.rint(image / slope).astype(np.int16), slope


def _attributes(result: Reconstruction, pixels: NDArray[Any], slope: float) -> dict[str, Any]:
    """Return what goes with every image as attributes."""
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


def parse_parameters(text: str) -> Mapping[str, Any]:
    """Return the JSON of a host's text message.

    Raises
    ------
    UsageError
        If it is not a JSON object.
    """
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError('A text message that is not a JSON object; send {"parameters": {...}}')
    return found
