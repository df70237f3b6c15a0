"""The help of every benchmark and experiment ends with an example of its own."""

from __future__ import annotations

import pytest
from firenet_command import firenet

from firenet_benchmark.cli import benchmark_app, paper_app

COMMANDS = [
    (group, name)
    for group, app in (("benchmark", benchmark_app), ("paper", paper_app))
    for name in app
    if not name.startswith("-")
]


@pytest.mark.parametrize(("group", "name"), COMMANDS)
def test_help_ends_with_an_example(group, name) -> None:
    last = firenet(group, name, "--help").out.strip().splitlines()[-1]
    assert last.startswith(f"Example: firenet {group} {name}")


def test_all_commands_are_there() -> None:
    assert len(COMMANDS) == 14


@pytest.mark.parametrize("group", ["benchmark", "paper"])
def test_the_help_of_a_group_ends_with_an_example(group) -> None:
    last = firenet(group, "--help").out.strip().splitlines()[-1]
    assert last.startswith(f"Example: firenet {group} ")
