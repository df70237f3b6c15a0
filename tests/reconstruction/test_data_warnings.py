"""Every warning about the data is given for the scan that taught it, and for no good one."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from real_scans import brain_poisson, ge_gradient_echo
from torch import Tensor

from firenet_mri import Certificate, RawScan, read, reconstruct
from firenet_mri.calibration.espirit import Eigenvalues, espirit
from firenet_mri.calibration.sensitivity import sensitivities
from firenet_mri.errors import CalibrationError
from firenet_mri.io import read_reference
from firenet_mri.operators import NonuniformFourier
from firenet_mri.operators.centred import centred_fft, centred_ifft
from firenet_mri.phantoms import ellipses
from firenet_mri.reconstruction import ReconstructionOptions
from firenet_mri.reconstruction.data_warnings.item import item_values, item_warnings
from firenet_mri.reconstruction.data_warnings.maps import (
    CentreImage,
    share_cut_away,
    share_of_two_places,
)
from firenet_mri.reconstruction.data_warnings.noise import noise_levels, radius_of_grid
from firenet_mri.reconstruction.data_warnings.places import places_of
from firenet_mri.reconstruction.data_warnings.samples import sample_values, sample_warnings
from firenet_mri.reconstruction.data_warnings.scan import noise_over_signal, warnings_before
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, joined, warnings_of
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.solve import Encoded, solve
from firenet_mri.scan import Geometry
from firenet_mri.simulation import simulate

SLOW = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "sample_data"
AXES = [-2, -1]


def sample(change=lambda kspace: kspace) -> RawScan:
    """Return the sample scan, with its k-space changed."""
    scan = read(FOLDER / "brain_8coil.h5")
    return dataclasses.replace(scan, kspace=change(scan.kspace) * scan.mask)


def whole(kspace: Tensor, noise: Tensor | None = None) -> RawScan:
    """Return a fully sampled scan of one slice."""
    mask = torch.ones((1, *kspace.shape[1:]), dtype=torch.bool)
    return RawScan(kspace, mask, 2, noise=noise, name="made")


def simulated(snr: float = 40, rate: float = 1, coils: int = 6) -> RawScan:
    """Return a scan of ellipses, 96 x 96."""
    image = ellipses(96, 3, 1)[:1]
    return simulate(image, acceleration=rate, calibration=20, snr=snr, coils=coils)


def measured(scan: RawScan, **options) -> tuple[Encoded, Tensor]:
    """Return what the network is given of the first slice, and its image."""
    prepared = prepare(scan, ReconstructionOptions.from_mapping(options))
    encoded, _ = prepared.encoded(prepared.items[0])
    with torch.no_grad():
        return encoded, solve(prepared.net, encoded).state.x


def names(scan: RawScan, **options) -> set[str]:
    """Return the names of the warnings about the first slice and about the whole scan."""
    whole_scan = prepare(scan, ReconstructionOptions.from_mapping(options)).warnings
    return {one.name for one in (*whole_scan, *item_warnings(*measured(scan, **options)))}


@pytest.mark.parametrize(
    "preset", ["accurate", *(pytest.param(p, marks=SLOW) for p in ("stable", "paper"))]
)
def test_the_sample_scan_is_not_warned_of(preset) -> None:
    assert names(sample(), preset=preset) == set()


@pytest.mark.parametrize(
    ("snr", "rate", "known"),
    [
        (1e4, 1, True),
        (40, 3, False),
        (3, 1, True),
        *(
            pytest.param(*case, marks=SLOW)
            for case in ((5, 2, True), (1, 1, False), (0.01, 1, True))
        ),
    ],
)
def test_simulated_scans_are_not_warned_of_whatever_their_noise(snr, rate, known) -> None:
    scan = simulated(snr, rate)
    assert names(scan if known else dataclasses.replace(scan, noise=None)) == set()


@pytest.mark.slow
@pytest.mark.parametrize("index", range(8))
def test_real_scans_are_not_warned_of(index) -> None:
    kspace = brain_poisson() if index == 7 else ge_gradient_echo()[index]
    mask = (kspace != 0).any(0, keepdim=True)
    assert names(RawScan(kspace, mask, 2, name="real")) == set()


def test_an_echo_eleven_columns_off_is_found_and_what_the_maps_cut_away() -> None:
    found = names(sample(lambda kspace: kspace.roll(11, -1)))
    assert found == {"centre_off", "cut_by_maps"}


def test_what_the_maps_cut_away_is_what_they_cut_away() -> None:
    scan = simulated(1e4)
    prepared = prepare(scan, ReconstructionOptions())
    maps = prepared.encoded(prepared.items[0])[0]
    image = centred_ifft(scan.kspace[0], AXES).abs().square().sum(0).numpy()
    support = maps.support.numpy() > 0
    rows = np.cumsum(image.sum(1)) / image.sum()
    half = int(np.searchsorted(rows, 0.3))
    support[:half] = False
    expected = image[~support].sum() / image.sum()
    cut = dataclasses.replace(maps, support=torch.from_numpy(support.astype(np.float32)))
    value = item_values(cut, torch.zeros(96, 96, dtype=torch.complex64))["cut_by_maps"]
    # The centre of k-space shows a blurred image, whose share is nearly that of the sharp one.
    assert value == pytest.approx(expected, rel=0.1)


def test_noise_where_the_maps_are_zero_is_nothing_that_they_cut_away(randn) -> None:
    sampled = torch.ones(96, 96, dtype=torch.bool)
    image = torch.zeros(2, 96, 96, dtype=torch.complex64)
    image[:, :40] = 1
    samples = centred_fft(image, AXES) + 8 * randn(2, 96, 96, dtype=torch.complex64)
    support = torch.zeros(96, 96, dtype=torch.bool)
    support[:48] = True
    lost = share_cut_away(CentreImage(samples, sampled, torch.full((2,), 8.0)), support)
    # Of all energy, noise in the lower half is a fifth.
    taken_as_signal = share_cut_away(CentreImage(samples, sampled, torch.zeros(2)), support)
    assert abs(lost) < 0.05 < 0.15 < taken_as_signal


@pytest.mark.parametrize("axis", [-2, -1])
def test_signs_that_were_left_in_are_found(axis) -> None:
    scan = sample()
    signs = (-1.0) ** torch.arange(scan.kspace.shape[axis])
    shape = [1, 1]
    shape[axis] = -1
    found = sample_warnings(scan.kspace[0] * signs.reshape(shape), scan.mask[0, 0])
    assert [one.name for one in found] == ["image_wrapped"]


def test_the_place_of_the_object_is_that_of_its_energy_on_a_circle() -> None:
    scan = simulated(40)
    image = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(scan.kspace[0].numpy(), axes=AXES)), axes=AXES
    )
    energy = (np.abs(image) ** 2).sum(0)
    angle = 2 * np.pi * (np.arange(96) - 48) / 96
    expected = max(-(energy.sum(1 - axis) * np.cos(angle)).sum() / energy.sum() for axis in (0, 1))
    value = sample_values(scan.kspace[0], scan.mask[0, 0])["image_wrapped"]
    # The last sample has no neighbour on its other side.
    assert value == pytest.approx(expected, abs=0.01)


def test_coil_images_in_the_place_of_kspace_are_found() -> None:
    images = centred_ifft(simulated().kspace[0], AXES)
    found = sample_warnings(images, torch.ones(96, 96, dtype=torch.bool))
    assert [one.name for one in found] == ["kspace_is_image"]


def test_a_steady_column_makes_no_spokes_if_rows_are_largest_elsewhere(randn) -> None:
    samples = 0.01 * randn(1, 96, 96, dtype=torch.complex64)
    samples[:, 20:80, 30:60] += 1
    for row in range(20, 80):
        samples[:, row, 60 + row % 16] += 1.5
    values = sample_values(samples, torch.ones(96, 96, dtype=torch.bool))
    assert values["not_cartesian"] < 0.1
    middle = (samples[0, :, 45].abs().median() / samples.abs().max()).item()
    assert middle > 0.4


@pytest.mark.parametrize("transposed", [False, True])
def test_spokes_in_the_place_of_lines_are_found(transposed) -> None:
    angle = np.pi * torch.arange(64) / 64
    along = torch.arange(96.0) - 48
    points = torch.stack([angle.sin()[:, None] * along, angle.cos()[:, None] * along], -1)
    fourier = NonuniformFourier(points.float(), (96, 96))
    images = centred_ifft(simulated().kspace[0], AXES)
    spokes = torch.stack([fourier(coil) for coil in images])
    spokes = spokes.mT if transposed else spokes
    found = sample_warnings(spokes, torch.ones(spokes.shape[1:], dtype=torch.bool))
    assert [one.name for one in found] == ["not_cartesian"]


def two_images() -> RawScan:
    """Return a scan whose two coils show a brain and ellipses."""
    brain = read_reference(FOLDER / "brain_8coil_reference.nii.gz")[0]
    other = ellipses(216, 3, 1)[0][: brain.shape[0], : brain.shape[1]]
    images = torch.stack([brain / brain.max(), other / other.max()]).to(torch.complex64)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(images.shape, dtype=torch.complex64, generator=generator)
    return whole(centred_fft(images, AXES) + 0.0125 * noise)


def test_coils_with_different_images_leave_more_than_noise() -> None:
    encoded, x = measured(two_images())
    assert {"residual_above_noise", "fold_over"} <= {w.name for w in item_warnings(encoded, x)}
    value = item_values(encoded, x)["residual_above_noise"]
    maps = encoded.encoding.maps.numpy()
    kspace = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(maps * x.numpy(), axes=AXES), norm="ortho"), axes=AXES
    )
    y = encoded.y.numpy()
    inner = np.zeros(y.shape[1:], bool)
    inner[23:158, 28:189] = True
    levels = np.sqrt(np.median(np.abs(y[:, ~inner]) ** 2, axis=1) / np.log(2))
    expected = np.linalg.norm(y - kspace) / np.sqrt((levels**2).sum() * y[0].size)
    assert value == pytest.approx(expected, rel=0.02)
    # The noise is estimated where there is some signal, too, and so is too large.
    assert 1.5 < value < np.linalg.norm(y - kspace) / (0.0125 * np.sqrt(y.size))


def test_the_residual_of_a_whitened_scan_is_in_its_noise() -> None:
    encoded, x = measured(sample())
    left = encoded.y - encoded.encoding(x)
    expected = float(left.norm()) / float(encoded.sampled.expand(encoded.y.shape).sum()) ** 0.5
    value = item_values(encoded, x)["residual_above_noise"]
    assert value == pytest.approx(expected, rel=1e-4)
    assert 0.9 < value < 1


def test_weights_of_the_samples_weigh_their_noise(randn) -> None:
    image = ellipses(48, 3, 1)[0].to(torch.complex64)
    angle = np.pi * torch.arange(80) / 80
    points = torch.stack([angle.sin()[:, None] * (torch.arange(48.0) - 24)] * 2, -1)
    points[..., 1] = angle.cos()[:, None] * (torch.arange(48.0) - 24)
    samples = NonuniformFourier(points.float(), (48, 48))(image)
    samples = (samples + 0.05 * randn(80, 48, dtype=torch.complex64))[None]
    mask = torch.ones(1, 80, 48, dtype=torch.bool)
    noise = 0.05 * randn(1, 500, dtype=torch.complex64)
    scan = RawScan(samples, mask, 2, noise=noise, trajectory=points.float(), image_shape=(48, 48))
    encoded, x = measured(scan, maps="none")
    left = float((encoded.y - encoded.encoding(x)).norm())
    (weights,) = (link.weights for link in encoded.chain.links if hasattr(link, "weights"))
    expected = left / float(weights.double().square().sum()) ** 0.5
    assert item_values(encoded, x)["residual_above_noise"] == pytest.approx(expected, rel=1e-4)
    assert 0.6 < expected < 1
    assert item_warnings(encoded, x) == ()


def test_half_a_field_of_view_asks_for_two_sets_of_maps() -> None:
    scan = simulate(
        read_reference(FOLDER / "brain_8coil_reference.nii.gz")[:1], acceleration=1, snr=40
    )
    half = whole(scan.kspace[0, :, ::2].contiguous(), scan.noise)
    found = {one.name: one for one in item_warnings(*measured(half))}
    # What is folded lies across the edge.
    assert set(found) == {"fold_over", "image_wrapped"}
    assert "--map-sets 2" in found["fold_over"].sentence
    assert names(half, map_sets=2, layers=5).isdisjoint({"fold_over"})


@pytest.mark.parametrize("coils", [2, 3])
def test_further_eigenvalues_are_those_of_the_matrices_by_definition(randn, coils) -> None:
    kernel, width, shape = 3, 8, (10, 9)
    kspace = randn(coils, *shape, dtype=torch.complex64)
    found = espirit(kspace, width, kernel=kernel, threshold=0.3)
    array = kspace.numpy().astype(complex)
    centre = array[:, 5 - 4 : 5 + 4, 4 - 4 : 4 + 4]
    windows = [
        centre[:, i : i + kernel, j : j + kernel].ravel()
        for i in range(width - kernel + 1)
        for j in range(width - kernel + 1)
    ]
    _, values, rows = np.linalg.svd(np.array(windows), full_matrices=False)
    kept = rows[values > 0.3 * values[0]]
    projection = (kept.T @ kept.conj()).reshape(coils, kernel**2, coils, kernel**2)
    offsets = np.array(list(itertools.product(range(kernel), repeat=2)))
    for y, x in ((0, 0), (5, 4), (7, 2)):
        at = np.array([y - 5, x - 4]) / np.array(shape)
        phase = np.exp(2j * np.pi * (offsets @ at))
        matrix = np.einsum("a,cadb,b->cd", phase, projection, phase.conj()) / kernel**2
        expected = np.linalg.eigvalsh(matrix)[::-1]
        assert float(found.eigenvalues.second[y, x]) == pytest.approx(expected[1], abs=1e-4)
        third = expected[2] if coils > 2 else 0
        assert float(found.eigenvalues.third[y, x]) == pytest.approx(third, abs=1e-4)


def test_pixels_of_three_places_are_noise_and_noise_is_no_second_place() -> None:
    scan = simulated()
    samples, sampled = scan.kspace[0], scan.mask[0, 0]
    centre = CentreImage(samples, sampled, torch.zeros(6))
    ones, zeros = torch.ones(96, 96), torch.zeros(96, 96)
    noise = torch.ones(6, dtype=torch.float64)
    for third, bearable, expected in ((zeros, 1.0, 1.0), (ones, 1.0, 0.0), (zeros, 0.1, None)):
        values = Eigenvalues(ones, third, torch.tensor(bearable))
        assert share_of_two_places(centre, values, noise) == expected


@pytest.mark.parametrize("scale", [1e-20, 1e15])
def test_the_noise_that_espirit_bears_has_the_unit_of_the_samples(scale) -> None:
    scan = dataclasses.replace(simulated(coils=3), noise=None)
    one = dataclasses.replace(scan, kspace=scan.kspace[0], mask=scan.mask[0])
    large = dataclasses.replace(one, kspace=one.kspace * scale)
    found = [sensitivities(each).eigenvalues for each in (one, large)]
    assert float(found[1].noise) == pytest.approx(scale * float(found[0].noise), rel=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1.0])
def test_a_coil_without_signal_is_named(randn, scale) -> None:
    kspace = simulated().kspace[0].clone()
    noise = float(kspace[2].abs().median())
    kspace[2] = scale * noise * randn(96, 96, dtype=torch.complex64)
    (found,) = prepare(whole(kspace), ReconstructionOptions()).warnings
    assert found.name == "dead_coils"
    assert found.sentence.startswith("Coil 2 holds (counted from 0) no signal")


def test_a_coil_of_next_to_no_energy_is_dead_whatever_its_noise() -> None:
    kspace = simulated().kspace[0].clone()
    kspace[2] *= 1e-3
    assert [one.name for one in prepare(whole(kspace), ReconstructionOptions()).warnings] == [
        "dead_coils"
    ]
    kspace[2] *= 100
    assert prepare(whole(kspace), ReconstructionOptions()).warnings == ()


@pytest.mark.parametrize("index", [0, 1])
def test_a_slice_that_a_coil_does_not_see_is_no_dead_coil(randn, index) -> None:
    kspace = simulated().kspace.repeat(2, 1, 1, 1)
    noise = float(kspace[0, 2].abs().median())
    kspace[index, 2] = noise * randn(96, 96, dtype=torch.complex64)
    scan = RawScan(kspace, torch.ones(1, 96, 96, dtype=torch.bool), 2)
    assert prepare(scan, ReconstructionOptions()).warnings == ()
    # Nor are all coils dead where there is nothing to see.
    empty = whole(randn(4, 32, 32, dtype=torch.complex64))
    assert noise_over_signal(empty) == [0.0] * 4


def test_virtual_coils_may_be_noise() -> None:
    scan = dataclasses.replace(simulated(), noise=None)
    assert names(scan, coils=3, layers=5).isdisjoint({"dead_coils"})
    prepared = prepare(scan, ReconstructionOptions(coils=6))
    assert prepare(prepared.scan, ReconstructionOptions()).warnings == ()


def slices(lacking: tuple[int, ...], count: int = 5, *, placed: bool = False) -> RawScan:
    """Return slices of which some have no samples in the centre."""
    kspace = simulated(coils=3).kspace.repeat(count, 1, 1, 1)
    mask = torch.ones(count, 1, 96, 96, dtype=torch.bool)
    for index in lacking:
        mask[index, :, 44:52] = False
    positions = tuple((0.0, 0.0, 5.0 * index) for index in range(count))
    geometry = Geometry((5.0, 200.0, 200.0), positions) if placed else None
    return RawScan(kspace * mask, mask, 2, geometry=geometry, name="made")


@pytest.mark.parametrize(
    ("lacking", "placed", "cure"),
    [
        ((3,), False, "slice 3 has no fully sampled, non-empty centre .* with --slices 0-2,4, or"),
        ((3,), True, "slice 3 has .* with --slices 0-2 and then --slices 4, or"),
        ((0, 1), True, "slice 0, slice 1 have .* with --slices 2-4, or"),
    ],
)
def test_slices_without_calibration_are_named_before_any_work(lacking, placed, cure) -> None:
    seen: list[tuple[int, int]] = []
    scan = slices(lacking, placed=placed)
    with pytest.raises(CalibrationError, match=cure):
        reconstruct(scan, on_layer=lambda *count: seen.append(count))
    assert seen == []
    (warning,) = warnings_before(scan)
    assert (warning.name, warning.items) == ("no_calibration", lacking)


def test_where_no_slice_has_calibration_the_method_says_what_it_needs() -> None:
    scan = slices((0, 1), 2)
    with pytest.raises(CalibrationError, match="the fully sampled centre of k-space is"):
        reconstruct(scan)
    assert warnings_before(scan) == ()


def test_a_centre_of_zeros_is_no_calibration() -> None:
    scan = slices(())
    kspace = scan.kspace.clone()
    kspace[4, :, 36:60, 36:60] = 0
    with pytest.raises(CalibrationError, match="slice 4 has"):
        reconstruct(dataclasses.replace(scan, kspace=kspace))


def test_a_repetition_without_calibration_is_named_with_its_cure() -> None:
    scan = slices((), 4)
    kspace = scan.kspace.reshape(2, 2, *scan.kspace.shape[1:]).clone()
    # What was measured there is zero: the mean over time does not take its place.
    kspace[1, ..., 36:60, 36:60] = 0
    both = dataclasses.replace(
        scan,
        kspace=kspace,
        mask=scan.mask.reshape(2, 2, *scan.mask.shape[1:]),
        images=("repetition 0", "repetition 1"),
    )
    with pytest.raises(CalibrationError, match=r"slice 0 of repetition 1, .*repetition 0\) with"):
        reconstruct(both)


def test_slices_with_maps_from_elsewhere_are_not_warned_of() -> None:
    scan = slices((2, 3), 4)
    assert len(warnings_before(scan)) == 1
    assert warnings_before(dataclasses.replace(scan, reference=scan.kspace[0])) == ()
    shape = (2, 2, *scan.kspace.shape[1:])
    over_time = dataclasses.replace(
        scan,
        kspace=scan.kspace.reshape(shape),
        mask=scan.mask.reshape(2, 2, *scan.mask.shape[1:]),
        images=("repetition 0", "repetition 1"),
    )
    assert warnings_before(over_time) == ()


def test_slices_are_called_as_they_are_asked_for() -> None:
    scan = slices((), 3)
    assert places_of(scan) == ["slice 0", "slice 1", "slice 2"]
    chosen = dataclasses.replace(scan, record={"slices": [5, 2, 9]})
    assert places_of(chosen) == ["slice 2", "slice 5", "slice 9"]


def test_noise_is_estimated_from_the_edge(randn) -> None:
    levels = torch.tensor([0.5, 2.0])
    samples = levels[:, None, None] * randn(2, 96, 80, dtype=torch.complex64)
    samples[:, 40:56, 32:48] += 100
    # Padding is no measurement.
    samples[:, :, :8] = 0
    sampled = torch.ones(96, 80, dtype=torch.bool)
    found = noise_levels(samples, sampled, radius_of_grid((96, 80)))
    assert found is not None
    assert found.tolist() == pytest.approx([0.5, 2.0], rel=0.05)


def test_a_warning_is_an_entry_and_a_line() -> None:
    one = DataWarning("fold_over", (0.5,), 0.02, "Two places. Use two sets.", (1,))
    two = dataclasses.replace(one, values=(0.25,), items=(2,))
    (both,) = joined([one, two])
    assert both.line(["slice 0", "slice 1", "slice 2"]) == (
        "Warning (slice 1, slice 2): Two places. Use two sets. Measured 0.5; the warning's "
        "threshold is 0.02."
    )
    certificate = Certificate((), 3).with_entries(both.entry())
    assert warnings_of(certificate)[-1] == both
    assert both.entry().status == "measured"
