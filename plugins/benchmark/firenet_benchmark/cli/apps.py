"""The two groups of commands; options have no negative forms, and help comes from docstrings."""

from __future__ import annotations

from cyclopts import App, Parameter

_OPTIONS = Parameter(negative=())

benchmark_app = App(
    name="benchmark",
    help="Measure accuracy, stability and speed.",
    help_epilogue="Example: firenet benchmark speed -o speed",
    version_flags=(),
    default_parameter=_OPTIONS,
)
paper_app = App(
    name="paper",
    help="Reproduce the paper's experiments.",
    help_epilogue="Example: firenet paper barrier -o paper",
    version_flags=(),
    default_parameter=_OPTIONS,
)
