"""A user's own encoding operator: from a Python file, and SigPy's solvers with it.

SigPy's apps for MRI build their own operator from maps; its solvers take any. They are tuned as the
other peers are, see :mod:`firenet_benchmark.tuned`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from firenet_benchmark import tuned, user_code
from firenet_benchmark.tuned import Peer
from firenet_mri import RawScan
from firenet_mri.operators.given import GivenEncoding
from firenet_mri.sigpy import to_sigpy

Solver = Callable[[Tensor, Tensor, float], Tensor]

_LAMBDAS = tuple(10.0**exponent for exponent in (-1, -1.5, -2, -2.5, -3, -3.5, -4))


def load_encoding(source: str, scan: RawScan) -> Any:
    """Return what the function in a Python file makes of a scan: an operator or a Linop.

    Parameters
    ----------
    source
        File and function, such as ``operators.py:make``; the file is run.
    scan
        What the function is called with.

    Raises
    ------
    FileError
        If there is no such file.
    UsageError
        If the source does not name file and function, or the function fails.
    """
    return user_code.called(source, scan, example="operators.py:make")[0]


def peers_for(encoding: GivenEncoding) -> tuple[Peer, ...]:
    """Return SigPy's solvers of 1/2 ||A x - y||^2 + lambda R(x) for an operator P A."""
    return (
        Peer("SigPy least squares, damped", "sigpy", _least_squares(encoding), _LAMBDAS),
        Peer("SigPy L1 of wavelets", "sigpy", _wavelets(encoding), _LAMBDAS),
    )


def _least_squares(encoding: GivenEncoding) -> Solver:
    def run(kspace: Tensor, maps: Tensor, lamda: float) -> Tensor:
        return _solved(encoding, kspace, lamda=lamda)

    return run


def _wavelets(encoding: GivenEncoding) -> Solver:
    import sigpy

    wavelet = sigpy.linop.Wavelet(encoding.domain_shape)

    def run(kspace: Tensor, maps: Tensor, lamda: float) -> Tensor:
        # As SigPy's own L1WaveletRecon does it.
        soft = sigpy.prox.UnitaryTransform(sigpy.prox.L1Reg(wavelet.oshape, lamda), wavelet)
        return _solved(encoding, kspace, proxg=soft)

    return run


def _solved(encoding: GivenEncoding, kspace: Tensor, **options: Any) -> Tensor:
    """Return the solution for data whose adjoint image has maximum 1, in the data's own unit."""
    import sigpy

    scale = float(encoding.adjoint(kspace).abs().max()) or 1.0
    y = (kspace / scale).resolve_conj().numpy()
    steps = {"max_iter": tuned.ITERATIONS, "show_pbar": False}
    solver = sigpy.app.LinearLeastSquares(to_sigpy(encoding), y, **steps, **options)
    return torch.from_numpy(solver.run()) * (scale / encoding.gain)
