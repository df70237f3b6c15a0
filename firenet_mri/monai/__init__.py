"""FIRENET in MONAI: a network that replaces its variational network, transforms, readers."""

from __future__ import annotations

from firenet_mri.monai.complex_data import check_keeps_complex
from firenet_mri.monai.dicom_writer import DicomSeriesWriter
from firenet_mri.monai.enhanced_reader import EnhancedDicomReader
from firenet_mri.monai.inferer import ScanInferer
from firenet_mri.monai.networks import FIRENETModel
from firenet_mri.monai.readers import (
    CflReader,
    ComplexDicomReader,
    ComplexNiftiReader,
    FastMRIKspaceReader,
    MRDReader,
)
from firenet_mri.monai.registration import register
from firenet_mri.monai.transforms.dictionary import (
    CompressCoilsD,
    CompressCoilsd,
    CompressCoilsDict,
    EstimateSensitivityD,
    EstimateSensitivityd,
    EstimateSensitivityDict,
    FIRENETReconstructD,
    FIRENETReconstructd,
    FIRENETReconstructDict,
    FixedKspaceMaskD,
    FixedKspaceMaskd,
    FixedKspaceMaskDict,
    LoadKspaceD,
    LoadKspaced,
    LoadKspaceDict,
    SaveCertificateD,
    SaveCertificated,
    SaveCertificateDict,
    StabilityCertificateD,
    StabilityCertificated,
    StabilityCertificateDict,
    WhitenCoilsD,
    WhitenCoilsd,
    WhitenCoilsDict,
)
from firenet_mri.monai.transforms.kspace import (
    CompressCoils,
    EstimateSensitivity,
    FixedKspaceMask,
    LoadKspace,
    WhitenCoils,
)
from firenet_mri.monai.transforms.reconstruct import FIRENETReconstruct, StabilityCertificate
from firenet_mri.monai.transforms.saving import SaveCertificate
from firenet_mri.monai.transforms.simulate import (
    ImageToKspace,
    RandSimulateKspace,
    SimulateKspace,
)
from firenet_mri.monai.transforms.simulate_dictionary import (
    ImageToKspaceD,
    ImageToKspaced,
    ImageToKspaceDict,
    RandSimulateKspaceD,
    RandSimulateKspaced,
    RandSimulateKspaceDict,
    SimulateKspaceD,
    SimulateKspaced,
    SimulateKspaceDict,
)
from firenet_mri.monai.writer import ComplexNiftiWriter

__all__ = [
    "CflReader",
    "ComplexDicomReader",
    "ComplexNiftiReader",
    "ComplexNiftiWriter",
    "CompressCoils",
    "CompressCoilsD",
    "CompressCoilsDict",
    "CompressCoilsd",
    "DicomSeriesWriter",
    "EnhancedDicomReader",
    "EstimateSensitivity",
    "EstimateSensitivityD",
    "EstimateSensitivityDict",
    "EstimateSensitivityd",
    "FIRENETModel",
    "FIRENETReconstruct",
    "FIRENETReconstructD",
    "FIRENETReconstructDict",
    "FIRENETReconstructd",
    "FastMRIKspaceReader",
    "FixedKspaceMask",
    "FixedKspaceMaskD",
    "FixedKspaceMaskDict",
    "FixedKspaceMaskd",
    "ImageToKspace",
    "ImageToKspaceD",
    "ImageToKspaceDict",
    "ImageToKspaced",
    "LoadKspace",
    "LoadKspaceD",
    "LoadKspaceDict",
    "LoadKspaced",
    "MRDReader",
    "RandSimulateKspace",
    "RandSimulateKspaceD",
    "RandSimulateKspaceDict",
    "RandSimulateKspaced",
    "SaveCertificate",
    "SaveCertificateD",
    "SaveCertificateDict",
    "SaveCertificated",
    "ScanInferer",
    "SimulateKspace",
    "SimulateKspaceD",
    "SimulateKspaceDict",
    "SimulateKspaced",
    "StabilityCertificate",
    "StabilityCertificateD",
    "StabilityCertificateDict",
    "StabilityCertificated",
    "WhitenCoils",
    "WhitenCoilsD",
    "WhitenCoilsDict",
    "WhitenCoilsd",
    "check_keeps_complex",
    "register",
]
