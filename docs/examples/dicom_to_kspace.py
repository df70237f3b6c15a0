"""Makes multi-coil k-space of a DICOM series, to train or to test a network that takes k-space.

    python docs/examples/dicom_to_kspace.py [DICOM_FOLDER OUTPUT.h5]

A DICOM series holds images, no k-space: what a scanner would have measured of them is simulated,
and the files say so. Written is a fully sampled fastMRI file with its target. Then the same image
is measured at 4-fold acceleration and reconstructed. NIfTI files do as well. Without arguments the
sample series is taken, which is complex; of a magnitude the phase is zero, which is kinder than any
scan.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from firenet_mri import reconstruct
from firenet_mri.io import write_scan
from firenet_mri.io.image.reading import read_image
from firenet_mri.metrics import psnr, ssim
from firenet_mri.simulation import simulate

SAMPLE = Path(__file__).parents[2] / "sample_data/brain_dicom"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", type=Path, metavar="DICOM_FOLDER OUTPUT.h5")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        series, output = options.paths or (SAMPLE, Path(temporary) / "kspace.h5")
        image, geometry = read_image(series)
        full = simulate(image, geometry, acceleration=1, snr=40, name=output.name)
        write_scan(output, full, to="fastmri")
        print(f"Wrote {output}: k-space {tuple(full.kspace.shape)}, simulated")
        # Of small images the usual centre of 24 lines would be all that is measured, or more.
        centre = min(24, min(image.shape[-2:]) // 5)
        scan = simulate(
            image, geometry, acceleration=4, calibration=centre, snr=40, name=series.name
        )
        result = reconstruct(scan)
        truth, found = image.abs(), result.image.abs()
        # The reconstruction counts in noise standard deviations, the series in units of its own.
        found = found * (found * truth).sum() / (found * found).sum()
        print(f"At 4x: PSNR {psnr(truth, found):.1f} dB, SSIM {ssim(truth, found):.3f}")
        print(result.certificate.sentence())


if __name__ == "__main__":
    main()
