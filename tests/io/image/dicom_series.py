"""Writes small complex DICOM series, classic and enhanced, with pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

SPACING = (1.5, 2.0)  # between rows, between columns
STEP = 3.0


def _new(path: Path, sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.Modality = "MR"
    dataset.PatientName = "Doe^Jane"
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    return dataset


def _pixels(dataset: Dataset, stored: np.ndarray, *, signed: bool) -> None:
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()


def position(index: int, orientation: np.ndarray) -> list[float]:
    normal = np.cross(*orientation)
    return [round(float(v), 6) for v in np.array([10.0, -20, 30]) + index * STEP * normal]


def classic(
    folder: Path,
    part: np.ndarray,
    image_type: Sequence[str],
    orientation: np.ndarray,
    reference: str,
    *,
    slope: float | None = 1.0,
    intercept: float = 0.0,
    manufacturer: str = "SIEMENS",
    ge_component: int | None = None,
    number: int | None = None,
    echo: tuple[int, float] | None = None,
) -> None:
    """Write stored values (x, y, z) as one file per slice, a series, with shuffled names."""
    slices, series = part.shape[-1], generate_uid()
    for index in range(slices):
        prefix = image_type[-1] + ("" if number is None else str(number))
        path = folder / f"{prefix}_{(7 * index) % slices:03d}_{index}.dcm"
        dataset = _new(path, MRImageStorage)
        dataset.Manufacturer = manufacturer
        dataset.SeriesInstanceUID = series
        dataset.ImageType = list(image_type)
        if number is not None:
            dataset.SeriesNumber = number
        if echo is not None:
            dataset.EchoNumbers, dataset.EchoTime = echo
        dataset.FrameOfReferenceUID = reference
        dataset.InstanceNumber = slices - index
        dataset.ImageOrientationPatient = [
            format_number_as_ds(float(v)) for v in orientation.ravel()
        ]
        dataset.ImagePositionPatient = position(index, orientation)
        dataset.PixelSpacing = list(SPACING)
        dataset.SliceThickness = STEP
        if slope is not None:
            dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
        if ge_component is not None:
            dataset.add_new((0x0043, 0x0010), "LO", "GEMS_PARM_01")
            dataset.add_new((0x0043, 0x102F), "SS", ge_component)
        stored = part[..., index].T
        _pixels(dataset, stored, signed=bool((stored < 0).any()))
        dataset.save_as(path, enforce_file_format=True)


def enhanced(
    path: Path,
    parts: dict[str, np.ndarray],
    orientation: np.ndarray,
    slope: float,
    echo_times: Sequence[float] = (5.0,),
) -> None:
    """Write stored values (x, y, z) of several parts as the frames of one file.

    Echo n has the values divided by n + 1, and lies before the others in the file.
    """
    dataset = _new(path, EnhancedMRImageStorage)
    dataset.Manufacturer = "Philips"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER", "MIXED"]
    dataset.ComplexImageComponent = "MIXED"
    dataset.FrameOfReferenceUID = generate_uid()
    shared, frames, planes = Dataset(), [], []
    orient, measures = Dataset(), Dataset()
    orient.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in orientation.ravel()]
    measures.PixelSpacing, measures.SliceThickness = list(SPACING), STEP
    shared.PlaneOrientationSequence = DicomSequence([orient])
    shared.PixelMeasuresSequence = DicomSequence([measures])
    slices = next(iter(parts.values())).shape[-1]
    for index in reversed(range(slices)):
        wanted = [
            (*one, echo) for one in parts.items() for echo in reversed(range(len(echo_times)))
        ]
        for component, part, echo in wanted:
            frame, place, kind, rescale = Dataset(), Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = position(index, orientation)
            kind.FrameType = ["ORIGINAL", "PRIMARY", "OTHER", "NONE"]
            kind.ComplexImageComponent = component
            rescale.RescaleSlope, rescale.RescaleIntercept = slope, 0.0
            frame.PlanePositionSequence = DicomSequence([place])
            frame.MRImageFrameTypeSequence = DicomSequence([kind])
            frame.PixelValueTransformationSequence = DicomSequence([rescale])
            timing = Dataset()
            timing.EffectiveEchoTime = echo_times[echo]
            frame.MREchoSequence = DicomSequence([timing])
            frames.append(frame)
            planes.append(part[..., index].T // (echo + 1))
    dataset.SharedFunctionalGroupsSequence = DicomSequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = DicomSequence(frames)
    dataset.NumberOfFrames = len(frames)
    _pixels(dataset, np.stack(planes), signed=True)
    dataset.save_as(path, enforce_file_format=True)
