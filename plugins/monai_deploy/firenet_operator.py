"""An operator for the MONAI Deploy App SDK: a raw scan in, its image and certificate out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import firenet_mri

try:
    from monai.deploy.core import Fragment, Operator, OperatorSpec
except ImportError as error:
    raise ImportError(
        "The MONAI Deploy App SDK is not installed; pip install monai-deploy-app-sdk (it needs "
        "NVIDIA Holoscan)"
    ) from error


class FIRENETReconstructionOperator(Operator):
    """Reconstructs a scan and writes image, picture and certificate.

    Inputs: ``scan``, the path of an ISMRMRD, fastMRI, BART or NumPy file, or a ``RawScan``.
    Outputs: ``image``, (*slices, *spatial) complex64 as a NumPy array, and ``certificate``, plain
    data.

    Parameters
    ----------
    fragment
        The application.
    output_folder
        Image, picture and certificate are written there; None writes nothing.
    preset, maps, device
        See :func:`firenet_mri.reconstruct`.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        output_folder: Path | None = None,
        preset: str = "accurate",
        maps: str = "espirit",
        device: str = "cpu",
        **kwargs: Any,
    ) -> None:
        self.output_folder = output_folder
        self.preset = preset
        self.maps = maps
        self.device = device
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare what comes in and goes out."""
        spec.input("scan")
        spec.output("image")
        spec.output("certificate")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Reconstruct one scan."""
        given = op_input.receive("scan")
        scan = firenet_mri.read(given) if isinstance(given, str | Path) else given
        result = firenet_mri.reconstruct(
            scan, preset=self.preset, maps=self.maps, device=self.device
        )
        if self.output_folder is not None:
            name = Path(scan.name).stem
            result.save(Path(self.output_folder) / f"{name}.nii.gz")
        op_output.emit(result.image.numpy(), "image")
        op_output.emit(result.certificate.to_dict(), "certificate")
