"""Counts of what the service has done since its start, for monitoring; no data of clients."""

from __future__ import annotations

import threading
import time
from collections import Counter
from importlib.metadata import version
from typing import Protocol

#: Name of the configuration that is answered with :meth:`Health.report`, and nothing else.
HEALTH = "firenet-health"

# Seconds that ending a process may take.
_ENDING_S = 10.0
_COUNTS = ("clients", "images", "undelivered", "refused", "left", "turned_away")


class Working(Protocol):
    """The object that reconstructs."""

    @property
    def running_s(self) -> float | None:
        """Seconds since the current reconstruction began; None if there is none."""

    @property
    def waiting(self) -> int:
        """Number of clients that wait for their turn."""

    @property
    def ended(self) -> int:
        """Number of reconstructions whose process was ended."""


class Health:
    """Counts of clients and images, and the state of the current reconstruction.

    Parameters
    ----------
    working
        The object that reconstructs.
    deadline_s
        Seconds that a reconstruction may take.
    """

    def __init__(self, working: Working, deadline_s: float) -> None:
        self._working = working
        self._deadline_s = deadline_s
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last_image: float | None = None

    def count(self, what: str, number: int = 1) -> None:
        """Increase a count: clients, images, undelivered, refused, left or turned_away."""
        with self._lock:
            self._counts[what] += number
            if what == "images":
                self._last_image = time.monotonic()

    def report(self) -> dict[str, object]:
        """Return the counts, the seconds since the start and the last image (or None), and more.

        The status is "ok", or "stuck" if a reconstruction continues beyond its deadline.
        """
        running = self._working.running_s
        is_stuck = running is not None and running > self._deadline_s + _ENDING_S
        with self._lock:
            now, last = time.monotonic(), self._last_image
            return {
                "status": "stuck" if is_stuck else "ok",
                "version": version("firenet_mri"),
                "uptime_s": round(now - self._started, 1),
                "since_last_image_s": None if last is None else round(now - last, 1),
                "reconstructing_s": None if running is None else round(running, 1),
                "deadline_s": self._deadline_s,
                "waiting": self._working.waiting,
                **{name: self._counts[name] for name in _COUNTS},
                "ended": self._working.ended,
            }
