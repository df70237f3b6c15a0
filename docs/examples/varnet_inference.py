"""MONAI's VarNet inference tutorial, with the network replaced.

    python docs/examples/varnet_inference.py [FASTMRI_FILES...]

reconstructs fastMRI files (simulated ones if none are given) at 4-fold acceleration and prints
fastMRI's metrics. ``--network monai-varnet --weights FILE`` runs the same loop with the network
that MONAI publishes, ``fastmri-varnet`` and ``modl`` with others; the weights tell their sizes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from monai.apps.reconstruction.fastmri_reader import FastMRIReader
from monai.apps.reconstruction.transforms.dictionary import (
    EquispacedKspaceMaskd,
    ExtractDataKeyFromMetaKeyd,
)
from monai.data import DataLoader, Dataset
from monai.transforms import Compose, EnsureTyped, LoadImaged, SpatialCrop
from published import Network, network_of_kspace
from simulated import write_volumes

from firenet_mri.metrics import nmse, psnr, ssim
from firenet_mri.monai import FastMRIKspaceReader, FIRENETModel


def pipeline(name: str) -> Compose:
    """Return the tutorial's transforms; our reader also gives the affine.

    It takes readout oversampling out, which trained networks have seen in training.
    """
    reader = FastMRIKspaceReader if name == "firenet" else FastMRIReader
    mask = EquispacedKspaceMaskd(keys=["kspace"], center_fractions=[0.08], accelerations=[4])
    return Compose(
        [
            LoadImaged(keys=["kspace"], reader=reader, image_only=False, dtype=np.complex64),
            ExtractDataKeyFromMetaKeyd(keys=["reconstruction_rss"], meta_key="kspace_meta_dict"),
            mask,
            EnsureTyped(keys=["kspace", "kspace_masked_ifft", "reconstruction_rss"]),
        ]
    )


def network(name: str, weights: Path | None) -> Network:
    """Return FIRENET, or a published network with its weights."""
    if name == "firenet":
        return FIRENETModel().eval()  # The line that changes; there are no weights to load.
    return network_of_kspace(name, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    names = ["firenet", "monai-varnet", "fastmri-varnet", "modl"]
    parser.add_argument("--network", choices=names, default="firenet")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.weights is not None and options.network == "firenet":
        parser.error("--weights are those of a --network, such as monai-varnet")
    model = network(options.network, options.weights)
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or write_volumes(Path(folder))
        dataset = Dataset([{"kspace": str(path)} for path in files], pipeline(options.network))
        # Fixes the masks: the loader seeds random transforms by its generator.
        loader = DataLoader(dataset, generator=torch.Generator().manual_seed(0))
        for path, batch in zip(files, loader, strict=True):
            kspace, mask, target = (
                batch[key] for key in ("kspace_masked", "mask", "reconstruction_rss")
            )
            slices = []
            with torch.no_grad():
                for i in range(kspace.shape[1]):
                    image = model(kspace[:, i].unsqueeze(1)[0], mask[0].bool())
                    centre = tuple(size // 2 for size in image.shape[-2:])
                    slices.append(SpatialCrop(roi_center=centre, roi_size=target.shape[-2:])(image))
            volume, truth = torch.cat(slices), target[0].as_tensor()
            print(
                f"{path.name}: SSIM {ssim(truth, volume):.3f}, PSNR {psnr(truth, volume):.1f} dB, "
                f"NMSE {nmse(truth, volume):.4f}"
            )


if __name__ == "__main__":
    main()
