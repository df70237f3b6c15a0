"""Prints tables in full: a pipe or a file gets all columns, a narrow terminal folds the cells."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# More columns than any table needs, so that measuring a table yields its full width.
_WIDEST = 10_000


def print_table(console: Console, table: Table) -> None:
    """Print a table without truncating a cell.

    Parameters
    ----------
    console
        The console to print on. Its width does not matter if it is not a terminal.
    table
        The table. From now on its cells are folded where they would have been truncated.
    """
    for column in table.columns:
        column.overflow = "fold"
    if console.is_terminal:
        console.print(table)
        return
    options = console.options.update(width=_WIDEST)
    width = max(console.width, console.measure(table, options=options).maximum)
    Console(file=console.file, width=width, highlight=False).print(table)
