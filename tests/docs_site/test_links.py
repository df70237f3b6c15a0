"""Links of the pages hold where the repository is browsed and in the site."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import assemble
import links
import pytest
from markdown_it import MarkdownIt

MONAI = links.DOCS / "monai.md"
MARKDOWN = MarkdownIt("commonmark").enable("table")

PAGES = sorted(links.DOCS.rglob("*.md")) + [links.ROOT / name for name in assemble.OUTSIDE]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as repositories and the site make them."""
    found: set[str] = set()
    tokens = MARKDOWN.parse(path.read_text(encoding="utf-8"))
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or ())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def hrefs(text: str) -> list[str]:
    """Return the targets of links and pictures, as CommonMark reads them."""
    found = []
    for token in MARKDOWN.parse(text):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            found += [target] if target else []
    return [str(target) for target in found]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(links.ROOT).as_posix())
def test_links_and_anchors_of_the_pages_lead_somewhere(page) -> None:
    for target in hrefs(page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = links.resolved(path, page) if path else page
        if file is not None and anchor:
            assert file.suffix == ".md"
            assert anchor in anchors(file), target


@pytest.mark.parametrize(
    ("link", "moved"),
    [
        ("theory.md", "theory.md"),
        ("certificates.md#sign-one", "certificates.md#sign-one"),
        ("#read", "#read"),
        ("images/segmentation.png", "images/segmentation.png"),
        ("../README.md", "start.md"),
        ("../plugins/mrd_server/README.md", "repository/plugins/mrd_server/README.md"),
        ("../plugins", "repository/plugins/README.md"),
        ("../examples/README.md", "gallery/index.md"),
        ("../examples/02_choose_a_preset.py", "gallery/choose_a_preset.md"),
        ("../tests/test_public_api.py", "reference/index.md"),
        ("examples/check_certificate.py", "source/docs/examples/check_certificate.md"),
        ("https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_a_link_leads_to_the_same_file_in_the_site(link, moved) -> None:
    text = f"See [the page]({link}) and ![it]({link})."
    expected = f"See [the page]({moved}) and ![it]({moved})."
    assert links.rewritten(text, MONAI, "monai.md") == expected


def test_links_of_pages_outside_docs_are_moved_with_them() -> None:
    page = links.ROOT / "plugins/README.md"
    shown = links.site_path(page)
    moved = links.rewritten(
        "[a](benchmark/README.md) [b](../docs/theory.md#1-the-problem)", page, shown
    )
    assert shown == "repository/plugins/README.md"
    assert moved == "[a](benchmark/README.md) [b](../../theory.md#1-the-problem)"


def test_what_looks_like_a_link_in_code_is_left_alone() -> None:
    text = "`[a](theory.md)` and ``x `[a](../README.md)` y``\n\n```md\n[a](../README.md)\n```\n"
    text += "\n    [a](../README.md)\n"
    assert links.rewritten(text, MONAI, "monai.md") == text
    # Code may be the text of a link.
    assert links.rewritten("[`a`](../README.md)", MONAI, "monai.md") == "[`a`](start.md)"


@pytest.mark.parametrize("link", ["nothing.md", "../../elsewhere.md", "images/nothing.png"])
def test_a_link_to_a_missing_file_is_refused(link) -> None:
    with pytest.raises(links.BrokenLink, match=r"monai\.md: .* is not a file"):
        links.rewritten(f"[a]({link})", MONAI, "monai.md")


def test_files_are_reached_over_pages_that_are_not_shown() -> None:
    found = links.reachable([links.DOCS / "operations.md"])
    server, label = "plugins/mrd_server/README.md", "plugins/openrecon/label.json"
    assert {links.ROOT / server, links.ROOT / label} <= found
    assert links.DOCS / "operations.md" not in found


def test_lists_and_fences_get_the_room_that_python_markdown_needs() -> None:
    given = "A paragraph:\n- one\n  goes on\n- two\n```\n- code\n```\nEnd.\n1. first\n"
    expected = "A paragraph:\n\n- one\n  goes on\n- two\n\n```\n- code\n```\n\nEnd.\n\n1. first\n"
    assert links.with_room(given) == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(links.ROOT).as_posix())
def test_room_changes_nothing_where_the_repository_is_browsed(page) -> None:
    text = page.read_text(encoding="utf-8")
    roomy = links.with_room(text)
    assert roomy == text or MARKDOWN.render(roomy) == MARKDOWN.render(text)


def test_every_page_of_docs_is_in_the_navigation() -> None:
    settings = assemble.SETTINGS.read_text(encoding="utf-8")
    listed = set(re.findall(r"([\w/.-]+\.md)$", settings.partition("\nnav:")[2], re.MULTILINE))
    own = {path.relative_to(links.DOCS).as_posix() for path in links.DOCS.rglob("*.md")}
    assert own <= listed
    assert listed - own == {links.site_path(links.ROOT / name) for name in assemble.OUTSIDE}


def test_the_list_of_plugins_has_every_plugin() -> None:
    plugins = links.ROOT / "plugins"
    page = plugins / "README.md"
    listed = {links.resolved(target, page) for target in hrefs(page.read_text(encoding="utf-8"))}
    folders = [path for path in plugins.iterdir() if any(path.glob("*.*"))]
    assert len(folders) >= 5
    assert {folder / "README.md" for folder in folders if folder.is_dir()} <= listed
