"""A reconstruction as one HTML page: images, the certificate in plain words, settings to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.report.saved import ZeroFilled, zero_filled_of
    from firenet_mri.report.serving import Served
    from firenet_mri.report.writing import report_page, report_path, reports_beside, write_report

__all__ = [
    "Served",
    "ZeroFilled",
    "report_page",
    "report_path",
    "reports_beside",
    "write_report",
    "zero_filled_of",
]

__getattr__ = lazy(
    __name__,
    {
        "Served": "firenet_mri.report.serving",
        "ZeroFilled": "firenet_mri.report.saved",
        "report_page": "firenet_mri.report.writing",
        "report_path": "firenet_mri.report.writing",
        "reports_beside": "firenet_mri.report.writing",
        "write_report": "firenet_mri.report.writing",
        "zero_filled_of": "firenet_mri.report.saved",
    },
)
