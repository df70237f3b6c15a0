"""Linear operators: forward, adjoint and a proven bound of the norm."""

from __future__ import annotations

from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.dual_tree import DualTreeWavelet
from firenet_mri.operators.finite_difference import FiniteDifference
from firenet_mri.operators.fourier import CartesianFourier
from firenet_mri.operators.frame import Frame
from firenet_mri.operators.matrix import MatrixOperator
from firenet_mri.operators.nonuniform import NonuniformFourier
from firenet_mri.operators.phase_coherent import PhaseCoherent
from firenet_mri.operators.phase_constrained import PhaseConstrained
from firenet_mri.operators.sense import Sense, encoding_operator
from firenet_mri.operators.sense_sets import SenseSets
from firenet_mri.operators.shift import CyclicShift
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.operators.stacked import StackedFrame
from firenet_mri.operators.stationary_cosine import StationaryCosine
from firenet_mri.operators.stationary_wavelet import StationaryWavelet
from firenet_mri.operators.toeplitz import ToeplitzNormal
from firenet_mri.operators.undecimated_wavelet import UndecimatedWavelet
from firenet_mri.operators.walsh import WalshHadamard
from firenet_mri.operators.wavelets import OrthogonalWavelet

__all__ = [
    "CartesianFourier",
    "CyclicShift",
    "DualTreeWavelet",
    "FiniteDifference",
    "Frame",
    "LinearOperator",
    "MatrixOperator",
    "NonuniformFourier",
    "OrthogonalWavelet",
    "PhaseCoherent",
    "PhaseConstrained",
    "Sense",
    "SenseSets",
    "StackedFrame",
    "StationaryCosine",
    "StationaryWavelet",
    "ToeplitzNormal",
    "UndecimatedWavelet",
    "WalshHadamard",
    "encoding_operator",
    "make_sparsifier",
]
