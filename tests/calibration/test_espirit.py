"""ESPIRiT's maps are SigPy's and BART's, and two sets hold what a folded image needs."""

from __future__ import annotations

import math
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import assert_close
from real_scans import brain_poisson

from firenet_mri.calibration import espirit as espirit_module
from firenet_mri.calibration import espirit_maps
from firenet_mri.calibration.espirit import espirit
from firenet_mri.errors import CalibrationError, ShapeError, UsageError
from firenet_mri.io.kspace.bart import read_array, write_cfl
from firenet_mri.operators import CartesianFourier, SenseSets, encoding_operator

AXES = (-2, -1)


def centred_fft(images: torch.Tensor, axes: tuple[int, ...] = AXES) -> torch.Tensor:
    shifted = torch.fft.ifftshift(images, dim=axes)
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=axes, norm="ortho"), dim=axes)


def centred_ifft(kspace: torch.Tensor, axes: tuple[int, ...] = AXES) -> torch.Tensor:
    shifted = torch.fft.ifftshift(kspace, dim=axes)
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=axes, norm="ortho"), dim=axes)


def smooth_maps(coils: int, *shape: int) -> torch.Tensor:
    """Return birdcage maps of root-sum-of-squares 1."""
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *shape))).to(torch.complex64)
    return maps / torch.linalg.vector_norm(maps, dim=0)


def agreement(maps: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return |<s, t>| of unit vectors where both are not 0: 1 is equal up to a phase."""
    norm = torch.linalg.vector_norm(others, dim=0)
    both = (torch.linalg.vector_norm(maps, dim=0) > 0) & (norm > 0)
    return ((maps.conj() * others).sum(0).abs() / norm)[both]


@pytest.mark.parametrize("shape", [(48, 48), (51, 44)])
def test_maps_are_those_that_made_the_data(shape) -> None:
    truth = smooth_maps(6, *shape)
    image = torch.from_numpy(sigpy.shepp_logan(shape)).to(torch.complex64)
    maps = espirit_maps(centred_fft(truth * image), 24)
    inside = image.abs() > 0.1
    assert agreement(maps[:, inside], truth[:, inside]).min() > 0.98
    norm = torch.linalg.vector_norm(maps, dim=0)
    assert torch.all((norm == 0) | ((norm - 1).abs() < 1e-5))


def test_maps_of_a_real_scan_are_sigpys() -> None:
    kspace = brain_poisson()
    app = sigpy.mri.app.EspiritCalib(
        kspace.numpy(), calib_width=24, crop=0.8, max_iter=100, show_pbar=False
    )
    theirs = torch.from_numpy(app.run())
    maps = espirit_maps(kspace, 24)
    found = agreement(maps, theirs)
    assert found.quantile(0.01) > 0.999
    same_support = (maps.abs().sum(0) > 0) == (theirs.abs().sum(0) > 0)
    assert same_support.float().mean() > 0.999


@pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
def test_maps_of_a_real_scan_are_barts(tmp_path) -> None:
    kspace = brain_poisson()
    write_cfl(tmp_path / "kspace.cfl", kspace[:, None].numpy())
    command = ["bart", "ecalib", "-m1", "-r24", "-k6", "kspace", "maps"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    theirs = torch.from_numpy(read_array(tmp_path / "maps.cfl")).squeeze()
    found = agreement(espirit_maps(kspace, 24), theirs)
    # BART keeps another share of the neighbourhoods' space.
    assert found.mean() > 0.995
    assert found.quantile(0.01) > 0.95


def test_maps_of_a_volume() -> None:
    shape = (20, 22, 24)
    truth = smooth_maps(4, *shape)
    z, y, x = np.indices(shape) - np.array(shape).reshape(3, 1, 1, 1) / 2
    ball = torch.from_numpy((z**2 / 80 + y**2 / 90 + x**2 / 100 < 1).astype(np.complex64))
    kspace = centred_fft(truth * ball, (-3, -2, -1))
    maps = espirit_maps(kspace, 14, spatial_ndim=3, kernel=4)
    assert agreement(maps[:, ball.abs() > 0], truth[:, ball.abs() > 0]).quantile(0.02) > 0.97


def test_two_sets_hold_what_a_folded_image_needs() -> None:
    """An object larger than the field of view: every other line of a larger one was measured.

    The coil images of one object are always those of some single set; those of an object of another
    contrast between the same coils are not.
    """
    truth = smooth_maps(8, 96, 64)
    rows, columns = np.indices((96, 64))
    inside = ((rows - 48) / 40) ** 2 + ((columns - 32) / 26) ** 2 < 1
    contrasts = 1 + 0.3 * np.sin(rows / 5), np.exp(rows / 40) * (1 + 0.5 * np.cos(columns / 4))
    objects = [torch.from_numpy((inside * contrast).astype(np.complex64)) for contrast in contrasts]
    kspace, other = (centred_fft(truth * object_)[:, ::2] for object_ in objects)
    images = centred_ifft(other)

    folded = torch.zeros(48, 64, dtype=torch.bool)
    folded[1:12, 20:44] = folded[36:47, 20:44] = True

    def unexplained(maps: torch.Tensor) -> float:
        """Return the share of the coil images that is no combination of the sets."""
        stack = maps if maps.ndim == 4 else maps[None]
        combined = torch.einsum("sc...,c...->s...", stack.conj(), images)
        rest = images - torch.einsum("sc...,s...->c...", stack, combined)
        return float(rest[:, folded].norm() / images[:, folded].norm())

    options = {"threshold": 0.005, "crop": 0.5}
    one, two = espirit_maps(kspace, 24, **options), espirit_maps(kspace, 24, sets=2, **options)
    assert two.shape == (2, 8, 48, 64)
    assert_close(two[0], one, 1e-6)
    assert unexplained(two) < 0.02
    assert unexplained(one) > 0.15
    crossed = (two[0].conj() * two[1]).sum(0).abs()
    assert crossed.max() < 1e-4
    # Where the object does not fold onto itself the second set is empty.
    assert not espirit_maps(kspace, 24, sets=2)[1][:, 20:28, 26:38].any()


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_maps_do_not_depend_on_the_scale(scale) -> None:
    kspace = centred_fft(smooth_maps(4, 40, 40) * torch.from_numpy(sigpy.shepp_logan((40, 40))))
    kspace = kspace.to(torch.complex64)
    assert_close(espirit_maps(kspace * scale, 20), espirit_maps(kspace, 20), 1e-3)


def test_a_batch_is_its_items_and_a_dead_coil_stays_dead() -> None:
    image = torch.from_numpy(sigpy.shepp_logan((40, 40))).to(torch.complex64)
    kspace = centred_fft(smooth_maps(4, 40, 40) * image)
    kspace[2] = 0
    batch = torch.stack([kspace, kspace.flip(-1)])[None]
    maps = espirit_maps(batch, 20, sets=2)
    assert maps.shape == (1, 2, 2, 4, 40, 40)
    assert_close(maps[0, 0], espirit_maps(kspace, 20, sets=2), 1e-5)
    assert bool(torch.isfinite(torch.view_as_real(maps)).all())
    assert maps[0, 0, 0, 2].abs().max() < 1e-5


@pytest.mark.parametrize(
    ("shape", "options", "error", "words"),
    [
        ((40, 40), {}, ShapeError, r"shape \(40, 40\)"),
        ((4, 40, 40), {"sets": 5}, UsageError, "5 map sets of 4 coils"),
        ((4, 40, 40), {"width": 6}, CalibrationError, "at least 7"),
        ((4, 40, 16), {"width": 24}, CalibrationError, r"the matrix \(40, 16\)"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(shape, options, error, words) -> None:
    options = {"width": 24, **options}
    with pytest.raises(error, match=words):
        espirit_maps(torch.ones(shape, dtype=torch.complex64), **options)


def test_a_region_without_signal_is_refused() -> None:
    kspace = torch.zeros(4, 40, 40, dtype=torch.complex64)
    kspace[:, 0, 0] = 1
    with pytest.raises(CalibrationError, match="no signal"):
        espirit_maps(kspace, 20)


def test_the_phase_is_that_at_which_the_principal_component_is_real() -> None:
    # Coils of unlike phase: their principal component is not real.
    phases = torch.exp(1j * torch.tensor([0.3, 1.9, -2.2, 0.8, 2.6, -1.1]))[:, None, None]
    truth = smooth_maps(6, 48, 48) * phases
    image = torch.from_numpy(sigpy.shepp_logan((48, 48))).to(torch.complex64)
    kspace = centred_fft(truth * image)
    maps = espirit_maps(kspace, 24)
    samples = kspace[:, 12:36, 12:36].reshape(6, -1).numpy()
    principal = np.linalg.svd(samples, full_matrices=False)[0][:, 0]
    found = np.einsum("c,cyx->yx", principal.conj(), maps.numpy())
    inside = np.abs(found) > 0.2
    assert inside.sum() > 500
    turned = found[inside] / np.abs(found[inside])
    # numpy's component has a phase of its own, one for all pixels.
    assert np.abs(turned - turned[0]).max() < 1e-3


def disc_scan(threshold: float = 0.03) -> torch.Tensor:
    """Return k-space (6, 48, 48) of a disc with noise, small enough to leave a background."""
    rows, columns = np.indices((48, 48)) - 24
    disc = torch.from_numpy((rows**2 + columns**2 < 150).astype(np.complex64))
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(threshold * rng.normal(size=(6, 48, 48, 2))).to(torch.float32)
    return centred_fft(smooth_maps(6, 48, 48) * disc) + torch.view_as_complex(noise)


def test_maps_that_are_kept_continue_those_that_are_cropped() -> None:
    kspace = disc_scan()
    cropped, kept = espirit_maps(kspace, 24), espirit_maps(kspace, 24, background="keep")
    inside = cropped.abs().sum(0) > 0
    assert 0.2 < inside.float().mean() < 0.8
    assert torch.equal(kept[:, inside], cropped[:, inside])
    assert torch.allclose(torch.linalg.vector_norm(kept, dim=0), torch.ones(48, 48), atol=1e-5)
    assert torch.equal(kept, espirit_maps(kspace, 24, background="keep"))
    # Smooth up to their phase, as eigenvectors of a matrix of few frequencies are.
    beside = agreement(kept[:, 1:].flatten(1), kept[:, :-1].flatten(1))
    assert beside.median() > 0.99


def test_maps_that_are_kept_are_sigpys_without_a_crop() -> None:
    kspace = disc_scan()
    app = sigpy.mri.app.EspiritCalib(
        kspace.numpy(), calib_width=24, crop=0, max_iter=300, show_pbar=False
    )
    kept = espirit_maps(kspace, 24, background="keep")
    assert agreement(kept, torch.from_numpy(app.run())).quantile(0.05) > 0.98


def test_only_the_first_set_is_kept() -> None:
    cropped, kept = (
        espirit_maps(disc_scan(), 24, sets=2, background=background)
        for background in ("crop", "keep")
    )
    assert torch.equal(kept[1], cropped[1])
    assert torch.equal(kept[0], espirit_maps(disc_scan(), 24, background="keep"))


@pytest.mark.parametrize("sets", [1, 2])
def test_the_norm_of_the_encoding_stays_at_most_1_where_maps_are_kept(sets) -> None:
    """Power iteration on A^H A, fully sampled, is the attack; the constants need ||A|| <= 1."""
    maps = espirit_maps(disc_scan(), 24, sets=sets, background="keep")
    mask = torch.ones(48, 48, dtype=torch.bool)
    encoding = SenseSets(maps, CartesianFourier(mask, (48, 48))) if sets == 2 else None
    encoding = encoding_operator(mask, maps) if encoding is None else encoding
    x = torch.ones(encoding.domain_shape, dtype=torch.complex64)
    for _ in range(50):
        x = encoding.adjoint(encoding(x / x.norm()))
    assert 0.99 < x.norm() <= encoding.norm_bound**2 * (1 + 1e-5)
    assert encoding.norm_bound <= 1 + 1e-5


def test_maps_do_not_depend_on_the_blocks_that_pixels_are_worked_on_in(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((40, 36), (14, 13, 12)):
        axes = tuple(range(-len(shape), 0))
        image = torch.rand(shape, generator=generator)
        kspace = centred_fft(smooth_maps(4, *shape) * image, axes)
        width, ndim = min(shape) - 1, len(shape)
        found = []
        # All pixels, a few rows, and a part of a row.
        for entries in (1 << 30, 16 * 3 * math.prod(shape[1:]), 16 * 5):
            monkeypatch.setattr(espirit_module, "_BLOCK", entries)
            found.append(espirit(kspace, width, spatial_ndim=ndim, kernel=4, sets=2))
        for other in found[1:]:
            assert_close(other.maps, found[0].maps, 1e-4)
            assert_close(other.eigenvalues.second, found[0].eigenvalues.second, 1e-4)
            assert_close(other.eigenvalues.third, found[0].eigenvalues.third, 1e-4)


def test_a_space_made_of_its_own_vectors_alone_is_that_of_all(monkeypatch) -> None:
    kspace = brain_poisson()
    whole = espirit(kspace, 20, sets=2)
    monkeypatch.setattr(espirit_module, "_LARGE", 0)
    found = espirit(kspace, 20, sets=2)
    assert_close(found.maps, whole.maps, 1e-3)
    assert_close(found.eigenvalues.second, whole.eigenvalues.second, 1e-3)
    assert_close(found.eigenvalues.noise, whole.eigenvalues.noise, 1e-5)


def test_slices_of_a_batch_on_two_threads_are_those_one_by_one() -> None:
    image = torch.from_numpy(sigpy.shepp_logan((40, 36))).to(torch.complex64)
    kspace = centred_fft(
        smooth_maps(4, 40, 36) * torch.stack([image, image.flip(0), 2 * image])[:, None]
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = espirit_maps(kspace, 20)
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 2
    finally:
        torch.set_num_threads(threads)
    assert_close(together, torch.stack([espirit_maps(one, 20) for one in kspace]), 1e-4)
