"""Runs the command line, and prints errors in one line."""

from __future__ import annotations

import difflib
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from rich.console import Console

from firenet_mri.cli.app import make_app
from firenet_mri.cli.options import known_flags
from firenet_mri.cli.streams import drop
from firenet_mri.errors import FileError, FirenetError, UsageError, shortened
from firenet_mri.memory import check_limit, memory_ran_out, shortage
from firenet_mri.threads import wait_passively

_STDERR = 2
_WITHOUT_TORCH = ("info", "bundle", "serve", "send")
_HELP = ("--help", "-h", "--version", "--install-completion")
_REFUSED = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR, errno.EROFS)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE)


def main() -> None:
    """Run the command line; the exit status is 0 only if all requested files were written."""
    wait_passively()
    _open_standard_streams()
    # File names need not be UTF-8; a name that cannot be shown must not stop the work.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    debug = "--debug" in sys.argv
    try:
        _run(make_app("".join(sys.argv[1:2])), sys.argv[1:])
        # An error of this flush can still be reported here.
        sys.stdout.flush()
    except CycloptsError as error:
        command = " ".join(("firenet", *(error.command_chain or ())))
        _complain(f"{_words(error, command)} Try {command} --help.", 2)
    except FirenetError as error:
        if debug:
            raise
        _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        _complain("interrupted; no output was written", 130)
    except (MemoryError, RuntimeError, SystemError, ImportError) as error:
        if debug or not memory_ran_out(error):
            raise
        _complain(shortage(), 1)
    except OSError as error:
        if debug:
            raise
        _complain_of_system(error)
    raise SystemExit(0)


def _complain_of_system(error: OSError) -> NoReturn:
    """End the command with a line about the system's refusal; raise errors of other kinds."""
    if memory_ran_out(error):
        _complain(shortage(), 1)
    name = shortened(str(error.filename))
    if error.filename is not None and error.errno in _REFUSED:
        _complain(f"{name}: {error.strerror}; check the path", 1)
    if error.errno == errno.ENAMETOOLONG:
        _complain(f"{name}: the name is too long; use a shorter one", 1)
    if error.errno not in _FULL:
        raise error
    # Errors of files are reported where the files are written: this is an error of the output.
    drop(sys.stdout)
    if error.errno == errno.EPIPE:
        # The reader of the pipe has closed it, as head does.
        raise SystemExit(1) from None
    _complain(
        f"the output could not be written ({error.strerror}); free space, or write it elsewhere", 1
    )


def _open_standard_streams() -> None:
    """Open the null device for each standard stream that the caller closed.

    Otherwise the next socket or file would get the number of that stream, and the output of
    libraries and processes would end up in it.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        # Processes that this one starts need it for the same reason.
        os.set_inheritable(opened, True)
    os.close(opened)
    # In spite of its annotations, Python has no stream where the descriptor was closed.
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nowhere)


def _run(app: App, words: Sequence[str]) -> None:
    """Run the command that the words name.

    An unknown name is found here, since cyclopts would load every command to suggest one.
    """
    if any(
        not word or (word.startswith("--") and word.partition("=")[1:] == ("=", ""))
        for word in words
    ):
        # An empty path would mean the working folder.
        raise UsageError(
            "An argument is empty, perhaps because a variable is not set; give it a value, or "
            "omit it"
        )
    try:
        _, path, rest = app.parse_commands(words)
    except ImportError as error:
        if memory_ran_out(error):
            raise
        raise FirenetError(
            f"firenet {words[0]} cannot be loaded ({error.__cause__ or error}); reinstall the "
            "package that contains it"
        ) from error
    group = path[-1]
    if group.default_command is None and not rest:
        app.help_print(words, console=Console(stderr=True))
        raise SystemExit(2)
    if group.default_command is None:
        raise UsageError(_unknown(rest[0], list(group)))
    if not any(word in _HELP for word in words):
        _check_folder()
        if words and words[0] not in _WITHOUT_TORCH:
            check_limit()
    app(words)


def _check_folder() -> None:
    """Refuse to work in a folder that was deleted: libraries of torch end the process there."""
    try:
        Path.cwd()
    except OSError as error:
        raise FileError(
            f"the current folder cannot be found ({error.strerror}) because it was deleted or "
            "moved; change to another folder"
        ) from None


def _unknown(word: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, names, 1)
    kind = "option" if word.startswith("-") else "command"
    commands = ", ".join(name for name in names if not name.startswith("-"))
    advice = f'Did you mean "{near[0]}"?' if near else f"Use one of the commands {commands}."
    return f'Unknown {kind} "{word}". {advice}'


def _words(error: CycloptsError, command: str) -> str:
    """Return what is wrong, in our own words where cyclopts would mention its parser."""
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        if error.keyword is not None:
            return f"{error.keyword} needs a value."
        name = error.argument.name
        return f"{name if name.startswith('-') else name.upper()} is missing."
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{error.unused_tokens[0]!r} is one argument too many."
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword
        if given in known_flags():
            return f"{given} is not an option of {command}; omit it."
    return str(error)


def _complain(message: str, status: int) -> NoReturn:
    """Print one line on stderr and exit."""
    sys.stderr.write("firenet: " + " ".join(message.split()) + "\n")
    raise SystemExit(status)
