"""A series of images in a report: their names, and the speed at which they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from firenet_mri.io.image.film import order_of, pace_of, pace_of_images
from firenet_mri.io.image.labels import ImageLabel, films_of, time_axis


@dataclass(frozen=True)
class Series:
    """Several images, in the order in which they are shown.

    Parameters
    ----------
    names
        Name of each image, with its time if that is known.
    order
        Index of each image in the stack.
    counter
        Counter that distinguishes them, such as "Phase".
    frame_ms
        Time for which each image is shown when the series is played.
    note
        Reason why that is not the time between the images; empty if it is.
    """

    names: tuple[str, ...]
    order: tuple[int, ...]
    counter: str
    frame_ms: float
    note: str = ""

    def of(self, chosen: Sequence[int]) -> Series:
        """Return some of the images, each shown longer so that the series takes the same time."""
        return replace(
            self,
            names=tuple(self.names[index] for index in chosen),
            order=tuple(self.order[index] for index in chosen),
            frame_ms=self.frame_ms * len(self.names) / len(chosen),
        )


def series_of(labels: Sequence[ImageLabel]) -> Series | None:
    """Return the series that the images of a scan form; None for a single image."""
    if len(labels) < 2:
        return None
    axis, order, pace = time_axis(labels), order_of(labels), pace_of_images(labels)
    # If there are several films, the images need their full names.
    is_one = axis is not None and len(films_of(labels)) == 1
    names = [_name(labels[index], axis, is_one=is_one) for index in order]
    counter = "Image" if axis is None else axis.capitalize()
    return Series(tuple(names), tuple(order), counter, pace.frame_ms, pace.note)


def series_of_stack(count: int, between_ms: float | None) -> Series | None:
    """Return the series of images without names; the time between them may be known."""
    if count < 2:
        return None
    pace = pace_of(between_ms)
    times = (
        "" if between_ms is None else f", {index * between_ms:.4g} ms" for index in range(count)
    )
    names = (f"{index}{time}" for index, time in enumerate(times))
    return Series(tuple(names), tuple(range(count)), "Image", pace.frame_ms, pace.note)


def _name(label: ImageLabel, axis: str | None, *, is_one: bool) -> str:
    name = label.name.rpartition(" ")[2] if is_one else label.name
    time = label.from_trigger_ms if axis == "phase" else label.from_first_ms
    return name if time is None else f"{name}, {time:.4g} ms"
