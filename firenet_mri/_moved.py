"""Modules that moved in 0.2: their old names still work in 0.2 and 0.3, with a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_KSPACE = [
    "bart",
    "bruker",
    "fastmri",
    "ge",
    "ismrmrd",
    "ismrmrd_file",
    "ismrmrd_trajectory",
    "ismrmrd_writer",
    "maps",
    "noncartesian",
    "npy",
    "reading",
    "recognise",
    "formats",
    "siemens",
]
_IMAGE = [
    "bids",
    "complex_dicom",
    "complex_image",
    "complex_nifti",
    "dicom",
    "dicom_files",
    "mrd_images",
    "nifti",
    "picture",
    "reference",
]

_MOVED = {
    **{f"firenet_mri.io.{name}": f"firenet_mri.io.kspace.{name}" for name in _KSPACE},
    **{f"firenet_mri.io.{name}": f"firenet_mri.io.image.{name}" for name in _IMAGE},
    "firenet_mri.io.converting": "firenet_mri.io.kspace.writing",
    "firenet_mri.io.image_reading": "firenet_mri.io.image.reading",
    "firenet_mri.io.images": "firenet_mri.io.image.writing",
    "firenet_mri.io.checkpoints": "firenet_mri.reconstruction.checkpoint",
    "firenet_mri.firenet.digests": "firenet_mri.digests",
    **{
        f"firenet_mri.sigpy.{name}": f"firenet_mri.linops.{name}"
        for name in ("adapter", "arrays", "norms", "torch_linop")
    },
    "firenet_mri.subnormal": "firenet_mri.operators.denormals",
    "firenet_mri.ascent": "firenet_mri.training.attack",
    "firenet_mri.server.protocol": "firenet_mri.io.mrd_messages",
    "firenet_mri.benchmark": "firenet_benchmark",
    "firenet_mri.paper": "firenet_benchmark.paper",
}


class _Moved(MetaPathFinder, Loader):
    """Finds a module by its old name and returns the one under the new name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module that moved; None for any other module."""
        return ModuleSpec(fullname, self) if fullname in _MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module under its new name."""
        new = _MOVED[spec.name]
        warnings.warn(
            f"{spec.name} is now {new}; the old name will be removed in 0.4",
            DeprecationWarning,
            stacklevel=2,
        )
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is: it was loaded under its new name."""
        assert module.__spec__ is not None
        # The import machinery has stored the old name in it.
        module.__spec__ = module.__spec__.loader_state


def find_moved_modules() -> None:
    """Make the import system find modules under their old names, after all other finders."""
    if not any(type(finder).__name__ == _Moved.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
