"""Tables lose no text: not in a pipe, whatever its width, nor in a narrow terminal."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from firenet_command import firenet
from rich.console import Console
from rich.table import Table

from firenet_mri.cli.tables import print_table

SCAN = Path(__file__).parents[2] / "sample_data" / "brain_3slices.h5"
WORDS = [f"{letter * 30}" for letter in "abcdefgh"]


def printed(*, width: int, is_terminal: bool) -> str:
    """Return a table with one row of eight long cells as it is printed."""
    file, table = io.StringIO(), Table(*WORDS, title="eight")
    table.add_row(*WORDS)
    print_table(Console(file=file, width=width, force_terminal=is_terminal), table)
    return file.getvalue()


def test_a_pipe_gets_every_column_whole() -> None:
    text = printed(width=40, is_terminal=False)
    assert sum(word in text for word in WORDS) == 8
    assert "…" not in text
    assert max(map(len, text.splitlines())) < 300


def test_a_narrow_terminal_folds_instead_of_cutting() -> None:
    text = printed(width=80, is_terminal=True)
    assert "…" not in text
    for letter in "abcdefgh":
        assert text.count(letter) >= 60


@pytest.mark.parametrize("columns", ["20", "80"])
def test_info_in_a_pipe_shows_the_whole_name(columns, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = "a_scan_with_a_name_" * 6 + ".h5"
    shutil.copy(SCAN, tmp_path / name)
    assert name in firenet("info", name, folder=tmp_path).out
