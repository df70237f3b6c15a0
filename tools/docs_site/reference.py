"""Makes the reference: the public names, from the list that the tests hold, and the commands.

The list is read from ``tests/test_public_api.py`` itself, so that reference and test cannot differ.
A name that several packages export is described once, at the first of them.
"""

from __future__ import annotations

import ast
import importlib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
# The package of this folder, whatever is installed.
sys.path.insert(0, str(ROOT))

PUBLIC_API = ROOT / "tests/test_public_api.py"

_PACKAGE = "firenet_mri"
# Modules with more names than this have a list of them.
_FEW = 5
# The list of a command's own commands, which the page has at its side.
_CONTENTS = re.compile(r"^#+ Table of Contents\n.*?(?=^#)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


@dataclass
class Page:
    """Public names of a part of the package: ``firenet_mri.io``, or the modules beside such parts.

    Parameters
    ----------
    title
        Its heading.
    modules
        Public names by the module from which they are imported.
    """

    title: str
    modules: dict[str, list[str]] = field(default_factory=dict)


def public_names(source: Path = PUBLIC_API) -> dict[str, list[str]]:
    """Return every public name by its module, packages first, as the test's lists have them."""
    assigned = {
        node.targets[0].id: node.value
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    packages = ast.literal_eval(assigned["PACKAGES"])
    names = {module: sorted(importlib.import_module(module).__all__) for module in packages}
    for module, words in ast.literal_eval(assigned["NAMES"]).items():
        names.setdefault(module, []).extend(words.split())
    return names


def pages(names: dict[str, list[str]]) -> dict[str, Page]:
    """Return the pages by the names of their files, without suffix; each name is on one of them."""
    found: dict[str, Page] = {}
    for module, own in names.items():
        parts = module.split(".")
        is_package = len(parts) == 1 or (ROOT / parts[0] / parts[1]).is_dir()
        title = ".".join(parts[:2]) if is_package else "Other modules"
        file = title if is_package else "other_modules"
        found.setdefault(file, Page(title)).modules[module] = list(own)
    return found


def places() -> dict[str, str]:
    """Return where each public name is described, by the name alone; the first place of several."""
    found: dict[str, str] = {}
    for module, names in public_names().items():
        for name in names:
            if _is_described(getattr(importlib.import_module(module), name)):
                found.setdefault(name, identifier(f"{module}.{name}"))
    return found


def identifier(path: str) -> str:
    """Return the path by which Griffe knows a public name.

    It takes a function for the module that it comes from where both have one name.
    """
    module, _, name = path.rpartition(".")
    home = getattr(getattr(importlib.import_module(module), name), "__module__", "")
    return f"{home}.{name}" if home.rpartition(".")[2] == name else path


def page_text(page: Page, described: dict[int, str]) -> str:
    """Return the Markdown of a page.

    Parameters
    ----------
    page
        What is on it.
    described
        Where each object that was met on earlier pages is described; those here are added.
    """
    parts = [f"# {page.title}"]
    if page.title in page.modules:
        parts.append(_first_line(page.title))
    for module, names in page.modules.items():
        own = {name: getattr(importlib.import_module(module), name) for name in names}
        _note(module, own, described)
        if module != page.title:
            parts += [f"## {module}", _first_line(module)]
        if len(own) > _FEW:
            parts.append(_contents(module, own, described))
        parts += [_described(f"{module}.{name}", thing, described) for name, thing in own.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _note(module: str, names: dict[str, Any], described: dict[int, str]) -> None:
    """Note where the objects of a module are described, unless they are elsewhere already.

    Of several names of one object it is under its own.
    """
    for name, thing in names.items():
        own = getattr(thing, "__name__", name)
        chosen = own if names.get(own) is thing else name
        described.setdefault(id(thing), f"{module}.{chosen}")


def _described(path: str, thing: Any, described: dict[int, str]) -> str:
    """Return the part of a page about one name."""
    name = path.rpartition(".")[2]
    if not _is_described(thing):
        return f"### {name} {{ #{path} }}\n\n```python\n{str(thing).replace('typing.', '')}\n```"
    earlier = described[id(thing)]
    if earlier != path:
        return f"### {name} {{ #{path} }}\n\nThe same as [`{earlier}`][{identifier(earlier)}]."
    return f"::: {identifier(path)}"


def _contents(module: str, names: dict[str, Any], described: dict[int, str]) -> str:
    """Return a list of the names of a module, functions first, with what their docstrings say."""
    lines = []
    for name, thing in sorted(names.items(), key=lambda item: isinstance(item[1], type)):
        path = f"{module}.{name}"
        is_here = described[id(thing)] == path and _is_described(thing)
        anchor = identifier(path) if is_here else path
        lines.append(f"- [`{name}`](#{anchor}): {_summary(thing)}".rstrip(": "))
    return "\n".join(lines)


def _summary(thing: Any) -> str:
    if not _is_described(thing):
        return ""
    first = " ".join((thing.__doc__ or "").strip().partition("\n\n")[0].split())
    return _escaped(_ROLE.sub(r"`\1`", first))


def _escaped(text: str) -> str:
    return re.sub(r"(?<![\\*])([*|])(?!\*)", r"\\\1", text)


def _is_described(thing: Any) -> bool:
    """Return whether it has a docstring of its own: a class or a function, no alias of types."""
    return isinstance(thing, type) or (callable(thing) and hasattr(thing, "__code__"))


def _first_line(module: str) -> str:
    first = (importlib.import_module(module).__doc__ or "").strip().partition("\n\n")[0]
    return _escaped(_ROLE.sub(r"`\1`", first)).rstrip(":")


def overview(found: dict[str, Page]) -> str:
    """Return the first page of the reference."""
    rows = [
        f"| [{page.title}]({file}.md) | {_about(page)} |" for file, page in sorted(found.items())
    ]
    return (
        "# Reference\n\n"
        "These pages list the public names, on which code of your own may build; a test keeps "
        "list and package the same. Everything else is private and may change without notice. "
        "The options of the commands are in [Command line](command_line.md).\n\n"
        "| | |\n|---|---|\n" + "\n".join(rows) + "\n"
    )


def _about(page: Page) -> str:
    if not page.title.startswith(_PACKAGE):
        return ", ".join(f"`{module}`" for module in page.modules)
    return " ".join(_first_line(page.title).split())


def command_line() -> str:
    """Return the page of all commands, made from the options as their help is."""
    from firenet_mri.cli.app import make_app

    names = [name for name in make_app() if not name.startswith("-")]
    parts = [
        "# Command line",
        "`firenet COMMAND --help` shows the same in a terminal.",
    ]
    for name in names:
        command = make_app(name)[name]
        if not command.show:
            continue
        text = command.generate_docs(output_format="markdown", heading_level=2)
        text = _CONTENTS.sub("", text).replace(f"## {name}", f"## firenet {name}", 1)
        parts.append(text.replace("```console\n", "```console\nfirenet "))
    return "\n\n".join(parts) + "\n"
