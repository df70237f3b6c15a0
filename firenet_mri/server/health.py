"""What the service has done since its start, for monitoring; no word of what was sent."""

from __future__ import annotations

import threading
import time
from collections import Counter
from importlib.metadata import version

#: Name of the configuration that is answered with :meth:`Health.report`, and nothing else.
HEALTH = "firenet-health"

_COUNTS = ("clients", "images", "undelivered", "refused", "left", "turned_away")


class Health:
    """Counts of clients and images."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._last_image: float | None = None

    def count(self, what: str, number: int = 1) -> None:
        """Add to a count: clients, images, undelivered, refused, left or turned_away."""
        with self._lock:
            self._counts[what] += number
            if what == "images":
                self._last_image = time.monotonic()

    def report(self) -> dict[str, object]:
        """Return the counts, seconds since the start, and since the last image (or None)."""
        with self._lock:
            now, last = time.monotonic(), self._last_image
            return {
                "status": "ok",
                "version": version("firenet_mri"),
                "uptime_s": round(now - self._started, 1),
                "since_last_image_s": None if last is None else round(now - last, 1),
                **{name: self._counts[name] for name in _COUNTS},
            }
