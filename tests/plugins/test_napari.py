"""The napari plugin without a screen, where napari is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from firenet_mri import read, reconstruct

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugins/napari"
SAMPLE = ROOT / "sample_data/brain_8coil.h5"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("napari") is None or importlib.util.find_spec("qtpy") is None,
    reason="napari is not installed",
)


@pytest.fixture(scope="module", autouse=True)
def application():
    """A Qt application that needs no screen."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    sys.path.insert(0, str(PLUGIN))
    with warnings.catch_warnings():
        # They say what will be deprecated in other packages.
        warnings.simplefilter("ignore")
        importlib.import_module("npe2")
        importlib.import_module("napari.components")
    from qtpy.QtWidgets import QApplication

    return QApplication.instance() or QApplication([])


@pytest.fixture
def opened():
    """A viewer in which the reader has opened the sample scan, and the widget."""
    from firenet_napari.reader import get_reader
    from firenet_napari.widget import ReconstructWidget
    from napari.components import ViewerModel

    viewer = ViewerModel()
    widget = ReconstructWidget(viewer)
    assert not widget.start.isEnabled()
    reader = get_reader(str(SAMPLE))
    for image, known, kind in reader(str(SAMPLE)):
        assert kind == "image"
        viewer.add_image(image, **known)
    return viewer, widget


def wait(application, condition, seconds: float = 60) -> None:
    """Let Qt work until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        application.processEvents()
        time.sleep(0.01)


def test_the_manifest_names_what_is_there() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(PLUGIN / "firenet_napari/napari.yaml")
    manifest.validate_imports()
    (reader,) = manifest.contributions.readers
    assert "*.h5" in reader.filename_patterns


def test_the_reader_leaves_images_to_others(tmp_path) -> None:
    from firenet_napari.reader import get_reader

    np.save(tmp_path / "image.npy", np.ones((3, 8, 8)))
    np.save(tmp_path / "scan.npy", np.ones((3, 8, 8), np.complex64))
    assert get_reader(str(tmp_path / "image.npy")) is None
    assert get_reader(str(tmp_path / "scan.npy")) is not None
    assert get_reader(str(tmp_path / "missing.h5")) is None
    assert get_reader([str(SAMPLE), str(SAMPLE)]) is None


def test_a_scan_is_opened_with_pixels_of_their_size(opened) -> None:
    viewer, widget = opened
    (layer,) = viewer.layers
    scan = read(SAMPLE)
    assert layer.name == "brain_8coil.h5, zero-filled"
    assert layer.data.shape[-2:] == scan.spatial_shape
    _, fov_y, fov_x = scan.geometry.field_of_view_mm
    rows, columns = scan.spatial_shape
    np.testing.assert_allclose(layer.scale[-2:], (fov_y / rows, fov_x / columns))
    assert widget.scans.currentText() == layer.name


@pytest.mark.slow
def test_the_widget_reconstructs_shows_progress_and_explains(opened, application, tmp_path) -> None:
    viewer, widget = opened
    widget.presets.setCurrentText("stable")
    widget.maps.setCurrentText("lowres")
    seen = []
    widget.signals.progressed.connect(lambda done, total: seen.append((done, total)))
    widget.start.click()
    assert not widget.start.isEnabled()
    wait(application, lambda: widget.result is not None)
    expected = reconstruct(read(SAMPLE), preset="stable", maps="lowres")
    np.testing.assert_array_equal(viewer.layers[-1].data, expected.magnitude)
    assert seen[-1] == (15, 15)
    text = widget.certificate.toPlainText()
    assert expected.certificate.lipschitz_statement in text
    assert "Is it true to the anatomy?" in text
    assert widget.status.text() == "Done."
    widget.save_to(str(tmp_path / "image.nii.gz"))
    assert "Saved" in widget.status.text()
    image = np.squeeze(nibabel.load(tmp_path / "image.nii.gz").get_fdata())
    np.testing.assert_allclose(image.T, np.squeeze(expected.magnitude.numpy()), rtol=1e-6)
    assert (tmp_path / "image.html").is_file()
    widget.save_to(str(tmp_path / "missing/image.nii.gz"))
    assert "does not exist" in widget.status.text()


@pytest.mark.slow
def test_a_reconstruction_can_be_stopped_and_errors_are_told(opened, application) -> None:
    viewer, widget = opened
    widget.presets.setCurrentText("accurate")
    widget.start.click()
    widget.stop.click()
    wait(application, lambda: widget.thread is None)
    assert widget.status.text() == "Stopped."
    assert len(viewer.layers) == 1
    widget.maps.setCurrentText("none")
    widget.start.click()
    wait(application, lambda: widget.thread is None)
    assert "coil" in widget.status.text()
    assert widget.result is None


def test_nothing_can_be_reconstructed_once_the_scan_is_gone(opened) -> None:
    viewer, widget = opened
    viewer.layers.clear()
    assert not widget.start.isEnabled()
    assert widget.scans.count() == 0
