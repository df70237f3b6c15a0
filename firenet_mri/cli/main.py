"""Runs the command line, and tells errors in one line."""

from __future__ import annotations

import sys

from cyclopts import CycloptsError

from firenet_mri.cli.app import make_app
from firenet_mri.errors import FirenetError


def main() -> None:
    """Run the command line; the exit status is 0 only if everything asked for was written."""
    debug = "--debug" in sys.argv
    try:
        make_app()(sys.argv[1:])
    except CycloptsError as error:
        _complain(f"{error} Try firenet --help.", 2)
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
    raise SystemExit(0)


def _complain(message: str, status: int) -> None:
    """Print one line on stderr and leave."""
    sys.stderr.write("firenet: " + " ".join(message.split()) + "\n")
    raise SystemExit(status)
