"""Runs the command line: loads every command, and tells errors in one line."""

from __future__ import annotations

import sys
from importlib import import_module

from firenet_mri.cli.app import app
from firenet_mri.errors import FirenetError

# Loading a command module hangs its commands on ``app``.
for _name in (
    "batch",
    "certify",
    "convert",
    "design",
    "info",
    "recon",
    "serve",
    "simulate",
):
    import_module(f"firenet_mri.cli.{_name}")


def main() -> None:
    """Run the command line; the exit status is 0 only if everything asked for was written."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except FirenetError as error:
        if debug:
            raise
        _complain(str(error), error.exit_status)
    except KeyboardInterrupt:
        _complain("interrupted; no output was written", 130)
    except MemoryError:
        if debug:
            raise
        _complain("not enough memory for this scan; reconstruct on a larger machine", 1)


def _complain(message: str, status: int) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write("firenet: " + " ".join(message.split()) + "\n")
    raise SystemExit(status)
