"""Devices to compute on, by name."""

from __future__ import annotations

import torch

from firenet_mri.errors import UsageError


def find_device(name: str) -> torch.device:
    """Return the device with this name.

    Raises
    ------
    UsageError
        If torch does not know the device, or cannot compute on it here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    # torch reports this in several ways, each with a different exception.
    except (RuntimeError, AssertionError, NotImplementedError):
        raise UsageError(f"Device {name!r} is not available here; use cpu") from None
    return device
