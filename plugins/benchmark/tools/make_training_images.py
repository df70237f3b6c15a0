"""Makes the images from which the shipped learned network was trained, as grey PNG files.

    python plugins/benchmark/tools/make_training_images.py OUT

Photographs of the packages scikit-image and scikit-learn, slices of the MNI152 template of nilearn
in three directions, and the training slices of the stability benchmark. OUT/train and
OUT/validation have no photograph and no part of the template in common. Needs firenet_mri[dev].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from firenet_benchmark.stability.data import images

VALIDATION = ("camera", "coins", "hubble_deep_field", "motorcycle_left", "flower")
PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "horse.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
# Slices of a direction, of which every fourth from this on; the template has voxels of 1 mm.
_FIRST, _APART = 22, 4
# Of ten sagittal or coronal slices these are for validation; axial ones are all to train with, as
# the benchmark's are, which show the same template.
_HELD_OUT = 7
# The template is its own mirror image: one half of its sagittal slices shows all there is.
_SYMMETRIC_AXIS, _AXIAL = 0, 2
_DARKEST = 0.1


def main(out: Path) -> None:
    """Write all images."""
    for name, pixels in (*photographs(), *template(), *benchmark_slices()):
        held_out = name in VALIDATION or name.startswith("validation")
        folder = out / ("validation" if held_out else "train")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{name}.png")


def photographs() -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the photographs as grey images, by name."""
    import skimage
    import sklearn

    data = Path(skimage.__file__).parent / "data"
    paths = [data / name for name in PHOTOGRAPHS]
    paths += sorted((Path(sklearn.__file__).parent / "datasets/images").glob("*.jpg"))
    return [(path.stem, np.asarray(Image.open(path).convert("L"))) for path in paths]


def template() -> list[tuple[str, NDArray[np.uint8]]]:
    """Return slices of the template, of which some are named for validation."""
    from nilearn.datasets import load_mni152_template

    volume = np.asarray(load_mni152_template(resolution=1).dataobj, np.float32)
    volume = volume / volume.max()
    found = []
    for axis in range(3):
        last = volume.shape[axis] // 2 if axis == _SYMMETRIC_AXIS else volume.shape[axis] - _FIRST
        for count, place in enumerate(range(_FIRST, last, _APART)):
            pixels = np.take(volume, place, axis)
            if pixels.max() < _DARKEST:
                continue
            is_held_out = axis != _AXIAL and count % 10 == _HELD_OUT
            kind = "validation-mni152" if is_held_out else "mni152"
            found.append((f"{kind}-{axis}-{place:03d}", _as_bytes(pixels)))
    return found


def benchmark_slices() -> list[tuple[str, NDArray[np.uint8]]]:
    """Return the benchmark's slices to train with."""
    slices = images("train").numpy()
    return [(f"benchmark-{i:03d}", _as_bytes(one)) for i, one in enumerate(slices)]


def _as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
