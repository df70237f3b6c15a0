"""Restores the options in a certificate, with the files that it identifies by their digests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cyclopts import Parameter

from firenet_mri.cli.options import panel
from firenet_mri.cli.recon import with_maps
from firenet_mri.errors import DataError, UsageError
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.reconstruction.options import ReconstructionOptions

if TYPE_CHECKING:
    from firenet_mri.io.certificates import SavedCertificate

#: Options of reading that the record contains, so that they need not be given again.
RECORDED = (
    "matrix_size",
    "slices",
    "repetitions",
    "encoding",
    "calibration_encoding",
    "group",
    "fft_sign",
    "name_by_digest",
)

#: The flag of the commands that take the options from an image's record.
WEIGHTS = Parameter(
    help="The .safetensors file of the trained network that made the image, if any.",
    group=panel("Input"),
)

# Derived from all fields, so that new file options are not forgotten.
_FILES = tuple(field.name for field in ReadOptions.fields() if Path in get_args(field.annotation))


def recorded_options(
    saved: SavedCertificate, given: ReadOptions, weights: Path | None = None
) -> tuple[ReadOptions, ReconstructionOptions]:
    """Return the options that an image was made with.

    Parameters
    ----------
    saved
        Its certificate.
    given
        The files with which the image was made; a certificate contains only their digests.
    weights
        The file of the trained network that made the image; None if there was none, or an included
        one.

    Raises
    ------
    DataError
        If the certificate contains no options, or if a file differs from the original one.
    UsageError
        If a file is missing or was not used, or if an array was used in its place.
    """
    path = saved.path
    if saved.certificate.not_checkable:
        raise DataError(f"{path}: holds no options. {saved.certificate.not_checkable}")
    stated = saved.report.get("options")
    arrays = stated.get("arrays") if isinstance(stated, Mapping) else None
    if arrays is not None:
        raise UsageError(
            f"{path}: the image was made from arrays, not from a file; check it in Python with "
            f"{arrays}(...).check"
        )
    if isinstance(stated, Mapping) and stated.get("operator") is not None:
        raise UsageError(
            f"{path}: the image was made with an encoding operator that was given in Python; check "
            "it in Python with firenet_mri.reconstruction.check_reconstruction(..., encoding=)"
        )
    record = _checked_record(saved)
    if record["read"].keys() & {"simulation", "kspace_of_image"}:
        raise UsageError(
            f"{path}: the image was made from k-space that was computed from an image, not from a "
            "file; check it in Python with FIRENETReconstruct(...).check"
        )
    reading = ReadOptions.from_mapping({**record["read"], **_files(path, record, given)})
    wanted = dict(record["reconstruction"])
    wanted["network"] = _network(path, wanted.get("network"), weights)
    if isinstance(wanted.get("maps"), Mapping):
        if reading.maps_file is None:
            raise UsageError(f"{path}: its maps were an array; use Python instead")
        # The maps of the file replace them.
        del wanted["maps"]
    return reading, with_maps(reading, ReconstructionOptions.from_mapping(wanted))


def _checked_record(saved: SavedCertificate) -> dict[str, dict[str, Any]]:
    """Return the record, after checking its structure."""
    record = saved.report.get("options")
    parts = ("read", "reconstruction")
    has_parts = isinstance(record, Mapping) and all(
        isinstance(record.get(part), Mapping) for part in parts
    )
    if not isinstance(record, Mapping) or not has_parts:
        raise DataError(f"{saved.path}: its options are damaged; use the file as firenet wrote it")
    for name in _FILES:
        known = record["read"].get(name)
        if known is not None and not isinstance(known, Mapping):
            raise DataError(f"{saved.path}: its {name} is not a digest; use the file as written")
    return {part: dict(record[part]) for part in parts}


def _network(path: Path, stated: object, weights: Path | None) -> dict[str, Any]:
    """Return the recorded options of the network, with the file that replaces its digest."""
    if not isinstance(stated, Mapping):
        raise DataError(f"{path}: its options are damaged; use the file as firenet wrote it")
    known = stated.get("weights")
    if not isinstance(known, Mapping):
        if weights is not None:
            raise UsageError(f"{path}: its image was made without --network FILE; omit it")
        return dict(stated)
    if weights is None:
        raise UsageError(
            f"{path}: its image was made by a trained network in a file with the SHA-256 "
            f"{known.get('sha256_of_file')}; give it with --network"
        )
    found = NetworkOptions(weights=weights)
    if found.to_dict()["weights"] != known:
        raise DataError(f"{weights}: has another SHA-256 than the weights of {path.name}")
    return {**stated, "weights": weights}


def _files(path: Path, record: Mapping[str, Any], given: ReadOptions) -> dict[str, Any]:
    """Return the files that the record names, after checking that they are given and unchanged."""
    files: dict[str, Any] = {}
    digests = given.to_dict()
    flags = {field.name: field.flag for field in ReadOptions.fields()}
    for name in _FILES:
        known, found = record["read"].get(name), getattr(given, name)
        if known is None and found is not None:
            raise UsageError(f"{path}: its image was made without {flags[name]}; omit it")
        if known is None:
            continue
        if "sha256_of_file" not in known:
            raise UsageError(f"{path}: its {name} was an array; use Python instead")
        if found is None:
            raise UsageError(
                f"{path}: its image was made with a file with the SHA-256 "
                f"{known['sha256_of_file']}; give it with {flags[name]}"
            )
        if digests[name] != known:
            raise DataError(f"{found}: has another SHA-256 than the {name} of {path.name}")
        files[name] = found
    return files
