"""The viewer of volumes: its own pages, NiiVue as it was published, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import subprocess
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
from firenet_command import firenet

from firenet_mri.report.serving import PageServer

PLUGIN = Path(__file__).parents[2] / "plugins/viewer"
STATIC = PLUGIN / "firenet_viewer/static"

# Of dist/niivue.umd.js in the npm package @niivue/niivue 0.69.0.
NIIVUE = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"


@pytest.fixture
def pages(monkeypatch):
    """The plugin's function, without installing it."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    return importlib.import_module("firenet_viewer").pages


def test_niivue_is_as_it_was_published_and_its_licences_lie_beside_it(pages) -> None:
    served = pages(b"", "a")
    assert hashlib.sha256(served["/niivue.js"].body).hexdigest() == NIIVUE
    assert "Copyright (c) 2021, Niivue" in (STATIC / "LICENSE-NiiVue.txt").read_text()
    bundled = (STATIC / "LICENSE-bundled.txt").read_text()
    for name in ("fflate", "gl-matrix", "nifti-reader-js", "zarrita", "array-equal"):
        assert f"\n{name} " in bundled
    # The package stays below a megabyte.
    assert sum(path.stat().st_size for path in STATIC.iterdir()) < 1_000_000


def test_the_pages_come_from_this_server_alone(pages) -> None:
    served = pages(b"volume", '<script>alert(1)</script>"')
    page = served["/volume"]
    assert page.policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in page.policy
    text = page.body.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert served["/volume.nii.gz"].body == b"volume"
    for path in ("/volume.css", "/volume.js", "/niivue.js"):
        assert f'"{path}"' in text or path == "/volume.css"
    own = text + "".join(served[path].body.decode() for path in ("/volume.css", "/volume.js"))
    assert "http" not in own.replace("http-equiv", "")


def test_view_serves_it_where_it_is_installed(pages, monkeypatch, tmp_path) -> None:
    class Entry:
        name = "niivue"

        def load(self):
            return pages

    def serve(self: PageServer, given) -> None:
        shown.update(given)
        raise KeyboardInterrupt

    shown: dict = {}
    module = importlib.import_module("firenet_mri.cli.view")
    monkeypatch.setattr(module, "entry_points", lambda group: [Entry()])
    monkeypatch.setattr(PageServer, "serve", serve)
    volume = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    image = nibabel.Nifti1Image(volume, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.header["descrip"] = b"Zweistein, Albertine"
    nibabel.save(image, tmp_path / "a.nii.gz")
    result = firenet("view", tmp_path / "a.nii.gz", "--no-browser")
    assert result.status == 0, result.err
    assert 'href="/volume"' in shown["/"].body.decode()
    (tmp_path / "b.nii.gz").write_bytes(shown["/volume.nii.gz"].body)
    again = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_array_equal(again.get_fdata(), volume)
    np.testing.assert_allclose(again.affine, image.affine)
    # Of the header nothing is served but the place.
    assert b"Zweistein" not in again.header["descrip"].tobytes()


def test_the_package_names_the_function_that_view_calls(pages) -> None:
    text = (PLUGIN / "pyproject.toml").read_text()
    assert '[project.entry-points."firenet_mri.viewers"]\nniivue = "firenet_viewer:pages"' in text
    assert pages.__module__ == "firenet_viewer"


@pytest.mark.slow
def test_a_browser_shows_the_volume_and_its_policy_lets_it(pages, tmp_path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    volume = np.random.default_rng(0).random((16, 16, 16), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    flags = ("--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader")
    flags = (
        *flags,
        "--enable-unsafe-swiftshader",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
    )
    with PageServer() as server:
        served = pages((tmp_path / "a.nii.gz").read_bytes(), "a")
        thread = threading.Thread(target=server.serve, args=(served,))
        thread.start()
        try:
            run = subprocess.run(
                [chromium, *flags, "--dump-dom", f"{server.url}volume"],
                capture_output=True,
                text=True,
                timeout=120,
                check=True,
            )
        finally:
            server.stop()
            thread.join()
    if "WebGL 2" in run.stdout:
        pytest.skip("this chromium has no WebGL 2")
    assert 'data-state="shown"' in run.stdout
    assert "Content Security Policy" not in run.stderr
