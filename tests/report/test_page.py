"""The report says what the certificate says, runs nothing but its own script, and loads nothing."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from firenet_mri import RawScan, reconstruct
from firenet_mri.errors import FileError
from firenet_mri.firenet.certificate import Entry
from firenet_mri.report import report_page, report_path, reports_beside, write_report
from firenet_mri.report.content import content_of, content_of_saved
from firenet_mri.report.layers import Images, layers_of, thumbnail
from firenet_mri.report.page import page_of
from firenet_mri.report.sampling import sampling_of
from firenet_mri.rounding import above, below

sys.path.insert(0, str(Path(__file__).parent))

from reading_pages import Page, hash_of

NASTY = "<img src=x onerror=alert(1)>\"'&</script>.h5"
SHAPE = (24, 32)


def scan(name: str = "scan.h5") -> RawScan:
    """Three slices of a phantom, rising in brightness; lines are left out."""
    maps = sigpy.mri.birdcage_maps((4, *SHAPE))
    kspace = sigpy.fft(maps * sigpy.shepp_logan(SHAPE), axes=(-2, -1)).astype(np.complex64)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[::3], mask[6:18] = True, True
    slices = torch.from_numpy(np.stack([kspace, 2 * kspace, 3 * kspace])) * mask
    return RawScan(slices, mask, 2, name=name, simulated=True)


OPTIONS = {"layers": 2, "maps": "lowres", "sparsifier": "haar"}


@pytest.fixture(scope="module")
def result():
    return reconstruct(scan(), **OPTIONS)


@pytest.fixture(scope="module")
def reference(result):
    return result.magnitude * 0.9


@pytest.fixture(scope="module")
def page(result, reference) -> Page:
    return Page(report_page(result, reference=reference))


def decoded(url: str) -> np.ndarray:
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_page_lets_run_its_own_script_and_style_only(page) -> None:
    (style,) = page.all("style")
    scripts = [one for one in page.all("script") if "type" not in one.attributes]
    assert page.policy == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "style-src": [hash_of(style.text)],
        "script-src": [hash_of(scripts[0].text)],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    assert len(scripts) == 1


def test_the_page_loads_nothing_and_has_no_code_in_attributes(page) -> None:
    for one in page.found:
        for name, value in one.attributes.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in ("src", "href"):
                assert str(value).startswith(("data:image/png;base64,", "#"))
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text


def test_names_and_statements_cannot_become_markup(result) -> None:
    nasty = dataclasses.replace(result, scan=dataclasses.replace(result.scan, name=NASTY))
    entry = Entry(NASTY, "proven", NASTY, NASTY, {NASTY: (1.0, 2.0, 3.0)}, (0, 1, 2))
    certificate = nasty.certificate.with_entries(entry)
    text = report_page(dataclasses.replace(nasty, certificate=certificate))
    found = Page(text)
    assert [one for one in found.all("img") if "onerror" in one.attributes] == []
    assert len(found.all("script")) == 2
    (heading,) = found.all("h1")
    assert heading.text == NASTY
    # In heading, command, Python lines, statement, limits, and the name of a number.
    assert found.text.count("onerror=alert(1)") >= 5


def places(data: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where something stands in plain data."""
    for key, value in data.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


@pytest.mark.parametrize(
    "forged",
    [
        NASTY + "\ud800",
        *(pytest.param(x, marks=pytest.mark.slow) for x in ([1, NASTY], {NASTY: NASTY}, None, -5)),
    ],
)
def test_a_forged_report_is_text_wherever_it_was_changed(result, reference, forged) -> None:
    report = result.report(result.accuracy(reference))
    images = Images(torch.ones(2, 3))
    for path in places(report):
        changed = copy.deepcopy(report)
        inner: Any = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = forged
        page = Page(page_of(content_of_saved(changed, result.certificate, images)))
        assert len(page.all("script")) == 2
        assert [one for one in page.all("img") if "onerror" in one.attributes] == []


def test_the_images_are_those_of_the_reconstruction(page, result, reference) -> None:
    layers = {layer["name"]: layer["png"] for layer in page.data["layers"]}
    assert list(layers) == [
        *("Zero-filled", "FIRENET", "Reference"),
        *("Error of FIRENET", "Error of zero-filled"),
    ]
    magnitude = result.magnitude.numpy()
    white = np.percentile(magnitude, 99.8)
    for name, image in (
        ("FIRENET", magnitude),
        ("Zero-filled", result.zero_filled.abs().numpy()),
        ("Reference", reference.numpy()),
    ):
        shown = np.stack([decoded(url) for url in layers[name]])
        expected = 255 * np.clip(image / white, 0, 1)
        np.testing.assert_allclose(shown, expected, atol=0.51)
    errors = np.stack([decoded(url) for url in layers["Error of FIRENET"]])
    expected = 255 * np.clip(5 * abs(magnitude - reference.numpy()) / white, 0, 1)
    np.testing.assert_allclose(errors, expected, atol=0.51)
    assert page.data["slices"] == ["0", "1", "2"]


def test_the_page_says_what_the_certificate_says(page, result) -> None:
    certificate = result.certificate
    for statement in (certificate.gap_statement, certificate.lipschitz_statement):
        assert statement in page.text
    for entry in certificate.entries:
        assert entry.statement in page.text
        assert entry.limits in page.text
    assert "It does not say that the image is true to the anatomy." in page.text
    at_data = max(certificate.lipschitz_bound_at_data)
    assert f"at most {above(at_data)} times (proven" in page.text
    assert "simulated" in page.text
    kept = next(x for x in page.all("div") if x.text.startswith("What was kept fixed?"))
    assert kept.text.endswith("sensitivity maps (made from these data)sampling mask")


def test_what_is_not_shown_is_named_with_its_option(result, page) -> None:
    text = report_page(result)
    assert "Give --reference to see errors" in text
    assert "Give --jacobian to see where small changes" in text
    assert "Give --reference to see errors" not in page.text
    assert "Give --jacobian to see where small changes" in page.text


def test_warnings_stand_above_the_images(result) -> None:
    content = content_of(result)
    warned = dataclasses.replace(content, warnings=("Warning: something is odd.",))
    text = page_of(warned)
    assert 0 < text.index("Warning: something is odd.") < text.index('id="images"')
    assert "There is no warning about the data" not in text
    assert "There is no warning about the data" in page_of(content)


def test_every_control_has_a_label_and_the_keyboard_reaches_the_text_to_copy(page) -> None:
    labelled = {one.attributes.get("for") for one in page.all("label")}
    for one in [*page.all("input"), *page.all("select")]:
        is_inside = "label" in one.inside
        assert is_inside or one.attributes["id"] in labelled
    assert all(one.attributes["tabindex"] == "0" for one in page.all("pre"))
    assert all(one.attributes.get("alt") for one in page.all("img"))
    (viewport,) = [x for x in page.all("meta") if x.attributes.get("name") == "viewport"]
    assert "width=device-width" in str(viewport.attributes["content"])


@given(st.floats(1e-12, 1e12), st.integers(2, 4))
def test_a_rounded_bound_is_still_a_bound(value, digits) -> None:
    assert float(above(value, digits)) >= value * (1 - 1e-15)
    assert float(below(value, digits)) <= value * (1 + 1e-15)
    assert float(above(value, digits)) <= value * (1 + 10 ** (1 - digits)) * (1 + 1e-12)


def test_sampling_is_shown_and_counted() -> None:
    found = sampling_of(scan())
    mask = scan().mask[0, 0].numpy()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(found.png))) > 0, mask)
    assert f"{mask.any(-1).sum()} of 24 lines" in found.text
    points = torch.stack(torch.meshgrid(*[torch.arange(-8.0, 8)] * 2, indexing="ij"), -1)
    radial = RawScan(
        torch.ones(2, 16, 16, dtype=torch.complex64),
        torch.ones(16, 16, dtype=torch.bool),
        2,
        trajectory=points,
        image_shape=(16, 16),
    )
    assert "256 points along a trajectory, 1 for each pixel" in sampling_of(radial).text
    volume = RawScan(
        torch.ones(2, 4, 6, 8, dtype=torch.complex64),
        (torch.arange(6) % 2 == 0)[:, None].expand(4, 6, 8),
        3,
    )
    assert "12 of 24 readouts" in sampling_of(volume).text


def test_of_many_slices_evenly_spaced_ones_are_shown_and_that_is_said(result) -> None:
    many = result.image[:1].expand(100, -1, -1)
    content = content_of(result)
    layers = layers_of(Images(many), geometry=None, method="FIRENET", units="units")
    assert len(layers.slices) == 48
    assert (layers.slices[0], layers.slices[-1]) == ("0", "99")
    text = page_of(dataclasses.replace(content, layers=layers))
    assert "The page shows 48 of 100 slices" in text


def test_a_report_is_written_once_and_goes_with_its_image_only_if_it_is_ours(
    result, tmp_path
) -> None:
    image = tmp_path / "brain.nii.gz"
    path = write_report(report_path(image), result)
    assert path == tmp_path / "brain.html"
    with pytest.raises(FileError, match="exists"):
        write_report(path, result)
    result.save(image)
    result.save(image, overwrite=True, removing=reports_beside(image))
    assert not path.exists()
    path.write_text("<p>somebody's page</p>")
    assert reports_beside(image) == []


def test_a_thumbnail_is_small_and_shows_the_middle_slice() -> None:
    image = torch.stack([torch.zeros(200, 300), torch.ones(200, 300), torch.zeros(200, 300)])
    shown = np.asarray(Image.open(io.BytesIO(thumbnail(image, None))))
    assert max(shown.shape) <= 96
    assert (shown == 255).all()


@pytest.mark.slow
def test_a_browser_runs_the_page_without_a_word_about_its_policy(result, tmp_path) -> None:
    import shutil

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = write_report(tmp_path / "a.html", result)
    command = (chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    run = subprocess.run(
        [*command, "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # What the script writes.
    assert ">1 (2 of 3)</output>" in run.stdout
    assert "Content Security Policy" not in run.stderr
    assert "Uncaught" not in run.stderr
