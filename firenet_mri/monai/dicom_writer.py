"""A DICOM writer for MONAI: reconstructions as a series of MR images, at their position."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import NdarrayOrTensor, PathLike
from monai.data import ImageWriter
from numpy.typing import NDArray

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.geometry import Geometry
from firenet_mri.io.image.dicom import DicomReference, read_dicom_reference, write_dicom_series
from firenet_mri.monai.tensors import plain

_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class DicomSeriesWriter(ImageWriter):
    """Writes a folder of MR images: ``SaveImaged(..., writer=DicomSeriesWriter, output_ext="")``.

    It writes images that :class:`FIRENETReconstruct`, or :class:`FIRENETModel` with
    ``image_axes="xyz"``, made from a scan. The folder is named after the file that MONAI asks for,
    without .dcm. Complex images are written as their magnitude, and every channel becomes a series.
    MONAI's own writer writes an 8-bit picture without a position.

    A reference series is given by ``functools.partial(DicomSeriesWriter, dicom_reference=FOLDER)``
    as ``writer``, or by ``SaveImaged(...).set_options(init_kwargs={"dicom_reference": FOLDER})``.

    Parameters
    ----------
    dicom_reference
        Series of the same scan. The images take over its patient and study, and its position where
        the scan states none; see :func:`firenet_mri.io.image.dicom.read_dicom_reference`.
    output_dtype, scale
        As MONAI passes them; pixels always have 16 bits and one rescale slope.
    """

    def __init__(
        self, *, dicom_reference: PathLike | DicomReference | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        if dicom_reference is not None and not isinstance(dicom_reference, DicomReference):
            dicom_reference = read_dicom_reference(Path(str(dicom_reference)))
        self.dicom_reference = dicom_reference
        self.image: NDArray[np.generic] = np.zeros((1, 1, 1, 1))
        self.geometry: Geometry | None = None
        self.names: tuple[str, ...] = ()
        self.simulated = self.is_volume = False

    def set_data_array(
        self, data_array: NdarrayOrTensor, channel_dim: int | None = 0, **kwargs: Any
    ) -> None:
        """Take the image, (channel, x, y, z) or (channel, x, y).

        Raises
        ------
        ShapeError
            If it has other axes.
        """
        array = plain(data_array, "the image").detach().cpu().resolve_conj().numpy()
        array = array[None] if channel_dim is None else np.moveaxis(array, channel_dim, 0)
        array = array[..., None] if array.ndim == 3 else array
        if array.ndim != 4:
            raise ShapeError(
                f"The image has shape {tuple(data_array.shape)}; it must be (channel, x, y, z) or "
                "(channel, x, y)"
            )
        self.image = array.transpose(0, 3, 2, 1)

    def set_metadata(
        self, meta_dict: Mapping[str, Any] | None, resample: bool = False, **options: Any
    ) -> None:
        """Take the position of the image, in RAS mm.

        Raises
        ------
        DataError
            If the metadata are not those of a reconstruction, resampling is requested and would be
            needed, or slices are not perpendicular planes.
        """
        meta = {} if meta_dict is None else dict(meta_dict)
        if "simulated" not in meta:
            raise DataError(
                "The image's metadata do not come from a scan, and the series would say that it is "
                "a reconstruction; write images of FIRENET only"
            )
        original, affine, _ = self.get_meta_info(meta)
        affine = np.asarray(affine, dtype=np.float64)
        if resample and original is not None and not np.allclose(original, affine, atol=1e-4):
            raise DataError(
                "The image was moved after it was loaded; use resample=False, which writes it "
                "at its present position"
            )
        self.simulated = bool(meta["simulated"])
        self.is_volume = int(meta.get("spatial_ndim", 2)) == 3
        names = json.loads(meta["images"]) if meta.get("images") else ()
        self.names = tuple(names) if len(names) == len(self.image) else ()
        self.geometry = None
        if bool(meta.get("is_placed", False)):
            nz, ny, nx = self.image.shape[1:]
            self.geometry = Geometry.from_affine(_TO_LPS @ affine, (nz, ny, nx))

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write the series; one in that folder is replaced, as MONAI's writers do.

        Raises
        ------
        DataError
            If the position of the image is unknown, or pixels are negative, NaN or infinite.
        FileError
            If the folder cannot be written, or holds other files.
        """
        super().write(filename, verbose=verbose)
        path = Path(str(filename))
        write_dicom_series(
            path.with_suffix("") if path.suffix == ".dcm" else path,
            self.image,
            self.geometry,
            description="Written from MONAI",
            simulated=self.simulated,
            volume=self.is_volume,
            names=self.names,
            reference=self.dicom_reference,
            overwrite=True,
        )
