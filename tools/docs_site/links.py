"""Pages of the repository that the site shows beside docs/, and links that hold in both places.

A page of docs/ may link to any file of the repository, as it does where the repository is browsed.
The site has such a file too: Markdown as a page, Python as a page with its source, anything else as
it is. What lies outside docs/ is found in the site under ``repository/``, at its own path.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

# Where the site has what lies outside docs/, sources of Python wherever they lie, and the README.
OUTSIDE, SOURCE, START = "repository", "source", "start.md"

_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(!?\[(?:[^][]|\[[^][]*\])*\]\()([^)\s]+)((?:\s+\"[^\"]*\")?\))")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_ITEM = re.compile(r"^( *)([-*+]|\d+[.)]) +\S")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//|/|#)", re.IGNORECASE)


class BrokenLink(Exception):
    """A link to a file that is not there."""


def site_path(target: Path) -> str:
    """Return where the site has a file of the repository, by its path inside docs/."""
    if target == ROOT / "README.md":
        return START
    inside = target.is_relative_to(DOCS)
    path = target.relative_to(DOCS if inside else ROOT).as_posix()
    if target.suffix == ".py":
        return f"{SOURCE}/{target.relative_to(ROOT).with_suffix('.md').as_posix()}"
    return path if inside else f"{OUTSIDE}/{path}"


def resolved(link: str, page: Path) -> Path | None:
    """Return the file that a link of a page names; None if it leads elsewhere.

    Raises
    ------
    BrokenLink
        If there is no such file in the repository.
    """
    if _ELSEWHERE.match(link):
        return None
    target = (page.parent / link.partition("#")[0]).resolve()
    if target.is_dir():
        target = target / "README.md"
    if not target.is_relative_to(ROOT) or not target.is_file():
        raise BrokenLink(f"{page.relative_to(ROOT)}: {link} is not a file of the repository")
    return target


def linked(text: str, page: Path) -> list[Path]:
    """Return the files to which the text of a page links, outside of code."""
    found: list[Path] = []

    def note(link: str) -> str:
        target = resolved(link, page)
        if target is not None:
            found.append(target)
        return link

    _with_links(text, note)
    return found


def rewritten(text: str, page: Path, shown_as: str) -> str:
    """Return the text of a page with links that lead to the same files in the site.

    Parameters
    ----------
    text, page
        The Markdown and the file that it stands in.
    shown_as
        Where the site has the page.
    """

    def moved(link: str) -> str:
        target = resolved(link, page)
        if target is None:
            return link
        anchor = link.partition("#")[2]
        path = posixpath.relpath(site_path(target), posixpath.dirname(shown_as) or ".")
        return f"{path}#{anchor}" if anchor else path

    return _with_links(text, moved)


def reachable(pages: Iterable[Path]) -> set[Path]:
    """Return all files outside of the site's pages to which these lead, over further pages too."""
    found: set[Path] = set()
    waiting = [page.resolve() for page in pages]
    known = set(waiting)
    while waiting:
        page = waiting.pop()
        for target in linked(page.read_text(encoding="utf-8"), page):
            if target in known:
                continue
            known.add(target)
            found.add(target)
            if target.suffix == ".md":
                waiting.append(target)
    return found


def with_room_for_lists(text: str) -> str:
    """Return text in which a list that follows a paragraph has an empty line before it.

    Repositories show such a list as one; Python-Markdown takes it for more of the paragraph.
    """
    lines, is_code = [], False
    for line in text.split("\n"):
        if _FENCE.match(line):
            is_code = not is_code
        before = lines[-1] if lines else ""
        begins = not is_code and _ITEM.match(line)
        if begins and before.strip() and not _ITEM.match(before) and not before.startswith(" "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _with_links(text: str, change: Callable[[str], str]) -> str:
    """Return the text with every link changed that does not stand in code."""
    parts, prose, is_code = [], [], False
    for line in text.split("\n"):
        fence = _FENCE.match(line)
        is_indented = line.startswith("    ") and not _ITEM.match(line)
        if fence or is_code or is_indented:
            parts += [_in_prose("\n".join(prose), change)] if prose else []
            prose = []
            parts.append(line)
            is_code = is_code != bool(fence)
        else:
            prose.append(line)
    parts += [_in_prose("\n".join(prose), change)] if prose else []
    return "\n".join(parts)


def _in_prose(text: str, change: Callable[[str], str]) -> str:
    spans = [match.span() for match in _CODE.finditer(text)]

    def replace(match: re.Match[str]) -> str:
        # A link may have code for its text, but does not begin inside of code.
        if any(start < match.start() < end for start, end in spans):
            return match[0]
        return f"{match[1]}{change(match[2])}{match[3]}"

    return _LINK.sub(replace, text)
