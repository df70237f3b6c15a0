"""Warnings about the data: values that no available good scan has, with what to do about them.

A certificate proves how well the optimisation was done, whatever the data are. The measurements
here show when the data look like those of a scan that went wrong. docs/certificates.md contains the
thresholds and their margins, from ``tools/measure_warnings.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.reconstruction.data_warnings.item import item_warnings
    from firenet_mri.reconstruction.data_warnings.scan import scan_warnings
    from firenet_mri.reconstruction.data_warnings.warning import DataWarning, warnings_of

__all__ = ["DataWarning", "item_warnings", "scan_warnings", "warnings_of"]

__getattr__ = lazy(
    __name__,
    {
        "DataWarning": "firenet_mri.reconstruction.data_warnings.warning",
        "item_warnings": "firenet_mri.reconstruction.data_warnings.item",
        "scan_warnings": "firenet_mri.reconstruction.data_warnings.scan",
        "warnings_of": "firenet_mri.reconstruction.data_warnings.warning",
    },
)
