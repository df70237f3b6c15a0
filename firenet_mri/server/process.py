"""Reconstructs what a connection brings, slice by slice, and sends the images back.

``process(connection, config, header)`` is the entry point that a python-ismrmrd-server calls, too,
when it is given ``firenet_mri.server`` as configuration. A connection yields acquisitions, images
and waveforms until ``None`` or its end, and has ``send_image``, ``send_logging``, ``send_close``.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FirenetError, UsageError
from firenet_mri.io.image.mrd_images import mrd_images
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.reconstruction import Reconstruction
from firenet_mri.reconstruction.run import reconstruct_with
from firenet_mri.scan import RawScan
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving, as_if_read

_log = logging.getLogger(__name__)

_LARGEST_INT16 = 4095


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
    """
    try:
        options = StreamOptions.of(config)
        parsed = parse_header(header.encode(), "stream") if isinstance(header, str) else header
        # Our own connections take turns; a host that has one client has no others to wait for.
        in_turn = getattr(connection, "in_turn", lambda function: function())
        for readouts in _complete(connection, by_slice=_sends_slices(parsed)):
            name = None if saving is None else saving.new_name()
            made = in_turn(functools.partial(_made, parsed, readouts, options, name))
            connection.send_image(made.images)
            connection.send_logging("INFO", f"{len(made.images)} images sent")
            if saving is not None and name is not None:
                # In turn, too: pictures are not drawn in several threads at once.
                done = in_turn(functools.partial(saving.save, name, made.result, made.scan))
                connection.send_logging(*done)
            for line in made.result.warning_lines:
                _log.warning("%s", line)
                connection.send_logging("WARNING", line)
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


def _sends_slices(header: Any) -> bool:
    """Return whether the end of a slice is the end of its data: 2D, and no averages or contrasts.

    Where a slice has several of these, its flag may come with each.
    """
    encoding = header.encoding[0]
    if (encoding.encodedSpace.matrixSize.z or 1) > 1:
        return False
    limits = encoding.encodingLimits
    several = [getattr(limits, name, None) for name in ("average", "contrast", "phase", "set")]
    return all(one is None or not one.maximum for one in several)


def _complete(connection: Iterable[Any], *, by_slice: bool) -> Iterator[list[Any]]:
    """Yield readouts as soon as what they show is complete, with the noise readouts before them.

    A slice is complete with its flag LAST_IN_SLICE (if ``by_slice``), everything that came with
    LAST_IN_REPETITION or LAST_IN_MEASUREMENT, and what is left with the end.
    """
    import ismrmrd

    noise: list[Any] = []
    lines: dict[int, list[Any]] = {}
    count = 0
    last = (ismrmrd.ACQ_LAST_IN_REPETITION, ismrmrd.ACQ_LAST_IN_MEASUREMENT)
    for item in connection:
        if item is None:
            break
        if not isinstance(item, ismrmrd.Acquisition):
            continue
        if item.is_flag_set(ismrmrd.ACQ_IS_NOISE_MEASUREMENT):
            noise.append(item)
            continue
        lines.setdefault(item.idx.slice, []).append(item)
        found: list[Any] = []
        if any(map(item.is_flag_set, last)):
            found = [one for each in lines.values() for one in each]
            lines = {}
        elif by_slice and item.is_flag_set(ismrmrd.ACQ_LAST_IN_SLICE):
            found = lines.pop(item.idx.slice)
        if found:
            count += 1
            yield noise + found
    if lines:
        count += 1
        yield noise + [one for each in lines.values() for one in each]
    if not count:
        raise DataError("No readouts arrived; nothing was reconstructed")


def _made(header: Any, readouts: list[Any], options: StreamOptions, name: str | None) -> _Made:
    """Return the MRD images of readouts that are complete; a name is that of their files."""
    from ismrmrd import ACQ_IS_NOISE_MEASUREMENT

    scan = as_if_read(assemble(header, readouts, name="stream"))
    wanted = options.reconstruction
    if scan.coils == 1 and isinstance(wanted.maps, str):
        wanted = wanted.replace(maps="none")
    result = reconstruct_with(scan, wanted)
    pixels, slope = _pixels(result, options)
    images = mrd_images(pixels, scan.geometry, scan.images, parameters=scan.parameters)
    meta = _attributes(result, pixels, slope)
    if name is not None:
        meta["FirenetFiles"] = name
    slices = {one.idx.slice for one in readouts if not one.is_flag_set(ACQ_IS_NOISE_MEASUREMENT)}
    for one in images:
        one.meta = {**one.meta, **meta}
        if len(slices) == 1:
            (one.slice,) = slices
        if not scan.images:
            # Noise readouts come first, and belong to none.
            one.repetition = readouts[-1].idx.repetition
    return _Made(images, result, scan)


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
