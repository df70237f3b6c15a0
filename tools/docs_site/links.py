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

# Where the site has what lies outside docs/, and sources of Python wherever they lie.
OUTSIDE, SOURCE = "repository", "source"

# What the site has in the place of a file.
_MADE = {
    "README.md": "start.md",
    "examples/README.md": "gallery/index.md",
    "tests/test_public_api.py": "reference/index.md",
}
_EXAMPLE = re.compile(r"examples/\d+_(\w+)\.py")

_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(!?\[(?:[^][]|\[[^][]*\])*\]\()([^)\s]+)((?:\s+\"[^\"]*\")?\))")
_REMOTE_PICTURE = re.compile(r"!\[([^][]*)\]\(https?://[^)\s]+\)")
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_ITEM = re.compile(r"^( *)([-*+]|\d+[.)]) +\S")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//|/|#)", re.IGNORECASE)


class BrokenLink(Exception):
    """A link to a file that is not there."""


def site_path(target: Path) -> str:
    """Return where the site has a file of the repository, by its path inside docs/."""
    name = target.relative_to(ROOT).as_posix()
    if name in _MADE:
        return _MADE[name]
    if example := _EXAMPLE.fullmatch(name):
        return f"gallery/{example[1]}.md"
    if target.suffix == ".py":
        return f"{SOURCE}/{name.removesuffix('.py')}.md"
    return (
        target.relative_to(DOCS).as_posix() if target.is_relative_to(DOCS) else f"{OUTSIDE}/{name}"
    )


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


def without_remote_pictures(text: str) -> str:
    """Return a page with words for the pictures that a browser would fetch: badges."""
    return _REMOTE_PICTURE.sub(r"\1", text)


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


def with_room(text: str) -> str:
    """Return text in which lists that follow a paragraph, and fences, stand between empty lines.

    Where a repository is browsed they need none; Python-Markdown takes such a list for more of the
    paragraph, and what follows a fence for no paragraph at all.
    """
    lines: list[str] = []
    is_code = has_item = after_fence = False
    for line in text.split("\n"):
        is_fence = line.startswith(("```", "~~~"))
        is_item = not is_code and bool(_ITEM.match(line))
        opens = (is_fence and not is_code) or (is_item and not has_item)
        if line.strip() and (after_fence or (opens and lines and lines[-1].strip())):
            lines.append("")
            has_item = False
        lines.append(line)
        after_fence = is_fence and is_code
        is_code ^= is_fence
        has_item = bool(line.strip()) and (has_item or is_item)
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
