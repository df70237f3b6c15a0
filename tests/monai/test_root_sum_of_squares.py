"""The image that FIRENETModel returns is the root-sum-of-squares of samples that it completes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close

from firenet_mri.errors import UsageError
from firenet_mri.monai import FIRENETModel, FIRENETReconstruct, StabilityCertificate

SHAPE, COILS = (26, 32), 3
AXES = (-2, -1)


def scan(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy k-space (coil, y, x), zero where not sampled, and its lines (x)."""
    rng = np.random.default_rng(seed)
    lines = rng.random(SHAPE[1]) < 0.4
    lines[9:23] = True
    images = sigpy.shepp_logan(SHAPE) * sigpy.mri.birdcage_maps((COILS, *SHAPE))
    noise = rng.normal(size=(2, *images.shape)) * 0.03
    kspace = sigpy.fft(images, axes=AXES) + noise[0] + 1j * noise[1]
    return (kspace * lines).astype(np.complex64), lines


def tensors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the same as a batch of one, and its lines."""
    kspace, lines = scan(seed)
    return torch.from_numpy(kspace)[None], torch.from_numpy(lines)


@pytest.mark.parametrize("background", ["crop", "keep"])
def test_it_is_what_numpy_makes_of_image_maps_and_samples(background) -> None:
    kspace, lines = scan()
    maps = sigpy.mri.birdcage_maps((COILS, *SHAPE)).astype(np.complex64)
    maps /= np.linalg.norm(maps, axis=0)
    options = {"layers": 4, "background": background, "maps": torch.from_numpy(maps)}
    x = FIRENETModel(output="complex", **options)(*tensors())[0].numpy()
    complete = np.where(lines, kspace, sigpy.fft(maps * x, axes=AXES))
    expected = np.linalg.norm(sigpy.ifft(complete, axes=AXES), axis=0)
    found = FIRENETModel(**options)(*tensors())
    assert found.dtype == torch.float32
    assert_close(found[0], torch.from_numpy(expected), 1e-5)


def test_a_full_scan_is_its_own_root_sum_of_squares() -> None:
    """Whatever the maps say, and where they say nothing."""
    kspace, _ = tensors()
    kspace = kspace + torch.randn(kspace.shape, dtype=kspace.dtype)
    images = sigpy.ifft(kspace[0].numpy(), axes=AXES)
    full = torch.ones(SHAPE[1], dtype=torch.bool)
    found = FIRENETModel(layers=2)(kspace, full)[0]
    assert_close(found, torch.from_numpy(np.linalg.norm(images, axis=0)), 1e-5)


@pytest.mark.parametrize("preset", ["stable", "accurate"])
@pytest.mark.parametrize("seed", range(2))
def test_an_attack_on_the_samples_stays_below_the_bound(preset, seed) -> None:
    """Power iteration on the Jacobian, with and against its transpose from autograd."""
    kspace, lines = tensors(seed)
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((COILS, *SHAPE)).astype(np.complex64))
    model = FIRENETModel(preset=preset, layers=6, maps=maps)
    own = FIRENETModel(preset=preset, layers=6, maps=maps, output="complex").lipschitz_bound()
    assert model.lipschitz_bound() == pytest.approx(math.hypot(1, own))
    generator = torch.Generator().manual_seed(seed)
    change = torch.randn(kspace.shape, dtype=kspace.dtype, generator=generator) * lines
    for _ in range(12):
        change = 1e-3 * kspace.norm() * change / change.norm()
        leaf = kspace.clone().requires_grad_()
        image = model(leaf, lines)
        moved = model(kspace + change, lines) - image.detach()
        gain = float(moved.norm() / change.norm())
        (image * moved).sum().backward()
        change = leaf.grad * lines
    # More than the samples alone could do, and never more than is proven.
    assert 1 < gain <= model.lipschitz_bound()


def test_the_transform_returns_the_models_image() -> None:
    kspace, lines = tensors()
    options = {"layers": 4, "output": "rss"}
    image = FIRENETReconstruct(image_axes="kspace", **options)(kspace, lines)
    assert image.dtype == torch.float32
    assert_close(image.as_tensor(), FIRENETModel(**options)(kspace, lines), 1e-5)
    start = torch.ones(1, *SHAPE, dtype=torch.complex64)
    again = FIRENETReconstruct(image_axes="kspace", **options)(kspace, lines, x0=start)
    assert_close(again.as_tensor(), FIRENETModel(**options)(kspace, lines, x0=start), 1e-5)


def test_no_certificate_is_written_on_an_image_that_it_is_not_about() -> None:
    with pytest.raises(UsageError, match="use output='magnitude'"):
        FIRENETReconstruct(output="rss", certificate=True)
    with pytest.raises(UsageError, match="use output='magnitude'"):
        StabilityCertificate(FIRENETReconstruct(output="rss"))
