"""MONAI loads our enhanced DICOM images where they lie, by our reader or its own."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImage

import firenet_mri.monai as fm
from firenet_mri import Geometry
from firenet_mri.errors import FileError
from firenet_mri.io.image.dicom import write_enhanced_dicom


@pytest.mark.parametrize("component", ["magnitude", "phase"])
def test_our_enhanced_dicom_is_loaded_where_it_lies(component, tmp_path) -> None:
    place = Geometry(
        (4.0, 90.0, 120.0),
        ((10.0, -20.0, 30.0), (10.0, -25.0, 30.0), (10.0, -30.0, 30.0)),
        (1.0, 0.0, 0.0),
        (0.0, 0.0, -1.0),
        (0.0, -1.0, 0.0),
    )
    image = np.random.default_rng(0).random((3, 18, 30)) - (component == "phase") * 0.5
    path = tmp_path / "image.dcm"
    write_enhanced_dicom(path, image, place, component=component)
    reader = fm.EnhancedDicomReader()
    assert reader.verify_suffix(str(path))
    found = LoadImage(reader=reader)(str(path))
    np.testing.assert_allclose(found.numpy(), image.T, atol=2e-5)
    np.testing.assert_allclose(found.affine, place.affine_ras((3, 18, 30)), atol=1e-5)
    # Others' files stay with MONAI's own readers.
    dataset = pydicom.dcmread(path)
    dataset.Manufacturer = "Another"
    dataset.save_as(tmp_path / "other.dcm")
    assert not reader.verify_suffix(str(tmp_path / "other.dcm"))
    (tmp_path / "none.dcm").write_bytes(b"no DICOM")
    assert not reader.verify_suffix(str(tmp_path / "none.dcm"))


@pytest.mark.parametrize("component", ["magnitude", "phase"])
def test_monais_own_reader_finds_the_place_of_one_enhanced_frame(component, tmp_path) -> None:
    place = Geometry(
        (4.0, 90.0, 120.0), ((10.0, -30.0, 30.0),), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0, 1.0, 0)
    )
    image = np.random.default_rng(0).random((1, 18, 30)) - (component == "phase") * 0.5
    path = tmp_path / "image.dcm"
    write_enhanced_dicom(path, image, place, component=component)
    found = LoadImage(reader="PydicomReader")(str(path))
    np.testing.assert_allclose(found.numpy(), image[0].T, atol=2e-5)
    expected = place.affine_ras((1, 18, 30))[:, [0, 1, 3]]
    np.testing.assert_allclose(found.affine.numpy()[:, [0, 1, 3]], expected, atol=1e-5)


def test_a_damaged_file_is_named(tmp_path) -> None:
    path = tmp_path / "image.dcm"
    write_enhanced_dicom(path, np.ones((2, 5, 6)), Geometry((4.0, 9.0, 9.0), ((1.0, 2.0, 3.0),)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileError, match=r"image\.dcm: the pixels cannot be decoded"):
        fm.EnhancedDicomReader().get_data(path)
