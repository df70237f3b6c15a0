"""Cells of CSV tables: a spreadsheet must not take a file's name or a message for a formula."""

from __future__ import annotations

import re

# What spreadsheets take for the beginning of a formula; an apostrophe before it makes it a text.
_FORMULA = re.compile("'*[=+\\-@\t\r]")


def cell(text: str) -> str:
    """Return a text for a table, with an apostrophe before it if it looks like a formula.

    :func:`text_of_cell` gives it back.
    """
    return f"'{text}" if _FORMULA.match(text) else text


def text_of_cell(written: str) -> str:
    """Return the text that :func:`cell` wrote."""
    return written[1:] if written[:1] == "'" and _FORMULA.match(written) else written
