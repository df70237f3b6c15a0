"""Makes firenet_benchmark/stability/brains.npz, the images of the stability benchmark.

    python plugins/benchmark/tools/make_brains.py CH2 INIA19 [OUT]

CH2 and INIA19 are ch2.nii.gz and inia19-t1-brain.nii.gz, as Debian's package mricron-data has them;
the MNI152 template comes with nilearn. Needs firenet_mri[dev].
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
OUT = Path(__file__).parents[1] / "firenet_benchmark/stability/brains.npz"

SIZE = 128
FIELD_OF_VIEW_MM = 240
THICKNESS_MM = 2
# Of 15 slices eight are to train with and three to test with; 4 mm between them are left out.
BLOCK = ("train",) * 8 + ("",) * 2 + ("test",) * 3 + ("",) * 2


def main(ch2: Path, inia19: Path, out: Path) -> None:
    """Write all images, (slice, y, x) uint8, by name."""
    nilearn = importlib.util.find_spec("nilearn")
    if nilearn is None or nilearn.origin is None:
        raise SystemExit("nilearn is not installed; install it with: pip install nilearn")
    person = _volume(ch2)
    average = _volume(Path(nilearn.origin).parent / TEMPLATE)
    # Axial slices of the brain, from the cerebellum to the vertex; anterior is up, left is left.
    person_axial = _slices(person, axis=2, first=20, last=146)
    average_axial = _slices(average, axis=2, first=20, last=146)
    kinds = [BLOCK[i % len(BLOCK)] for i in range(len(person_axial))]
    train = np.concatenate([person_axial, average_axial])[[kind == "train" for kind in 2 * kinds]]
    held_out = person_axial[[kind == "test" for kind in kinds]]
    macaque = _volume(inia19)  # its voxels of 0.5 mm are taken for 1 mm, so that it fills the image
    np.savez_compressed(
        out,
        train=train,
        validation=held_out[::3],
        test=np.delete(held_out, np.s_[::3], axis=0),
        coronal=_slices(person, axis=1, first=70, last=150)[::10],
        sagittal=_slices(person, axis=0, first=60, last=120)[::8],
        macaque=_slices(macaque, axis=2, first=45, last=95)[::6],
    )


def _volume(path: Path) -> NDArray[np.float64]:
    """Return (right, anterior, up) of a template."""
    return np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj, float)


def _slices(volume: NDArray[np.float64], *, axis: int, first: int, last: int) -> NDArray[np.uint8]:
    """Return slices of THICKNESS_MM, side by side, as a scanner of SIZE pixels sees them."""
    moved = np.moveaxis(volume, axis, 0)[:, ::-1, ::-1].swapaxes(1, 2)
    starts = range(first, last - THICKNESS_MM + 1, THICKNESS_MM)
    images = np.stack([moved[start : start + THICKNESS_MM].mean(0) for start in starts])
    margins = [FIELD_OF_VIEW_MM - size for size in images.shape[1:]]
    images = np.pad(images, [(0, 0), *((margin // 2, margin - margin // 2) for margin in margins)])
    axes = (1, 2)
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, axes)), axes)
    low = (FIELD_OF_VIEW_MM - SIZE) // 2
    spectrum = spectrum[:, low : low + SIZE, low : low + SIZE]
    small = np.abs(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(spectrum, axes)), axes))
    largest = small.max(axis=(1, 2), keepdims=True)
    return np.round(255 * small / largest).astype(np.uint8)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else OUT)
