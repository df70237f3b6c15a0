"""Cells of CSV tables: a spreadsheet must not take a file's name or a message for a formula."""

from __future__ import annotations

import re

# Characters that begin a formula in spreadsheets; a preceding apostrophe makes it a text.
_FORMULA = re.compile("'*[=+\\-@\t\r]")


def cell(text: str) -> str:
    """Return a text for a table, preceded by an apostrophe if it looks like a formula.

    :func:`text_of_cell` returns the original text.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(written: str) -> str:
    """Return the original text of a cell from :func:`cell`."""
    return written[1:] if written[:1] == "'" and _FORMULA.match(written) else written
