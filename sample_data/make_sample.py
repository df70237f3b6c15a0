"""Makes the sample files, all simulated from slices of the MNI152 T1 template.

    python sample_data/make_sample.py [FOLDER]

An 8-coil ISMRMRD scan of one slice and its image: as a reference, as a complex DICOM series and as
a BIDS pair of magnitude and phase; and a small 4-coil scan of three slices with its reference.
Same seed, same files. Needs firenet_mri and nilearn, whose package holds the template.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import ismrmrd
import nibabel
import numpy as np
import sigpy.mri
import torch
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from firenet_mri import Geometry
from firenet_mri.io import read, write_nifti, write_scan
from firenet_mri.io.image.bids import write_bids
from firenet_mri.simulation.sample import directions, sample_of

SEED = 20
SCAN_NAME = "brain_8coil.h5"
REFERENCE_NAME = "brain_8coil_reference.nii.gz"
DICOM_FOLDER = "brain_dicom"
BIDS_FOLDER, BIDS_NAME = "brain_bids/sub-mni152/anat", "sub-mni152_T1w"
SMALL_NAME = "brain_3slices.h5"
SMALL_REFERENCE_NAME = "brain_3slices_reference.nii.gz"

TEMPLATE = Path("datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
TEMPLATE_SLICE = 90

COILS = 8
ROWS, COLUMNS = 180, 216
OVERSAMPLING = 2
LINES, CALIBRATION_LINES = 60, 24
WHITE_MATTER_SNR = 40.0
RAW_UNIT = 1e-6

IMAGE_DWELL_US, NOISE_DWELL_US, NOISE_BANDWIDTH = 4.0, 20.0, 0.793
NOISE_READOUTS, NOISE_SAMPLES = 10, 1024

THICKNESS_MM = 5.0
POSITION_MM = (2.5, -14.0, 31.0)
TILTS_DEG = (12.0, -5.0)

SMALL_SLICES = (80, 90, 100)

VENDOR = "simulated by firenet_mri"


def main(folder: Path) -> None:
    """Write all files to ``folder``, in the place of those that are there."""
    rng = np.random.default_rng(SEED)
    mixing = coil_mixing(rng)
    coil_images, phase = white_coil_images(rng)
    sampled, calibration = phase_lines(rng)
    scan = folder / SCAN_NAME
    write_scan_of_lines(scan, coil_images, mixing, sampled, calibration, rng)
    reference = np.sqrt((np.abs(coil_images) ** 2).sum(axis=0)).astype(np.float32)
    geometry = read(scan).geometry
    write_nifti(
        folder / REFERENCE_NAME,
        torch.from_numpy(reference),
        geometry,
        description="simulated from the MNI152 template, noise-free",
    )
    image = reference * np.exp(1j * phase)
    write_dicom_parts(folder / DICOM_FOLDER, image, geometry)
    (folder / BIDS_FOLDER).mkdir(parents=True, exist_ok=True)
    write_bids(
        folder / BIDS_FOLDER / BIDS_NAME,
        image.astype(np.complex64),
        geometry,
        simulated=True,
        method="simulated from the MNI152 template",
        overwrite=True,
    )
    write_small_scan(folder)


def template_slice(index: int = TEMPLATE_SLICE) -> np.ndarray:
    """Return a slice, (left to right, anterior to posterior), in the middle of the matrix."""
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise SystemExit("nilearn is not installed; install it with: pip install nilearn")
    volume = np.asanyarray(nibabel.load(Path(spec.origin).parent / TEMPLATE).dataobj)
    # The template's axes go to the right, anterior and up.
    head = volume[:, ::-1, index].astype(np.float64)
    inside = np.argwhere(head > 0)
    (first_row, first_column), (last_row, last_column) = inside.min(axis=0), inside.max(axis=0)
    head = head[first_row : last_row + 1, first_column : last_column + 1]
    image = np.zeros((ROWS, COLUMNS))
    top, left = ((n - m) // 2 for n, m in zip(image.shape, head.shape, strict=True))
    image[top : top + head.shape[0], left : left + head.shape[1]] = head
    return image


def white_coil_images(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the noise-free images (coil, y, x), whitened, and the image's phase (y, x).

    Noise has variance 1 then, and white matter the mean root-sum-of-squares WHITE_MATTER_SNR.
    """
    image = template_slice()
    y, x = np.meshgrid(np.linspace(-1, 1, ROWS), np.linspace(-1, 1, COLUMNS), indexing="ij")
    a, b, c = rng.uniform(0.5, 1.0, size=3)
    phase = a * y + b * x**2 + c * np.cos(2 * x * y + 1)
    maps = sigpy.mri.birdcage_maps((COILS, ROWS, COLUMNS), dtype=np.complex128)
    images = maps * image * np.exp(1j * phase)
    magnitude = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    white_matter = image > 0.85 * np.percentile(image[image > 0], 95)
    return images * WHITE_MATTER_SNR / magnitude[white_matter].mean(), phase


def coil_mixing(rng: np.random.Generator) -> np.ndarray:
    """Return L (coil, coil), lower triangular; the noise of the coils has the covariance L L^H."""
    coupling = rng.standard_normal((COILS, COILS, 2)) @ [1, 1j]
    gains = np.diag(rng.uniform(0.8, 1.25, COILS))
    factor = gains @ (np.eye(COILS) + 0.2 / np.sqrt(2) * coupling / np.sqrt(COILS))
    return RAW_UNIT * np.linalg.cholesky(factor @ factor.conj().T)


def phase_lines(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the sampled rows in order, and which rows are calibration lines."""
    distance = np.abs(np.arange(ROWS) - ROWS // 2)
    calibration = np.arange(ROWS // 2 - CALIBRATION_LINES // 2, ROWS // 2 + CALIBRATION_LINES // 2)
    density = 1 - distance / (ROWS // 2 + 1)
    density[calibration] = 0
    outer = rng.choice(
        ROWS, LINES - CALIBRATION_LINES, replace=False, p=density / density.sum(), shuffle=False
    )
    return np.sort(np.concatenate([calibration, outer])), calibration


def write_scan_of_lines(
    path: Path,
    coil_images: np.ndarray,
    mixing: np.ndarray,
    sampled: np.ndarray,
    calibration: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Write the readouts that a scanner would have written of these whitened coil images."""
    before = COLUMNS * OVERSAMPLING // 2 - COLUMNS // 2
    wide = np.pad(
        coil_images, ((0, 0), (0, 0), (before, COLUMNS * OVERSAMPLING - COLUMNS - before))
    )
    kspace = np.fft.fftshift(
        np.fft.fft2(np.fft.ifftshift(wide, axes=(1, 2)), norm="ortho"), axes=(1, 2)
    )
    noise_scale = np.sqrt(IMAGE_DWELL_US / NOISE_DWELL_US * NOISE_BANDWIDTH)
    readouts = [
        noise_readout(mixing @ complex_noise(rng, NOISE_SAMPLES) * noise_scale)
        for _ in range(NOISE_READOUTS)
    ]
    for row in sampled:
        samples = mixing @ (kspace[:, row] + complex_noise(rng, kspace.shape[2]))
        readouts.append(image_readout(samples, int(row), bool(row in calibration)))
    path.unlink(missing_ok=True)
    with ismrmrd.File(path, "w") as file:
        dataset = file["dataset"]
        dataset.header = header()
        dataset.acquisitions = readouts


def complex_noise(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Return white noise (coil, samples) with variance 1 a complex sample."""
    return rng.standard_normal((COILS, samples, 2)) @ [1, 1j] / np.sqrt(2)


def noise_readout(samples: np.ndarray) -> ismrmrd.Acquisition:
    """Return a readout of noise alone."""
    acquisition = ismrmrd.Acquisition.from_array(
        samples.astype(np.complex64), sample_time_us=NOISE_DWELL_US
    )
    acquisition.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    return acquisition


def image_readout(samples: np.ndarray, row: int, calibration: bool) -> ismrmrd.Acquisition:
    """Return an imaging readout with its place in k-space and in the scanner."""
    acquisition = ismrmrd.Acquisition.from_array(
        samples.astype(np.complex64),
        sample_time_us=IMAGE_DWELL_US,
        center_sample=samples.shape[1] // 2,
    )
    acquisition.idx.kspace_encode_step_1 = row
    read, phase, normal = directions(TILTS_DEG)
    acquisition.position[:] = POSITION_MM
    acquisition.read_dir[:] = read
    acquisition.phase_dir[:] = phase
    acquisition.slice_dir[:] = normal
    if calibration:
        acquisition.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING)
    return acquisition


def header() -> ismrmrd.xsd.ismrmrdHeader:
    """Return the ISMRMRD header; the system vendor says that the scan is simulated."""
    xsd = ismrmrd.xsd

    def space(columns: int) -> ismrmrd.xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=columns, y=ROWS, z=1),
            fieldOfView_mm=xsd.fieldOfViewMm(x=float(columns), y=float(ROWS), z=THICKNESS_MM),
        )

    encoding = xsd.encodingType(
        encodedSpace=space(COLUMNS * OVERSAMPLING),
        reconSpace=space(COLUMNS),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=ROWS - 1, center=ROWS // 2)
        ),
        trajectory=xsd.trajectoryType.CARTESIAN,
        parallelImaging=xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(
                kspace_encoding_step_1=round(ROWS / LINES), kspace_encoding_step_2=1
            ),
            calibrationMode=xsd.calibrationModeType.EMBEDDED,
        ),
    )
    return xsd.ismrmrdHeader(
        version=1,
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemVendor=VENDOR,
            systemFieldStrength_T=3.0,
            relativeReceiverNoiseBandwidth=NOISE_BANDWIDTH,
            receiverChannels=COILS,
        ),
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=127_728_000),
        encoding=[encoding],
    )


def write_dicom_parts(folder: Path, image: np.ndarray, geometry: Geometry) -> None:
    """Write an image (y, x) as DICOM: a file with the real part, and one with the imaginary."""
    folder.mkdir(exist_ok=True)
    slope = float(max(np.abs(image.real).max(), np.abs(image.imag).max())) / 32_767
    affine = geometry.affine_lps((1, ROWS, COLUMNS))
    for letter, part in (("R", image.real), ("I", image.imag)):
        path = folder / f"{letter}.dcm"
        dataset = new_dataset(path, letter)
        dataset.ImageOrientationPatient = [f"{value:.10g}" for value in affine[:3, :2].T.ravel()]
        dataset.ImagePositionPatient = [f"{value:.10g}" for value in affine[:3, 3]]
        dataset.PixelSpacing = [1.0, 1.0]
        dataset.SliceThickness = THICKNESS_MM
        dataset.Rows, dataset.Columns = part.shape
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = f"{slope:.10g}", 0
        dataset.PixelData = np.round(part / slope).astype("<i2").tobytes()
        dataset.save_as(path, enforce_file_format=True)


def new_dataset(path: Path, letter: str) -> FileDataset:
    """Return an MR image without pixels; its identifiers are the same every time."""
    instance, series, study, frame = (
        generate_uid(entropy_srcs=[VENDOR, what])
        for what in (letter, f"{letter}s", "study", "place")
    )
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.FrameOfReferenceUID = frame
    dataset.Modality, dataset.Manufacturer = "MR", VENDOR
    dataset.ImageType = ["DERIVED", "SECONDARY", letter]
    dataset.ImageComments = "simulated from the MNI152 template, noise-free"
    dataset.PatientName, dataset.PatientID = "MNI152", "MNI152"
    dataset.SeriesNumber, dataset.InstanceNumber = "RI".index(letter) + 1, 1
    return dataset


def write_small_scan(folder: Path) -> None:
    """Write three slices of 2 mm, 10 mm apart, as 4 coils measure them, and their reference."""
    slices = np.stack([template_slice(index) for index in SMALL_SLICES])
    shape = (len(slices), ROWS // 2, 2, COLUMNS // 2, 2)
    magnitude = torch.from_numpy(slices.reshape(shape).mean(axis=(2, 4)).astype(np.float32))
    head = magnitude > 0.1 * magnitude.max()
    # In units of the noise, as a reconstruction of the whitened scan is.
    reference = magnitude * WHITE_MATTER_SNR / magnitude[head].mean()
    write_scan(folder / SMALL_NAME, sample_of(reference), overwrite=True)
    write_nifti(
        folder / SMALL_REFERENCE_NAME,
        reference,
        read(folder / SMALL_NAME).geometry,
        description="simulated from the MNI152 template, noise-free",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)
