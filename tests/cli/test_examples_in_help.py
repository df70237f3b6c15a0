"""Every command's help has one example, which can be run as it stands."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from firenet_command import firenet

from firenet_mri.cli.app import COMMANDS, make_app

# These need a network connection, a browser, a cluster, or minutes; their words are parsed too.
NOT_RUN = {"serve", "send", "batch", "train", "view"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_ends_with_an_example_that_the_command_understands(command) -> None:
    printed = firenet(command.name, "--help").out
    assert printed.strip().splitlines()[-1] == f"Example: {command.example}"
    program, name, *words = shlex.split(command.example)
    assert (program, name) == ("firenet", command.name)
    _, bound, unused, _ = make_app(name).parse_known_args([name, *words])
    assert list(unused) == []
    assert bound.arguments


@pytest.mark.parametrize("words", [[], *([command.name] for command in COMMANDS)])
def test_each_help_has_one_example_at_its_end(words) -> None:
    lines = firenet(*words, "--help").out.strip().splitlines()
    examples = [line for line in lines if line.startswith("Example: firenet ")]
    assert examples == lines[-1:]


def test_commands_that_write_a_file_or_folder_take_it_by_o() -> None:
    writing = {command.name for command in COMMANDS if " -o " in command.example}
    assert writing == {command.name for command in COMMANDS} - {"certify", "info", "serve", "view"}


@pytest.mark.slow
def test_the_examples_run_in_a_folder_that_holds_a_scan(tmp_path, tmp_path_factory) -> None:
    examples = {command.name: shlex.split(command.example)[1:] for command in COMMANDS}
    assert firenet(*examples["demo"], folder=tmp_path).status == 0
    shutil.copy(tmp_path / "first_picture" / "scan.h5", tmp_path)
    others = [words for name, words in examples.items() if name not in {"demo", *NOT_RUN}]
    # certify and repeat need what recon has written.
    for words in sorted(others, key=lambda words: words[0] != "recon"):
        result = firenet(*words, folder=tmp_path)
        assert result.status == 0, (words, result.err)
    assert Path(tmp_path, "firenet_reconstruction", "data").is_dir()
