"""Sparsifiers by name, as the command line and the MONAI faces take them."""

from __future__ import annotations

import math
import re

from firenet_mri.errors import UsageError
from firenet_mri.operators.base import Shape
from firenet_mri.operators.dual_tree import DualTreeWavelet
from firenet_mri.operators.finite_difference import FiniteDifference
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.low_rank import PATCH, LocalLowRank
from firenet_mri.operators.space_time import (
    ACROSS_FACTORS,
    GroupedInPlane,
    InPlane,
    across_frames,
)
from firenet_mri.operators.stacked import StackedFrame
from firenet_mri.operators.stationary_cosine import StationaryCosine
from firenet_mri.operators.stationary_wavelet import StationaryWavelet
from firenet_mri.operators.undecimated_wavelet import UndecimatedWavelet
from firenet_mri.operators.wavelets import OrthogonalWavelet
from firenet_mri.plurals import counted

UNDECIMATED_HAAR = "undecimated-haar"

_REDUNDANT = (
    "undecimated-haar, undecimated-db2 (and other orthogonal wavelets), undecimated-dct4 (and "
    "other block sizes), dual-tree, tv, or a sum of these such as tv+undecimated-haar"
)

#: Prefix of the names of frames across images.
_ACROSS = "across-"
_LOW_RANK = "across-low-rank"
_GROUPS = "across-groups"
# Length of an axis that is long enough for every filter; nothing of this size is allocated.
_LARGE = 256
# Factor of the frame in the plane when it is joined to frames across images.
_IN_PLANE = 0.5


def make_sparsifier(
    name: str, spatial_shape: Shape, levels: int | None = None
) -> Frame | OrthogonalWavelet:
    """Return the sparsifier with this name for images of a size.

    Parameters
    ----------
    name
        Redundant: "undecimated-haar", "undecimated-db2", ..., "undecimated-dct" (blocks of 4
        pixels), "undecimated-dct6", ..., "dual-tree", "tv", or several joined by "+", all with the
        same factor. Otherwise an orthogonal wavelet of PyWavelets: "haar", "db4", "sym4", ... For
        related images, "across-tv", "across-haar" or "across-fourier" is joined by "+" to one of
        the redundant names, which then applies to each image and has half the factor, see
        :mod:`.space_time`; the same holds for "across-low-rank" (squares of 16 x 16 pixels),
        "across-low-rank8", ..., see :mod:`.low_rank`. "across-fourier" and "across-low-rank" also
        work alone. "across-groups" penalises the coefficients of the first frame over all images
        together.
    spatial_shape
        Sizes of the 2 or 3 spatial axes; with a frame across images (frame, y, x).
    levels
        Number of levels; None takes 1 undecimated or 4 decimated levels, fewer on small images.
        Cosines and total variation have none.

    Raises
    ------
    UsageError
        If the name is unknown, has no levels, or the size does not allow this number of levels.
    """
    names = name.split("+")
    if any(part.startswith(_ACROSS) for part in names):
        return _make_space_time(names, spatial_shape, levels)
    if levels is not None and all(_has_no_levels(part) for part in names):
        raise UsageError(f"{counted(levels, 'level')} requested; {name} has none, so omit them")
    frames = [_make_frame(part, spatial_shape, levels) for part in names]
    redundant = [frame for frame in frames if frame is not None]
    if len(redundant) < len(names):
        if len(names) > 1:
            raise UsageError(f"Sparsifier {name!r} is not a sum of frames; use {_REDUNDANT}")
        return _make_wavelet(name, spatial_shape, levels)
    if len(redundant) == 1:
        return redundant[0]
    scale = len(redundant) ** -0.5
    return StackedFrame([(scale, frame) for frame in redundant])


def check_sparsifier_name(name: str) -> None:
    """Refuse a name that no sparsifier has, before the size of the images is known.

    Raises
    ------
    UsageError
        If :func:`make_sparsifier` knows the name for no size.
    """
    is_across = any(part.startswith(_ACROSS) for part in name.split("+"))
    # The possible blocks depend on the image.
    known = re.sub(r"(undecimated-dct)\d+(?=\+|$)", r"\1", name)
    make_sparsifier(known, (_LARGE,) * (3 if is_across else 2))


def _make_space_time(names: list[str], shape: Shape, levels: int | None) -> Frame:
    """Return the sum of frames in the plane of each image and across images, (frame, y, x)."""
    across = [part for part in names if part.startswith(_ACROSS)]
    in_plane = [part for part in names if part not in across]
    if len(shape) != 3:
        raise UsageError(f"{'+'.join(across)} is for images reconstructed jointly; give joint")
    parts: list[tuple[float, Frame]] = []
    if in_plane:
        plane = make_sparsifier("+".join(in_plane), shape[1:], levels)
        if not isinstance(plane, Frame):
            raise UsageError(f"{'+'.join(in_plane)} is not a frame; use {_REDUNDANT}")
        over_images = GroupedInPlane if _GROUPS in across else InPlane
        parts.append((_IN_PLANE, over_images(shape[0], plane)))
    elif _GROUPS in across:
        raise UsageError(
            f"{_GROUPS} joins the coefficients of all images; add the frame whose coefficients it "
            f"joins, such as undecimated-dct3+{_GROUPS}"
        )
    parts += [_make_across(part, shape) for part in across if part != _GROUPS]
    if len(parts) == 1 and in_plane and parts[0][1].annihilates_constants:
        raise UsageError(
            f"{'+'.join(names)} does not penalise the brightness of each image; add a frame across "
            f"images, such as {'+'.join(names)}+across-tv"
        )
    if all(frame.annihilates_constants for _, frame in parts) and not in_plane:
        raise UsageError(
            f"{'+'.join(across)} does not penalise what is the same in all images; add a frame of "
            f"each image, such as undecimated-dct3+{across[0]}"
        )
    if len(parts) == 1:
        return parts[0][1]
    total = math.hypot(*(factor for factor, _ in parts))
    return StackedFrame([(factor / total, frame) for factor, frame in parts])


def _make_across(name: str, shape: Shape) -> tuple[float, Frame]:
    """Return a frame across images by its name, and its factor in a sum."""
    if low_rank := re.fullmatch(rf"{_LOW_RANK}(\d*)", name):
        return 1.0, LocalLowRank(shape, int(low_rank[1] or PATCH))
    if name not in ACROSS_FACTORS:
        known = ", ".join((*ACROSS_FACTORS, _LOW_RANK, _GROUPS))
        raise UsageError(f"Unknown sparsifier {name!r} across images; use {known}")
    return ACROSS_FACTORS[name], across_frames(name, shape)


def _make_frame(name: str, spatial_shape: Shape, levels: int | None) -> Frame | None:
    """Return the redundant sparsifier with this name; None if there is none."""
    allowed = int(math.log2(min(spatial_shape)))
    if name == "tv":
        return FiniteDifference(spatial_shape)
    if name == "dual-tree":
        depth = max(1, min(4, allowed - 1)) if levels is None else levels
        return DualTreeWavelet(depth, spatial_shape)
    if cosine := re.fullmatch(r"undecimated-dct(\d*)", name):
        return StationaryCosine(int(cosine[1] or 4), spatial_shape)
    depth = 1 if levels is None else levels
    if name == UNDECIMATED_HAAR:
        return StationaryWavelet(depth, spatial_shape)
    if name.startswith("undecimated-"):
        wavelet = name.removeprefix("undecimated-")
        return UndecimatedWavelet(wavelet, depth, spatial_shape)
    return None


def _has_no_levels(name: str) -> bool:
    return name == "tv" or name.startswith("undecimated-dct")


def _make_wavelet(name: str, spatial_shape: Shape, levels: int | None) -> OrthogonalWavelet:
    allowed = int(math.log2(min(spatial_shape)))
    depth = max(1, min(4, allowed - 1)) if levels is None else levels
    try:
        return OrthogonalWavelet(name, depth, spatial_shape)
    except UsageError as error:
        if "Unknown" in str(error):
            raise UsageError(
                f"Unknown sparsifier {name!r}; use {_REDUNDANT}; or an orthogonal wavelet such as "
                "haar, db4 or sym4"
            ) from None
        raise
