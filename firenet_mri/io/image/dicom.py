"""Writes images as DICOM: a series of MR images, or one enhanced multi-frame MR image.

Only pixels and their position are known of an image. The objects are therefore derived images of a
new study, with new identifiers (UUID-derived, PS3.5 B.2), without a patient or private attributes.
With a reference series they belong to its study instead: patient, study and frame of reference are
copied by a list of attributes, and the reference's images are named as source.

Standard: DICOM PS3.3, A.4 (MR Image), A.36.2 (Enhanced MR Image), C.7.6.2 (Image Plane).
"""

from __future__ import annotations

import datetime
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from firenet_mri.errors import DataError, FileError, FirenetError, ShapeError
from firenet_mri.io.image.dicom_door import quiet, read_dataset, stored_pixels
from firenet_mri.io.image.dicom_files import datasets_of, step_between
from firenet_mri.io.image.labels import (
    ImageLabel,
    films_of,
    labels_of,
    labels_of_all,
    time_axis,
    time_between,
)
from firenet_mri.io.outputs import atomic_writes, check_outputs
from firenet_mri.plurals import by_number, counted
from firenet_mri.scan import AcquisitionParameters, Geometry

_log = logging.getLogger(__name__)

_MR = "1.2.840.10008.5.1.4.1.1.4"
_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
_LARGEST = 32_767

#: What the pixels of an image are.
Component = Literal["magnitude", "phase", "real", "imaginary"]

# The third value of Image Type; the standard has no word for most components.
_IMAGE_TYPES: dict[Component, str] = {
    "magnitude": "OTHER",
    "phase": "PHASE MAP",
    "real": "OTHER",
    "imaginary": "OTHER",
}
# Attributes of patient and study; nothing else is copied from a reference.
_FROM_REFERENCE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "PatientPosition",
    "SpecificCharacterSet",
)
_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True, eq=False)
class DicomReference:
    """A series whose study and position an image takes over.

    Parameters
    ----------
    geometry
        Where the series lies.
    shape
        Numbers of slices, rows and columns.
    attributes
        Copied attributes: an allow-list of patient, study and frame of reference.
    sources
        SOP class and instance of each image.
    """

    geometry: Geometry
    shape: tuple[int, int, int]
    attributes: dict[str, Any]
    sources: tuple[tuple[str, str], ...]


def read_dicom_reference(path: Path) -> DicomReference:
    """Return what an image takes over from a series of classic MR images of one volume.

    Parameters
    ----------
    path
        A file, or a folder, in which files other than DICOM are skipped.

    Raises
    ------
    FileError
        If there is no DICOM image, or an image is damaged.
    DataError
        If the images are not slices of one volume of one series.
    """
    try:
        with quiet():
            return _reference(path)
    except FirenetError:
        raise
    # Values are decoded on access, and damaged ones raise exceptions of many kinds.
    except Exception:
        raise FileError(f"{path}: a DICOM file is damaged; copy or export it again") from None


def _reference(path: Path) -> DicomReference:
    """Return what :func:`read_dicom_reference` returns; damaged values raise any exception."""
    every = list(datasets_of(path, str(path)))
    datasets = [dataset for dataset in every if "ImagePositionPatient" in dataset]
    if not datasets:
        raise FileError(f"{path}: holds no DICOM image with a position; give a series of MR images")
    placeless = len(every) - len(datasets)
    if placeless:
        _log.warning(
            "%s: %d of %d DICOM files %s skipped, because they have no position",
            path,
            placeless,
            len(every),
            by_number(placeless, "is", "are"),
        )
    series = {str(dataset.get("SeriesInstanceUID")) for dataset in datasets}
    planes = {
        (dataset.get("Rows"), dataset.get("Columns"), *_plane(dataset, path))
        for dataset in datasets
    }
    if len(series) > 1 or len(planes) > 1:
        raise DataError(
            f"{path}: has {len(series)} series and {counted(len(planes), 'image plane')}; give the "
            "slices of one volume of one series"
        )
    rows, columns, *plane = next(iter(planes))
    read, phase, (row_spacing, column_spacing) = (
        np.array(plane[:3]),
        np.array(plane[3:6]),
        plane[6:],
    )
    normal = np.cross(read, phase)
    datasets.sort(key=lambda dataset: float(np.array(dataset.ImagePositionPatient, float) @ normal))
    corners = [np.array(dataset.ImagePositionPatient, float) for dataset in datasets]
    thickness = float(datasets[0].get("SliceThickness") or 0) or 1.0
    shape = (len(datasets), int(rows), int(columns))
    affine = np.eye(4)
    try:
        step = step_between(corners, normal * thickness, "reference")
        columns_of = [read * column_spacing, phase * row_spacing, step, corners[0]]
        affine[:3] = np.stack(columns_of, axis=1)
        geometry = Geometry.from_affine(affine, shape)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    _, y_mm, x_mm = geometry.field_of_view_mm
    return DicomReference(
        # Slices may have gaps.
        replace(geometry, field_of_view_mm=(thickness, y_mm, x_mm)),
        shape,
        {name: datasets[0].get(name) for name in _FROM_REFERENCE if name in datasets[0]},
        tuple((str(item.SOPClassUID), str(item.SOPInstanceUID)) for item in datasets),
    )


def write_dicom_series(
    folder: Path,
    image: NDArray[np.generic],
    geometry: Geometry | None,
    *,
    description: str = "",
    simulated: bool = False,
    volume: bool = False,
    parameters: AcquisitionParameters | None = None,
    names: Sequence[str] = (),
    component: Component = "magnitude",
    title: str | None = None,
    reference: DicomReference | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write series of MR images, one file per slice and time, and return the files.

    Consecutive images in time form one series, slice by slice; each holds its number and, if known,
    its time after the ECG trigger. Each other image has its own series.

    Parameters
    ----------
    folder
        Created if it is missing; it must contain nothing but a series to replace.
    image
        (y, x), (z, y, x) or (image, z, y, x), real and not negative, or complex, in which case the
        magnitude is written. All slices have the same rescale slope, for which the largest value is
        stored as 32767.
    geometry
        Where the image lies; None takes the reference's geometry.
    description
        Text for the derivation description: how the image was made.
    simulated
        Whether the scan was simulated, which the descriptions then state.
    volume
        Whether the encoding was 3D.
    parameters
        Field strength and times, as far as known.
    names
        Names that tell several images apart, see :class:`firenet_mri.scan.RawScan`: they give
        description, echo number and time, repetition and phase.
    component
        What the pixels are; all components except the magnitude may be negative, and are stored
        with an intercept.
    title
        Series description of an image that was not reconstructed here, whose derivation description
        is then ``description`` alone. None means FIRENET.
    reference
        Series whose study the image takes over, and without a geometry also its position.
    overwrite
        Replace a series that exists.

    Raises
    ------
    DataError
        If the position is not known, or pixels are negative, NaN or infinite.
    ShapeError
        If the image has other axes, or does not have the reference's sizes.
    FileError
        If an output exists and may not be replaced, or the folder cannot be written.
    """
    pixels = _Pixels.of(image, str(folder), component)
    labels = labels_of_all(names, parameters, len(pixels.stored), str(folder))
    place = _place(geometry, reference, pixels.shape, str(folder))
    films = films_of(labels)
    files = _series_files(folder, films, pixels.shape[0])
    _check_folder(folder, files, overwrite=overwrite)
    folder.mkdir(exist_ok=True)
    shared = _shared(reference, description, simulated, parameters, title)
    with atomic_writes(files, overwrite=overwrite) as paths:
        remaining = iter(paths)
        for series, film in enumerate(films):
            series_uid = _uid()
            shown = [labels[image] for image in film]
            for index, (slice_, frame) in enumerate(np.ndindex(pixels.shape[0], len(film))):
                plane = pixels.stored[film[frame], slice_]
                dataset = _classic(shared, place, pixels, plane, slice_, volume)
                dataset.InstanceNumber = index + 1
                dataset.SeriesInstanceUID, dataset.SeriesNumber = series_uid, series + 1
                _tell(dataset, shown, frame)
                _save(dataset, next(remaining), _MR)
    return files


def write_enhanced_dicom(
    path: Path,
    image: NDArray[np.generic],
    geometry: Geometry | None,
    *,
    description: str = "",
    simulated: bool = False,
    parameters: AcquisitionParameters | None = None,
    names: Sequence[str] = (),
    component: Component = "magnitude",
    title: str | None = None,
    reference: DicomReference | None = None,
) -> None:
    """Write one image as an enhanced multi-frame MR image, with one frame per slice.

    Parameters and errors are those of :func:`write_dicom_series`.
    """
    pixels = _Pixels.of(image, str(path), component)
    if len(pixels.stored) > 1:
        raise ShapeError(
            f"{path}: {len(pixels.stored)} images were given, but an enhanced file holds one; "
            "choose one or write a series"
        )
    (label,) = labels_of_all(names, parameters, 1, str(path))
    place = _place(geometry, reference, pixels.shape, str(path))
    shared = _shared(reference, description, simulated, parameters, title)
    dataset = _enhanced(shared, place, pixels)
    if label.name:
        dataset.SeriesDescription = _described(dataset.SeriesDescription, [label])
    if label.echo_time_ms is not None:
        groups = dataset.SharedFunctionalGroupsSequence[0]
        groups.MREchoSequence = [_group(EffectiveEchoTime=label.echo_time_ms)]
    dataset.SeriesInstanceUID, dataset.SeriesNumber = _uid(), 1
    _save(dataset, path, _ENHANCED_MR)


def _tell(dataset: Any, film: Sequence[ImageLabel], frame: int) -> None:
    """Write what one of several images is into its headers, and into those of the series."""
    label = film[frame]
    dataset.SeriesDescription = _described(dataset.SeriesDescription, film)
    if label.echo is not None:
        dataset.EchoNumbers = label.echo
    if label.echo_time_ms is not None:
        dataset.EchoTime = _decimal(label.echo_time_ms)
    axis = time_axis(film)
    if axis is not None:
        # The position counts the written images, the name the measured ones.
        dataset.ImageComments = label.name
        dataset.TemporalPositionIdentifier = frame + 1
        dataset.NumberOfTemporalPositions = len(film)
        between = time_between(film)
        if between is not None:
            dataset.TemporalResolution = _decimal(between)
    elif label.repetition is not None:
        dataset.TemporalPositionIdentifier = label.repetition
    if axis == "phase":
        dataset.CardiacNumberOfImages = len(film)
    if label.from_trigger_ms is not None:
        # The standard allows the time only in gated images; CG is cardiac gating.
        dataset.ScanOptions, dataset.TriggerTime = "CG", _decimal(label.from_trigger_ms)


def _described(series: str, film: Sequence[ImageLabel]) -> str:
    """Return a series description of what its images have in common, at most 64 characters."""
    label = film[0]
    name = label.name
    if len(film) > 1:
        shared = set.intersection(*(set(one.name.split(", ")) for one in film))
        name = ", ".join(part for part in label.name.split(", ") if part in shared)
    time = "" if label.echo is None or label.echo_time_ms is None else f" {label.echo_time_ms:g} ms"
    return (f"{series}, {name}{time}" if name else series)[:64]


def is_our_enhanced(path: Path) -> bool:
    """Return whether a file is an enhanced MR image written by :func:`write_enhanced_dicom`.

    Return False if it cannot be read.
    """
    try:
        with quiet():
            dataset = read_dataset(path, with_pixels=False)
            is_enhanced = str(dataset.get("SOPClassUID", "")) == _ENHANCED_MR
            return is_enhanced and str(dataset.get("Manufacturer", "")) == "firenet_mri"
    # A damaged value raises exceptions of many kinds on access.
    except Exception:
        return False


def read_our_enhanced(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return pixels (x, y, z) and affine (RAS mm) of a file by :func:`write_enhanced_dicom`.

    Raises
    ------
    FileError
        If the file is damaged.
    """
    dataset = read_dataset(path, with_pixels=True)
    stored = stored_pixels(dataset, str(path)).astype(np.float64)
    try:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        rescale = shared.PixelValueTransformationSequence[0]
        pixels = stored.reshape(-1, dataset.Rows, dataset.Columns)
        values = pixels * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
        measures = shared.PixelMeasuresSequence[0]
        plane = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
        row, column = plane.reshape(2, 3)
        corners = np.array(
            [
                frame.PlanePositionSequence[0].ImagePositionPatient
                for frame in dataset.PerFrameFunctionalGroupsSequence
            ],
            float,
        )
        rows_mm, columns_mm = map(float, measures.PixelSpacing)
        step = np.cross(row, column) * float(measures.SliceThickness)
    # Values are decoded on access, and damaged ones raise exceptions of many kinds.
    except Exception:
        raise FileError(f"{path}: is damaged; write the image again") from None
    if len(corners) > 1:
        step = (corners[-1] - corners[0]) / (len(corners) - 1)
    affine = np.eye(4)
    affine[:3] = np.stack([row * columns_mm, column * rows_mm, step, corners[0]], axis=1)
    to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    return np.ascontiguousarray(values.T, np.float32), to_ras @ affine


@dataclass(frozen=True, eq=False)
class _Pixels:
    """Stored numbers (image, z, y, x) uint16, slope and intercept, window (centre, width)."""

    stored: NDArray[np.uint16]
    slope: float
    window: tuple[float, float]
    intercept: float = 0.0
    component: Component = "magnitude"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of slices, rows and columns."""
        _, z, y, x = self.stored.shape
        return z, y, x

    @staticmethod
    def of(image: NDArray[np.generic], name: str, component: Component = "magnitude") -> _Pixels:
        """Return the pixels of an image; for a complex one those of its magnitude."""
        if not 2 <= image.ndim <= 4:
            raise ShapeError(
                f"{name}: the image has shape {image.shape}; DICOM needs (y, x), (z, y, x) or "
                "(image, z, y, x)"
            )
        values = np.abs(image) if np.iscomplexobj(image) else np.asarray(image)
        values = values.astype(np.float64).reshape((1,) * (4 - image.ndim) + image.shape)
        is_signed = component != "magnitude"
        if not np.isfinite(values).all() or ((values < 0).any() and not is_signed):
            raise DataError(
                f"{name}: the image has negative, NaN or infinite pixels; give a magnitude with "
                "finite pixels"
            )
        if is_signed:
            return _Pixels._signed(values, component)
        largest = float(values.max())
        # A decimal string has at most 16 characters, so the slope is rounded before it is used.
        slope = float(_decimal(largest / _LARGEST)) if largest > 0 else 1.0
        stored = np.minimum(np.rint(values / slope), _LARGEST).astype(np.uint16)
        white = float(np.percentile(values, 99.8)) or largest or 1.0
        return _Pixels(stored, slope, (white / 2, white))

    @staticmethod
    def _signed(values: NDArray[np.float64], component: Component) -> _Pixels:
        """Return pixels that may be negative, counted from the smallest value."""
        least, largest = float(_decimal(values.min())), float(values.max())
        slope = float(_decimal((largest - least) / _LARGEST)) if largest > least else 1.0
        stored = np.clip(np.rint((values - least) / slope), 0, _LARGEST).astype(np.uint16)
        window = (largest + least) / 2, max(largest - least, slope)
        return _Pixels(stored, slope, window, least, component)


def check_place(geometry: Geometry | None, reference: DicomReference | None, name: str) -> Geometry:
    """Return where an image lies, from its geometry or else from a reference.

    Raises
    ------
    DataError
        If neither gives a position, which a DICOM image needs.
    """
    if geometry is not None and geometry.is_placed:
        return geometry
    if reference is None:
        raise DataError(
            f"{name}: the scan does not state where the image lies, but a DICOM image needs a "
            "position; give a reference series (--dicom-reference) or write NIfTI"
        )
    return reference.geometry


def _place(
    geometry: Geometry | None,
    reference: DicomReference | None,
    shape: tuple[int, int, int],
    name: str,
) -> Geometry:
    place = check_place(geometry, reference, name)
    if reference is not None and place is reference.geometry:
        check_shape(reference, shape, name)
    return place


def check_shape(reference: DicomReference, shape: tuple[int, int, int], name: str) -> None:
    """Raise ShapeError unless an image at the reference's position has the reference's sizes."""
    if shape != reference.shape:
        raise ShapeError(
            f"{name}: the image has {shape} slices, rows and columns, but the reference has "
            f"{reference.shape}; give the series of the same scan"
        )


def _series_files(folder: Path, films: Sequence[Sequence[int]], slices: int) -> list[Path]:
    return [
        folder / f"{number + 1:02d}_{index + 1:04d}.dcm"
        for number, film in enumerate(films)
        for index in range(slices * len(film))
    ]


def check_series_folder(
    folder: Path, names: Sequence[str], slices: int, *, overwrite: bool = False
) -> None:
    """Refuse a folder with files that a reader would take for parts of the new series.

    Parameters
    ----------
    folder
        The folder for :func:`write_dicom_series`.
    names
        Names of the images; empty for a single image.
    slices
        Number of slices of each image.
    overwrite
        Replace existing series.

    Raises
    ------
    FileError
        If it is not a folder, cannot be created, contains other files, or files that may not be
        replaced.
    """
    files = _series_files(folder, films_of(labels_of(names)), slices)
    _check_folder(folder, files, overwrite=overwrite)


def _check_folder(folder: Path, files: Sequence[Path], *, overwrite: bool) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileError(f"{folder}: is not a folder; give one for the series")
    if not folder.exists():
        check_outputs([folder])
        return
    others = {path.name for path in folder.iterdir()} - {file.name for file in files}
    if others:
        raise FileError(
            f"{folder}: contains {counted(len(others), 'other file')}, such as {min(others)}; give "
            "the series its own folder"
        )
    check_outputs(files, overwrite=overwrite)


def _shared(
    reference: DicomReference | None,
    description: str,
    simulated: bool,
    parameters: AcquisitionParameters | None,
    title: str | None,
) -> Any:
    """Return what all instances share: patient, study, equipment and derivation."""
    from pydicom.dataset import Dataset

    now = datetime.datetime.now()
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for name in _EMPTY:
        setattr(dataset, name, "")
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = _uid(), _uid()
    if reference is not None:
        for name, value in reference.attributes.items():
            setattr(dataset, name, value)
    dataset.Modality = "MR"
    dataset.SeriesDescription = (title or "FIRENET") + (" (simulated scan)" if simulated else "")
    dataset.PatientPosition = dataset.get("PatientPosition", "")
    dataset.Manufacturer, dataset.ManufacturerModelName = "firenet_mri", "firenet_mri"
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0", _version()
    dataset.ContentDate = dataset.InstanceCreationDate = date
    dataset.ContentTime = dataset.InstanceCreationTime = time
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.PixelRepresentation = 0
    dataset.BurnedInAnnotation, dataset.LossyImageCompression = "NO", "00"
    source = f"Reconstructed from {'simulated ' if simulated else ''}k-space. "
    told = description if title is not None else f"{source}{description}"
    dataset.DerivationDescription = told.strip()[:1024]
    dataset.ContributingEquipmentSequence = [_equipment(description)]
    known = parameters or AcquisitionParameters()
    if known.field_strength_t is not None:
        dataset.MagneticFieldStrength = _decimal(known.field_strength_t)
    for name, value in _times(known).items():
        setattr(dataset, name, None if value is None else _decimal(value))
    if reference is not None:
        dataset.SourceImageSequence = [_source(*source) for source in reference.sources]
    return dataset


def _times(known: AcquisitionParameters) -> dict[str, float | None]:
    """Return the attributes of a classic MR image from the parameters, in ms and degrees."""
    return {
        "RepetitionTime": known.repetition_time_ms,
        # If there are several echoes, each image has its own echo time.
        "EchoTime": known.echo_times_ms[0] if len(known.echo_times_ms) == 1 else None,
        # With an inversion time the standard also requires the kind of sequence.
        "FlipAngle": known.flip_angle_deg,
    }


def _equipment(description: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [_code("109102", "DCM", "Processing Equipment")]
    item.Manufacturer = item.ManufacturerModelName = "firenet_mri"
    item.SoftwareVersions = _version()
    item.ContributionDescription = f"Image reconstruction: {description or 'FIRENET'}"
    return item


def _source(sop_class: str, instance: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, instance
    item.PurposeOfReferenceCodeSequence = [
        _code("121322", "DCM", "Source image for image processing operation")
    ]
    return item


def _code(value: str, scheme: str, meaning: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _classic(
    shared: Any,
    place: Geometry,
    pixels: _Pixels,
    plane: NDArray[np.uint16],
    index: int,
    volume: bool,
) -> Any:
    """Return one MR image."""
    import copy

    dataset = copy.deepcopy(shared)
    dataset.SOPInstanceUID = _uid()
    dataset.InstanceNumber = index + 1
    dataset.ImageType = ["DERIVED", "PRIMARY", _IMAGE_TYPES[pixels.component]]
    if pixels.component in ("real", "imaginary"):
        # Image Type has no word for these components.
        dataset.ComplexImageComponent = pixels.component.upper()
    dataset.ScanningSequence, dataset.SequenceVariant = "RM", "NONE"
    dataset.ScanOptions = dataset.Laterality = ""
    dataset.MRAcquisitionType = "3D" if volume else "2D"
    dataset.EchoTrainLength = None
    measures, position, orientation = _plane_of(place, pixels.shape, index)
    dataset.PixelSpacing, dataset.SliceThickness, dataset.SpacingBetweenSlices = measures
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = position, orientation
    dataset.RescaleIntercept, dataset.RescaleType = _decimal(pixels.intercept), "US"
    dataset.WindowCenter, dataset.WindowWidth = map(_decimal, pixels.window)
    # The linear window must not be narrower than 1.
    dataset.VOILUTFunction = "LINEAR_EXACT"
    dataset.RescaleSlope = _decimal(pixels.slope)
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelData = plane.astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _enhanced(shared: Any, place: Geometry, pixels: _Pixels) -> Any:
    """Return one multi-frame image with shared and per-frame functional groups."""
    from pydicom.dataset import Dataset

    dataset = shared
    frames, rows, columns = pixels.shape
    dataset.SOPInstanceUID, dataset.InstanceNumber = _uid(), 1
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    dataset.AcquisitionContrast = "UNKNOWN"
    dataset.ComplexImageComponent = pixels.component.upper()
    dataset.PixelPresentation, dataset.VolumetricProperties = "MONOCHROME", "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ContentQualification, dataset.PresentationLUTShape = "RESEARCH", "IDENTITY"
    # Validators require it although no safety parameter is given; the value is the IEC standard.
    dataset.ApplicableSafetyStandardAgency = "IEC"
    dataset.AcquisitionContextSequence = []
    # Attributes of classic images.
    for name in _times(AcquisitionParameters()):
        del dataset[name]
    dataset.ImageComments = dataset.DerivationDescription
    del dataset.DerivationDescription
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames, rows, columns
    organisation = Dataset()
    organisation.DimensionOrganizationUID = _uid()
    dataset.DimensionOrganizationSequence = [organisation]
    dimension = Dataset()
    dimension.DimensionOrganizationUID = organisation.DimensionOrganizationUID
    dimension.DimensionIndexPointer = 0x00200032
    dimension.FunctionalGroupPointer = 0x00209113
    dimension.DimensionDescriptionLabel = "Position"
    dataset.DimensionIndexSequence = [dimension]
    dataset.SharedFunctionalGroupsSequence = [_shared_groups(dataset, place, pixels)]
    dataset.PerFrameFunctionalGroupsSequence = [
        _frame_groups(place, pixels.shape, index) for index in range(frames)
    ]
    if frames == 1:
        _add_classic_place(dataset, place, pixels)
    dataset.PixelData = pixels.stored[0].astype("<u2").tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _add_classic_place(dataset: Any, place: Geometry, pixels: _Pixels) -> None:
    """Repeat the functional groups of a single frame as attributes of a classic image.

    Readers that only know classic images, such as MONAI's PydicomReader, find the position there.
    With several frames they would take the first frame's position for that of all.
    """
    (spacing, _, _), position, orientation = _plane_of(place, pixels.shape, 0)
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = position, orientation
    dataset.PixelSpacing = spacing
    dataset.RescaleIntercept, dataset.RescaleSlope = map(_decimal, (pixels.intercept, pixels.slope))
    dataset.RescaleType = "US"


def _shared_groups(dataset: Any, place: Geometry, pixels: _Pixels) -> Any:
    from pydicom.dataset import Dataset

    spacing, thickness, between = _plane_of(place, pixels.shape, 0)[0]
    measures = _group(PixelSpacing=spacing, SliceThickness=thickness)
    if between is not None:
        measures.SpacingBetweenSlices = between
    anatomy = _group(
        AnatomicRegionSequence=[_code("38266002", "SCT", "Entire body")], FrameLaterality="U"
    )
    frame_type = _group(
        FrameType=["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        PixelPresentation=dataset.PixelPresentation,
        VolumetricProperties=dataset.VolumetricProperties,
        VolumeBasedCalculationTechnique=dataset.VolumeBasedCalculationTechnique,
        ComplexImageComponent=dataset.ComplexImageComponent,
        AcquisitionContrast=dataset.AcquisitionContrast,
    )
    rescale = _group(
        RescaleIntercept=_decimal(pixels.intercept),
        RescaleSlope=_decimal(pixels.slope),
        RescaleType="US",
    )
    centre, width = map(_decimal, pixels.window)
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    groups.PlaneOrientationSequence = [
        _group(ImageOrientationPatient=_plane_of(place, pixels.shape, 0)[2])
    ]
    groups.FrameAnatomySequence = [anatomy]
    groups.MRImageFrameTypeSequence = [frame_type]
    groups.PixelValueTransformationSequence = [rescale]
    groups.FrameVOILUTSequence = [
        _group(WindowCenter=centre, WindowWidth=width, VOILUTFunction="LINEAR_EXACT")
    ]
    return groups


def _frame_groups(place: Geometry, shape: tuple[int, int, int], index: int) -> Any:
    from pydicom.dataset import Dataset

    groups = Dataset()
    groups.FrameContentSequence = [
        _group(
            StackID="1",
            InStackPositionNumber=index + 1,
            DimensionIndexValues=[index + 1],
        )
    ]
    groups.PlanePositionSequence = [_group(ImagePositionPatient=_plane_of(place, shape, index)[1])]
    return groups


def _group(**attributes: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return item


def _plane_of(
    place: Geometry, shape: tuple[int, int, int], index: int
) -> tuple[tuple[list[str], str, str | None], list[str], list[str]]:
    """Return (spacing of rows and columns, thickness, step), position and orientation of a slice.

    The position is the centre of the first pixel, the orientation that of a row, followed by that
    of a column.
    """
    affine = place.affine_lps(shape)
    rows, columns = (float(np.linalg.norm(affine[:3, axis])) for axis in (1, 0))
    step = float(np.linalg.norm(affine[:3, 2]))
    position = affine @ [0, 0, index, 1]
    return (
        (
            [_decimal(rows), _decimal(columns)],
            _decimal(place.slice_thickness_mm(shape[0])),
            _decimal(step) if shape[0] > 1 else None,
        ),
        [_decimal(value) for value in position[:3]],
        [_decimal(value) for value in (*place.read_direction, *place.phase_direction)],
    )


def _decimal(value: float) -> str:
    """Return a number as a decimal string (DS) of at most 16 characters."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)


def _save(dataset: Any, path: Path, sop_class: str) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    dataset.SOPClassUID = UID(sop_class)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationVersionName = "FIRENET_MRI"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def _uid() -> str:
    from pydicom.uid import generate_uid

    return str(generate_uid(prefix=None))


def _version() -> str:
    return version("firenet_mri")


def _plane(dataset: Any, path: Path) -> list[float]:
    """Return the six direction cosines and two spacings of a classic image."""
    try:
        values = [*dataset.ImageOrientationPatient, *dataset.PixelSpacing]
        numbers = [float(value) for value in values]
    except (AttributeError, TypeError, ValueError):
        numbers = []
    if len(numbers) != 8 or not all(map(math.isfinite, numbers)):
        raise DataError(
            f"{path}: the image has no orientation or pixel spacing; give another series"
        )
    return numbers
