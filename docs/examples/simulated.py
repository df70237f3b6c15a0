"""Writes small simulated multi-coil volumes in fastMRI's layout, for the examples beside it."""

from __future__ import annotations

from pathlib import Path

import h5py
import nibabel
import numpy as np
import sigpy.mri
import torch

from firenet_mri.operators import encoding_operator
from firenet_mri.operators.centred import centred_ifft

REFERENCE = Path(__file__).parents[2] / "sample_data/brain_8coil_reference.nii.gz"


def write_volumes(folder: Path, count: int = 2, coils: int = 6) -> list[Path]:
    """Return ``count`` files of two slices each: a brain template, moved and turned, with noise.

    Targets are what fastMRI's are, root-sums-of-squares of the coil images, with their noise.
    """
    image = np.asarray(nibabel.load(REFERENCE).dataobj)[..., 0].T.astype(np.float32)
    generator = np.random.default_rng(0)
    paths = []
    for index in range(count):
        slices = np.stack([np.roll(image, 3 * index, axis=0), np.roll(image, -2 * index, axis=1)])
        maps = torch.from_numpy(sigpy.mri.birdcage_maps((coils, *image.shape)))
        maps = (maps / torch.linalg.vector_norm(maps, dim=0)).to(torch.complex64)
        kspace = encoding_operator(None, maps)(torch.from_numpy(slices).to(torch.complex64)).numpy()
        noise = generator.normal(size=(2, *kspace.shape)) * 0.01 * image.max()
        kspace = (kspace + noise[0] + 1j * noise[1]).astype(np.complex64)
        target = torch.linalg.vector_norm(centred_ifft(torch.from_numpy(kspace), (-2, -1)), dim=1)
        path = folder / f"simulated{index}.h5"
        with h5py.File(path, "w") as file:
            file["kspace"] = kspace
            file["reconstruction_rss"] = target.numpy()
            file.attrs.update({"max": float(target.max()), "acquisition": "SIMULATED"})
        paths.append(path)
    return paths
