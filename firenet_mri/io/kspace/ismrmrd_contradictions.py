"""Cross-checks between readouts: logs fields in which a few of them contradict all others.

If a single field of one readout among hundreds is wrong, the image looks almost right. Which of two
fields is wrong is not known here, so nothing is corrected.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.io.kspace.ismrmrd_images import span_of
from firenet_mri.plurals import counted

_log = logging.getLogger(__name__)

_REVERSE = 22
# Bit numbers of the flags of readouts that are not lines of the image.
_OTHERS = (19, 20, 23, 24, 26, 27, 28, 29, 30, 31)
# Up to this share of the readouts, and one in any case, is an exception to the rest.
_RARE = 0.1
# With fewer readouts there are no exceptions.
_FEWEST = 4


def check_discarded(lines: Sequence[Any], name: str) -> None:
    """Raise an error if a readout discards as many samples as it has, or more.

    Parameters
    ----------
    lines
        The readouts in use, ``ismrmrd.Acquisition``.
    name
        Name of the scan in messages.

    Raises
    ------
    DataError
        If a readout does so.
    """
    for line in lines:
        if line.discard_pre + line.discard_post >= line.number_of_samples:
            raise DataError(
                f"{name}: a readout ({_place(line)}) has "
                f"{counted(line.number_of_samples, 'sample')} and discards {line.discard_pre} at "
                f"its start and {line.discard_post} at its end; its header is damaged, so export "
                "the scan again"
            )


def say_exceptions(lines: Sequence[Any], name: str) -> None:
    """Log where a few imaging readouts contradict all others: columns, direction, dwell time."""
    # Each echo may be asymmetric in its own way.
    for contrast in sorted({line.idx.contrast for line in lines}):
        _say_exceptions([line for line in lines if line.idx.contrast == contrast], name)


def _say_exceptions(lines: Sequence[Any], name: str) -> None:
    checks: tuple[tuple[str, Callable[[Any], Hashable]], ...] = (
        ("cover other columns", span_of),
        ("run in the other direction", lambda line: bool(line.flags >> (_REVERSE - 1) & 1)),
        ("have another dwell time", lambda line: round(float(line.sample_time_us), 3)),
    )
    for what, value in checks:
        values = [value(line) for line in lines]
        (usual, count), *others = Counter(values).most_common()
        few = len(lines) - count
        if not others or len(lines) < _FEWEST or few > max(1, int(_RARE * len(lines))):
            continue
        first = next(line for line, one in zip(lines, values, strict=True) if one != usual)
        _log.warning(
            "%s: %d of %d readouts %s than the others, the first of them that of %s; its header "
            "may be wrong",
            name,
            few,
            len(lines),
            what,
            _place(first),
        )


def say_uncounted(header: Any, lines: Sequence[Any], name: str) -> None:
    """Log where the header and the readouts of a whole scan differ in slices or channels.

    Parameters
    ----------
    header
        An ``ismrmrd.xsd.ismrmrdHeader``.
    lines, name
        All readouts of the file, and its name in messages.
    """
    lines = [line for line in lines if not any(line.flags >> (bit - 1) & 1 for bit in _OTHERS)]
    if not lines or lines[0].encoding_space_ref >= len(header.encoding):
        return
    first = lines[0]
    limits = header.encoding[first.encoding_space_ref].encodingLimits
    numbers = {int(line.idx.slice) for line in lines}
    limit = getattr(limits, "slice", None)
    # An unset limit is 0.
    if limit is not None and limit.maximum and max(numbers) > limit.maximum:
        _log.warning(
            "%s: a readout belongs to slice %d, but the header counts to %d",
            name,
            max(numbers),
            limit.maximum,
        )
    elif limit is not None and len(numbers) < limit.maximum - limit.minimum + 1:
        _log.warning(
            "%s: the header counts %d slices, but the readouts belong to %d; slices may be missing",
            name,
            limit.maximum - limit.minimum + 1,
            len(numbers),
        )
    stated = getattr(header.acquisitionSystemInformation, "receiverChannels", None)
    if stated and stated != first.active_channels:
        _log.warning(
            "%s: the header states %s, but the readouts have %d",
            name,
            counted(stated, "channel"),
            first.active_channels,
        )


def _place(line: Any) -> str:
    idx = line.idx
    return (
        f"step 1 {idx.kspace_encode_step_1}, step 2 {idx.kspace_encode_step_2}, slice {idx.slice}"
    )
