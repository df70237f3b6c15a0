"""The command ``firenet`` and its groups, on which every command module hangs its own."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import firenet_mri

app = typer.Typer(
    name="firenet",
    help="Stable MR image reconstruction with certificates (FIRENET).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        sys.stdout.write(f"firenet_mri {firenet_mri.__version__}\n")
        raise typer.Exit
