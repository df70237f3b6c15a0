"""Writes consecutive images as a film, GIF or MP4, with one grey window and no other data.

A film runs at the speed of acquisition if this speed is known and can be watched; otherwise a note
says how fast it runs. Pillow writes GIF, and the program ffmpeg writes MP4 (H.264), with the grey
values as its only input.
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

# Duration of a frame if the time between images is unknown, or longer than the second value.
_USUAL_MS, _LONGEST_MS = 100.0, 200.0
# Browsers show shorter GIF frames for 100 ms; GIF times are multiples of 10 ms.
_SHORTEST_MS, _GIF_MS = 20.0, 10
# Pixels along the longer edge to which a frame is enlarged, and their maximum.
_FEWEST_PIXELS, _MOST_PIXELS = 384, 1024
# A heartbeat is too short to watch, so an MP4 repeats it for this long.
_LEAST_MS = 4000.0
_QUALITY = "12"
_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Pace:
    """How fast a film runs.

    Parameters
    ----------
    frame_ms
        Duration of a frame in ms.
    note
        Explanation if the duration is not the time between the images: the reason, and the speed.
    """

    frame_ms: float
    note: str = ""


def check_film(path: Path) -> None:
    """Refuse a name that is not a film's, and MP4 without an encoder; call it before the work.

    Raises
    ------
    UsageError
        If the suffix is not that of a film, or neither ffmpeg nor imageio-ffmpeg is installed.
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
        The time between the images; None if unknown.
    frame_rate
        Requested number of frames per second; None derives it from the time between the images.

    Raises
    ------
    UsageError
        If the frame rate is not between 1 and 50 per second.
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
    """Return how fast the film, or the first of several films, runs; see :func:`pace_of`."""
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
        percentile over all frames is white.
    geometry
        Orients and stretches the images as in a picture, see :func:`displayed`.
    pace
        How fast the film runs.

    Raises
    ------
    ShapeError
        If there is only one frame.
    UsageError
        As for :func:`check_film`.
    FileError
        If the encoder fails.
    """
    check_film(path)
    if image.ndim != 4 or len(image) < 2:
        raise ShapeError(
            f"{path}: the image has shape {image.shape}; a film needs several consecutive images"
        )
    frames = list(_frames(image, geometry))
    if path.suffix == ".gif":
        _write_gif(path, frames, pace.frame_ms)
    else:
        _write_mp4(path, frames, pace.frame_ms)


def _frames(image: NDArray[np.generic], geometry: Geometry | None) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames as grey values with square pixels, all of the same size."""
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
    # Colours have half the resolution, so sizes must be even.
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
    """Return the path of ffmpeg: the system's, else that of the package imageio-ffmpeg."""
    found = shutil.which("ffmpeg")
    if found is not None:
        return found
    require("imageio_ffmpeg")
    import imageio_ffmpeg

    program: Any = imageio_ffmpeg.get_ffmpeg_exe()
    return str(program)
