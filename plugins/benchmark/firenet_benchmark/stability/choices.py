"""What can be chosen for the stability benchmark; without torch, so that help appears at once."""

from __future__ import annotations

from typing import Literal, get_args

#: Methods by their short names, see :func:`short_name`; "curve" is the default FIRENET at other
#: lam, "behind" is FIRENET started from the image of each trained network that is compared.
MethodChoice = Literal[
    "zero-filling",
    "u-net",
    "varnet",
    "modl",
    "automap-type",
    "u-net-jittered",
    "varnet-jittered",
    "modl-jittered",
    "automap-type-jittered",
    "modl-wide",
    "varnet-wide",
    "learned",
    "learned-stable",
    "accurate",
    "accurate-phase",
    "sharp",
    "stable",
    "paper",
    "curve",
    "behind",
]

#: The questions that methods are asked.
Question = Literal[
    "accuracy",
    "worst-case",
    "jacobian",
    "noise",
    "scale",
    "details",
    "false-structures",
    "shifts",
    "transfer",
    "hard-attacks",
]
QUESTIONS: tuple[Question, ...] = get_args(Question)

#: What a quick look of two minutes leaves out, unless it is requested by name.
LONG_QUESTIONS: tuple[Question, ...] = ("hard-attacks",)

#: What a network is called with.
#: "kspace": (1, coil, y, x, 2) and the mask (1, 1, 1 or y, x, 1), as MONAI's and fastMRI's VarNet;
#: "maps": the same two and the maps (1, coil, y, x, 2);
#: "magnitude": the zero-filled image (1, 1, y, x); "complex": its two parts, (1, 2, y, x).
Takes = Literal["kspace", "maps", "magnitude", "complex"]

#: Networks that others published, opened from their weights, see :mod:`.published`.
PublishedName = Literal["monai-varnet", "monai-unet", "fastmri-varnet", "modl"]
PUBLISHED: tuple[PublishedName, ...] = get_args(PublishedName)

#: The axis of (coil, y, x) along which lines are left out.
Axis = Literal["x", "y"]


def short_name(name: str) -> str:
    """Return a method's name as it is typed: "FIRENET accurate, phase" is "accurate-phase"."""
    return name.removeprefix("FIRENET ").lower().replace(", ", "-").replace(" ", "-")
