"""The built-in slices are apart, and scans of them are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from firenet_benchmark.stability.acquisition import Acquisition, read_mask
from firenet_benchmark.stability.data import (
    Protocol,
    images,
    simulated_case,
    smooth_phase,
    training_cases,
)
from firenet_benchmark.stability.evaluation_data import (
    LESIONS,
    built_in,
    from_scans,
    read_scans,
)
from firenet_benchmark.stability.networks import combine, spread
from firenet_mri.errors import DataError, FileError, ShapeError, UsageError
from firenet_mri.simulation import simulate


def test_test_slices_are_no_training_slices() -> None:
    train = images("train").flatten(1)
    for name in ("validation", "test"):
        other = images(name).flatten(1)
        similarity = torch.corrcoef(torch.cat([train, other]))[: len(train), len(train) :]
        assert float(similarity.max()) < 0.99, name
    assert float(torch.corrcoef(train)[0, 0]) == pytest.approx(1)
    with pytest.raises(UsageError, match="No images 'knee'"):
        images("knee")


def test_case_is_a_white_scan_of_lines_along_the_last_axis() -> None:
    image = images("test")[3]
    case = simulated_case(image, seed=5)
    assert case.kspace.shape == case.maps.shape == (6, 128, 128)
    assert bool((case.mask == case.mask[:1]).all())
    assert int(case.mask[0].sum()) == 32
    assert bool(case.mask[0, 58:70].all())
    assert float(case.kspace[:, ~case.mask].abs().max()) == 0
    # Without noise the data would be those of the truth, where the maps have it.
    inside = torch.linalg.vector_norm(case.maps, dim=0) > 0
    error = (case.truth.abs() - case.reference)[inside]
    assert float(error.norm() / case.reference[inside].norm()) < 0.02
    residual = (spread(case.truth[None], case.maps[None])[0] - case.kspace)[:, case.mask]
    # Noise of variance 1, and what lies outside of the maps.
    assert 0.9 < float(residual.abs().square().mean()) < 1.6
    again = simulated_case(image, seed=5)
    assert torch.equal(case.kspace, again.kspace)
    assert not torch.equal(case.kspace, simulated_case(image, seed=6).kspace)


def test_spread_and_combine_are_adjoint(randn) -> None:
    x, y, maps = randn(2, 12, 10), randn(2, 3, 12, 10), randn(2, 3, 12, 10)
    left = torch.vdot(y.flatten(), spread(x, maps).flatten())
    right = torch.vdot(combine(y, maps).flatten(), x.flatten())
    assert abs(left - right) < 1e-10 * abs(left)


def test_training_scans_vary_and_are_repeatable() -> None:
    first, second = training_cases(2, seed=3), training_cases(2, seed=3)
    assert torch.equal(first[1].kspace, second[1].kspace)
    assert not torch.equal(first[0].mask, first[1].mask)
    assert float(smooth_phase((8, 8), 1).diff(dim=0).abs().max()) < 2


def test_evaluation_data_are_what_their_names_say(data) -> None:
    assert data.test.names == ("axial 0", "axial 1")
    assert data.attacked.names == data.test.names
    shifts = data.shifts
    sampled = {name: float(batch.mask.float().mean()) for name, batch in shifts.items()}
    assert sampled["acceleration", "2x"] == pytest.approx(1 / 2, abs=0.01)
    assert sampled["acceleration", "8x"] == pytest.approx(1 / 8, abs=0.01)
    assert not bool(
        (shifts["mask", "points 4x"].mask[0, 0] == shifts["mask", "points 4x"].mask[0, 0, :1]).all()
    )
    assert shifts["coils", "12"].kspace.shape[1] == 12
    base = shifts["base", "no shift"]
    wrong = shifts["wrong maps", "5 %"]
    off = float((wrong.maps - base.maps).norm() / base.maps.norm())
    assert 0.03 < off < 0.06
    spiked = shifts["spike", "2 %"].kspace - base.kspace
    assert int((spiked.abs().amax((0, 1)) > 0).sum()) == 1
    assert float(spiked.norm() / base.kspace.norm()) == pytest.approx(0.02, rel=1e-3)
    moved = shifts["motion", "1 pixel"].kspace
    torch.testing.assert_close(moved.abs(), base.kspace.abs())
    inverted = shifts["contrast", "inverted"].reference[0]
    together = torch.stack([inverted.flatten(), base.reference[0].flatten()])
    inside = base.reference[0].flatten() > 0.2 * base.reference[0].max()
    assert float(torch.corrcoef(together[:, inside])[0, 1]) < -0.5


def test_details_are_the_difference_of_the_references(data) -> None:
    assert len(data.details) == len(LESIONS) + 1
    for pair in data.details:
        difference = pair.after.reference - pair.before.reference
        torch.testing.assert_close(difference, pair.detail, atol=0.01, rtol=1e-3)
        height = float(pair.detail.max() / pair.before.reference.max())
        if pair.name.startswith("lesion"):
            assert f"lesion {100 * height:.0f} %" == pair.name


def test_scans_of_a_user(tmp_path) -> None:
    image = images("test")[2]
    full = simulate(image[None] + 0j, coils=4, acceleration=1, calibration=12, snr=100, name="full")
    data = from_scans([full], 2, 1, Acquisition(Protocol(acceleration=3)))
    assert data.test.reference is not None
    assert float(data.test.mask.float().mean()) == pytest.approx(1 / 3, abs=0.01)
    assert "simulated" in data.description
    under = simulate(image[None] + 0j, coils=4, acceleration=4, calibration=12, name="under")
    assert from_scans([under], 2, 1).test.reference is None
    other = simulate(image[None] + 0j, coils=5, acceleration=4, calibration=12, name="other")
    with pytest.raises(UsageError, match="one number of coils"):
        from_scans([under, other], 2, 1)
    with pytest.raises(UsageError, match="no Cartesian scan"):
        read_scans(tmp_path)
    np.save(tmp_path / "scan.npy", under.kspace[0].numpy())
    (tmp_path / "notes.txt").write_text("no scan")
    assert [scan.coils for scan in read_scans(tmp_path)] == [4]


def test_scans_are_sampled_as_asked() -> None:
    """Axis, pattern, acceleration and size reach the test slices and what is made of them."""
    turned = Acquisition(Protocol(acceleration=3), axis="y", size=(72, 64))
    data = built_in(1, 1, 1, (2, 8), turned)
    assert data.test.kspace.shape == (1, 6, 72, 64)
    mask = data.test.mask[0, 0]
    assert bool((mask == mask[:, :1]).all())
    assert int(mask[:, 0].sum()) == 24
    assert bool(mask[30:42].all())
    # Twelve lines of the centre do not fit into nine, so that 8x is left out.
    assert [variant for test, variant in data.shifts if test == "acceleration"] == ["2x"]
    assert ("mask", "points 3x") in data.shifts
    assert data.details[0].detail.shape == (1, 72, 64)
    assert "lines along y 3x" in data.description
    assert "72 x 64" in data.description
    points = Acquisition(Protocol(pattern="points", acceleration=6)).scans(
        images("test")[:1], "points"
    )
    assert float(points.mask.float().mean()) == pytest.approx(1 / 6, abs=0.01)


def test_a_single_coil_has_maps_of_one() -> None:
    case = simulated_case(images("test")[0], Protocol(coils=1), seed=0)
    assert torch.equal(case.maps, torch.ones(1, 128, 128, dtype=torch.complex64))
    residual = (spread(case.truth[None], case.maps[None])[0] - case.kspace)[:, case.mask]
    assert float(residual.abs().square().mean()) == pytest.approx(1, abs=0.05)
    image = images("test")[2]
    full = simulate(image[None] + 0j, coils=1, acceleration=1, snr=100, name="full")
    assert from_scans([full], 1, 1).test.kspace.shape[1] == 1


def test_a_mask_of_the_user_is_the_mask(tmp_path) -> None:
    lines = np.zeros(64, np.uint8)
    lines[::3] = 1
    lines[24:40] = 1
    np.save(tmp_path / "mask.npy", lines[None])
    mask = read_mask(tmp_path / "mask.npy", (64, 64))
    assert mask.shape == (64, 64)
    data = built_in(1, 1, 1, (2, 8), Acquisition(mask=mask, size=(64, 64)))
    for batch in (data.test, data.shifts["noise", "twice"], data.details[0].after):
        assert torch.equal(batch.mask[0, 0], mask)
        assert not bool(batch.kspace[0, :, ~mask].any())
    assert not {"acceleration", "mask"} & {test for test, _ in data.shifts}
    image = Acquisition(size=(64, 64)).sized(images("test")[:1])
    full = simulate(image + 0j, coils=4, acceleration=1, name="full")
    assert torch.equal(from_scans([full], 1, 1, Acquisition(mask=mask)).test.mask[0, 0], mask)
    with pytest.raises(ShapeError, match=r"mask has shape \(64, 64\)"):
        built_in(1, 1, 1, (2,), Acquisition(mask=mask))


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        (np.zeros((4, 4)), DataError, "1 where sampled"),
        (np.ones((2, 4, 4)), DataError, "shape"),
        (np.full((4, 4), np.nan), DataError, "1 where sampled"),
        (np.array(["a"]), DataError, "not an array of numbers"),
        (None, FileError, "cannot be read as a mask"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, content, error, match) -> None:
    path = tmp_path / "mask.npy"
    if content is None:
        path.write_text("no array")
    else:
        np.save(path, content)
    with pytest.raises(error, match=match):
        read_mask(path)


def test_acquisitions_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="axis is 'z'"):
        Acquisition(axis="z")
    with pytest.raises(UsageError, match="pattern is 'spiral'"):
        Acquisition(Protocol(pattern="spiral"))
    with pytest.raises(UsageError, match="at least 32"):
        Acquisition(size=(16, 64))
