"""Build the source distribution and the wheel of a release, with a README that an index can show.

    python tools/make_release.py [--url https://host/owner/project] [--folder dist]

An index page has none of the repository's files. With the address of the repository, links and
pictures of the README lead to the files of the release's tag there, and pyproject.toml gets the
project's addresses; without it, they are left out, so that no link is dead. Needs the package
build.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")
# A badge is a picture within a link.
_BADGE = re.compile(r"\[(!\[[^\]]*\]\([^)]+\))\]\((?!https?:)([^)\s]+)\)")
_LINK = re.compile(r"(?<!!)\[([^\]!]*)\]\((?!https?:)([^)\s]+)\)")


def main() -> None:
    """Copy what git has, rewrite the README, build."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", default="", help="address of the public repository")
    parser.add_argument("--folder", type=Path, default=ROOT / "dist", help="where the files go")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="firenet-release-") as name:
        source = Path(name) / "source"
        _copy_tracked(source)
        project = source / "pyproject.toml"
        text = project.read_text(encoding="utf-8")
        readme = source / "README.md"
        tag = "v" + re.findall(r'^version = "(.+)"', text, re.MULTILINE)[0]
        readme.write_text(
            for_an_index(readme.read_text(encoding="utf-8"), asked.url, tag), encoding="utf-8"
        )
        project.write_text(with_addresses(text, asked.url), encoding="utf-8")
        command = [sys.executable, "-m", "build", "--outdir", str(asked.folder), str(source)]
        subprocess.run(command, check=True)


def _copy_tracked(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target / name)


def for_an_index(text: str, url: str, tag: str) -> str:
    """Return the README with links that work without the repository's files.

    Parameters
    ----------
    text
        Markdown with relative links.
    url
        Address of the public repository; "" leaves the links' words only, and no pictures.
    tag
        The release's tag, such as v0.2.0.
    """
    if not url:
        text = _BADGE.sub(r"\1", text)
        return _LINK.sub(r"\1", _PICTURE.sub("", text))
    pages, files = f"{url.rstrip('/')}/blob/{tag}", f"{url.rstrip('/')}/raw/{tag}"
    text = _BADGE.sub(rf"[\1]({pages}/\2)", text)
    return _LINK.sub(rf"[\1]({pages}/\2)", _PICTURE.sub(rf"![\1]({files}/\2)", text))


def with_addresses(text: str, url: str) -> str:
    """Return pyproject.toml with the project's addresses, if it has a public one."""
    if not url:
        return text
    address = url.rstrip("/")
    lines = (
        f'Repository = "{address}"',
        f'Changelog = "{address}/blob/main/CHANGELOG.md"',
        f'Issues = "{address}/issues"',
    )
    return text.replace("[project.urls]\n", "\n".join(("[project.urls]", *lines, "")), 1)


if __name__ == "__main__":
    main()
