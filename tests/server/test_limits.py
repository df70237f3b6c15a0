"""The limits of the server: one class, which the command line and the documentation agree with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from firenet_command import firenet

from firenet_mri.cli.options import chosen
from firenet_mri.errors import UsageError
from firenet_mri.server.limits import Limits

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
LARGEST = {
    "clients": 1 << 50,
    "idle": 1e8,
    "scan_gib": 1 << 20,
    "memory_gib": 1 << 20,
    "recon_minutes": 1e8 / 60,
    "recon_gib": 1 << 20,
    "stop_seconds": 1e8,
    "scan_hours": 1e8 / 3600,
    "message_bytes": 1 << 50,
    "ahead_bytes": 1 << 50,
}


def documented_limits() -> list[tuple[str, str, str]]:
    """Return the rows of the page's table of limits: what, option and default."""
    text = OPERATIONS.read_text(encoding="utf-8")
    table = text.partition("| limit | option | default |\n|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines()]
    return [(what, option.strip("`"), default) for what, option, default in rows]


def test_the_page_gives_every_flag_with_its_default_and_no_other() -> None:
    said = {(option, default) for _, option, default in documented_limits() if option != "none"}
    own = Limits.fields(without=Limits.REFUSED)
    defaults = {field.flag: field.default for field in own}
    shown = {flag: "no folder" if one is None else f"{one:g}" for flag, one in defaults.items()}
    assert said == set(shown.items())


def test_the_page_gives_the_limits_that_no_flag_changes() -> None:
    fixed = {what: default for what, option, default in documented_limits() if option == "none"}
    for words, value in (
        ("one part of a message", Limits().message_bytes),
        ("ahead of its reconstructions", Limits().ahead_bytes),
    ):
        (said,) = [default for what, default in fixed.items() if words in what]
        assert said == f"{value >> 20} MiB"


def test_the_help_names_every_flag_and_none_of_the_others() -> None:
    printed = firenet("serve", "--help").out
    flags = set(re.findall(r"(?<=│ )--[a-z-]+", printed))
    assert {field.flag for field in Limits.fields(without=Limits.REFUSED)} <= flags
    assert not {"--message-bytes", "--ahead-bytes"} & flags


def test_what_is_given_in_gib_minutes_and_hours_is_counted_in_bytes_and_seconds() -> None:
    text = {"scan_gib": "0.5", "memory_gib": "3", "recon_gib": "2", "recon_minutes": "1.5"}
    limits = chosen(Limits, {**text, "scan_hours": "2"})
    assert (limits.scan_bytes, limits.held_bytes, limits.recon_bytes) == (2**29, 3 << 30, 1 << 31)
    assert (limits.recon_s, limits.scan_s) == (90.0, 7200.0)


@pytest.mark.parametrize("name", LARGEST)
def test_a_limit_is_positive_and_can_be_counted(name) -> None:
    most = LARGEST[name]
    assert getattr(Limits(**{name: most}), name) == most
    for wrong in (0, -1, 2 * most, float("nan"), float("inf")):
        with pytest.raises(UsageError, match=f"{name} is "):
            Limits(**{name: wrong})


def test_the_ranges_are_those_of_all_limits_that_are_numbers() -> None:
    assert set(LARGEST) == {field.name for field in Limits.fields()} - {"networks"}
