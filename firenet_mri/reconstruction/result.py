"""An image, its position, and what is proven about it; and the files to which it is saved."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from firenet_mri.digests import Digests, digest_of_data, digest_of_file, digest_of_tensor
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.certificate import Certificate
from firenet_mri.firenet.certificate.evidence import Evidence
from firenet_mri.io import (
    Panel,
    atomic_writes,
    check_outputs,
    write_certificate,
    write_picture,
)
from firenet_mri.io.evidence import evidence_path, write_evidence
from firenet_mri.io.image.bids import write_bids
from firenet_mri.io.image.dicom import DicomReference, check_place, write_dicom_series
from firenet_mri.io.image.film import Pace, check_film, order_of, pace_of_images, write_film
from firenet_mri.io.image.labels import films_of, labels_of, time_axis
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.image.writing import write_image
from firenet_mri.metrics import nmse, psnr, ssim, units_factor
from firenet_mri.operators.links import Chain
from firenet_mri.plurals import counted
from firenet_mri.reconstruction.checkpoint import FinishedSlice
from firenet_mri.reconstruction.data_warnings.places import places_of
from firenet_mri.reconstruction.data_warnings.warning import DataWarning, warnings_of
from firenet_mri.reconstruction.jacobian_picture import write_jacobian_picture
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Prepared
from firenet_mri.resizing import on_scanner_grid
from firenet_mri.scan import RawScan

_log = logging.getLogger(__name__)

# Digits that identify weights where there is little room.
_SHORT_DIGEST = 16


@dataclass(frozen=True)
class NetworkSummary:
    """Summary of the network that was used for a scan.

    Parameters
    ----------
    layers
        Number of layers.
    lam, sparsifier, schedule
        Weight of the sparsity, transform and steps; None for a network that minimises nothing.
    weights, training
        SHA-256 of trained weights, and of the report of their training; None if there are none.
    """

    layers: int
    lam: float | None = None
    sparsifier: str | None = None
    schedule: str | None = None
    weights: str | None = None
    training: str | None = None

    @classmethod
    def of(cls, net: Network) -> NetworkSummary:
        """Return the summary of a network."""
        return cls(**net.summary())

    @property
    def method(self) -> str:
        """The method that made the image, in a few words."""
        return "FIRENET" if self.weights is None else "FIRENET, trained network"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that are not None as plain data."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Timings:
    """Seconds per part of a reconstruction, summed over slices, several of which run at once."""

    calibration_s: float
    network_s: float
    certificate_s: float


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """An image, its position, and what is proven about it.

    Parameters
    ----------
    image
        (..., *spatial) complex64, zero where the maps are; with several map sets, the first axis
        counts them. In units of the noise standard deviation if the scan was whitened, otherwise in
        the units of the data.
    zero_filled
        A^H y of the same shape: the zero-filled image, without the method.
    certificate
        What is proven, slice by slice.
    options, network, timings
        The options, the network that was used, and the time that each part took.
    scan
        The scan as it went into the network, whitened if it had a noise measurement.
    evidence
        What others need to check the certificate.
    sensitive
        With ``jacobian``, of the image's shape: the effect on the image of the most amplified small
        change of the data, of size 1.
    operator
        The record of the user's own encoding operator; empty if there was none.
    """

    image: Tensor
    zero_filled: Tensor
    certificate: Certificate
    options: ReconstructionOptions
    network: NetworkSummary
    timings: Timings
    scan: RawScan
    evidence: Evidence
    sensitive: Tensor | None = None
    operator: Mapping[str, object] = field(default_factory=dict)

    def save(
        self,
        path: str | Path,
        *,
        overwrite: bool = False,
        complex_image: bool = False,
        reference: Tensor | None = None,
        dicom_reference: DicomReference | None = None,
        scanner_matrix: bool = False,
        evidence: bool = True,
        key: Path | None = None,
        removing: Sequence[Path] = (),
    ) -> SavedFiles:
        """Write image, picture, certificate and its evidence; return their paths.

        Parameters
        ----------
        path
            The image: ``NAME.nii.gz`` or ``NAME.nii``, ``NAME.dcm`` (enhanced DICOM), ``NAME.h5``
            or ``NAME.mrd`` (MRD image); the picture is ``NAME.png``, the certificate ``NAME.json``,
            its evidence ``NAME.evidence.h5``, and with ``jacobian`` there is a second picture,
            ``NAME.jacobian.png``.
        overwrite
            Replace existing files; evidence and second picture of the old image are removed, too.
        complex_image
            Write the complex image instead of its magnitude.
        reference
            Magnitude image of the same shape, for an error map, PSNR and SSIM.
        dicom_reference
            Series whose study the DICOM image joins.
        scanner_matrix
            Write the image on the scanner's own grid, see :mod:`firenet_mri.resizing`. The
            certificate is that of the image before resizing, and states this.
        evidence
            Write what others need to check the certificate, see docs/certificates.md.
        key
            Private Ed25519 key, a PEM file, that signs the certificate.
        removing
            Further files to remove with the replaced ones, such as a report on them.

        Raises
        ------
        FileError
            If a file exists or the folder cannot be written; then nothing is written.
        ShapeError
            If the reference has another shape.
        DataError
            If the certificate does not belong to this image, or a DICOM image has no position.
        """
        files = output_paths(
            path,
            overwrite=overwrite,
            evidence=evidence,
            sensitivity=self.sensitive is not None,
        )
        if files.image.suffix == ".dcm":
            check_place(self.scan.geometry, dicom_reference, str(path))
        digests = self._own_digests()
        target, accuracy = self._compared(reference)
        image, scan = self._shown(scanner_matrix, complex_image=complex_image)
        # Files beside the replaced image would otherwise be taken for this image's.
        every = files_of(path, sensitivity=True).paths if overwrite else ()
        stale = [*(one for one in every if one not in files.paths), *removing]
        report = self.report(accuracy)
        if scanner_matrix:
            report["resized_to_the_scanners_grid"] = list(image.shape)
        with atomic_writes(files.paths, overwrite=overwrite, removing=stale) as temporary:
            place = dict(zip(files.paths, temporary, strict=True))
            written = place[files.image]
            write_image(
                written, image, scan, description=self._description(), reference=dicom_reference
            )
            self._write_picture(place[files.picture], target, accuracy)
            if files.evidence is not None:
                write_evidence(place[files.evidence], self.evidence)
                report["evidence"] = digest_of_file(place[files.evidence])
            if files.sensitivity is not None:
                self._write_jacobian_picture(place[files.sensitivity])
            digests = replace(digests, file=digest_of_file(written))
            signed = replace(self.certificate, digests=digests)
            write_certificate(place[files.certificate], signed, report, key=key)
        return files

    def _compared(self, reference: Tensor | None) -> tuple[Tensor | None, Accuracy | None]:
        """Return a reference in the units of the image, and how the image compares with it."""
        if reference is None:
            return None, None
        accuracy = self.accuracy(reference)
        if accuracy.reference_factor == 1:
            return reference, accuracy
        _log.warning("%s", accuracy.other_units)
        return accuracy.reference_factor * reference, accuracy

    def _write_picture(
        self, path: Path, reference: Tensor | None, accuracy: Accuracy | None
    ) -> None:
        panels = [
            Panel("Zero-filled", self.combined(self.zero_filled)),
            Panel(self.network.method, self.magnitude, _note(accuracy)),
        ]
        write_picture(
            path,
            panels,
            reference=None if reference is None else Panel("Reference", reference),
            geometry=self.scan.geometry,
            caption=self._caption(),
            names=self._slice_names(),
            film=self._film(),
        )

    def _write_jacobian_picture(self, path: Path) -> None:
        assert self.sensitive is not None
        write_jacobian_picture(
            path,
            self.magnitude,
            self.combined(self.sensitive),
            self.certificate,
            geometry=self.scan.geometry,
            name=self.scan.name,
        )

    def save_dicom_series(
        self,
        folder: str | Path,
        *,
        reference: DicomReference | None = None,
        scanner_matrix: bool = False,
        overwrite: bool = False,
    ) -> list[Path]:
        """Write the magnitude as classic MR images, one file per slice; return the files.

        See :func:`firenet_mri.io.image.dicom.write_dicom_series` for the folder, the reference and
        the errors. The certificate's file digest is that of another file; its ``pixels`` are these.
        """
        image, scan = self._shown(scanner_matrix)
        return write_dicom_series(
            Path(folder),
            image.numpy(force=True),
            scan.geometry,
            description=self._description(),
            simulated=self.scan.simulated,
            volume=self.scan.spatial_ndim == 3,
            parameters=self.scan.parameters,
            names=self.scan.images,
            reference=reference,
            overwrite=overwrite,
        )

    def save_film(
        self,
        path: str | Path,
        *,
        frame_rate: float | None = None,
        scanner_matrix: bool = False,
        overwrite: bool = False,
    ) -> Pace:
        """Write the magnitude of several images as a film; return its pace.

        Parameters
        ----------
        path
            ``NAME.gif``, or ``NAME.mp4`` if an encoder is available.
        frame_rate
            Frames per second; None is the rate at which the images were taken, if known.
        scanner_matrix, overwrite
            See :meth:`save`.

        Raises
        ------
        UsageError
            If the scan is one image, the suffix is not a film's, or there is no encoder.
        FileError
            If the file exists or cannot be written.
        """
        check_film(Path(path))
        if len(self.scan.images) < 2:
            raise UsageError(
                f"{path}: {self.scan.name} is one image; a film needs several that follow one "
                "another"
            )
        image, scan = self._shown(scanner_matrix)
        labels = labels_of(scan.images, scan.parameters)
        pace = pace_of_images(labels, frame_rate)
        with atomic_writes([Path(path)], overwrite=overwrite) as (file,):
            shape = (len(labels), -1, *image.shape[-2:])
            frames = image.reshape(shape)[order_of(labels)].numpy(force=True)
            write_film(file, frames, scan.geometry, pace)
        return pace

    def save_bids_pair(
        self, stem: str | Path, *, scanner_matrix: bool = False, overwrite: bool = False
    ) -> list[Path]:
        """Write magnitude and phase with sidecars in BIDS form; return the files.

        See :func:`firenet_mri.io.image.bids.write_bids` for the names and the errors.
        """
        if self.options.map_sets > 1:
            raise UsageError(
                f"{stem}: several map sets do not have a single phase; write the magnitude"
            )
        image, scan = self._shown(scanner_matrix, complex_image=True)
        return write_bids(
            Path(stem),
            image.numpy(force=True),
            scan.geometry,
            parameters=self.scan.parameters,
            names=self.scan.images,
            simulated=self.scan.simulated,
            method=self.network.method,
            weights=self.network.weights,
            overwrite=overwrite,
        )

    @property
    def record(self) -> dict[str, object]:
        """How the image was made, as plain data: enough to make it again from the scan.

        Of a user's own operator only the name is recorded.
        """
        plain = {"read": dict(self.scan.record), "reconstruction": self.options.key()}
        return plain | dict(self.operator)

    @property
    def is_whitened(self) -> bool:
        """True if the image is in units of the noise standard deviation."""
        return Chain(self.scan.applied).is_whitened

    @property
    def settings(self) -> SimpleNamespace:
        """Former name of ``options`` and ``network``, which will be removed in 0.4."""
        warnings.warn(
            "Reconstruction.settings is now options and network; settings will be removed in 0.4",
            DeprecationWarning,
            stacklevel=2,
        )
        values = {**self.options.flat(), **self.network.to_dict()}
        return SimpleNamespace(**values, whitened=self.is_whitened)

    @property
    def magnitude(self) -> Tensor:
        """(..., *spatial) float32; for several map sets their root-sum-of-squares."""
        return self.combined(self.image)

    @property
    def warnings(self) -> tuple[DataWarning, ...]:
        """Warnings about the data, see docs/certificates.md; empty for most scans."""
        return warnings_of(self.certificate)

    @property
    def warning_lines(self) -> tuple[str, ...]:
        """The warnings about the data as text, with the slices to which they refer."""
        places = places_of(self.scan, self.certificate.items, self.options.joint)
        return tuple(warning.line(places) for warning in self.warnings)

    def combined(self, image: Tensor) -> Tensor:
        """Return the magnitude of an image like this one; for map sets the root-sum-of-squares."""
        if self.options.map_sets == 1:
            return image.abs()
        return torch.linalg.vector_norm(image, dim=0)

    def _shown(
        self, scanner_matrix: bool, *, complex_image: bool = False
    ) -> tuple[Tensor, RawScan]:
        """Return the image and the scan with its geometry, on the scanner's grid if wanted."""
        scan, image = self.scan, self.image
        if scanner_matrix:
            image, scan = on_scanner_grid(image, scan)
        return (image if complex_image else self.combined(image)), scan

    def _description(self) -> str:
        weights = self.network.weights
        network = f"FIRENET {self.options.network.preset}"
        if weights is not None:
            network = f"trained weights {weights[:_SHORT_DIGEST]}"
        return f"firenet_mri {_version()}, {network}, with certificate"

    def _own_digests(self) -> Digests:
        """Return the certificate's digests, after checking that the certificate is this image's."""
        digests = self.certificate.digests
        if digests is None:
            raise DataError(
                f"{self.scan.name}: the certificate does not state to which image it belongs; save "
                "the result of reconstruct()"
            )
        if digests.pixels != digest_of_tensor(self.image):
            raise DataError(
                f"{self.scan.name}: the image was changed after its certificate was made; save the "
                "result of reconstruct()"
            )
        if digests.parameters != digest_of_data(self.record):
            raise DataError(
                f"{self.scan.name}: the options are not those of the certificate; save the result "
                "of reconstruct()"
            )
        return digests

    def accuracy(self, reference: Tensor) -> Accuracy:
        """Return how far the magnitude is from a reference of the same shape.

        If the reference is in other units than the image, which may be in noise standard
        deviations, it is multiplied by the factor that brings it nearest to the image.
        """
        magnitude = self.magnitude
        factor = units_factor(reference, magnitude) if reference.shape == magnitude.shape else 1.0
        truth = reference if factor == 1 else factor * reference
        return Accuracy(
            psnr(truth, magnitude), ssim(truth, magnitude), nmse(truth, magnitude), factor
        )

    def _slice_names(self) -> list[str]:
        """Return the names of the image's slices, as ``--slices`` counts; else nothing."""
        if self.scan.spatial_ndim == 3:
            return []
        return [name.removeprefix("slice ") for name in places_of(self.scan)]

    def _film(self) -> list[int]:
        """Return the indices, among all slices of all images, of the middle slice's film."""
        labels = labels_of(self.scan.images, self.scan.parameters)
        if self.scan.spatial_ndim == 3 or time_axis(labels) is None:
            return []
        slices = self.scan.batch_shape[1] if len(self.scan.batch_shape) > 1 else 1
        return [index * slices + slices // 2 for index in films_of(labels)[0]]

    def _caption(self) -> str:
        kind = "simulated scan" if self.scan.simulated else "scan"
        name = (
            f"{self.scan.name} ({kind}, {counted(self.scan.coils, 'coil')}, "
            f"{100 * self.scan.sampled_fraction:.0f} % sampled)"
        )
        places = places_of(self.scan, self.certificate.items, self.options.joint)
        return "\n".join([name, *(warning.title(places) for warning in self.warnings)])

    def report(self, accuracy: Accuracy | None) -> dict[str, object]:
        """Return what is known about this reconstruction as plain data, as in its file."""
        return {
            **described(self.scan, self.network),
            "accuracy_against_reference": None if accuracy is None else asdict(accuracy),
            "warnings": list(self.warning_lines),
            "options": self.record,
            "device": self.options.device,
            "timings": asdict(self.timings),
            "versions": versions(),
        }


@dataclass(frozen=True)
class Accuracy:
    """Comparison of a magnitude image with a reference, in fastMRI's definitions."""

    psnr_db: float
    ssim: float
    nmse: float
    #: Factor applied to a reference in other units; 1 if the units are the same.
    reference_factor: float = 1.0

    @property
    def other_units(self) -> str:
        """A sentence on the factor."""
        return (
            "The reference is in other units than the image; it was multiplied by "
            f"{self.reference_factor:.4g}, which brings it nearest to the image, before the "
            "comparison."
        )


@dataclass(frozen=True)
class SavedFiles:
    """The files of a saved reconstruction; None for those that were not requested.

    ``sensitivity`` is the second picture, ``evidence`` what others need to check the certificate.
    """

    image: Path
    picture: Path
    certificate: Path
    evidence: Path | None = None
    sensitivity: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files, in this order."""
        files = (self.image, self.picture, self.certificate, self.evidence, self.sensitivity)
        return tuple(path for path in files if path is not None)


def output_paths(
    path: str | Path,
    *,
    overwrite: bool = False,
    evidence: bool = True,
    sensitivity: bool = False,
) -> SavedFiles:
    """Return the paths of an image's files, after checking that they can be written.

    Raises
    ------
    UsageError
        If the image's name does not have an image's suffix.
    FileError
        If a file exists and must not be replaced, or the folder is missing or not writable.
    """
    files = files_of(path, evidence=evidence, sensitivity=sensitivity)
    check_outputs(files.paths, overwrite=overwrite)
    return files


def files_of(path: str | Path, *, evidence: bool = True, sensitivity: bool = False) -> SavedFiles:
    """Return the paths of an image's files, or raise UsageError if its suffix is not an image's."""
    image = Path(path)
    stem = image_stem(image)
    return SavedFiles(
        image,
        image.with_name(f"{stem}.png"),
        image.with_name(f"{stem}.json"),
        evidence_path(image, stem) if evidence else None,
        image.with_name(f"{stem}.jacobian.png") if sensitivity else None,
    )


def assemble(
    prepared: Prepared, results: Sequence[FinishedSlice], setup_s: float
) -> Reconstruction:
    """Return the reconstruction from the results of all items.

    Parameters
    ----------
    prepared
        The scan, its options and network.
    results
        One per item, in order.
    setup_s
        Seconds of the preparation.
    """
    image, zero_filled = (
        image_of(prepared, images)
        for images in zip(*((r.image, r.zero_filled) for r in results), strict=True)
    )
    digests = Digests(
        *prepared.digests,
        maps=digest_of_data([result.maps_digest for result in results]),
        parameters=digest_of_data(prepared.record),
        pixels=digest_of_tensor(image),
    )
    certificate = Certificate.join([result.certificate for result in results])
    certificate = certificate.with_entries(*(one.entry() for one in prepared.warnings))
    changes = [result.sensitive for result in results]
    sensitive = None
    if any(change is not None for change in changes):
        pairs = zip(changes, results, strict=True)
        zeros = [torch.zeros_like(r.image) if change is None else change for change, r in pairs]
        sensitive = image_of(prepared, zeros)
    return Reconstruction(
        image=image,
        zero_filled=zero_filled,
        certificate=replace(certificate, digests=digests),
        options=prepared.options,
        network=NetworkSummary.of(prepared.net),
        timings=Timings(
            setup_s + sum(result.calibration_s for result in results),
            sum(result.network_s for result in results),
            sum(result.certificate_s for result in results),
        ),
        scan=prepared.scan,
        evidence=Evidence.join([result.evidence for result in results]),
        sensitive=sensitive,
        operator=prepared.operator_record,
    )


def described(scan: RawScan, network: NetworkSummary) -> dict[str, object]:
    """Return, as plain data, what follows from a whitened and compressed scan and its network."""
    is_whitened = Chain(scan.applied).is_whitened
    labels = [label.to_dict() for label in labels_of(scan.images, scan.parameters)]
    return {
        "scan": {
            "name": scan.name,
            "simulated": scan.simulated,
            "coils": scan.coils,
            "kspace_shape": list(scan.kspace.shape),
            "sampled_fraction": scan.sampled_fraction,
            **({"images": labels} if scan.images else {}),
        },
        "image_units": "noise standard deviations" if is_whitened else "as the data",
        "network": network.to_dict(),
    }


def image_of(prepared: Prepared, images: Sequence[Tensor]) -> Tensor:
    """Return the images of all items as one, ([set,] *batch, *spatial)."""
    planes, count = prepared.planes, prepared.options.map_sets
    if prepared.groups:
        order = [index for group in prepared.groups for index in group]
        frames = torch.cat(list(images))[torch.tensor(order).argsort()]
        image = frames.reshape(*planes.batch_shape, *planes.spatial_shape)
        return _with_readout(image) if prepared.options.by_readout else image
    sets = () if count == 1 else (count,)
    image = torch.stack(list(images)).reshape(*planes.batch_shape, *sets, *planes.spatial_shape)
    if sets:
        image = image.movedim(len(planes.batch_shape), 0)
    return _with_readout(image) if prepared.options.by_readout else image


def _with_readout(planes: Tensor) -> Tensor:
    """Return volumes (..., z, y, x) from their planes (..., x, z, y)."""
    return planes.movedim(-3, -1).contiguous()


def _note(accuracy: Accuracy | None) -> str:
    if accuracy is None:
        return ""
    return f"PSNR {accuracy.psnr_db:.1f} dB, SSIM {accuracy.ssim:.3f}"


def versions() -> dict[str, str]:
    """Return the versions of what computed the image."""
    packages = ("firenet_mri", "torch", "numpy", "sigpy")
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str = "firenet_mri") -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
