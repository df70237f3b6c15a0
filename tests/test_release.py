"""A release says one version everywhere, and its README has no dead link on an index page."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

import firenet_mri

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def release() -> ModuleType:
    path = ROOT / "tools" / "make_release.py"
    spec = importlib.util.spec_from_file_location("make_release", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_the_same_everywhere() -> None:
    bundle = ROOT / "firenet_mri/monai/bundle/configs/metadata.json"
    label = json.loads((ROOT / "plugins/openrecon/label.json").read_text(encoding="utf-8"))
    stated = {
        found
        for name in ("pyproject.toml", "plugins/benchmark/pyproject.toml", "CITATION.cff")
        for found in re.findall(
            r'^version(?: =|:) "?([\d.]+)"?$', (ROOT / name).read_text(), re.MULTILINE
        )
    }
    stated.add(json.loads(bundle.read_text())["required_packages_version"]["firenet-mri"])
    stated.add(label["general"]["version"])
    assert stated == {firenet_mri.__version__}
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## \[([\d.]+)\]", changes, re.MULTILINE)[1] == firenet_mri.__version__


def test_links_lead_to_the_release_where_the_project_has_an_address(release) -> None:
    text = release.for_an_index(README, "https://host/owner/project/", "v1.2.3")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) == len(re.findall(r"\]\(([^)]+)\)", README))
    assert all(link.startswith("https://") for link in links)
    assert "](https://host/owner/project/blob/v1.2.3/docs/certificates.md)" in text
    assert "](https://host/owner/project/raw/v1.2.3/docs/images/demo.png)" in text
    assert "(https://host/owner/project/blob/v1.2.3/LICENSE)" in text
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    given = release.with_addresses(project, "https://host/owner/project")
    assert 'Repository = "https://host/owner/project"\n' in given
    assert given.replace("\n", "").endswith(project[-200:].replace("\n", ""))


def test_without_an_address_words_are_left_and_no_dead_link(release) -> None:
    text = release.for_an_index(README, "", "v1.2.3")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "demo.png" not in text
    assert "How to read, check and sign one; the proofs." in text
    assert release.with_addresses("[project.urls]\n", "") == "[project.urls]\n"


def test_the_source_distribution_has_all_that_its_tests_and_pages_read() -> None:
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if not (ROOT / ".git").exists() or listed.returncode:
        pytest.skip("an unpacked source distribution has no list of files to compare with")
    tracked = {name.partition("/")[0] for name in listed.stdout.splitlines()}
    included = set((ROOT / "MANIFEST.in").read_text(encoding="utf-8").split())
    added_by_setuptools = {"LICENSE", "MANIFEST.in", "README.md", "firenet_mri", "pyproject.toml"}
    assert tracked - included - added_by_setuptools == {".ci", ".gitignore"}


@pytest.mark.parametrize("name", ["Containerfile", "plugins/openrecon/Dockerfile"])
def test_a_container_copies_what_is_there_and_nothing_else_is_sent_to_its_builder(name) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    copied = {
        source
        for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied


def test_the_container_runs_the_command() -> None:
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["firenet"]' in text


def test_the_citation_names_the_paper() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert "doi: 10.1073/pnas.2107151119" in text
    assert re.findall(r"family-names: (\w+)", text) == ["Colbrook", "Antun", "Hansen"]
