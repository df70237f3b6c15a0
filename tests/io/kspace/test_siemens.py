"""Siemens raw files give what twixtools and BART read in them, where the scanner says it lies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from laws import assert_close
from mrd_scans import centred_fft, centred_ifft
from outcomes import outcome_of
from real_scans import twix
from twix_files import Line, protocol, twix_vb, twix_vd

from firenet_mri import read
from firenet_mri.errors import DataError, FileError, FirenetError
from firenet_mri.io.kspace.bart import read_array
from firenet_mri.scan import with_reversed_kspace

COILS, ROWS, COLUMNS = 2, 10, 8
RNG = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return (RNG.normal(size=shape) + 1j * RNG.normal(size=shape)).astype(np.complex64)


def lines(kspace: np.ndarray, **options) -> list[Line]:
    """Return the readouts of (coil, line, sample), the centre in the middle."""
    counters = options.pop("counters", {})
    centre = options.pop("centre", (kspace.shape[2] // 2, kspace.shape[1] // 2, 0))
    return [
        Line(kspace[:, row], {"Lin": row, **counters}, centre=centre, **options)
        for row in range(kspace.shape[1])
    ]


@pytest.fixture
def write(tmp_path):
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / "meas.dat"
        path.write_bytes(content)
        return path

    return write_bytes


def without_oversampling(kspace: np.ndarray) -> np.ndarray:
    image = centred_ifft(kspace, (-1,))
    quarter = image.shape[-1] // 4
    return centred_fft(image[..., quarter : quarter + image.shape[-1] // 2], (-1,))


def test_a_real_scan_is_what_twixtools_reads() -> None:
    import twixtools

    path = twix("gre.dat")
    scan = read(path, fft_sign=1)
    measured = twixtools.read_twix(str(path), verbose=False, parse_geometry=False)[-1]["mdb"]
    raw = np.stack([block.data for block in measured if block.is_image_scan()], axis=1)
    assert_close(scan.kspace[0], torch.from_numpy(without_oversampling(raw)), 1e-5)
    assert bool(scan.mask.all())
    assert scan.noise is None


@pytest.mark.skipif(shutil.which("bart") is None, reason="bart is not installed")
def test_a_real_scan_is_what_bart_reads(tmp_path) -> None:
    scan = read(twix("gre.dat"), fft_sign=1)
    command = ["bart", "twixread", "-x320", "-y160", "-c2", "-z1", str(twix("gre.dat")), "k"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    raw = read_array(tmp_path / "k.cfl").reshape(2, 160, 320)
    assert_close(scan.kspace[0], torch.from_numpy(without_oversampling(raw)), 1e-5)


def test_a_real_scan_lies_where_its_header_says() -> None:
    geometry = read(twix("gre.dat")).geometry
    assert geometry.is_placed
    assert geometry.field_of_view_mm == (4.0, 200.0, 200.0)
    affine = geometry.affine_lps((1, 160, 160))
    # From the sequence's parameters, not from the readouts: position and oblique normal.
    np.testing.assert_allclose(
        affine @ [80, 80, 0, 1], [-2.58970, 53.92243, -53.99947, 1], atol=1e-3
    )
    np.testing.assert_allclose(affine[:3, 2] / 4, [0, 0.0383878, 0.9992630], atol=1e-5)


def test_the_image_of_a_real_scan_is_in_the_middle() -> None:
    scan = read(twix("gre.dat"))
    energy = np.square(np.abs(centred_ifft(scan.kspace[0].numpy(), (-2, -1)))).sum(0)
    rows, columns = (np.arange(160) @ energy.sum(axis) / energy.sum() for axis in (1, 0))
    assert abs(rows - 80) < 25
    assert abs(columns - 80) < 25


def test_the_air_in_the_phantom_is_up() -> None:
    """The phantom lay as a supine patient does, so that the level of its fluid is anterior."""
    scan = read(twix("gre.dat"))
    assert scan.geometry.phase_direction[1] > 0.99  # Rows go to posterior.
    image = np.sqrt(np.square(np.abs(centred_ifft(scan.kspace[0].numpy(), (-2, -1)))).sum(0))
    widths = (image > 0.25 * np.percentile(image, 90)).sum(axis=1)
    inside = np.flatnonzero(widths > 10)
    # A level is wide at once, the round bottom is not.
    assert widths[inside[0] + 3] > 1.5 * widths[inside[-1] - 3]


@pytest.mark.parametrize("version", ["VB", "VD"])
def test_counters_centre_and_reflection_place_the_samples(version, write) -> None:
    kspace = random(COILS, ROWS, 2 * COLUMNS)
    readouts = lines(kspace)
    # A reversed readout's centre is counted in the order of storage.
    for line in readouts[::2]:
        line.data = line.data[:, ::-1]
        line.flags = ("REFLECT",)
        line.centre = (COLUMNS - 1, ROWS // 2, 0)
    header = protocol(COLUMNS, ROWS)
    content = twix_vb(header, readouts) if version == "VB" else twix_vd([(header, readouts)])
    scan = read(write(content), fft_sign=1)
    assert_close(scan.kspace[0], torch.from_numpy(without_oversampling(kspace)), 1e-5)


def test_asymmetric_echo_and_partial_fourier_are_not_sampled(write) -> None:
    kspace = random(COILS, 6, 12)
    readouts = lines(kspace, centre=(4, 1, 0))
    scan = read(write(twix_vd([(protocol(COLUMNS, ROWS), readouts)])), fft_sign=1)
    # The echo lies at sample 4 of 12, in a matrix of 16: 4 are missing before it.
    expected = np.zeros((COILS, ROWS, 16), np.complex64)
    expected[:, 4:, 4:] = kspace
    np.testing.assert_array_equal(scan.kspace[0], expected)
    assert int(scan.mask.sum()) == 6 * 12


def test_cut_samples_are_left_out(write) -> None:
    kspace = random(COILS, ROWS, 16)
    readouts = lines(kspace, cut=(3, 2))
    scan = read(write(twix_vd([(protocol(COLUMNS, ROWS), readouts)])), fft_sign=1)
    assert int(scan.mask.sum()) == ROWS * 11
    np.testing.assert_array_equal(scan.kspace[0][..., 3:14], kspace[..., 3:14])


def test_slices_repetitions_and_averages(write) -> None:
    kspace = random(2, 3, COILS, ROWS, 16)
    readouts = [
        line
        for repetition, slice_, average in np.ndindex(2, 3, 2)
        for line in lines(
            kspace[repetition, slice_] * (1 + average),
            counters={"Rep": repetition, "Sli": slice_, "Ave": average},
            position=(0.0, 0.0, 5.0 * slice_),
        )
    ]
    path = write(twix_vd([(protocol(COLUMNS, ROWS), readouts)]))
    scan = read(path, fft_sign=1)
    assert scan.images == ("repetition 0", "repetition 1")
    assert_close(scan.kspace, torch.from_numpy(1.5 * without_oversampling(kspace)), 1e-5)
    assert read(path, repetitions=[1]).batch_shape == (3,)


@pytest.mark.parametrize(("mode", "is_apart"), [(2, False), (4, True), (8, True), (1, True)])
def test_reference_lines_are_of_the_image_or_apart(mode, is_apart, write, caplog) -> None:
    kspace, other = random(COILS, ROWS, 16), random(COILS, ROWS, 16)
    header = protocol(COLUMNS, ROWS, extra=f"sPat.ucRefScanMode = {mode}\n")
    references = lines(other, flags=("PATREFSCAN",))[3:8]
    imaging = lines(kspace)[::2]
    path = write(twix_vd([(header, [*references, *imaging])]))
    scan = read(path, fft_sign=1)
    kept = np.zeros_like(kspace)
    kept[:, ::2] = kspace[:, ::2]
    if not is_apart:
        kept[:, 3:8:2] = other[:, 3:8:2]
    assert_close(scan.kspace[0], torch.from_numpy(without_oversampling(kept)), 1e-5)
    assert (scan.reference is not None) is is_apart
    assert ("measured separately" in caplog.text) is is_apart
    if is_apart:
        kept = np.zeros_like(kspace)
        kept[:, 3:8] = other[:, 3:8]
        assert_close(scan.reference[0], torch.from_numpy(without_oversampling(kept)), 1e-5)
        assert torch.equal(read(path).reference, with_reversed_kspace(scan).reference)
        assert not torch.equal(read(path).reference, scan.reference)


@pytest.mark.parametrize("counter", ["Ida", "Seg"])
def test_echoes_that_siemens_free_counters_tell_apart_are_images(counter, write) -> None:
    kspace = random(2, COILS, ROWS, 16)
    readouts = [line for echo in (0, 1) for line in lines(kspace[echo], counters={counter: echo})]
    scan = read(write(twix_vd([(protocol(COLUMNS, ROWS), readouts)])), fft_sign=1)
    assert scan.images[1] == {"Ida": "user0 1", "Seg": "segment 1"}[counter]
    assert_close(scan.kspace[:, 0], torch.from_numpy(without_oversampling(kspace)), 1e-5)


def test_a_centre_line_of_0_does_not_hide_where_the_samples_are_strongest(write) -> None:
    """Open-source sequences leave the centre out, and the middle is the strongest line."""
    kspace = random(COILS, 32, 16)
    kspace[:, 16] *= 30
    readouts = lines(kspace, centre=(8, 0, 0))
    scan = read(write(twix_vd([(protocol(COLUMNS, 32), readouts)])), fft_sign=1)
    assert_close(scan.kspace[0], torch.from_numpy(without_oversampling(kspace)), 1e-5)
    # Where the strongest line is neither the middle nor the line stated, nothing is guessed.
    kspace[:, 2] *= 1000
    readouts = lines(kspace, centre=(8, 28, 0))
    with pytest.raises(DataError, match="step 2 is the strongest"):
        read(write(twix_vd([(protocol(COLUMNS, 32), readouts)])))


def test_a_volume_of_3d_encoding(write) -> None:
    kspace = random(COILS, 4, ROWS, 16)
    readouts = [
        Line(kspace[:, z, y], {"Lin": y, "Par": z}, centre=(8, ROWS // 2, 2))
        for z, y in np.ndindex(4, ROWS)
    ]
    scan = read(write(twix_vd([(protocol(COLUMNS, ROWS, partitions=4), readouts)])), fft_sign=1)
    assert scan.spatial_ndim == 3
    assert_close(scan.kspace, torch.from_numpy(without_oversampling(kspace)), 1e-5)


def test_noise_of_an_adjustment_is_scaled_by_the_dwell_times(write) -> None:
    noise = random(COILS, 512)
    adjustment = Line(noise, flags=("NOISEADJSCAN",))
    readouts = lines(random(COILS, ROWS, 16))
    header = protocol(COLUMNS, ROWS)
    path = write(twix_vd([(protocol(256, 1, dwell_ns=5_000), [adjustment]), (header, readouts)]))
    scan = read(path)
    # Image dwell 10 us, noise dwell 5 us, bandwidth 0.793.
    np.testing.assert_allclose(scan.noise, noise / np.sqrt(2 * 0.793), rtol=1e-5)
    # One reading in the measurement itself: 130 Hz a pixel, 1 / (130 Hz * 512) = 15.02 us.
    path = write(twix_vd([(header, [adjustment, *readouts])]))
    np.testing.assert_allclose(
        read(path).noise, noise / np.sqrt(10 * 130 * 512e-6 * 0.793), rtol=1e-5
    )


def test_noise_of_other_coils_is_not_used(write, caplog) -> None:
    adjustment = Line(random(COILS, 512), flags=("NOISEADJSCAN",), first_channel=4)
    header = protocol(COLUMNS, ROWS)
    path = write(twix_vd([(header, [adjustment]), (header, lines(random(COILS, ROWS, 16)))]))
    assert read(path).noise is None
    assert "noise of other coils" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trajectory": 2}, "radial"),
        ({"trajectory": 4}, "spiral"),
        ({"trajectory": 8}, "BLADE"),
        ({"bands": 3}, "3 slices are excited at once"),
    ],
)
def test_what_is_not_cartesian_is_refused_by_name(options, words, write) -> None:
    header = protocol(COLUMNS, ROWS, **options)
    with pytest.raises(DataError, match=words):
        read(write(twix_vd([(header, lines(random(COILS, ROWS, 16)))])))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_real_scan_is_refused(share, write) -> None:
    content = twix("gre.dat").read_bytes()
    path = write(content[: int(share * len(content))])
    with pytest.raises(FileError, match=r"truncated|ends within its table"):
        read(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
def test_a_truncated_vb_file_says_how_much_was_found(share, write) -> None:
    header = protocol(COLUMNS, ROWS)
    content = twix_vb(header, lines(random(COILS, ROWS, 16)))
    kept = len(header) + int(share * (len(content) - len(header)))
    with pytest.raises(FileError, match=rf"\d readouts? (was|were) found up to byte \d+ of {kept}"):
        read(write(content[:kept]))


def test_flipped_bytes_give_a_named_error_or_an_image(write) -> None:
    content = twix_vd([(protocol(COLUMNS, ROWS), lines(random(COILS, ROWS, 16)))])
    for seed in range(200):
        generator = np.random.default_rng(seed)
        damaged = bytearray(content)
        # The table, the protocol, and the readouts' headers.
        for at in generator.integers(0, len(content), 8):
            damaged[at if seed % 2 else at % 160] = generator.integers(256)
        path = write(bytes(damaged))
        outcome = outcome_of(path)
        if isinstance(outcome, FirenetError):
            assert "meas.dat" in str(outcome), seed
        else:
            assert outcome.kspace.numel() < 1 << 24, seed
