"""The one place for optional imports."""

from __future__ import annotations

import importlib
from types import ModuleType

from firenet_mri.errors import UsageError


def require(name: str, *, extra: str) -> ModuleType:
    """Return the module ``name``, which the extra ``extra`` of firenet_mri installs.

    Raises
    ------
    UsageError
        If it is not installed; the message has the install command.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise UsageError(
            f"{name} is not installed; install it with: pip install 'firenet_mri[{extra}]'"
        ) from None
