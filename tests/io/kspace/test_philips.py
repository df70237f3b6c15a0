"""Philips exports, made up in their form, are put where their index says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from mrd_scans import centred_fft, centred_ifft

from firenet_mri import read
from firenet_mri.errors import DataError, FileError, ShapeError

COILS, NY, NX = 2, 9, 16
NAMES = [
    *("mix", "dyn", "card", "echo", "loca", "chan", "extr1", "extr2", "ky", "kz", "n.a."),
    *("aver", "sign", "rf", "grad", "enc", "rtop", "rr"),
]
Readout = tuple[str, dict[str, int], np.ndarray]


def write_export(folder: Path, readouts: Iterable[Readout], general: Iterable[str] = ()) -> Path:
    """Write readouts (type, columns that are not 0, samples) and lines of information."""
    lines = ["# === DATA DESCRIPTION FILE ===", "#", "# Scan name : Made-up"]
    lines += [f".    {line}" for line in general]
    data = b""
    for kind, columns, samples in readouts:
        raw = samples.astype("<c8").tobytes()
        values = dict.fromkeys(NAMES, 0)
        values |= {"sign": 1, **columns, "size": len(raw), "offset": len(data)}
        lines.append(f"  {kind} " + " ".join(f"{value:5d}" for value in values.values()))
        data += raw
    path = folder / "raw_001.list"
    path.write_text("\n".join(lines) + "\n", encoding="latin1")
    path.with_suffix(".data").write_bytes(data)
    return path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    return partial(write_export, tmp_path)


GENERAL = (
    "0    0    0  kx_range : -8 7",
    "0    0    0  ky_range : -4 4",
    "0    0    0  X_range : -8 7",
    "0    *    *  number_of_coil_channels : 2",
)


def lines_of(kspace: np.ndarray, **columns: int) -> list[Readout]:
    """Return one readout for each coil and row of (coil, y, x)."""
    return [
        ("STD", {"chan": coil, "ky": row - kspace.shape[1] // 2, **columns}, kspace[coil, row])
        for row in range(kspace.shape[1])
        for coil in range(len(kspace))
    ]


@pytest.fixture
def kspace(noisy: Callable[..., np.ndarray]) -> np.ndarray:
    return noisy(COILS, NY, NX).astype(np.complex64)


@pytest.mark.parametrize("named_by", [".list", ".data", ""])
def test_a_point_stays_in_its_voxel(named_by, write) -> None:
    image = np.zeros((COILS, NY, NX), complex)
    image[:, 2, 11] = 1, 1j
    path = write(lines_of(centred_fft(image, (1, 2))), GENERAL)
    scan = read(path.with_suffix(named_by))
    np.testing.assert_allclose(centred_ifft(scan.kspace[0].numpy(), (1, 2)), image, atol=1e-6)
    assert scan.geometry is None
    assert scan.mask.all()


def test_what_is_no_image_data_is_left_out_and_noise_kept(write, kspace, noisy) -> None:
    noise = noisy(COILS, 50).astype(np.complex64)
    others = [(kind, {}, noisy(NX)) for kind in ("REJ", "PHX", "FRX", "NAV", "DNA")]
    of_noise = [("NOI", {"chan": coil}, noise[coil]) for coil in range(COILS)]
    scan = read(write([*of_noise, *others, *lines_of(kspace)], GENERAL))
    np.testing.assert_array_equal(scan.kspace[0], kspace)
    np.testing.assert_array_equal(scan.noise, noise)


def test_noise_is_that_of_an_averaged_sample(write, kspace, noisy) -> None:
    noise = noisy(COILS, 50).astype(np.complex64)
    of_noise = [("NOI", {"chan": coil}, noise[coil]) for coil in range(COILS)]
    twice = lines_of(kspace) + lines_of(kspace, aver=1)
    scan = read(write([*of_noise, *twice], GENERAL))
    np.testing.assert_allclose(scan.noise, noise / np.sqrt(2), rtol=1e-5)


def test_averages_are_averaged_and_left_out_lines_not_sampled(write, kspace) -> None:
    readouts = lines_of(kspace)[: -2 * COILS] + lines_of(3 * kspace[:, :5], aver=1)
    readouts = [
        (kind, {**columns, "ky": columns["ky"] - 2 * columns.get("aver", 0)}, samples)
        for kind, columns, samples in readouts
    ]
    scan = read(write(readouts, GENERAL))
    expected = kspace.copy()
    expected[:, :5] *= 2
    expected[:, -2:] = 0
    np.testing.assert_allclose(scan.kspace[0], expected, rtol=1e-6)
    assert scan.mask[0, 0].any(-1).tolist() == [True] * 7 + [False] * 2


@pytest.mark.parametrize("counter", ["mix", "dyn", "card", "echo", "extr1", "extr2"])
def test_several_images_stay_apart(counter, write, kspace) -> None:
    readouts = lines_of(kspace) + lines_of(2 * kspace, **{counter: 1})
    general = [line.replace("0    0    0", "*    *    *") for line in GENERAL]
    scan = read(write(readouts, general))
    assert len(scan.images) == 2
    np.testing.assert_array_equal(scan.kspace[0, 0], kspace)
    np.testing.assert_array_equal(scan.kspace[1, 0], 2 * kspace)


def test_locations_are_slices_and_partitions_a_volume(write, kspace, noisy) -> None:
    slices = lines_of(kspace) + lines_of(2 * kspace, loca=1)
    scan = read(write(slices, GENERAL))
    assert scan.kspace.shape == (2, COILS, NY, NX)
    np.testing.assert_array_equal(scan.kspace[1], 2 * kspace)
    volume = noisy(4, COILS, NY, NX).astype(np.complex64)
    readouts = [line for z in range(4) for line in lines_of(volume[z], kz=z - 2)]
    scan = read(write(readouts, GENERAL))
    assert scan.spatial_ndim == 3
    np.testing.assert_array_equal(scan.kspace, volume.swapaxes(0, 1))


@pytest.mark.parametrize(
    ("kx", "x"),
    [((-8, 7), (8, -7)), ((7, -8), (-8, 7)), ((7, -8), (8, -7))],
    ids=["image", "kspace", "both"],
)
def test_a_second_echo_that_runs_backwards_shows_the_same_image(kx, x, write, noisy) -> None:
    image = noisy(COILS, NY, NX)
    first = centred_fft(image, (1, 2))
    # Pixel n of an image that runs backwards is pixel -n.
    mirrored = np.roll(image[..., ::-1], 1, axis=-1)
    second = first[..., ::-1] if kx[0] > kx[1] else centred_fft(mirrored, (1, 2))
    general = [
        *GENERAL,
        f"0    1    0  kx_range : {kx[0]} {kx[1]}",
        f"0    1    0  X_range : {x[0]} {x[1]}",
    ]
    scan = read(write(lines_of(first) + lines_of(second, echo=1, sign=-1), general))
    assert scan.images == ("echo 0", "echo 1")
    for k in scan.kspace[:, 0].numpy():
        np.testing.assert_allclose(centred_ifft(k, (1, 2)), image, atol=1e-5)


def test_a_partial_echo_keeps_its_place(write, kspace) -> None:
    general = [line.replace("kx_range : -8 7", "kx_range : -2 7") for line in GENERAL]
    scan = read(write(lines_of(kspace[..., 6:]), general))
    # As few columns as hold the range: -7 to 7.
    assert scan.spatial_shape == (NY, 15)
    np.testing.assert_array_equal(scan.kspace[0, ..., 5:], kspace[..., 6:])
    assert scan.mask[0, 0, 0].tolist() == [False] * 5 + [True] * 10


def test_oversampling_of_whole_readouts_is_removed(write, noisy) -> None:
    image = noisy(COILS, NY, NX)
    path = write(
        lines_of(centred_fft(image, (1, 2))), [*GENERAL, "0    0    0  kx_oversample_factor : 2.0"]
    )
    scan = read(path)
    shown = centred_ifft(scan.kspace[0].numpy(), (1, 2))
    np.testing.assert_allclose(shown, image[..., 4:12], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda lines: [*lines[:1], ("STD", {"sign": -1, "ky": 1}, np.ones(NX))], DataError, "EPI"),
        (lambda lines: [("NOI", {}, np.ones(4))], DataError, "only NOI"),
        (lambda lines: [*lines[:-1], ("STD", {"chan": 1}, np.ones(5))], ShapeError, "samples"),
        (lambda lines: lines[:-1], ShapeError, "different numbers of samples"),
        (lambda lines: [("STD", {"ky": 10**6}, np.ones(NX))], DataError, "damaged"),
        (
            lambda lines: [*lines, ("STD", {"loca": 1, "kz": 1}, np.ones(NX))],
            DataError,
            "slabs",
        ),
    ],
)
def test_what_would_be_a_wrong_image_is_refused(change, kind, words, write, kspace) -> None:
    with pytest.raises(kind, match=words):
        read(write(change(lines_of(kspace)), GENERAL))


def test_sense_is_refused_by_name(write, kspace) -> None:
    general = [*GENERAL, "0    0    0  Y-direction SENSE factor : 2.0"]
    with pytest.raises(DataError, match="y-direction sense factor 2"):
        read(write(lines_of(kspace), general))


def test_damaged_files_are_named(write, kspace) -> None:
    path = write(lines_of(kspace), GENERAL)
    data = path.with_suffix(".data")
    whole = data.read_bytes()
    data.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileError, match="9 of 18 readouts"):
        read(path)
    data.unlink()
    with pytest.raises(FileError, match=r"raw_001\.data are missing"):
        read(path)
    text = path.read_text()
    path.write_text(text.replace("STD     0 ", "STD     x ", 1))
    data.write_bytes(whole)
    with pytest.raises(FileError, match="line 8 of the index is damaged"):
        read(path)
    path.unlink()
    with pytest.raises(FileError, match=r"without their index; put raw_001\.list next to it"):
        read(data)


def test_an_index_is_known_behind_long_comments(write, kspace) -> None:
    path = write(lines_of(kspace), GENERAL)
    text = path.read_text().replace(
        "# === DATA DESCRIPTION FILE ===", ("# " + "x" * 98 + "\n") * 99
    )
    path.write_bytes(text.replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(read(path).kspace[0], kspace)
    path.write_text("# === DATA DESCRIPTION FILE ===\n")
    with pytest.raises(FileError, match="names no readouts"):
        read(path)
    path.write_text(f"STD {'0 ' * 19} {2**70}\n")
    with pytest.raises(FileError, match="line 1 of the index is damaged"):
        read(path)


def test_lines_that_are_counted_from_the_edge_are_said(write, kspace, caplog) -> None:
    lines = [(kind, {**c, "ky": c["ky"] + 4}, x) for kind, c, x in lines_of(kspace)]
    read(write(lines))
    assert "ky runs from 0 to 8" in caplog.text


def test_nothing_of_the_comments_is_told(write, kspace) -> None:
    path = write(lines_of(kspace), GENERAL)
    assert "Made-up" in path.read_text()
    assert "Made-up" not in repr(read(path))


def test_readouts_of_the_same_counters_or_samples_are_refused(write, kspace) -> None:
    readouts = lines_of(kspace)
    path = write([*readouts, readouts[3]], GENERAL)
    with pytest.raises(DataError, match="1 readout repeats the counters"):
        read(path)
    path = write(readouts, GENERAL)
    lines = path.read_text("latin1").splitlines()
    lines[-1] = lines[-1][:-5] + lines[-2][-5:]
    path.write_text("\n".join(lines), encoding="latin1")
    with pytest.raises(FileError, match="1 readout of the index shares samples"):
        read(path)


def test_samples_that_no_line_names_are_said(write, kspace, caplog) -> None:
    path = write(lines_of(kspace), GENERAL)
    lines = path.read_text("latin1").splitlines()
    # Both coils of the last row.
    path.write_text("\n".join(lines[:-2]), encoding="latin1")
    with caplog.at_level("WARNING"):
        read(path)
    assert f"names no readout for {2 * 8 * NX} of its" in caplog.text
