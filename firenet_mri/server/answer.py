"""What a server sent, counted against what it was sent: an answer that lacks images is an error."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from firenet_mri.errors import DataError
from firenet_mri.plurals import counted
from firenet_mri.server.slices import is_image_data

_COUNTERS = ("slice", "repetition", "contrast", "phase", "set")
# What our server says of the images that it has sent.
_SAID = re.compile(r"INFO\s+(\d+) images? sent")
_SHOWN = 10

_Key = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """What a server sent: ``ismrmrd.Image`` objects, and its log."""

    images: list[Any]
    log: list[str]


class IncompleteAnswerError(DataError):
    """An answer that reports an error or lacks images.

    Parameters
    ----------
    message
        What is wrong.
    answer
        What came all the same.
    """

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


def check_answer(
    answer: Answer,
    header: Any,
    acquisitions: Sequence[Any],
    *,
    name: str,
    expected: int | None = None,
) -> None:
    """Raise IncompleteAnswerError unless everything came that should.

    Parameters
    ----------
    answer
        What came.
    header, acquisitions
        What was sent.
    name
        What messages call the server.
    expected
        Images that must have come; None counts the scan's, 0 takes any number.
    """
    errors = [line for line in answer.log if line.startswith("ERROR")]
    if errors:
        why = errors[0].removeprefix("ERROR").strip()
        raise IncompleteAnswerError(
            f"{name} reports an error after {counted(len(answer.images), 'image')}: {why}", answer
        )
    said = [int(found[1]) for found in map(_SAID.match, answer.log) if found]
    if said and sum(said) != len(answer.images):
        raise IncompleteAnswerError(
            f"{name} has sent {counted(sum(said), 'image')}, of which {len(answer.images)} "
            "arrived; send the scan again",
            answer,
        )
    if expected is None:
        _check_planes(answer, header, acquisitions, name)
    elif len(answer.images) < expected:
        raise IncompleteAnswerError(
            f"{name} sent {counted(len(answer.images), 'image')} instead of {expected}; its log "
            "says why",
            answer,
        )


def _check_planes(answer: Answer, header: Any, acquisitions: Sequence[Any], name: str) -> None:
    """Compare the planes that came with those of the scan; one that came twice counts once."""
    # A readout that is zero throughout is padding.
    lines = [line for line in acquisitions if is_image_data(line) and line.data.any()]
    keys, depth = {_key(line.idx) for line in lines}, _partitions(header, lines)
    found: dict[_Key, int] = defaultdict(int)
    for image in answer.images:
        found[_key(image)] = max(found[_key(image)], int(image.data.shape[-3]))
    count, wanted = sum(found.values()), depth * len(keys)
    if count >= wanted:
        return
    missing = "" if depth > 1 else _named(sorted(keys - found.keys()))
    raise IncompleteAnswerError(
        f"{name} sent {count} of {counted(wanted, 'image')}{missing}; its log says why, and a "
        "server that makes another number of images needs --expect",
        answer,
    )


def _partitions(header: Any, lines: Sequence[Any]) -> int:
    """Return how many planes a 3D scan has at least; 1 of 2D ones, whatever their header says."""
    if len({line.idx.kspace_encode_step_2 for line in lines}) < 2:
        return 1
    number = min(line.encoding_space_ref for line in lines)
    encoding = header.encoding[min(number, len(header.encoding) - 1)]
    sizes = [space.matrixSize.z or 1 for space in (encoding.encodedSpace, encoding.reconSpace)]
    return max(1, min(sizes))


def _key(counters: Any) -> _Key:
    return tuple(int(getattr(counters, name)) for name in _COUNTERS)


def _named(keys: Iterable[_Key]) -> str:
    """Return which images are missing, in brackets."""
    keys = list(keys)
    varying = [i for i in range(len(_COUNTERS)) if len({key[i] for key in keys}) > 1] or [0]
    names = [" ".join(f"{_COUNTERS[i]} {key[i]}" for i in varying) for key in keys[:_SHOWN]]
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f" (missing: {', '.join(names)}{more})" if keys else ""
