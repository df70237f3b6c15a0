"""GE P-files: the real one at hand, and made-up ones with what that one does not have."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from mrd_scans import centred_ifft
from outcomes import outcome_of
from real_scans import DATA, ge_gradient_echo

from firenet_mri import read
from firenet_mri.errors import DataError, FileError, FirenetError

REAL = DATA / "ge_pfile/P20480_GRE.7"
COILS, SLICES, FRAMES, SAMPLES = 2, 3, 8, 12
TABLE, IMAGE, DATA_AT = 4000, 5000, 8000


@pytest.fixture
def real() -> Path:
    if not REAL.is_file():
        pytest.skip("the real P-file is not here")
    return REAL


def kspace_with_its_centre_in_the_middle() -> np.ndarray:
    generator = np.random.default_rng(0)
    shape = (COILS, SLICES, FRAMES, SAMPLES)
    kspace = generator.integers(-50, 50, (*shape, 2)).astype(np.int32)
    kspace[:, :, FRAMES // 2, SAMPLES // 2] = 3000
    return kspace


def p_file(
    kspace: np.ndarray,
    *,
    revision: float = 26.002,
    order: tuple[int, ...] = (1, 3, 2),
    point_bytes: int = 2,
    collect_type: int = 0,
    passes: int = 1,
    echoes: int = 1,
    sequence: bytes = b"2dfast",
    extra_views: int = 1,
) -> bytes:
    """Return a P-file of (coil, slot, view, sample, 2) with a baseline before the views."""
    coils, slots, frames, samples, _ = kspace.shape
    head = bytearray(DATA_AT)
    struct.pack_into("<f", head, 0, revision)
    for at, value in ((4, DATA_AT), (16, TABLE), (40, IMAGE)):
        struct.pack_into("<i", head, at, value)
    head[110:120] = b"GE_MED_NMR"
    shorts = {
        132: collect_type,
        140: passes,
        144: slots if revision < 28 else -1,
        146: echoes,
        150: frames,
        158: point_bytes,
        178: samples,
        180: frames + extra_views,
        264: 0,
        266: coils - 1,
    }
    for at, value in shorts.items():
        struct.pack_into("<h", head, at, value)
    if revision >= 28:
        struct.pack_into("<i", head, 3200, slots)
    for i, slot in enumerate(order):
        y = 7.0 * i
        corners = (100.0, y, -80.0, 100.0, y, 80.0, -60.0, y, -80.0)
        struct.pack_into("<hh9f", head, TABLE + 72 * i, 0, slot, *corners)
    struct.pack_into("<f", head, IMAGE + 316, 4.0)
    struct.pack_into("<3f", head, IMAGE + 720, 100.0, 7.0, 85.0)
    struct.pack_into("<3f", head, IMAGE + 744, -60.0, 7.0, -75.0)
    head[IMAGE + 1632 : IMAGE + 1632 + len(sequence)] = sequence
    baseline = np.full((coils, slots, 1, samples, 2), 9)
    stored = np.concatenate([baseline, kspace], axis=2).astype(f"<i{point_bytes}")
    return bytes(head) + stored.tobytes()


@pytest.fixture
def write(tmp_path):
    def write_bytes(content: bytes) -> Path:
        path = tmp_path / "P00001.7"
        path.write_bytes(content)
        return path

    return write_bytes


def test_the_real_scan_is_what_an_independent_decoder_reads(real) -> None:
    scan = read(real)
    expected = ge_gradient_echo()
    # Slices in the order of their positions, every other one was measured first.
    expected = expected[[0, 4, 1, 5, 2, 6, 3]]
    # Which of the views are negated turns the sign of all.
    assert torch.equal(scan.kspace, expected) or torch.equal(scan.kspace, -expected)
    assert bool(scan.mask.all())


def test_the_real_images_are_whole_spheres_in_the_middle(real) -> None:
    image = np.abs(centred_ifft(read(real).kspace.numpy(), (-2, -1)))
    energy = np.square(image).sum(axis=(0, 1))
    assert energy[40:88].sum() > 0.5 * energy.sum()
    # Without undoing the alternating sign the energy lies at the edges.
    assert energy[[*range(10), *range(118, 128)]].sum() < 0.01 * energy.sum()
    # The sphere is largest in the middle slices.
    areas = (image.max(axis=1) > 0.2 * image.max()).sum(axis=(1, 2))
    assert areas.argmax() in (2, 3, 4)
    assert (np.diff(areas[:3]) > 0).all()


def test_the_real_scan_has_sizes_but_claims_no_place(real) -> None:
    geometry = read(real).geometry
    assert geometry.field_of_view_mm == (3.0, 256.0, 256.0)
    assert not geometry.is_placed
    steps = np.diff(np.array(geometry.positions_mm), axis=0)
    np.testing.assert_allclose(steps, np.tile([[0, -18, 0]], (6, 1)), atol=1e-4)
    # The image's header, which knows the table: L, P, S of the centre of the first slice.
    np.testing.assert_allclose(geometry.positions_mm[0], [-3.41812, 23.88830, 13.39310], atol=1e-4)


@pytest.mark.parametrize("revision", [26.002, 28.002, 30.0])
@pytest.mark.parametrize("point_bytes", [2, 4])
def test_slices_views_and_numbers_find_their_place(revision, point_bytes, write) -> None:
    stored = kspace_with_its_centre_in_the_middle()
    scan = read(write(p_file(stored, revision=revision, point_bytes=point_bytes)))
    values = stored[..., 0] + 1j * stored[..., 1]
    expected = values[:, [0, 2, 1]].swapaxes(0, 1) * (-1.0) ** np.arange(FRAMES)[:, None]
    np.testing.assert_array_equal(scan.kspace, expected)
    assert scan.geometry.field_of_view_mm == (4.0, 160.0, 160.0)
    np.testing.assert_allclose(scan.geometry.positions_mm[1], [-20, -7, 5], atol=1e-4)


def test_what_was_not_chopped_stays(write) -> None:
    stored = kspace_with_its_centre_in_the_middle()
    scan = read(write(p_file(stored, collect_type=1)))
    np.testing.assert_array_equal(scan.kspace[0, 0].real, stored[0, 0, ..., 0])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"revision": 24.0}, FileError, "revision 24.000; only 26 to 31 can be read"),
        ({"revision": 32.5}, FileError, "revision 32.500"),
        ({"passes": 2}, DataError, "2 passes"),
        ({"echoes": 3}, DataError, "3 echoes"),
        ({"extra_views": 0}, DataError, "8 stored for 8 views"),
        ({"sequence": b"epi2"}, DataError, "sequence 'epi2'"),
        ({"order": (1, 1, 2)}, FileError, "table of 3 slices is damaged"),
        ({"point_bytes": 8}, FileError, "header is damaged"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(options, error, words, write) -> None:
    with pytest.raises(error, match=words):
        read(write(p_file(kspace_with_its_centre_in_the_middle(), **options)))


def test_partial_fourier_is_refused(write) -> None:
    stored = kspace_with_its_centre_in_the_middle()
    stored[:, :, 0] = 3000
    with pytest.raises(DataError, match="number 0 and not the middle one"):
        read(write(p_file(stored)))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_truncated_file_says_how_much_was_found(share, real, write) -> None:
    content = real.read_bytes()
    words = r"ends in its header|truncated: \d+ of 1849344 numbers|table of 7 slices"
    with pytest.raises(FileError, match=words):
        read(write(content[: int(share * len(content))]))


def test_flipped_bytes_give_a_named_error_or_an_image(write) -> None:
    content = p_file(kspace_with_its_centre_in_the_middle())
    for seed in range(200):
        generator = np.random.default_rng(seed)
        damaged = bytearray(content)
        for at in generator.integers(0, 280 if seed % 2 else DATA_AT, 8):
            damaged[at] = generator.integers(256)
        outcome = outcome_of(write(bytes(damaged)))
        if isinstance(outcome, FirenetError):
            assert "P00001.7" in str(outcome), seed
        else:
            assert outcome.kspace.numel() < 1 << 24, seed
