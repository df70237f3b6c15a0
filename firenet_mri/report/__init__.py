"""A reconstruction as one HTML page: images, certificate in plain words, settings to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firenet_mri._lazy import lazy

if TYPE_CHECKING:
    from firenet_mri.report.writing import remove_report, report_page, report_path, write_report

__all__ = ["remove_report", "report_page", "report_path", "write_report"]

__getattr__ = lazy(__name__, dict.fromkeys(__all__, "firenet_mri.report.writing"))
