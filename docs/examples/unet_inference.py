"""MONAI's U-Net inference tutorial, with the network replaced.

    python docs/examples/unet_inference.py [FASTMRI_FILES...]

The U-Net of the tutorial is fed with the zero-filled magnitude image, which has lost phase and
coils. FIRENET needs k-space: it takes it from the same item of the same loader, and stands in the
pipeline as a transform, so that the loop shrinks to reading its image. ``--network monai-unet
--weights FILE`` adds the U-Net that MONAI publishes, for comparison, on the same masks.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from monai.apps.reconstruction.transforms.dictionary import ExtractDataKeyFromMetaKeyd
from monai.data import CacheDataset, DataLoader
from monai.transforms import Compose, EnsureTyped, LoadImaged
from published import opened
from simulated import write_volumes
from torch import Tensor

from firenet_mri.metrics import nmse, psnr, ssim
from firenet_mri.monai import FastMRIKspaceReader, FIRENETReconstructd, FixedKspaceMaskd


def pipeline() -> Compose:
    """Return the tutorial's transforms with a mask that does not change, so that MONAI caches."""
    return Compose(
        [
            LoadImaged(
                keys=["kspace"], reader=FastMRIKspaceReader, image_only=False, dtype=np.complex64
            ),
            ExtractDataKeyFromMetaKeyd(keys=["reconstruction_rss"], meta_key="kspace_meta_dict"),
            FixedKspaceMaskd(keys=["kspace"], acceleration=4, center_fraction=0.08),
            FIRENETReconstructd(
                keys=["kspace_masked"],
                output_postfix="firenet",
                image_axes="kspace",
                output="rss",  # As the target is.
            ),
            EnsureTyped(keys=["kspace_masked_ifft", "kspace_masked_firenet", "reconstruction_rss"]),
        ]
    )


def centre(images: Tensor, shape: torch.Size) -> Tensor:
    """Return the middle of the images, of the target's size, as MONAI's crop does."""
    top, left = (
        size // 2 - wanted // 2 for size, wanted in zip(images.shape[-2:], shape, strict=True)
    )
    return images[..., top : top + shape[0], left : left + shape[1]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--network", choices=["firenet", "monai-unet"], default="firenet")
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    if options.weights is not None and options.network == "firenet":
        parser.error("--weights are those of a --network, such as monai-unet")
    unet = None if options.network == "firenet" else opened(options.network, options.weights)
    with tempfile.TemporaryDirectory() as folder:
        files = options.files or write_volumes(Path(folder))
        items = [{"kspace": str(path)} for path in files]
        for batch in DataLoader(CacheDataset(items, pipeline(), progress=False)):
            target = batch["reconstruction_rss"][0].as_tensor()
            zero_filled = batch["kspace_masked_ifft"][0].as_tensor()
            images = {"zero-filled": zero_filled, "FIRENET": batch["kspace_masked_firenet"][0]}
            if unet is not None:
                with torch.no_grad():
                    # Cropped before, since it is normalised by what is left.
                    images["U-Net"] = unet.images(centre(zero_filled, target.shape[-2:]))
            for name, image in images.items():
                found = centre(torch.as_tensor(image), target.shape[-2:])
                print(
                    f"{name}: SSIM {ssim(target, found):.3f}, PSNR {psnr(target, found):.1f} dB, "
                    f"NMSE {nmse(target, found):.4f}"
                )


if __name__ == "__main__":
    main()
