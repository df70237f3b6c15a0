"""Echo trains become the k-space that they were made from, and real ones lose their ghosts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch
from echo_trains import (
    COILS,
    EVEN,
    NX,
    NY,
    RAMP,
    SAMPLES,
    epi_header,
    ghost_level,
    phantom,
    phase,
    sampled,
    trains,
    with_times,
)
from firenet_command import firenet
from mrd_scans import centred_fft, centred_ifft, make_header, make_readout
from real_scans import twix
from twix_files import Line, protocol, twix_vd

from firenet_mri import read
from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.readout_gridding import readout_matrix, trapezoid_places
from firenet_mri.operators.echo_planar import EchoTrainGridding
from firenet_mri.scan import select


def distance(scan: Any, image: np.ndarray) -> float:
    """Return the relative distance of a scan's k-space from that of an image."""
    wanted = centred_fft(image, (-2, -1))
    found = scan.kspace.numpy().reshape(wanted.shape)
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_an_echo_train_becomes_the_k_space_it_was_made_from() -> None:
    image = phantom()
    scan = assemble(epi_header(), trains(image, phase()))
    assert distance(scan, image) < 1e-4
    assert scan.mask.all()
    gridding = scan.applied[0]
    assert gridding.norm_bound == pytest.approx(1.0)
    assert [part.name for part in gridding.made_from] == [
        "gridding and phase of echo trains (made from navigator lines)"
    ]
    assert not gridding.made_from[0].from_data


def test_the_drift_from_line_to_line_is_no_phase_of_the_directions() -> None:
    image = phantom()
    still, moving = (assemble(epi_header(), trains(image, phase(), drift=d)) for d in (0.0, 0.9))
    assert distance(moving, image) < 1e-4
    torch.testing.assert_close(still.kspace, moving.kspace, atol=1e-3, rtol=1e-3)


def test_samples_on_ramps_are_gridded() -> None:
    image = phantom()
    scan = assemble(with_times(epi_header()), trains(image, phase(slope=0.0), RAMP))
    assert scan.kspace.shape == (1, COILS, NY, NX)
    assert distance(scan, image) < 0.02
    assert scan.applied[0].domain_shape == (1, COILS, NY, SAMPLES)


def test_ramps_that_begin_late_are_gridded_where_the_navigators_say() -> None:
    image, delay = phantom(), 0.6
    late = np.interp(
        np.arange(SAMPLES) - delay,
        np.arange(-1, SAMPLES + 1),
        np.concatenate([[2 * RAMP[0] - RAMP[1]], RAMP, [2 * RAMP[-1] - RAMP[-2]]]),
    )
    scan = assemble(with_times(epi_header()), trains(image, np.zeros((COILS, NX)), late))
    assert distance(scan, image) < 0.03
    assert np.ptp(scan.applied[0].phase.numpy()) < 0.1


def test_points_that_the_readouts_carry_go_before_the_header() -> None:
    image = phantom()
    lines = trains(image, phase(slope=0.0), RAMP)
    for line in lines:
        line.resize(SAMPLES, COILS, 1)
        line.traj[:, 0] = -RAMP if line.is_flag_set(ismrmrd.ACQ_IS_REVERSE) else RAMP
    assert distance(assemble(epi_header(), lines), image) < 0.02


def test_every_slice_and_repetition_has_the_phase_of_its_own_navigators() -> None:
    images = [[phantom(2 * r + s) for s in range(2)] for r in range(2)]
    lines = []
    for r, s in np.ndindex(2, 2):
        lines += trains(images[r][s], phase() * (1 - r) * (1 - 2 * s), repetition=r, slice=s)
    scan = assemble(epi_header(), lines)
    assert scan.kspace.shape == (2, 2, COILS, NY, NX)
    for r, s in np.ndindex(2, 2):
        wanted = centred_fft(images[r][s], (-2, -1))
        assert np.linalg.norm(scan.kspace[r, s].numpy() - wanted) < 1e-4 * np.linalg.norm(wanted)
    chosen = select(scan, images=[1], slices=[0])
    assert chosen.norms_as_read.tolist() == [[float(scan.norms_as_read[1, 0])]]
    first = assemble(epi_header(), lines, repetitions=[1])
    torch.testing.assert_close(first.kspace, scan.kspace[1])


def test_an_image_with_navigators_of_one_direction_takes_those_of_its_slice() -> None:
    images = [phantom(0), phantom(1)]
    lines = [trains(image, phase(), repetition=r) for r, image in enumerate(images)]
    scan = assemble(epi_header(), [*lines[0], lines[1][0], *lines[1][3:]])
    for found, image in zip(scan.kspace[:, 0].numpy(), images, strict=True):
        wanted = centred_fft(image, (-2, -1))
        assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_a_mask_leaves_samples_whose_norm_as_read_is_not_known(tmp_path: Path) -> None:
    path = written(tmp_path / "epi.h5", epi_header(), trains(phantom(), phase()))
    mask = np.arange(NY)[:, None] % 2 * np.ones(NX)
    assert read(path).norms_as_read is not None
    assert read(path, mask=mask).norms_as_read is None


def test_a_volume_of_echo_trains_has_its_partitions() -> None:
    images = [phantom(seed) for seed in range(2)]
    lines = [
        one
        for i, image in enumerate(images)
        for one in trains(image, phase(), kspace_encode_step_2=i)
    ]
    scan = assemble(make_header((NX, NY, 2), trajectory="epi"), lines)
    assert scan.kspace.shape == (COILS, 2, NY, NX)
    for found, image in zip(scan.kspace.numpy().swapaxes(0, 1), images, strict=True):
        wanted = centred_fft(image, (-2, -1))
        assert np.linalg.norm(found - wanted) < 1e-3 * np.linalg.norm(wanted)
    assert scan.norms_as_read.shape == ()


def test_a_scan_without_phase_encoding_serves_in_the_place_of_navigators() -> None:
    image = phantom()
    lines = trains(image, phase())[3:]
    plain = centred_fft(image, (1,))[:, NY // 2]
    others = [copy.deepcopy(line) for line in lines]
    for row, line in enumerate(others):
        way = row % 2 == 1
        line.data[:] = sampled(plain, EVEN, phase(), way) * np.exp(0.1j * row - 0.05 * row)
    scan = assemble(epi_header(), lines, phase_correction=others)
    assert distance(scan, image) < 1e-3
    (part,) = scan.applied[0].made_from
    assert part.name.endswith("(made from a scan without phase encoding)")


def test_reversed_lines_with_navigators_are_an_echo_train_whatever_the_header_says() -> None:
    image = phantom()
    scan = assemble(make_header((NX, NY, 1)), trains(image, phase()))
    assert distance(scan, image) < 1e-4


def test_navigators_are_not_needed_where_all_readouts_run_forward() -> None:
    image = phantom()
    lines = [one for one in trains(image, 0 * phase()) if one.idx.kspace_encode_step_1 % 2 == 0]
    scan = assemble(epi_header(), lines[3:])
    assert scan.applied[0].made_from == ()
    wanted = centred_fft(image, (-2, -1))
    rows = scan.mask[0, 0].any(-1).numpy()
    np.testing.assert_allclose(scan.kspace[0].numpy()[:, rows], wanted[:, rows], atol=1e-4)


def test_the_norms_of_the_samples_as_read_are_known() -> None:
    lines = trains(phantom(), phase(), RAMP)
    scan = assemble(with_times(epi_header()), lines)
    energy = sum(np.sum(np.abs(line.data) ** 2) for line in lines[3:])
    assert float(scan.norms_as_read[0]) == pytest.approx(np.sqrt(energy), rel=1e-6)


def test_noise_is_scaled_as_gridding_scales_it() -> None:
    generator = np.random.default_rng(3)
    noise = generator.standard_normal((COILS, 4000, 2)) @ [1, 1j]
    lines = trains(phantom(), phase(), RAMP)
    measured = make_readout(noise, flags=[ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    scan = assemble(with_times(epi_header()), [measured, *lines])
    for line in lines[3:]:
        line.data[:] = generator.standard_normal((COILS, SAMPLES, 2)) @ [1, 1j]
    white = assemble(with_times(epi_header()), lines)
    assert float(white.kspace.abs().std()) == pytest.approx(float(scan.noise.abs().std()), rel=0.06)


def without_navigators(lines: list[Any]) -> list[Any]:
    return lines[3:]


def with_one_direction(lines: list[Any]) -> list[Any]:
    return [lines[0], *lines[2:]]


def with_both_ways_of_a_line(lines: list[Any]) -> list[Any]:
    other = copy.deepcopy(lines[-1])
    other.clear_flag(ismrmrd.ACQ_IS_REVERSE)
    other.center_sample = NX // 2
    other.idx.average = 1
    return [*lines, other]


def with_shorter_navigators(lines: list[Any]) -> list[Any]:
    short = make_readout(lines[0].data[:, 1:], flags=[ismrmrd.ACQ_IS_PHASECORR_DATA])
    return [short, *lines[1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_navigators, "--phase-correction"),
        (with_one_direction, "one direction"),
        (with_both_ways_of_a_line, "forward and backward"),
        (with_shorter_navigators, "channels and samples"),
    ],
)
def test_what_cannot_be_corrected_is_refused_by_name(
    change: Callable[[list[Any]], list[Any]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        assemble(epi_header(), change(trains(phantom(), phase())), name="epi.h5")


def test_slices_excited_at_once_are_refused_by_name() -> None:
    xsd = ismrmrd.xsd
    header = epi_header(calibration_mode="embedded")
    header.encoding[0].parallelImaging.multiband = xsd.multibandType(
        spacing=[xsd.multibandSpacingType(dZ=[10.0])],
        multiband_factor=2,
        deltaKz=1.0,
        calibration=xsd.multibandCalibrationType("other"),
        calibration_encoding=0,
    )
    with pytest.raises(DataError, match="2 slices are excited at once"):
        assemble(header, trains(phantom(), phase()))


def test_echo_trains_whose_directions_were_lost_are_refused() -> None:
    lines = trains(phantom(), phase())
    for line in lines:
        line.clear_flag(ismrmrd.ACQ_IS_REVERSE)
    with pytest.raises(DataError, match=r"no readout .* is marked"):
        assemble(epi_header(), lines)


def test_a_phase_correction_of_a_scan_without_echo_trains_is_refused() -> None:
    lines = [one for one in trains(phantom(), phase()) if one.idx.kspace_encode_step_1 % 2 == 0]
    with pytest.raises(UsageError, match="not an echo-planar scan"):
        assemble(make_header((NX, NY, 1)), lines[3:], phase_correction=lines)


def as_reference(lines: list[Any]) -> list[Any]:
    for line in lines:
        line.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
    return lines


def test_reference_lines_have_navigators_of_their_own() -> None:
    image, other = phantom(), phantom(5)
    header = epi_header(calibration_mode="separate")
    references = as_reference(trains(other, -phase()))
    scan = assemble(header, [*references, *trains(image, phase())])
    assert distance(scan, image) < 1e-4
    wanted = centred_fft(other, (-2, -1))
    found = scan.reference.numpy().reshape(wanted.shape)
    assert np.linalg.norm(found - wanted) < 1e-4 * np.linalg.norm(wanted)


def test_reference_lines_without_ramps_serve_the_maps_of_a_scan_with_them() -> None:
    image = phantom()
    rows = centred_fft(image, (-2, -1))
    references = as_reference([make_readout(rows[:, row], row=row) for row in range(4, 16)])
    header = with_times(epi_header(calibration_mode="embedded"))
    lines = trains(image, phase(slope=0.0), RAMP)
    # Every second pair of lines is left out, and what is measured in place of them is no part of
    # the image, since its samples are others.
    lines = [*lines[:3], *(one for one in lines[3:] if one.idx.kspace_encode_step_1 % 4 < 2)]
    scan = assemble(header, [*references, *lines])
    rows[:, [row for row in range(NY) if row % 4 < 2]] = 0
    assert scan.mask[0, 0].any(-1).tolist() == [row % 4 < 2 for row in range(NY)]
    found = scan.reference.numpy().reshape(rows.shape)
    np.testing.assert_allclose(found[:, 4:16], rows[:, 4:16], atol=1e-4)


def test_navigators_that_tell_nothing_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    lines = trains(phantom(), phase(), drift=0.9)
    words = "ghosts at half a field of view may remain"
    assemble(epi_header(), lines)
    assert words not in caplog.text
    assemble(epi_header(), lines, phase_correction=lines[3:])
    assert words in caplog.text
    caplog.clear()
    generator = np.random.default_rng(0)
    for line in lines[:3]:
        line.data[:] = generator.standard_normal((COILS, NX, 2)) @ [1, 1j]
    assemble(epi_header(), lines)
    assert words in caplog.text


@pytest.mark.parametrize(
    ("times", "tolerance"),
    [((100, 120, 100, 30, 260), 2e-3), ((160, 0, 160, 0, 320), 0.02)],
    ids=["trapezoid", "triangle, samples up to 1.6 cycles apart"],
)
def test_gridding_is_what_least_squares_finds_inside_the_field_of_view(times, tolerance) -> None:
    size, columns = 2 * NX, NX
    places = trapezoid_places(*times, 60, size)
    x = np.arange(size) - size // 2
    transform = np.exp(-2j * np.pi * np.outer(places, x) / size) / np.sqrt(size)
    inside = np.abs(x + 0.5) < NX / 2
    image = np.random.default_rng(0).standard_normal(columns)
    samples = transform[:, inside] @ image
    wanted = np.linalg.lstsq(transform[:, inside], samples, rcond=None)[0]
    found = readout_matrix(places, size, columns) @ samples
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


def test_samples_that_are_to_be_discarded_are_no_part_of_the_image() -> None:
    image = phantom()
    lines = trains(image, phase(slope=0.0), RAMP)
    scan = assemble(with_times(epi_header()), lines)
    for line in lines:
        line.discard_pre, line.discard_post = 2, 1
        line.data[:, [0, 1, -1]] = 1e3
    cut = assemble(with_times(epi_header()), lines)
    assert float((cut.kspace - scan.kspace).norm()) < 0.1 * float(scan.kspace.norm())


def test_points_under_a_trapezoid_are_those_of_twixtools() -> None:
    from twixtools.recon_helpers import calc_regrid_traj

    names = ("Rampup", "Flattop", "Rampdown", "DelaySamples")
    times = {
        f"alRegrid{name}Time": [time] for name, time in zip(names, (160, 240, 160, 32), strict=True)
    }
    meas = {"alRegridMode": [2], "alRegridDestSamples": [160], "aflRegridADCDuration": [496.0]}
    slices = {"asSlice": [{"dReadoutFOV": 1.0}]}
    yaps = {"sKSpace": {"lBaseResolution": 160}, "sSliceArray": slices}
    wanted = calc_regrid_traj({"Meas": {**meas, **times}, "MeasYaps": yaps})
    found = trapezoid_places(160, 240, 160, 32, 496.0, 160, 160)
    assert np.abs(found - wanted).max() < 0.02


REGRIDDING = """
<ParamLong."alRegridRampupTime">  { 100 0 }
<ParamLong."alRegridRampdownTime">  { 100 0 }
<ParamLong."alRegridFlattopTime">  { 120 0 }
<ParamLong."alRegridDelaySamplesTime">  { 30 0 }
<ParamDouble."aflRegridADCDuration">  { <Precision> 6  260.000000 0.000000 }
<ParamLong."alRegridDestSamples">  { 40 0 }
<ParamLong."alRegridMode">  { 2 1 }
"""


def twix_epi(image: np.ndarray, meas: str, samples: np.ndarray) -> bytes:
    """Return a Siemens file of an echo train, whose columns are oversampled twice."""
    names = {ismrmrd.ACQ_IS_REVERSE: "REFLECT", ismrmrd.ACQ_IS_PHASECORR_DATA: "PHASCOR"}
    lines = [
        Line(
            line.data,
            {"Lin": line.idx.kspace_encode_step_1},
            flags=[name for flag, name in names.items() if line.is_flag_set(flag)],
            centre=(line.center_sample, NY // 2, 0),
        )
        for line in trains(image, phase(slope=0.0), samples)
    ]
    return twix_vd([(protocol(NX // 2, NY, epi_factor=NY, meas=meas), lines)])


def test_ramps_of_a_siemens_protocol_are_gridded_and_oversampling_is_cut(tmp_path: Path) -> None:
    image = phantom()
    image[:, :, : NX // 4] = image[:, :, -NX // 4 :] = 0
    inside = image[:, :, NX // 4 : -NX // 4]
    path = tmp_path / "epi.dat"
    path.write_bytes(twix_epi(image, REGRIDDING, RAMP))
    scan = read(path, fft_sign=1)
    assert scan.spatial_shape == (NY, NX // 2)
    assert distance(scan, inside) < 0.01
    path.write_bytes(twix_epi(image, REGRIDDING.replace("{ 2 1 }", "{ 1 1 }"), EVEN))
    assert distance(read(path, fft_sign=1), inside) < 1e-4


def test_a_gradient_that_is_no_trapezoid_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "epi.dat"
    path.write_bytes(twix_epi(phantom(), REGRIDDING.replace("{ 2 1 }", "{ 4 1 }"), RAMP))
    with pytest.raises(DataError, match="not a trapezoid"):
        read(path)


def root_sum_of_squares(kspace: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(np.abs(centred_ifft(kspace, (-2, -1)))).sum(0))


def test_a_real_echo_planar_scan_loses_its_ghost() -> None:
    """A phantom, Siemens; before is the gridding that knows nothing of the navigators."""
    path = twix("epi.dat")
    scan = read(path)
    gridding, reversal = scan.applied
    places = trapezoid_places(160, 240, 160, 32, 496.0, 160, 160)
    plain = np.stack([readout_matrix(way * places, 160, 80) for way in (1, -1)])
    flat = EchoTrainGridding(torch.from_numpy(plain), gridding.backward, 0 * gridding.phase, None)
    samples = torch.from_numpy(stored(path))[None]
    assert torch.equal(reversal(gridding(samples)), scan.kspace)
    images = [
        root_sum_of_squares(kspace[0].numpy()) for kspace in (reversal(flat(samples)), scan.kspace)
    ]
    inside = images[1] > 0.1 * np.percentile(images[1], 99)
    before, after = (ghost_level(image, inside) for image in images)
    assert before > 0.02
    assert before > 5 * after


def stored(path: Any) -> np.ndarray:
    """Return the samples (coil, line, sample) in the order in which they were measured."""
    blocks = pytest.importorskip("twixtools").read_twix(str(path), verbose=False)[-1]["mdb"]
    lines = sorted((block for block in blocks if block.is_image_scan()), key=lambda one: one.cLin)
    return np.stack([line.data for line in lines], 1)


def written(path: Path, header: Any, readouts: list[Any]) -> Path:
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header = header
        file["dataset"].acquisitions = readouts
    return path


def test_ramps_of_an_ismrmrd_file_are_those_of_its_header(tmp_path: Path) -> None:
    image = phantom()
    lines = trains(image, phase(slope=0.0), RAMP)
    path = written(tmp_path / "epi.h5", with_times(epi_header()), lines)
    assert distance(read(path), image) < 0.02


def test_an_image_by_a_scan_without_phase_encoding_is_made_and_checked_again(tmp_path) -> None:
    image = phantom()
    navigators, lines = (trains(image, phase())[part] for part in (slice(3), slice(3, None)))
    for line in navigators:
        line.clear_flag(ismrmrd.ACQ_IS_PHASECORR_DATA)
    scan = written(tmp_path / "epi.h5", epi_header(), lines)
    other = written(tmp_path / "pe0.h5", epi_header(), navigators)
    given = ["--phase-correction", other]
    options = ["--layers", 2, "--sparsifier", "haar", "--maps", "lowres"]
    made = firenet("recon", scan, "-o", tmp_path / "a.nii", *given, *options)
    assert made.status == 0, made.err
    assert "made from a scan without phase encoding" in " ".join(made.out.split())
    refused = firenet("certify", tmp_path / "a.json", "--scan", scan)
    assert "give it with --phase-correction" in refused.err
    checked = firenet("certify", tmp_path / "a.json", "--scan", scan, *given)
    assert checked.status == 0, checked.err
