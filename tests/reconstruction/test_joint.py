"""Images that belong together as one problem: what that gains, what is proven, what is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from firenet_mri import RawScan, reconstruct
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.firenet.networks import network_of
from firenet_mri.metrics import psnr
from firenet_mri.monai import FIRENETReconstruct
from firenet_mri.operators import encoding_operator
from firenet_mri.phantoms import ellipses
from firenet_mri.reconstruction.data_warnings.places import places_of
from firenet_mri.reconstruction.joint import groups_along
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare

FRAMES, SIZE, COILS = 6, 48, 4


def moving() -> torch.Tensor:
    """Return a disc that grows and shrinks before ellipses, (frame, y, x) complex."""
    place = torch.linspace(-1, 1, SIZE)
    radius = torch.hypot(place[:, None] - 0.1, place[None])
    still = ellipses(SIZE, 1, seed=3)[0] * (radius < 0.9)
    sizes = 0.35 + 0.04 * torch.cos(2 * torch.pi * torch.arange(FRAMES) / FRAMES)
    discs = 0.5 * torch.sigmoid((sizes[:, None, None] - radius) * 40)
    return (still + discs) * torch.exp(1j * place[:, None])


def maps() -> torch.Tensor:
    place = torch.linspace(-1, 1, SIZE)
    angles = 2 * torch.pi * torch.arange(COILS) / COILS
    y, x = (
        place[:, None] - 1.3 * angles.sin()[:, None, None],
        place - 1.3 * angles.cos()[:, None, None],
    )
    found = torch.exp(-(y**2 + x**2)) * torch.exp(1j * angles)[:, None, None]
    return found / torch.linalg.vector_norm(found, dim=0)


def simulated(names: tuple[str, ...], slices: int = 1) -> RawScan:
    """Return every sixth line, another in each frame, with four in the centre."""
    mask = torch.zeros(FRAMES, 1, SIZE, SIZE, dtype=torch.bool)
    for frame in range(FRAMES):
        mask[frame, :, frame % 6 :: 6] = True
    mask[:, :, SIZE // 2 - 2 : SIZE // 2 + 2] = True
    kspace = encoding_operator(mask, maps())(moving().to(torch.complex64))
    noise = torch.randn(
        kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(0)
    )
    kspace = (kspace + 0.01 * noise) * mask
    shape = (FRAMES, slices)
    kspace = kspace[:, None].expand(*shape, *kspace.shape[1:]).contiguous()
    return RawScan(kspace, mask[:, None].expand(*shape, 1, SIZE, SIZE), 2, images=names)


def entry_of(certificate: Certificate, name: str) -> Entry:
    (found,) = (entry for entry in certificate.entries if entry.name == name)
    return found


@pytest.fixture(scope="module")
def scan() -> RawScan:
    return simulated(tuple(f"phase {i}" for i in range(FRAMES)))


@pytest.fixture(scope="module")
def together(scan):
    return reconstruct(scan, joint="phase")


def test_frames_together_are_far_nearer_to_the_truth_than_one_by_one(scan, together) -> None:
    reference = moving().abs()
    alone = reconstruct(scan, no_gap=True)
    gain = psnr(reference, together.magnitude[:, 0]) - psnr(reference, alone.magnitude[:, 0])
    assert gain > 3
    assert together.image.shape == alone.image.shape == (FRAMES, 1, SIZE, SIZE)


def test_the_certificate_is_one_of_all_frames_and_says_so(scan, together) -> None:
    assert together.certificate.items == 1
    gap = entry_of(together.certificate, "duality_gap")
    assert gap.status == "proven"
    assert 0 <= gap.values["relative_gap"][0] < 0.3
    entry = entry_of(together.certificate, "frames")
    assert entry.values["frames"] == (FRAMES,)
    assert "all frames together" in entry.statement
    bound = entry_of(together.certificate, "lipschitz_bound")
    constant = bound.values["lipschitz_bound"][0]
    assert constant == pytest.approx(
        network_of(COILS, (SIZE, SIZE), ReconstructionOptions().network).lipschitz_bound_everywhere(
            encoding_operator(None, maps())
        ),
        rel=1e-4,
    )


def test_no_image_has_an_objective_below_the_lower_bound(scan, together) -> None:
    prepared = prepare(scan, ReconstructionOptions(joint="phase"))
    encoded, _ = prepared.encoded(prepared.items[0])
    problem = prepared.net.problem(encoded.encoding)
    longer = prepare(scan, ReconstructionOptions.from_mapping({"joint": "phase", "layers": 300}))
    with torch.no_grad():
        best = longer.net(encoded.y, encoded.encoding)
    truth = encoded.start(moving().to(torch.complex64))
    y = encoded.y.to(torch.complex128)
    values = [float(problem.objective(one.to(torch.complex128), y)) for one in (best, truth)]
    (lower,) = together.certificate.lower_bound
    assert 0.7 * values[0] < lower < values[0] < values[1]
    assert values[0] < together.certificate.objective[0]


def test_a_change_of_all_frames_is_amplified_less_than_the_constant_says(scan) -> None:
    prepared = prepare(scan, ReconstructionOptions(joint="phase"))
    encoded, _ = prepared.encoded(prepared.items[0])
    net, y = prepared.net, encoded.y
    bound = net.proven_bound(encoded.encoding).value
    start = encoded.encoding(encoded.masked(torch.randn(FRAMES, SIZE, SIZE, dtype=y.dtype)))
    change = 0.01 * y.norm() / start.norm() * start
    with torch.no_grad():
        before = net(y, encoded.encoding)
    worst, sampled = 0.0, prepared.items[0].mask
    for _ in range(4):
        change.requires_grad_()
        moved = torch.linalg.vector_norm(net(y + change, encoded.encoding) - before)
        (gradient,) = torch.autograd.grad(moved, change)
        change = change.detach()
        worst = max(worst, float(moved.detach() / change.norm()))
        step = gradient * sampled
        change = 0.01 * y.norm() / step.norm() * step
    assert 0.5 < worst < bound


def test_frames_are_told_by_any_counter_and_slices_stay_apart() -> None:
    names = tuple(f"repetition {i // 3}, phase {i % 3}" for i in range(FRAMES))
    scan = simulated(names, slices=2)
    assert groups_along(scan, "phase") == ((0, 2, 4), (1, 3, 5), (6, 8, 10), (7, 9, 11))
    assert groups_along(scan, "repetition")[0] == (0, 6)
    assert groups_along(scan, "slice") == tuple((2 * i, 2 * i + 1) for i in range(FRAMES))
    assert places_of(scan, 4, "phase")[1] == "repetition 0, slice 1, all of phase"


def test_a_certificate_names_the_tilings_of_low_rank(scan) -> None:
    options = {"sparsifier": "across-tv+across-low-rank12", "layers": 25}
    found = reconstruct(scan, joint="phase", **options)
    statement = entry_of(found.certificate, "frames").statement
    assert "2 fixed tilings by squares of 12 x 12 pixels" in statement
    assert "(0, 0), (6, 6)" in statement
    assert entry_of(found.certificate, "duality_gap").status == "proven"
    assert 0 <= found.certificate.relative_gap[0] < 0.1


def test_images_come_back_where_they_were(scan) -> None:
    """Phases in another order of the file: the image of each stays at its place."""
    order = [3, 0, 5, 1, 4, 2]
    shuffled = dataclasses.replace(
        scan,
        kspace=scan.kspace[order],
        mask=scan.mask[order],
        images=tuple(scan.images[i] for i in order),
    )
    first, second = (
        reconstruct(one, joint="phase", layers=5, no_gap=True).image for one in (scan, shuffled)
    )
    torch.testing.assert_close(second, first[order], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"joint": "echo"}, "axes of this scan: phase"),
        ({"joint": "phase 1"}, "not the name of an axis"),
        ({"joint": "phase", "sparsifier": "across-tv"}, "what is the same in all images"),
        ({"joint": "phase", "jacobian": True}, "jacobian and joint"),
        ({"joint": "phase", "weights": "learned"}, "trained networks are for single images"),
        ({"joint": "phase", "preset": "paper"}, "the preset paper is for single"),
        ({"joint": "phase", "sparsifier": "across-low-rank49"}, "49 x 49 pixels requested"),
        (
            {"joint": "phase", "sparsifier": "tv+across-groups", "preset": "sharp"},
            "across-groups and several passes",
        ),
    ],
)
def test_what_frames_cannot_have_is_refused_by_name(scan, options, words) -> None:
    with pytest.raises(UsageError, match=words):
        reconstruct(scan, **options)


def test_frames_without_samples_are_refused_by_name(scan) -> None:
    kspace, mask = scan.kspace.clone(), scan.mask.clone()
    kspace[2] = 0
    with pytest.raises(DataError, match=r"phase 2 has no samples"):
        reconstruct(dataclasses.replace(scan, kspace=kspace), joint="phase")
    mask[2] = False
    with pytest.raises(DataError, match=r"phase 2 has no samples"):
        reconstruct(dataclasses.replace(scan, kspace=kspace, mask=mask), joint="phase")


def test_maps_of_zeros_are_refused(scan) -> None:
    zeros = torch.zeros(COILS, SIZE, SIZE, dtype=torch.complex64)
    for joint in (None, "phase"):
        with pytest.raises(DataError, match="maps are 0 everywhere"):
            reconstruct(scan, joint=joint, maps=zeros)


def test_lost_frames_are_named(scan) -> None:
    names = (
        "repetition 0, phase 0",
        "repetition 0, phase 1",
        *(f"repetition 1, phase {i}" for i in range(4)),
    )
    with pytest.raises(DataError, match="some images have 2 frames, others 4"):
        groups_along(dataclasses.replace(scan, images=names), "phase")


def test_monai_takes_frames_as_slices_of_one_problem() -> None:
    scan = simulated(())
    scan = dataclasses.replace(scan, kspace=scan.kspace[:, 0], mask=scan.mask[:, 0])
    options = {"joint": "slice", "layers": 5}
    expected = reconstruct(scan, no_gap=True, **options).image
    for certificate in (False, True):
        transform = FIRENETReconstruct(output="complex", certificate=certificate, **options)
        image = transform(scan).as_tensor()
        found = image[0].permute(2, 1, 0)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    with pytest.raises(UsageError, match="joint works neither"):
        FIRENETReconstruct(output="rss", **options)(scan)
