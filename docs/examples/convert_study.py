"""Converts a folder of scanner data to fastMRI files, and opens them with MONAI's own reader.

    python docs/examples/convert_study.py [SCANS OUTPUT] [--coils 8]

Without arguments the sample scans (simulated) go to a folder that is removed again. Run it twice on
folders of your own: what is finished is kept. The same without Python:
``firenet convert SCANS -o OUTPUT --to fastmri --whiten --coils 8``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.data import Dataset
from monai.transforms import LoadImaged

from firenet_mri.conversion import ConversionOptions, convert_study, summary_path

SAMPLES = Path(__file__).parents[2] / "sample_data"


def convert(scans: Path, output: Path, coils: int | None) -> list[Path]:
    """Convert all scans that have a noise measurement; print what became of each."""
    options = ConversionOptions(to="fastmri", whiten=True, coils=coils)
    outcomes = convert_study(scans, output, options)
    for outcome in outcomes:
        what = outcome.error or f"{outcome.coils} coils, {outcome.size}, {outcome.sampled} sampled"
        print(f"{outcome.scan}: {outcome.state}, {what}")
    print(f"Summary: {summary_path(output)}")
    return [output / one.output for one in outcomes if one.state != "failed"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, metavar="SCANS OUTPUT")
    parser.add_argument("--coils", type=int)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        scans, output = options.folders or (SAMPLES, Path(temporary) / "fastmri")
        files = convert(scans, output, options.coils)
        load = LoadImaged("kspace", reader=FastMRIReader, image_only=False, dtype=np.complex64)
        for path, item in zip(
            files, Dataset([{"kspace": str(path)} for path in files], load), strict=True
        ):
            meta = item["kspace_meta_dict"]
            target = "a target" if "reconstruction_rss" in meta else "a mask"
            print(f"{path.name}: k-space {tuple(item['kspace'].shape)} with {target}")


if __name__ == "__main__":
    main()
