"""A report of a series moves through it: every image of every slice, in the order of time."""

from __future__ import annotations

import base64
import dataclasses
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firenet_mri.firenet.certificate import Certificate
from firenet_mri.geometry import AcquisitionParameters, Moment
from firenet_mri.io.image.labels import labels_of
from firenet_mri.report.content import content_of_image, content_of_saved
from firenet_mri.report.layers import Images, layers_of
from firenet_mri.report.page import page_of
from firenet_mri.report.saved import content_of_file, read_saved
from firenet_mri.report.series import series_of, series_of_stack

sys.path.insert(0, str(Path(__file__).parent))

from reading_pages import Page

FRAMES, SLICES = 5, 3


def stack() -> np.ndarray:
    """Return (frame, slice, y, x): brighter with every frame and slice."""
    image = np.zeros((FRAMES, SLICES, 8, 10))
    for frame, slice_ in np.ndindex(FRAMES, SLICES):
        image[frame, slice_] = 10 + 20 * slice_ + 3 * frame
    image[0] += 0.01
    image[2, 1, 6, 7] = 90
    return image


def levels(data: dict, layer: int = 0) -> np.ndarray:
    """Return the grey value of a corner of every picture of a layer."""
    urls = data["layers"][layer]["png"]
    raw = (base64.b64decode(url.partition(",")[2]) for url in urls)
    return np.array([np.asarray(Image.open(io.BytesIO(one)))[0, 0] for one in raw])


def phases(count: int, *, times: bool = True) -> list:
    names = [f"phase {i}" for i in range(count)]
    moments = tuple(Moment(n, None, 15.0 + 40 * i) for i, n in enumerate(names)) if times else ()
    return labels_of(names, AcquisitionParameters(moments=moments))


def test_every_image_of_every_slice_is_in_its_place() -> None:
    page = Page(page_of(content_of_image("a.nii", Images(stack()), between_ms=40.0)))
    data = page.data
    assert data["slices"] == ["0", "1", "2"]
    assert data["frames"] == ["0, 0 ms", "1, 40 ms", "2, 80 ms", "3, 120 ms", "4, 160 ms"]
    assert data["frame_ms"] == 40
    shown = levels(data).reshape(SLICES, FRAMES)
    assert (np.diff(shown, axis=0) > 0).all()
    assert (np.diff(shown[0].astype(int)) > 0).all()
    time = page.by_id("time").attributes
    assert (time["min"], time["max"], time["value"]) == ("0", "4", "0")
    # The pixel of the middle slice that changes.
    assert data["mark"] == [0.75, 0.8125]
    assert data["layers"][0]["grey"]


def test_one_image_has_no_time() -> None:
    page = Page(page_of(content_of_image("a.nii", Images(stack()[0]))))
    assert page.data["frames"] == [""]
    assert not [one for one in page.found if one.attributes.get("id") in ("time", "play", "curve")]


def test_phases_have_their_names_times_and_pace() -> None:
    series = series_of(phases(3))
    assert series is not None
    assert series.names == ("0, 15 ms", "1, 55 ms", "2, 95 ms")
    assert (series.counter, series.frame_ms, series.note) == ("Phase", 40.0, "")
    unknown = series_of(phases(3, times=False))
    assert unknown is not None
    assert unknown.names == ("0", "1", "2")
    assert "not known" in unknown.note
    echoes = series_of(labels_of(["contrast 0", "contrast 1"]))
    assert echoes is not None
    assert (echoes.names, echoes.counter) == (("contrast 0", "contrast 1"), "Image")
    assert series_of(labels_of([])) is None


def test_images_are_shown_in_the_order_of_time() -> None:
    labels = phases(FRAMES)[::-1]
    series = series_of(labels)
    made = layers_of(
        Images(stack()[::-1].copy()), geometry=None, method="x", units="", series=series
    )
    forward = layers_of(
        Images(stack()), geometry=None, method="x", units="", series=series_of(phases(FRAMES))
    )
    assert made.layers[0].png == forward.layers[0].png


def test_of_a_long_series_evenly_spaced_images_are_shown_and_that_is_said() -> None:
    image = np.random.default_rng(0).random((100, 4, 3, 3))
    content = content_of_image("a.nii", Images(image), between_ms=30.0)
    page = Page(page_of(content))
    assert len(page.data["frames"]) == 48
    assert len(page.data["layers"][0]["png"]) == 48
    assert page.data["frames"][-1] == "99, 2970 ms"
    # As long as the whole.
    assert page.data["frame_ms"] == pytest.approx(62.5)
    assert "The page shows 48 of 100 images, evenly spaced." in page.text
    assert "The page shows 1 of 4 slices, evenly spaced." in page.text


def test_a_nifti_file_has_its_time(tmp_path) -> None:
    from firenet_mri.io.image.nifti import write_nifti

    write_nifti(tmp_path / "a.nii.gz", stack(), time_between_ms=25.0)
    layers = content_of_file(read_saved(tmp_path / "a.nii.gz")).layers
    assert layers.series is not None
    assert (layers.series.frame_ms, len(layers.slices)) == (25.0, SLICES)


@pytest.mark.parametrize(
    "told",
    [
        [{"name": "phase 0"}],
        [{"name": "phase 0"}, {"name": "phase 0"}],
        "phase",
        [{"name": f"phase {'9' * 9999}{i}", "from_trigger_ms": float("nan")} for i in range(5)],
        [{"name": f"phase {i}", "from_trigger_ms": 10**400 * i} for i in range(5)],
        [{"name": f"</script>{i}", "from_first_ms": True} for i in range(5)],
    ],
)
def test_a_forged_list_of_images_does_no_harm(told) -> None:
    report = {"scan": {"name": "a", "images": told}}
    content = content_of_saved(report, Certificate(()), Images(stack()))
    # Without an entry a certificate has no page.
    page = Page(page_of(dataclasses.replace(content, certificate=None)))
    assert len(page.data["frames"]) == FRAMES
    assert 20 <= page.data["frame_ms"] <= 200


def test_a_stack_of_one_image_is_no_series() -> None:
    assert series_of_stack(1, 40.0) is None


@pytest.mark.slow
def test_a_browser_draws_the_curve_without_a_word_about_the_policy(tmp_path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = tmp_path / "a.html"
    path.write_text(page_of(content_of_image("a.nii", Images(stack()), between_ms=40.0)))
    command = (chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    run = subprocess.run(
        [*command, "--virtual-time-budget=4000", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert ">0, 0 ms (1 of 5)</output>" in run.stdout
    points = run.stdout.partition('points="')[2].partition('"')[0].split()
    assert len(points) == FRAMES
    heights = [float(point.partition(",")[2]) for point in points]
    # The third is the brightest, at the top.
    assert min(heights) == heights[2] == 8
    assert "Content Security Policy" not in run.stderr
    assert "Uncaught" not in run.stderr
