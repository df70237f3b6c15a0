"""``firenet repeat``: reconstructs an image again from the record in its certificate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from firenet_mri.cli.early import check_image, check_inputs, check_replaces_none
from firenet_mri.cli.options import Debug, chosen, output_flag, with_flags
from firenet_mri.cli.recon import OutputOptions, reconstruct_file
from firenet_mri.cli.record import RECORDED, WEIGHTS, recorded_options
from firenet_mri.io.image.suffixes import image_stem
from firenet_mri.io.kspace.options import ReadOptions


@with_flags(ReadOptions, OutputOptions, without=RECORDED)
def repeat(
    certificate: Annotated[Path, Parameter(help="The .json file next to the image.")],
    scan: Annotated[Path, Parameter(help="The scan that the image was made from.")],
    /,
    *,
    output: Annotated[Path, output_flag("Image to write: .nii.gz, .nii, .dcm, .h5 or .mrd.")],
    network: Annotated[Path | None, WEIGHTS] = None,
    debug: Debug = False,
    **options: Any,
) -> None:
    """Reconstruct an image again with the options in its certificate, and compare the two.

    The certificate contains only the digests of files: give the files that the image was made
    with, such as a mask, again.
    """
    written = chosen(OutputOptions, options)
    check_inputs([certificate, scan])
    check_image(output, overwrite=written.overwrite)
    # The original must not be replaced, since the comparison may find a different image.
    replaced = output.with_name(f"{image_stem(output)}.json")
    check_replaces_none([output, replaced], [certificate, scan])
    from firenet_mri.io import read_certificate

    saved = read_certificate(certificate)
    reading, wanted = recorded_options(saved, chosen(ReadOptions, options), network)
    result = reconstruct_file(scan, output, reading, wanted, written, [certificate])
    digests = result.certificate.digests
    same = digests is not None and digests.pixels == saved.digests.pixels
    said = "the same, bit for bit" if same else "different"
    sys.stderr.write(f"firenet: the image is {said}\n")
