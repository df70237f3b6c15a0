"""Maps of images over time come from their mean where no image has a calibration region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_scans import SIZE, coil_maps, kspace_of, made_image

from firenet_mri import reconstruct
from firenet_mri.calibration import sensitivity_maps
from firenet_mri.calibration.references import time_average
from firenet_mri.errors import CalibrationError
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import key_of, prepare
from firenet_mri.scan import RawScan, sampled_mask, select

FRAMES = 4


@pytest.fixture(scope="module")
def cine() -> tuple[RawScan, np.ndarray]:
    """Return four frames of every other row each, and their images, some brighter than others."""
    frames = [made_image() * brightness for brightness in (1.0, 1.0, 1.2, 1.2)]
    kspace = torch.from_numpy(np.stack([kspace_of(one, seed=t) for t, one in enumerate(frames)]))
    mask = torch.zeros(FRAMES, 1, SIZE, SIZE, dtype=torch.bool)
    for frame in range(FRAMES):
        mask[frame, :, frame % 2 :: 2] = True
    names = tuple(f"phase {frame}" for frame in range(FRAMES))
    scan = RawScan(kspace * mask, mask, 2, name="cine", images=names)
    return scan, np.abs(np.stack(frames))


# JSENSE takes its time.
@pytest.mark.parametrize(("maps", "frames"), [("espirit", 4), ("jsense", 2), ("lowres", 4)])
def test_frames_without_calibration_have_the_maps_of_their_mean(
    maps, frames, cine, caplog: pytest.LogCaptureFixture
) -> None:
    scan, truth = select(cine[0], images=range(frames)), cine[1][:frames]
    result = reconstruct(scan, maps=maps, no_gap=True)
    found = result.image.abs().numpy()
    found *= (found * truth).sum() / np.square(found).sum()
    assert np.linalg.norm(found - truth) < 0.08 * np.linalg.norm(truth)
    assert f"made from the mean of {frames} images over time" in caplog.text
    said = " ".join(str(entry) for entry in result.certificate.entries)
    assert "sensitivity maps (made from these data)" in said


def test_the_mean_is_that_of_what_was_measured(cine) -> None:
    scan, _ = cine
    average = time_average(scan, 12)
    counts = scan.mask.sum(0).numpy()
    expected = (scan.kspace * scan.mask).numpy().sum(0) / np.maximum(counts, 1)
    for frame in average:
        np.testing.assert_allclose(frame, expected, rtol=1e-5)


def test_echoes_are_not_averaged_with_each_other(cine) -> None:
    scan, _ = cine
    fields = {"kspace": scan.kspace, "mask": scan.mask, "spatial_ndim": 2}
    names = tuple(f"repetition {i // 2}, contrast {i % 2}" for i in range(FRAMES))
    # Frames 0 and 2, of the same rows, are those of the first echo.
    assert time_average(RawScan(**fields, images=names), 12) is None
    names = tuple(f"repetition {i % 2}, contrast {i // 2}" for i in range(FRAMES))
    average = time_average(RawScan(**fields, images=names), 12)
    assert torch.equal(average[0], average[1])
    assert not torch.equal(average[1], average[2])
    echoes = RawScan(**fields, images=tuple(f"contrast {i}" for i in range(FRAMES)))
    with pytest.raises(CalibrationError, match="fully sampled centre"):
        reconstruct(echoes, no_gap=True)


def test_frames_with_calibration_of_their_own_are_not_averaged(cine) -> None:
    scan, _ = cine
    whole = RawScan(scan.kspace, torch.ones_like(scan.mask), 2, images=scan.images)
    assert time_average(whole, 12) is None


def test_a_scan_along_a_trajectory_takes_the_maps_of_its_reference() -> None:
    kspace = torch.from_numpy(kspace_of(made_image()))
    angles = torch.arange(40) * torch.pi / 40
    radius = torch.arange(-32, 32.0)
    points = torch.stack([torch.outer(angles.sin(), radius), torch.outer(angles.cos(), radius)], -1)
    data = torch.ones(8, *points.shape[:-1], dtype=torch.complex64)
    mask = torch.ones(1, *points.shape[:-1], dtype=torch.bool)
    fields = {"trajectory": points, "image_shape": (SIZE, SIZE)}
    scan = RawScan(data, mask, 2, **fields, reference=kspace)
    expected = sensitivity_maps(RawScan(kspace, sampled_mask(kspace, 2), 2), "lowres")
    prepared = prepare(scan, ReconstructionOptions(maps="lowres"))
    (item,) = prepared.items
    encoded, _ = prepared.encoded(item)
    torch.testing.assert_close(encoded.encoding.maps, expected)
    torch.testing.assert_close(sensitivity_maps(scan, "lowres"), expected)


def test_finished_slices_of_another_reference_are_not_taken(cine) -> None:
    scan, _ = cine
    prepared = [
        prepare(replace(scan, reference=scan.kspace[:1] * factor), ReconstructionOptions())
        for factor in (1, 2)
    ]
    assert key_of(prepared[0], {}) != key_of(prepared[1], {})


def test_the_phase_of_the_maps_is_that_of_their_reference(cine) -> None:
    scan, _ = cine
    image = made_image() * np.exp(2j * np.linspace(0, 1, SIZE))
    reference = torch.from_numpy(kspace_of(image))
    one = RawScan(scan.kspace[0], scan.mask[0], 2, reference=reference)
    prepared = prepare(one, ReconstructionOptions())
    encoded, _ = prepared.encoded(prepared.items[0])
    seen = encoded.encoding.maps[:, np.abs(image) > 0.15]
    expected = (coil_maps() * image)[:, np.abs(image) > 0.15]
    # The coils' image over the maps is positive where the maps have its phase.
    phase = (seen.numpy().conj() * expected).sum(0)
    assert np.abs(np.angle(phase)).max() < 0.5
