"""Provably stable MR image reconstruction without training (FIRENET)."""

from __future__ import annotations

from firenet_mri.firenet.network import FIRENET, RestartBlock
from firenet_mri.firenet.primal_dual import PrimalDualLayer
from firenet_mri.firenet.problem import SquareRootLasso
from firenet_mri.firenet.schedules import NetworkSchedule, PaperSchedule
