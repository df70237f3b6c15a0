"""Registers the readers and the writer with MONAI by name, on request."""

from __future__ import annotations

from typing import Any

from monai.data import image_writer
from monai.transforms.io.array import SUPPORTED_READERS

from firenet_mri.monai.enhanced_reader import EnhancedDicomReader
from firenet_mri.monai.readers import (
    CflReader,
    ComplexDicomReader,
    ComplexNiftiReader,
    FastMRIKspaceReader,
    MRDReader,
)
from firenet_mri.monai.writer import ComplexNiftiWriter

READERS: dict[str, Any] = {
    "mrdreader": MRDReader,
    "fastmrikspacereader": FastMRIKspaceReader,
    "cflreader": CflReader,
    "complexniftireader": ComplexNiftiReader,
    "complexdicomreader": ComplexDicomReader,
    "enhanceddicomreader": EnhancedDicomReader,
}


def register() -> None:
    """Make ``LoadImage(reader="MRDReader")`` and the like work; may be called again.

    Without a reader's name, ``LoadImage`` then opens ISMRMRD, fastMRI and BART files, and the
    enhanced DICOM files of this library with their position; NIfTI and other DICOM stay with
    MONAI's own readers. ``SaveImage`` finds ``ComplexNiftiWriter`` after
    MONAI's own writers, where these fail.
    """
    # Readers are tried from the last to the first.
    own = dict(SUPPORTED_READERS)
    first = {name: READERS[name] for name in ("complexniftireader", "complexdicomreader")}
    last = {name: reader for name, reader in READERS.items() if name not in first}
    SUPPORTED_READERS.clear()
    theirs = {name: reader for name, reader in own.items() if name not in READERS}
    SUPPORTED_READERS.update({**first, **theirs, **last})
    # MONAI 1.6.1 fills its registry at the first look-up only if nobody registered before.
    if not image_writer.SUPPORTED_WRITERS:
        image_writer.init()  # type: ignore[no-untyped-call]
    for extension in ("nii.gz", "nii"):
        known = image_writer.SUPPORTED_WRITERS.get(extension, ())
        if ComplexNiftiWriter not in known:
            image_writer.SUPPORTED_WRITERS[extension] = (*known, ComplexNiftiWriter)
