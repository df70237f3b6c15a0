"""A separate process for reconstructions, so that a fault in it costs one scan, not the service.

The process is started in advance and does one piece of work after the other. A socket connects it
to the service, and the process ends when the socket is closed. Both sides exchange messages of the
MRD protocol:

    to it       CONFIG_TEXT (a :class:`Work` without its scan), HEADER, ACQUISITIONs, CLOSE
    from it     TEXT {"ready"} once, with the seconds that it took to start; then IMAGEs and TEXT
                {"made"}, or TEXT {"error"}; TEXT {"saved"} when files were requested and are
                written; TEXT {"log"} at any time
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from firenet_mri.errors import FirenetError
from firenet_mri.io.mrd_messages import ConnectionEnded, Kind, Message, message_bytes, read_message
from firenet_mri.memory import memory_ran_out
from firenet_mri.server.limits import SHORTAGE
from firenet_mri.server.options import StreamOptions
from firenet_mri.server.saving import Saving

_log = logging.getLogger(__name__)

# Seconds between two checks of a working process.
_TURN_S = 0.1
_AT_ONCE = 1 << 20
# The two sides of this socket trust each other, so that sizes need no limit.
_ANY_SIZE = sys.maxsize
_END_S = 5.0
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


@dataclass(frozen=True, eq=False)
class Work:
    """A piece of work: the readouts to reconstruct, and the options.

    Parameters
    ----------
    header
        The parsed ISMRMRD header.
    readouts
        ``ismrmrd.Acquisition`` objects of complete images.
    options
        The options that the host requested.
    most_bytes
        Largest estimated memory that the reconstruction may need.
    saving, name
        Where and under which name files are written; None writes none.
    """

    header: Any
    readouts: list[Any]
    options: StreamOptions
    most_bytes: int | None = None
    saving: Saving | None = None
    name: str | None = None

    def messages(self) -> Iterator[bytes]:
        """Yield the messages that hand it to the process."""
        saving = self.saving
        told = {
            "parameters": {name: _plain(value) for name, value in self.options.flat().items()},
            "most_bytes": self.most_bytes,
            "folder": None if saving is None else str(saving.folder),
            "key": None if saving is None or saving.key is None else str(saving.key),
            "name": self.name,
        }
        yield message_bytes(Kind.CONFIG_TEXT, json.dumps(told))
        yield message_bytes(Kind.HEADER, self.header.toXML())
        for readout in self.readouts:
            yield message_bytes(Kind.ACQUISITION, readout)
        yield message_bytes(Kind.CLOSE)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


class Worker:
    """The process, as the service sees it.

    Parameters
    ----------
    command
        Python source that the process runs; None runs :func:`main`.

    Raises
    ------
    OSError
        If the system cannot start another process.
    """

    def __init__(self, command: str | None = None) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_TURN_S)
        # The new process searches for modules in the same places as this one.
        command = command or (
            f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
        )
        try:
            with theirs:
                # Control-C at a terminal is meant for the service alone.
                self._process = subprocess.Popen(
                    [sys.executable, "-c", command], stdin=theirs.fileno(), start_new_session=True
                )
        except BaseException:
            self._socket.close()
            raise
        self._looked = 0.0

    def send(self, work: Work, look: Callable[[], None]) -> None:
        """Hand over a piece of work.

        Parameters
        ----------
        work
            The piece of work.
        look
            Called at intervals while this waits; it may raise an error.

        Raises
        ------
        ConnectionEnded
            If the process has ended.
        """
        for message in work.messages():
            left = memoryview(message)
            while left:
                self._look(look)
                try:
                    left = left[self._socket.send(left[:_AT_ONCE]) :]
                except TimeoutError:
                    continue
                except OSError:
                    raise ConnectionEnded("the process has ended") from None

    def receive(self, look: Callable[[], None]) -> Message:
        """Return its next message; its log lines are passed on to our log instead.

        Parameters and errors are those of :meth:`send`.
        """
        while True:
            message = read_message(lambda count: self._bytes(count, look), _ANY_SIZE)
            if message.kind is not Kind.TEXT:
                return message
            said = json.loads(message.value)
            if "log" not in said:
                return Message(Kind.TEXT, said)
            level, name, text = said["log"]
            logging.getLogger(name).log(level, "%s", text)

    def _bytes(self, count: int, look: Callable[[], None]) -> bytes:
        found = bytearray()
        while len(found) < count:
            self._look(look)
            try:
                part = self._socket.recv(min(count - len(found), _AT_ONCE))
            except TimeoutError:
                continue
            except OSError:
                break
            if not part:
                break
            found += part
        return bytes(found)

    def _look(self, look: Callable[[], None]) -> None:
        now = time.monotonic()
        if now >= self._looked + _TURN_S:
            self._looked = now
            look()

    @property
    def is_alive(self) -> bool:
        """False if the process has ended."""
        return self._process.poll() is None

    @property
    def resident_bytes(self) -> int:
        """Memory of the process in bytes; 0 where the system does not report it."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * _PAGE

    def end(self) -> str:
        """End the process; return how it had ended by itself, or "" if it had not."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        how = ""
        with contextlib.suppress(subprocess.TimeoutExpired):
            how = _named(self._process.wait(_TURN_S))
        self._process.kill()
        # A process that the kernel cannot end is not waited for.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._socket.close()
        return how


def _named(status: int) -> str:
    """Return in words how a process ended."""
    if status >= 0:
        return f"with status {status}" if status else ""
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ", as the system does when memory runs out" if -status == signal.SIGKILL else ""
    return f"by {name}{hint}"


def main() -> None:
    """Do the work, in the new process, until the service has gone."""
    began = time.monotonic()
    # Signals of the terminal and of systemd are for the service, which then ends this process.
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, signal.SIG_IGN)
    service = socket.socket(fileno=0)
    say = _Speaker(service)
    logging.basicConfig(level=logging.INFO, handlers=[say], force=True)
    warnings.showwarning = log_warning
    sys.excepthook = _end_with_kind
    waiting: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(service, waiting), daemon=True).start()
    # Loading this takes seconds, and happens here before the first scan arrives.
    import firenet_mri.server.images  # noqa: F401

    say("ready", time.monotonic() - began)
    while True:
        _do(*_next_work(waiting), say)


def _read(service: socket.socket, waiting: queue.SimpleQueue[Message]) -> None:
    """Read ahead; the end of the socket ends the process at once."""
    try:
        with service.makefile("rb") as file:
            while True:
                waiting.put(read_message(file.read, _ANY_SIZE))
    finally:
        os._exit(0)


class _Speaker(logging.Handler):
    """Sends messages and log lines to the service."""

    def __init__(self, service: socket.socket) -> None:
        super().__init__()
        self._service = service
        self._sending = threading.Lock()

    def __call__(self, what: str, value: object) -> None:
        """Send a value under a name."""
        self.send(message_bytes(Kind.TEXT, json.dumps({what: value})))

    def send(self, data: bytes) -> None:
        """Send a whole message."""
        with self._sending:
            self._service.sendall(data)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line of the log."""
        self("log", [record.levelno, record.name, record.getMessage()])


def _next_work(waiting: queue.SimpleQueue[Message]) -> tuple[dict[str, Any], str, list[Any]]:
    """Return the description of a piece of work, its header, and its readouts."""
    told, header, readouts = {}, "", []
    while (message := waiting.get()).kind is not Kind.CLOSE:
        if message.kind is Kind.CONFIG_TEXT:
            told = json.loads(message.value)
        elif message.kind is Kind.HEADER:
            header = message.value
        else:
            readouts.append(message.value)
    return told, header, readouts


def _do(told: dict[str, Any], header: str, readouts: list[Any], say: _Speaker) -> None:
    """Reconstruct, answer, and write the files."""
    from firenet_mri.io.kspace.ismrmrd_header import parse_header
    from firenet_mri.server.images import make_images

    try:
        made = make_images(
            parse_header(header.encode(), "stream"),
            readouts,
            StreamOptions.from_mapping(told["parameters"]),
            told["name"],
            most_bytes=told["most_bytes"],
        )
        for image in made.images:
            say.send(message_bytes(Kind.IMAGE, image))
    except FirenetError as error:
        say("error", str(error))
        return
    # Messages of other libraries may quote patient data: unexpected errors report type and place.
    except Exception as error:
        _log_kind(error)
        kind = type(error).__name__
        why = f"The scan could not be reconstructed ({kind}); see the header"
        say("error", SHORTAGE if memory_ran_out(error) else why)
        return
    say("made", list(made.warning_lines))
    if told["folder"] is not None:
        say("saved", [told["name"], *_saved(told, made)])


def _log_kind(error: BaseException) -> None:
    """Log type and place of an error, without its message and without reading source files."""
    name, line = "?", 0
    for frame, line in traceback.walk_tb(error.__traceback__):  # noqa: B007
        name = Path(frame.f_code.co_filename).name
    _log.error("%s in %s, line %s", type(error).__name__, name, line)


def _end_with_kind(_: type[BaseException], error: BaseException, __: object) -> None:
    """Log an error that ends the process; a traceback would quote data and break the log format."""
    with contextlib.suppress(OSError):
        _log_kind(error)


def _saved(told: dict[str, Any], made: Any) -> tuple[str, str]:
    """Write the files; return level and text of a line for the log."""
    try:
        saving = Saving(Path(told["folder"]), told["key"] and Path(told["key"]))
    # The folder existed when the service started.
    except FirenetError as error:
        return "WARNING", f"{told['name']}: not saved ({error})"
    return saving.save(told["name"], made.result, made.scan)


def log_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Log that a library warned, without its message, which may quote a client's data."""
    logging.warning("%s in %s", category.__name__, Path(filename).stem)
