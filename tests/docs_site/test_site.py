"""The whole site is assembled and built, strictly; tutorials do what they say."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import assemble
import gallery
import links
import pytest
from firenet_command import firenet
from markdown_it import MarkdownIt

TAGS = {"li", "table", "tr", "pre", "h1", "h2", "h3", "img", "blockquote"}
TUTORIALS = sorted((links.DOCS / "tutorials").glob("*.md"))


class Tags(HTMLParser):
    """Counts the tags of a page's text."""

    def __init__(self, html: str, *, everything: bool) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._inside = everything
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self._inside |= tag == "article"
        if self._inside and tag in TAGS:
            self.found[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "article"


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    """Return a folder with pages and settings, whose examples drew one picture each."""
    place = tmp_path_factory.mktemp("site")
    results = place / "gallery"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "PLACE", place / "docs")
        patch.setattr(gallery, "RESULTS", results)
        patch.setattr(gallery, "outcome_of", lambda example: drawn(example, results))
        assemble.main()
    settings = place / "mkdocs.yml"
    roles = links.ROOT / "tools/docs_site/roles.py"
    text = settings.read_text(encoding="utf-8")
    text = text.replace("../tools/docs_site/roles.py", str(roles))
    settings.write_text(text.replace("paths: [..]", f"paths: [{links.ROOT}]"), encoding="utf-8")
    return place


def drawn(example: gallery.Example, results: Path) -> gallery.Outcome:
    folder = results / example.name
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(links.DOCS / "images/demo.png", folder / "figure_1.png")
    (folder / f"{example.name}.ipynb").write_text("{}", encoding="utf-8")
    cells = len(example.cells)
    return gallery.Outcome(("",) * cells, ((),) * (cells - 1) + (("figure_1.png",),), 1.0)


def build(place: Path) -> subprocess.CompletedProcess[str]:
    """Build the site in a folder, strictly; skip where its generator is not installed."""
    for module in ("zensical", "mkdocstrings"):
        pytest.importorskip(module, reason=f"{module} comes with make docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)


def test_pages_are_plain_markdown_without_tags_that_swallow_text(assembled) -> None:
    markdown = MarkdownIt("commonmark").enable("table")
    for path in sorted((assembled / "docs").rglob("*.md")):
        tokens = markdown.parse(path.read_text(encoding="utf-8"))
        inline = [child for token in tokens for child in token.children or ()]
        assert [one.content for one in inline if one.type == "html_inline"] == [], path
        blocks = [one.content for one in tokens if one.type == "html_block"]
        assert all(block.startswith(("<div class=", "</div>")) for block in blocks), path


def test_no_page_fetches_a_picture_from_elsewhere(assembled) -> None:
    """The README's badges would be, on an index page they may."""
    assert "](https://img" in (links.ROOT / "README.md").read_text(encoding="utf-8")
    for path in sorted((assembled / "docs").rglob("*.md")):
        assert not re.search(r"!\[[^]]*\]\(https?:", path.read_text(encoding="utf-8")), path
    start = (assembled / "docs/start.md").read_text(encoding="utf-8")
    assert "[Paper](https://doi.org/10.1073/pnas.2107151119)" in start


def test_the_navigation_of_the_built_site_has_every_example(assembled) -> None:
    text = (assembled / "mkdocs.yml").read_text(encoding="utf-8")
    for example in gallery.examples():
        assert f"      - gallery/{example.name}.md\n" in text
        assert (assembled / f"docs/gallery/{example.name}/{example.path.name}").is_file()
    with pytest.raises(ValueError, match="needs one entry"):
        assemble.with_pages(text, "gallery", [])


@pytest.mark.slow
def test_the_site_is_built_strictly_and_fetches_nothing(assembled) -> None:
    result = build(assembled)
    assert result.returncode == 0, result.stdout + result.stderr
    site = assembled / "site"
    fetched = r"<(?:script|img|iframe)[^>]+src=\"https?:|<link[^>]+stylesheet[^>]+href=\"https?:"
    for path in site.rglob("*.html"):
        assert not re.search(fetched, path.read_text(encoding="utf-8")), path
    # What a reader of CommonMark sees of a page, the site shows.
    markdown = MarkdownIt("commonmark").enable("table")
    for name in ("theory", "monai", "operations", "benchmark", "certificates", "scanner"):
        text = (assembled / f"docs/{name}.md").read_text(encoding="utf-8")
        expected = Tags(markdown.render(text), everything=True).found
        html = (site / f"{name}.html").read_text(encoding="utf-8")
        assert Tags(html, everything=False).found == expected, name


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken", ["[a](nothing.md)", "[a](theory.md#nothing)", "[a][firenet_mri.x]"]
)
def test_a_broken_link_stops_the_build(assembled, tmp_path, broken) -> None:
    place = tmp_path / "copy"
    shutil.copytree(assembled, place, ignore=shutil.ignore_patterns("site", ".cache"))
    with (place / "docs/sigpy.md").open("a", encoding="utf-8") as file:
        file.write(f"\n\n{broken}\n")
    result = build(place)
    assert result.returncode != 0
    assert "sigpy.md" in result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs_as_it_stands(page, tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "sample_data").symlink_to(links.ROOT / "sample_data")
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for line in re.findall(r"^    (firenet .*)$", text, re.MULTILINE):
        result = firenet(*shlex.split(line)[1:], folder=tmp_path)
        assert result.status == 0, result.err
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(block, page.name, "exec"), names)
    assert "firenet" in text
