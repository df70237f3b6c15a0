"""Prints tables whole: a pipe or a file gets all columns, a narrow terminal folds the cells."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

# More than any table needs; measured against it, a table says how wide it is.
_WIDEST = 10_000


def print_table(console: Console, table: Table) -> None:
    """Print a table without cutting a cell.

    Parameters
    ----------
    console
        Where it goes. If that is not a terminal, its width does not matter.
    table
        What is printed; its cells fold from now on where they would have been cut.
    """
    for column in table.columns:
        column.overflow = "fold"
    if console.is_terminal:
        console.print(table)
        return
    options = console.options.update(width=_WIDEST)
    width = max(console.width, console.measure(table, options=options).maximum)
    Console(file=console.file, width=width, highlight=False).print(table)
