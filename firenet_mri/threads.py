"""How OpenMP's threads wait for each other: asleep, so that other processes can have the cores.

Left to itself, libgomp, which torch carries on Linux, has a waiting thread try again 300,000 times
before it sleeps. On a core that is shared it does so in the time of the thread for which it waits.
OpenMP reads its settings once, when its library is loaded, which ``import torch`` does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: Of the standard, of libgomp, and of LLVM's and Intel's library; any of them says how to wait.
_SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def passive_waiting(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is to be added to an environment so that waiting threads sleep.

    Nothing where the user has set how they wait.
    """
    if any(name in environment for name in _SETTINGS):
        return {}
    return {"OMP_WAIT_POLICY": "PASSIVE"}


def wait_passively() -> None:
    """Have the threads of this process and its children sleep while they wait.

    It has no effect once torch or another library that brings OpenMP is loaded.
    """
    os.environ.update(passive_waiting(os.environ))
