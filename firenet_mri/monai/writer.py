"""A NIfTI writer for MONAI that keeps the imaginary part and any orientation."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import NdarrayOrTensor, PathLike
from monai.data import ImageWriter

from firenet_mri.errors import DataError, FileError
from firenet_mri.io import atomic_writes
from firenet_mri.monai.tensors import plain

_SCANNER = 1


class ComplexNiftiWriter(ImageWriter):
    """Writes .nii and .nii.gz: ``SaveImaged(..., writer=ComplexNiftiWriter, resample=False)``.

    MONAI's ``NibabelWriter`` silently drops the imaginary part, and refuses coronal, sagittal and
    single-slice volumes. Complex images are stored as complex64, others in ``output_dtype``; the
    affine as it is, in sform and, where a quaternion can hold it, qform (code 1, mm). Files are
    written under a temporary name and renamed.

    Parameters
    ----------
    output_dtype
        NumPy type of real images.
    """

    def __init__(self, output_dtype: Any = np.float32, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.output_dtype = output_dtype
        self.affine = np.eye(4)

    def set_data_array(
        self,
        data_array: NdarrayOrTensor,
        channel_dim: int | None = 0,
        squeeze_end_dims: bool = True,
        **kwargs: Any,
    ) -> None:
        """Take the image, (channel, x, y, z) with its channel at ``channel_dim``."""
        array = plain(data_array, "the image").detach().cpu().resolve_conj().numpy()
        spatial_ndim = kwargs.pop("spatial_ndim", 3)
        array = self.convert_to_channel_last(array, channel_dim, False, spatial_ndim)
        if squeeze_end_dims and array.shape[-1] == 1:
            array = array[..., 0]
        self.data_obj = array

    def set_metadata(
        self, meta_dict: Mapping[str, Any] | None, resample: bool = False, **options: Any
    ) -> None:
        """Take the affine.

        Raises
        ------
        DataError
            If resampling is requested and would be needed: it would cast complex numbers.
        """
        original, affine, _ = self.get_meta_info(meta_dict)
        self.affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
        moves = original is not None and not np.allclose(original, self.affine, atol=1e-4)
        if resample and moves:
            raise DataError(
                "The image was moved after it was loaded, and resampling it back would lose the "
                "imaginary part; use resample=False, which writes it at its present "
                "position"
            )

    def write(self, filename: PathLike, verbose: bool = False, **kwargs: Any) -> None:
        """Write the file; one of that name is replaced, as MONAI's writers do.

        Raises
        ------
        FileError
            If the name does not end in .nii or .nii.gz, or the folder cannot be written.
        """
        super().write(filename, verbose=verbose)
        path = Path(str(filename))
        if not path.name.endswith((".nii", ".nii.gz")):
            raise FileError(f"{path}: NIfTI files end in .nii or .nii.gz; use output_ext='.nii.gz'")
        array = self.data_obj
        dtype = np.complex64 if np.iscomplexobj(array) else self.output_dtype
        nibabel: Any = importlib.import_module("nibabel")
        image = nibabel.Nifti1Image(np.asarray(array).astype(dtype), self.affine)
        image.set_sform(self.affine, _SCANNER)
        image.set_qform(self.affine, _SCANNER)
        # A quaternion cannot hold slices that are shifted sideways: then only the sform is right.
        if not np.allclose(image.get_qform(), self.affine, atol=1e-2):
            image.set_qform(None, 0)
        image.header.set_xyzt_units("mm")
        with atomic_writes((path,), overwrite=True) as (temporary,):
            nibabel.save(image, temporary)
