"""One of our operators as a ``sigpy.linop.Linop``."""

from __future__ import annotations

from typing import Any

import torch
from sigpy import linop as linops
from torch import Tensor

from firenet_mri.errors import DataError, ShapeError
from firenet_mri.linops.arrays import as_array, as_tensor
from firenet_mri.operators.base import LinearOperator


class TorchLinop(linops.Linop):  # type: ignore[misc]
    """A LinearOperator as a Linop, without batch axes.

    It runs on the device of its operator: on NumPy arrays on the CPU, on CuPy arrays on a GPU.

    Parameters
    ----------
    operator
        Any of our operators; it is not copied.
    """

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(
            operator.codomain_shape, operator.domain_shape, repr_str=type(operator).__name__
        )
        self.operator = operator

    def _apply(self, input: Any) -> Any:
        # SigPy itself compares only the leading axes.
        if tuple(input.shape) != self.operator.domain_shape:
            raise ShapeError(
                f"{self.repr_str} got an array of shape {input.shape}; it takes "
                f"{self.operator.domain_shape}"
            )
        if input.dtype.kind not in "fc":
            raise DataError(
                f"{self.repr_str} got an array of {input.dtype}; it accepts real or complex "
                "floating-point numbers, so convert with astype"
            )
        with torch.no_grad():
            result: Tensor = self.operator(as_tensor(input))
        return as_array(result)

    def _adjoint_linop(self) -> linops.Linop:
        return TorchLinop(self.operator.H)
