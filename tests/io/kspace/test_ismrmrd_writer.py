"""A scan that was written as an ISMRMRD file is read back as it was, here and by other programs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mrd_scans import centred_fft

from firenet_mri import read
from firenet_mri.geometry import AcquisitionParameters, Moment
from firenet_mri.io.kspace.ismrmrd_writer import write_ismrmrd
from firenet_mri.scan import Geometry, ImageGrid, RawScan

GEOMETRY = Geometry((5.0, 90.0, 120.0), ((1.0, 2.0, 3.0), (1.0, 2.0, 8.0)), is_placed=True)


@st.composite
def scans(draw) -> RawScan:
    """Draw a scan of few samples; each image has some of every slice."""
    spatial = draw(st.sampled_from([(5, 6), (4, 7), (3, 4, 5)]))
    is_2d = len(spatial) == 2
    images = draw(st.sampled_from([(), ("repetition 0", "repetition 4")]))
    slices = draw(st.sampled_from([1, 2])) if is_2d else 1
    batch = (*([2] if images else []), *([slices] if is_2d else []))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coils = draw(st.integers(1, 3))
    mask = generator.random((*batch, 1, *spatial)) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    mask[..., spatial[-2] // 2, spatial[-1] // 2] = True
    kspace = generator.normal(size=(*batch, coils, *spatial, 2)).view(complex)[..., 0] * mask
    noise = None
    if draw(st.booleans()):
        noise = torch.from_numpy(generator.normal(size=(coils, 9, 2)).view(complex)[..., 0])
    geometry = draw(st.sampled_from([None, GEOMETRY]))
    if geometry is not None:
        geometry = Geometry(geometry.field_of_view_mm, geometry.positions_mm[:slices])
    return RawScan(
        torch.from_numpy(kspace.astype(np.complex64)),
        torch.from_numpy(mask),
        len(spatial),
        noise=None if noise is None else noise.to(torch.complex64),
        geometry=geometry,
        images=images,
        simulated=draw(st.booleans()),
        scanner_grid=draw(st.sampled_from([None, ImageGrid((1, 12, 16), (5.0, 90.0, 120.0))])),
    )


@settings(deadline=None, max_examples=30)
@given(scan=scans())
def test_what_was_written_is_read(scan, tmp_path_factory) -> None:
    path = tmp_path_factory.mktemp("mrd") / "scan.h5"
    write_ismrmrd(path, scan)
    again = read(path)
    assert torch.equal(again.kspace, scan.kspace)
    assert torch.equal(again.mask, scan.mask)
    assert again.images == scan.images
    assert again.simulated == scan.simulated
    assert (again.noise is None) == (scan.noise is None)
    if scan.noise is not None:
        assert torch.equal(again.noise, scan.noise)
    if scan.geometry is not None:
        assert again.geometry == scan.geometry
    else:
        assert not again.geometry.is_placed
    if scan.scanner_grid is not None:
        assert again.scanner_grid == scan.scanner_grid


@pytest.mark.skipif(
    shutil.which("ismrmrd_recon_cartesian_2d") is None, reason="ismrmrd-tools are not installed"
)
def test_ismrmrd_tools_reconstruct_what_was_written(tmp_path: Path) -> None:
    image = np.zeros((48, 64))
    image[10:30, 20:50] = 1
    image[15, 25] = 3
    kspace = centred_fft(image, (0, 1))[None, None].astype(np.complex64)
    scan = RawScan(torch.from_numpy(kspace), torch.ones(48, 64, dtype=torch.bool), 2)
    path = tmp_path / "scan.h5"
    write_ismrmrd(path, scan)
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path) as file:
        (name,) = [name for name in file["dataset"] if name not in ("xml", "data")]
        found = np.abs(np.squeeze(file[f"dataset/{name}/data"][()]))
    # Up to that program's scale.
    np.testing.assert_allclose(found / found.max(), image / 3, atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 8), (4, 8, 8)])
@pytest.mark.parametrize("reach", [4.0, 0.4])
@pytest.mark.parametrize("placed", [True, False])
def test_a_trajectory_is_read_as_it_was_written(shape, reach, placed, tmp_path: Path) -> None:
    """Also where it reaches no further than half a cycle, which could be taken for a pixel's."""
    ndim = len(shape)
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor(shape, dtype=torch.float64) / 8
    trajectory = (2 * torch.rand(4, 5, ndim, generator=generator).double() - 1) * spread * reach
    slices = (2,) if ndim == 2 else ()
    scan = RawScan(
        torch.randn(*slices, 3, 4, 5, dtype=torch.complex64, generator=generator),
        torch.ones(1, 4, 5, dtype=torch.bool),
        ndim,
        noise=torch.randn(3, 9, dtype=torch.complex64, generator=generator),
        geometry=Geometry((5.0, 90.0, 120.0), GEOMETRY.positions_mm[: len(slices) + 1])
        if placed
        else None,
        trajectory=trajectory,
        image_shape=shape,
        simulated=True,
    )
    write_ismrmrd(tmp_path / "scan.h5", scan)
    again = read(tmp_path / "scan.h5")
    assert torch.equal(again.kspace, scan.kspace)
    np.testing.assert_allclose(again.trajectory, trajectory, rtol=1e-6)
    assert again.image_shape == shape
    assert torch.equal(again.noise, scan.noise)
    assert again.simulated
    if placed:
        assert again.geometry == scan.geometry


@pytest.mark.parametrize("slices", [1, 2])
def test_images_along_trajectories_of_their_own_are_read_as_they_were_written(
    slices, tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(3, 4, 5, 2, generator=generator).double() - 0.5) * 8
    scan = RawScan(
        torch.randn(3, slices, 2, 4, 5, dtype=torch.complex64, generator=generator),
        torch.ones(1, 4, 5, dtype=torch.bool),
        2,
        trajectory=list(points),
        image_shape=(8, 8),
        images=("phase 0", "phase 1", "phase 2"),
        parameters=AcquisitionParameters(
            moments=tuple(Moment(f"phase {i}", 10.0 * i, 20.0 + 40 * i) for i in range(3))
        ),
    )
    write_ismrmrd(tmp_path / "scan.h5", scan)
    again = read(tmp_path / "scan.h5")
    assert torch.equal(again.kspace, scan.kspace)
    assert (again.images, again.parameters) == (scan.images, scan.parameters)
    np.testing.assert_allclose(
        torch.stack(again.trajectories), points.repeat_interleave(slices, 0), rtol=1e-6
    )
