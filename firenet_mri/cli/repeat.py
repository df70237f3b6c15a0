"""``firenet repeat``: an image again, from the record in its certificate."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from firenet_mri.cli.options import Debug, chosen, flag, output_flag, with_flags
from firenet_mri.cli.recon import OutputOptions, reconstruct_file
from firenet_mri.errors import DataError, UsageError
from firenet_mri.io.kspace.options import ReadOptions
from firenet_mri.reconstruction.options import ReconstructionOptions

_FILES = ("mask", "trajectory", "noise_file", "maps_file")
_RECORDED = ("matrix_size", "slices", "repetitions", "encoding", "fft_sign")


@with_flags(ReadOptions, OutputOptions, without=_RECORDED)
def repeat(
    certificate: Annotated[Path, Parameter(help="The .json beside the image.")],
    scan: Annotated[Path, Parameter(help="The scan that the image was made from.")],
    /,
    *,
    output: Annotated[Path, output_flag("Image to write: .nii.gz, .nii, .dcm, .h5 or .mrd.")],
    debug: Debug = False,
    **options: Any,
) -> None:
    """Make an image again with the options in its certificate, and say if it is the same.

    The certificate holds no files, only their digests: give those that the image was made with,
    such as a mask, again.
    """
    from firenet_mri.io import read_certificate

    saved = read_certificate(certificate)
    if saved.certificate.not_checkable:
        raise DataError(f"{certificate}: holds no options. {saved.certificate.not_checkable}")
    record = saved.report["options"]
    given = chosen(ReadOptions, options)
    reading = ReadOptions.from_mapping({**record["read"], **_files(certificate, record, given)})
    wanted = dict(record["reconstruction"])
    if isinstance(wanted["maps"], Mapping):
        if reading.maps_file is None:
            raise UsageError(f"{certificate}: its maps were an array; make the image from Python")
        # The file's maps take their place.
        del wanted["maps"]
    network = ReconstructionOptions.from_mapping(wanted)
    result = reconstruct_file(scan, output, reading, network, chosen(OutputOptions, options))
    digests = result.certificate.digests
    same = digests is not None and digests.pixels == saved.digests.pixels
    said = "the same, bit for bit" if same else "another one"
    sys.stderr.write(f"firenet: the image is {said}\n")


def _files(certificate: Path, record: Mapping[str, Any], given: ReadOptions) -> dict[str, Any]:
    """Return the files that the record names, after checking that they are given and the same."""
    files: dict[str, Any] = {}
    digests = given.to_dict()
    for name in _FILES:
        known, found = record["read"].get(name), getattr(given, name)
        if known is None and found is not None:
            raise UsageError(
                f"{certificate}: its image was made without {flag(name)}; leave it out"
            )
        if known is None:
            continue
        if "sha256_of_file" not in known:
            raise UsageError(f"{certificate}: its {name} was an array; make the image from Python")
        if found is None:
            raise UsageError(
                f"{certificate}: its image was made with a file of SHA-256 "
                f"{known['sha256_of_file']}; give it by {flag(name)}"
            )
        if digests[name] != known:
            raise DataError(f"{found}: has another SHA-256 than the {name} of {certificate.name}")
        files[name] = found
    return files
