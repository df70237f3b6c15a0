"""Writes images that follow one another as a film, GIF or MP4: one grey window, no other data.

A film runs as fast as the images were taken where that is known and can be watched; otherwise it
says how fast it runs instead. GIF is written by Pillow, MP4 (H.264) by the program ffmpeg, whose
input are the grey values alone.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import FileError, ShapeError, UsageError, shortened
from firenet_mri.extras import require
from firenet_mri.geometry import Geometry
from firenet_mri.io.image.display import Display, displayed
from firenet_mri.io.image.labels import ImageLabel, films_of, time_axis, time_between
from firenet_mri.io.image.png import grey_levels

FILM_SUFFIXES = (".gif", ".mp4")

# Frames a second where the time between images is not known, or too long to wait for.
_USUAL_MS, _LONGEST_MS = 100.0, 200.0
# Browsers show shorter frames of a GIF for 100 ms; its times are multiples of 10 ms.
_SHORTEST_MS, _GIF_MS = 20.0, 10
# A frame is enlarged to, and at most of, so many pixels along its longer edge.
_FEWEST_PIXELS, _MOST_PIXELS = 384, 1024
# A heartbeat is over before anybody has seen it: an MP4 repeats it for so long.
_LEAST_MS = 4000.0
_QUALITY = "12"
_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Pace:
    """How fast a film runs.

    Parameters
    ----------
    frame_ms
        How long a frame is shown.
    note
        Where that is not the time between the images: why, and what it is instead.
    """

    frame_ms: float
    note: str = ""


def check_film(path: Path) -> None:
    """Refuse a name that is none of a film's, and MP4 without an encoder; call it before the work.

    Raises
    ------
    UsageError
        If the suffix is another, or neither ffmpeg nor imageio-ffmpeg is installed.
    """
    if path.suffix not in FILM_SUFFIXES:
        raise UsageError(f"{path}: films are written as .gif or .mp4; end the name in one of these")
    if path.suffix == ".mp4":
        _encoder()


def pace_of(between_ms: float | None, frame_rate: float | None = None) -> Pace:
    """Return how fast a film runs.

    Parameters
    ----------
    between_ms
        The time between the images; None if it is not known.
    frame_rate
        Frames a second, if somebody wants so many.

    Raises
    ------
    UsageError
        If the frame rate is not one from 1 to 50 a second.
    """
    if frame_rate is not None:
        if not 1 <= frame_rate <= 1000 / _SHORTEST_MS:
            raise UsageError(f"frame rate {frame_rate:g}: give 1 to 50 frames per second")
        return Pace(1000 / frame_rate)
    usual = f"{1000 / _USUAL_MS:g} are shown per second"
    if between_ms is None:
        return Pace(_USUAL_MS, f"The time between the images is not known; {usual}.")
    if between_ms > _LONGEST_MS:
        apart, speed = f"{between_ms / 1000:.3g} s", f"{between_ms / _USUAL_MS:.3g} times as fast"
        return Pace(_USUAL_MS, f"The images are {apart} apart; {usual}, which is {speed}.")
    if between_ms < _SHORTEST_MS:
        told = f"The images are {between_ms:.3g} ms apart; 50 are shown per second."
        return Pace(_SHORTEST_MS, told)
    return Pace(between_ms)


def pace_of_images(labels: Sequence[ImageLabel], frame_rate: float | None = None) -> Pace:
    """Return how fast a film of images runs, of several films the first; see :func:`pace_of`."""
    first = films_of(labels)[0]
    return pace_of(time_between([labels[index] for index in first]), frame_rate)


def order_of(labels: Sequence[ImageLabel]) -> list[int]:
    """Return the order in which images are shown: film by film, in the order of time."""
    if time_axis(labels) is None:
        return list(range(len(labels)))
    return [index for film in films_of(labels) for index in film]


def write_film(
    path: Path, image: NDArray[np.generic], geometry: Geometry | None, pace: Pace
) -> None:
    """Write images as a film.

    Parameters
    ----------
    path
        .gif or .mp4. An MP4 of a short film repeats it for four seconds.
    image
        (frame, z, y, x) real or complex; a frame shows the magnitude of all its slices. The 99.8th
        percentile of all frames together is white.
    geometry
        Turns and stretches the images as in the picture, see :func:`displayed`.
    pace
        How fast it runs.

    Raises
    ------
    ShapeError
        If there is one frame alone.
    UsageError
        As :func:`check_film`.
    FileError
        If the encoder fails.
    """
    check_film(path)
    if image.ndim != 4 or len(image) < 2:
        raise ShapeError(
            f"{path}: the image has shape {image.shape}; a film needs several images that follow "
            "one another"
        )
    frames = list(_frames(image, geometry))
    if path.suffix == ".gif":
        _write_gif(path, frames, pace.frame_ms)
    else:
        _write_mp4(path, frames, pace.frame_ms)


def _frames(image: NDArray[np.generic], geometry: Geometry | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames as grey values with square pixels, all of one size."""
    white = displayed(image, geometry).white()
    for one in image:
        yield _shown(displayed(one, geometry), white)


def _shown(display: Display, white: float) -> NDArray[np.uint8]:
    from PIL import Image

    rows, columns = display.grid()
    whole = max(rows * display.shape[0], columns * display.shape[1])
    if whole > _MOST_PIXELS:
        display = display.shrunk(math.ceil(whole / _MOST_PIXELS))
    levels = grey_levels(display.montage(), white)
    height, width = levels.shape
    picture = Image.fromarray(levels)
    aspect = display.pixel_aspect
    if not math.isclose(aspect, 1, rel_tol=1e-3):
        size = (width, round(height * aspect)) if aspect > 1 else (round(width / aspect), height)
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    factor = _FEWEST_PIXELS // max(picture.size)
    if factor > 1:
        size = (picture.width * factor, picture.height * factor)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    return np.asarray(picture)


def _write_gif(path: Path, frames: Sequence[NDArray[np.uint8]], frame_ms: float) -> None:
    from PIL import Image

    ends = [_GIF_MS * round((index + 1) * frame_ms / _GIF_MS) for index in range(len(frames))]
    durations = np.diff(ends, prepend=0).tolist()
    first, *others = map(Image.fromarray, frames)
    first.save(path, format="GIF", save_all=True, append_images=others, duration=durations, loop=0)


def _write_mp4(path: Path, frames: Sequence[NDArray[np.uint8]], frame_ms: float) -> None:
    # Colours have half the resolution, so that sizes are even.
    even = [np.pad(frame, [(0, size % 2) for size in frame.shape]) for frame in frames]
    height, width = even[0].shape
    repeats = max(1, math.ceil(_LEAST_MS / (frame_ms * len(frames))))
    command = [
        *(_encoder(), "-v", "error", "-nostdin", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}"),
        *("-r", f"1000000/{round(1000 * frame_ms)}", "-i", "-"),
        *("-c:v", "libx264", "-crf", _QUALITY, "-pix_fmt", "yuv420p", "-movflags", "+faststart"),
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
        *("-f", "mp4", str(path.absolute())),
    ]
    pixels = b"".join(frame.tobytes() for frame in even) * repeats
    done = subprocess.run(command, input=pixels, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").split("\n")
        raise FileError(
            f"{path.suffix} films: ffmpeg failed ({shortened(lines[0], _LONGEST_MESSAGE)}); write "
            "a .gif"
        )


def _encoder() -> str:
    """Return the program ffmpeg: the system's, else that of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    require("imageio_ffmpeg")
    import imageio_ffmpeg

    program: Any = imageio_ffmpeg.get_ffmpeg_exe()
    return str(program)
