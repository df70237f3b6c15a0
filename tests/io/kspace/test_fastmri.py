"""fastMRI files are read with their mask, their sizes in mm, and nothing about the patient."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import assert_close

from firenet_mri import read, reconstruct
from firenet_mri.errors import FileError, FirenetError, ShapeError

HEADER = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>Doe^Jane</patientName></subjectInformation>
<experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz>
</experimentalConditions>
<encoding><encodedSpace><matrixSize><x>{rows}</x><y>{columns}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{fov}</x><y>180</y><z>4.5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>16</x><y>16</y><z>1</z></matrixSize>
<fieldOfView_mm><x>160</x><y>160</y><z>4.5</z></fieldOfView_mm></reconSpace>
<trajectory>cartesian</trajectory><encodingLimits/></encoding></ismrmrdHeader>"""


def random(*shape: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


def write(path, kspace, *, header=None, **datasets):
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace
        for name, value in datasets.items():
            file[name] = value
        if header is not None:
            file["ismrmrd_header"] = header
        file.attrs["patient_id"] = "Doe^Jane"
    return path


@given(slices=st.integers(1, 3), coils=st.integers(1, 3), size=st.tuples(*[st.integers(4, 12)] * 2))
@settings(deadline=None, max_examples=20)
def test_kspace_is_what_h5py_reads(tmp_path_factory, slices, coils, size) -> None:
    kspace = random(slices, coils, *size)
    scan = read(write(tmp_path_factory.mktemp("fastmri") / "a.h5", kspace))
    np.testing.assert_array_equal(scan.kspace.numpy(), kspace)
    assert scan.spatial_ndim == 2
    assert bool(scan.mask.all())
    assert scan.geometry is None


def test_single_coil_files_have_one_coil(tmp_path) -> None:
    kspace = random(3, 8, 6)
    scan = read(write(tmp_path / "single.h5", kspace))
    np.testing.assert_array_equal(scan.kspace[:, 0].numpy(), kspace)


def test_lines_that_were_not_measured_are_out_of_the_mask(tmp_path) -> None:
    kspace = random(2, 3, 8, 10)
    kspace[..., :2] = 0  # filled up with zeros
    lines = np.ones(10)
    lines[5] = 0
    scan = read(write(tmp_path / "masked.h5", kspace, mask=lines))
    expected = np.ones(10, bool)
    expected[[0, 1, 5]] = False
    assert torch.equal(scan.mask, torch.from_numpy(expected).expand(2, 1, 8, 10))
    assert not scan.kspace[..., 5].any()


def test_readout_oversampling_is_cropped_in_the_image(tmp_path) -> None:
    """The image is the middle of the oversampled one, on the same scale."""
    kspace = random(2, 2, 32, 18)
    path = write(
        tmp_path / "a.h5", kspace, header=HEADER.format(rows=32, columns=18, fov=320).encode()
    )
    scan = read(path)

    def image(x):
        shifted = np.fft.ifftshift(x, axes=(-2, -1))
        return np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), axes=(-2, -1))

    assert scan.kspace.shape == (2, 2, 16, 18)
    assert_close(
        torch.from_numpy(image(scan.kspace.numpy())),
        torch.from_numpy(image(kspace)[..., 8:24, :]),
        1e-5,
    )
    assert scan.geometry.field_of_view_mm == (4.5, 160.0, 180.0)
    assert not scan.geometry.is_placed
    steps = np.diff(scan.geometry.positions_mm, axis=0)
    np.testing.assert_allclose(steps, [[0, 0, 4.5]])


def test_the_image_claims_no_place_and_nothing_of_the_patient(tmp_path) -> None:
    import nibabel

    path = write(
        tmp_path / "a.h5", random(2, 1, 32, 18), header=HEADER.format(rows=32, columns=18, fov=320)
    )
    scan = read(path)
    assert "Doe" not in repr(scan)
    files = reconstruct(scan, maps="none", layers=2).save(tmp_path / "image.nii.gz")
    written = nibabel.load(files.image)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (0, 0)
    np.testing.assert_allclose(written.header.get_zooms(), (10, 10, 4.5), rtol=1e-5)
    for file in (files.image, files.certificate):
        assert b"Doe" not in file.read_bytes()


@pytest.mark.parametrize(
    ("kspace", "extra", "error", "message"),
    [
        (np.ones((2, 3, 8, 6)), {}, ShapeError, "float64 of shape"),
        (random(8, 6), {}, ShapeError, "slice, coil, readout, phase"),
        (random(2, 3, 8, 6), {"mask": np.ones(5)}, ShapeError, r"mask has shape \(5,\)"),
        (random(2, 3, 8, 6), {"header": b"<no xml"}, FileError, "header is not valid"),
        (random(2, 3, 8, 6) * np.nan, {}, FirenetError, "NaN"),
        (random(2, 3, 8, 6) * 0, {}, FirenetError, "zero"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_bad_files_are_named(tmp_path, kspace, extra, error, message) -> None:
    with pytest.raises(error, match=rf"bad\.h5.*{message}"):
        read(write(tmp_path / "bad.h5", kspace, **extra))


def test_a_truncated_file_is_named(tmp_path) -> None:
    path = write(tmp_path / "cut.h5", random(4, 4, 64, 64))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(FileError, match=r"cut\.h5"):
        read(path)
