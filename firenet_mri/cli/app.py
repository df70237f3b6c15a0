"""The command ``firenet``: all commands by name, each loaded when it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, NamedTuple

from cyclopts import App, Parameter

import firenet_mri
from firenet_mri.cli.options import panel
from firenet_mri.errors import UsageError


class Command(NamedTuple):
    """A command: its name, its module, its line in the list of commands, and an example."""

    name: str
    place: str
    summary: str
    example: str


COMMANDS = (
    Command(
        "demo",
        "demo:demo",
        "Make a first image from a simulated scan; no file is needed.",
        "firenet demo -o first_picture",
    ),
    Command(
        "recon",
        "recon:recon",
        "Reconstruct a scan; write image, picture and certificate.",
        "firenet recon scan.h5 -o image.nii.gz",
    ),
    Command(
        "certify",
        "certify:certify",
        "Explain a certificate and check that it belongs to the image.",
        "firenet certify image.json --scan scan.h5",
    ),
    Command(
        "repeat",
        "repeat:repeat",
        "Reconstruct an image again from the record in its certificate.",
        "firenet repeat image.json scan.h5 -o again.nii.gz",
    ),
    Command(
        "view",
        "view:view",
        "Show an image or a scan in the browser, with its certificate.",
        "firenet view image.nii.gz --scan scan.h5",
    ),
    Command("info", "info:info", "Show the contents of raw scans.", "firenet info scan.h5 --check"),
    Command(
        "convert",
        "convert:convert",
        "Write raw scans in another format.",
        "firenet convert scan.h5 -o scan.cfl --whiten",
    ),
    Command(
        "simulate",
        "simulate:simulate",
        "Simulate a raw scan from an image.",
        "firenet simulate image.nii.gz -o simulated.h5 --acceleration 3",
    ),
    Command(
        "design",
        "design:design",
        "Draw a sampling pattern, and state what the theory guarantees.",
        "firenet design 256 --rate 0.15 -o mask.npy",
    ),
    Command(
        "train",
        "train:train",
        "Train a network with a proven Lipschitz constant.",
        "firenet train --images images -o network.safetensors",
    ),
    Command(
        "batch",
        "batch:batch",
        "Reconstruct every scan in a folder.",
        "firenet batch scans -o images --preset stable",
    ),
    Command(
        "bundle",
        "bundle:bundle",
        "Write the MONAI bundle to a folder.",
        "firenet bundle -o firenet_reconstruction",
    ),
    Command(
        "serve",
        "serve:serve",
        "Reconstruct scans that scanners and clients stream.",
        "firenet serve --port 9002 --save received",
    ),
    Command(
        "send",
        "send:send",
        "Send a scan to a reconstruction server.",
        "firenet send scan.h5 -o images.h5 --port 9002",
    ),
)

#: Entry points of this group add commands: their name, and a ``cyclopts.App``.
PLUGINS = "firenet_mri.commands"

# Plugins in separate packages, and the commands that they add.
_KNOWN_PLUGINS = {
    "benchmark": "Measure accuracy, stability and speed, compared with other methods.",
    "paper": "Reproduce the experiments of the paper.",
}


def make_app(called: str = "") -> App:
    """Return the command ``firenet`` with all installed commands.

    Parameters
    ----------
    called
        The command that will run, which provides its own help; the others have one line in the
        list.
    """
    app = App(
        name="firenet",
        help="Stable MR image reconstruction with certificates (FIRENET).",
        help_epilogue="Example: firenet recon scan.h5 -o image.nii.gz",
        version=f"firenet_mri {firenet_mri.__version__}",
        # Of an option that is given twice the last counts, as a script's own after its defaults.
        default_parameter=Parameter(negative=(), allow_repeating=True),
        group_arguments=panel("Input"),
        group_parameters=panel("Options"),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        # main() says what an interruption leaves.
        suppress_keyboard_interrupt=False,
    )
    for command in COMMANDS:
        own = command.name == called
        app.command(
            f"firenet_mri.cli.{command.place}",
            name=command.name,
            help=None if own else command.summary,
            help_epilogue=f"Example: {command.example}",
        )
    plugins = {entry.name: entry for entry in entry_points(group=PLUGINS)}
    for name in sorted({*plugins, *_KNOWN_PLUGINS}):
        if name not in plugins:
            app.command(_missing(name), name=name, show=False)
            continue
        own = name == called
        text = _KNOWN_PLUGINS.get(name) or _summary(plugins[name])
        app.command(_place(plugins[name]), name=name, help=None if own else text)
    app.register_install_completion_command()
    return app


def _summary(entry: EntryPoint) -> str:
    """Return the summary in the metadata of a plugin's package."""
    text = entry.dist.metadata["Summary"] if entry.dist is not None else ""
    return text or "A command of a plugin."


def _place(entry: EntryPoint) -> str:
    return f"{entry.module}:{entry.attr}"


def _missing(name: str) -> Callable[..., None]:
    """Return a command that explains how to install the plugin."""

    def say(*arguments: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> None:
        raise UsageError(
            f"firenet {name} is in a separate package; in a clone of the repository, install it "
            "with pip install ./plugins/benchmark"
        )

    return say
