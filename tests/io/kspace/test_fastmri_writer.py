"""fastMRI files that were written are read by fastMRI's and MONAI's own loaders, unchanged."""

from __future__ import annotations

import dataclasses
from xml.etree import ElementTree

import h5py
import numpy as np
import pytest
import torch
from laws import assert_close
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.transforms.dictionary import (
    EquispacedKspaceMaskd,
    ExtractDataKeyFromMetaKeyd,
)
from monai.transforms import Compose, LoadImaged

from firenet_mri import RawScan, read
from firenet_mri.errors import DataError
from firenet_mri.geometry import Geometry
from firenet_mri.io.kspace.fastmri_writer import write_fastmri
from firenet_mri.operators.trajectories import radial

LINES = torch.tensor([0, 1, 0, 1, 1, 1, 0, 0, 1, 0], dtype=torch.bool)
GEOMETRY = Geometry((4.0, 200.0, 180.0), ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)))


def scan_of(*shape: int, mask: torch.Tensor | None = None, **others) -> RawScan:
    """Return a scan of noise, (slice, coil, y, x) or (coil, z, y, x)."""
    generator = torch.Generator().manual_seed(1)
    kspace = torch.randn(*shape, dtype=torch.complex64, generator=generator)
    mask = torch.ones(1, 1, 1, dtype=torch.bool) if mask is None else mask
    return RawScan(kspace * mask, mask, **{"spatial_ndim": 2, "name": "a.dat", **others})


def numpy_images(kspace: np.ndarray, axes: tuple[int, ...] = (-2, -1)) -> np.ndarray:
    shifted = np.fft.ifftshift(kspace, axes)
    return np.fft.fftshift(np.fft.ifftn(shifted, axes=axes, norm="ortho"), axes)


def test_monais_pipeline_reads_a_full_scan_with_its_target(tmp_path) -> None:
    scan = scan_of(2, 3, 10, 12, geometry=GEOMETRY)
    write_fastmri(tmp_path / "a.h5", scan)
    pipeline = Compose(
        [
            LoadImaged("kspace", reader=FastMRIReader, image_only=False, dtype=np.complex64),
            ExtractDataKeyFromMetaKeyd("reconstruction_rss", meta_key="kspace_meta_dict"),
            EquispacedKspaceMaskd("kspace", center_fractions=[0.2], accelerations=[4]),
        ]
    )
    found = pipeline({"kspace": str(tmp_path / "a.h5")})
    # The phase encoding comes last in fastMRI's files.
    assert_close(found["kspace"].as_tensor(), scan.kspace.transpose(-1, -2), 0)
    expected = np.linalg.norm(numpy_images(scan.kspace.transpose(-1, -2).numpy()), axis=1)
    np.testing.assert_allclose(found["reconstruction_rss"], expected, rtol=1e-5)
    meta = found["kspace_meta_dict"]
    assert meta["max"] == pytest.approx(expected.max(), rel=1e-6)
    assert meta["norm"] == pytest.approx(np.linalg.norm(expected), rel=1e-6)
    assert found["kspace_masked"].shape[:-1] == found["kspace"].shape


def test_monais_reader_gets_the_mask_of_an_undersampled_scan(tmp_path) -> None:
    write_fastmri(tmp_path / "a.h5", scan_of(2, 3, 10, 12, mask=LINES[:, None]))
    reader = FastMRIReader()
    kspace, meta = reader.get_data(reader.read(tmp_path / "a.h5"))
    assert meta["mask"].shape == (1, 1, 10, 1)
    np.testing.assert_array_equal(meta["mask"].ravel(), LINES)
    assert not {"reconstruction_rss", "max", "norm"} & set(meta)
    assert not kspace[..., ~LINES.numpy()].any()


@pytest.mark.filterwarnings("ignore")
def test_fastmris_slice_dataset_reads_both(tmp_path) -> None:
    data = pytest.importorskip("fastmri.data", reason="the package fastmri is not installed")
    transforms = pytest.importorskip("fastmri.data.transforms")
    full = scan_of(2, 3, 10, 12)
    write_fastmri(tmp_path / "a.h5", full)
    write_fastmri(tmp_path / "b.h5", scan_of(1, 3, 10, 12, mask=LINES[:, None]))
    dataset = data.SliceDataset(tmp_path, "multicoil", transforms.VarNetDataTransform())
    assert len(dataset) == 3
    undersampled = dataset[2]
    np.testing.assert_array_equal(undersampled.mask.ravel(), LINES)
    assert undersampled.crop_size == (12, 10)
    plain = data.SliceDataset(tmp_path, "multicoil")
    kspace, mask, target, attrs, name, index = plain[1]
    assert mask is None
    assert (name, index) == ("a.h5", 1)
    assert_close(torch.from_numpy(kspace), full.kspace[1].transpose(-1, -2), 0)
    assert (attrs["padding_left"], attrs["padding_right"]) == (0, 10)
    assert attrs["max"] >= target.max()
    from fastmri import ifft2c, rss_complex

    images = ifft2c(torch.view_as_real(torch.from_numpy(kspace)))
    assert_close(torch.from_numpy(target), rss_complex(images), 1e-5)


@pytest.mark.parametrize("phase_axis", [-2, -1])
def test_what_was_written_is_read_here_with_its_sizes(phase_axis, tmp_path) -> None:
    scan = scan_of(2, 3, 10, 12, geometry=GEOMETRY, simulated=True)
    write_fastmri(tmp_path / "a.h5", scan, phase_axis=phase_axis)
    again = read(tmp_path / "a.h5")
    turn = (lambda x: x.transpose(-1, -2)) if phase_axis == -2 else (lambda x: x)
    assert torch.equal(again.kspace, turn(scan.kspace))
    z, y, x = scan.geometry.field_of_view_mm
    assert again.geometry.field_of_view_mm == ((z, x, y) if phase_axis == -2 else (z, y, x))
    assert again.simulated


def test_columns_that_are_missing_are_the_phase_encoding(tmp_path) -> None:
    scan = scan_of(2, 3, 12, 10, mask=LINES)
    # Whatever stands where nothing was sampled is not written, and in single precision.
    dirty = dataclasses.replace(scan, kspace=scan.kspace.to(torch.complex128) + ~scan.mask)
    write_fastmri(tmp_path / "a.h5", dirty)
    again = read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["kspace"].dtype == np.complex64
        np.testing.assert_array_equal(file["kspace"], scan.kspace)
    assert torch.equal(again.kspace, scan.kspace)
    assert torch.equal(again.mask, scan.mask)
    assert again.geometry is None


def test_the_asymmetric_echo_of_full_lines_makes_no_target(tmp_path) -> None:
    echo = torch.arange(12) > 2
    write_fastmri(tmp_path / "a.h5", scan_of(1, 3, 10, 12, mask=echo.expand(10, 12)), phase_axis=-2)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["mask"][()].tolist() == [1.0] * 10
        assert "reconstruction_rss" not in file


def test_a_volume_is_written_as_slices_across_z(tmp_path) -> None:
    mask = LINES[None, :, None].expand(6, 10, 12)
    scan = scan_of(3, 6, 10, 12, mask=mask, spatial_ndim=3)
    write_fastmri(tmp_path / "a.h5", scan)
    expected = numpy_images(scan.kspace.numpy(), (-3,)).swapaxes(0, 1).swapaxes(-1, -2)
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(file["kspace"], expected, atol=1e-6)


def test_nothing_but_the_allowed_fields_is_in_the_header(tmp_path) -> None:
    write_fastmri(tmp_path / "Doe^Jane.h5", scan_of(1, 3, 10, 12, name="Doe^Jane.dat"))
    with h5py.File(tmp_path / "Doe^Jane.h5") as file:
        assert set(file) == {"kspace", "ismrmrd_header", "reconstruction_rss"}
        assert set(file.attrs) == {"max", "norm"}
        root = ElementTree.fromstring(file["ismrmrd_header"][()])
    allowed = {
        "acquisitionSystemInformation", "experimentalConditions", "encoding", "sequenceParameters"
    }  # fmt: skip
    assert {child.tag.rpartition("}")[2] for child in root} <= allowed
    # fastMRI's loaders take the sizes from here: x is the readout.
    matrix = root.find("{*}encoding/{*}encodedSpace/{*}matrixSize")
    assert [int(size.text) for size in matrix] == [12, 10, 1]
    assert b"Doe" not in (tmp_path / "Doe^Jane.h5").read_bytes()


def masked(*shape: int) -> torch.Tensor:
    mask = torch.ones(shape, dtype=torch.bool)
    mask[0, 0] = mask[-1, -1] = False
    return mask


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (scan_of(1, 3, 10, 12, mask=masked(10, 12)), "single points"),
        (scan_of(2, 3, 10, 12, mask=masked(2, 10, 12)[:, None]), "from slice to slice"),
        (scan_of(3, 6, 10, 12, mask=masked(6, 10, 12), spatial_ndim=3), "along z"),
        (scan_of(2, 1, 3, 10, 12, images=("repetition 0", "repetition 1")), "2 images"),
        (
            scan_of(
                3, 4, 16, mask=torch.ones(1, 4, 16, dtype=torch.bool),
                trajectory=radial(4, 16, 16), image_shape=(16, 16),
            ),
            "trajectory",
        ),
    ],
)  # fmt: skip
def test_what_has_no_place_in_the_format_is_refused_by_name(scan, words, tmp_path) -> None:
    with pytest.raises(DataError, match=words) as info:
        write_fastmri(tmp_path / "a.h5", scan)
    assert "write mrd" in str(info.value)
    assert not (tmp_path / "a.h5").exists()
