"""Options as values: a frozen dataclass that is checked once and is record, key and digest.

Everything that a user may ask for is a field of such a class. The command line, Python, MONAI,
SigPy, the server and the batch all take it from there: name, type, default, help and check are
defined in one place, so a new field appears everywhere. Nothing here needs torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import inspect
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from firenet_mri.digests import digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import FileError, UsageError

# Similarity above which a name is taken for a misspelt option.
_ALIKE = 0.8

_Class = TypeVar("_Class", bound="type[Options]")
_Options = TypeVar("_Options", bound="Options")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def option(
    default: Any,
    help: str,
    *,
    parse: Callable[[str], Any] | None = None,
    check: Callable[[Any], str | None] | None = None,
    panel: str | None = None,
    changes_image: bool = True,
    flag: str | None = None,
) -> Any:
    """Return a field of an options class.

    Parameters
    ----------
    default
        Its default value.
    help
        Help text: a sentence with unit and range.
    parse
        Converts text, as it comes from a command line or from JSON, to the value; None converts by
        the field's type.
    check
        Returns what is wrong with a value and what to do; None if nothing is wrong.
    panel
        Topic under which a face shows the option; None is the topic of the class.
    changes_image
        False for an option that only sets where or how the work is done, such as the device. It is
        recorded, but finished work is reused whatever its value.
    flag
        Name on the command line, without dashes; None is the field's name.
    """
    metadata = {
        "help": help,
        "parse": parse,
        "check": check,
        "panel": panel,
        "changes_image": changes_image,
        "flag": flag,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Field:
    """One option as a face sees it.

    Parameters
    ----------
    name, default, help, panel
        Name, default, help text, and the topic under which the option is shown.
    choices
        The allowed words, if only some are allowed.
    is_flag
        True for an option that is on or off.
    parse
        Converts text to a value.
    annotation
        The field's type.
    word
        Name on the command line, without dashes, if it is not ``name``.
    """

    name: str
    default: Any
    help: str
    panel: str
    choices: tuple[str, ...]
    is_flag: bool
    parse: Callable[[str], Any]
    annotation: Any
    word: str | None = None

    @property
    def flag(self) -> str:
        """The flag on the command line, such as "--map-sets"."""
        return "--" + (self.word or self.name).replace("_", "-")


class Options:
    """Base of all options classes; derive frozen dataclasses with ``eq=False`` from it.

    A field whose type is itself an options class is a group: its options are passed flat, beside
    the others.
    """

    #: Topic under which a face shows the fields.
    panel = "Options"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__doc__ = inspect.cleandoc(cls.__doc__ or "")

    def __post_init__(self) -> None:
        for entry in _own_fields(type(self)):
            _check(entry, getattr(self, entry.name), _hints(type(self))[entry.name])
        self._check_together()

    def _check_together(self) -> None:
        """Raise UsageError for options that contradict each other."""

    @classmethod
    def fields(cls, *, without: Iterable[str] = ()) -> tuple[Field, ...]:
        """Return all options, those of the groups included, except those that a face refuses."""
        found: list[Field] = []
        for entry in _own_fields(cls):
            group = _group_of(cls, entry.name)
            found += group.fields() if group is not None else [_described(cls, entry)]
        refused = set(without)
        return tuple(one for one in found if one.name not in refused)

    @classmethod
    def own_among(cls, names: Iterable[str]) -> set[str]:
        """Return the names that are options, or so similar to an option that it must be meant.

        Where other programs' parameters are mixed with ours, only these names are checked.
        """
        known = [field.name for field in cls.fields()]
        return {name for name in names if difflib.get_close_matches(name, known, 1, _ALIKE)}

    @classmethod
    def from_mapping(
        cls: type[_Options], values: Mapping[str, Any], *, without: Iterable[str] = ()
    ) -> _Options:
        """Return the options in a mapping, with defaults for all others.

        Parameters
        ----------
        values
            Options by name, those of a group flat or under the group's name, as :meth:`to_dict`
            returns them. Text is parsed: "99%" is 0.99.
        without
            Names that have no meaning in the calling face; they are refused.

        Raises
        ------
        UsageError
            If a name is unknown, a value is out of its range, or two contradict each other.
        """
        refused = set(without) & set(values)
        if refused:
            raise UsageError(f"{', '.join(sorted(refused))}: not possible here; leave it out")
        known = {field.name for field in cls.fields()}
        chosen: dict[str, Any] = {}
        rest = dict(values)
        for entry in _own_fields(cls):
            group = _group_of(cls, entry.name)
            if group is not None:
                inner = _mapping(entry.name, rest.pop(entry.name, {}), group)
                for field in group.fields():
                    if field.name in rest:
                        inner[field.name] = rest.pop(field.name)
                chosen[entry.name] = group.from_mapping(inner, without=without)
            elif entry.name in rest:
                chosen[entry.name] = _value(cls, entry, rest.pop(entry.name))
        if rest:
            raise UsageError(_unknown(sorted(rest)[0], known))
        return cls(**chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain data for JSON; arrays and files appear as their SHA-256."""
        return {entry.name: _plain(getattr(self, entry.name)) for entry in _own_fields(type(self))}

    def key(self) -> dict[str, Any]:
        """Return the part of :meth:`to_dict` that changes the image or its certificate."""
        return {
            entry.name: value.key()
            if isinstance(value := getattr(self, entry.name), Options)
            else _plain(value)
            for entry in _own_fields(type(self))
            if entry.metadata.get("changes_image", True)
        }

    def flat(self) -> dict[str, Any]:
        """Return the values by name, those of the groups beside the others."""
        found: dict[str, Any] = {}
        for entry in _own_fields(type(self)):
            value = getattr(self, entry.name)
            found |= value.flat() if isinstance(value, Options) else {entry.name: value}
        return found

    def replace(self: _Options, **changes: Any) -> _Options:
        """Return the options with some values changed; those of the groups are given flat."""
        return type(self).from_mapping({**self.flat(), **changes})

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(digest_of_data(self.to_dict()))


def documented(cls: _Class) -> _Class:
    """Give an options class a docstring that lists its fields with their help texts."""
    lines = [cls.__doc__ or "", "", "Parameters", "----------"]
    for entry in _own_fields(cls):
        group = _group_of(cls, entry.name)
        text = entry.metadata.get("help") or f"See :class:`{group.__name__}`." if group else None
        lines += [entry.name, f"    {text or entry.metadata['help']}"]
    lines += ["", "Raises", "------", "UsageError", "    If a value is out of its range."]
    cls.__doc__ = "\n".join(lines) + "\n"
    return cls


def takes_options(
    *classes: type[Options], without: Iterable[str] = ()
) -> Callable[[_Function], _Function]:
    """Give a function with ``**options`` a signature that names them all.

    Parameters
    ----------
    classes
        The options classes whose fields it takes.
    without
        Fields that have no meaning there.
    """
    fields = [field for cls in classes for field in cls.fields(without=without)]

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        named = {one.name for one in own}
        extra = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.annotation,
            )
            for field in fields
            if field.name not in named
        ]
        function.__signature__ = signature.replace(parameters=[*own, *extra])  # type: ignore[attr-defined]
        return function

    return decorate


def share(text: str) -> float:
    """Return the number given as a percentage or as a number."""
    try:
        return float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise ValueError("it is not a share; give one such as 2% or 0.02") from None


def indices(text: str) -> tuple[int, ...]:
    """Return the numbers of a list such as 2-5,8."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
            raise ValueError("it is not a list of numbers; give one such as 3 or 2-5,8")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def sizes(text: str) -> tuple[int, ...]:
    """Return the numbers of a size such as 256x256."""
    parts = text.lower().split("x")
    if not all(part.isdigit() for part in parts):
        raise ValueError("it is not a size; give one such as 256x256")
    return tuple(int(part) for part in parts)


def _hints(cls: Any) -> dict[str, Any]:
    """Return the types of a class's fields; those of libraries that are not loaded are Any."""
    return _cached_hints(cls)


@functools.cache
def _cached_hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, localns={"Tensor": Any})


def _own_fields(cls: type[Options]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)  # type: ignore[arg-type]


def _group_of(cls: type[Options], name: str) -> type[Options] | None:
    hint = _hints(cls)[name]
    return hint if isinstance(hint, type) and issubclass(hint, Options) else None


def _described(cls: type[Options], entry: dataclasses.Field[Any]) -> Field:
    hint = _hints(cls)[entry.name]
    return Field(
        entry.name,
        entry.default,
        entry.metadata["help"],
        entry.metadata["panel"] or cls.panel,
        _choices(hint),
        hint is bool,
        lambda text: _value(cls, entry, text),
        hint,
        entry.metadata["flag"],
    )


def _choices(hint: Any) -> tuple[str, ...]:
    """Return the words that a type allows; () if other text or numbers are allowed, too."""
    parts = _parts(hint)
    words = [word for part in parts if _is_literal(part) for word in typing.get_args(part)]
    others = [one for one in parts if not _is_literal(one) and one not in (type(None), Any)]
    return tuple(words) if not others else ()


def _parts(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _value(cls: type[Options], entry: dataclasses.Field[Any], given: Any) -> Any:
    """Return a value in the field's type, parsed if it is text."""
    if isinstance(given, list | tuple | range | set | frozenset):
        with contextlib.suppress(TypeError):
            given = tuple(operator.index(one) for one in given)
    if not isinstance(given, str):
        return given
    _refuse_empty(entry.name, given)
    hint = _hints(cls)[entry.name]
    words = [word for part in _parts(hint) if _is_literal(part) for word in typing.get_args(part)]
    if given in words:
        return given
    try:
        parse = entry.metadata.get("parse")
        return parse(given) if parse is not None else _by_type(given, _parts(hint))
    except ValueError as error:
        text = str(error) if "; give" in str(error) else f"it must be {_kinds(hint)}"
        raise UsageError(f"{entry.name} is {given!r}; {text}") from None


def _refuse_empty(name: str, text: str) -> None:
    """Raise UsageError for empty text, which is more likely an unset variable."""
    if not text.strip():
        raise UsageError(f"{name} is {text!r}; give a value, or omit it")


def _by_type(text: str, parts: tuple[Any, ...]) -> Any:
    if type(None) in parts and text.lower() in ("none", "null"):
        return None
    if bool in parts:
        words = {"true": True, "false": False, "1": True, "0": False}
        if text.lower() not in words:
            raise ValueError(text)
        return words[text.lower()]
    if int in parts:
        return int(text)
    if float in parts:
        return float(text)
    return Path(text) if Path in parts else text


def _check(entry: dataclasses.Field[Any], value: Any, hint: Any) -> None:
    """Raise UsageError if a field does not accept a value."""
    parts = _parts(hint)
    if isinstance(value, Options) or (value is None and type(None) in parts):
        return
    if isinstance(value, str):
        _refuse_empty(entry.name, value)
    words = [word for part in parts if _is_literal(part) for word in typing.get_args(part)]
    others = [part for part in parts if not _is_literal(part)]
    if isinstance(value, str) and words and value not in words and str not in others:
        raise UsageError(f"Unknown {entry.name} {value!r}; use one of {', '.join(words)}")
    if not _fits(value, parts):
        raise UsageError(f"{entry.name} is {value!r}; it must be {_kinds(hint)}")
    problem = entry.metadata["check"] and entry.metadata["check"](value)
    if problem:
        raise UsageError(f"{entry.name} is {value!r}; {problem}")


def _fits(value: Any, parts: tuple[Any, ...]) -> bool:
    """Return whether a value has one of the types."""
    for part in parts:
        if part is Any:
            # An array of another library.
            if hasattr(value, "shape"):
                return True
        elif _is_literal(part):
            if isinstance(value, str) and value in typing.get_args(part):
                return True
        elif typing.get_origin(part) is tuple:
            if isinstance(value, tuple) and all(type(one) is int for one in value):
                return True
        elif part is float:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and not math.isnan(value):
                return True
        elif part is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return True
        elif isinstance(value, part):
            return True
    return False


def _kinds(hint: Any) -> str:
    """Return what a type allows, in words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}
    words |= {Path: "a file", Any: "an array"}
    found = []
    for part in _parts(hint):
        if _is_literal(part):
            found += [repr(word) for word in typing.get_args(part)]
        elif typing.get_origin(part) is tuple:
            found.append("whole numbers")
        elif part in words and words[part] not in found:
            found.append(words[part])
    return " or ".join(found)


def _plain(value: Any) -> Any:
    if isinstance(value, Options):
        return value.to_dict()
    if isinstance(value, Path):
        # BART names a pair of files without their suffixes.
        file = value if value.suffix else value.with_name(f"{value.name}.cfl")
        try:
            return {"sha256_of_file": digest_of_file(file)}
        except OSError as error:
            raise FileError(f"{value}: cannot be read ({error.strerror or error})") from error
    if hasattr(value, "detach") or hasattr(value, "__array__"):
        return {"sha256_of_array": digest_of_tensor(value)}
    return list(value) if isinstance(value, tuple) else value


def _mapping(name: str, given: Any, group: type[Options]) -> dict[str, Any]:
    """Return the options of a group that was given under its own name."""
    if not isinstance(given, Mapping):
        names = ", ".join(field.name for field in group.fields())
        raise UsageError(f"{name} is {given!r}; give its options one by one: {names}")
    return dict(given)


def _unknown(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    advice = f"did you mean {near[0]}?" if near else f"use {', '.join(sorted(known))}"
    return f"Unknown option {name!r}; {advice}"
