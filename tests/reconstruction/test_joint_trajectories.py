"""Frames with a trajectory each, and volumes over time: made together, and one by one."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.networks import network_of
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.monai import FIRENETReconstruct
from firenet_mri.monai.scans import kspace_of
from firenet_mri.operators import NonuniformFourier, Sense
from firenet_mri.operators.density import density_weights
from firenet_mri.operators.trajectories import golden_angle_frames
from firenet_mri.phantoms import ellipses
from firenet_mri.reconstruction.joint import SPARSIFIER, groups_along
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.scan import digest_of_scan, select, with_reversed_kspace
from firenet_mri.simulation import simulate

FRAMES, SIZE, COILS, SPOKES = 4, 24, 3, 9
NAMES = tuple(f"phase {i}" for i in range(FRAMES))


def moving() -> torch.Tensor:
    """Return frames of ellipses that brighten, (frame, y, x) complex64."""
    still = ellipses(SIZE, 1, seed=3)[0].to(torch.complex64)
    return torch.stack([still * (1 + 0.1 * t) for t in range(FRAMES)])


def maps() -> torch.Tensor:
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    found = torch.stack(
        [torch.exp(-((y - a) ** 2) - (x - b) ** 2 + 1j * a) for a, b in ((1, 0), (-1, 1), (0, -1))]
    )
    return (found / torch.linalg.vector_norm(found, dim=0)).to(torch.complex64)


def along(points: torch.Tensor) -> RawScan:
    """Return frames (frame, 1, coil, *samples) along points (frame, *samples, 2), with noise."""
    shape = (SIZE, SIZE)
    frames = zip(moving(), points, strict=True)
    each = [Sense(maps(), NonuniformFourier(where, shape))(image) for image, where in frames]
    kspace = torch.stack(each)
    drawn = torch.randn(kspace.shape, generator=torch.Generator().manual_seed(1))
    kspace = (kspace + 0.01 * drawn)[:, None]
    mask = torch.ones(1, *points.shape[1:-1], dtype=torch.bool)
    return RawScan(
        kspace, mask, 2, trajectory=list(points), image_shape=shape, images=NAMES, name="cine"
    )


@pytest.fixture(scope="module")
def scan() -> RawScan:
    return along(golden_angle_frames(FRAMES, SPOKES, SIZE, (SIZE, SIZE)))


def test_grid_points_as_trajectories_give_the_cartesian_image() -> None:
    rows = torch.stack([torch.arange(t % 2, SIZE, 2) for t in range(FRAMES)])
    grid = torch.arange(SIZE) - SIZE // 2
    y = (rows - SIZE // 2)[:, :, None].expand(-1, -1, SIZE)
    points = torch.stack([y, grid.expand_as(y)], -1).double()
    one = along(points)
    mask = torch.zeros(FRAMES, 1, 1, SIZE, SIZE, dtype=torch.bool)
    kspace = torch.zeros(FRAMES, 1, COILS, SIZE, SIZE, dtype=torch.complex64)
    for t, row in enumerate(rows):
        mask[t, ..., row, :] = True
        kspace[t, 0, :, row] = one.kspace[t, 0]
    cartesian = RawScan(kspace, mask, 2, images=NAMES)
    options = {"joint": "phase", "maps": maps(), "lam": 4e-3}
    first, second = (reconstruct(each, **options) for each in (one, cartesian))
    difference = float((first.image - second.image).norm() / second.image.norm())
    assert difference < 2e-3
    assert first.certificate.objective[0] == pytest.approx(second.certificate.objective[0], 1e-3)
    assert first.certificate.lower_bound[0] == pytest.approx(
        second.certificate.lower_bound[0], rel=5e-3
    )


def test_the_maps_of_frames_come_from_the_spokes_of_all(scan) -> None:
    prepared = prepare(scan, ReconstructionOptions(joint="phase"))
    encoded, _ = prepared.encoded(prepared.items[0])
    samples = scan.kspace[:, 0].transpose(0, 1).reshape(COILS, -1, SIZE)
    together = RawScan(
        samples,
        torch.ones(1, FRAMES * SPOKES, SIZE, dtype=torch.bool),
        2,
        trajectory=torch.cat(scan.trajectories),
        image_shape=(SIZE, SIZE),
    )
    expected = sensitivity_maps(together)
    for sense, points in zip(encoded.encoding.senses, scan.trajectories, strict=True):
        torch.testing.assert_close(sense.maps, expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(sense.fourier.trajectory, points)
    names = {part.name: part.from_data for part in encoded.encoding.made_from}
    assert names == {"sensitivity maps": True, "trajectory": False, "density weights": False}


def test_the_automatic_lam_of_frames_along_trajectories_is_twice_that_of_lines(scan) -> None:
    first, second = (
        prepare(scan, ReconstructionOptions.from_mapping({"joint": "phase", **more})).net.minimiser
        for more in ({}, {"lam": 1e-3})
    )
    shape = (FRAMES, SIZE, SIZE)
    usual = network_of(COILS, shape, NetworkOptions(sparsifier=SPARSIFIER)).minimiser
    assert first.lam == pytest.approx(2 * usual.lam)
    assert second.lam == 1e-3


def test_the_certificate_of_frames_along_trajectories_is_complete(scan) -> None:
    result = reconstruct(scan, joint="phase")
    entries = {entry.name: entry for entry in result.certificate.entries}
    assert entries["duality_gap"].status == entries["lipschitz_bound"].status == "proven"
    assert entries["frames"].values["frames"] == (FRAMES,)
    prepared = prepare(scan, ReconstructionOptions(joint="phase"))
    encoded, _ = prepared.encoded(prepared.items[0])
    y, net = encoded.y, prepared.net
    bound = net.proven_bound(encoded.encoding).value
    # What is stated is about the samples before their weights.
    shape = (SIZE, SIZE)
    root = torch.stack([density_weights(one, shape) for one in scan.trajectories]).sqrt()
    torch.testing.assert_close(y, (encoded.samples * root).to(y.dtype))
    stated = entries["lipschitz_bound"].values["lipschitz_bound"][0]
    everywhere = net.lipschitz_bound_everywhere(encoded.encoding)
    assert stated == pytest.approx(everywhere * float(root.max()))
    before, worst = encoded.masked(net(y, encoded.encoding)), 0.0
    change = encoded.encoding(torch.randn(FRAMES, SIZE, SIZE, dtype=y.dtype))
    for _ in range(3):
        change = (0.01 * y.norm() / change.norm() * change).detach().requires_grad_()
        moved = encoded.masked(net(y + change, encoded.encoding)) - before.detach()
        worst = max(worst, float(moved.detach().norm() / change.detach().norm()))
        (change,) = torch.autograd.grad(moved.norm(), change)
    assert 0.5 < worst < bound


def test_one_by_one_every_image_has_its_own_trajectory(scan) -> None:
    options = {"layers": 5, "no_gap": True}
    together = reconstruct(scan, **options).image
    for t in (0, 3):
        alone = RawScan(
            scan.kspace[t, 0],
            scan.mask[t, 0],
            2,
            trajectory=scan.trajectories[t],
            image_shape=(SIZE, SIZE),
        )
        torch.testing.assert_close(together[t, 0], reconstruct(alone, **options).image)


def test_all_see_the_trajectories_of_the_images_that_were_chosen(scan) -> None:
    chosen = select(scan, images=[1, 3])
    for found, expected in zip(chosen.trajectories, scan.trajectories[1::2], strict=True):
        assert torch.equal(found, expected)
    assert torch.equal(with_reversed_kspace(scan).trajectories[2], -scan.trajectories[2])
    other = [*scan.trajectories[:-1], scan.trajectories[0]]
    changed = dataclasses.replace(scan, trajectory=other)
    assert digest_of_scan(changed).trajectory != digest_of_scan(scan).trajectory
    same = dataclasses.replace(scan, trajectory=[scan.trajectories[0].clone()] * FRAMES)
    assert isinstance(same.trajectory, torch.Tensor)


def test_trajectories_are_those_of_all_slices_of_an_image() -> None:
    points = golden_angle_frames(2, 3, 8, (8, 8))
    kspace = torch.ones(2, 2, COILS, 3, 8, dtype=torch.complex64)
    mask = torch.ones((), dtype=torch.bool)
    common = {"image_shape": (8, 8), "images": ("phase 0", "phase 1")}
    scan = RawScan(kspace, mask, 2, trajectory=list(points), **common)
    assert [float(one[0, 0, 0]) for one in scan.trajectories] == [
        float(points[t][0, 0, 0]) for t in (0, 0, 1, 1)
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda found: found[:-1], "3 trajectories for 4 images"),
        (lambda found: [*found, found[0]], "5 trajectories for 4 images"),
        (lambda found: [*found[:-1], found[-1][:-1]], "need the same number of samples"),
        (lambda found: [one[:-1] for one in found], r"the data must be \(..., coil, 8, 24\)"),
    ],
)
def test_trajectories_that_do_not_fit_the_frames_are_refused(scan, change, words) -> None:
    with pytest.raises(ShapeError, match=words):
        dataclasses.replace(scan, trajectory=change(list(scan.trajectories)))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [((0, 1, 1, 2), "phase 1 occurs 2 times"), ((0, 1, 3, 4), "phase 1 is followed by phase 3")],
)
def test_frames_that_are_repeated_or_lost_are_refused(scan, numbers, words) -> None:
    named = dataclasses.replace(scan, images=tuple(f"phase {i}" for i in numbers))
    with pytest.raises(DataError, match=words):
        groups_along(named, "phase")
    every_second = dataclasses.replace(scan, images=tuple(f"phase {2 * i}" for i in range(FRAMES)))
    assert groups_along(every_second, "phase") == (tuple(range(FRAMES)),)


def test_one_frame_alone_and_maps_of_another_number_are_refused(scan) -> None:
    with pytest.raises(UsageError, match="not have several images along such an axis"):
        reconstruct(select(scan, images=[2]), joint="phase")
    own = maps().expand(FRAMES - 1, COILS, SIZE, SIZE)
    with pytest.raises(ShapeError, match=r"maps have shape \(3, 3, 24, 24\)"):
        reconstruct(scan, joint="phase", maps=own)


def test_frames_may_have_maps_of_their_own(scan) -> None:
    own = torch.stack([maps() * torch.exp(torch.tensor(0.1j * t)) for t in range(FRAMES)])
    prepared = prepare(scan, ReconstructionOptions(joint="phase", maps=own))
    encoded, _ = prepared.encoded(prepared.items[0])
    for sense, one in zip(encoded.encoding.senses, own, strict=True):
        torch.testing.assert_close(sense.maps, one)


def test_volumes_over_time_are_joined_plane_by_plane_of_their_readout() -> None:
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(FRAMES, 1, 6, 8, 1, generator=generator) < 0.6
    mask[..., 2:4, 2:6, :] = True
    volume = torch.randn(FRAMES, COILS, 6, 8, 5, dtype=torch.complex64, generator=generator)
    scan = RawScan(volume * mask, mask.expand(FRAMES, 1, 6, 8, 5), 3, images=NAMES)
    options = {"joint": "phase", "maps": "lowres", "layers": 4, "no_gap": True}
    with pytest.raises(
        UsageError, match="is a volume, but joint is for slices; also give by_readout"
    ):
        reconstruct(scan, **options)
    found = reconstruct(scan, by_readout=True, **options)
    assert found.image.shape == (FRAMES, 6, 8, 5)
    assert found.certificate.items == 5
    # The transform along the readout, written out.
    turns = torch.outer(torch.arange(5) - 2, torch.arange(5) - 2) / 5
    planes = scan.kspace @ torch.exp(2j * torch.pi * turns).to(torch.complex64) / 5**0.5
    one = RawScan(planes[..., 3][:, None], scan.mask[:, None, ..., 3], 2, images=NAMES)
    expected = reconstruct(one, **options).image[:, 0]
    torch.testing.assert_close(found.image[..., 3], expected, rtol=1e-3, atol=1e-3)
    alone = reconstruct(scan, by_readout=True, **{**options, "joint": None})
    assert alone.image.shape == found.image.shape


def test_a_simulated_radial_series_is_the_transform_of_its_frames() -> None:
    series = moving()[:, None]
    options = {"coils": 2, "pattern": "radial", "acceleration": 6, "snr": 1e6}
    found = simulate(series, **options)
    assert found.kspace.shape == (FRAMES, 1, 2, 4, 2 * SIZE)
    assert found.images == tuple(f"repetition {i}" for i in range(FRAMES))
    full = simulate(series, coils=2, acceleration=1, snr=1e6)
    assert full.kspace.shape == (FRAMES, 1, 2, SIZE, SIZE)
    # Every spoke passes through the centre of k-space.
    for t in range(FRAMES):
        centre = full.kspace[t, 0, :, SIZE // 2, SIZE // 2, None].expand(2, 4)
        torch.testing.assert_close(found.kspace[t, 0, :, :, SIZE], centre, rtol=1e-3, atol=1e-2)
    first = simulate(series[0], **options)
    torch.testing.assert_close(first.trajectory, found.trajectories[0])


def test_simulated_lines_interleave_and_share_the_centre() -> None:
    options = {"coils": 2, "pattern": "interleaved", "acceleration": 4, "calibration": 4}
    found = simulate(moving()[:1], frames=8, **options)
    lines = found.mask[:, 0, 0, :, 0]
    assert bool(lines[:, SIZE // 2 - 2 : SIZE // 2 + 2].all())
    for start in range(5):
        assert bool(lines[start : start + 4].any(0).all())
    assert not torch.equal(lines[0], lines[1])
    mask = torch.zeros(FRAMES, SIZE, SIZE, dtype=torch.bool)
    for t in range(FRAMES):
        mask[t, t::FRAMES] = True
    given = simulate(moving()[:, None], coils=2, mask=mask)
    assert torch.equal(given.mask[:, 0, 0], mask)
    assert torch.equal((given.kspace != 0).any(2)[:, 0], mask)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 3}, "is a series of 4 frames, but 3 were requested"),
        ({"pattern": "interleaved", "acceleration": 2.5}, "give a whole number"),
        ({"pattern": "radial", "volume": True}, "radial and a volume"),
        ({"pattern": "radial", "mask": torch.ones(SIZE)}, "radial and a mask"),
    ],
)
def test_frames_that_cannot_be_simulated_are_refused(options, words) -> None:
    with pytest.raises(UsageError, match=words):
        simulate(moving()[:, None], coils=2, **options)
    with pytest.raises(UsageError, match="a series of one frame"):
        simulate(moving()[:1, None], coils=2)


def test_a_mask_of_another_number_of_frames_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 24, 24\), the image \(24, 24\) in 4 frames"):
        simulate(moving()[:, None], coils=2, mask=torch.ones(3, SIZE, SIZE))


def test_monai_takes_such_a_scan_whole_and_no_tensor_of_it(scan) -> None:
    options = {"joint": "phase", "layers": 3}
    expected = reconstruct(scan, no_gap=True, **options).magnitude[:, 0]
    found = FIRENETReconstruct(**options)(scan).as_tensor()
    torch.testing.assert_close(found.permute(0, 3, 2, 1)[:, 0], expected)
    with pytest.raises(UsageError, match="trajectories of their own"):
        kspace_of(scan)
