"""The file of a training in progress; it is replaced as a whole, and refuses other work."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from firenet_mri.errors import FileError
from firenet_mri.io.outputs import atomic_writes
from firenet_mri.memory import refuse_shortage
from firenet_mri.training.options import TrainingOptions
from firenet_mri.training.timed import Training

_VERSION = 1


class Checkpoint:
    """Keeps a training until its network is written.

    Parameters
    ----------
    path
        The file.
    options
        What the training came from, as plain data: options by name.
    data
        Digest of the training data.
    """

    def __init__(self, path: Path, options: Mapping[str, Any], data: str) -> None:
        self.path, self._options, self._data = path, dict(options), data

    def save(self, training: Training) -> None:
        """Write the state of a training."""
        content = {
            "version": _VERSION,
            "options": self._options,
            "data": self._data,
            "state": training.state(),
        }
        with atomic_writes([self.path], overwrite=True) as (path,):
            torch.save(content, path)

    def resume(self, training: Training) -> bool:
        """Restore the state of a training; return whether there was a file.

        Raises
        ------
        FileError
            If the file is of other options or data, or damaged.
        """
        if not self.path.exists():
            return False
        content = self._content()
        self._check(content)
        try:
            training.load_state(content["state"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            refuse_shortage(self.path, error)
            raise self._damaged() from None
        return True

    def remove(self) -> None:
        """Remove the file once the network is written."""
        self.path.unlink(missing_ok=True)

    def _content(self) -> dict[str, Any]:
        try:
            content = torch.load(self.path, weights_only=True, map_location="cpu")
        # Damaged and foreign files make the unpickler fail in a dozen ways.
        except Exception as error:
            refuse_shortage(self.path, error)
            raise self._damaged() from None
        if not isinstance(content, dict) or content.get("version") != _VERSION:
            raise self._damaged()
        return content

    def _check(self, content: Mapping[str, Any]) -> None:
        kept = content.get("options")
        if not isinstance(kept, dict):
            raise self._damaged()
        # A training of an earlier version used today's defaults of options that it did not know.
        kept = {**TrainingOptions().key(), **kept}
        others = [
            f"{name} is {kept.get(name)} there and {value} here"
            for name, value in self._options.items()
            if kept.get(name) != value
        ]
        if content.get("data") != self._data:
            others.append("it was trained on other data")
        if others:
            raise FileError(
                f"{self.path}: belongs to a training with other options: {'; '.join(others)}; use "
                "the same, name another output, or delete the file"
            )

    def _damaged(self) -> FileError:
        return FileError(
            f"{self.path}: is not a training that can be resumed; delete it to train anew"
        )
