"""How OpenMP's threads wait for each other: asleep, so that other processes can have the cores.

By default, libgomp, which torch uses on Linux, lets a waiting thread spin 300,000 times before it
sleeps. On a shared core it thereby takes time from the thread for which it waits. OpenMP reads its
settings once, when its library is loaded, which ``import torch`` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Of the standard, of libgomp, and of LLVM's and Intel's library; any of them sets how to wait.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def passive_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what must be added to an environment so that waiting threads sleep.

    The result is empty if the user has already set how they wait.
    """
    if any(name in environment for name in _SETTINGS):
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_passively() -> None:
    """Make the threads of this process and its children sleep while they wait.

    This has no effect once torch or another library that brings OpenMP is loaded.
    """
    os.environ.update(passive_waiting(os.environ))
