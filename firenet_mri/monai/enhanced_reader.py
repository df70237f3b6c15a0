"""A MONAI reader of the enhanced DICOM images that this library writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import ImageReader
from monai.utils import ensure_tuple
from numpy.typing import NDArray

from firenet_mri.domain import DOMAIN, IMAGE
from firenet_mri.io.image.dicom import is_our_enhanced, read_our_enhanced

Paths = Sequence[PathLike] | PathLike


class EnhancedDicomReader(ImageReader):
    """Reads the enhanced multi-frame DICOM images that this library writes, (x, y, z), RAS mm.

    MONAI's ``PydicomReader`` finds neither the position nor the rescaling of multi-frame files, and
    says so; its ``ITKReader``, which needs the package itk, finds both.
    """

    def verify_suffix(self, filename: Paths) -> bool:
        """Return whether it is one such file."""
        paths = [Path(str(one)) for one in ensure_tuple(filename)]
        is_dicom = len(paths) == 1 and paths[0].suffix.lower() == ".dcm"
        return is_dicom and is_our_enhanced(paths[0])

    def read(self, data: Paths, **kwargs: Any) -> Path:
        """Return the path; see :mod:`firenet_mri.monai.readers` for why."""
        return Path(str(ensure_tuple(data)[0]))

    def get_data(self, path: Path) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Return the image and its metadata.

        Raises
        ------
        FileError
            If the file is damaged.
        """
        image, affine = read_our_enhanced(path)
        return image, {
            "affine": affine,
            "original_affine": affine.copy(),
            "space": "RAS",
            DOMAIN: IMAGE,
            "spatial_shape": torch.tensor(image.shape),
            "original_channel_dim": float("nan"),
        }
