"""Scans along a trajectory: read from NumPy, BART and ISMRMRD, and reconstructed (simulated)."""

from __future__ import annotations

import ismrmrd
import numpy as np
import pytest
import torch
from mrd_scans import make_header

import firenet_mri
from firenet_mri.errors import DataError, FirenetError, ShapeError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.writing import write_scan
from firenet_mri.metrics import psnr
from firenet_mri.operators import NonuniformFourier, Sense
from firenet_mri.operators.density import pipe_menon
from firenet_mri.operators.trajectories import golden_angle_frames, radial, spiral, stack_of_stars
from firenet_mri.scan import RawScan

SIZE = 48


def object_and_maps(shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return blocks and a smooth part, and four coils around it with unit root-sum-of-squares."""
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    radius = sum(axis**2 for axis in axes[-2:])
    image = (radius < 0.7).float() * (1 - 0.3 * axes[-1])
    image[..., shape[-2] // 3 : shape[-2] // 2, shape[-1] // 2 : 2 * shape[-1] // 3] += 0.5
    centres = [(-1.2, 0), (1.2, 0), (0, -1.2), (0, 1.2)]
    maps = torch.stack(
        [
            torch.exp(-((axes[-2] - a) ** 2 + (axes[-1] - b) ** 2) / 2 + 0.3j * (a + b) * axes[-1])
            for a, b in centres
        ]
    )
    return image.to(torch.complex64), maps / torch.linalg.vector_norm(maps, dim=0)


def simulate(points: torch.Tensor, shape: tuple[int, ...]):
    image, maps = object_and_maps(shape)
    generator = torch.Generator().manual_seed(0)
    kspace = Sense(maps, NonuniformFourier(points, shape))(image)
    noise = torch.randn(kspace.shape, dtype=torch.complex64, generator=generator)
    return image, maps, kspace + 0.005 * kspace.norm() / noise.norm() * noise


TRAJECTORIES = {
    "radial": (radial(21, 96, SIZE), (SIZE, SIZE)),
    "spiral": (spiral(6, 300, SIZE, turns=3), (SIZE, SIZE)),
    "stack of stars": (stack_of_stars(8, 13, 48, 24), (8, 24, 24)),
}


def gridding(points: torch.Tensor, shape: tuple[int, ...], maps, kspace) -> torch.Tensor:
    """Return the density-compensated adjoint, at its best scale by the caller's measure."""
    weights = pipe_menon(points, shape)
    encoding = Sense(maps, NonuniformFourier(points, shape, weights=weights))
    return encoding.adjoint(kspace * weights.sqrt().float())


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_image_is_far_better_than_gridding(name, tmp_path) -> None:
    points, shape = TRAJECTORIES[name]
    image, maps, kspace = simulate(points, shape)
    np.save(tmp_path / "data.npy", kspace.numpy())
    np.save(tmp_path / "points.npy", points.numpy())
    scan = firenet_mri.read(
        tmp_path / "data.npy", trajectory=tmp_path / "points.npy", matrix_size=shape
    )
    assert scan.spatial_shape == shape
    result = firenet_mri.reconstruct(scan, maps=maps)
    simple = gridding(points, shape, maps, kspace).abs()
    simple = simple * (simple * image.abs()).sum() / simple.square().sum()
    assert psnr(image.abs(), result.image.abs()) > psnr(image.abs(), simple) + 5
    assert result.certificate.lipschitz_bound is not None
    files = result.save(tmp_path / "image.nii.gz")
    assert files.picture.exists()


def test_maps_are_found_in_the_densely_sampled_centre(tmp_path) -> None:
    points, shape = TRAJECTORIES["radial"]
    image, _maps, kspace = simulate(points, shape)
    scan = firenet_mri.read(_saved(tmp_path, kspace), trajectory=points, matrix_size=shape)
    result = firenet_mri.reconstruct(scan)
    assert psnr(image.abs(), result.image.abs()) > 26
    # The picture shows both with one grey window.
    assert float(result.zero_filled.abs().mean() / image.abs().mean()) == pytest.approx(1, abs=0.3)


def test_bart_pairs_are_read_with_x_first(tmp_path) -> None:
    points, shape = TRAJECTORIES["radial"]
    _, _, kspace = simulate(points, shape)
    data = np.zeros((4, 21, 96, 1), np.complex64)
    data[..., 0] = kspace
    _write_cfl(tmp_path / "data", data)
    bart = np.zeros((21, 96, 3), np.complex64)
    bart[..., 0], bart[..., 1] = points[..., 1], points[..., 0]
    _write_cfl(tmp_path / "points", bart)
    scan = firenet_mri.read(tmp_path / "data.cfl", trajectory=tmp_path / "points.cfl")
    assert torch.allclose(scan.trajectory, points, atol=1e-5)
    assert torch.equal(scan.kspace, kspace)
    assert scan.spatial_shape == shape


@pytest.mark.parametrize("per_pixel", [False, True])
def test_ismrmrd_readouts_carry_their_points(per_pixel) -> None:
    points, shape = TRAJECTORIES["radial"]
    _, _, kspace = simulate(points, shape)
    header = make_header((SIZE, SIZE, 1), trajectory="radial", vendor="simulated")
    readouts = []
    for spoke in range(len(points)):
        stored = points[spoke].flip(-1).numpy() / (SIZE if per_pixel else 1)
        readout = ismrmrd.Acquisition.from_array(
            np.ascontiguousarray(kspace[:, spoke].numpy()), stored.astype(np.float32)
        )
        readout.idx.kspace_encode_step_1 = spoke
        readouts.append(readout)
    scan = assemble(header, readouts)
    assert scan.simulated
    assert scan.spatial_shape == shape
    assert torch.allclose(scan.trajectory, points, atol=1e-5)
    assert torch.equal(scan.kspace, kspace)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"trajectory": torch.zeros(21, 95, 2)}, ShapeError, r"\(coil, 21, 95\)"),
        ({"trajectory": torch.zeros(21, 96, 4)}, ShapeError, r"\(\*samples, 2\)"),
        ({"trajectory": torch.full((21, 96, 2), torch.nan)}, DataError, "NaN"),
        ({"matrix_size": (16, 48)}, DataError, r"axis 0.*\[-8, 8\).*larger image"),
        ({"matrix_size": (48,)}, ShapeError, "image size"),
        ({"mask": torch.ones(48, 48)}, DataError, "mask and a trajectory"),
        ({"trajectory": None}, DataError, "was given without a trajectory"),
    ],
)
def test_bad_input_is_named(change, kind, said, tmp_path) -> None:
    points, shape = TRAJECTORIES["radial"]
    path = _saved(tmp_path, torch.zeros(4, 21, 96, dtype=torch.complex64) + 1)
    with pytest.raises(kind, match=said):
        firenet_mri.read(path, **{"trajectory": points, "matrix_size": shape, **change})


def test_what_is_for_cartesian_scans_only_is_refused(tmp_path) -> None:
    points, shape = TRAJECTORIES["radial"]
    _, maps, kspace = simulate(points, shape)
    scan = firenet_mri.read(_saved(tmp_path, kspace), trajectory=points, matrix_size=shape)
    with pytest.raises(FirenetError, match="Cartesian"):
        firenet_mri.reconstruct(scan, maps=maps, phase_constraint=0.3)


def _saved(folder, kspace):
    np.save(folder / "data.npy", kspace.numpy())
    return folder / "data.npy"


def _write_cfl(path, array: np.ndarray) -> None:
    sizes = [*array.shape[::-1], *[1] * (16 - array.ndim)]
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n")
    array.astype(np.complex64).tofile(path.with_suffix(".cfl"))


def test_bound_is_that_for_the_samples_before_the_density_weights(tmp_path) -> None:
    points, shape = TRAJECTORIES["radial"]
    _, maps, kspace = simulate(points, shape)
    scan = firenet_mri.read(_saved(tmp_path, kspace), trajectory=points, matrix_size=shape)
    before = firenet_mri.reconstruct(scan, maps=maps)
    bound = before.certificate.lipschitz_bound
    assert bound is not None
    # A change that the weights raise the most, of which the image may show no more than the bound.
    spoke, place = divmod(int(pipe_menon(points, shape).flatten().argmax()), points.shape[1])
    for size in (1e-2, 1.0):
        changed = kspace.clone()
        changed[0, spoke, place] += size
        np.save(tmp_path / "changed.npy", changed.numpy())
        other = firenet_mri.read(tmp_path / "changed.npy", trajectory=points, matrix_size=shape)
        after = firenet_mri.reconstruct(other, maps=maps)
        assert 0 < float((after.image - before.image).norm()) <= bound * size


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("ending", ["npy", "cfl"])
def test_images_over_time_are_read_as_they_were_written(ending, own, tmp_path) -> None:
    """Also where there are as many coils as images, which no shape tells apart."""
    points = golden_angle_frames(3, 4, 10, (8, 8)).float().double()
    generator = torch.Generator().manual_seed(0)
    scan = RawScan(
        torch.randn(3, 1, 3, 4, 10, dtype=torch.complex64, generator=generator),
        torch.ones(1, 4, 10, dtype=torch.bool),
        2,
        trajectory=list(points) if own else points[0],
        image_shape=(8, 8),
        images=("repetition 0", "repetition 1", "repetition 2"),
    )
    files = write_scan(tmp_path / f"scan.{ending}", scan)
    again = firenet_mri.read(
        files[0], trajectory=tmp_path / f"scan_trajectory.{ending}", matrix_size=(8, 8)
    )
    assert torch.equal(again.kspace, scan.kspace)
    assert again.images == scan.images
    assert len(again.trajectories) == len(scan.trajectories)
    for found, expected in zip(again.trajectories, scan.trajectories, strict=True):
        torch.testing.assert_close(found, expected)


def test_points_of_another_number_of_images_are_refused(tmp_path) -> None:
    np.save(tmp_path / "scan.npy", np.ones((3, 2, 4, 10), np.complex64))
    points = golden_angle_frames(2, 4, 10, (8, 8))[:, None]
    with pytest.raises(ShapeError, match=r"differ between images \(image, 1, \*samples, 2\)"):
        firenet_mri.read(tmp_path / "scan.npy", trajectory=points, matrix_size=(8, 8))
