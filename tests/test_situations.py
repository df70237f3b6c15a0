"""The page of situations names tests that exist, one for every row."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rows() -> list[list[str]]:
    """Return the cells of the page's rows of four columns, without the heads of the tables."""
    lines = (ROOT / "docs/situations.md").read_text(encoding="utf-8").splitlines()
    found = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    return [row for row in found if len(row) == 4 and row[-1] not in ("test", "---")]


def test_every_situation_has_a_test_of_the_name_that_the_page_gives() -> None:
    files: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        files[path.name] = files.get(path.name, "") + path.read_text(encoding="utf-8")
    assert len(rows()) > 50
    for situation, _, _, cell in rows():
        named = re.fullmatch(r"`(test_\w+\.py)::(test_\w+)`", cell)
        assert named is not None, situation
        assert re.search(rf"^def {named[2]}\(", files[named[1]], re.MULTILINE), situation


def test_what_became_of_a_situation_stands_in_every_row() -> None:
    for row in rows():
        assert all(row), row
