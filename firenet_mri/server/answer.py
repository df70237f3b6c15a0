"""Compares a server's answer with the scan that it received; missing images are an error."""

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
# The line with which our server reports how many images it has sent.
_SAID = re.compile(r"INFO\s+(\d+) images? sent")
_SHOWN = 10

_Key = tuple[int, ...]


@dataclass(frozen=True)
class Answer:
    """A server's answer: ``ismrmrd.Image`` objects, and its log."""

    images: list[Any]
    log: list[str]


class IncompleteAnswerError(DataError):
    """An answer that reports an error or lacks images.

    Parameters
    ----------
    message
        The reason.
    answer
        The incomplete answer.
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
    """Raise IncompleteAnswerError unless all expected images have arrived.

    Parameters
    ----------
    answer
        The server's answer.
    header, acquisitions
        The scan that was sent.
    name
        Name of the server in messages.
    expected
        Number of images that must have arrived; None counts those of the scan, and 0 accepts any
        number.
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
            f"{name} sent {counted(len(answer.images), 'image')} instead of {expected}; see its "
            "log",
            answer,
        )


def _check_planes(answer: Answer, header: Any, acquisitions: Sequence[Any], name: str) -> None:
    """Compare the planes in the answer with those of the scan; a repeated plane counts once."""
    # A readout of zeros only is padding.
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
        f"{name} sent {count} of {counted(wanted, 'image')}{missing}; see its log, and use "
        "--expect if this server makes another number of images",
        answer,
    )


def _partitions(header: Any, lines: Sequence[Any]) -> int:
    """Return the smallest possible number of planes of a 3D scan; always 1 for a 2D scan."""
    if len({line.idx.kspace_encode_step_2 for line in lines}) < 2:
        return 1
    number = min(line.encoding_space_ref for line in lines)
    encoding = header.encoding[min(number, len(header.encoding) - 1)]
    sizes = [space.matrixSize.z or 1 for space in (encoding.encodedSpace, encoding.reconSpace)]
    return max(1, min(sizes))


def _key(counters: Any) -> _Key:
    return tuple(int(getattr(counters, name)) for name in _COUNTERS)


def _named(keys: Iterable[_Key]) -> str:
    """Return a list of the missing images, in brackets."""
    keys = list(keys)
    varying = [i for i in range(len(_COUNTERS)) if len({key[i] for key in keys}) > 1] or [0]
    names = [" ".join(f"{_COUNTERS[i]} {key[i]}" for i in varying) for key in keys[:_SHOWN]]
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return f" (missing: {', '.join(names)}{more})" if keys else ""
