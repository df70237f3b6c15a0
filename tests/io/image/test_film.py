"""A film shows every frame in its turn, for as long as is said, in one grey window."""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from firenet_mri.errors import FileError, ShapeError, UsageError
from firenet_mri.geometry import AcquisitionParameters, Geometry, Moment
from firenet_mri.io.image.film import (
    Pace,
    check_film,
    order_of,
    pace_of,
    pace_of_images,
    write_film,
)
from firenet_mri.io.image.labels import labels_of

RNG = np.random.default_rng(0)
needs_encoder = pytest.mark.skipif(
    shutil.which("ffmpeg") is None and find_spec("imageio_ffmpeg") is None,
    reason="neither ffmpeg nor imageio-ffmpeg is installed",
)


def frames_of(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Return the pixels of a GIF's frames, and how long each is shown in ms."""
    with Image.open(path) as film:
        pixels, times = [], []
        for index in range(film.n_frames):
            film.seek(index)
            pixels.append(np.asarray(film.convert("L")))
            times.append(film.info["duration"])
        assert film.info["loop"] == 0
        assert "comment" not in film.info
    return pixels, times


def test_a_gif_keeps_the_length_of_the_beat_and_one_window(tmp_path) -> None:
    # Of 400 columns no pixel is enlarged.
    image = RNG.random((6, 1, 20, 400)) * np.linspace(0.2, 1, 6)[:, None, None, None]
    write_film(tmp_path / "a.gif", image, None, Pace(1000 / 30))
    pixels, times = frames_of(tmp_path / "a.gif")
    # In steps of 10 ms no frame can have 33.3 ms; together they have 200.
    assert set(times) == {30, 40}
    assert sum(times) == 200
    white = np.percentile(image, 99.8)
    expected = np.round(255 * np.minimum(image[:, 0] / white, 1))
    np.testing.assert_allclose(np.stack(pixels), expected, atol=1)


def test_frames_that_look_alike_keep_their_time(tmp_path) -> None:
    image = np.stack([np.eye(384), np.eye(384), 0.5 * np.eye(384)])[:, None]
    write_film(tmp_path / "a.gif", image, None, Pace(50))
    assert sum(frames_of(tmp_path / "a.gif")[1]) == 150


def test_a_frame_is_turned_stretched_and_enlarged_as_the_picture(tmp_path) -> None:
    # Pixels of 1 mm x 3 mm (y, x); x goes to the patient's right, which is shown at the left.
    place = Geometry((5.0, 20.0, 30.0), ((0.0, 0.0, 0.0),), (-1.0, 0.0, 0.0))
    image = np.zeros((2, 1, 20, 10))
    image[:, 0, 4, 9] = 1
    write_film(tmp_path / "a.gif", image, place, Pace(100))
    shown = frames_of(tmp_path / "a.gif")[0][0]
    # 20 mm x 30 mm, 12 pixels each.
    assert shown.shape == (240, 360)
    rows, columns = np.nonzero(shown > 200)
    assert (rows.min() // 12, rows.max() // 12) == (4, 4)
    assert columns.max() < 36


def test_a_frame_of_several_slices_shows_all_of_them(tmp_path) -> None:
    image = np.zeros((2, 4, 6, 6))
    for slice_ in range(4):
        image[:, slice_] = slice_ + 1
    write_film(tmp_path / "a.gif", image, None, Pace(100))
    shown = frames_of(tmp_path / "a.gif")[0][0]
    assert shown.shape == (384, 384)
    assert sorted(set(shown.ravel())) == [64, 128, 191, 255]


@pytest.mark.parametrize(
    ("between", "shown", "note"),
    [
        (33.5, 33.5, ""),
        (None, 100.0, "is not known; 10 are shown per second."),
        (2000.0, 100.0, "2 s apart; 10 are shown per second, which is 20 times as fast."),
        (5.0, 20.0, "5 ms apart; 50 are shown per second."),
    ],
)
def test_a_film_that_does_not_run_in_time_says_so(between, shown, note) -> None:
    found = pace_of(between)
    assert found.frame_ms == shown
    assert found.note.endswith(note)
    assert bool(found.note) == bool(note)
    assert pace_of(between, 12.5) == Pace(80.0)


@pytest.mark.parametrize("rate", [0.0, -1.0, 51.0, float("nan")])
def test_a_rate_that_no_film_has_is_refused(rate) -> None:
    with pytest.raises(UsageError, match="give 1 to 50"):
        pace_of(40.0, rate)


def test_films_are_shown_one_after_the_other_in_the_order_of_time() -> None:
    names = [f"repetition {r}, contrast {c}" for r in range(2) for c in range(2)]
    moments = tuple(Moment(name, 150.0 * int(name[11])) for name in names)
    labels = labels_of(names, AcquisitionParameters(moments=moments))
    assert order_of(labels) == [0, 2, 1, 3]
    assert pace_of_images(labels) == Pace(150.0)
    assert order_of(labels_of(["contrast 1", "contrast 0"])) == [0, 1]


def test_what_is_no_film_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match=r"written as .gif or .mp4"):
        check_film(tmp_path / "a.avi")
    for shape in ((1, 1, 8, 8), (3, 8, 8)):
        with pytest.raises(ShapeError, match="several consecutive images"):
            write_film(tmp_path / "a.gif", RNG.random(shape), None, Pace(100))


def encoder(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Put a program of ours in the place of ffmpeg."""
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_the_encoder_gets_grey_values_and_repeats_a_heartbeat(tmp_path, monkeypatch) -> None:
    encoder(tmp_path, monkeypatch, f'echo "$@" > {tmp_path}/said; cat > {tmp_path}/pixels')
    image = RNG.random((5, 1, 385, 401))
    write_film(tmp_path / "a.mp4", image, None, Pace(40))
    # Sizes are even, and 5 frames of 40 ms are repeated for 4 s.
    found = np.fromfile(tmp_path / "pixels", np.uint8).reshape(-1, 386, 402)
    assert len(found) == 100
    np.testing.assert_array_equal(found[:5], found[95:])
    assert np.ptp(found[0], axis=0)[:401].min() > 0
    assert not found[:, 385:].any()
    said = (tmp_path / "said").read_text()
    assert "-s 402x386" in said
    assert "-r 1000000/40000" in said
    assert "-map_metadata -1" in said


def test_an_encoder_that_fails_is_one_line(tmp_path, monkeypatch) -> None:
    encoder(tmp_path, monkeypatch, "cat > /dev/null; echo no such codec >&2; exit 1")
    with pytest.raises(FileError, match=r"ffmpeg failed \(no such codec\); write a .gif"):
        write_film(tmp_path / "a.mp4", RNG.random((2, 1, 8, 8)), None, Pace(40))


@needs_encoder
def test_an_mp4_shows_the_frames_of_the_gif(tmp_path) -> None:
    from firenet_mri.io.image.film import _encoder

    smooth = np.sin(np.linspace(0, 6, 384))[:, None] * np.sin(np.linspace(0, 4, 384)) + 1
    image = np.stack([smooth, 0.5 * smooth, smooth[::-1]])[:, None]
    for name in ("a.gif", "a.mp4"):
        write_film(tmp_path / name, image, None, Pace(100))
    command = [_encoder(), "-v", "error", "-i", str(tmp_path / "a.mp4")]
    command += ["-f", "rawvideo", "-pix_fmt", "gray", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    found = np.frombuffer(raw, np.uint8).reshape(-1, 384, 384)
    assert len(found) == 42
    expected = np.stack(frames_of(tmp_path / "a.gif")[0]).astype(int)
    assert np.abs(found[3:6] - expected).mean() < 2
