"""An operator for the MONAI Deploy App SDK that turns a raw scan into image and certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import firenet_mri
from firenet_mri.options import takes_options

try:
    from monai.deploy.core import Fragment, Operator, OperatorSpec
except ImportError as error:
    raise ImportError(
        "The MONAI Deploy App SDK is not installed; pip install monai-deploy-app-sdk (it needs "
        "NVIDIA Holoscan)"
    ) from error


class FIRENETReconstructionOperator(Operator):
    """Reconstructs a scan and writes image, picture, certificate and its evidence.

    Inputs: ``scan``, the path of an ISMRMRD, fastMRI, BART or NumPy file, or a ``RawScan``.
    Outputs: ``image``, (*slices, *spatial) complex64 as a NumPy array, and ``certificate``, plain
    data.

    Parameters
    ----------
    fragment
        The application.
    output_folder
        Folder for image, picture, certificate and evidence; None writes nothing.
    **kwargs
        The fields of :class:`firenet_mri.ReconstructionOptions`; all other arguments are passed to
        ``Operator``.
    """

    OPTIONS = firenet_mri.ReconstructionOptions
    REFUSED: tuple[str, ...] = ()

    @takes_options(firenet_mri.ReconstructionOptions)
    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        output_folder: Path | None = None,
        **kwargs: Any,
    ) -> None:
        self.output_folder = output_folder
        names = self.OPTIONS.own_among(kwargs)
        self.options = self.OPTIONS.from_mapping({name: kwargs.pop(name) for name in names})
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec) -> None:
        """Declare inputs and outputs."""
        spec.input("scan")
        spec.output("image")
        spec.output("certificate")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Reconstruct one scan."""
        given = op_input.receive("scan")
        scan = firenet_mri.read(given) if isinstance(given, str | Path) else given
        result = firenet_mri.reconstruct(scan, **self.options.flat())
        if self.output_folder is not None:
            name = Path(scan.name).stem
            result.save(Path(self.output_folder) / f"{name}.nii.gz")
        op_output.emit(result.image.numpy(), "image")
        op_output.emit(result.certificate.to_dict(), "certificate")
