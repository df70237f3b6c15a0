"""Runs ``firenet`` in this process, since a new one for each case would take minutes."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import NamedTuple
from unittest import mock

from firenet_mri.cli import main


class Run(NamedTuple):
    """Exit status, what went to stdout, and what went to stderr."""

    status: int
    out: str
    err: str


def firenet(*arguments: object) -> Run:
    """Return what a command comes to."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with (
        mock.patch.object(sys, "argv", ["firenet", *map(str, arguments)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Run(status, out.getvalue(), err.getvalue())
