"""Paths of a batch's images: a BIDS study that the BIDS validator accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from firenet_mri.errors import UsageError

#: BIDS suffixes for images of one contrast, which need no further labels in their names.
Suffix = Literal["T1w", "T2w", "PDw", "T2starw", "FLAIR", "inplaneT1", "inplaneT2", "PDT2", "angio"]

# The suffix of images of unknown contrast, since BIDS has none for them.
_UNKNOWN = "MRI"
_IGNORED = (
    "# Files beside the images of firenet batch, and images whose contrast was not given.\n"
    f"*.png\n*.html\n*.evidence.h5\n*.done.json\n*_{_UNKNOWN}.*\n/summary.csv\n"
)
_SUBJECT = re.compile(r"(?:^|[/\\_])sub-([0-9A-Za-z]+)")
_SESSION = re.compile(r"(?:^|[/\\_])ses-([0-9A-Za-z]+)")


def image_paths(scans: Iterable[Path], suffix: Suffix | None = None) -> list[Path]:
    """Return the path of each scan's image, relative to the output folder.

    If a path names subject and session (``sub-01/ses-2/scan.h5``), the image keeps these labels,
    and the rest of the path becomes ``acq``. Otherwise all letters and digits of the path form the
    subject's label. No two names differ only in case: the first of several equal names is kept, and
    the others get numbers that occur in no path.

    Parameters
    ----------
    scans
        Paths of the scans, relative to the folder in which they lie.
    suffix
        Suffix of the images; None calls them ``MRI``.

    Raises
    ------
    UsageError
        If the suffix is not one of these.
    """
    if suffix is not None and suffix not in get_args(Suffix):
        raise UsageError(f"Unknown suffix {suffix!r}; use one of {', '.join(get_args(Suffix))}")
    parsed = [_parsed(scan) for scan in scans]
    reserved = {_named(*labels)[1].lower() for labels in parsed}
    found: list[Path] = []
    taken: set[str] = set()
    for labels in parsed:
        number, (folder, name) = 1, _named(*labels)
        while name.lower() in taken or (number > 1 and name.lower() in reserved):
            number += 1
            folder, name = _named(*labels, again=f"x{number}")
        taken.add(name.lower())
        found.append(folder / "anat" / f"{name}_rec-firenet_{suffix or _UNKNOWN}.nii.gz")
    return found


def _named(subject: str, session: str, rest: str | None, again: str = "") -> tuple[Path, str]:
    """Return folder and name of an image, with a number at the end of its last label."""
    label = subject if rest is not None else subject + again
    acquisition = "" if rest is None else rest + again
    words = [f"sub-{label}", f"ses-{session}" if session else ""]
    acq = f"acq-{acquisition}" if acquisition else ""
    return Path(*filter(None, words)), "_".join(filter(None, [*words, acq]))


def _parsed(scan: Path) -> tuple[str, str, str | None]:
    """Return subject, session and remainder of a path; None if it names no subject."""
    text = str(scan.with_suffix(""))
    subject, session = _SUBJECT.search(text), _SESSION.search(text)
    if subject is None:
        label = _letters(text) or "scan"
        # "sub1" is subject 1.
        return re.sub(r"^sub(?=[0-9])", "", label), "", None
    rest = _SESSION.sub("", _SUBJECT.sub("", text))
    return subject[1], session[1] if session else "", _letters(rest)


def _letters(text: str) -> str:
    return re.sub("[^0-9A-Za-z]", "", text)


def write_study_files(output: Path) -> None:
    """Write the files that make the folder a study: a description and ``.bidsignore``.

    An existing description is kept, and so are the lines that a user wrote into ``.bidsignore``.
    """
    from firenet_mri.io.image.bids import write_description
    from firenet_mri.io.outputs import atomic_writes

    write_description(output)
    ignored = output / ".bidsignore"
    before = ignored.read_text(encoding="utf-8") if ignored.exists() else _IGNORED
    lines = [line for line in _of_several_images(output) if line not in before.splitlines()]
    text = "\n".join([before.rstrip("\n"), *lines]) + "\n"
    if lines or not ignored.exists():
        with atomic_writes([ignored], overwrite=True) as (file,):
            file.write_text(text, encoding="utf-8")


def _of_several_images(output: Path) -> list[str]:
    """Return patterns of T1w images with a fourth axis, which the validator refuses."""
    from firenet_mri.io.image.nifti import axes_of

    found = sorted(output.glob("sub-*/**/*_T1w.nii.gz"))
    return [path.name.removesuffix("nii.gz") + "*" for path in found if axes_of(path) > 3]
