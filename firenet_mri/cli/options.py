"""Builds the flags of a command from options classes, which hold names, defaults and help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from cyclopts import Group, Parameter, Token

from firenet_mri.options import Field, Options

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Chosen = TypeVar("_Chosen", bound=Options)

# Topics in the order in which the help shows them.
_PANELS = (
    "Input",
    "Simulated scans",
    "Options",
    "Limits",
    "Network",
    "Maps and coils",
    "Certificate",
    "Output",
    "Running",
)


def panel(name: str) -> Group:
    """Return the topic under which the help shows a command's own flags."""
    return Group(name, sort_key=_PANELS.index(name))


#: Flags that most commands have.
Overwrite = Annotated[
    bool,
    Parameter(help="Replace outputs that exist.", group=panel("Output"), show_default=False),
]
Debug = Annotated[
    bool,
    Parameter(help="Show a traceback on errors.", group=panel("Running"), show_default=False),
]
AsJson = Annotated[
    bool,
    Parameter(
        name="--json", help="Print the result as JSON.", group=panel("Output"), show_default=False
    ),
]


def with_flags(
    *classes: type[Options], without: Iterable[str] = ()
) -> Callable[[_Function], _Function]:
    """Give a command with ``**options`` a flag for every field of options classes.

    The command receives the given values as text and converts them into options with
    :func:`chosen`. Defaults and switches are passed unchanged.

    Parameters
    ----------
    classes
        The options classes.
    without
        Fields that have no meaning for this command.
    """
    fields = [field for cls in classes for field in cls.fields(without=without)]

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        flags = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[_kind(field), _parameter(field)],
            )
            for field in fields
        ]
        function.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return function

    return decorate


def chosen(cls: type[_Chosen], options: dict[str, Any]) -> _Chosen:
    """Return the options of one class from all options that a command received."""
    names = {field.name for field in cls.fields()}
    return cls.from_mapping({name: value for name, value in options.items() if name in names})


def output_flag(help: str) -> Parameter:
    """Return the flag for the file or folder that a command writes."""
    return Parameter(name=["--output", "-o"], help=help, group=panel("Output"))


def known_flags() -> frozenset[str]:
    """Return all flags of reading and reconstruction, whether or not a command accepts them."""
    from firenet_mri.io.kspace.options import ReadOptions
    from firenet_mri.reconstruction.options import ReconstructionOptions

    fields = (*ReadOptions.fields(), *ReconstructionOptions.fields())
    return frozenset(field.flag for field in fields)


def flag(name: str) -> str:
    """Return a field's name as the command line writes it."""
    return "--" + name.replace("_", "-")


def _parameter(field: Field) -> Parameter:
    group = panel(field.panel)
    name = field.flag
    if field.is_flag:
        return Parameter(name, help=field.help, group=group, negative=(), show_default=False)
    # The help text itself states in words what a default of None means.
    shown = False if field.default is None else _as_typed
    return Parameter(name, help=field.help, group=group, converter=_as_given, show_default=shown)


def _as_typed(default: Any) -> str:
    """Return a default in the form in which a user would type it."""
    if isinstance(default, tuple):
        return ",".join(map(_as_typed, default))
    return f"{default:.3g}" if isinstance(default, float) else str(default)


def _kind(field: Field) -> Any:
    """Return a type for the help; choices are shown and completed."""
    if field.choices:
        return Literal[field.choices]
    hints = [one for one in _types(field.annotation) if one is not type(None)]
    if Path in hints:
        return Path
    return hints[0] if len(hints) == 1 and hints[0] in (bool, int, float) else str


def _types(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) or (hint,)


def _as_given(type_: Any, tokens: Sequence[Token]) -> str:
    """Return the text unchanged: the options class parses it, so that errors agree everywhere."""
    return tokens[0].value
