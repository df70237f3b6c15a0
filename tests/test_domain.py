"""An image is told from k-space, and k-space is never refused for one."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch
from real_scans import DATA

from firenet_mri import read
from firenet_mri.domain import check_is_image, check_is_kspace
from firenet_mri.errors import DataError
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.phantoms import ellipses

BRAIN = "sample_data/brain_8coil_reference.nii.gz"
SCAN = "sample_data/brain_8coil.h5"


def brain() -> torch.Tensor:
    """Return the sample's magnitude, (1, y, x)."""
    image = np.asarray(nibabel.load(BRAIN).dataobj, np.float32)
    return torch.from_numpy(image.reshape(image.shape[:2]).T[None].copy())


def with_phase(image: torch.Tensor) -> torch.Tensor:
    y, x = (torch.linspace(-1, 1, size) for size in image.shape[-2:])
    return torch.polar(image, 1.5 * y[:, None] ** 2 + x + torch.zeros_like(image))


def frames() -> torch.Tensor:
    """Return magnitudes (x, y, 9 slices, 8 frames): the last axes are too short to judge by."""
    factors = torch.rand(9, 8, generator=torch.Generator().manual_seed(0))
    return brain()[0, ::4, ::4, None, None] * (1 + factors)


IMAGES = {
    "magnitudes as complex numbers": lambda: brain().to(torch.complex64),
    "magnitudes": brain,
    "a complex image": lambda: with_phase(brain()),
    "coil images": lambda: centred_ifft(read(SCAN).kspace, (-2, -1)),
    "a normalised image": lambda: (brain() - brain().mean()).to(torch.complex64),
    "phantoms": lambda: ellipses(64, 4, seed=0),
    "slices as coils": lambda: ellipses(24, 24, seed=0).to(torch.complex64),
    "whole numbers": lambda: (1000 * brain()).to(torch.int32),
    "magnitudes along short axes": lambda: frames().to(torch.complex64),
}


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_an_image_without_metadata_is_refused_by_what_it_looks_like(image) -> None:
    with pytest.raises(DataError, match=r"is an image, not k-space: .*SimulateKspace"):
        check_is_kspace(image(), 2)
    check_is_image(image(), 2)


def test_every_axis_order_and_a_volume_are_refused() -> None:
    volume = with_phase(brain())
    for order in ((1, 2, 0), (2, 1, 0), (0, 2, 1)):
        with pytest.raises(DataError, match="is an image"):
            check_is_kspace(volume.permute(order), 2)
    blobs = torch.stack([ellipses(32, 1, seed=0)[0] * (1 - abs(z - 8) / 8) for z in range(16)])
    with pytest.raises(DataError, match="is an image"):
        check_is_kspace(blobs, 3)
    check_is_kspace(centred_fft(blobs.to(torch.complex64), (-3, -2, -1)), 3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))


def without_centre() -> torch.Tensor:
    kspace = centred_fft(with_phase(brain()), (-2, -1))
    kspace[..., 80:100, :] = 0
    return kspace


def thin_plate() -> torch.Tensor:
    """Return k-space that is flat along the axis across the plate, and not along the other."""
    image = torch.zeros(1, 64, 64, dtype=torch.complex64)
    image[0, 30:33, 12:50] = 1 + 0.2j
    kspace, noise = centred_fft(image, (-2, -1)), random(1, 64, 64)
    return kspace + 0.7 * noise * kspace.norm() / noise.norm()


KSPACE = {
    "the sample scan": lambda: read(SCAN).kspace,
    "its real and imaginary parts": lambda: torch.view_as_real(read(SCAN).kspace).movedim(-1, 0),
    "fully sampled": lambda: centred_fft(with_phase(brain()), (-2, -1)),
    "of a real image": lambda: centred_fft(brain().to(torch.complex64), (-2, -1)),
    "without its centre": without_centre,
    "not shifted": lambda: torch.fft.ifftshift(read(SCAN).kspace, (-2, -1)),
    "noise": lambda: random(2, 4, 32, 24),
    "real noise": lambda: random(2, 4, 32, 24).real + 0j,
    "magnitudes of k-space": lambda: read(SCAN).kspace.abs() + 0j,
    "of frames of one coil": lambda: centred_fft(
        with_phase(frames().movedim((0, 1), (2, 3))), (2, 3)
    ),
    "uniform random numbers": lambda: torch.view_as_complex(torch.rand(4, 32, 24, 2)),
    "zeros": lambda: torch.zeros(4, 32, 24, dtype=torch.complex64),
    "ones": lambda: torch.ones(4, 32, 24, dtype=torch.complex64),
    "of a point": lambda: torch.ones(4, 64, 64) * ((torch.arange(64) - 32).abs() < 12),
    "of a thin plate in noise": thin_plate,
    "one sample": lambda: torch.zeros(1, 32, 32).index_put(
        (torch.tensor(0),) * 3, torch.tensor(1.0)
    ),
    "a small grid": lambda: random(3, 8, 6),
    "NaN": lambda: random(1, 32, 32) * torch.nan,
    "no items": lambda: random(0, 3, 32, 32),
}


@pytest.mark.parametrize("kspace", KSPACE.values(), ids=KSPACE)
def test_kspace_without_metadata_is_welcome(kspace) -> None:
    check_is_kspace(kspace(), 2)


@pytest.mark.parametrize(
    "name", ["brain_poisson/cartesian_ksp.npy", "ge_pfile/P20480_GRE.7", "siemens_twix/gre.dat"]
)
def test_real_scans_are_kspace_and_their_coil_images_are_not(name) -> None:
    if not (DATA / name).exists():
        pytest.skip("the real scan is not here")
    kspace = read(DATA / name).kspace
    check_is_kspace(kspace, 2)
    with pytest.raises(DataError, match="is k-space, not an image"):
        check_is_image(kspace, 2)
    with pytest.raises(DataError, match="is an image"):
        check_is_kspace(centred_ifft(kspace, (-2, -1)), 2)


def test_noise_passes_for_both_whatever_the_seed() -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(200):
        noise = torch.randn(1, 16, 16, dtype=torch.complex64, generator=generator)
        check_is_kspace(noise, 2)
        check_is_image(noise, 2)


@pytest.mark.parametrize(
    ("metadata", "sign"),
    [
        ({"domain": "image"}, "say so"),
        ({"domain": ["kspace", "image"]}, "say so"),
        ({"original_affine": np.eye(4)}, "image reader"),
        ({"pixdim": np.ones(8)}, "NIfTI"),
        ({"mode": "L", "width": 8}, "picture"),
        ({"0008|0060": "MR"}, "DICOM"),
        ({"00080060": "MR"}, "DICOM"),
    ],
)
def test_metadata_of_an_image_decide_whatever_the_numbers(metadata, sign) -> None:
    with pytest.raises(DataError, match=rf"{sign}.*meta\['domain'\] = 'kspace'"):
        check_is_kspace(random(2, 8, 8), 2, metadata=metadata)


def test_the_user_may_say_what_it_is() -> None:
    image = {"original_affine": np.eye(4), "domain": "kspace"}
    check_is_kspace(with_phase(brain()), 2, metadata=image)
    check_is_image(centred_fft(brain(), (-2, -1)), 2, metadata={"domain": "image"})


@pytest.mark.parametrize(
    "metadata",
    [
        {"affine": np.diag([2.0, 2, 2, 1]), "original_affine": np.eye(4), "spatial_ndim": 2},
        {"affine": np.diag([-1.0, 2, 2, 1])},
        {"affine": np.eye(4), "space": "RAS"},
        {"kspace": 0, "acquisition": "AXT2"},
        {"spatial_shape": (8, 8), "filename_or_obj": "kspace.npy"},
    ],
)
def test_metadata_of_scans_and_made_up_ones_pass(metadata) -> None:
    check_is_kspace(random(2, 8, 8), 2, metadata=metadata)


@pytest.mark.parametrize("affine", [np.diag([2.0, 2, 2, 1]), np.diag([2.0, 2, 2, 1])[None]])
def test_an_affine_on_real_numbers_is_that_of_an_image(affine) -> None:
    sparse = torch.zeros(1, 32, 32, dtype=torch.complex64)
    sparse[0, 5, 7:9] = torch.tensor([1.0, 2.0])
    check_is_kspace(sparse, 2)
    check_is_kspace(KSPACE["ones"](), 2, metadata={"affine": affine})
    with pytest.raises(DataError, match="imaginary part is zero, and its metadata hold an affine"):
        check_is_kspace(sparse, 2, metadata={"affine": affine})


@pytest.mark.parametrize("metadata", [{"spatial_ndim": 2}, {"kspace": 0}, {"domain": "kspace"}])
def test_metadata_of_kspace_are_refused_for_an_image(metadata) -> None:
    with pytest.raises(DataError, match="is k-space, not an image"):
        check_is_image(brain(), 2, metadata=metadata)
