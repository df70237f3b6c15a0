"""Small files of every reader, for tools/fuzz_readers.py: what is read, and how its samples are."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import ismrmrd
import nibabel
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE), str(HERE / "kspace")]
sys.path.append(str(HERE / "image"))

import dicom_series
from dicom_series import classic, enhanced
from mrd_scans import make_header, make_readout, make_readouts
from twix_files import Line, protocol, twix_vb, twix_vd

from firenet_mri import read
from firenet_mri.io.image.reading import read_image
from firenet_mri.io.kspace.bart import write_cfl
from firenet_mri.reconstruction.data_warnings.scan import warnings_before
from tests.io.kspace.test_bruker import write_experiment
from tests.io.kspace.test_ge import kspace_with_its_centre_in_the_middle, p_file
from tests.io.kspace.test_philips import GENERAL, lines_of, write_export

COILS, SLICES, ROWS, COLUMNS = 3, 2, 16, 24
Samples = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Found:
    """What came of a file: its samples, and what is odd about them, which a user is told."""

    samples: Samples
    warnings: Callable[[], tuple[str, ...]] = tuple


@dataclass(frozen=True)
class Subject:
    """A file, or files that belong together.

    Parameters
    ----------
    name
        Of the reader and the form.
    make
        Writes it into a folder, with samples drawn with a seed, and returns what is to be read.
    read
        Returns what a path holds.
    """

    name: str
    make: Callable[[Path, int], Path]
    read: Callable[[Path], Found]


def kspace(seed: int) -> np.ndarray:
    """Return (slice, coil, y, x) of blobs in the middle, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1 : 1 : 1j * ROWS, -1 : 1 : 1j * COLUMNS]
    blobs = [
        np.exp(-8 * ((y - 0.1 * i) ** 2 + (x + 0.1 * i) ** 2)) * (1 + 0.2 * i) for i in range(COILS)
    ]
    image = np.stack([blobs, blobs[::-1]])
    found = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1))), axes=(-2, -1))
    return (found + 0.1 * (rng.normal(size=(*found.shape, 2)) @ [1, 1j])).astype(np.complex64)


def _scan(path: Path) -> Found:
    scan = read(path)
    arrays = (scan.kspace * scan.mask, scan.mask, scan.noise)
    samples = tuple(array.numpy() for array in arrays if array is not None)
    return Found(samples, lambda: tuple(warning.sentence for warning in warnings_before(scan)))


def _image(path: Path) -> Found:
    return Found((read_image(path)[0].numpy(),))


def _mrd(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed + 100)
    header = make_header((COLUMNS, ROWS, 1), vendor="ACME")
    limits = header.encoding[0].encodingLimits
    limits.slice = ismrmrd.xsd.limitType(minimum=0, maximum=SLICES - 1, center=0)
    noise = rng.normal(size=(COILS, 64, 2)) @ [1, 1j]
    lines = [make_readout(noise, flags=[19], sample_time_us=5.0)]
    for number, data in enumerate(kspace(seed)):
        place = {"counters": {"slice": number}, "position": (5.0 * number, 0, 0)}
        lines += make_readouts(data, sample_time_us=5.0, **place)
    path = folder / "scan.h5"
    with ismrmrd.File(path, "w") as file:
        file["dataset"].header, file["dataset"].acquisitions = header, lines
    return path


def _fastmri(folder: Path, seed: int) -> Path:
    path = folder / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = kspace(seed)
        file["mask"] = np.ones(COLUMNS, np.float32)
        file["ismrmrd_header"] = ismrmrd.xsd.ToXML(make_header((ROWS, COLUMNS, 1)))
    return path


def _siemens(folder: Path, seed: int, version: str) -> Path:
    lines = [
        Line(data[:, row], {"Lin": row, "Sli": number}, centre=(12, 8, 0), position=(0, 0, number))
        for number, data in enumerate(kspace(seed))
        for row in range(ROWS)
    ]
    head = protocol(COLUMNS // 2, ROWS, extra=f"sSliceArray.lSize = {SLICES}\n")
    path = folder / "scan.dat"
    path.write_bytes(twix_vd([(head, lines)]) if version == "vd" else twix_vb(head, lines))
    return path


def _ge(folder: Path, seed: int) -> Path:
    path = folder / "P00001.7"
    content = kspace_with_its_centre_in_the_middle()
    rng = np.random.default_rng(seed)
    path.write_bytes(p_file(content + rng.integers(-9, 9, content.shape).astype(np.int32)))
    return path


def _philips(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(2, 9, 16, 2)) @ [1, 1j]
    noise = [("NOI", {"chan": coil}, rng.normal(size=32) + 1j) for coil in range(2)]
    return write_export(folder, [*noise, *lines_of(data)], GENERAL)


def _bruker(folder: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    data = rng.integers(-999, 999, (1, 1, 16, COILS, COLUMNS, 2)) @ [1, 1j]
    return write_experiment(folder, data, list(range(-8, 8)), rows=16)


def _bart(folder: Path, seed: int) -> Path:
    write_cfl(folder / "scan.cfl", kspace(seed)[:, :, None])
    return folder / "scan.cfl"


def _npy(folder: Path, seed: int) -> Path:
    np.save(folder / "scan.npy", kspace(seed)[0])
    return folder / "scan.npy"


def _voxels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, 10, 6))


def _nifti(folder: Path, seed: int, name: str) -> Path:
    path = folder / name
    kind = nibabel.Nifti2Image if "2" in name else nibabel.Nifti1Image
    nibabel.save(kind(_voxels(seed).astype(np.float32), np.diag([2.0, 2, 3, 1])), path)
    return path


def _with_the_same_identifiers() -> None:
    """Make identifiers of one length that come again, lest all bytes differ from file to file."""
    numbers = itertools.count(10**9)
    dicom_series.generate_uid = lambda: f"1.2.826.0.1.3680043.8.498.{next(numbers)}"


def _dicom(folder: Path, seed: int) -> Path:
    _with_the_same_identifiers()
    series = folder / "series"
    series.mkdir()
    stored = (1000 * np.abs(_voxels(seed))).astype(np.int64)[..., :4]
    classic(series, stored, ["ORIGINAL", "PRIMARY", "M"], np.eye(3)[:2], "1.2.3")
    return series


def _enhanced(folder: Path, seed: int) -> Path:
    _with_the_same_identifiers()
    stored = (1000 * np.abs(_voxels(seed))).astype(np.int64)
    enhanced(folder / "image.dcm", {"MAGNITUDE": stored}, np.eye(3)[:2], 0.5)
    return folder / "image.dcm"


SUBJECTS = (
    Subject("ISMRMRD", _mrd, _scan),
    Subject("fastMRI", _fastmri, _scan),
    Subject("Siemens VD", lambda folder, seed: _siemens(folder, seed, "vd"), _scan),
    Subject("Siemens VB", lambda folder, seed: _siemens(folder, seed, "vb"), _scan),
    Subject("GE", _ge, _scan),
    Subject("Philips", _philips, _scan),
    Subject("Bruker", _bruker, _scan),
    Subject("BART", _bart, _scan),
    Subject("NumPy", _npy, _scan),
    Subject("NIfTI", lambda folder, seed: _nifti(folder, seed, "image.nii"), _image),
    Subject("NIfTI-2, packed", lambda folder, seed: _nifti(folder, seed, "image2.nii.gz"), _image),
    Subject("DICOM", _dicom, _image),
    Subject("DICOM, enhanced", _enhanced, _image),
)
