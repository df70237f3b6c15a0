"""Runs ``firenet`` in this process, since a new one for each case would take minutes."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from firenet_mri.cli import main


class Run(NamedTuple):
    """Exit status, what went to stdout, and what went to stderr."""

    status: int
    out: str
    err: str


def firenet(*arguments: object, folder: Path | None = None) -> Run:
    """Return what a command comes to, in a folder if one is given."""
    out, err = io.StringIO(), io.StringIO()
    status, before = 0, Path.cwd()
    with (
        mock.patch.object(sys, "argv", ["firenet", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.chdir(folder or before)
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os.chdir(before)
    return Run(status, out.getvalue(), err.getvalue())
