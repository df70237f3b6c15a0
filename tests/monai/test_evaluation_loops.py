"""MONAI's and fastMRI's own evaluation of a variational network, with FIRENETModel in its place.

Their targets are root-sums-of-squares of noisy coil images: outside of the head they show noise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import h5py
import nibabel
import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.transforms.dictionary import (
    EquispacedKspaceMaskd,
    ExtractDataKeyFromMetaKeyd,
    RandomKspaceMaskd,
)
from monai.data import DataLoader, Dataset
from monai.data.fft_utils import ifftn_centered
from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, SpatialCrop
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from firenet_mri.monai import FIRENETModel

BRAIN = Path(__file__).parents[2] / "sample_data/brain_8coil_reference.nii.gz"
SHAPE, COILS, NOISE = (216, 180), 8, 0.009
CENTRE, ACCELERATION = 0.08, 4

Model = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Score(NamedTuple):
    """SSIM and PSNR in dB."""

    ssim: float
    psnr: float


@pytest.fixture(scope="module")
def volume(tmp_path_factory) -> Path:
    """A file in fastMRI's layout: a brain in eight coils with white noise, which its target has."""
    image = np.asarray(nibabel.load(BRAIN).dataobj)[..., 0].astype(float)
    assert image.shape == SHAPE
    rng = np.random.default_rng(0)
    maps = sigpy.mri.birdcage_maps((COILS, *SHAPE))
    kspace = sigpy.fft(image / image.max() * maps, axes=(-2, -1))
    kspace = kspace + NOISE * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
    target = np.linalg.norm(sigpy.ifft(kspace, axes=(-2, -1)), axis=0)[None, :, 4:-4]
    path = tmp_path_factory.mktemp("fastmri") / "brain.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace[None].astype(np.complex64)
        file["reconstruction_rss"] = target.astype(np.float32)
        file.attrs.update({"max": target.max(), "norm": 1.0, "acquisition": "AXT2"})
        file.attrs["patient_id"] = "none"
    return path


def zero_filling(kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the root-sum-of-squares of the samples alone."""
    return ifftn_centered(kspace, spatial_dims=2).square().sum((1, -1)).sqrt()


def monai_loop(path: Path, model: Model) -> Score:
    """Return what MONAI's tutorial for its variational network finds on a file."""
    pipeline = Compose(
        [
            LoadImaged(keys=["kspace"], reader=FastMRIReader, image_only=False, dtype=np.complex64),
            ExtractDataKeyFromMetaKeyd(keys=["reconstruction_rss"], meta_key="kspace_meta_dict"),
            EquispacedKspaceMaskd(
                ["kspace"], center_fractions=[CENTRE], accelerations=[ACCELERATION]
            ),
            EnsureTyped(keys=["kspace", "kspace_masked_ifft", "reconstruction_rss"]),
        ]
    )
    loader = DataLoader(
        Dataset([{"kspace": str(path)}], pipeline), generator=torch.Generator().manual_seed(0)
    )
    (batch,) = loader
    kspace, target = batch["kspace_masked"], batch["reconstruction_rss"]
    images = []
    for i in range(kspace.shape[1]):
        image = model(kspace[:, i].unsqueeze(1)[0], batch["mask"][0].bool())
        centre = tuple(size // 2 for size in image.shape[-2:])
        images.append(SpatialCrop(roi_center=centre, roi_size=target.shape[-2:])(image)[0])
    # Slices last, and the range of the whole target.
    found, truth = (np.stack(x).transpose(1, 2, 0) for x in (images, target[0].numpy()))
    return _score(truth, found, truth.max(), channel_axis=-1)


def fastmri_loop(path: Path, model: Model) -> Score:
    """Return what fastMRI's validation of its variational network finds on a file."""
    with h5py.File(path) as file:
        kspace, targets = file["kspace"][:], file["reconstruction_rss"][:]
        largest = float(file.attrs["max"])
    width = kspace.shape[-1]
    centre = round(CENTRE * width)
    rng = np.random.default_rng(1)
    # Its masks of random lines: as many as give the acceleration with the centre.
    lines = rng.random(width) < (width / ACCELERATION - centre) / (width - centre)
    start = (width - centre + 1) // 2
    lines[start : start + centre] = True
    mask = torch.from_numpy(lines).reshape(1, 1, 1, width, 1)
    scores = []
    for one, target in zip(kspace, targets, strict=True):
        samples = torch.view_as_real(torch.from_numpy(one))[None] * mask
        image = model(samples, mask)[0].numpy()
        top, left = ((a - b) // 2 for a, b in zip(image.shape, target.shape, strict=True))
        image = image[top : top + target.shape[0], left : left + target.shape[1]]
        scores.append(_score(target, image, largest))
    return Score(*np.mean(scores, axis=0))


def _score(target, image, largest, **options) -> Score:
    return Score(
        structural_similarity(target, image, data_range=largest, **options),
        peak_signal_noise_ratio(target, image, data_range=largest),
    )


@pytest.mark.parametrize("loop", [monai_loop, fastmri_loop])
@torch.no_grad()
def test_only_an_image_with_the_noise_of_the_samples_pleases_the_loops(loop, volume) -> None:
    """Where image and maps end with the head, SSIM is below zero filling's, and PSNR far above."""
    zero = loop(volume, zero_filling)
    cropped = loop(volume, FIRENETModel(output="magnitude"))
    kept = loop(volume, FIRENETModel(output="magnitude", background="keep"))
    default = loop(volume, FIRENETModel())
    assert cropped.ssim < zero.ssim < default.ssim
    assert cropped.ssim < kept.ssim
    assert zero.psnr < cropped.psnr < default.psnr


@torch.no_grad()
def test_the_tutorial_on_kspace_gets_an_image_from_one_coil(tmp_path) -> None:
    """MONAI's introduction, on a file of a single coil: slices without a coil axis."""
    image = np.asarray(nibabel.load(BRAIN).dataobj)[..., 0].astype(float)
    rng = np.random.default_rng(0)
    kspace = sigpy.fft(image[None] / image.max(), axes=(-2, -1))
    kspace = kspace + NOISE * (rng.normal(size=kspace.shape) + 1j * rng.normal(size=kspace.shape))
    with h5py.File(tmp_path / "knee.h5", "w") as file:
        file["kspace"] = kspace.astype(np.complex64)
        file.attrs.update({"max": 1.0, "norm": 1.0, "acquisition": "CORPD", "patient_id": "none"})
    mask = RandomKspaceMaskd(["kspace"], center_fractions=[CENTRE], accelerations=[ACCELERATION])
    pipeline = Compose(
        [
            LoadImaged(keys=["kspace"], reader=FastMRIReader, image_only=False, dtype=np.complex64),
            EnsureChannelFirstd(keys=["kspace"], channel_dim="no_channel"),
            mask.set_random_state(0),
            EnsureTyped(keys=["kspace_masked", "kspace_masked_ifft"]),
        ]
    )
    data = pipeline({"kspace": str(tmp_path / "knee.h5")})
    samples = data["kspace_masked"]
    target = np.abs(sigpy.ifft(kspace, axes=(-2, -1)))
    # The line that is added: slices are items, each of one coil.
    found = FIRENETModel(maps="none")(samples[0].unsqueeze(1), data["mask"])
    zero = np.abs(sigpy.ifft(torch.view_as_complex(samples[0].contiguous()).numpy(), axes=(-2, -1)))
    scores = [_score(target[0], one[0], target.max()).psnr for one in (zero, found.numpy())]
    assert scores[1] > scores[0] + 3
