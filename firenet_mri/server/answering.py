"""Reconstructs the scan that arrives over a connection, slice by slice, and returns the images.

``process(connection, config, header)`` is also the entry point that a python-ismrmrd-server calls
when ``firenet_mri.server`` is its configuration. A connection yields acquisitions, images and
waveforms until it yields ``None`` or ends, and it has the methods ``send_image``, ``send_logging``
and ``send_close``. The images equal those of the whole scan. Where they would differ, an error
states the difference.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from firenet_mri.errors import DataError, FirenetError, UsageError
from firenet_mri.io.kspace.ismrmrd import centre_of
from firenet_mri.io.kspace.ismrmrd_header import parse_header
from firenet_mri.io.mrd_messages import NotDelivered
from firenet_mri.memory import memory_ran_out
from firenet_mri.plurals import counted
from firenet_mri.server.limits import SHORTAGE
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving
from firenet_mri.server.slices import Groups

_log = logging.getLogger(__name__)


class Connection(Protocol):
    """The methods of a connection that ``process`` needs."""

    def __iter__(self) -> Any:
        """Yield the items that arrive; the iteration stops at None or at the end."""

    def send_image(self, images: Any) -> None:
        """Send images."""

    def send_logging(self, level: str, text: str) -> None:
        """Send a line for the host's log."""

    def send_close(self) -> None:
        """Announce that nothing more will be sent."""


class Made(Protocol):
    """Images of complete readouts, and the warnings about their data."""

    @property
    def images(self) -> list[Any]:
        """``ismrmrd.Image`` objects."""

    @property
    def warning_lines(self) -> Sequence[str]:
        """Warnings for the user."""


class Maker(Protocol):
    """An object that makes the images of a connection, in this process or in a separate one."""

    def make(self, header: Any, readouts: list[Any], options: StreamOptions) -> Made:
        """Return the images of complete readouts."""

    def saved(self) -> tuple[str, str] | None:
        """Return level and text of a log line about the latest files; None if there are none."""


def process(
    connection: Connection,
    config: object,
    header: Any,
    *,
    saving: Saving | None = None,
    maker: Maker | None = None,
    networks: Path | None = None,
) -> None:
    """Reconstruct the scan that arrives, send its images, and always close the connection.

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
        Where image, certificate, evidence and scan are also written; None keeps nothing. They are
        written after the images have been sent, and an error becomes a line in the logs.
    maker
        The object that makes and saves the images; None makes them in this process.
    networks
        Folder of trained networks that the host may name in addition to the included ones.

    Raises
    ------
    NotDelivered
        If one of our own connections no longer accepted an image.
    """
    try:
        options = StreamOptions.of(config, networks)
        parsed = parse_header(header.encode(), "stream") if isinstance(header, str) else header
        stream = _Stream(connection, parsed, options, maker or _here(saving))
        for readouts in Groups(parsed, as_a_whole=_are_coupled(options)).of(connection):
            stream.deliver(readouts)
    except NotDelivered:
        # The client is gone, so nobody can be told.
        raise
    except FirenetError as error:
        _log.warning("%s", error)
        connection.send_logging("ERROR", " ".join(str(error).split()))
    # Messages of other libraries may quote patient data, so an unexpected error reports its type.
    except Exception as error:
        kind = type(error).__name__
        why = f"The scan could not be reconstructed ({kind}); see the header"
        connection.send_logging("ERROR", SHORTAGE if memory_ran_out(error) else why)
        raise
    finally:
        connection.send_close()


def _here(saving: Saving | None) -> Maker:
    # This module loads torch, which the service itself does not need.
    from firenet_mri.server.images import Here

    return Here(saving)


def _are_coupled(options: StreamOptions) -> bool:
    """Return whether images depend on each other, through coil compression or a joint problem."""
    wanted = options.reconstruction
    return wanted.coils is not None or wanted.joint is not None


class _Stream:
    """The state that the images of one connection share.

    Parameters
    ----------
    connection, header, options, maker
        See :func:`process`.
    """

    def __init__(
        self, connection: Connection, header: Any, options: StreamOptions, maker: Maker
    ) -> None:
        self._connection = connection
        self._header = header
        self._options = options
        self._maker = maker
        self._sent = 0
        self._centre: tuple[int, int] | None = None

    def deliver(self, readouts: list[Any]) -> None:
        """Reconstruct complete readouts, send the images, and keep them.

        Raises
        ------
        FirenetError
            If they cannot be reconstructed, or if the result would differ from the whole scan's.
        NotDelivered
            If the images could not be sent; they are kept nevertheless.
        """
        self._check_centre(readouts)
        made = self._maker.make(self._header, readouts, self._options)
        for number, image in enumerate(made.images, start=self._sent + 1):
            image.image_index = number
        try:
            self._connection.send_image(made.images)
        except NotDelivered:
            self._maker.saved()
            raise
        self._sent += len(made.images)
        self._connection.send_logging("INFO", f"{counted(len(made.images), 'image')} sent")
        saved = self._maker.saved()
        if saved is not None:
            self._connection.send_logging(*saved)
        for line in made.warning_lines:
            _log.warning("%s", line)
            self._connection.send_logging("WARNING", line)

    def _check_centre(self, readouts: list[Any]) -> None:
        """Refuse readouts whose centre of k-space seems to differ from that of earlier ones."""
        centre = centre_of(self._header, readouts, name="stream")
        if self._centre is not None and centre != self._centre:
            raise DataError(
                f"The centre of k-space was {self._centre} (steps 1 and 2) for the first images, "
                f"and would be {centre} for the next ones; correct the header's encodingLimits"
            )
        self._centre = centre


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
        raise UsageError('A text message is not a JSON object; send {"parameters": {...}}')
    return found
