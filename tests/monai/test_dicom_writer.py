"""SaveImage writes DICOM series that lie where the scan lies, and says what it cannot write."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from monai.data import DataLoader, MetaTensor, decollate_batch
from monai.transforms import Flip, LoadImage, Orientation, SaveImage, SaveImaged

import firenet_mri.monai as fm
from firenet_mri.io.image.dicom import write_dicom_series
from firenet_mri.monai.scans import kspace_of
from firenet_mri.scan import Geometry, RawScan

SAGITTAL = Geometry(
    (5.0, 200.0, 240.0),
    ((1.0, -20.0, 30.0), (7.0, -20.0, 30.0), (13.0, -20.0, 30.0)),
    read_direction=(0.0, 1.0, 0.0),
    phase_direction=(0.0, 0.0, -1.0),
    slice_direction=(1.0, 0.0, 0.0),
)


def make(geometry: Geometry | None = SAGITTAL, output: str = "magnitude") -> MetaTensor:
    """Return an image of three slices, (1, x, y, z)."""
    draw = torch.Generator().manual_seed(0)
    kspace = torch.randn(3, 2, 12, 10, dtype=torch.complex64, generator=draw)
    mask = torch.ones(1, 12, 10, dtype=torch.bool)
    scan = RawScan(kspace, mask, 2, geometry=geometry, name="scan.h5", simulated=True)
    return fm.FIRENETReconstruct(maps="lowres", layers=1, output=output)(kspace_of(scan))


def save(image: MetaTensor, folder: Path, **options: object) -> Path:
    """Write an image as a user does; return the series' folder."""
    writer = functools.partial(fm.DicomSeriesWriter, **options)
    SaveImage(folder, output_ext="", writer=writer, print_log=False)(image)
    (found,) = (folder / "scan").iterdir()
    return found


def stored(folder: Path) -> np.ndarray:
    """Return pixels (z, y, x) as pydicom reads them, slices by their number."""
    files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    return np.stack([one.pixel_array * float(one.RescaleSlope) for one in files])


@pytest.mark.parametrize("change", [None, "RAS", "PIL"])
def test_every_pixel_lies_where_monai_has_it(change, tmp_path) -> None:
    labels = (("L", "R"), ("P", "A"), ("I", "S"))
    image = make() if change is None else Orientation(change, labels=labels)(make())
    folder = save(image, tmp_path)
    pixels = stored(folder).transpose(2, 1, 0)
    np.testing.assert_allclose(pixels, image.numpy()[0], atol=1e-4 * float(image.max()))
    for index, path in enumerate(sorted(folder.iterdir())):
        dataset = pydicom.dcmread(path)
        corner = image.affine.numpy() @ [0, 0, index, 1]
        lps = np.array(dataset.ImagePositionPatient, float)
        np.testing.assert_allclose(lps, corner[:3] * [-1, -1, 1], atol=1e-3)
        assert "simulated" in dataset.SeriesDescription


def test_each_of_several_images_says_which_it_is(tmp_path) -> None:
    draw = torch.Generator().manual_seed(0)
    kspace = torch.randn(2, 1, 2, 12, 10, dtype=torch.complex64, generator=draw)
    place = Geometry((4.0, 24.0, 20.0), ((1.0, 2.0, 3.0),))
    mask = torch.ones(1, 12, 10, dtype=torch.bool)
    names = ("repetition 0", "repetition 4")
    scan = RawScan(kspace, mask, 2, geometry=place, name="scan.h5", images=names)
    image = fm.FIRENETReconstruct(maps="lowres", layers=1)(kspace_of(scan))
    files = sorted(save(image, tmp_path).iterdir())
    told = [pydicom.dcmread(path) for path in files]
    assert [one.ImageComments for one in told] == ["repetition 0", "repetition 4"]
    assert [one.TemporalPositionIdentifier for one in told] == [1, 2]


def test_monai_reads_the_series_as_the_image_that_was_written(tmp_path) -> None:
    image = make()
    loaded = LoadImage(reader="PydicomReader", image_only=True)(save(image, tmp_path))
    there = loaded.affine.inverse() @ image.affine
    index = there @ torch.tensor([2.0, 5.0, 1.0, 1.0], dtype=torch.float64)
    x, y, z = (round(float(one)) for one in index[:3])
    assert float(loaded[x, y, z]) == pytest.approx(float(image[0, 2, 5, 1]), rel=1e-3)


def test_complex_images_are_written_by_their_magnitude_and_dcm_is_left_off(tmp_path) -> None:
    image = make(output="complex")
    saver = SaveImaged(
        "image",
        output_dir=tmp_path,
        output_ext=".dcm",
        print_log=False,
        writer=fm.DicomSeriesWriter,
    )
    saver({"image": image})
    folder = tmp_path / "scan/scan_trans"
    expected = np.abs(image.numpy()[0]).transpose(2, 1, 0)
    np.testing.assert_allclose(stored(folder), expected, atol=1e-4 * expected.max())


def test_channels_are_series_of_their_own(tmp_path) -> None:
    one = make()
    both = MetaTensor(torch.cat([one, 2 * one]).as_tensor(), meta=one.meta)
    files = [pydicom.dcmread(path) for path in save(both, tmp_path).iterdir()]
    assert len(files) == 6
    assert len({file.SeriesInstanceUID for file in files}) == 2


@pytest.mark.parametrize("way", ["partial", "options"])
def test_a_reference_gives_study_and_place(way, tmp_path) -> None:
    series = write_dicom_series(tmp_path / "series", np.ones((3, 12, 10)), SAGITTAL)
    wanted = pydicom.dcmread(series[0])
    image = make(geometry=None)
    if way == "partial":
        folder = save(image, tmp_path / "out", dicom_reference=series[0].parent)
    else:
        saver = SaveImage(tmp_path / "out", output_ext="", writer=fm.DicomSeriesWriter)
        saver.set_options({"dicom_reference": str(series[0].parent)}, write_kwargs={"verbose": 0})
        saver(image)
        (folder,) = (tmp_path / "out/scan").iterdir()
    first = pydicom.dcmread(sorted(folder.iterdir())[0])
    assert first.StudyInstanceUID == wanted.StudyInstanceUID
    assert first.SeriesInstanceUID != wanted.SeriesInstanceUID
    places = [
        sorted(str(pydicom.dcmread(path).ImagePositionPatient) for path in files)
        for files in (series, folder.iterdir())
    ]
    assert places[0] == places[1]


def plain() -> MetaTensor:
    return MetaTensor(torch.ones(1, 10, 12, 3), meta={"filename_or_obj": "scan.nii"})


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (lambda: make(geometry=None), {}, "does not state where the image lies"),
        (plain, {}, "do not come from a scan"),
        (lambda: make() - 1e3, {}, "negative, NaN or infinite"),
        (lambda: make()[None], {}, "must be"),
        (make, {"dicom_reference": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_written_is_said(image, options, message, tmp_path) -> None:
    with pytest.raises(RuntimeError, match=message):
        save(image(), tmp_path, **options)
    assert not list(tmp_path.rglob("*.dcm"))


def test_an_image_that_was_moved_is_not_resampled_in_silence(tmp_path) -> None:
    image = Flip(0)(make())
    saver = SaveImage(tmp_path, output_ext="", writer=fm.DicomSeriesWriter, resample=True)
    with pytest.raises(RuntimeError, match="use resample=False"):
        saver(image)


def test_a_volume_is_called_one(tmp_path) -> None:
    place = Geometry((30.0, 200.0, 240.0), ((1.0, -20.0, 30.0),))
    draw = torch.Generator().manual_seed(0)
    kspace = torch.randn(1, 4, 8, 6, dtype=torch.complex64, generator=draw)
    mask = torch.ones(1, 4, 8, 6, dtype=torch.bool)
    scan = RawScan(kspace, mask, 3, geometry=place, name="scan.h5")
    model = fm.FIRENETModel(3, maps="none", output="magnitude", image_axes="xyz", layers=1)
    (batch,) = DataLoader([{"kspace": kspace_of(scan)}], batch_size=1)
    (image,) = decollate_batch(model(batch["kspace"]))
    files = sorted(save(image, tmp_path).iterdir())
    assert len(files) == 4
    first = pydicom.dcmread(files[0])
    assert first.MRAcquisitionType == "3D"
    assert "simulated" not in first.SeriesDescription
    np.testing.assert_allclose(stored(files[0].parent), image.numpy()[0].T, atol=1e-3)
