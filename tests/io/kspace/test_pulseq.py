"""Scans of Pulseq sequences: recognised, read by their readouts alone, and by their .seq file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ismrmrd
import numpy as np
import pytest
import torch
from echo_trains import ghost_level
from mrd_scans import centred_fft, centred_ifft, make_header, make_readout, make_readouts
from real_scans import DATA
from real_scans import pulseq as decoded
from twix_files import Line, protocol, twix_vb, twix_vd

from firenet_mri import RawScan, extras, read
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io.kspace.ismrmrd import assemble
from firenet_mri.io.kspace.pulseq import with_sequence
from firenet_mri.io.kspace.pulseq_sequence import PulseqSequence, read_sequence

COILS, NY, NX = 2, 14, 16
FOV_M = (0.2, 0.21, 0.005)
BY_NAME = 'tSequenceFileName = "%CustomerSeq%\\\\pulseq_1_4"\n'
BY_TEXT = 'tSequenceFileName = "%CustomerSeq%\\\\mine"\nsWipMemBlock.tFree = "gre.seq"\n'


def random(*shape: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


def peaked(rows: int, columns: int, centre: int) -> np.ndarray:
    """Return k-space (coil, rows, columns) whose energy lies about a row."""
    distance = np.hypot(np.arange(rows)[:, None] - centre, np.arange(columns) - columns // 2)
    return random(COILS, rows, columns) * np.exp(-distance / 2).astype(np.float32)


def twix_lines(kspace: np.ndarray, **options: Any) -> list[Line]:
    """Return one line per row, without a centre line, as Pulseq's interpreters write them."""
    centre = (kspace.shape[2] // 2, 0, 0)
    return [
        Line(kspace[:, row], {"Lin": row}, centre=centre, **options)
        for row in range(kspace.shape[1])
    ]


def cartesian(steps: list[tuple[int, int]], places: np.ndarray) -> PulseqSequence:
    """Return a sequence with a readout for each (line, partition), in cycles per field of view."""
    points = tuple(
        np.stack([places, 0 * places + y, 0 * places + z], 1) / np.array(FOV_M) for y, z in steps
    )
    return PulseqSequence("made.seq", points, {}, FOV_M)


def labelled(sequence: PulseqSequence, **labels: Any) -> PulseqSequence:
    count = len(sequence.points)
    values = {
        name: np.broadcast_to(value, count).astype(np.int64) for name, value in labels.items()
    }
    return PulseqSequence(sequence.name, sequence.points, values, sequence.field_of_view_m)


EVEN = np.arange(NX) - NX / 2
ROWS = [(row - NY // 2, 0) for row in range(NY)]


def scan_of(sequence: PulseqSequence, readouts: list[Any]) -> RawScan:
    """Return the scan of readouts whose header describes nothing."""
    return assemble(*with_sequence(make_header((7, 5, 1)), readouts, sequence, "scan.dat"))


@pytest.mark.parametrize("write", [twix_vd, twix_vb], ids=["VD", "VB"])
@pytest.mark.parametrize("mark", [BY_NAME, BY_TEXT], ids=["name", "seq file"])
def test_matrix_and_centre_come_from_the_readouts_and_are_said(
    write: Callable[..., bytes], mark: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kspace = peaked(NY, NX, NY // 2)
    header = protocol(64, 32, extra=mark, epi_factor=9, trajectory=4)
    lines = twix_lines(kspace, position=(1.0, 2.0, 3.0))
    path = tmp_path / "scan.dat"
    path.write_bytes(write([(header, lines)]) if write is twix_vd else write(header, lines))
    with caplog.at_level(logging.WARNING):
        scan = read(path, fft_sign=1)
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)
    assert scan.geometry is None
    assert scan.parameters.echo_times_ms == ()
    assert "matrix of 16 x 14 with the centre of k-space at line 7" in caplog.text
    assert "position are not known" in caplog.text


def test_another_sequence_is_not_taken_for_pulseq(tmp_path: Path) -> None:
    path = tmp_path / "scan.dat"
    header = protocol(8, NY, extra='tProtocolName = "pulseq"\ntSequenceFileName = "%S%\\\\gre"\n')
    path.write_bytes(twix_vd([(header, twix_lines(peaked(NY, NX, NY // 2)))]))
    assert read(path).geometry is not None


def test_after_partial_fourier_the_strongest_line_is_the_centre(tmp_path: Path) -> None:
    kspace = peaked(20, NX, 6)
    path = tmp_path / "scan.dat"
    path.write_bytes(twix_vd([(protocol(64, 32, extra=BY_NAME), twix_lines(kspace))]))
    scan = read(path, fft_sign=1)
    assert scan.spatial_shape == (27, NX)
    np.testing.assert_array_equal(scan.kspace[0, :, 7:].numpy(), kspace)
    assert not scan.mask[..., :7, :].any()


@pytest.mark.parametrize("size", [NX, NX - 1])
def test_echo_trains_without_a_sequence_are_refused(tmp_path: Path, size: int) -> None:
    image = np.zeros((COILS, NY, size), np.complex64)
    image[:, 3:-2, 2:7] = 1 + random(COILS, NY - 5, 5) / 9
    kspace = centred_fft(image, (1, 2)).astype(np.complex64)
    path = tmp_path / "straight.dat"
    path.write_bytes(twix_vd([(protocol(64, 32, extra=BY_NAME), twix_lines(kspace))]))
    assert read(path).spatial_shape == (NY, 2 * (size // 2) + size % 2)
    kspace[:, 1::2] = kspace[:, 1::2, ::-1]
    path = tmp_path / "scan.dat"
    path.write_bytes(twix_vd([(protocol(64, 32, extra=BY_NAME), twix_lines(kspace))]))
    with pytest.raises(DataError, match="--pulseq SEQ"):
        read(path)


@pytest.mark.parametrize(
    ("kspace", "words"),
    [
        (random(COILS, 24, NX), "none of its 24 lines"),
        (np.concatenate([peaked(NY, NX, NY // 2)] * 3, 1), "does not count the lines of one image"),
        (peaked(40, NX, 20)[:, ::-1][:, np.argsort(np.arange(40) * 27 % 40)], "another order"),
    ],
    ids=["radii", "images one after another", "lines in another order"],
)
def test_readouts_that_are_no_lines_of_one_image_are_refused(kspace, words, tmp_path) -> None:
    path = tmp_path / "scan.dat"
    path.write_bytes(twix_vd([(protocol(64, 32, extra=BY_NAME), twix_lines(kspace))]))
    with pytest.raises(DataError, match=words):
        read(path)


def test_lines_lie_where_the_sequence_has_them_whatever_the_counters_say() -> None:
    kspace = random(COILS, NY, NX)
    order = np.random.default_rng(1).permutation(NY)
    readouts = [make_readout(kspace[:, row], row=i, center_sample=0) for i, row in enumerate(order)]
    scan = scan_of(cartesian([ROWS[row] for row in order], EVEN), readouts)
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)
    assert scan.geometry.field_of_view_mm == pytest.approx((5.0, 210.0, 200.0))
    assert not scan.geometry.is_placed
    assert scan.applied == ()


def test_points_between_those_of_the_grid_keep_their_lines() -> None:
    kspace = random(COILS, NY, NX)
    sequence = cartesian([(y + 0.5, 1.7) for y, _ in ROWS], EVEN + 0.5)
    scan = scan_of(sequence, make_readouts(kspace))
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)


def test_oversampled_readouts_are_cut_to_the_field_of_view() -> None:
    image = np.zeros((COILS, NY, 2 * NX), complex)
    image[:, :, NX // 2 : -NX // 2] = random(COILS, NY, NX)
    sequence = cartesian(ROWS, (np.arange(2 * NX) - NX) / 2)
    scan = scan_of(sequence, make_readouts(centred_fft(image, (1, 2))))
    wanted = centred_fft(image[:, :, NX // 2 : -NX // 2], (1, 2))
    np.testing.assert_allclose(scan.kspace[0].numpy(), wanted, atol=1e-5)


def test_lines_of_one_half_of_k_space_lie_on_their_side() -> None:
    kspace = random(COILS, NY, NX)
    scan = scan_of(cartesian(ROWS[NY // 2 + 2 :], EVEN), make_readouts(kspace[:, NY // 2 + 2 :]))
    rows = scan.mask[0, 0].any(-1).nonzero().ravel()
    assert (rows - scan.spatial_shape[0] // 2).tolist() == list(range(2, NY // 2))


def test_partitions_make_a_volume() -> None:
    kspace = random(COILS, 4, NY, NX)
    steps = [(y, z - 2) for z in range(4) for y, _ in ROWS]
    readouts = [make_readout(kspace[:, z, y]) for z, y in np.ndindex(4, NY)]
    scan = scan_of(cartesian(steps, EVEN), readouts)
    np.testing.assert_array_equal(scan.kspace.numpy(), kspace)


def test_labels_tell_slices_images_and_averages_apart() -> None:
    kspace = random(2, 3, 2, 2, COILS, NY, NX)
    where = [at for at in np.ndindex(2, 3, 2, 2) for _ in range(NY)]
    labels = dict(zip(("REP", "SLC", "ECO", "AVG"), np.array(where).T, strict=True))
    sequence = labelled(cartesian(ROWS * 24, EVEN), **labels)
    readouts = [
        make_readout(kspace[at][:, row]) for at in np.ndindex(2, 3, 2, 2) for row in range(NY)
    ]
    scan = scan_of(sequence, readouts)
    wanted = kspace.mean(3).transpose(0, 2, 1, 3, 4, 5).reshape(4, 3, COILS, NY, NX)
    np.testing.assert_allclose(scan.kspace.numpy(), wanted, atol=1e-6)
    assert scan.images[1] == "repetition 0, contrast 1"
    assert scan.geometry.field_of_view_mm[0] == pytest.approx(5 / 3)


def test_readouts_of_one_direction_for_each_echo_are_no_echo_trains() -> None:
    kspace = random(2, COILS, NY, NX)
    one, other = (cartesian(ROWS, places) for places in (EVEN, EVEN[::-1]))
    points = (*one.points, *other.points)
    sequence = PulseqSequence("bipolar.seq", points, {}, FOV_M)
    sequence = labelled(sequence, ECO=np.repeat([0, 1], NY))
    stored = [kspace[0], kspace[1][..., ::-1]]
    readouts = [make_readout(stored[echo][:, row]) for echo in (0, 1) for row in range(NY)]
    scan = scan_of(sequence, readouts)
    np.testing.assert_array_equal(scan.kspace[:, 0].numpy(), kspace)
    assert scan.applied == ()


def test_navigators_and_calibration_lines_are_known_by_their_labels() -> None:
    kspace = random(COILS, NY, NX)
    ways = np.arange(NY + 3) % 2 == 1
    rows = [(0, 0)] * 3 + ROWS
    points = [
        cartesian([at], EVEN[::-1] if way else EVEN).points[0]
        for at, way in zip(rows, ways, strict=True)
    ]
    sequence = PulseqSequence("epi.seq", tuple(points), {}, FOV_M)
    sequence = labelled(sequence, NAV=np.arange(NY + 3) < 3, REF=0, IMA=0)
    lines = [kspace[:, NY // 2]] * 3 + [kspace[:, row] for row in range(NY)]
    readouts = [
        make_readout(line[:, ::-1] if way else line, row=i)
        for i, (line, way) in enumerate(zip(lines, ways, strict=True))
    ]
    scan = scan_of(sequence, readouts)
    np.testing.assert_allclose(scan.kspace[0].numpy(), kspace, atol=1e-4)
    assert "navigator lines" in scan.applied[0].made_from[0].name
    reference = labelled(sequence, NAV=0, REF=np.arange(NY + 3) < 3, IMA=0)
    _, marked = with_sequence(make_header((7, 5, 1)), readouts, reference, "scan.dat")
    both = labelled(sequence, NAV=0, REF=1, IMA=1)
    _, of_both = with_sequence(make_header((7, 5, 1)), readouts, both, "scan.dat")
    assert of_both[0].is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    assert [line.is_flag_set(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION) for line in marked[:4]] == [
        True,
        True,
        True,
        False,
    ]


def test_oversampled_echo_trains_do_not_fold_what_lies_beside_the_field_of_view() -> None:
    image = random(COILS, NY, 2 * NX)
    rows = centred_fft(image, (1, 2))
    ways = np.arange(NY + 3) % 2 == 1
    wide = np.arange(2 * NX) - NX
    line = centred_fft(image.sum(1) / np.sqrt(NY), (1,))
    # At even spacing the last point has no opposite; half a sample off it has.
    half = np.exp(-0.5j * np.pi * wide / NX)
    stored = [centred_fft(centred_ifft(one, (1,)) * half, (1,)) for one in [line] * 3]
    stored += [centred_fft(centred_ifft(rows[:, row], (1,)) * half, (1,)) for row in range(NY)]
    steps, places = [(0, 0)] * 3 + ROWS, (wide + 0.5) / 2
    points = tuple(
        cartesian([at], -places if way else places).points[0]
        for at, way in zip(steps, ways, strict=True)
    )
    sequence = labelled(PulseqSequence("epi.seq", points, {}, FOV_M), NAV=np.arange(NY + 3) < 3)
    readouts = [
        make_readout(one[:, ::-1] if way else one) for one, way in zip(stored, ways, strict=True)
    ]
    scan = scan_of(sequence, readouts)
    wanted = centred_fft(image[:, :, NX // 2 : -NX // 2], (1, 2))
    error = np.linalg.norm(scan.kspace[0].numpy() - wanted)
    assert error < 0.01 * np.linalg.norm(wanted)


def test_partitions_alone_are_the_lines_of_an_image() -> None:
    kspace = random(COILS, NY, NX)
    scan = scan_of(cartesian([(0, y) for y, _ in ROWS], EVEN), make_readouts(kspace))
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)
    assert scan.geometry.field_of_view_mm == pytest.approx((210.0, 5.0, 200.0))


def test_noise_of_the_sequence_is_no_line_of_the_image() -> None:
    kspace, noise = random(COILS, NY, NX), random(COILS, NX, seed=3)
    sequence = labelled(cartesian([(0, 0), *ROWS], EVEN), NOISE=np.arange(NY + 1) < 1)
    readouts = [make_readout(noise), *make_readouts(kspace)]
    scan = scan_of(sequence, readouts)
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)
    np.testing.assert_allclose(scan.noise.numpy(), noise, rtol=1e-6)
    # An interpreter that knows the label has marked it already.
    readouts[0].set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    assert torch.equal(scan_of(sequence, readouts).kspace, scan.kspace)


def test_readouts_that_are_not_straight_are_a_trajectory() -> None:
    angles = np.arange(9) * np.pi / 9
    points = tuple(
        np.stack([EVEN * np.cos(a) / 0.2, EVEN * np.sin(a) / 0.2, 0 * EVEN], 1) for a in angles
    )
    sequence = PulseqSequence("radial.seq", points, {}, (0.2, 0.2, 0.005))
    data = random(COILS, 9, NX)
    scan = scan_of(sequence, make_readouts(data))
    wanted = np.stack([np.outer(np.sin(angles), EVEN), np.outer(np.cos(angles), EVEN)], -1)
    np.testing.assert_allclose(scan.trajectory.numpy(), wanted, atol=1e-5)
    assert scan.spatial_shape == (NX, NX)
    np.testing.assert_array_equal(scan.kspace.numpy(), data)


def test_turned_echo_trains_are_refused_by_name() -> None:
    ways = [EVEN[::-1] if row % 2 else EVEN for row in range(NY)]
    points = tuple(
        np.stack([0.8 * way - 0.6 * y, 0.6 * way + 0.8 * y, 0 * way], 1) / 0.2
        for way, (y, _) in zip(ways, ROWS, strict=True)
    )
    sequence = PulseqSequence("oblique.seq", points, {}, (0.2, 0.2, 0.005))
    with pytest.raises(DataError, match=r"oblique\.seq has echo trains"):
        scan_of(sequence, make_readouts(random(COILS, NY, NX)))


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        (cartesian(ROWS[1:], EVEN), r"has 14 readouts, but made\.seq has 13"),
        (cartesian(ROWS, EVEN[1:]), r"readout 0 has 16 samples, but in made\.seq it has 15"),
        (labelled(cartesian(ROWS, EVEN), SMS=1), "several slices at once"),
        (labelled(cartesian(ROWS, EVEN), NAV=1), "belongs to an image"),
        (cartesian([(0, 0)] * NY, EVEN), "has no phase encoding"),
        (PulseqSequence("s.seq", cartesian(ROWS, EVEN).points, {}, None), "does not define FOV"),
    ],
    ids=["count", "samples", "SMS", "navigators alone", "no phase encoding", "no FOV"],
)
def test_a_sequence_that_contradicts_the_data_is_refused_by_name(
    sequence: PulseqSequence, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        scan_of(sequence, make_readouts(random(COILS, NY, NX)))


def test_the_sequence_says_which_readouts_run_backward_whatever_their_flags_say() -> None:
    kspace = random(COILS, NY, NX)
    flagged = make_readouts(kspace, flags=[ismrmrd.ACQ_IS_REVERSE])
    scan = scan_of(cartesian(ROWS, EVEN), flagged)
    np.testing.assert_array_equal(scan.kspace[0].numpy(), kspace)


def test_readouts_of_the_file_are_not_changed() -> None:
    readouts = make_readouts(random(COILS, NY, NX))
    before = [(line.flags, line.idx.kspace_encode_step_1, line.read_dir[:]) for line in readouts]
    scan_of(cartesian(ROWS[::-1], EVEN[::-1]), readouts)
    after = [(line.flags, line.idx.kspace_encode_step_1, line.read_dir[:]) for line in readouts]
    assert before == after


def test_without_pypulseq_one_line_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pypulseq.*'firenet_mri\[pulseq\]'$") as caught:
        read_sequence(tmp_path / "gre.seq")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_sequence_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("pypulseq")
    with pytest.raises(FileError, match="no such file"):
        read_sequence(tmp_path / "none.seq")
    (tmp_path / "text.seq").write_text("no sequence at all\n")
    with pytest.raises((FileError, DataError), match=r"text\.seq"):
        read_sequence(tmp_path / "text.seq")


def test_a_file_that_has_no_readouts_takes_no_sequence(tmp_path: Path) -> None:
    np.save(tmp_path / "kspace.npy", random(COILS, NY, NX))
    with pytest.raises(UsageError, match="omit pulseq_file"):
        read(tmp_path / "kspace.npy", pulseq_file=tmp_path / "gre.seq")


def test_points_and_labels_are_those_of_a_sequence_that_pypulseq_wrote(tmp_path: Path) -> None:
    pp = pytest.importorskip("pypulseq")
    path = tmp_path / "gre.seq"
    write_gradient_echo(pp, path)
    sequence = read_sequence(path)
    assert sequence.field_of_view_m == pytest.approx((0.2, 0.2, 0.01))
    assert sequence.sizes == [NX] * 4
    assert sequence.labels["SLC"].tolist() == [0, 0, 1, 1]
    cycles = np.stack(sequence.points) * 0.2
    np.testing.assert_allclose(np.diff(cycles[:, :, 0]), 1, atol=1e-3)
    np.testing.assert_allclose(cycles[:, 0, 1], [-1, 1, -1, 1], atol=1e-3)


def write_gradient_echo(pp: Any, path: Path) -> None:
    """Write two lines of two slices."""
    sequence = pp.Sequence()
    read_gradient = pp.make_trapezoid("x", flat_area=NX / 0.2, flat_time=NX * 1e-5)
    adc = pp.make_adc(NX, duration=read_gradient.flat_time, delay=read_gradient.rise_time)
    before = pp.make_trapezoid("x", area=-read_gradient.area / 2, duration=2e-3)
    for slice_ in range(2):
        for line in (-1, 1):
            pulse = pp.make_block_pulse(0.1, duration=1e-3, delay=1e-4, use="excitation")
            sequence.add_block(pulse, pp.make_label("SLC", "SET", slice_))
            sequence.add_block(before, pp.make_trapezoid("y", area=line / 0.2, duration=2e-3))
            sequence.add_block(read_gradient, adc)
    sequence.set_definition("FOV", [0.2, 0.2, 0.01])
    sequence.write(str(path))


def real(name: str) -> Path:
    path = DATA / "pulseq" / name
    if not path.is_file():
        pytest.skip(f"the real scan {path.name} is not here")
    return path


@pytest.mark.parametrize(("name", "size"), [("brain_16coil", 128), ("spin_echo_32coil", 64)])
def test_real_scans_without_their_sequence_are_read_by_their_readouts(name, size) -> None:
    scan = read(real(f"{name}.dat"), fft_sign=1)
    assert scan.spatial_shape == (size, size)
    assert torch.equal(scan.kspace[0], decoded(name))
    assert scan.geometry is None


@pytest.mark.parametrize("kind", ["basic", "ramp_sampling"])
def test_real_echo_trains_without_their_sequence_are_refused(kind: str) -> None:
    with pytest.raises(DataError, match="--pulseq SEQ"):
        read(real(f"{kind}_epi_96x96_pe+.dat"))


@pytest.mark.parametrize("kind", ["basic", "ramp_sampling"])
def test_real_echo_trains_have_no_more_ghost_than_a_script_with_a_nufft_leaves(kind: str) -> None:
    pytest.importorskip("pypulseq")
    name = f"{kind}_epi_96x96_pe"
    scan = read(
        real(f"{name}+.dat"),
        pulseq_file=real(f"{name}+.seq"),
        phase_correction_file=real(f"{name}0.dat"),
        fft_sign=1,
    )
    image = np.abs(centred_ifft(scan.kspace[0, 0].numpy(), (0, 1)))
    before, wanted = (script(name, is_corrected=corrected) for corrected in (False, True))
    inside = wanted > 0.12 * np.percentile(wanted, 99)
    levels = [ghost_level(one, inside) for one in (before, wanted, image)]
    assert levels[0] > 5 * levels[2]
    assert levels[2] < 1.1 * levels[1]
    assert np.corrcoef(image.ravel(), wanted.ravel())[0, 1] > 0.99


def script(name: str, *, is_corrected: bool) -> np.ndarray:
    """Return the image of a scan by pypulseq's points, a phase for both directions and a NUFFT."""
    import finufft
    import pypulseq
    import twixtools

    sequence = pypulseq.Sequence()
    with warnings.catch_warnings():
        # The files are of an older version, of which pypulseq warns.
        warnings.simplefilter("ignore")
        sequence.read(str(real(f"{name}+.seq")))
    cycles = (sequence.calculate_kspace()[0] * 0.22).astype(float)
    stored = [
        np.stack(
            [
                b.data[0]
                for b in twixtools.read_twix(str(real(f)), verbose=False)[-1]["mdb"]
                if b.is_image_scan()
            ]
        )
        for f in (f"{name}+.dat", f"{name}0.dat")
    ]
    kx, ky, _ = cycles.reshape(3, *stored[0].shape)
    weights = np.abs(np.gradient(kx, axis=1))
    x = np.arange(96) - 48
    hybrid = [
        np.stack(
            [
                finufft.nufft1d1(
                    2 * np.pi * k / 96, (line * w).astype(complex), 96, isign=1, eps=1e-9
                )
                for k, w, line in zip(kx, weights, lines, strict=True)
            ]
        )
        for lines in stored
    ]
    backward = kx[:, -1] < kx[:, 0]
    if is_corrected:
        pairs = hybrid[1][:-1] * hybrid[1][1:].conj()
        pairs[backward[:-1]] = pairs[backward[:-1]].conj()
        product = pairs.sum(0)
        slope = np.angle(np.sum(product[1:] * product[:-1].conj()))
        offset = np.angle(np.sum(product * np.exp(-1j * slope * x)))
        hybrid[0][backward] *= np.exp(1j * (offset + slope * x))
    rows = np.argsort(ky[:, 0])
    return np.abs(centred_ifft(hybrid[0][rows], (0,)))
