"""Puts all pages of the site into one folder of plain Markdown, ``build/docs``.

    python tools/docs_site/assemble.py

The pages of docs/, the README, the gallery, the reference, and every file of the repository to
which a page leads. The generator of the site needs neither hooks nor plugins for this, and can be
replaced by another one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import gallery
import links
import reference

PLACE = links.ROOT / "build/docs"
SETTINGS = links.ROOT / "mkdocs.yml"

#: Pages outside docs/ that the navigation shows.
OUTSIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "plugins/README.md",
    "sample_data/README.md",
)


def main() -> None:
    """Make the folder anew, and the settings whose navigation has all pages."""
    if PLACE.exists():
        shutil.rmtree(PLACE)
    own = sorted(path for path in links.DOCS.rglob("*") if path.is_file())
    shown = [path for path in own if path.suffix == ".md"]
    shown += [links.ROOT / name for name in OUTSIDE]
    for source in {*own, *shown, *links.reachable(shown)}:
        add(source)
    # What is made takes the place of the files that stand for it where the repository is browsed.
    examples = add_gallery(gallery.examples())
    pages = add_reference()
    settings = SETTINGS.read_text(encoding="utf-8")
    settings = with_pages(settings, "gallery", ["gallery/index.md", *examples])
    settings = with_pages(settings, "reference", pages)
    (PLACE.parent / SETTINGS.name).write_text(settings, encoding="utf-8")


def write(path: str, text: str) -> None:
    """Write a page of the site."""
    target = PLACE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def copy(source: Path, path: str) -> None:
    """Copy a file into the site as it is."""
    target = PLACE / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def add(source: Path) -> None:
    """Add a file of the repository: Markdown and Python as pages, anything else as it is."""
    path = links.site_path(source)
    if source.suffix == ".md":
        text = links.rewritten(source.read_text(encoding="utf-8"), source, path)
        write(path, links.with_room(links.without_remote_pictures(text)))
    elif source.suffix == ".py":
        code = source.read_text(encoding="utf-8")
        name = source.relative_to(links.ROOT).as_posix()
        write(path, f"# {name}\n\n````python\n{code}````\n")
    else:
        copy(source, path)


def add_gallery(examples: Iterable[gallery.Example]) -> list[str]:
    """Add the pages of the examples and what their last run left; return the pages.

    Raises
    ------
    FileNotFoundError
        If an example has not been run as it stands.
    """
    shown = [(example, gallery.outcome_of(example)) for example in examples]
    write("gallery/index.md", gallery.overview(shown))
    for example, outcome in shown:
        folder = gallery.RESULTS / example.name
        write(f"gallery/{example.name}.md", gallery.page(example, outcome))
        pictures = [folder / name for names in outcome.figures for name in names]
        for path in (*pictures, folder / f"{example.name}.ipynb", example.path):
            copy(path, f"gallery/{example.name}/{path.name}")
    return [f"gallery/{example.name}.md" for example, _ in shown]


def add_reference() -> list[str]:
    """Add the pages of the public names and of the commands; return them."""
    found = reference.pages(reference.public_names())
    described: dict[int, str] = {}
    write("reference/index.md", reference.overview(found))
    write("reference/command_line.md", reference.command_line())
    for name, page in found.items():
        write(f"reference/{name}.md", reference.page_text(page, described))
    first = ["reference/index.md", "reference/command_line.md"]
    return first + [f"reference/{name}.md" for name in sorted(found)]


def with_pages(settings: str, part: str, pages: list[str]) -> str:
    """Return the settings with pages in the place of ``part/`` in the navigation.

    Raises
    ------
    ValueError
        If the navigation has no such place.
    """
    place = f": {part}/\n"
    if settings.count(place) != 1:
        raise ValueError(f"{SETTINGS.name}: the navigation needs one entry {place.strip(': ')!r}")
    items = "".join(f"\n      - {page}" for page in pages)
    return settings.replace(place, f":{items}\n")


if __name__ == "__main__":
    main()
